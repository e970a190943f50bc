//! A TCP proxy that behaves like a bad network.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Default)]
struct State {
    /// New connections are closed at once.
    refuse: AtomicBool,
    /// Bytes are swallowed, connections stay open.
    swallow: AtomicBool,
    ended: AtomicBool,
    accepted: AtomicU64,
    /// Connections up to this one are dead, and nobody is told.
    abandoned: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// Forwards `port` to a target on this machine until dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

impl Proxy {
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::SeqCst) {
                    break;
                }
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                if shared.refuse.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                // Before anything gets through: whoever has seen the connection at work can cut it.
                shared.open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                pump(&shared, number, &client, &server);
                pump(&shared, number, &server, &client);
            }
        });
        Self { port, state }
    }

    /// Ends all connections; new ones are welcome.
    pub(crate) fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections and accepts no new ones until told otherwise.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.state.refuse.store(refuse, Ordering::SeqCst);
        if refuse {
            self.cut();
        }
    }

    /// From now on nothing gets through, in either direction, and nobody is told.
    pub(crate) fn swallow(&self, swallow: bool) {
        self.state.swallow.store(swallow, Ordering::SeqCst);
    }

    /// Nothing more gets through on the connections that there are, and nobody is told; new ones are welcome.
    pub(crate) fn abandon(&self) {
        self.state.abandoned.store(self.accepted(), Ordering::SeqCst);
    }

    /// Connections tried so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pump(state: &Arc<State>, number: u64, from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            let dead = state.swallow.load(Ordering::SeqCst) || number <= state.abandoned.load(Ordering::SeqCst);
            if !dead && to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

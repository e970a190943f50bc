//! A TCP proxy that behaves like a bad network.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

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
    /// Everything takes so long, milliseconds.
    delay_ms: AtomicU64,
    /// So many bytes a second get through in each direction; 0: all.
    bytes_per_s: AtomicU64,
    /// One bit in so many bytes is flipped; 0: none.
    corrupt_every: AtomicU64,
    /// What clients send is kept back, and sent on when that ends, also if they have given up.
    hold: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    /// What clients have sent, if that is wanted.
    capture: Mutex<Option<Vec<u8>>>,
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
                pump(&shared, number, &client, &server, true);
                pump(&shared, number, &server, &client, false);
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

    /// Everything takes so long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// So many bytes a second get through in each direction; 0: all.
    pub(crate) fn trickle(&self, bytes_per_s: u64) {
        self.state.bytes_per_s.store(bytes_per_s, Ordering::SeqCst);
    }

    /// One bit in so many bytes is flipped; 0: none.
    pub(crate) fn corrupt(&self, every: u64) {
        self.state.corrupt_every.store(every, Ordering::SeqCst);
    }

    /// What clients send is kept back. Released, it arrives late: after what came on later connections, and also if the
    /// client has long given up.
    pub(crate) fn hold(&self, hold: bool) {
        self.state.hold.store(hold, Ordering::SeqCst);
    }

    /// From now on keeps what clients send.
    pub(crate) fn capture(&self) {
        self.state.capture.lock().unwrap().get_or_insert_default();
    }

    /// What clients have sent since [`Self::capture`].
    pub(crate) fn captured(&self) -> Vec<u8> {
        self.state.capture.lock().unwrap().clone().unwrap_or_default()
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

fn pump(state: &Arc<State>, number: u64, from: &TcpStream, to: &TcpStream, from_client: bool) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        let (mut kept, mut passed) = (Vec::new(), 0);
        let get = |setting: &AtomicU64| setting.load(Ordering::SeqCst);
        while let Ok(n) = from.read(&mut buffer) {
            let closed = n == 0;
            let (dead, holds) = (state.swallow.load(Ordering::SeqCst) || number <= get(&state.abandoned), || {
                from_client && state.hold.load(Ordering::SeqCst) && !state.ended.load(Ordering::SeqCst)
            });
            kept.extend_from_slice(&buffer[..n]);
            if let Some(capture) = state.capture.lock().unwrap().as_mut().filter(|_| from_client) {
                capture.extend_from_slice(&buffer[..n]);
            }
            if holds() {
                // The rest comes into the system's buffers meanwhile.
                while holds() {
                    thread::sleep(Duration::from_millis(2));
                }
            }
            if closed && kept.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(get(&state.delay_ms)));
            let corrupt_every = get(&state.corrupt_every);
            for byte in &mut kept {
                passed += 1;
                if corrupt_every > 0 && passed % corrupt_every == 0 {
                    *byte ^= 0x10;
                }
            }
            let mut failed = false;
            let mut rest = &kept[..];
            while !dead && !rest.is_empty() && !failed {
                let rate = get(&state.bytes_per_s);
                let now = if rate == 0 { rest.len() } else { 1 };
                failed = to.write_all(&rest[..now]).is_err();
                rest = &rest[now..];
                if rate > 0 {
                    thread::sleep(Duration::from_secs(1) / u32::try_from(rate).unwrap());
                }
            }
            kept.clear();
            if closed || failed {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

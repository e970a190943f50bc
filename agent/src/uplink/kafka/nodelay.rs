//! Nagle's algorithm, turned off from outside.
//!
//! The library writes the length of a request apart from the rest, and leaves Nagle's algorithm on (RFC 9293, section
//! 3.7.4): the rest of each request waits until the broker's kernel has acknowledged those four bytes, which that puts off
//! for 40 ms, as there is nothing to answer yet. The library shows no socket, so they are found as `/proc` lists them, and
//! each is set by a duplicate: a number alone may stand for another file by then.

use std::os::fd::OwnedFd;

use rustix::net::sockopt::set_tcp_nodelay;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// For all TCP connections that this process has now. Where the kernel (from 5.6) or a sandbox does not let us, requests take
/// longer, and that is all.
pub(super) fn on_all_connections() {
    if let Err(error) = try_all() {
        tracing::debug!("TCP_NODELAY cannot be set: {error}");
    }
}

fn try_all() -> std::io::Result<()> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in std::fs::read_dir("/proc/self/fd")?.filter_map(Result::ok) {
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| is_socket);
        if let Some(number) = number {
            let socket: OwnedFd = pidfd_getfd(&this, number, PidfdGetfdFlags::empty())?;
            // What is no TCP socket has no such option.
            let _ = set_tcp_nodelay(socket, true);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_that_there_are_get_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!stream.nodelay().unwrap());
        super::try_all().unwrap();
        assert!(stream.nodelay().unwrap());
    }
}

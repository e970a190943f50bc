//! Nagle's algorithm, turned off from outside.
//!
//! The library writes the length of a request apart from the rest, and leaves Nagle's algorithm on (RFC 9293, section
//! 3.7.4): the rest of each request waits until the broker's kernel has acknowledged those four bytes, which that puts off
//! for 40 ms, as there is nothing to answer yet. The library shows no socket, so they are found as `/proc` lists them.
//!
//! One of the three places with `unsafe` code: a descriptor is only a number here. (`pidfd_getfd` would give a duplicate to be
//! sure of, but is a debugger's system call, which no sandbox ought to allow.)
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, RawFd};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpNoDelay;

/// For all TCP connections that this process has now.
pub(super) fn on_all_connections() {
    if let Err(error) = try_all() {
        tracing::debug!("TCP_NODELAY cannot be set: {error}");
    }
}

fn try_all() -> std::io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")?.filter_map(Result::ok) {
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let number: Option<RawFd> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| is_socket && *number >= 0) {
            // SAFETY: it was open a moment ago, and is used for this one call, which neither reads nor closes anything. If
            // another thread has closed it since, the kernel says so; if the number stands for another file by now, either
            // that has no such option, or it is a connection, which does not mind it.
            let socket = unsafe { BorrowedFd::borrow_raw(number) };
            // What is no TCP socket has no such option.
            let _ = setsockopt(&socket, TcpNoDelay, &true);
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

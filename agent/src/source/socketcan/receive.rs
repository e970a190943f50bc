//! Many frames with one call of the kernel, each with its stamps and the count of drops.
//!
//! One of the three places with `unsafe` code: neither the standard library nor the CAN library has
//! `recvmmsg`. What the kernel wrote is bounded by the lengths that it returns, and read byte by byte.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Messages taken with one call, at most.
pub(super) const AT_ONCE: usize = 64;
/// Room for what comes with a frame: two kinds of stamps, the count of drops.
const CONTROL_BYTES: usize = 160;
/// `SO_TIMESTAMPING_NEW` of kernels with 64-bit times on 32-bit computers.
const TIMESTAMPING_NEW: libc::c_int = 65;

/// Control messages are read as `struct cmsghdr`, which must be aligned.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// What comes with a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ancillary {
    /// When the kernel received it, nanoseconds since the Unix epoch.
    pub(super) software_ns: Option<u64>,
    /// What the controller's own clock says, nanoseconds; of any epoch.
    pub(super) hardware_ns: Option<u64>,
    /// Frames that the kernel has dropped on this socket since it was opened; wraps.
    pub(super) dropped: Option<u32>,
}

/// Buffers, shared by all sockets.
pub(super) struct Receiver {
    /// One after the other.
    frames: Box<[u8]>,
    frame_bytes: usize,
    controls: Box<[Control; AT_ONCE]>,
}

impl Receiver {
    /// For frames of up to `frame_bytes`; longer ones are cut off.
    pub(super) fn new(frame_bytes: usize) -> Self {
        Self {
            frames: vec![0; frame_bytes * AT_ONCE].into(),
            frame_bytes,
            controls: Box::new([Control([0; CONTROL_BYTES]); AT_ONCE]),
        }
    }

    /// Takes what is pending on `socket`, at most `limit` messages, and passes the bytes of each on.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when nothing is pending.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        limit: usize,
        mut each: impl FnMut(&[u8], Ancillary),
    ) -> io::Result<usize> {
        let count = libc::c_uint::try_from(limit.min(AT_ONCE)).unwrap_or(0);
        // SAFETY: both are plain C structures for which all zeros is a valid value.
        let mut parts: [libc::iovec; AT_ONCE] = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; AT_ONCE] = unsafe { MaybeUninit::zeroed().assume_init() };
        for (((frame, control), part), header) in
            self.frames.chunks_exact_mut(self.frame_bytes).zip(&mut *self.controls).zip(&mut parts).zip(&mut headers)
        {
            *part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        // SAFETY: the first `count` headers point to `parts`, `frames` and `controls`, which outlive the call, and give
        // their true lengths; `count` is at most the length of `headers`. No timeout is given.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (header, frame) in headers.iter().zip(self.frames.chunks_exact(self.frame_bytes)).take(received) {
            let length = (header.msg_len as usize).min(frame.len());
            each(&frame[..length], ancillary(&header.msg_hdr));
        }
        Ok(received)
    }
}

/// Reads the control messages of one received message.
fn ancillary(header: &libc::msghdr) -> Ancillary {
    let mut found = Ancillary::default();
    // SAFETY: `header` was filled in by the kernel and its control buffer, aligned for `cmsghdr`, is still alive. The
    // macro checks the length that the kernel gave.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, so a whole `cmsghdr` lies within the control buffer.
        let message = unsafe { &*next };
        // SAFETY: takes the address behind the header; nothing is read.
        let data = unsafe { libc::CMSG_DATA(next) };
        let length = (message.cmsg_len as usize).saturating_sub(data as usize - next as usize);
        // SAFETY: the kernel wrote `cmsg_len` bytes from the header on, so `length` bytes of data, into our buffer.
        let data = unsafe { std::slice::from_raw_parts(data, length) };
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING | TIMESTAMPING_NEW) => {
                let stamp = |i: usize| data.chunks_exact(data.len() / 3).nth(i).and_then(timespec_ns);
                if data.len() >= 24 {
                    (found.software_ns, found.hardware_ns) = (stamp(0), stamp(2));
                }
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                found.dropped = data.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
            }
            _ => {}
        }
        // SAFETY: as for CMSG_FIRSTHDR; `next` points into the same buffer.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    found
}

/// A `struct timespec` of 32 or 64 bits; `None` when it is zero, which stands for "not taken".
fn timespec_ns(bytes: &[u8]) -> Option<u64> {
    let (seconds, nanoseconds) = match bytes.len() {
        16 => (i64::from_ne_bytes(*bytes.first_chunk()?), i64::from_ne_bytes(*bytes.last_chunk()?)),
        8 => (i32::from_ne_bytes(*bytes.first_chunk()?).into(), i32::from_ne_bytes(*bytes.last_chunk()?).into()),
        _ => return None,
    };
    let ns = u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(nanoseconds).ok()?)?;
    (ns != 0).then_some(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timespecs_of_both_widths() {
        let wide = |s: i64, n: i64| timespec_ns(&[s.to_ne_bytes(), n.to_ne_bytes()].concat());
        let narrow = |s: i32, n: i32| timespec_ns(&[s.to_ne_bytes(), n.to_ne_bytes()].concat());
        assert_eq!(wide(1_700_000_000, 5), Some(1_700_000_000_000_000_005));
        assert_eq!(narrow(1_700_000_000, 5), Some(1_700_000_000_000_000_005));
        assert_eq!((wide(0, 0), narrow(0, 0), wide(-1, 0), wide(i64::MAX, 0)), (None, None, None, None));
        assert_eq!(timespec_ns(&[0; 12]), None);
    }

    /// Any datagram socket delivers stamps and counts in the same form.
    #[test]
    fn messages_come_with_stamps_in_batches() {
        use std::os::fd::AsFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RxqOvfl, &1).unwrap();
        let flags = nix::sys::socket::TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | nix::sys::socket::TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Timestamping, &flags).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        const FRAME_BYTES: usize = 72;
        let mut receiver = Receiver::new(FRAME_BYTES);
        let nothing = receiver.receive(socket.as_fd(), 10, |_, _| panic!()).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let before = crate::runtime::clock::wall_ns();
        // The kernel switches stamping on a moment after it was asked for the first time.
        let address = socket.local_addr().unwrap();
        for _ in 0..1000 {
            let mut stamped = false;
            sender.send_to(&[0], address).unwrap();
            receiver.receive(socket.as_fd(), 1, |_, ancillary| stamped = ancillary.software_ns.is_some()).unwrap();
            if stamped {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for i in 0..100u8 {
            sender.send_to(&vec![i; usize::from(i)], address).unwrap();
        }
        let mut seen = Vec::new();
        while let Ok(n) = receiver.receive(socket.as_fd(), usize::MAX, |bytes, ancillary| {
            seen.push((bytes.to_vec(), ancillary));
        }) {
            assert!(n <= AT_ONCE);
        }
        assert_eq!(seen.len(), 100);
        for ((bytes, ancillary), i) in seen.iter().zip(0u8..) {
            assert_eq!(*bytes, vec![i; usize::from(i).min(FRAME_BYTES)]);
            assert_eq!(ancillary.hardware_ns, None);
            assert!(ancillary.software_ns.is_some_and(|ns| ns.abs_diff(before) < 60_000_000_000));
        }
    }
}

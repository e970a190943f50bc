//! A bus opened for listening.
//!
//! This type is the proof that a bus is not disturbed: the socket is private to it, it has no method
//! that writes, and it lends the descriptor to nobody.

use std::io;
use std::os::fd::AsFd;

use can_decoders::{BusId, CanId, Frame, FrameKind, XlFrame};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use socketcan::{CanFdSocket, CanFilter, Socket, SocketOptions};

use super::receive::{Ancillary, Receiver};
use super::stamp::StampChoice;
use crate::runtime::clock::wall_ns;

/// `CAN_RAW_XL_VCID_OPTS` and `CAN_RAW_XL_VCID_RX_FILTER` of `linux/can/raw.h`.
const CAN_RAW_XL_VCID_OPTS: libc::c_int = 8;
const XL_VCID_RX_FILTER: u8 = 0x04;

/// The kernel takes no more filters on one socket.
pub(super) const MAX_FILTERS: usize = 512;

/// How to listen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listening {
    /// Bytes of frames that the kernel keeps until they are read.
    pub(super) receive_buffer: usize,
    /// Only these identifiers, each with the bits that count; all when empty.
    pub(super) only: Vec<(CanId, u32)>,
    /// Pass CAN XL frames on; else they are counted only.
    pub(super) forward_xl: bool,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// A classic or FD frame.
    Frame(Frame),
    /// A CAN XL frame that is to be passed on.
    Xl(XlFrame),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct PassiveBus {
    socket: CanFdSocket,
    bus: BusId,
    forward_xl: bool,
    stamps: StampChoice,
    /// The kernel's count of drops when it was last told.
    dropped: u32,
    last_ns: u64,
}

/// What a reading found beside frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Messages taken from the socket.
    pub(super) messages: usize,
    /// Frames that the kernel dropped before one of them.
    pub(super) dropped: u64,
    /// Stamps of the frames before the first and after the last of those drops, nanoseconds.
    pub(super) dropped_between: (u64, u64),
    /// CAN XL frames.
    pub(super) xl: u64,
    /// Messages that are not frames as we know them.
    pub(super) unreadable: u64,
}

impl PassiveBus {
    /// Opens the interface with number `index`. `warn` is told what is weaker than asked for.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(index: u32, bus: BusId, listening: &Listening, warn: impl FnOnce(String)) -> io::Result<Self> {
        let socket = CanFdSocket::open_iface(index)?;
        socket.set_nonblocking(true)?;
        // Kernels before 6.1 do not know them.
        let _ = socket.set_socket_option_int(libc::SOL_CAN_RAW, libc::CAN_RAW_XL_FRAMES, 1);
        // Since 6.9, those of virtual networks come only where they are asked for: here, all.
        let _ = socket.set_socket_option_bytes(libc::SOL_CAN_RAW, CAN_RAW_XL_VCID_OPTS, &[XL_VCID_RX_FILTER, 0, 0, 0]);
        // Frames of other programs on this computer are heard like those from the wire.
        socket.set_error_filter_accept_all()?;
        set_filters(&socket, &listening.only)?;
        socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        socket.set_timestamping(
            libc::SOF_TIMESTAMPING_RX_SOFTWARE
                | libc::SOF_TIMESTAMPING_SOFTWARE
                | libc::SOF_TIMESTAMPING_RX_HARDWARE
                | libc::SOF_TIMESTAMPING_RAW_HARDWARE,
        )?;
        set_receive_buffer(&socket, listening.receive_buffer, warn)?;
        let forward_xl = listening.forward_xl;
        Ok(Self { socket, bus, forward_xl, stamps: StampChoice::default(), dropped: 0, last_ns: wall_ns() })
    }

    /// Has `epoll` tell, by `token`, when something is pending.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn watch(&self, epoll: &Epoll, token: u64) -> io::Result<()> {
        Ok(epoll.add(&self.socket, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Has `epoll` forget it. No matter if that does not know it.
    pub(super) fn unwatch(&self, epoll: &Epoll) {
        let _ = epoll.delete(&self.socket);
    }

    /// Listens in another way, from the next frame that comes on. `warn` is told what is weaker than asked for.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn relisten(&mut self, bus: BusId, listening: &Listening, warn: impl FnOnce(String)) -> io::Result<()> {
        // Whatever fails: frames under the old number would be another bus's.
        (self.bus, self.forward_xl) = (bus, listening.forward_xl);
        set_filters(&self.socket, &listening.only)?;
        set_receive_buffer(&self.socket, listening.receive_buffer, warn)
    }

    /// The stamp of the last message; before the first, the time of opening.
    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Takes at most `limit` frames that are pending.
    ///
    /// # Errors
    /// The system's: the interface is down or gone. What was taken before is good.
    pub(super) fn take(
        &mut self,
        receiver: &mut Receiver,
        limit: usize,
        read_ns: u64,
        each: impl FnMut(Heard),
    ) -> (Taken, io::Result<()>) {
        let mut taken = Taken::default();
        let mut each = each;
        while taken.messages < limit {
            let want = limit - taken.messages;
            let received = receiver.receive(self.socket.as_fd(), want, |bytes, ancillary| {
                let Ancillary { software_ns, hardware_ns, dropped } = ancillary;
                let time_ns = self.stamps.time_ns(software_ns, hardware_ns, read_ns);
                let new = dropped.map_or(0, |total| newly(&mut self.dropped, total));
                if new > 0 {
                    let from = if taken.dropped == 0 { self.last_ns } else { taken.dropped_between.0 };
                    taken.dropped_between = (from, time_ns);
                    taken.dropped += new;
                }
                self.last_ns = time_ns;
                if XlFrame::is_xl(bytes) {
                    taken.xl += 1;
                    if self.forward_xl {
                        match XlFrame::read(bytes, time_ns, self.bus) {
                            Some(xl) => each(Heard::Xl(xl)),
                            None => taken.unreadable += 1,
                        }
                    }
                    return;
                }
                match frame(bytes, time_ns, self.bus) {
                    Some(frame) => each(Heard::Frame(frame)),
                    None => taken.unreadable += 1,
                }
            });
            match received {
                Ok(n) => {
                    taken.messages += n;
                    // A short batch is the end of what was pending; asking again would cost a call for nothing.
                    if n < want.min(super::receive::AT_ONCE) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (taken, Err(error)),
            }
        }
        (taken, Ok(()))
    }

    /// Frames dropped that no later frame has told of yet.
    pub(super) fn take_untold_drops(&mut self) -> u64 {
        // SO_MEMINFO: an array of counters, of which the drops are the last.
        const DROPS: usize = 8;
        let mut counters = [0u8; 4 * (DROPS + 1)];
        match self.socket.get_socket_option_bytes(libc::SOL_SOCKET, libc::SO_MEMINFO, &mut counters) {
            Ok(length) if length == counters.len() => {}
            // Kernels before 4.12: the next frame will tell.
            _ => return 0,
        }
        counters.last_chunk().map_or(0, |total| newly(&mut self.dropped, u32::from_ne_bytes(*total)))
    }
}

/// Takes over a count that wraps, and returns by how much it grew. A frame that waited in the buffer may bring an older
/// count than the one known.
fn newly(known: &mut u32, total: u32) -> u64 {
    let new = total.wrapping_sub(*known);
    if new > u32::MAX / 2 {
        return 0;
    }
    *known = total;
    new.into()
}

/// Reads `struct can_frame` or `struct canfd_frame`; `None` for what is neither.
fn frame(bytes: &[u8], time_ns: u64, bus: BusId) -> Option<Frame> {
    const CLASSIC: usize = size_of::<libc::can_frame>();
    const FD: usize = size_of::<libc::canfd_frame>();
    let word = u32::from_ne_bytes(*bytes.first_chunk()?);
    let length = usize::from(*bytes.get(4)?);
    let id = if word & libc::CAN_ERR_FLAG != 0 {
        CanId::extended(word & libc::CAN_ERR_MASK)?
    } else if word & libc::CAN_EFF_FLAG != 0 {
        CanId::extended(word & libc::CAN_EFF_MASK)?
    } else {
        CanId::standard(word & libc::CAN_SFF_MASK)?
    };
    let payload = bytes.get(8..8 + length);
    match bytes.len() {
        CLASSIC if word & libc::CAN_ERR_FLAG != 0 => Frame::new(time_ns, bus, id, FrameKind::Error, payload?),
        CLASSIC if word & libc::CAN_RTR_FLAG != 0 => Frame::remote(time_ns, bus, id, u8::try_from(length).ok()?),
        CLASSIC => Frame::new(time_ns, bus, id, FrameKind::Data, payload?),
        FD => {
            let flags = *bytes.get(5)?;
            let set = |flag: libc::c_int| u32::from(flags) & flag.unsigned_abs() != 0;
            let kind = FrameKind::Fd { brs: set(libc::CANFD_BRS), esi: set(libc::CANFD_ESI) };
            Frame::new(time_ns, bus, id, kind, payload?)
        }
        _ => None,
    }
}

/// Only these identifiers, each with the bits that count; all when there are none.
fn set_filters(socket: &CanFdSocket, only: &[(CanId, u32)]) -> io::Result<()> {
    let filter = |(id, fixed_bits): &(CanId, u32)| {
        let flags = if id.is_extended() { libc::CAN_EFF_FLAG } else { 0 };
        CanFilter::new(id.number() | flags, fixed_bits | libc::CAN_EFF_FLAG)
    };
    let mut filters: Vec<CanFilter> = only.iter().map(filter).collect();
    if filters.is_empty() {
        filters.push(CanFilter::new(0, 0));
    }
    socket.set_filters(&filters)
}

/// As large as asked for where that is allowed, else as large as allowed.
fn set_receive_buffer(socket: &CanFdSocket, bytes: usize, warn: impl FnOnce(String)) -> io::Result<()> {
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX / 2);
    if socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted).is_ok() {
        return Ok(());
    }
    socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_RCVBUF, wanted)?;
    // The kernel doubles what it is asked for, for its own needs.
    let got = socket.get_socket_option_int(libc::SOL_SOCKET, libc::SO_RCVBUF)? / 2;
    if got < wanted {
        warn(format!(
            "the receive buffer is {} KiB instead of {}: give the agent CAP_NET_ADMIN, or sysctl net.core.rmem_max={wanted}",
            got / 1024,
            wanted / 1024
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(id: u32, length: u8, flags: u8, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&id.to_ne_bytes());
        (bytes[4], bytes[5]) = (length, flags);
        for (i, byte) in (0u8..).zip(&mut bytes[8..]) {
            *byte = i;
        }
        bytes
    }

    #[test]
    fn frames_of_every_kind_are_read() {
        let read = |bytes: &[u8]| frame(bytes, 7, BusId(1));
        let data = read(&raw(0x123, 2, 0, 16)).unwrap();
        assert_eq!((data.time_ns, data.bus, data.kind, data.payload()), (7, BusId(1), FrameKind::Data, &[0u8, 1][..]));
        assert_eq!(data.id, CanId::standard(0x123).unwrap());
        let remote = read(&raw(0x18FE_F100 | libc::CAN_EFF_FLAG | libc::CAN_RTR_FLAG, 8, 0, 16)).unwrap();
        assert_eq!((remote.kind, remote.len(), remote.id.is_extended()), (FrameKind::Remote, 8, true));
        let error = read(&raw(0x40 | libc::CAN_ERR_FLAG, 8, 0, 16)).unwrap();
        assert_eq!((error.kind, error.id.number()), (FrameKind::Error, 0x40));
        let fd = read(&raw(0x18FE_F100 | libc::CAN_EFF_FLAG, 64, 0x01, 72)).unwrap();
        assert_eq!((fd.kind, fd.len(), fd.payload()[63]), (FrameKind::Fd { brs: true, esi: false }, 64, 63));
        let esi = read(&raw(1, 12, 0x02, 72)).unwrap();
        assert_eq!(esi.kind, FrameKind::Fd { brs: false, esi: true });
    }

    #[test]
    fn drops_are_counted_once_also_when_the_count_wraps() {
        let mut known = u32::MAX - 1;
        let counts = [u32::MAX, u32::MAX, 3, 2, u32::MAX, 4];
        assert_eq!(counts.map(|total| newly(&mut known, total)), [1, 0, 4, 0, 0, 1]);
    }

    #[test]
    fn what_is_no_frame_is_none() {
        let read = |bytes: &[u8]| frame(bytes, 7, BusId(1));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&raw(1, 9, 0, 16)), None, "longer than classic frames are");
        assert_eq!(read(&raw(1, 255, 0, 72)), None);
        assert_eq!(read(&raw(1, 13, 0, 72)), None, "no length of FD");
        assert_eq!(read(&raw(1, 8, 0, 17)), None);
        assert!(!XlFrame::is_xl(&[]) && !XlFrame::is_xl(&raw(1, 9, 0, 16)) && !XlFrame::is_xl(&raw(1, 64, 0xFF, 72)));
    }
}

//! SocketCAN: frames from the kernel's CAN interfaces.
//!
//! A bus is opened by `PassiveBus`, which has no way to send: the socket is private to this
//! module and only ever read. Frames carry the kernel's own receive stamp. All interfaces are
//! polled by one thread; what is pending on them is put in the order of its stamps.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use can_decoders::{BusId, CanId, Frame, FrameKind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socketcan::{CanAnyFrame, CanFdSocket, EmbeddedFrame, ShouldRetry, Socket, SocketOptions};

use super::{Progress, Source, SourceError};

/// An interface opened for listening only.
#[derive(Debug)]
struct PassiveBus {
    interface: String,
    bus: BusId,
    socket: CanFdSocket,
}

/// Several interfaces as one source.
#[derive(Debug)]
pub struct SocketCan {
    buses: Vec<PassiveBus>,
    last_ns: u64,
}

impl SocketCan {
    /// Opens the interfaces; frames of `interfaces[i]` get the number `i`.
    ///
    /// # Errors
    /// When one cannot be opened: its name and the system's reason.
    pub fn open(interfaces: &[String]) -> Result<Self, SourceError> {
        let buses =
            interfaces.iter().zip(0u8..).map(|(name, i)| PassiveBus::open(name, BusId(i))).collect::<Result<_, _>>()?;
        Ok(Self { buses, last_ns: 0 })
    }
}

impl PassiveBus {
    fn open(interface: &str, bus: BusId) -> Result<Self, SourceError> {
        let failed = |doing| move |source| SourceError::Interface { interface: interface.into(), doing, source };
        let socket =
            CanFdSocket::open(interface).map_err(failed("open (is it there and up? `ip -details link show`)"))?;
        socket.set_nonblocking(true).map_err(failed("set non-blocking"))?;
        socket.set_recv_timestamp(true).map_err(failed("ask for receive stamps"))?;
        socket.set_error_filter_accept_all().map_err(failed("ask for error frames"))?;
        Ok(Self { interface: interface.into(), bus, socket })
    }

    /// The next pending frame, `None` when there is none.
    fn next(&self) -> Result<Option<Frame>, SourceError> {
        loop {
            return match self.socket.read_frame_with_timestamp() {
                Ok((raw, stamp)) => match convert(&raw, stamp, self.bus) {
                    Some(frame) => Ok(Some(frame)),
                    None => continue,
                },
                Err(error) if error.should_retry() => Ok(None),
                Err(source) => Err(SourceError::Interface { interface: self.interface.clone(), doing: "read", source }),
            };
        }
    }
}

fn convert(raw: &CanAnyFrame, stamp: SystemTime, bus: BusId) -> Option<Frame> {
    let since = stamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    let id = |frame: &dyn Identified| {
        if frame.extended() { CanId::extended(frame.raw()) } else { CanId::standard(frame.raw()) }
    };
    match raw {
        CanAnyFrame::Normal(f) => Frame::new(time_ns, bus, id(f)?, FrameKind::Data, f.data()),
        CanAnyFrame::Remote(f) => Frame::remote(time_ns, bus, id(f)?, u8::try_from(f.dlc()).ok()?),
        CanAnyFrame::Error(f) => Frame::new(time_ns, bus, CanId::extended(f.error_bits())?, FrameKind::Error, f.data()),
        CanAnyFrame::Fd(f) => {
            let kind = FrameKind::Fd { brs: f.is_brs(), esi: f.is_esi() };
            Frame::new(time_ns, bus, id(f)?, kind, f.data())
        }
    }
}

/// The two questions that all kinds of frames of the crate answer by the same trait method names.
trait Identified {
    fn extended(&self) -> bool;
    fn raw(&self) -> u32;
}

impl<T: socketcan::Frame> Identified for T {
    fn extended(&self) -> bool {
        self.is_extended()
    }
    fn raw(&self) -> u32 {
        self.raw_id()
    }
}

impl Source for SocketCan {
    fn read(&mut self, batch: &mut Vec<Frame>, max_wait: Duration) -> Result<Progress, SourceError> {
        let mut fds: Vec<PollFd> =
            self.buses.iter().map(|b| PollFd::new(b.socket.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(max_wait).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                let interface = self.buses.first().map(|b| b.interface.clone()).unwrap_or_default();
                return Err(SourceError::Interface { interface, doing: "wait for frames", source: errno.into() });
            }
        }
        // Each bus gets its share of the batch, so that a flooded one does not starve the others.
        let share = (batch.capacity() - batch.len()) / self.buses.len().max(1);
        for bus in &self.buses {
            for _ in 0..share {
                let Some(frame) = bus.next()? else { break };
                batch.push(frame);
            }
        }
        batch.sort_by_key(|frame| frame.time_ns);
        let read = batch.last().map_or(0, |f| f.time_ns);
        // With nothing pending, time still passes; a frame that is just arriving may be a little older than the clock.
        let quiet = if batch.is_empty() { crate::runtime::clock::wall_ns().saturating_sub(20_000_000) } else { 0 };
        self.last_ns = self.last_ns.max(read).max(quiet);
        Ok(Progress { now_ns: self.last_ns, ended: false })
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_an_error_with_its_name() {
        let error = SocketCan::open(&["nosuchcan0".into()]).unwrap_err().to_string();
        assert!(error.contains("nosuchcan0") && error.contains("open"), "{error}");
    }

    #[test]
    fn frames_of_every_kind_are_converted() {
        use socketcan::{CanDataFrame, CanFdFrame, CanRemoteFrame, ExtendedId, StandardId};
        let stamp = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_891);
        let std_id = StandardId::new(0x123).unwrap();
        let ext_id = ExtendedId::new(0x18FE_F100).unwrap();

        let frame =
            convert(&CanAnyFrame::Normal(CanDataFrame::new(std_id, &[1, 2]).unwrap()), stamp, BusId(1)).unwrap();
        assert_eq!((frame.time_ns, frame.bus, frame.payload()), (1_234_567_891, BusId(1), &[1u8, 2][..]));
        assert_eq!(frame.id, CanId::standard(0x123).unwrap());

        let frame =
            convert(&CanAnyFrame::Remote(CanRemoteFrame::new_remote(ext_id, 8).unwrap()), stamp, BusId(0)).unwrap();
        assert_eq!((frame.kind, frame.len(), frame.id.is_extended()), (FrameKind::Remote, 8, true));

        let frame = convert(&CanAnyFrame::Fd(CanFdFrame::new(ext_id, &[7; 64]).unwrap()), stamp, BusId(0)).unwrap();
        assert_eq!((frame.len(), frame.id.number()), (64, 0x18FE_F100));
        assert!(matches!(frame.kind, FrameKind::Fd { .. }));
    }
}

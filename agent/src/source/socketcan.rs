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
    /// Read, but newer than what another bus still has to give.
    held: Vec<Frame>,
}

impl SocketCan {
    /// Opens the interfaces; frames of `interfaces[i]` get the number `i`.
    ///
    /// # Errors
    /// When one cannot be opened: its name and the system's reason.
    pub fn open(interfaces: &[String]) -> Result<Self, SourceError> {
        let buses =
            interfaces.iter().zip(0u8..).map(|(name, i)| PassiveBus::open(name, BusId(i))).collect::<Result<_, _>>()?;
        Ok(Self { buses, held: Vec::new() })
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

/// Puts a batch in the order of its stamps. Frames newer than `behind` wait for a bus that has more to give: returned.
fn in_order(batch: &mut Vec<Frame>, behind: Option<u64>) -> Vec<Frame> {
    batch.sort_by_key(|frame| frame.time_ns);
    let ready = behind.map_or(batch.len(), |ns| batch.partition_point(|frame| frame.time_ns <= ns));
    batch.split_off(ready)
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
        batch.append(&mut self.held);
        let share = ((batch.capacity() - batch.len()) / self.buses.len().max(1)).max(1);
        let mut behind = None;
        for bus in &self.buses {
            let mut read = 0;
            while read < share
                && let Some(frame) = bus.next()?
            {
                batch.push(frame);
                read += 1;
            }
            if read == share {
                let last_ns = batch.last().map_or(0, |frame| frame.time_ns);
                behind = Some(behind.map_or(last_ns, |ns: u64| ns.min(last_ns)));
            }
        }
        self.held = in_order(batch, behind);
        // With nothing pending, time still passes; a frame that is just arriving may be a little older than the clock.
        // The time is that of this batch alone: when the clock is set back, so are the stamps.
        let quiet = || crate::runtime::clock::wall_ns().saturating_sub(20_000_000);
        Ok(Progress { now_ns: batch.last().map_or_else(quiet, |frame| frame.time_ns), ended: false })
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

    /// One bus is read to the end, of the other there is more: what is newer than its last frame waits.
    #[test]
    fn a_bus_with_a_backlog_holds_the_newer_frames_of_others_back() {
        let id = CanId::standard(1).unwrap();
        let frame = |bus, time| Frame::new(time, BusId(bus), id, FrameKind::Data, &[]).unwrap();
        let times = |frames: &[Frame]| frames.iter().map(|f| (f.bus.0, f.time_ns)).collect::<Vec<_>>();
        let mut batch = vec![frame(0, 10), frame(0, 20), frame(1, 15), frame(1, 900)];
        let held = in_order(&mut batch, Some(20));
        assert_eq!(times(&batch), [(0, 10), (1, 15), (0, 20)]);
        assert_eq!(times(&held), [(1, 900)]);
        assert!(in_order(&mut batch, None).is_empty());
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

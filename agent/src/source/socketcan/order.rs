//! Frames of several buses in the order of their stamps.
//!
//! A bus that was read to its end has no older frame, but for one that has its stamp and is still on
//! its way to the socket. A bus that has more to give may have any frame newer than its last. So what
//! is newer than that waits here.

use can_decoders::Frame;

/// How long a frame may be on its way from its stamp to its socket, nanoseconds.
pub(super) const ON_THE_WAY_NS: u64 = 2_000_000;
/// Stamps ahead of the clock by more than this were made before it was set back, nanoseconds.
const AHEAD_NS: u64 = 500_000_000;

/// How far a bus has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// To its end, at this time of the wall clock.
    Drained(u64),
    /// To a frame with this stamp; there is more.
    UpTo(u64),
}

/// Frames that wait.
#[derive(Debug, Default)]
pub(super) struct Order {
    held: Vec<Frame>,
}

impl Order {
    pub(super) fn push(&mut self, frame: Frame) {
        self.held.push(frame);
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Moves what cannot be overtaken any more to `batch`, in order. Returns the time before which no frame will come.
    pub(super) fn release(
        &mut self,
        batch: &mut Vec<Frame>,
        buses: impl Iterator<Item = Read> + Clone,
        now_ns: u64,
    ) -> u64 {
        // Stable, so that frames of one bus with the same stamp keep their order.
        self.held.sort_by_key(|frame| frame.time_ns);
        let several = buses.clone().nth(1).is_some();
        let before = |read| match read {
            Read::Drained(ns) => ns.saturating_sub(ON_THE_WAY_NS),
            Read::UpTo(ns) => ns,
        };
        let safe_ns = buses.map(before).min().unwrap_or(now_ns);
        let was_set_back = self.held.last().is_some_and(|frame| frame.time_ns > now_ns.saturating_add(AHEAD_NS));
        let ready = if several && !was_set_back {
            self.held.partition_point(|frame| frame.time_ns <= safe_ns)
        } else {
            self.held.len()
        };
        let ready = ready.min(batch.capacity() - batch.len());
        batch.extend(self.held.drain(..ready));
        match self.held.first() {
            Some(frame) => safe_ns.min(frame.time_ns),
            None => safe_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use can_decoders::{BusId, CanId, FrameKind};
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn frame(bus: u8, time_ns: u64) -> Frame {
        Frame::new(time_ns, BusId(bus), CanId::standard(1).unwrap(), FrameKind::Data, &[]).unwrap()
    }

    fn release(order: &mut Order, reads: &[Read], now_ns: u64) -> (Vec<(u8, u64)>, u64) {
        let mut batch = Vec::with_capacity(256);
        let now = order.release(&mut batch, reads.iter().copied(), now_ns);
        (batch.iter().map(|f| (f.bus.0, f.time_ns)).collect(), now)
    }

    #[test]
    fn a_bus_with_a_backlog_holds_the_newer_frames_of_others_back() {
        let mut order = Order::default();
        for (bus, ms) in [(0, 10), (0, 20), (1, 15), (1, 900)] {
            order.push(frame(bus, ms * MS));
        }
        let reads = [Read::UpTo(20 * MS), Read::Drained(1000 * MS)];
        assert_eq!(release(&mut order, &reads, 1000 * MS), (vec![(0, 10 * MS), (1, 15 * MS), (0, 20 * MS)], 20 * MS));
        order.push(frame(0, 30 * MS));
        let reads = [Read::Drained(1001 * MS); 2];
        assert_eq!(release(&mut order, &reads, 1001 * MS), (vec![(0, 30 * MS), (1, 900 * MS)], 999 * MS));
    }

    #[test]
    fn the_newest_wait_for_what_may_be_on_its_way_but_not_on_a_single_bus() {
        let mut order = Order::default();
        order.push(frame(0, 999 * MS));
        assert_eq!(release(&mut order, &[Read::Drained(1000 * MS); 2], 1000 * MS), (vec![], 998 * MS));
        assert_eq!(release(&mut order, &[Read::Drained(1001 * MS); 2], 1001 * MS), (vec![(0, 999 * MS)], 999 * MS));
        order.push(frame(0, 1500 * MS));
        assert_eq!(release(&mut order, &[Read::Drained(1500 * MS)], 1500 * MS).0, [(0, 1500 * MS)]);
    }

    #[test]
    fn nothing_waits_for_a_clock_that_was_set_back() {
        let mut order = Order::default();
        order.push(frame(0, 5000 * MS));
        assert_eq!(release(&mut order, &[Read::Drained(10 * MS); 2], 10 * MS).0, [(0, 5000 * MS)]);
    }

    proptest! {
        /// Whatever is pending where, and however it is read in parts: the order is that of the stamps.
        #[test]
        fn all_frames_come_in_order(
            gaps in prop::collection::vec((0u8..3, 0u64..3 * MS), 1..200),
            shares in prop::collection::vec(1usize..5, 1..500),
        ) {
            let mut now = 1_000_000 * MS;
            let mut pending: [std::collections::VecDeque<Frame>; 3] = Default::default();
            for (bus, gap) in &gaps {
                now += gap;
                pending[usize::from(*bus)].push_back(frame(*bus, now));
            }
            let (mut order, mut seen, mut shares) = (Order::default(), Vec::new(), shares.into_iter().cycle());
            while seen.len() < gaps.len() {
                // All frames are in their sockets.
                now += 10 * MS;
                let mut reads = Vec::new();
                for queue in &mut pending {
                    let share = shares.next().unwrap();
                    let mut last = 0;
                    for frame in queue.drain(..share.min(queue.len())) {
                        last = frame.time_ns;
                        order.push(frame);
                    }
                    reads.push(if queue.is_empty() { Read::Drained(now) } else { Read::UpTo(last) });
                }
                let (batch, safe_ns) = release(&mut order, &reads, now);
                prop_assert!(order.held.iter().all(|frame| frame.time_ns >= safe_ns));
                seen.extend(batch);
            }
            prop_assert!(seen.is_sorted_by_key(|(_, time)| *time));
        }
    }
}

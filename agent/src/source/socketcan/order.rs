//! Frames of several buses in the order of their stamps.
//!
//! Each bus has a queue, in which its frames keep the order in which they came: the kernel's. The queues
//! are merged by the stamps of their first frames. A bus whose queue is empty may still bring a frame: one
//! that is newer than what was read of it, or, when it was read to its end, one whose stamp was made just
//! before and that is still on its way to the socket. What is newer than that waits.
//!
//! The queues are bounded, each for itself: a bus that is far ahead is not read on, and never takes the
//! room that the one behind needs to catch up.
//!
//! The clock may be set back. Stamps from before then lie ahead of it, and nothing waits for those.

use std::collections::VecDeque;
use std::time::Duration;

use can_decoders::{BusId, Frame};

/// How long a frame may be on its way from its stamp to its socket, nanoseconds.
pub(super) const ON_THE_WAY_NS: u64 = 2_000_000;
/// The same where somebody waits for what frames lead to. Most need some ten microseconds; one that needs longer is late, and
/// counted as such.
pub(super) const HASTE_NS: u64 = 300_000;
/// Frames of a bus that wait at most.
const QUEUE: usize = 256;

/// How far a bus has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// To its end, at this time of the wall clock.
    Drained(u64),
    /// To a frame with this stamp; there may be more.
    UpTo(u64),
}

impl Read {
    /// No frame with an earlier stamp will come.
    fn safe_ns(self, on_the_way_ns: u64) -> u64 {
        match self {
            Self::Drained(ns) => ns.saturating_sub(on_the_way_ns),
            Self::UpTo(ns) => ns,
        }
    }
}

/// Frames that wait.
#[derive(Debug)]
pub(super) struct Order {
    queues: Vec<VecDeque<Frame>>,
    on_the_way_ns: u64,
}

impl Order {
    /// For the buses with numbers below `buses`.
    pub(super) fn new(buses: usize, on_the_way_ns: u64) -> Self {
        Self { queues: (0..buses).map(|_| VecDeque::with_capacity(QUEUE)).collect(), on_the_way_ns }
    }

    /// How long a frame may be on its way from its stamp to its socket.
    pub(super) fn on_the_way(&self) -> Duration {
        Duration::from_nanos(self.on_the_way_ns)
    }

    /// How many more frames of a bus may be pushed.
    pub(super) fn room(&self, bus: usize) -> usize {
        QUEUE.saturating_sub(self.queues[bus].len())
    }

    pub(super) fn push(&mut self, frame: Frame) {
        let BusId(bus) = frame.bus;
        self.queues[usize::from(bus)].push_back(frame);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// Moves what cannot be overtaken any more to `batch`, in order, as far as there is room. `reads` says how far each
    /// bus has been read. Returns the time before which no frame will come.
    pub(super) fn release(&mut self, batch: &mut Vec<Frame>, reads: &[Read], now_ns: u64) -> u64 {
        // A time ahead of the clock was before it was set back: it comes first.
        let key = |time_ns: u64| (time_ns <= now_ns.saturating_add(ON_THE_WAY_NS), time_ns);
        while batch.len() < batch.capacity() {
            let heads = self.queues.iter().enumerate().filter_map(|(i, queue)| Some((i, queue.front()?.time_ns)));
            let Some((i, time_ns)) = heads.min_by_key(|&(_, time_ns)| key(time_ns)) else { break };
            let overtakes = |(queue, read): (&VecDeque<Frame>, &Read)| {
                queue.is_empty() && key(read.safe_ns(self.on_the_way_ns)) < key(time_ns)
            };
            if self.queues.iter().zip(reads).any(overtakes) {
                break;
            }
            batch.extend(self.queues[i].pop_front());
        }
        let next = |(queue, read): (&VecDeque<Frame>, &Read)| {
            queue.front().map_or(read.safe_ns(self.on_the_way_ns), |f| f.time_ns)
        };
        self.queues.iter().zip(reads).map(next).min_by_key(|&time_ns| key(time_ns)).unwrap_or(now_ns)
    }

    /// What still waits, at the end: all of it, in order.
    pub(super) fn rest(&mut self, to: &mut Vec<Frame>) {
        let mut frames: Vec<Frame> = self.queues.iter_mut().flat_map(|queue| queue.drain(..)).collect();
        frames.sort_by_key(|frame| frame.time_ns);
        to.append(&mut frames);
    }
}

#[cfg(test)]
mod tests {
    use can_decoders::{CanId, FrameKind};
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn frame(bus: u8, time_ns: u64) -> Frame {
        Frame::new(time_ns, BusId(bus), CanId::standard(1).unwrap(), FrameKind::Data, &[]).unwrap()
    }

    fn release(order: &mut Order, reads: &[Read], now_ns: u64) -> (Vec<(u8, u64)>, u64) {
        let mut batch = Vec::with_capacity(256);
        let now = order.release(&mut batch, reads, now_ns);
        (batch.iter().map(|f| (f.bus.0, f.time_ns)).collect(), now)
    }

    #[test]
    fn a_bus_with_a_backlog_holds_the_newer_frames_of_others_back() {
        let mut order = Order::new(2, ON_THE_WAY_NS);
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
        let mut order = Order::new(2, ON_THE_WAY_NS);
        order.push(frame(0, 999 * MS));
        assert_eq!(release(&mut order, &[Read::Drained(1000 * MS); 2], 1000 * MS), (vec![], 998 * MS));
        assert_eq!(release(&mut order, &[Read::Drained(1001 * MS); 2], 1001 * MS), (vec![(0, 999 * MS)], 999 * MS));
        let mut order = Order::new(1, ON_THE_WAY_NS);
        order.push(frame(0, 1500 * MS));
        assert_eq!(release(&mut order, &[Read::Drained(1500 * MS)], 1500 * MS).0, [(0, 1500 * MS)]);
    }

    /// All from before the step first, and nothing twice: the engine sees one jump.
    #[test]
    fn a_clock_that_is_set_back_is_one_step_back() {
        let (before, after) = (5000, 1000);
        for buses in 1..=2 {
            let mut order = Order::new(buses, ON_THE_WAY_NS);
            for bus in 0..u8::try_from(buses).unwrap() {
                for ms in [before, before + 4, after, after + 3] {
                    order.push(frame(bus, (ms + u64::from(bus)) * MS));
                }
            }
            let now = (after + 7) * MS;
            let (seen, _) = release(&mut order, &vec![Read::Drained(now); buses], now);
            let times: Vec<u64> = seen.iter().map(|(_, ns)| ns / MS).collect();
            let expected: &[u64] = if buses == 1 {
                &[before, before + 4, after, after + 3]
            } else {
                &[before, before + 1, before + 4, before + 5, after, after + 1, after + 3, after + 4]
            };
            assert_eq!(times, expected);
        }
    }

    /// More than a batch of one bus from before the step, and the other bus beyond it already: still one step, and the
    /// time that is told does not go back before it.
    #[test]
    fn a_step_back_with_a_backlog_is_one_step_back() {
        let (before, after) = (50_000 * MS, 20_000 * MS);
        let mut pending: [VecDeque<u64>; 2] = [
            (0..700).map(|i| before + i * MS / 4).chain((0..3).map(|i| after + i * MS)).collect(),
            (0..5).map(|i| before + i * MS).chain((0..10).map(|i| after + i * MS)).collect(),
        ];
        let (mut order, mut seen, mut told) = (Order::new(2, ON_THE_WAY_NS), Vec::new(), Vec::new());
        let mut now = after + 20 * MS;
        while seen.len() < 718 {
            let mut reads = Vec::new();
            for (bus, queue) in pending.iter_mut().enumerate() {
                let room = order.room(bus).min(queue.len());
                let taken: Vec<u64> = queue.drain(..room).collect();
                let last = taken.last().copied().or(order.queues[bus].back().map(|f| f.time_ns)).unwrap_or(before);
                taken.into_iter().for_each(|ns| order.push(frame(u8::try_from(bus).unwrap(), ns)));
                reads.push(if queue.is_empty() { Read::Drained(now) } else { Read::UpTo(last) });
            }
            let (batch, safe_ns) = release(&mut order, &reads, now);
            seen.extend(batch.iter().map(|(_, ns)| *ns));
            told.push(safe_ns);
            now += MS;
        }
        let steps = |times: &[u64]| times.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert_eq!(steps(&seen), 1);
        assert!(steps(&told) <= 1 && told.iter().position(|ns| *ns < before) >= Some(2), "{told:?}");
    }

    /// A reader that was held up, with more pending on one bus than on the other, catches up at once.
    #[test]
    fn a_backlog_is_worked_off_whatever_the_buses_rates() {
        for (rates, stall_ms) in [([2000, 1000], 500), ([2000, 500], 1000), ([8000, 100], 3000), ([1000, 100], 5000)] {
            let mut pending: Vec<VecDeque<u64>> =
                rates.iter().map(|rate| (0..stall_ms * rate / 1000).map(|i| i * 1000 * MS / rate).collect()).collect();
            let total: usize = pending.iter().map(VecDeque::len).sum();
            let (mut order, mut seen, mut reads) = (Order::new(2, ON_THE_WAY_NS), Vec::new(), 0);
            let mut now = stall_ms * MS;
            while seen.len() < total {
                now += 4 * MS;
                let mut read = Vec::new();
                for (bus, queue) in pending.iter_mut().enumerate() {
                    let room = order.room(bus);
                    let mut last = order.queues[bus].back().map_or(0, |f| f.time_ns);
                    for time_ns in queue.drain(..room.min(queue.len())) {
                        last = time_ns;
                        order.push(frame(u8::try_from(bus).unwrap(), time_ns));
                    }
                    read.push(if queue.is_empty() { Read::Drained(now) } else { Read::UpTo(last) });
                }
                seen.extend(release(&mut order, &read, now).0);
                reads += 1;
            }
            assert!(seen.is_sorted_by_key(|(_, time)| *time));
            assert!(reads <= total / 256 + 3, "{rates:?}: {reads} batches for {total} frames");
        }
    }

    proptest! {
        /// Whatever is pending where, and however it is read in parts: the order is that of the stamps.
        #[test]
        fn all_frames_come_in_order(
            gaps in prop::collection::vec((0u8..3, 0u64..3 * MS), 1..200),
            shares in prop::collection::vec(1usize..5, 1..500),
        ) {
            let mut now = 1_000_000 * MS;
            let mut pending: [VecDeque<Frame>; 3] = Default::default();
            for (bus, gap) in &gaps {
                now += gap;
                pending[usize::from(*bus)].push_back(frame(*bus, now));
            }
            let (mut order, mut seen, mut shares) = (Order::new(3, ON_THE_WAY_NS), Vec::new(), shares.into_iter().cycle());
            let mut last = [0; 3];
            while seen.len() < gaps.len() {
                // All frames are in their sockets.
                now += 10 * MS;
                let mut reads = Vec::new();
                for (queue, last) in pending.iter_mut().zip(&mut last) {
                    let share = shares.next().unwrap();
                    for frame in queue.drain(..share.min(queue.len())) {
                        *last = frame.time_ns;
                        order.push(frame);
                    }
                    reads.push(if queue.is_empty() { Read::Drained(now) } else { Read::UpTo(*last) });
                }
                let (batch, safe_ns) = release(&mut order, &reads, now);
                prop_assert!(order.queues.iter().chain(&pending).flatten().all(|frame| frame.time_ns >= safe_ns));
                seen.extend(batch);
            }
            prop_assert!(seen.is_sorted_by_key(|(_, time)| *time));
        }
    }
}

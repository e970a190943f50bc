//! Which stamp of a frame is its time.
//!
//! The controller's own stamp is the best there is, if its clock is the wall clock (disciplined by PTP,
//! say). Most controllers count from some moment of their own, or start at the wall clock and drift, and
//! that must never be taken for a time. So each is compared with the kernel's stamp of the same frame: it
//! counts only when it is as near as the merging of buses (`order`) bears, so that taking the one for the
//! other moves nothing. A clock that is off for several frames on end is not asked again until the
//! interface is opened again.

use super::order::ON_THE_WAY_NS;

/// How much older a controller's stamp may be than the kernel's, nanoseconds. The rest of [`ON_THE_WAY_NS`] is for the
/// way from there to the socket.
const BEHIND_NS: u64 = ON_THE_WAY_NS / 2;
/// The kernel stamps after the controller. So a controller's stamp may be newer only by what the clocks differ,
/// nanoseconds.
const AHEAD_NS: u64 = 500_000;
/// An interrupt that comes late makes a good stamp look bad. So many on end are no accident.
const REFUSED_AFTER: u8 = 8;

/// The choice for one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StampChoice {
    /// Stamps of the controller on end that were not near.
    off: u8,
    /// The last frame's time, while the controller stamps.
    last_ns: u64,
}

impl StampChoice {
    /// The time of a frame. `read_ns` stands in where the kernel gave none: the first frame after opening may have none.
    pub(super) fn time_ns(&mut self, software_ns: Option<u64>, hardware_ns: Option<u64>, read_ns: u64) -> u64 {
        let Some(kernel_ns) = software_ns else { return read_ns };
        let Some(hardware_ns) = hardware_ns.filter(|_| self.off < REFUSED_AFTER) else { return kernel_ns };
        let near = kernel_ns.saturating_sub(BEHIND_NS)..=kernel_ns.saturating_add(AHEAD_NS);
        let time_ns = if near.contains(&hardware_ns) {
            self.off = 0;
            hardware_ns
        } else {
            self.off += 1;
            kernel_ns
        };
        // Going from one to the other must not turn frames round. Further back, the clock was set.
        let turned = time_ns < self.last_ns && self.last_ns - time_ns <= BEHIND_NS + AHEAD_NS;
        self.last_ns = if turned { self.last_ns } else { time_ns };
        self.last_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn the_controllers_stamp_counts_while_it_is_near_the_kernels() {
        let mut choice = StampChoice::default();
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW - 40_000), NOW + 9), NOW - 40_000);
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW + 40_000), NOW + 9), NOW + 40_000);
        assert_eq!(choice.time_ns(Some(NOW - 9_000_000), Some(NOW - 9_040_000), NOW), NOW - 9_040_000, "set back");
        assert_eq!(choice.time_ns(Some(NOW), None, NOW + 9), NOW);
        assert_eq!(choice.time_ns(None, None, NOW + 9), NOW + 9);
        assert_eq!(choice.time_ns(None, Some(NOW - 40_000), NOW + 9), NOW + 9, "nothing to compare it with");
    }

    #[test]
    fn a_late_interrupt_is_not_held_against_it() {
        let mut choice = StampChoice::default();
        for i in 0..10 {
            let now = NOW + i * 1_000_000_000;
            assert_eq!(choice.time_ns(Some(now), Some(now - 3_000_000), now), now, "further than buses are merged by");
            // The next one's is older than that, and newer than this frame.
            assert_eq!(choice.time_ns(Some(now + 500_000), Some(now - 100_000), now), now);
            assert_eq!(choice.time_ns(Some(now + 900_000), Some(now + 800_000), now), now + 800_000);
        }
    }

    #[test]
    fn a_clock_of_its_own_is_never_taken_for_a_time() {
        // Seconds since the controller was started; one that happens to pass by the wall clock later.
        let mut choice = StampChoice::default();
        for i in 0..u64::from(REFUSED_AFTER) {
            assert_eq!(choice.time_ns(Some(NOW + i), Some(12_345_678 + i), NOW), NOW + i);
        }
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW - 1), NOW + 1), NOW);
    }

    /// 50 ppm, as of a quartz, 1,000 frames a second for five minutes.
    #[test]
    fn a_clock_that_drifts_is_let_go_before_it_moves_frames() {
        let mut choice = StampChoice::default();
        let mut last = None;
        for ms in 0..300_000u64 {
            let kernel_ns = NOW + ms * 1_000_000;
            let time_ns = choice.time_ns(Some(kernel_ns), Some(kernel_ns - 30_000 - ms * 50), kernel_ns);
            assert!(time_ns.abs_diff(kernel_ns) <= BEHIND_NS);
            last = Some((time_ns, kernel_ns));
        }
        assert!(last.is_some_and(|(time_ns, kernel_ns)| time_ns == kernel_ns));
    }
}

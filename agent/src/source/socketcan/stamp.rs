//! Which stamp of a frame is its time.
//!
//! The controller's own stamp is the best there is, if its clock is the wall clock. Most controllers
//! count from some moment of their own instead, and that must never be taken for a time. So it is
//! compared with the kernel's stamp: one that is ever further away than a frame can be late makes the
//! controller's clock unusable until the interface is opened again.

/// A controller's stamp may be older than the kernel's by this (the way of a frame through the driver), and newer by
/// little. Nanoseconds.
const NEAR_NS: u64 = 100_000_000;

/// The choice for one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StampChoice {
    hardware_refused: bool,
}

impl StampChoice {
    /// The time of a frame. `read_ns` stands in where the kernel gave none: the first frame after opening may have none.
    pub(super) fn time_ns(&mut self, software_ns: Option<u64>, hardware_ns: Option<u64>, read_ns: u64) -> u64 {
        let kernel_ns = software_ns.unwrap_or(read_ns);
        let Some(hardware_ns) = hardware_ns.filter(|_| !self.hardware_refused) else { return kernel_ns };
        if hardware_ns.abs_diff(kernel_ns) <= NEAR_NS {
            return hardware_ns;
        }
        self.hardware_refused = true;
        kernel_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn the_controllers_stamp_counts_while_it_is_near_the_wall_clock() {
        let mut choice = StampChoice::default();
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW - 40_000), NOW + 9), NOW - 40_000);
        assert_eq!(choice.time_ns(None, Some(NOW - 40_000), NOW + 9), NOW - 40_000);
        assert_eq!(choice.time_ns(Some(NOW), None, NOW + 9), NOW);
        assert_eq!(choice.time_ns(None, None, NOW + 9), NOW + 9);
    }

    #[test]
    fn a_clock_of_its_own_is_never_taken_for_a_time() {
        // Seconds since the controller was started; one that happens to pass by the wall clock later.
        let mut choice = StampChoice::default();
        assert_eq!(choice.time_ns(Some(NOW), Some(12_345_678), NOW), NOW);
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW), NOW + 1), NOW);
        // A clock that is set back while it runs.
        let mut choice = StampChoice::default();
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW - 5), NOW), NOW - 5);
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW - NEAR_NS - 1), NOW), NOW);
        assert_eq!(choice.time_ns(Some(NOW), Some(NOW - 5), NOW), NOW);
    }
}

//! The one place that reads the clock, and the name of this start of the computer.

use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// Wall time, nanoseconds since the Unix epoch; 0 before it.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Since the computer was started, asleep or not, nanoseconds: for lengths of time, whatever is done to the wall clock.
pub fn boot_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.num_nanoseconds());
    u64::try_from(time).unwrap_or(0)
}

/// Differs at each start of the computer: the kernel's boot id, or the time where there is none.
pub fn boot_id() -> Arc<str> {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().into(),
        Err(_) => format!("t{}", wall_ns()).into(),
    }
}

//! The one place that reads the clocks, and the name of this start of the computer.

use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use super::timeline::{Reading, Timeline};
use crate::event::Moment;
use crate::source::socketcan::clock_error_ns;

/// Wall time, nanoseconds since the Unix epoch; 0 before it.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Since the computer was started, asleep or not, nanoseconds: for lengths of time, whatever is done to the wall clock.
pub fn boot_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_BOOTTIME)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).map_or(0, |time| time.num_nanoseconds());
    u64::try_from(time).unwrap_or(0)
}

/// Whether the wall clock is synchronised.
pub fn is_synced() -> bool {
    clock_error_ns().is_some()
}

/// Now.
pub fn moment() -> Moment {
    let reading = Clocks::default().read();
    Moment { time_ns: reading.wall_ns, clock: Some(Timeline::new(reading).clock(reading.wall_ns)) }
}

/// Reads all clocks together.
#[derive(Debug, Default)]
pub struct Clocks {
    /// When the kernel was last asked about synchronisation, and what it said.
    asked: Option<(u64, Option<u64>)>,
}

impl Clocks {
    /// What they say now; about synchronisation, what was said within the last second.
    pub fn read(&mut self) -> Reading {
        const ASK_NS: u64 = 1_000_000_000;
        /// Another program may run between two readings; then they are taken again.
        const TOGETHER_NS: u64 = 1_000_000;
        let mut reading = Reading { wall_ns: 0, boot_ns: 0, awake_ns: 0, error_ns: None };
        for _ in 0..10 {
            (reading.boot_ns, reading.wall_ns) = (boot_ns(), wall_ns());
            reading.awake_ns = nanoseconds(ClockId::CLOCK_MONOTONIC);
            if boot_ns() - reading.boot_ns <= TOGETHER_NS {
                break;
            }
        }
        reading.error_ns = match self.asked {
            Some((at, error)) if reading.boot_ns.saturating_sub(at) < ASK_NS => error,
            _ => {
                let error = clock_error_ns();
                self.asked = Some((reading.boot_ns, error));
                error
            }
        };
        reading
    }
}

/// Differs at each start of the computer: the kernel's boot id, or the time where there is none. In a sandbox that hides the
/// kernel's files, the service manager tells it (`OUTRIDER_BOOT_ID`, 32 hexadecimal digits).
pub fn boot_id() -> Arc<str> {
    let told =
        std::env::var("OUTRIDER_BOOT_ID").ok().filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    if let Some(id) = told {
        // As the kernel writes it, so that both are the same.
        let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
        return parts.join("-").into();
    }
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().into(),
        Err(_) => format!("t{}", wall_ns()).into(),
    }
}

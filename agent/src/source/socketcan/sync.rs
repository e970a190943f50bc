//! Whether the clock that stamps frames is told the time.
//!
//! One of the three places with `unsafe` code: the libraries here have no `adjtimex`.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Once;
use std::time::SystemTime;

/// The kernel's `NTP_PHASE_LIMIT`, nanoseconds.
const LIMIT_NS: u64 = 16_000_000_000;
/// Touched by systemd-timesyncd each time when it has set the clock.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

/// How wrong the clock that stamps frames may be at most, nanoseconds. `None`: nobody disciplines it, or that is not known. A
/// sandbox may forbid to ask the kernel; then systemd-timesyncd's word counts, if it is what sets the clock.
pub(crate) fn clock_error_ns() -> Option<u64> {
    static TOLD: Once = Once::new();
    match kernel_error_ns() {
        Ok(error) => error,
        Err(_) => {
            if !Path::new(TIMESYNCD).exists() {
                TOLD.call_once(|| {
                    tracing::info!(
                        "the kernel may not be asked whether the clock is synchronised, and systemd-timesyncd has not said so yet; \
                         if something else sets it, see clock.conf beside the service's documentation"
                    );
                });
            }
            timesyncd_error_ns(Path::new(TIMESYNCD))
        }
    }
}

/// As the kernel lets its own estimate grow: by 500 ppm.
fn timesyncd_error_ns(touched: &Path) -> Option<u64> {
    let at = std::fs::metadata(touched).and_then(|file| file.modified()).ok()?;
    let set_ns = u64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok()?;
    // A clock that somebody has set back since is not what it was.
    let ago_ns = crate::runtime::clock::wall_ns().checked_sub(set_ns)?;
    Some(ago_ns / 2000).filter(|error_ns| *error_ns < LIMIT_NS)
}

/// The kernel's estimate of how wrong the wall clock may be, nanoseconds. `None`: nobody disciplines it, or the kernel does
/// not say. Whoever does (NTP, PTP) keeps the estimate small; else it grows by 500 ppm, up to 16 seconds, which is what
/// `timedatectl` goes by as well.
fn kernel_error_ns() -> std::io::Result<Option<u64>> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zero is a `timex` (it has only integers), and with no mode set the kernel changes nothing but it.
    let timex = unsafe {
        if libc::adjtimex(timex.as_mut_ptr()) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        timex.assume_init()
    };
    #[expect(clippy::useless_conversion, reason = "narrower on 32-bit computers")]
    let error_us = u64::try_from(i64::from(timex.maxerror)).ok();
    Ok(error_us.and_then(|us| us.checked_mul(1000)).filter(|error_ns| *error_ns < LIMIT_NS))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_timesyncd_says_wears_off() {
        let dir = tempfile::tempdir().unwrap();
        let touched = dir.path().join("synchronized");
        assert_eq!(timesyncd_error_ns(&touched), None);
        let file = std::fs::File::create(&touched).unwrap();
        let said = |ago_s: i64| {
            let now = Duration::from_nanos(crate::runtime::clock::wall_ns());
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs().saturating_add_signed(-ago_s));
            file.set_modified(at).unwrap();
            timesyncd_error_ns(&touched).map(|ns| ns / 1_000_000)
        };
        assert_eq!(said(0), Some(0));
        assert_eq!(said(2000), Some(1000));
        assert_eq!(said(40_000), None, "half a day ago");
        assert_eq!(said(-60), None, "set back since");
    }
}

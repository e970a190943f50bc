//! Whether the clock that stamps frames is told the time.
//!
//! One of the two places with `unsafe` code: the libraries here have no `adjtimex`.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// The kernel's estimate of how wrong the wall clock may be, nanoseconds. `None`: nobody disciplines it, or the kernel does
/// not say. Whoever does (NTP, PTP) keeps the estimate small; else it grows by 500 ppm, up to 16 seconds, which is what
/// `timedatectl` goes by as well.
pub(crate) fn clock_error_ns() -> Option<u64> {
    /// The kernel's `NTP_PHASE_LIMIT`, microseconds.
    const LIMIT_US: u64 = 16_000_000;
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zero is a `timex` (it has only integers), and with no mode set the kernel changes nothing but it.
    let timex = unsafe {
        if libc::adjtimex(timex.as_mut_ptr()) < 0 {
            return None;
        }
        timex.assume_init()
    };
    #[expect(clippy::useless_conversion, reason = "narrower on 32-bit computers")]
    let error_us = u64::try_from(i64::from(timex.maxerror)).ok()?;
    (error_us < LIMIT_US).then_some(error_us * 1000)
}

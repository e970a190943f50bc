//! What the clocks say, followed over time: whether the wall clock is good, when it is set, when the computer was asleep.
//!
//! The wall clock stamps frames and may be set at any moment. `CLOCK_BOOTTIME` goes evenly, and so the difference of the two
//! tells. It is looked at whenever frames are taken, many times a second; the kernel's word on synchronisation once a second.
//! A clock that is slewed creeps by half a millisecond a second; one that moves by more than 0.1 s between two looks
//! was set.

use crate::event::clock::FLOOR_NS;
use crate::event::{Clock, ClockChange, ClockFix, ClockState};

/// NTP steps a clock from 128 ms on; less, it slews.
const STEP_NS: u64 = 100_000_000;
/// What happened before a step and is told only now was stamped by the clock as it was: for so long after.
const BEFORE_NS: u64 = 5_000_000_000;
/// A clock that is set again and again is told of at most so often on average, and at most so many times on end.
const TELL_NS: u64 = 10_000_000_000;
const BURST: u64 = 5;
/// Asleep for longer, a connection may be dead.
const SLEEP_NS: u64 = 1_000_000_000;

/// The clocks at one moment, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_REALTIME`.
    pub wall_ns: u64,
    /// `CLOCK_BOOTTIME`: goes on while the computer sleeps.
    pub boot_ns: u64,
    /// `CLOCK_MONOTONIC`: does not.
    pub awake_ns: u64,
    /// The kernel's estimate of the wall clock's error, if it is synchronised.
    pub error_ns: Option<u64>,
}

/// What a look at the clocks has brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// To be told.
    pub change: Option<ClockChange>,
    /// Earlier events can be put right.
    pub fix: Option<ClockFix>,
    /// The computer was asleep.
    pub slept: bool,
}

/// How the wall clock has gone since the agent's start.
#[derive(Debug)]
pub struct Timeline {
    last: Reading,
    /// Wall time minus time since the computer was started, and what that is worth.
    now: (i64, ClockState),
    /// The same before the last step, and when that was.
    before: Option<((i64, ClockState), u64)>,
    /// Steps that are not told yet, and what can be put right by now.
    step_ns: i64,
    fix: Option<ClockFix>,
    /// The state that was told.
    told: Option<ClockState>,
    /// When all of [`BURST`] would be there again.
    rested_ns: u64,
}

impl Timeline {
    /// Begins. Whoever set the clock before is not known.
    pub fn new(reading: Reading) -> Self {
        let state = if is_synced(&reading) { ClockState::Synced } else { ClockState::Unset };
        let offset_ns = offset(&reading);
        // It may have been set while another process ran, or none.
        let fix = (state == ClockState::Synced).then_some(ClockFix { mono_ns: reading.boot_ns, offset_ns, state });
        Self { last: reading, now: (offset_ns, state), before: None, step_ns: 0, fix, told: None, rested_ns: 0 }
    }

    /// Looks at the clocks.
    pub fn look(&mut self, reading: Reading) -> News {
        let mut news = News::default();
        let passed = |to: u64, from: u64| to.saturating_sub(from);
        let asleep =
            passed(reading.boot_ns, self.last.boot_ns).saturating_sub(passed(reading.awake_ns, self.last.awake_ns));
        news.slept = asleep >= SLEEP_NS;
        let (offset, (before_ns, state)) = (offset(&reading), self.now);
        let moved = offset.abs_diff(before_ns) >= STEP_NS;
        let next = if reading.wall_ns < FLOOR_NS {
            ClockState::Unset
        } else if is_synced(&reading) {
            ClockState::Synced
        } else if moved || state != ClockState::Unset {
            ClockState::Set
        } else {
            ClockState::Unset
        };
        if moved {
            self.before = Some((self.now, reading.boot_ns));
            self.step_ns = self.step_ns.saturating_add(offset.saturating_sub(before_ns));
        }
        if next > ClockState::Unset && (moved || next > state) {
            self.fix = Some(ClockFix { mono_ns: reading.boot_ns, offset_ns: offset, state: next });
        }
        (self.now, self.last) = ((offset, next), reading);
        let changed = self.step_ns != 0 || self.told != Some(next);
        if changed && self.rested_ns <= reading.boot_ns.saturating_add((BURST - 1) * TELL_NS) {
            self.rested_ns = self.rested_ns.max(reading.boot_ns) + TELL_NS;
            self.told = Some(next);
            let step = std::mem::take(&mut self.step_ns);
            let error = reading.error_ns.filter(|_| next == ClockState::Synced);
            news.change = Some(ClockChange { step, error, state: next });
            news.fix = self.fix.take();
        }
        news
    }

    /// What the clock that said `time_ns` is worth, for something that has just happened.
    pub fn clock(&self, time_ns: u64) -> Clock {
        let mono_ns = |offset_ns: i64| time_ns.saturating_add_signed(offset_ns.saturating_neg());
        let from_now = |offset_ns: i64| mono_ns(offset_ns).abs_diff(self.last.boot_ns);
        let before = self.before.filter(|(_, at)| self.last.boot_ns.saturating_sub(*at) <= BEFORE_NS);
        let (offset_ns, state) = match before {
            Some((before, _)) if from_now(before.0) < from_now(self.now.0) => before,
            _ => self.now,
        };
        Clock { mono_ns: mono_ns(offset_ns), state }
    }
}

fn is_synced(reading: &Reading) -> bool {
    reading.wall_ns >= FLOOR_NS && reading.error_ns.is_some()
}

fn offset(reading: &Reading) -> i64 {
    let narrow = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    narrow(reading.wall_ns) - narrow(reading.boot_ns)
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;

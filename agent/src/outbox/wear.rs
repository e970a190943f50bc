//! Flash wears out by being written. What this process writes is measured, and kept within a budget a day.
//!
//! The measure is the kernel's: `write_bytes` of `/proc/self/io`, what was handed to block devices, whole pages, the
//! outbox's and all else that the process writes. (What the file system's journal and the flash itself make of it comes on
//! top; no process can see that.) The budget is a bucket that holds a day's bytes and fills evenly. While it is full enough,
//! everything is stored; when it runs low, the less important of the classes that are stored only offline are thinned, all
//! along and not the end of the day cut off: of `bulk` less is stored from a half on, of `telemetry` from a quarter, of
//! `status` from a sixteenth. What must be stored before it is sent is stored whatever it costs.

use std::time::Instant;

use crate::event::Class;

const DAY_S: f64 = 86_400.0;

/// The bucket. Without a budget it only measures.
#[derive(Debug)]
pub(super) struct Wear {
    /// Bytes a day.
    budget: Option<u64>,
    left: f64,
    at: Instant,
    measure: fn() -> Option<u64>,
    /// Measured last.
    seen: u64,
    /// Since the outbox was opened.
    written: u64,
    /// How much of an event of each class is due.
    due: [f64; 5],
}

impl Wear {
    pub(super) fn new(budget: Option<u64>, measure: fn() -> Option<u64>) -> Self {
        let (left, seen) = (as_float(budget.unwrap_or(0)), measure().unwrap_or(0));
        Self { budget, left, at: Instant::now(), measure, seen, written: 0, due: [1.0; 5] }
    }

    /// Another budget: no more than that is left of it, and what was overdrawn stays so.
    pub(super) fn configure(&mut self, budget: Option<u64>) {
        self.update();
        self.left = match (self.budget, budget) {
            (Some(_), Some(budget)) => self.left.clamp(-as_float(budget), as_float(budget)),
            (None, Some(budget)) => as_float(budget),
            (_, None) => 0.0,
        };
        self.budget = budget;
    }

    /// Goes on with what an earlier run had left, so many seconds ago.
    pub(super) fn resume(&mut self, left: u64, seconds: u64) {
        if let Some(budget) = self.budget {
            let filled = as_float(budget) * (as_float(seconds) / DAY_S);
            self.left = (as_float(left) + filled).min(as_float(budget));
        }
    }

    /// Takes note of what was written.
    pub(super) fn update(&mut self) {
        let now = Instant::now();
        let seen = (self.measure)().unwrap_or(self.seen);
        let more = seen.saturating_sub(self.seen);
        self.seen = seen;
        self.written = self.written.saturating_add(more);
        if let Some(budget) = self.budget {
            let filled = as_float(budget) * (now.duration_since(self.at).as_secs_f64() / DAY_S);
            self.left = (self.left + filled).min(as_float(budget)) - as_float(more);
            // What must be written may overdraw it: by a day at most, or it would never come back.
            self.left = self.left.max(-as_float(budget));
        }
        self.at = now;
    }

    /// Whether the next event of a class may be stored.
    pub(super) fn admits(&mut self, class: Class) -> bool {
        let from = match class {
            Class::Critical | Class::Alert => return true,
            Class::Status => 1.0 / 16.0,
            Class::Telemetry => 1.0 / 4.0,
            Class::Bulk => 1.0 / 2.0,
        };
        let Some(budget) = self.budget else { return true };
        let share = (self.left / (as_float(budget) * from)).clamp(0.0, 1.0);
        let due = &mut self.due[class.rank()];
        *due += share;
        if *due < 1.0 {
            return false;
        }
        *due = (*due - 1.0).min(1.0);
        true
    }

    /// Whether [`Wear::admits`] would refuse anything.
    pub(super) fn is_low(&self) -> bool {
        self.budget.is_some_and(|budget| self.left < as_float(budget) / 2.0)
    }

    /// Bytes written since the outbox was opened.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that may still be written, if there is a budget.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded down, nothing below zero")]
    pub(super) fn left(&self) -> Option<u64> {
        self.budget.map(|_| self.left.max(0.0) as u64)
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a budget")]
fn as_float(n: u64) -> f64 {
    n as f64
}

/// Bytes that this process has had written to block devices; `None` when the kernel does not say.
pub(super) fn process_written() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
}

#[cfg(test)]
#[path = "wear_tests.rs"]
mod tests;

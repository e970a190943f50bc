//! What a generation holds of one class that is not acknowledged, in a few numbers.

use super::index::Entry;
use super::record::{Times, take};

/// Sums and bounds. The bounds may be wider than what is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stock {
    pub(super) records: u32,
    pub(super) events: u64,
    /// Bytes of payloads.
    pub(super) bytes: u64,
    /// No number is below.
    pub(super) first: u64,
    /// No number is above.
    pub(super) last: u64,
    /// Of the earliest and the latest event.
    pub(super) times: Times,
}

impl Stock {
    pub(super) fn add(&mut self, first: u64, entry: &Entry) {
        if self.records == 0 {
            *self = Self { first, last: entry.last, times: entry.times, ..Self::default() };
        }
        self.records += 1;
        self.events += u64::from(entry.count);
        self.bytes += u64::from(entry.bytes);
        (self.first, self.last) = (self.first.min(first), self.last.max(entry.last));
        self.times = (self.times.0.min(entry.times.0), self.times.1.max(entry.times.1));
    }

    pub(super) fn remove(&mut self, first: u64, entry: &Entry) {
        self.records = self.records.saturating_sub(1);
        self.events = self.events.saturating_sub(u64::from(entry.count));
        self.bytes = self.bytes.saturating_sub(u64::from(entry.bytes));
        if first == self.first {
            self.first += 1;
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.records.to_le_bytes());
        for n in [self.events, self.bytes, self.first, self.last, self.times.0, self.times.1] {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }

    pub(super) fn take(rest: &mut &[u8]) -> Option<Self> {
        let records = u32::from_le_bytes(take(rest)?);
        let mut number = || Some(u64::from_le_bytes(take(rest)?));
        let (events, bytes, first, last) = (number()?, number()?, number()?, number()?);
        Some(Self { records, events, bytes, first, last, times: (number()?, number()?) })
    }
}

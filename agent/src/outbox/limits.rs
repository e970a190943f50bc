//! What holds for a class alone: how many bytes of it may wait, and for how long.

use super::ledger::Loss;
use super::store::SledOutbox;
use crate::event::{Class, LossCause};

/// Records dropped at a time: bounds how long a commit takes.
const MOST: usize = 1024;

impl SledOutbox {
    /// Drops the oldest of each class of which too much waits.
    pub(super) fn keep_class_quotas(&mut self) {
        for class in Class::ALL {
            let quota = self.config.classes[class.rank()].quota_bytes;
            if self.bytes(class) > quota {
                // Some more than need be: many small gap events would come to more.
                let enough = quota - quota / 16;
                self.drop_oldest(class, LossCause::Quota, |this, _| this.bytes(class) > enough);
            }
        }
    }

    /// Drops what is older than its class may be.
    pub(super) fn drop_expired(&mut self, now_ns: u64) {
        for class in Class::ALL {
            let age = u64::try_from(self.config.classes[class.rank()].max_age.as_nanos()).unwrap_or(u64::MAX);
            let limit = now_ns.saturating_sub(age);
            let stocks = self.keeps.values().filter(|keep| !keep.doomed).map(|keep| keep.stock[class.rank()]);
            let earliest = stocks.filter(|stock| stock.records > 0).map(|stock| stock.times.0).min();
            if self.volatile.earliest(class).into_iter().chain(earliest).any(|time| time < limit) {
                self.drop_oldest(class, LossCause::Age, |_, latest_ns| latest_ns < limit);
            }
        }
    }

    /// Bytes of a class that wait.
    fn bytes(&self, class: Class) -> u64 {
        let stored = self.keeps.values().filter(|keep| !keep.doomed).map(|keep| keep.stock[class.rank()].bytes);
        stored.sum::<u64>() + self.volatile.bytes_of(class)
    }

    /// Drops records from the front as long as `goes` says so; it is given the time of the record's latest event.
    fn drop_oldest(&mut self, class: Class, cause: LossCause, goes: impl Fn(&Self, u64) -> bool) {
        let mut lost = Loss::default();
        for _ in 0..MOST {
            let Ok(Some((first, entry))) = self.next(class, 0) else { break };
            if !goes(self, entry.times.1) {
                break;
            }
            if let Some(keep) = self.keeps.get_mut(&entry.generation) {
                keep.hold_listing(entry.generation);
            }
            if class == Class::Status
                && let Some(record) = self.peek(class, first, entry)
            {
                // What a gap event explains must still be explained.
                self.ledger.readopt(record.events().map(|e| e.1));
                self.owed.settle(&[(first, entry.last)].into_iter().collect());
            }
            lost.add(&self.numbers(class, first, entry), Some(entry.times));
            self.forget(class, first, entry);
        }
        if !lost.numbers.is_empty() {
            tracing::warn!(%class, events = lost.numbers.count(), ?cause, "outbox drops the oldest");
            self.lose(cause, Some(class), &lost.numbers, lost.times);
        }
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;

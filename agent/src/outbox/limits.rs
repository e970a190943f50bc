//! What holds for a class alone: how many bytes of it may wait, and for how long.

use super::index::Entry;
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
                self.drop_oldest(class, LossCause::Quota, |this, _, _| Some(this.bytes(class) > enough));
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
                self.drop_oldest(class, LossCause::Age, |this, first, entry| {
                    if entry.times.1 >= limit {
                        return Some(false);
                    }
                    // Perhaps the clock was wrong. What cannot be read has to be looked at by whoever sends it.
                    let record = this.peek(class, first, entry)?;
                    this.latest_time(&record).map(|latest_ns| latest_ns < limit)
                });
            }
        }
    }

    /// Bytes of a class that wait.
    fn bytes(&self, class: Class) -> u64 {
        let stored = self.keeps.values().filter(|keep| !keep.doomed).map(|keep| keep.stock[class.rank()].bytes);
        stored.sum::<u64>() + self.volatile.bytes_of(class)
    }

    /// Drops records from the front as long as `goes` says so. Those of which it does not know are passed over.
    fn drop_oldest(&mut self, class: Class, cause: LossCause, goes: impl Fn(&mut Self, u64, Entry) -> Option<bool>) {
        let (mut lost, mut after) = (Loss::default(), 0);
        for _ in 0..MOST {
            let Ok(Some((first, entry))) = self.next(class, after) else { break };
            match goes(self, first, entry) {
                Some(true) => {}
                Some(false) => break,
                None => {
                    after = first;
                    continue;
                }
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
            // From here on nothing is noted as done with on disk before it is explained.
            self.unexplained = true;
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

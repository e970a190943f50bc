//! Records: storing them, reading them back, forgetting them, and knowing their numbers when they cannot be read.

use super::generation::{self, Failure};
use super::index::Entry;
use super::ranges::RangeSet;
use super::record::{self, Record};
use super::store::SledOutbox;
use super::{OutboxError, generation::Put};
use crate::event::{Class, LossCause};

/// A record to be stored: class, numbers with lengths, payload.
pub(super) type NewRecord = (Class, Vec<(u64, u32)>, Vec<u8>);

/// Acknowledgements that go with the next commit.
const NOTE_WITH_COMMIT: u32 = 16;

impl SledOutbox {
    /// Stores records in the newest generation, durably and all or none, and adds them to the index.
    pub(super) fn store(&mut self, records: &[NewRecord]) -> Result<(), OutboxError> {
        let id = self.newest;
        let Some(keep) = self.keeps.get_mut(&id) else {
            return Err(self.failed(id, "store", Failure::Damaged("no newest generation".to_owned())));
        };
        let mut puts: Vec<Put> = Vec::with_capacity(records.len());
        let (mut salvaged, mut ordinal) = (false, keep.stored);
        for (class, events, payload) in records {
            let first = events.first().map_or(0, |e| e.0);
            if keep.acked[class.rank()].contains(first) {
                // A record salvaged into a stretch that is acknowledged here: it is not.
                keep.acked[class.rank()].remove(first, first);
                salvaged = true;
            }
            puts.push((*class, first, record::encode(*class, ordinal, events, payload)));
            ordinal = ordinal.saturating_add(1);
        }
        let with_acked = salvaged || keep.acks_dirty >= NOTE_WITH_COMMIT;
        self.put(&puts, with_acked)?;
        for (class, events, payload) in records {
            let (Some(first), Some(last)) = (events.first(), events.last()) else { continue };
            let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let entry =
                Entry { last: last.0, count: narrow(events.len()), bytes: narrow(payload.len()), generation: id };
            if let Some(keep) = self.keeps.get_mut(&id) {
                keep.live[class.rank()] += 1;
                for &(seq, _) in events {
                    keep.holds.insert(seq, seq);
                }
            }
            if let Some(before) = self.index.insert(*class, first.0, entry)
                && let Some(keep) = self.keeps.get_mut(&before.generation)
            {
                keep.live[class.rank()] -= 1;
            }
        }
        if let Some(keep) = self.keeps.get_mut(&id) {
            keep.stored = ordinal;
        }
        Ok(())
    }

    /// A record of the index, if it can be read; no consequences if not.
    pub(super) fn peek(&mut self, class: Class, first: u64, entry: Entry) -> Option<Record> {
        let bytes = self.handle(entry.generation).ok()?.get(class, first).ok()??;
        record::decode(&bytes).filter(|r| r.class == class && r.first() == first && Entry::of(r, 0).last == entry.last)
    }

    /// A record of the index. `None`: it is damaged, now forgotten, and noted as lost.
    pub(super) fn fetch(&mut self, class: Class, first: u64, entry: Entry) -> Result<Option<Record>, OutboxError> {
        let id = entry.generation;
        // sled may have stumbled over its own cache or a broken write before: look twice.
        for _ in 0..2 {
            match self.handle(id) {
                Ok(_) => {}
                Err(Failure::Io(error)) => return Err(self.failed(id, "open a generation", Failure::Io(error))),
                Err(Failure::Damaged(reason)) => {
                    self.give_up(id, &reason);
                    return Ok(None);
                }
            }
            if let Some(record) = self.peek(class, first, entry) {
                return Ok(Some(record));
            }
            self.drop_handle(id);
        }
        self.lose_record(class, first, entry);
        Ok(None)
    }

    fn lose_record(&mut self, class: Class, first: u64, entry: Entry) {
        let id = entry.generation;
        tracing::error!(generation = id, %class, first, last = entry.last, "outbox record is damaged");
        if let Some(keep) = self.keeps.get_mut(&id) {
            keep.hold_listing(id);
        }
        let numbers = self.unaccounted(class, first, entry.last);
        self.lose(LossCause::Corrupt, Some(class), &numbers);
        self.forget(class, first, entry);
        if let Some(keep) = self.keeps.get_mut(&id) {
            // One less to be found at the next opening; and nothing more goes to a place known to be bad.
            keep.stored = keep.stored.saturating_sub(1);
            self.rotate_wanted |= id == self.newest;
            if keep.live() == 0 && id != self.newest {
                self.doom(id);
            }
        }
    }

    /// Takes a record out of the index and marks it as done with in its generation.
    pub(super) fn forget(&mut self, class: Class, first: u64, entry: Entry) {
        let (before, after) = self.index.bounds(class, first, entry.generation);
        self.index.remove(class, first);
        if let Some(keep) = self.keeps.get_mut(&entry.generation) {
            // Up to the neighbours there is no other record here, so that neighbouring ranges join.
            let from = before.map_or(0, |n| n + 1);
            keep.acked[class.rank()].insert(from, after.map_or(first, |n| n - 1));
            keep.live[class.rank()] = keep.live[class.rank()].saturating_sub(1);
            keep.acks_dirty = keep.acks_dirty.saturating_add(1);
        }
    }

    /// The numbers of a record's events.
    pub(super) fn numbers(&mut self, class: Class, first: u64, entry: Entry) -> RangeSet {
        if entry.is_contiguous(first) {
            return [(first, entry.last)].into_iter().collect();
        }
        match self.peek(class, first, entry) {
            Some(record) => record.events.iter().map(|e| (e.0, e.0)).collect(),
            None => self.unaccounted(class, first, entry.last),
        }
    }

    /// Forgets a batch of which the gateway has refused the events `refused`, `None` for all, and explains them.
    pub(super) fn refused(
        &mut self,
        class: Class,
        first: u64,
        refused: Option<&[u64]>,
        cause: LossCause,
    ) -> Result<(), OutboxError> {
        let Some(entry) = self.index.get(class, first) else { return Ok(()) };
        let lost = |seq: u64| refused.is_none_or(|refused| refused.contains(&seq));
        if class == Class::Status
            && let Some(record) = self.peek(class, first, entry)
        {
            // What a refused gap event explained must still be explained.
            self.ledger.readopt(record.events().filter(|e| lost(e.0)).map(|e| e.1));
        }
        let numbers = match refused {
            None => self.numbers(class, first, entry),
            Some(refused) => refused.iter().map(|&seq| (seq, seq)).collect(),
        };
        self.lose(cause, Some(class), &numbers);
        self.forget(class, first, entry);
        self.after_ack(entry.generation)
    }

    /// The numbers from `first` to `last` that no record of another class has: what a record of `class` that cannot be
    /// read had at most. Numbers acknowledged already may be among them.
    pub(super) fn unaccounted(&mut self, class: Class, first: u64, last: u64) -> RangeSet {
        const MAX_READS: usize = 64;
        let mut numbers: RangeSet = [(first, last)].into_iter().collect();
        for other in Class::ALL.into_iter().filter(|&c| c != class) {
            for (first, entry) in self.index.overlapping(other, first, last, MAX_READS) {
                if entry.is_contiguous(first) {
                    numbers.remove(first, entry.last);
                } else if let Some(record) = self.peek(other, first, entry) {
                    record.events.iter().for_each(|e| numbers.remove(e.0, e.0));
                }
            }
        }
        numbers
    }
}

/// What a generation holds, read once from end to end.
pub(super) struct Scan {
    /// Readable records, without their payloads.
    pub(super) records: Vec<(Class, u64, Entry)>,
    /// Numbers of their events.
    pub(super) numbers: RangeSet,
    /// Their ordinals.
    pub(super) ordinals: RangeSet,
    pub(super) acked: generation::Acked,
    /// Nothing unreadable was met.
    pub(super) whole: bool,
}

impl Scan {
    pub(super) fn of(generation: &generation::Generation) -> Self {
        let (mut records, mut numbers, mut ordinals) = (Vec::new(), RangeSet::default(), RangeSet::default());
        let mut undecodable = false;
        let readable = generation.scan(|class, first, bytes| {
            match record::decode(bytes).filter(|r| r.class == class && r.first() == first) {
                Some(record) => {
                    record.events.iter().for_each(|e| numbers.insert(e.0, e.0));
                    let ordinal = u64::from(record.ordinal);
                    ordinals.insert(ordinal, ordinal);
                    records.push((class, first, Entry::of(&record, generation.id)));
                }
                None => undecodable = true,
            }
        });
        Self { records, numbers, ordinals, acked: generation.acked(), whole: readable && !undecodable }
    }

    /// Records found.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }

    /// The ordinal after the last.
    pub(super) fn next_ordinal(&self) -> u32 {
        self.ordinals.last().map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// Whether some record is missing between the first and the last that was written.
    pub(super) fn has_holes(&self) -> bool {
        self.ordinals.len() > 1 || self.ordinals.first().is_some_and(|n| n != 0)
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;

//! Records: storing them, reading them back, forgetting them, and knowing their numbers when they cannot be read.

use super::generation::{Failure, Put};
use super::head::{Doubt, Note};
use super::index::Entry;
use super::record::{self, Record};
use super::store::SledOutbox;
use super::volatile::MEMORY;
use super::{OutboxError, contents, dir};
use crate::event::{Class, LossCause};

impl SledOutbox {
    /// Stores records in the newest generation, durably and all or none. `doubt` is what is in doubt once they are stored.
    pub(super) fn store(&mut self, records: &[Record], doubt: Option<&Doubt>) -> Result<(), OutboxError> {
        if self.writer.is_none() {
            self.rotate()?;
        }
        let id = self.newest;
        let path = self.dir.generation(id);
        let Some(keep) = self.keeps.get_mut(&id) else {
            return Err(self.failed(id, "store", Failure::Damaged("unknown generation".to_owned())));
        };
        // Copied here before, and a crash before the original was deleted.
        let is_there = |r: &Record| keep.table.as_ref()?.get(r.class, r.first()).filter(|e| e.last == r.last());
        let records: Vec<&Record> = records.iter().filter(|record| is_there(record).is_none()).collect();
        let mut puts: Vec<Put> = Vec::with_capacity(records.len());
        let (mut salvaged, mut ordinal) = (false, keep.stored);
        for record in &records {
            let (class, first) = (record.class, record.first());
            if keep.acked[class.rank()].contains(first) {
                // A record salvaged into a stretch that is acknowledged here: it is not.
                keep.acked[class.rank()].remove(first, first);
                salvaged = true;
            }
            puts.push((class, first, record::encode(record, ordinal)));
            ordinal = ordinal.saturating_add(1);
        }
        if salvaged {
            // What is on disk must not say so either once the record is there.
            keep.acks_dirty = keep.acks_dirty.saturating_add(1);
            contents::void_acked(&path).map_err(|e| dir::io_error(&path, "note acknowledgements", e))?;
        }
        let note = doubt.map(|doubt| Note { doubt: doubt.clone(), records: ordinal });
        self.put(&puts, note.as_ref())?;
        let Some(keep) = self.keeps.get_mut(&id) else { return Ok(()) };
        for record in records {
            let (class, first, entry) = (record.class, record.first(), Entry::of(record, id));
            record.events.iter().for_each(|e| keep.holds.insert(e.0, e.0));
            if let Some(before) = keep.table.get_or_insert_default().insert(record, id) {
                keep.stock[class.rank()].remove(first, &before);
            }
            keep.stock[class.rank()].add(first, &entry);
        }
        keep.stored = ordinal;
        Ok(())
    }

    /// A record, if it can be read. `None`: it is damaged; no consequences.
    fn look(&mut self, class: Class, first: u64, entry: Entry) -> Result<Option<Record>, OutboxError> {
        let id = entry.generation;
        let found = if id == MEMORY {
            self.volatile.get(class, first).cloned()
        } else if let Some(writer) = self.writer.as_ref().filter(|writer| writer.id == id) {
            let bytes = writer.get(class, first).map_err(|failure| self.failed(id, "read", failure));
            // What sled stumbles over is still in its file.
            bytes.unwrap_or_default().and_then(|bytes| record::decode(&bytes))
        } else {
            None
        };
        let is_it = |r: &Record| r.class == class && r.first() == first && r.last() == entry.last;
        if let Some(record) = found.filter(is_it) {
            return Ok(Some(record));
        }
        if id == MEMORY {
            return Ok(None);
        }
        if id == self.newest {
            // What is found in its file now is not all that there will be.
            self.rotate_wanted = true;
            if let Some(keep) = self.keeps.get_mut(&id) {
                keep.raw = None;
            }
        }
        if !self.open_raw(id)? {
            return Ok(None);
        }
        let Some(keep) = self.keeps.get_mut(&id) else { return Ok(None) };
        match keep.raw.as_mut().map_or(Ok(None), |raw| raw.record(class, first)) {
            Ok(None) if keep.raw.as_ref().is_some_and(|raw| raw.has_unreadable) && !keep.is_given_up() => {
                keep.raw = None;
                let source = std::io::Error::other("a part of it cannot be read; it is tried again for a minute");
                Err(dir::io_error(&self.dir.generation(id), "read", source))
            }
            Ok(found) => Ok(found.filter(is_it)),
            Err(error) => {
                // Next time it is looked through anew: what stays unreadable is lost.
                keep.raw = None;
                Err(dir::io_error(&self.dir.generation(id), "read", error))
            }
        }
    }

    /// A record, if it can be read; no consequences if not.
    pub(super) fn peek(&mut self, class: Class, first: u64, entry: Entry) -> Option<Record> {
        self.look(class, first, entry).ok()?
    }

    /// A record. `None`: it is damaged, now forgotten, and noted as lost.
    pub(super) fn fetch(&mut self, class: Class, first: u64, entry: Entry) -> Result<Option<Record>, OutboxError> {
        let found = self.look(class, first, entry)?;
        if found.is_none() {
            self.lose_record(class, first, entry);
        }
        Ok(found)
    }

    fn lose_record(&mut self, class: Class, first: u64, entry: Entry) {
        let id = entry.generation;
        if let Some(keep) = self.keeps.get_mut(&id) {
            if !keep.damaged {
                tracing::error!(generation = id, %class, first, last = entry.last, "outbox generation has lost records");
            }
            keep.damaged = true;
            keep.hold_listing(id);
        }
        // Nothing more goes to a place known to be bad.
        self.rotate_wanted |= id == self.newest;
        let numbers = self.numbers(class, first, entry);
        self.lose(LossCause::Corrupt, Some(class), &numbers, Some(entry.times));
        self.forget(class, first, entry);
        if let Err(error) = self.after_ack(id) {
            tracing::warn!(%error, "outbox generation not given back yet");
        }
    }

    /// Marks a record as done with.
    pub(super) fn forget(&mut self, class: Class, first: u64, entry: Entry) {
        if entry.generation == MEMORY {
            self.volatile.remove(class, first);
        } else if let Some(keep) = self.keeps.get_mut(&entry.generation) {
            keep.settle(class, first, &entry);
        }
    }

    /// The gateway has acknowledged a batch.
    pub(super) fn acknowledged(&mut self, class: Class, first: u64) -> Result<(), OutboxError> {
        // More than one: copied to another generation, and a crash before the first was deleted. One with more events is not
        // a copy: a part of it was left by a commit that failed half way.
        let mut last = None;
        while let Some(entry) = self.get(class, first)?.filter(|entry| entry.last <= *last.get_or_insert(entry.last)) {
            self.forget(class, first, entry);
            if class == Class::Status {
                self.owed.settle(&[(first, entry.last)].into_iter().collect());
            }
            self.after_ack(entry.generation)?;
        }
        Ok(())
    }

    /// Forgets a batch of which the gateway has refused the events `refused`, `None` for all, and explains them.
    pub(super) fn refused(
        &mut self,
        class: Class,
        first: u64,
        refused: Option<&[u64]>,
        cause: LossCause,
    ) -> Result<(), OutboxError> {
        let mut last = None;
        while let Some(entry) = self.get(class, first)?.filter(|entry| entry.last <= *last.get_or_insert(entry.last)) {
            let lost = |seq: u64| refused.is_none_or(|refused| refused.contains(&seq));
            if class == Class::Status
                && let Some(record) = self.peek(class, first, entry)
            {
                // What a refused gap event explained must still be explained.
                self.ledger.readopt(record.events().filter(|e| lost(e.0)).map(|e| e.1));
                self.owed.settle(&[(first, entry.last)].into_iter().collect());
            }
            let numbers = match refused {
                None => self.numbers(class, first, entry),
                Some(refused) => refused.iter().map(|&seq| (seq, seq)).collect(),
            };
            self.lose(cause, Some(class), &numbers, Some(entry.times));
            self.forget(class, first, entry);
            self.after_ack(entry.generation)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;

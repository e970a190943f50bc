//! The books of the generations: which there are, which are open, what the head says about them.

use std::time::{Duration, Instant};

use super::contents::Noted;
use super::dir;
use super::generation::{Acked, Failure, Generation};
use super::head::{GenerationInfo, Head, Note};
use super::index::{Entry, Table};
use super::ranges::RangeSet;
use super::raw::Raw;
use super::stock::Stock;
use super::store::{BLOCK, SledOutbox};
use super::{OutboxError, contents, generation};
use crate::event::Class;

/// Ranges by which the head knows a generation.
const MAX_HOLDS: usize = 16;
/// A newest generation of at least this part of its limit is given up when all in it is acknowledged.
const WORTH_RETURNING: u64 = 2;

/// What is known about a generation.
#[derive(Debug, Default)]
pub(super) struct Keep {
    /// Records in it, acknowledged ones too. The next ordinal while it is the newest.
    pub(super) stored: u32,
    /// What is not acknowledged, by class rank.
    pub(super) stock: [Stock; 5],
    /// Its records. Of a closed generation only while they are wanted.
    pub(super) table: Option<Table>,
    /// Numbers in it.
    pub(super) holds: RangeSet,
    /// While it is the newest: numbers from here on may be in it.
    pub(super) first_own: u64,
    pub(super) closed: bool,
    pub(super) acked: Acked,
    /// Acknowledgements not noted on disk.
    pub(super) acks_dirty: u32,
    /// To be deleted as soon as all losses are explained.
    pub(super) doomed: bool,
    /// To be read with it. Only while it is wanted.
    pub(super) raw: Option<Raw>,
    /// Since when something that should be there cannot be read.
    pub(super) unreadable_since: Option<Instant>,
    /// It has lost something: it goes to quarantine in the end.
    pub(super) damaged: bool,
    /// What the head goes on saying until the losses in this generation are explained.
    pub(super) listed: Option<GenerationInfo>,
    /// Bytes on disk when last measured.
    pub(super) disk: u64,
}

impl Keep {
    /// Records not acknowledged.
    pub(super) fn live(&self) -> u32 {
        self.stock.iter().map(|stock| stock.records).sum()
    }

    /// The first record not acknowledged of `class` whose first number is above `after`; its table must be loaded.
    pub(super) fn beyond(&self, class: Class, after: u64) -> Option<(u64, Entry)> {
        let acked = &self.acked[class.rank()];
        self.table.as_ref()?.beyond(class, after).iter().find(|(first, _)| !acked.contains(*first)).copied()
    }

    /// Whether what cannot be read has been tried for long enough to be called lost.
    pub(super) fn is_given_up(&mut self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(60);
        self.unreadable_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE
    }

    /// Marks a record as done with.
    pub(super) fn settle(&mut self, class: Class, first: u64, entry: &Entry) {
        let rank = class.rank();
        // Up to the neighbours there is no other record here, so that neighbouring ranges join.
        let (before, after) = self.table.as_ref().map_or((Some(first - 1), None), |t| t.neighbours(class, first));
        self.acked[rank].insert(before.map_or(0, |n| n + 1), after.map_or(first, |n| n - 1));
        self.stock[rank].remove(first, entry);
        self.acks_dirty = self.acks_dirty.saturating_add(1);
    }

    pub(super) fn info(&self, id: u32) -> GenerationInfo {
        let mut holds = self.holds.clone();
        holds.coarsen(MAX_HOLDS);
        let (closed, stored, first_own) = (self.closed, self.stored, self.first_own);
        GenerationInfo { id, closed, stored, first_own, holds }
    }

    /// Makes the head go on saying what it says now.
    pub(super) fn hold_listing(&mut self, id: u32) {
        if self.listed.is_none() {
            self.listed = Some(self.info(id));
        }
    }
}

impl SledOutbox {
    /// Disk that a generation may take before the next is begun: an eighth of the quota, but not so much that reading
    /// it at start takes a lot of memory.
    pub(super) fn generation_limit(&self) -> u64 {
        const MOST: u64 = 8 << 20;
        (self.config.quota_bytes / 8).min(MOST)
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.keeps.values().map(|k| k.disk).sum::<u64>() + self.other_disk
    }

    /// Writes the head; `clean` with the next number when nothing will follow.
    pub(super) fn write_head(&mut self, clean: Option<u64>) -> Result<(), OutboxError> {
        self.dir.check()?;
        if self.unreserved && clean.is_none() {
            self.head.reserved_end = self.next_seq.saturating_add(BLOCK);
        }
        self.head = Head {
            reserved_end: self.head.reserved_end,
            doubt: self.doubt(),
            clean,
            next_generation: self.head.next_generation,
            generations: self.keeps.iter().map(|(&id, k)| k.listed.clone().unwrap_or_else(|| k.info(id))).collect(),
            wear: (self.wear.left().unwrap_or(0), self.latest.time_ns),
            owed: self.owed.clone(),
            fixes: std::mem::take(&mut self.head.fixes),
            name: self.head.name.take(),
        };
        self.head.store(self.dir.path()).map_err(|e| dir::io_error(self.dir.path(), "write head", e))?;
        self.head_stale = false;
        self.unreserved = false;
        Ok(())
    }

    /// Begins a new generation.
    pub(super) fn rotate(&mut self) -> Result<(), OutboxError> {
        self.dir.check()?;
        let id = self.head.next_generation;
        let created = Generation::create(&self.dir.generation(id), id);
        let generation = created.map_err(|e| self.failed(id, "begin a generation", e))?;
        self.head.next_generation = id.saturating_add(1);
        let disk = dir::disk_bytes(&self.dir.generation(id));
        let (first_own, table) = (self.first_to_come(), Some(Table::default()));
        self.keeps.insert(id, Keep { first_own, disk, table, ..Keep::default() });
        // Nothing may be stored in a generation that the head does not know.
        if let Err(error) = self.write_head(None) {
            self.keeps.remove(&id);
            drop(generation);
            if let Err(error) = self.dir.delete_generation(id) {
                tracing::warn!(%error, generation = id, "outbox generation could not be deleted");
            }
            return Err(error);
        }
        // Until now, should something have failed, the old one could still be written.
        self.retire();
        (self.newest, self.writer) = (id, Some(generation));
        self.rotate_wanted = false;
        Ok(())
    }

    /// Nothing more is written to the newest generation. The next commit begins another.
    pub(super) fn retire(&mut self) {
        let id = std::mem::take(&mut self.newest);
        self.writer = None;
        let Some(keep) = self.keeps.get_mut(&id) else { return };
        keep.closed = true;
        keep.raw = None;
        keep.disk = dir::disk_bytes(&self.dir.generation(id));
        self.store_contents(id);
        self.note_acked(id);
        self.loaded.push(id);
    }

    /// The first number that a record to come can hold, but for those copied from other generations.
    fn first_to_come(&self) -> u64 {
        let doubt = self.doubt();
        doubt.waiting.first().map_or(doubt.from, |first| first.min(doubt.from))
    }

    /// Notes on disk what is acknowledged in a generation. Failing that, it is sent again after a restart.
    pub(super) fn note_acked(&mut self, id: u32) {
        // Among the forgotten may be rejected records: their gap event comes first.
        if self.unexplained {
            return;
        }
        let usable = |keep: &&mut Keep| keep.acks_dirty > 0 && !keep.doomed;
        let Some(keep) = self.keeps.get_mut(&id).filter(usable) else { return };
        let path = self.dir.generation(id);
        let records = match &keep.table {
            Some(table) => u32::try_from(table.len()).unwrap_or(u32::MAX),
            None => contents::sums(&path, id).map_or(0, |sums| sums.records),
        };
        match contents::store_acked(&path, &Noted { acked: keep.acked.clone(), records, left: keep.stock }) {
            Ok(()) => keep.acks_dirty = 0,
            Err(error) => tracing::warn!(generation = id, %error, "outbox acknowledgements not noted"),
        }
    }

    /// After an acknowledgement: gives back what is empty, or notes the acknowledgements now and then.
    pub(super) fn after_ack(&mut self, id: u32) -> Result<(), OutboxError> {
        const NOTE_EVERY: u32 = 32;
        const DELETE_TOGETHER: usize = 4;
        let Some(keep) = self.keeps.get(&id) else { return Ok(()) };
        if keep.live() == 0 {
            self.note_acked(id);
            let Some(keep) = self.keeps.get(&id) else { return Ok(()) };
            if id == self.newest {
                if keep.disk < self.generation_limit() / WORTH_RETURNING || self.unexplained {
                    return Ok(());
                }
                self.retire();
            }
            self.doom(id);
            // Each time the head is written, durably: a backlog is given away faster than that. A commit deletes the rest.
            let doomed = self.keeps.values().filter(|keep| keep.doomed).count();
            if doomed >= DELETE_TOGETHER { self.reap() } else { Ok(()) }
        } else {
            if keep.acks_dirty >= NOTE_EVERY {
                self.note_acked(id);
            }
            Ok(())
        }
    }

    /// Marks a generation for deletion.
    pub(super) fn doom(&mut self, id: u32) {
        self.loaded.retain(|&other| other != id);
        if let Some(keep) = self.keeps.get_mut(&id) {
            keep.doomed = true;
            (keep.table, keep.raw) = (None, None);
            keep.stock = Default::default();
        }
    }

    /// Deletes what is doomed, unless there are losses to be explained first: off the list, then off the disk.
    pub(super) fn reap(&mut self) -> Result<(), OutboxError> {
        let doomed: Vec<u32> = self.keeps.iter().filter(|(_, k)| k.doomed).map(|(&id, _)| id).collect();
        if doomed.is_empty() || self.unexplained {
            return Ok(());
        }
        let removed: Vec<_> = doomed.iter().filter_map(|id| Some((*id, self.keeps.remove(id)?))).collect();
        if let Err(error) = self.write_head(None) {
            self.keeps.extend(removed);
            return Err(error);
        }
        let mut failure = None;
        for (id, keep) in removed {
            let gone = if keep.damaged { self.dir.quarantine(id) } else { self.dir.delete_generation(id) };
            failure = failure.or(gone.map_err(|e| dir::io_error(&self.dir.generation(id), "delete", e)).err());
            if keep.damaged {
                self.other_disk = self.dir.other_disk_bytes();
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Stores encoded records in the newest generation.
    pub(super) fn put(&mut self, records: &[generation::Put], note: Option<&Note>) -> Result<(), OutboxError> {
        let Some(writer) = &mut self.writer else {
            return Err(self.failed(
                self.newest,
                "store",
                Failure::Damaged("no generation is being written".to_owned()),
            ));
        };
        writer.put(records, note).map_err(|failure| {
            // sled goes on failing. What it has stored is read from its file from now on.
            let error = self.failed(self.newest, "store", failure);
            self.retire();
            error
        })
    }
}

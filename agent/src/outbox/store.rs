//! [`SledOutbox`]: store and forward on sled, with nothing lost silently.
//!
//! # The constraint
//!
//! Events must survive kill -9 and power cuts once [`Outbox::commit`] has returned; the disk that
//! they take must stay within a quota and come back when they are delivered; and whatever is lost
//! all the same (quota, damage, a number that a crash left unused) must be explained by a gap event,
//! so that a backend can prove completeness from the numbers alone. sled does none of this by itself:
//! it does not sync, its files never shrink, and a damaged one may open empty (see `generation.rs`).
//!
//! # On disk
//!
//! ```text
//! lock                 held while the outbox is open
//! head, head.copy      reserved numbers, list of generations        head.rs
//! gen-00000007/        a sled database: records of some seconds to hours    generation.rs
//! gen-00000008/        the newest is written, the others only read
//! quarantine-6/        a generation that did not open, at most two
//! ```
//!
//! A record is a run of events of one class, with our own CRC (`record.rs`). Records are never
//! removed from a database: what is acknowledged is noted beside them, and when all of a generation
//! is, its directory goes. The newest is closed and a new one begun at an eighth of the quota or 8 MiB.
//! In memory are only an index of the records not acknowledged, the generations' books, and what is
//! appended but not committed.
//!
//! # Numbers
//!
//! The head reserves numbers in blocks before they are used. All numbers up to the last one in any
//! record were committed or are explained, because a commit takes everything pending, gap events
//! included, in one atomic write. So after a crash exactly the numbers from there to the end of the
//! reserved block are in doubt: one gap event, cause `restart`, and counting goes on behind it. A clean
//! close notes the next number instead.
//!
//! # Recovery
//!
//! Opening climbs a ladder, generation by generation (`recover.rs`): open; move sled's snapshot and
//! settings aside and open again; quarantine. The head knows which numbers each generation held and how
//! many records, so what is missing (all of it, or a page) becomes a gap event with cause `corrupt`. The
//! head goes on listing what was damaged or evicted until the gap event is committed: a crash before that
//! finds the same loss again. Without a readable head, numbers continue far above any that is found.
//!
//! Acknowledgements are noted lazily: a crash sends some batches twice, never none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::dir::Dir;
use super::generation::{Failure, Generation};
use super::head::Head;
use super::index::Index;
use super::keep::Keep;
use super::ledger::Ledger;
use super::pending::{Pending, Pushed};
use super::ranges::RangeSet;
use super::{Batch, Outbox, OutboxError, OutboxStat, dir};
use crate::event::{Class, Event, Identity, LossCause};

/// The smallest quota: room for some generations of sled's least size.
pub const MIN_QUOTA_BYTES: u64 = 4 << 20;

/// Numbers that one write of the head reserves.
pub(super) const BLOCK: u64 = 4096;
/// A larger event is not stored: gap with cause `oversize`.
const MAX_EVENT: usize = 64 * 1024;

/// Settings of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxConfig {
    /// What the directory may take on disk, at least [`MIN_QUOTA_BYTES`]. While room is made it may take up to one
    /// generation (an eighth) more.
    pub quota_bytes: u64,
    /// Bytes of events that wait in memory when the disk refuses; beyond, the least important are dropped.
    pub pending_bytes: usize,
}

impl OutboxConfig {
    /// A quota, and 1 MiB of memory for times when the disk refuses.
    pub const fn new(quota_bytes: u64) -> Self {
        Self { quota_bytes, pending_bytes: 1 << 20 }
    }
}

/// The outbox on sled. Dropping it without [`Outbox::close`] is a crash: see the module's documentation.
pub struct SledOutbox {
    pub(super) dir: Dir,
    pub(super) config: OutboxConfig,
    pub(super) identity: Identity,
    /// The latest time seen; stamps gap events.
    pub(super) time_ns: u64,
    pub(super) next_seq: u64,
    /// As on disk, except for the list of generations, which is made when it is written.
    pub(super) head: Head,
    /// The last number of any committed record.
    pub(super) committed: u64,
    pub(super) pending: [Pending; 5],
    /// The last commit failed: do not try again at every append.
    pub(super) failing: bool,
    pub(super) ledger: Ledger,
    /// There are losses that no committed gap event explains.
    pub(super) unexplained: bool,
    /// Losses that could not get numbers because the head could not be written.
    pub(super) unnumbered: BTreeMap<(Class, LossCause), u64>,
    pub(super) index: Index,
    pub(super) keeps: BTreeMap<u32, Keep>,
    pub(super) newest: u32,
    /// Begin a new generation before the next commit: the newest is suspect.
    pub(super) rotate_wanted: bool,
    /// Open generations, least recently used first.
    pub(super) handles: Vec<Generation>,
    pub(super) other_disk: u64,
    pub(super) lost: u64,
    /// When the log was last told that maintenance failed.
    pub(super) maintenance_told: Option<Instant>,
}

impl SledOutbox {
    /// Opens the outbox in `dir`, making it when there is none, and explains what was lost since it was last closed.
    /// `now_ns` (nanoseconds since the Unix epoch) stamps gap events until a later time comes in with an event.
    ///
    /// # Errors
    /// [`OutboxError::Locked`] when another process has it, [`OutboxError::Quota`] when the quota is too small,
    /// [`OutboxError::Io`] when the file system refuses. Damage is no error: it becomes gap events.
    pub fn open(path: &Path, config: OutboxConfig, identity: Identity, now_ns: u64) -> Result<Self, OutboxError> {
        if config.quota_bytes < MIN_QUOTA_BYTES {
            let (path, quota_bytes) = (path.display().to_string(), config.quota_bytes);
            return Err(OutboxError::Quota { path, quota_bytes, minimum: MIN_QUOTA_BYTES });
        }
        Self::recover(Dir::lock(path, true)?, config, identity, now_ns)
    }

    /// Reserves `count` numbers and returns the first.
    fn allocate(&mut self, count: u64) -> Result<u64, OutboxError> {
        self.reserve(count)?;
        let first = self.next_seq;
        self.next_seq += count;
        Ok(first)
    }

    /// Makes sure that `count` numbers can be taken.
    fn reserve(&mut self, count: u64) -> Result<(), OutboxError> {
        let needed = self.next_seq.saturating_add(count);
        if needed > self.head.reserved_end {
            let before = std::mem::replace(&mut self.head.reserved_end, needed.saturating_add(BLOCK));
            self.write_head(None).inspect_err(|_| self.head.reserved_end = before)?;
        }
        Ok(())
    }

    /// Notes a loss: counts it, and owes a gap event.
    pub(super) fn lose(&mut self, cause: LossCause, class: Option<Class>, numbers: &RangeSet) {
        self.lost = self.lost.saturating_add(numbers.count());
        self.ledger.add(cause, class, numbers);
        self.unexplained |= !numbers.is_empty();
    }

    /// Numbers, encodes and buffers an event.
    fn enqueue(&mut self, event: &Event) -> Result<u64, OutboxError> {
        let seq = self.allocate(1)?;
        match self.pending[event.class.rank()].push(event, &self.identity, seq, MAX_EVENT) {
            Pushed::Taken => {}
            Pushed::Oversize => {
                self.lose(LossCause::Oversize, Some(event.class), &[(seq, seq)].into_iter().collect());
            }
        }
        Ok(seq)
    }

    fn pending_bytes(&self) -> usize {
        self.pending.iter().map(Pending::bytes).sum()
    }

    /// Drops the oldest pending events of the least important class until what waits is within its bound.
    fn bound_pending(&mut self, cause: LossCause) {
        while self.pending_bytes() > self.config.pending_bytes {
            let Some(class) = Class::ALL.into_iter().rev().find(|c| !self.pending[c.rank()].is_empty()) else { return };
            self.drop_pending(class, 1, cause);
        }
    }

    /// Drops up to `count` pending events; gap events among them go back to the ledger.
    pub(super) fn drop_pending(&mut self, class: Class, count: usize, cause: LossCause) {
        let mut lost = RangeSet::default();
        for _ in 0..count {
            let Some((seq, encoding)) = self.pending[class.rank()].pop() else { break };
            if class == Class::Status {
                self.ledger.readopt(std::iter::once(encoding));
            }
            lost.insert(seq, seq);
        }
        self.lose(cause, Some(class), &lost);
    }

    /// Stores all that is pending, and gap events for all losses, in one atomic write.
    pub(super) fn write_pending(&mut self) -> Result<(), OutboxError> {
        if self.rotate_wanted {
            self.rotate()?;
        }
        while let Some(((class, cause), count)) = self.unnumbered.pop_first() {
            match self.allocate(count) {
                Ok(first) => self.lose(cause, Some(class), &[(first, first + count - 1)].into_iter().collect()),
                Err(error) => {
                    self.unnumbered.insert((class, cause), count);
                    return Err(error);
                }
            }
        }
        self.reserve(self.ledger.events() as u64)?;
        for event in self.ledger.drain(self.time_ns) {
            self.enqueue(&event)?;
        }
        if self.pending.iter().all(Pending::is_empty) {
            return Ok(());
        }
        self.store_pending()?;
        self.failing = false;
        self.unexplained = false;
        for keep in self.keeps.values_mut() {
            keep.listed = None;
        }
        Ok(())
    }

    fn store_pending(&mut self) -> Result<(), OutboxError> {
        let mut records = Vec::new();
        for class in Class::ALL {
            for (events, payload) in self.pending[class.rank()].records() {
                records.push((class, events, payload.to_vec()));
            }
        }
        self.store(&records)?;
        let last = records.iter().filter_map(|(_, events, _)| events.last()).map(|e| e.0).max();
        self.committed = self.committed.max(last.unwrap_or(0));
        self.pending.iter_mut().for_each(Pending::clear);
        Ok(())
    }
}

impl Outbox for SledOutbox {
    fn append(&mut self, event: &Event) -> Result<u64, OutboxError> {
        self.time_ns = self.time_ns.max(event.time_ns);
        let seq = self.enqueue(event).inspect_err(|_| {
            let count = self.unnumbered.entry((event.class, LossCause::Storage)).or_default();
            *count += 1;
        })?;
        if self.pending_bytes() > self.config.pending_bytes && (self.failing || self.commit().is_err()) {
            self.bound_pending(LossCause::Storage);
        }
        Ok(seq)
    }

    fn commit(&mut self) -> Result<(), OutboxError> {
        self.shed_when_full();
        let idle = self.pending.iter().all(Pending::is_empty);
        // While everything that comes is shed, its gap event can wait for something worth writing: the numbers are
        // above the last committed one, so a crash explains them too.
        let may_wait = idle && self.unnumbered.is_empty() && self.ledger.only(LossCause::Quota);
        if !may_wait && let Err(error) = self.room_to_store().and_then(|()| self.write_pending()) {
            let full = matches!(&error, OutboxError::Io { source, .. } if is_full(source));
            if !(full && self.free_in_emergency() && self.write_pending().is_ok()) {
                self.failing = true;
                return Err(error);
            }
        }
        self.maintain();
        Ok(())
    }

    fn read(&mut self, class: Class, after: u64) -> Result<Option<Batch>, OutboxError> {
        while let Some((first, entry)) = self.index.next(class, after) {
            if let Some(record) = self.fetch(class, first, entry)? {
                let (first_seq, last_seq) = (record.first(), record.last());
                return Ok(Some(Batch { class, first_seq, last_seq, count: entry.count, payload: record.payload }));
            }
        }
        Ok(None)
    }

    fn ack(&mut self, class: Class, first_seq: u64) -> Result<(), OutboxError> {
        let Some(entry) = self.index.get(class, first_seq) else { return Ok(()) };
        self.forget(class, first_seq, entry);
        self.after_ack(entry.generation)
    }

    fn reject(&mut self, class: Class, first_seq: u64, cause: LossCause) -> Result<(), OutboxError> {
        self.refused(class, first_seq, None, cause)
    }

    fn reject_events(
        &mut self,
        class: Class,
        first_seq: u64,
        refused: &[u64],
        cause: LossCause,
    ) -> Result<(), OutboxError> {
        self.refused(class, first_seq, Some(refused), cause)
    }

    fn lost(&mut self, class: Class, count: u64, cause: LossCause) -> Result<(), OutboxError> {
        // More than 2^32 at once is a caller's mistake; it must not use up the numbers.
        let count = count.min(u64::from(u32::MAX));
        if count == 0 {
            return Ok(());
        }
        let first = self.allocate(count).inspect_err(|_| {
            *self.unnumbered.entry((class, cause)).or_default() += count;
        })?;
        self.lose(cause, Some(class), &[(first, first + count - 1)].into_iter().collect());
        Ok(())
    }

    fn stat(&self) -> OutboxStat {
        OutboxStat {
            events: self.index.events(),
            disk_bytes: self.disk_bytes(),
            quota_bytes: self.config.quota_bytes,
            generations: self.keeps.len(),
            next_seq: self.next_seq,
            lost: self.lost,
        }
    }

    fn close(&mut self) -> Result<(), OutboxError> {
        // Not `commit`: that may postpone gap events.
        self.write_pending()?;
        self.maintain();
        self.write_pending()?;
        while !self.handles.is_empty() {
            self.close_oldest_handle();
        }
        self.committed = self.next_seq.saturating_sub(1);
        // Whoever goes on appending all the same has to reserve first, which takes the note back.
        self.head.reserved_end = self.next_seq;
        self.write_head(Some(self.next_seq))
    }
}

/// Whether an error means that there is no room.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl SledOutbox {
    /// A generation's failure as the caller sees it.
    pub(super) fn failed(&self, id: u32, doing: &'static str, failure: Failure) -> OutboxError {
        let path = self.dir.generation(id);
        match failure {
            Failure::Io(source) => dir::io_error(&path, doing, source),
            Failure::Damaged(message) => OutboxError::Store { path: path.display().to_string(), doing, message },
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

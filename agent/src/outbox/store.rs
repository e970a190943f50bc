//! [`SledOutbox`]: store and forward on sled, with nothing lost silently.
//!
//! # The constraint
//!
//! Events must survive kill -9 and power cuts once [`Outbox::commit`] has returned; the disk that
//! they take must stay within a quota and come back when they are delivered; and whatever is lost
//! all the same (quota, damage, a number that a crash left unused) must be explained by a gap event,
//! so that a backend can prove completeness from the numbers alone. sled does none of this by itself:
//! it does not sync, its files never shrink, and it cannot be trusted with opening a damaged one.
//!
//! # On disk
//!
//! ```text
//! lock                 held while the outbox is open
//! head, head.copy      reserved numbers, list of generations                 head.rs
//! gen-00000007/        a sled database: records of some seconds to hours     generation.rs
//!     db               what sled writes; read without sled                   raw.rs
//!     contents         when it is closed: its records                        contents.rs
//!     acked            which of them are acknowledged
//! gen-00000008/        the newest is written, the others only read
//! quarantine-6/        a generation that had lost something, at most two
//! ```
//!
//! A record is a run of events of one class, with our own CRC (`record.rs`), cut into chunks with theirs (`chunk.rs`).
//! Records are never removed from a database: what is acknowledged is noted beside it, and when all of a generation is, its
//! directory goes. The newest is closed and a new one begun at an eighth of the quota or 8 MiB, and at every start.
//! While the link is up, what need not be stored before it is sent never comes here (`volatile.rs`).
//! In memory are only that, what is appended and not committed, for each generation some sums, and the tables of those
//! few that are being read (`lookup.rs`): a long backlog takes no more memory than a short one.
//!
//! # Numbers
//!
//! The head reserves numbers in blocks before they are used. A commit takes everything pending, gap events
//! included, in one write, and with it a note of which numbers are in doubt from then on: those that
//! wait in memory, and all above. The head has such a note, too. So after a crash the numbers in doubt are those of the
//! latest note of a commit that was finished, up to the end of the reserved block, without
//! those found on disk: one gap event, cause `restart`, and counting goes on behind it. Some of them may have
//! arrived: what was acknowledged from memory leaves no trace on the disk. A clean close notes the next
//! number instead, and stores what is in memory. When numbers cannot be reserved they jump (`without_disk.rs`).
//!
//! # Recovery
//!
//! A closed generation is known by its `contents`, which are checked by their CRC; where they are missing, and for the one
//! that was written when the power went, the data file is read (`recover.rs`, `scan.rs`). No sled takes part. The head knows
//! which numbers each generation held and how many records, so what is missing (all of it, or a page) becomes a gap event
//! with cause `corrupt`, at once or when it is found to be missing. The head goes on listing what was damaged or evicted
//! until the gap event is committed: a crash before that finds the same loss again. It also says what the stored gap events
//! explain (`owed.rs`), as those may be in the next generation that is damaged. Without a readable head, numbers continue
//! far above any that is found. A directory that cannot be opened at all does not keep the agent from starting.
//!
//! Events are stored as they were stamped; the head also says how wrong clocks were, and what is read is put right (`fixes.rs`).
//! Acknowledgements are noted lazily: a crash sends some batches twice, never none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::dir::Dir;
use super::generation::{Failure, Generation};
use super::head::Head;
use super::keep::Keep;
use super::ledger::Ledger;
use super::owed::Owed;
use super::pending::Pending;
use super::volatile::Volatile;
use super::wear::{Wear, process_written};
use super::{Batch, MIN_QUOTA_BYTES, Outbox, OutboxConfig, OutboxError, OutboxStat, dir};
use crate::event::{Class, ClockFix, Event, Identity, LossCause, Moment};
use crate::privacy::Naming;

/// Numbers that one write of the head reserves.
pub(super) const BLOCK: u64 = 4096;
/// The outbox on sled. Dropping it without [`Outbox::close`] is a crash: see the module's documentation.
pub struct SledOutbox {
    pub(super) dir: Dir,
    pub(super) config: OutboxConfig,
    pub(super) naming: Naming,
    /// Under the name that all that waits has.
    pub(super) identity: Identity,
    /// When the latest event was; stamps gap events.
    pub(super) latest: Moment,
    pub(super) next_seq: u64,
    /// As on disk, except for the list of generations, which is made when it is written.
    pub(super) head: Head,
    pub(super) pending: [Pending; 5],
    pub(super) volatile: Volatile,
    /// The gateway can be reached.
    pub(super) link_up: bool,
    /// Since when commits fail.
    pub(super) failing: Option<Instant>,
    /// Numbers could not be reserved: those in use are beyond all that are or will be (`without_disk.rs`).
    pub(super) unreserved: bool,
    /// The first of these.
    pub(super) jumped_to: u64,
    /// When a directory that could not be opened was last tried.
    pub(super) tried: Instant,
    /// When it is tried again.
    pub(super) patience: Duration,
    pub(super) ledger: Ledger,
    /// What stored gap events explain; the head has it too.
    pub(super) owed: Owed,
    /// The head on disk does not know the latest.
    pub(super) head_stale: bool,
    /// There are losses that no committed gap event explains.
    pub(super) unexplained: bool,
    pub(super) keeps: BTreeMap<u32, Keep>,
    /// Closed generations whose tables are in memory, least recently used first.
    pub(super) loaded: Vec<u32>,
    pub(super) newest: u32,
    /// Begin a new generation before the next commit: the newest is suspect.
    pub(super) rotate_wanted: bool,
    /// The newest generation's database. `None` after it has failed.
    pub(super) writer: Option<Generation>,
    pub(super) other_disk: u64,
    pub(super) lost: u64,
    pub(super) wear: Wear,
    /// Since when something is pending.
    pub(super) pending_since: Option<Instant>,
    /// When gap events were last made.
    pub(super) explained_at: Option<Instant>,
    /// When the log was last told that maintenance failed.
    pub(super) maintenance_told: Option<Instant>,
}

impl SledOutbox {
    /// Opens the outbox in `dir`, making it when there is none, and explains what was lost since it was last closed.
    /// `now` (a number: nanoseconds since the Unix epoch) stamps gap events until an event comes.
    ///
    /// Damage is no error: it becomes gap events. Neither is a file system that refuses: events are then kept in memory,
    /// and the directory is tried again every now and then.
    ///
    /// # Errors
    /// [`OutboxError::Locked`] when another process has it, [`OutboxError::Quota`] when the quota is too small.
    pub fn open(
        path: &Path,
        config: OutboxConfig,
        naming: impl Into<Naming>,
        now: impl Into<Moment>,
    ) -> Result<Self, OutboxError> {
        let (naming, now) = (naming.into(), now.into());
        if config.quota_bytes < MIN_QUOTA_BYTES {
            let (path, quota_bytes) = (path.display().to_string(), config.quota_bytes);
            return Err(OutboxError::Quota { path, quota_bytes, minimum: MIN_QUOTA_BYTES });
        }
        match Dir::lock(path, true).and_then(|dir| Self::recover(dir, config, naming.clone(), now, false)) {
            Err(error @ OutboxError::Io { .. }) => Ok(Self::without_disk(path, error, config, naming, now)),
            opened => opened,
        }
    }

    /// With empty books.
    pub(super) fn empty(dir: Dir, config: OutboxConfig, naming: Naming, now: Moment, next_seq: u64) -> Self {
        let name = naming.due(now.time_ns);
        Self {
            other_disk: dir.other_disk_bytes(),
            head: Head { next_generation: 1, name: name.clone(), ..Head::default() },
            keeps: BTreeMap::new(),
            loaded: Vec::new(),
            newest: 0,
            writer: None,
            dir,
            config,
            identity: naming.under(name),
            naming,
            latest: now,
            next_seq,
            pending: std::array::from_fn(|_| Pending::default()),
            volatile: Volatile::default(),
            link_up: false,
            failing: None,
            unreserved: true,
            jumped_to: 0,
            tried: Instant::now(),
            patience: Duration::ZERO,
            ledger: Ledger::default(),
            owed: Owed::default(),
            head_stale: false,
            unexplained: false,
            rotate_wanted: false,
            lost: 0,
            wear: Wear::new(config.write_budget, process_written),
            pending_since: None,
            explained_at: None,
            maintenance_told: None,
        }
    }
}

impl Outbox for SledOutbox {
    fn append(&mut self, event: &Event) -> Result<u64, OutboxError> {
        self.latest = event.moment();
        let seq = self.enqueue(event);
        if self.pending_bytes() > self.config.pending_bytes && (self.failing.is_some() || self.commit().is_err()) {
            self.bound_pending(LossCause::Storage);
        }
        Ok(seq)
    }

    fn commit(&mut self) -> Result<(), OutboxError> {
        self.try_disk();
        self.shed_when_full();
        let mut stored = self.store_all();
        if matches!(&stored, Err(OutboxError::Io { source, .. }) if is_full(source)) && self.free_in_emergency() {
            stored = self.store_all();
        }
        // Bounded whether or not the disk takes it.
        let spilled = self.spill_if_due();
        self.wear.update();
        if stored.is_ok() {
            self.failing = None;
            self.maintain();
        } else {
            self.failing.get_or_insert_with(Instant::now);
        }
        stored.and(spilled)
    }

    fn link(&mut self, up: bool) -> Result<(), OutboxError> {
        self.link_up = up;
        // What waited to be stored with more.
        self.hold_in_memory();
        self.spill_if_due()
    }

    fn read(&mut self, class: Class, after: u64) -> Result<Option<Batch>, OutboxError> {
        while let Some((first, entry)) = self.next(class, after)? {
            if let Some(record) = self.fetch(class, first, entry)? {
                let (first_seq, last_seq) = (record.first(), record.last());
                let regions = record.regions.clone();
                let payload = self.put_right(record);
                return Ok(Some(Batch { class, first_seq, last_seq, count: entry.count, regions, payload }));
            }
        }
        Ok(None)
    }

    fn ack(&mut self, class: Class, first_seq: u64) -> Result<(), OutboxError> {
        self.acknowledged(class, first_seq)
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
        let first = self.allocate(count);
        // They were to be stored about now.
        let times = Some((self.latest.time_ns, self.latest.time_ns));
        self.lose(cause, Some(class), &[(first, first + count - 1)].into_iter().collect(), times);
        Ok(())
    }

    fn configure(&mut self, config: OutboxConfig) {
        self.wear.configure(config.write_budget);
        self.config = OutboxConfig { quota_bytes: config.quota_bytes.max(MIN_QUOTA_BYTES), ..config };
    }

    fn identity(&self) -> Option<&Identity> {
        Some(self.current())
    }

    fn take_name(&mut self, now_ns: u64) -> bool {
        self.change_name(now_ns)
    }

    fn clock_was_set(&mut self, fix: ClockFix) {
        self.note_fix(fix);
    }

    fn expire(&mut self, now_ns: u64) {
        self.drop_expired(now_ns);
    }

    fn stat(&self) -> OutboxStat {
        OutboxStat {
            events: self.events(),
            pending: self.pending.each_ref().map(Pending::len),
            disk_bytes: self.disk_bytes(),
            quota_bytes: self.config.quota_bytes,
            generations: self.keeps.len(),
            next_seq: self.next_seq,
            lost: self.lost,
            refused: self.failing.is_some() || !self.dir.is_open(),
            written: self.wear.written(),
            wear_left: self.wear.left(),
        }
    }

    fn close(&mut self) -> Result<(), OutboxError> {
        if !self.dir.is_open() {
            self.open_again(true);
        }
        // Not `commit`: that may postpone gap events.
        self.write_pending()?;
        self.spill()?;
        self.maintain();
        self.write_pending()?;
        self.retire();
        let ids: Vec<u32> = self.keeps.keys().copied().collect();
        ids.into_iter().for_each(|id| self.note_acked(id));
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

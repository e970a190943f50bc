//! The outbox: the only truth about what has been delivered.
//!
//! Events go in with [`Outbox::append`], become readable and safe from power cuts with
//! [`Outbox::commit`], are read back in batches of one class, and leave when the gateway has
//! acknowledged them. [`SledOutbox`] is the implementation; its module explains how it keeps its
//! promises on sled and on failing flash. [`Inspection`] looks into the directory of an agent that
//! does not run.

mod access;
mod chunk;
mod commit;
mod contents;
mod dir;
mod fixes;
mod flush;
mod generation;
mod head;
mod index;
mod inspect;
mod keep;
mod ledger;
mod limits;
mod lookup;
mod name;
mod owed;
mod pending;
mod quota;
mod ranges;
mod raw;
mod record;
mod recover;
mod scan;
mod settings;
mod stock;
mod store;
#[cfg(test)]
mod test_support;
mod volatile;
mod wear;
mod without_disk;

use thiserror::Error;

pub use inspect::{BatchInfo, Inspection};
pub use settings::{ClassLimits, Durability, MIN_QUOTA_BYTES, OutboxConfig};
pub use store::SledOutbox;

use crate::event::{Class, ClockFix, Event, Identity, LossCause, Regions};

/// The links' note of what networks have carried, in the outbox's directory.
pub(crate) const NETWORKS: &str = "networks";
/// The note of what campaigns have brought, there too.
pub(crate) const CAMPAIGNS: &str = "campaigns";

/// Some events of one class with consecutive places in that class, as one record on disk and one message on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Class of all its events.
    pub class: Class,
    /// Sequence number of the first event: with the class, the batch's name.
    pub first_seq: u64,
    /// Sequence number of the last event. Numbers between that belong to other classes are not in the batch.
    pub last_seq: u64,
    /// Number of events.
    pub count: u32,
    /// The regions whose gateways may have it; `None`: all.
    pub regions: Option<Regions>,
    /// The events' encodings one after the other: a CBOR sequence.
    pub payload: Vec<u8>,
}

/// What the outbox holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxStat {
    /// Events not yet acknowledged, by class rank.
    pub events: [u64; 5],
    /// Events that were appended and cannot be read yet, by class rank.
    pub pending: [u64; 5],
    /// Bytes that the directory takes on disk.
    pub disk_bytes: u64,
    /// The quota, in the same bytes.
    pub quota_bytes: u64,
    /// Generations on disk.
    pub generations: usize,
    /// The next sequence number.
    pub next_seq: u64,
    /// Events lost so far in this process; each is also explained by a gap event.
    pub lost: u64,
    /// The disk has refused the last commit, or the directory cannot be opened.
    pub refused: bool,
    /// Bytes that this process has had written to block devices since the outbox was opened.
    pub written: u64,
    /// Bytes that may still be written today, if there is a budget.
    pub wear_left: Option<u64>,
}

impl OutboxStat {
    /// Events of all classes not yet acknowledged.
    pub fn depth(&self) -> u64 {
        self.events.iter().sum()
    }
}

/// Why the outbox could not do what was asked.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// The disk or file system refused. Retrying may help once it has space or is writable again.
    #[error("outbox {path}: {doing}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process has the directory open. Stop it, or give this one a directory of its own.
    #[error("outbox {path}: in use by another process; stop it or configure another outbox.dir")]
    Locked {
        /// The directory.
        path: String,
    },
    /// The configured quota is too small for several generations. A mistake in the configuration.
    #[error(
        "outbox {path}: a quota of {quota_bytes} bytes is too small; outbox.quota must be at least {minimum} bytes"
    )]
    Quota {
        /// The directory.
        path: String,
        /// What was configured.
        quota_bytes: u64,
        /// The least that works.
        minimum: u64,
    },
    /// The store failed in a way that only a fresh start of the process can mend.
    #[error("outbox {path}: {doing}: {message}")]
    Store {
        /// The directory.
        path: String,
        /// What was being done.
        doing: &'static str,
        /// sled's message.
        message: String,
    },
}

/// A store-and-forward buffer. One writer, one reader, both through this one owner.
pub trait Outbox: Send {
    /// Takes an event and returns its sequence number. It is readable after the next [`Outbox::commit`].
    ///
    /// # Errors
    /// When the event could not be taken; its number, if it got one, is then explained by a gap event.
    fn append(&mut self, event: &Event) -> Result<u64, OutboxError>;

    /// Makes everything appended so far durable and readable. Events of classes that are stored only offline may wait in
    /// memory for some seconds to be stored together; then another commit is needed.
    ///
    /// # Errors
    /// When the disk refuses. The events stay in memory for the next attempt.
    fn commit(&mut self) -> Result<(), OutboxError>;

    /// The first batch of `class` whose `first_seq` is above `after` (0: from the start). In order of sequence.
    /// Acknowledged batches are not returned again. Damaged records are skipped, counted and explained by a gap event.
    ///
    /// # Errors
    /// When the disk refuses.
    fn read(&mut self, class: Class, after: u64) -> Result<Option<Batch>, OutboxError>;

    /// The gateway has acknowledged this batch: it may be forgotten. Unknown batches are ignored.
    ///
    /// # Errors
    /// When the disk refuses; the batch may then be sent once more after a restart.
    fn ack(&mut self, class: Class, first_seq: u64) -> Result<(), OutboxError>;

    /// The gateway has refused this batch for good: it is forgotten and explained by a gap event.
    ///
    /// # Errors
    /// As [`Outbox::ack`].
    fn reject(&mut self, class: Class, first_seq: u64, cause: LossCause) -> Result<(), OutboxError>;

    /// Of this batch the gateway has refused the events `refused` (ascending) for good and has acknowledged the rest:
    /// the batch is forgotten, and a gap event explains the refused ones.
    ///
    /// Without an own implementation the gap names the whole batch: more than was lost, never less.
    ///
    /// # Errors
    /// As [`Outbox::ack`].
    fn reject_events(
        &mut self,
        class: Class,
        first_seq: u64,
        refused: &[u64],
        cause: LossCause,
    ) -> Result<(), OutboxError> {
        let _ = refused;
        self.reject(class, first_seq, cause)
    }

    /// `count` events of `class` were lost before they got here: gives them numbers and explains them by a gap event.
    ///
    /// # Errors
    /// As [`Outbox::append`].
    fn lost(&mut self, class: Class, count: u64, cause: LossCause) -> Result<(), OutboxError>;

    /// The link to the gateway is up, or is down: while it is up, events that need not be stored before they are sent
    /// ([`Durability::Offline`]) are kept in memory.
    ///
    /// # Errors
    /// When the disk refuses what was in memory; it is tried again at every commit.
    fn link(&mut self, up: bool) -> Result<(), OutboxError> {
        let _ = up;
        Ok(())
    }

    /// Drops what is older than its class may be, at `now_ns` (nanoseconds since the Unix epoch), a time that can be
    /// trusted. The gap events come with the next commit.
    fn expire(&mut self, now_ns: u64) {
        let _ = now_ns;
    }

    /// Other bounds hold from the next commit on. The directory stays.
    fn configure(&mut self, config: OutboxConfig) {
        let _ = config;
    }

    /// Who sends what is here. Changes only in [`Outbox::take_name`]; `None`: never.
    fn identity(&self) -> Option<&Identity> {
        None
    }

    /// Takes the name that is due at `now_ns` (nanoseconds since the Unix epoch), a time that can be trusted, unless
    /// something waits under the one before. True: it has the name that is due.
    fn take_name(&mut self, now_ns: u64) -> bool {
        let _ = now_ns;
        true
    }

    /// The clock was set: what was stamped before, since the computer was started, is put right when it is read.
    fn clock_was_set(&mut self, fix: ClockFix) {
        let _ = fix;
    }

    /// What it holds.
    fn stat(&self) -> OutboxStat;

    /// Commits, and notes on disk that nothing is missing: the next opening has no gap to explain.
    ///
    /// # Errors
    /// When the disk refuses; the next opening then reports the numbers in doubt as a gap.
    fn close(&mut self) -> Result<(), OutboxError>;
}

/// Locks an outbox. A thread that panicked while it held the lock cannot have left it half changed in a way that
/// matters: what is not committed is not readable, and what is committed is checked when it is read.
pub fn lock<O: Outbox + ?Sized>(outbox: &std::sync::Mutex<O>) -> std::sync::MutexGuard<'_, O> {
    outbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

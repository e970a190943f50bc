//! A generation being written: one small sled database, in a directory that is deleted as a whole. With `flush.rs` the only
//! file that names sled.
//!
//! What sled 0.34 needs to be trusted with (read in its source, measured, or both):
//!
//! * `flush` writes but does not sync, so [`Generation::put`] syncs the data file through a handle of its own.
//! * A page larger than a quarter segment goes to a file of its own that is never synced: values are small (`chunk.rs`).
//! * There is no background flusher: commits sync themselves; the thread would wake an idle ECU, and a panic in it
//!   (damaged page) would make closing the database wait for ever.
//! * A write that fails may wake nobody: `flush.rs`. All databases of a process share one lock; a batch that waits for it
//!   would keep out the flush that wakes the others. So one generation at a time writes ([`ONE_WRITES`]).
//! * Any call may panic, so every call is guarded. After a write has failed sled keeps the error for good: a new generation
//!   is begun.
//! * Opening an existing database is never done: `raw.rs`.
//!
//! Keys: `[0]` the note of the latest commit; `[1 + class rank][first number, big endian][place]` a record's chunks. What is
//! acknowledged is noted outside (`contents.rs`).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::chunk;
use super::flush::flush;
use super::head::Note;
use super::ranges::RangeSet;
use crate::event::Class;

/// sled's data file.
pub(super) const DATA: &str = "db";
const SEGMENT: usize = 128 * 1024;
const CACHE: u64 = 1024 * 1024;
const NOTE: [u8; 1] = [0];

/// Held while a generation of any outbox of this process is opened, written or closed.
static ONE_WRITES: Mutex<()> = Mutex::new(());

fn one_writes() -> MutexGuard<'static, ()> {
    ONE_WRITES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a generation could not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The file system refused.
    Io(io::Error),
    /// sled found damage, or panicked over it.
    Damaged(String),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Acknowledged records of one generation: first numbers, by class rank.
pub(super) type Acked = [RangeSet; 5];

/// One record to be stored: class, first number, encoding.
pub(super) type Put = (Class, u64, Vec<u8>);

/// A generation open for writing.
pub(super) struct Generation {
    pub(super) id: u32,
    db: Option<sled::Db>,
    data: File,
}

fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            Err(Failure::Damaged(format!("sled panicked: {text}")))
        }
    }
}

impl Generation {
    /// Makes a new, empty generation.
    pub(super) fn create(path: &Path, id: u32) -> Result<Self, Failure> {
        // What an attempt left that failed half way holds nothing: ids are not used twice.
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => DirBuilder::new().mode(0o700).create(path)?,
        }
        let config = || sled::Config::new().path(path).segment_size(SEGMENT).cache_capacity(CACHE).flush_every_ms(None);
        let db = {
            let _one = one_writes();
            guarded(|| config().open())?
        };
        let data = File::open(path.join(DATA))?;
        data.sync_data()?;
        File::open(path)?.sync_all()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { id, db: Some(db), data })
    }

    fn db(&self) -> Result<&sled::Db, Failure> {
        self.db.as_ref().ok_or_else(|| Failure::Damaged("closed".to_owned()))
    }

    /// Stores records, and a note if given, so that they survive a power cut. When that fails, some may be there.
    pub(super) fn put(&mut self, records: &[Put], note: Option<&Note>) -> Result<(), Failure> {
        let mut batch = sled::Batch::default();
        for (class, first, bytes) in records {
            let key = record_key(*class, *first);
            let rank = u8::try_from(class.rank()).unwrap_or(chunk::NOTE);
            for (place, chunk) in chunk::cut(self.id, rank, *first, bytes) {
                batch.insert([key.as_slice(), &[place]].concat(), chunk);
            }
        }
        if let Some(note) = note {
            let bytes = note.encode();
            for (_, chunk) in chunk::cut(self.id, chunk::NOTE, note.doubt.from, &bytes) {
                batch.insert(&NOTE, chunk);
            }
        }
        let db = self.db()?;
        {
            let _one = one_writes();
            guarded(|| db.apply_batch(batch).and_then(|()| flush(db)))?;
        }
        // Should it fail, the dirty pages may have been dropped; what sled believes to be stored is then in doubt.
        Ok(self.data.sync_data()?)
    }

    /// The encoding of a record, unchecked but for its chunks.
    pub(super) fn get(&self, class: Class, first: u64) -> Result<Option<Vec<u8>>, Failure> {
        let db = self.db()?;
        guarded(|| {
            let mut bytes = Vec::new();
            for pair in db.scan_prefix(record_key(class, first)) {
                match chunk::parse(self.id, &pair?.1) {
                    Some((_, part)) => bytes.extend_from_slice(part),
                    None => return Ok(None),
                }
            }
            Ok(Some(bytes).filter(|b| !b.is_empty()))
        })
    }
}

/// Bytes of a generation's data file.
pub(super) fn data_bytes(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path.join(DATA))?.len())
}

impl Drop for Generation {
    fn drop(&mut self) {
        // sled flushes when it is closed, and may panic over that.
        let Some(db) = self.db.take() else { return };
        let _one = one_writes();
        // Flushed before, as its own flush could wait for ever.
        let flushed = guarded(|| flush(&db));
        if flushed.is_err() | catch_unwind(AssertUnwindSafe(move || drop(db))).is_err() {
            tracing::warn!(generation = self.id, "outbox generation could not be closed cleanly");
        }
    }
}

fn record_key(class: Class, first: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = 1 + u8::try_from(class.rank()).unwrap_or(u8::MAX - 1);
    key[1..].copy_from_slice(&first.to_be_bytes());
    key
}

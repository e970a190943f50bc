//! A generation: one small sled database, in a directory that is deleted as a whole. The only file that names sled.
//!
//! What sled 0.34 needs to be trusted with (read in its source, measured, or both):
//!
//! * `flush` writes but does not sync, so [`Generation::put`] syncs the data file through a handle of its own.
//! * A page larger than a quarter segment goes to a file of its own that is never synced. Leaves hold up to 17
//!   values, so values are cut into chunks of 1.5 KiB: the largest page (26 KiB) stays below the 32 KiB.
//! * There is no background flusher: commits sync themselves; the thread would wake an idle ECU, and a panic in it
//!   (damaged page) would make closing the database wait for ever.
//! * Any call may panic on damage, so every call is guarded. After a write has failed the database is
//!   [broken](Generation::is_broken): sled keeps the error for good; close it and open it again.
//! * Damage can make it open with no keys at all. A marker, stored when the generation is made, tells.
//! * Opening straight after closing can find the file still locked by memory not yet reclaimed: try again.
//!
//! Keys: `[0, 0]` marker; `[0, 1]` acknowledged records; `[1 + class rank][first number, big endian][chunk]` records.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::head::{put_ranges, take_ranges};
use super::ranges::RangeSet;
use crate::event::Class;

const SEGMENT: usize = 128 * 1024;
const CACHE: u64 = 1024 * 1024;
/// See the module's documentation.
const CHUNK: usize = 1536;
const MARKER: ([u8; 2], &[u8]) = ([0, 0], b"outrider outbox 1");
const ACKS: [u8; 2] = [0, 1];
/// Unreadable stretches after which the rest of a generation is given up.
const MAX_SKIPS: usize = 64;

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
        // Out of space, of handles, of memory or of rights says nothing about what is stored; a short or failing read does.
        const ENVIRONMENT: [i32; 8] = [1, 12, 13, 23, 24, 28, 30, 122]; // EPERM ENOMEM EACCES ENFILE EMFILE ENOSPC EROFS EDQUOT
        match error {
            sled::Error::Io(error) if is_still_locked(&error) => Self::Io(error),
            sled::Error::Io(error) if error.raw_os_error().is_some_and(|n| ENVIRONMENT.contains(&n)) => Self::Io(error),
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

/// An open generation.
pub(super) struct Generation {
    pub(super) id: u32,
    path: PathBuf,
    db: Option<sled::Db>,
    data: File,
    broken: bool,
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

/// sled has no error kind for it.
fn is_still_locked(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn open_sled(path: &Path) -> Result<sled::Db, Failure> {
    const TRIES: u32 = 200;
    let config = || sled::Config::new().path(path).segment_size(SEGMENT).cache_capacity(CACHE).flush_every_ms(None);
    for _ in 1..TRIES {
        match guarded(|| config().open()) {
            // The directory is locked by us, so this can only be our own handle going away.
            Err(Failure::Io(error)) if is_still_locked(&error) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
    guarded(|| config().open())
}

impl Generation {
    /// Makes a new, empty generation that will not be taken for one that lost its contents.
    pub(super) fn create(path: &Path, id: u32) -> Result<Self, Failure> {
        match DirBuilder::new().mode(0o700).create(path) {
            // Left over from an attempt that failed half way; ids are not used twice.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        let db = open_sled(path)?;
        let data = File::open(path.join("db"))?;
        let mut this = Self { id, path: path.to_owned(), db: Some(db), data, broken: false };
        this.write(vec![(MARKER.0.to_vec(), MARKER.1.to_vec())])?;
        this.sync()?;
        File::open(path)?.sync_all()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(this)
    }

    /// Opens an existing generation. With `mend`, sled's snapshot and settings, which it can make anew, are moved
    /// aside when it does not open with them.
    pub(super) fn open(path: &Path, id: u32, mend: bool) -> Result<Self, Failure> {
        if !path.join("db").is_file() {
            return Err(Failure::Damaged("no data file".to_owned()));
        }
        match Self::open_once(path, id) {
            Err(Failure::Damaged(reason)) if mend => {
                tracing::warn!(generation = id, reason, "outbox generation does not open; trying without its snapshot");
                for entry in fs::read_dir(path)? {
                    let name = entry?.file_name();
                    let Some(name) = name.to_str() else { continue };
                    if name.starts_with("snap.") || name == "conf" {
                        fs::rename(path.join(name), path.join(format!("aside-{name}")))?;
                    }
                }
                Self::open_once(path, id)
            }
            result => result,
        }
    }

    fn open_once(path: &Path, id: u32) -> Result<Self, Failure> {
        let db = open_sled(path)?;
        let data = File::open(path.join("db"))?;
        let this = Self { id, path: path.to_owned(), db: Some(db), data, broken: false };
        match this.value(&MARKER.0)? {
            Some(marker) if marker == MARKER.1 => Ok(this),
            _ => Err(Failure::Damaged("opened empty".to_owned())),
        }
    }

    fn db(&self) -> Result<&sled::Db, Failure> {
        self.db.as_ref().filter(|_| !self.broken).ok_or_else(|| Failure::Damaged("closed after a failure".to_owned()))
    }

    fn value(&self, key: &[u8]) -> Result<Option<sled::IVec>, Failure> {
        let db = self.db()?;
        guarded(|| db.get(key))
    }

    /// Applies all pairs or, after a crash, none.
    fn write(&mut self, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), Failure> {
        let db = self.db()?;
        let mut batch = sled::Batch::default();
        for (key, value) in pairs {
            batch.insert(key, value);
        }
        let result = guarded(|| db.apply_batch(batch).and_then(|()| db.flush().map(|_| ())));
        self.broken |= result.is_err();
        result
    }

    fn sync(&mut self) -> Result<(), Failure> {
        // A failed sync may have dropped the dirty pages; what sled believes to be stored is then in doubt.
        let result = self.data.sync_data();
        self.broken |= result.is_err();
        Ok(result?)
    }

    /// Stores records, and what is acknowledged if given, so that they survive a power cut; after a crash all or none.
    pub(super) fn put(&mut self, records: &[Put], acked: Option<&Acked>) -> Result<(), Failure> {
        let mut pairs: Vec<_> = acked.map(encode_acked).into_iter().collect();
        for (class, first, bytes) in records {
            for (at, chunk) in (0_u8..=u8::MAX).zip(bytes.chunks(CHUNK)) {
                let mut key = record_key(*class, *first).to_vec();
                key.push(at);
                pairs.push((key, chunk.to_vec()));
            }
        }
        self.write(pairs)?;
        self.sync()
    }

    /// The encoding of a record, unchecked.
    pub(super) fn get(&self, class: Class, first: u64) -> Result<Option<Vec<u8>>, Failure> {
        let db = self.db()?;
        guarded(|| {
            let mut bytes = Vec::new();
            for pair in db.scan_prefix(record_key(class, first)) {
                bytes.extend_from_slice(&pair?.1);
            }
            Ok(Some(bytes).filter(|b| !b.is_empty()))
        })
    }

    /// Remembers which records are acknowledged. Not synced: forgetting it costs duplicates, nothing else.
    pub(super) fn put_acked(&mut self, acked: &Acked) -> Result<(), Failure> {
        self.write(vec![encode_acked(acked)])
    }

    /// What [`Generation::put_acked`] stored; nothing when it is damaged.
    pub(super) fn acked(&self) -> Acked {
        let read = || -> Option<Acked> {
            let value = self.value(&ACKS).ok()??;
            let (body, crc) = value.split_last_chunk::<4>()?;
            if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
                return None;
            }
            let mut rest = body;
            let mut acked = Acked::default();
            for ranges in &mut acked {
                *ranges = take_ranges(&mut rest)?;
            }
            Some(acked)
        };
        read().unwrap_or_default()
    }

    /// Hands every record to `found`, by class and number, unchecked. False when some of it cannot be read.
    pub(super) fn scan(&self, mut found: impl FnMut(Class, u64, &[u8])) -> bool {
        let Ok(db) = self.db() else { return false };
        let mut whole = true;
        let mut current: Option<(Class, u64, Vec<u8>)> = None;
        let mut from = position_key(1 << 72);
        'stretch: for _ in 0..MAX_SKIPS {
            let mut pairs = db.range(from.clone()..);
            loop {
                match guarded(|| pairs.next().transpose()) {
                    Ok(Some((key, value))) => {
                        match parse_key(&key) {
                            Some((class, first)) => match &mut current {
                                Some((c, f, bytes)) if (*c, *f) == (class, first) => bytes.extend_from_slice(&value),
                                _ => {
                                    if let Some((c, f, bytes)) = current.replace((class, first, value.to_vec())) {
                                        found(c, f, &bytes);
                                    }
                                }
                            },
                            None => whole = false,
                        }
                        from = position_key(position(&key) + 1);
                    }
                    Ok(None) => {
                        if let Some((class, first, bytes)) = current.take() {
                            found(class, first, &bytes);
                        }
                        return whole;
                    }
                    Err(error) => {
                        tracing::warn!(generation = self.id, ?error, "outbox generation has an unreadable stretch");
                        whole = false;
                        from = position_key(self.beyond_damage(db, position(&from)));
                        continue 'stretch;
                    }
                }
            }
        }
        if let Some((class, first, bytes)) = current.take() {
            found(class, first, &bytes);
        }
        false
    }

    /// The first position above `bad` from which reading works again: doubling steps, then halving.
    fn beyond_damage(&self, db: &sled::Db, bad: u128) -> u128 {
        let readable = |at: u128| guarded(|| db.range(position_key(at)..).next().transpose()).is_ok();
        let end = END;
        let (mut bad, mut step) = (bad, 1_u128);
        while bad + step < end && !readable(bad + step) {
            bad += step;
            step *= 2;
        }
        let mut good = (bad + step).min(end);
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if readable(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    }

    /// Whether it must be closed and opened again before it can be used.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that it takes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        super::dir::disk_bytes(&self.path)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // sled flushes when it is closed, and may panic over that.
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(move || drop(db))).is_err() {
            tracing::warn!(generation = self.id, "outbox generation could not be closed cleanly");
        }
    }
}

fn encode_acked(acked: &Acked) -> (Vec<u8>, Vec<u8>) {
    let mut value = Vec::new();
    for ranges in acked {
        // A value must stay below a chunk; what is left out is sent once more after a restart.
        put_ranges(&mut value, &ranges.iter().take(16).collect());
    }
    let crc = crc32fast::hash(&value);
    value.extend_from_slice(&crc.to_le_bytes());
    (ACKS.to_vec(), value)
}

fn record_key(class: Class, first: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = 1 + u8::try_from(class.rank()).unwrap_or(u8::MAX - 1);
    key[1..].copy_from_slice(&first.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Option<(Class, u64)> {
    let (&[rank], rest) = key.split_first_chunk::<1>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let class = Class::from_rank(usize::from(rank.checked_sub(1)?))?;
    (rest.len() == 1).then_some((class, u64::from_be_bytes(*first)))
}

/// A position behind all record keys.
const END: u128 = 6 << 72;

/// Keys of ten bytes as numbers, in the same order; shorter ones as if filled with zeros.
fn position(key: &[u8]) -> u128 {
    (0..10).fold(0, |sum, at| sum << 8 | u128::from(key.get(at).copied().unwrap_or(0)))
}

fn position_key(position: u128) -> Vec<u8> {
    position.to_be_bytes()[6..].to_vec()
}

//! The recordings' directory: `ID.log.gz` and, once it is finished, `ID.json`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::file::{About, Recorded, hex, name_of};
use crate::event::Class;

/// Endings of the two files of a recording.
pub(super) const FRAMES: &str = ".log.gz";
const ABOUT: &str = ".json";
/// `ID.json` while it is written.
const NEW: &str = ".json.new";
const LOCK: &str = "lock";
/// Recordings in the directory, at most: one takes a few blocks of the disk however small it is.
const MAX_RECORDINGS: usize = 4096;
/// Nothing of a header is in less, bytes.
const LEAST: u64 = 4096;
/// Largest `ID.json`, bytes.
const MAX_ABOUT: u64 = 1 << 20;

/// The directory cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refuses.
    #[error("recordings {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has it. Stop it, or give this one a directory of its own.
    #[error("recordings {path}: in use by another process; stop it or configure another recorder.dir")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// A recording in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its file.
    pub path: PathBuf,
    /// `None`: it is being written, or was when the power was cut.
    pub about: Option<About>,
}

/// What is in a directory, the earliest first; needs no lock.
///
/// # Errors
/// When it cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Listed>, StoreError> {
    let failed = |source| StoreError::Io { path: dir.into(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(id) = name_of(&path) {
            let about = read_about(&dir.join(format!("{id}{ABOUT}"))).filter(|about| about.id == id);
            found.push(Listed { path, about });
        }
    }
    found.sort_by_key(|one| (one.about.as_ref().map_or(u64::MAX, |about| about.from), one.path.clone()));
    Ok(found)
}

/// Called as recordings are: `TIME-WHAT.log.gz`.
fn begun_by_us(path: &Path) -> bool {
    let name = name_of(path).unwrap_or_default();
    name.split_once('-').is_some_and(|(time, _)| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()))
}

fn read_about(path: &Path) -> Option<About> {
    let file = File::open(path).ok()?;
    serde_json::from_reader(io::Read::take(file, MAX_ABOUT)).ok()
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Held for as long as this lives; `None`: it could not be opened yet.
    lock: Option<File>,
    /// Finished ones, the earliest first.
    pub(super) all: Vec<About>,
}

impl Store {
    /// Not open yet.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), lock: None, all: Vec::new() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock.is_some()
    }

    /// Locks the directory, and finishes what is unfinished. Gives those, and names of files of which nothing could be read;
    /// they are gone.
    pub(super) fn open(&mut self) -> Result<(Vec<About>, Vec<String>), StoreError> {
        let dir = self.dir.clone();
        let dir = dir.as_path();
        let failed = |source| StoreError::Io { path: dir.into(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        // Its own name is on the disk; where that cannot be, it has been for long.
        if let Some(parent) = dir.parent() {
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        let lock = options().create(true).truncate(false).open(dir.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: dir.into() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let (mut all, mut mended, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for Listed { path, about } in list(dir)? {
            let size = fs::metadata(&path).map_or(0, |meta| meta.len());
            match about {
                Some(about) if about.bytes == size => all.push(about),
                // Not ours to finish if its size is another than was noted: what is whole of it is.
                _ => match self.mend(&path) {
                    Ok(Some(about)) => {
                        mended.push(about.clone());
                        all.push(about);
                    }
                    Ok(None) if size < LEAST && begun_by_us(&path) => {
                        let id = name_of(&path).unwrap_or_default();
                        self.remove_files(&id);
                        lost.push(id);
                    }
                    Ok(None) => tracing::warn!("{} is no recording of outrider; it is left alone", path.display()),
                    // It stays as it is, and is not counted; the next start tries again.
                    Err(error) => tracing::error!("recording {}: {error}", path.display()),
                },
            }
        }
        all.sort_by_key(|about| about.from);
        (self.lock, self.all) = (Some(lock), all);
        Ok((mended, lost))
    }

    /// Cuts off what is not whole, and notes what is. `None`: nothing is.
    fn mend(&self, path: &Path) -> io::Result<Option<About>> {
        let mut recorded = match Recorded::open(path) {
            Ok(recorded) => recorded,
            Err(super::ReadError::Io { source, .. }) => return Err(source),
            Err(super::ReadError::Other { .. }) => return Ok(None),
        };
        while recorded.next_lines().is_some() {}
        if let Some(error) = recorded.failed() {
            return Err(error);
        }
        let mut about = recorded.about.clone();
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(about.bytes)?;
        file.sync_all()?;
        about.digest = digest(path)?;
        about.torn = true;
        self.write_about(&about)?;
        Ok(Some(about))
    }

    pub(super) fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}{FRAMES}"))
    }

    /// Bytes of all finished recordings.
    pub(super) fn bytes(&self) -> u64 {
        self.all.iter().map(|about| about.bytes).sum()
    }

    /// Bytes of those that end within these times.
    pub(super) fn bytes_within(&self, times_ns: std::ops::Range<u64>) -> u64 {
        self.all.iter().filter(|about| times_ns.contains(&about.to)).map(|about| about.bytes).sum()
    }

    /// Whether its directory is no longer there, or another is in its place.
    pub(super) fn is_gone(&self) -> bool {
        let same = |lock: &File| {
            let (held, there) = (lock.metadata().ok()?, fs::metadata(self.dir.join(LOCK)).ok()?);
            Some((held.dev(), held.ino()) == (there.dev(), there.ino()))
        };
        self.lock.as_ref().is_some_and(|lock| same(lock) != Some(true))
    }

    /// The same, not open.
    pub(super) fn closed(&self) -> Self {
        Self::new(&self.dir)
    }

    /// Makes room for `bytes` more of a recording of `class`, with at most `quota` in all. Gives what had to go; what has
    /// been sent goes first, then the least important, the earliest of them. `Err`: what is there is more important.
    pub(super) fn make_room(&mut self, bytes: u64, quota: u64, class: Class) -> Result<Vec<About>, Vec<About>> {
        let mut gone = Vec::new();
        while self.bytes() + bytes > quota || self.all.len() >= MAX_RECORDINGS {
            let order = |about: &About| (about.sent < about.chunks(), 4 - about.class.rank(), about.from);
            let first = (0..self.all.len()).min_by_key(|at| order(&self.all[*at]));
            let Some(at) = first.filter(|at| {
                let about = &self.all[*at];
                about.sent >= about.chunks() || about.class >= class
            }) else {
                return Err(gone);
            };
            let about = self.all.remove(at);
            self.remove_files(&about.id);
            gone.push(about);
        }
        Ok(gone)
    }

    fn remove_files(&self, id: &str) {
        // Without its note it would be taken for unfinished: the frames go first.
        for ending in [FRAMES, ABOUT] {
            let path = self.dir.join(format!("{id}{ending}"));
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::error!("recording {}: {error}", path.display());
            }
        }
    }

    /// A new file, and the name that it has: the one that is asked for, or one like it.
    pub(super) fn create(&self, id: &str) -> io::Result<(String, File)> {
        for again in 0..100 {
            let name = if again == 0 { id.to_owned() } else { format!("{id}-{again}") };
            match options().create_new(true).open(self.path(&name)) {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Names of files are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// A recording is finished, or finished again.
    pub(super) fn finish(&mut self, about: About) -> io::Result<()> {
        let written = self.write_about(&about);
        self.all.retain(|other| other.id != about.id);
        self.all.push(about);
        written
    }

    /// A finished recording goes on. Until it is finished again, a power cut finds it unfinished.
    pub(super) fn reopen(&mut self, id: &str) {
        self.all.retain(|about| about.id != id);
        let _ = fs::remove_file(self.dir.join(format!("{id}{ABOUT}")));
    }

    /// Notes how much of it has been sent.
    pub(super) fn sent(&mut self, id: &str, sent: u32) -> io::Result<()> {
        let Some(about) = self.all.iter_mut().find(|about| about.id == id) else { return Ok(()) };
        about.sent = sent;
        let about = about.clone();
        self.write_about(&about)
    }

    fn write_about(&self, about: &About) -> io::Result<()> {
        let new = self.dir.join(format!("{}{NEW}", about.id));
        let mut file = options().create(true).truncate(true).open(&new)?;
        file.write_all(&serde_json::to_vec(about)?)?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(format!("{}{ABOUT}", about.id)))?;
        self.sync()
    }
}

/// SHA-256 of a file, hexadecimal.
pub(super) fn digest(path: &Path) -> io::Result<String> {
    let (mut hash, mut file, mut piece) = (Sha256::new(), File::open(path)?, [0; 8192]);
    loop {
        match io::Read::read(&mut file, &mut piece) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(length) => hash.update(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

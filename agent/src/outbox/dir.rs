//! The outbox's directory: names, the lock, what it takes on disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{CAMPAIGNS, NETWORKS, OutboxError, head};

const LOCK: &str = "lock";
/// Quarantined generations kept for whoever wants to look into the damage.
pub(super) const MAX_QUARANTINED: usize = 2;

/// The directory, locked for as long as this lives; or one that could not be opened, which nothing may touch.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    lock: Result<File, OutboxError>,
}

/// What is in it, ids ascending.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) generations: Vec<u32>,
    pub(super) quarantined: Vec<u32>,
}

impl Dir {
    /// Locks the directory; `create` makes it when there is none. A directory without a lock file holds no outbox.
    pub(super) fn lock(path: &Path, create: bool) -> Result<Self, OutboxError> {
        let failed = |doing| move |source| io_error(path, doing, source);
        if create {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create directory"))?;
        }
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(failed("open lock file"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Ok(lock) }),
            Err(TryLockError::WouldBlock) => Err(OutboxError::Locked { path: path.display().to_string() }),
            Err(TryLockError::Error(source)) => Err(io_error(path, "lock", source)),
        }
    }

    /// A directory that could not be opened.
    pub(super) fn refused(path: &Path, error: OutboxError) -> Self {
        Self { path: path.to_owned(), lock: Err(error) }
    }

    /// Whether it can be used at all.
    pub(super) fn is_open(&self) -> bool {
        self.lock.is_ok()
    }

    /// Before anything is written.
    ///
    /// # Errors
    /// With why it could not be opened.
    pub(super) fn check(&self) -> Result<(), OutboxError> {
        match &self.lock {
            Err(OutboxError::Io { path, doing, source }) => {
                let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
                Err(OutboxError::Io { path: path.clone(), doing, source })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn generation(&self, id: u32) -> PathBuf {
        self.path.join(format!("gen-{id:08}"))
    }

    fn quarantine_path(&self, id: u32) -> PathBuf {
        self.path.join(format!("quarantine-{id}"))
    }

    /// Lists it. Files that are not ours are left alone.
    pub(super) fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        if !self.is_open() {
            return Ok(listing);
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let id = |prefix: &str| name.strip_prefix(prefix).and_then(|digits| digits.parse::<u32>().ok());
            if let Some(id) = id("gen-").filter(|&id| *name == *format!("gen-{id:08}")) {
                listing.generations.push(id);
            } else if let Some(id) = id("quarantine-") {
                listing.quarantined.push(id);
            } else if *name != *LOCK
                && *name != *head::TEMPORARY
                && !head::COPIES.contains(&&*name)
                && ![Some(NETWORKS), Some(CAMPAIGNS)].contains(&name.split('.').next())
            {
                tracing::warn!(file = %entry.path().display(), "not a file of the outbox; left alone");
            }
        }
        listing.generations.sort_unstable();
        listing.quarantined.sort_unstable();
        Ok(listing)
    }

    /// Deletes a generation; one that is not there is fine.
    pub(super) fn delete_generation(&self, id: u32) -> io::Result<()> {
        match fs::remove_dir_all(self.generation(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts a generation that cannot be read out of the way, and deletes the oldest such beyond the two newest.
    pub(super) fn quarantine(&self, id: u32) -> io::Result<()> {
        match fs::rename(self.generation(id), self.quarantine_path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let quarantined = self.list()?.quarantined;
        for &id in quarantined.iter().rev().skip(MAX_QUARANTINED) {
            fs::remove_dir_all(self.quarantine_path(id))?;
        }
        Ok(())
    }

    /// Deletes all that is in quarantine, because its room is needed.
    pub(super) fn empty_quarantine(&self) -> io::Result<()> {
        for id in self.list()?.quarantined {
            fs::remove_dir_all(self.quarantine_path(id))?;
        }
        Ok(())
    }

    /// Bytes on disk of all that is ours but the generations.
    pub(super) fn other_disk_bytes(&self) -> u64 {
        let files = head::COPIES.iter().chain([&LOCK]).map(|name| disk_bytes(&self.path.join(name)));
        let quarantined = self.list().unwrap_or_default().quarantined;
        files.chain(quarantined.into_iter().map(|id| disk_bytes(&self.quarantine_path(id)))).sum()
    }
}

/// Bytes that a directory and all in it take on disk. What disappears meanwhile or cannot be read counts nothing.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    let own = fs::symlink_metadata(path).map_or(0, |m| m.blocks() * 512);
    let Ok(entries) = fs::read_dir(path) else { return own };
    entries.flatten().fold(own, |sum, entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => sum + disk_bytes(&entry.path()),
        Ok(metadata) => sum + metadata.blocks() * 512,
        Err(_) => sum,
    })
}

pub(super) fn io_error(path: &Path, doing: &'static str, source: io::Error) -> OutboxError {
    OutboxError::Io { path: path.display().to_string(), doing, source }
}

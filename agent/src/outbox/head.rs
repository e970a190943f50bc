//! The head: a small file, replaced and synced whenever it changes, that knows what sled forgets.
//!
//! It reserves sequence numbers in blocks, so that none is used twice after a crash, and lists the
//! generations with what they hold, so that one that is gone, opens empty or has lost records is
//! noticed. Two copies are written one after the other, each to a temporary file that is synced
//! and renamed, then the directory is synced; only after both may reserved numbers be used.
//! Therefore either copy alone is good enough.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::ranges::RangeSet;
use super::record::take;

/// The two copies, in the order they are written and read.
pub(super) const COPIES: [&str; 2] = ["head", "head.copy"];
/// The file that becomes a copy by renaming.
pub(super) const TEMPORARY: &str = "head.new";

const MAGIC: &[u8; 4] = b"ORH1";
/// A head of the largest outbox is some tens of kilobytes; more is not ours.
const MAX_BYTES: u64 = 1 << 20;

/// What the head says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// All sequence numbers from here on are unused.
    pub(super) reserved_end: u64,
    /// A number up to which everything was committed or explained when this was written.
    pub(super) committed: u64,
    /// After a clean close: the next number; everything below is committed or explained.
    pub(super) clean: Option<u64>,
    /// All generations from here on are unused.
    pub(super) next_generation: u32,
    pub(super) generations: Vec<GenerationInfo>,
}

/// What the head says about a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GenerationInfo {
    pub(super) id: u32,
    /// Nothing is written to it any more: `stored` and `holds` are complete.
    pub(super) closed: bool,
    /// Records in it; at least, while it is not closed.
    pub(super) stored: u32,
    /// While not closed: numbers from here on may be in it.
    pub(super) first_own: u64,
    /// Numbers in it, rounded up to few ranges.
    pub(super) holds: RangeSet,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.reserved_end.to_le_bytes());
        out.extend_from_slice(&self.committed.to_le_bytes());
        out.extend_from_slice(&self.clean.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.next_generation.to_le_bytes());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&count(self.generations.len()));
        for info in &self.generations {
            out.extend_from_slice(&info.id.to_le_bytes());
            out.push(u8::from(info.closed));
            out.extend_from_slice(&info.stored.to_le_bytes());
            out.extend_from_slice(&info.first_own.to_le_bytes());
            put_ranges(&mut out, &info.holds);
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let reserved_end = u64::from_le_bytes(take(&mut rest)?);
        let committed = u64::from_le_bytes(take(&mut rest)?);
        let clean = Some(u64::from_le_bytes(take(&mut rest)?)).filter(|&n| n != 0);
        let next_generation = u32::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut generations = Vec::new();
        for _ in 0..count {
            generations.push(GenerationInfo {
                id: u32::from_le_bytes(take(&mut rest)?),
                closed: take::<1>(&mut rest)?[0] != 0,
                stored: u32::from_le_bytes(take(&mut rest)?),
                first_own: u64::from_le_bytes(take(&mut rest)?),
                holds: take_ranges(&mut rest)?,
            });
        }
        rest.is_empty().then_some(Self { reserved_end, committed, clean, next_generation, generations })
    }

    /// Reads the first copy that is whole. `None` when there is none; `Err` only when the file system refuses.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Self>> {
        for name in COPIES {
            let mut bytes = Vec::new();
            match File::open(dir.join(name)) {
                Ok(file) => match file.take(MAX_BYTES).read_to_end(&mut bytes) {
                    Ok(_) => {}
                    // An unreadable block is damage, for which there is the other copy.
                    Err(error) => tracing::warn!(file = name, %error, "outbox head cannot be read"),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            match Self::decode(&bytes) {
                Some(head) => return Ok(Some(head)),
                None => tracing::warn!(file = name, "outbox head is damaged"),
            }
        }
        Ok(None)
    }

    /// Replaces both copies, durably.
    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        let bytes = self.encode();
        for name in COPIES {
            let temporary = dir.join(TEMPORARY);
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, dir.join(name))?;
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

/// Appends a range set: count, then pairs.
pub(super) fn put_ranges(out: &mut Vec<u8>, ranges: &RangeSet) {
    out.extend_from_slice(&u32::try_from(ranges.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (first, last) in ranges.iter() {
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&last.to_le_bytes());
    }
}

/// Reads what [`put_ranges`] wrote.
pub(super) fn take_ranges(rest: &mut &[u8]) -> Option<RangeSet> {
    let mut ranges = RangeSet::default();
    for _ in 0..u32::from_le_bytes(take(rest)?) {
        ranges.insert(u64::from_le_bytes(take(rest)?), u64::from_le_bytes(take(rest)?));
    }
    Some(ranges)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

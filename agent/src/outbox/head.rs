//! The head: a small file, replaced and synced whenever it changes, that knows what sled forgets.
//!
//! It reserves sequence numbers in blocks, so that none is used twice after a crash, and lists the
//! generations with what they hold, so that one that is gone, opens empty or has lost records is
//! noticed. It also says what stored gap events explain, in case they are lost themselves, and how
//! wrong clocks were. Two copies are written one after the other, each to a temporary file that is
//! synced and renamed, then the directory is synced; only after both may reserved numbers be used.
//! Therefore either copy alone is good enough.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::fixes::Fixes;
use super::owed::{Debt, Owed};
use super::ranges::RangeSet;
use super::record::take;
use crate::event::{Class, LossCause};

/// The two copies, in the order they are written and read.
pub(super) const COPIES: [&str; 2] = ["head", "head.copy"];
/// The file that becomes a copy by renaming.
pub(super) const TEMPORARY: &str = "head.new";

const MAGIC: &[u8; 4] = b"ORH3";
/// With a name behind it.
const MAGIC_NAMED: &[u8; 4] = b"ORH4";
/// For "no class" in [`Owed`].
const NO_CLASS: u8 = u8::MAX;
/// A head of the largest outbox, with thousands of generations, has a megabyte; much more is not ours.
const MAX_BYTES: u64 = 8 << 20;

/// What the head says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// All sequence numbers from here on are unused.
    pub(super) reserved_end: u64,
    /// What was in doubt when this was written.
    pub(super) doubt: Doubt,
    /// After a clean close: the next number; everything below is committed or explained.
    pub(super) clean: Option<u64>,
    /// All generations from here on are unused.
    pub(super) next_generation: u32,
    pub(super) generations: Vec<GenerationInfo>,
    /// Bytes of the write budget that were left, and when that was, nanoseconds since the Unix epoch.
    pub(super) wear: (u64, u64),
    /// What the gap events explain that are stored and not acknowledged.
    pub(super) owed: Owed,
    /// How wrong clocks were.
    pub(super) fixes: Fixes,
    /// The pseudonym under which events are, unless they are under the vehicle's own name.
    pub(super) name: Option<Arc<str>>,
}

/// Numbers that were given out and are neither stored nor acknowledged nor explained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Doubt {
    /// All numbers from here on.
    pub(super) from: u64,
    /// And these, rounded up to few ranges: they wait in memory.
    pub(super) waiting: RangeSet,
}

impl Doubt {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.from.to_le_bytes());
        put_ranges(out, &self.waiting);
    }

    pub(super) fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(Self { from: u64::from_le_bytes(take(rest)?), waiting: take_ranges(rest)? })
    }
}

/// What a generation says with each commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) doubt: Doubt,
    /// Records in the generation, those of this commit too: the commit was finished if all are there.
    pub(super) records: u32,
}

impl Note {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.doubt.put(&mut out);
        out.extend_from_slice(&self.records.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let doubt = Doubt::take(&mut body)?;
        let records = u32::from_le_bytes(take(&mut body)?);
        body.is_empty().then_some(Self { doubt, records })
    }
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
        let mut out = if self.name.is_some() { MAGIC_NAMED } else { MAGIC }.to_vec();
        if let Some(name) = &self.name {
            // As short as a hash.
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(&self.reserved_end.to_le_bytes());
        self.doubt.put(&mut out);
        out.extend_from_slice(&self.clean.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.next_generation.to_le_bytes());
        out.extend_from_slice(&self.wear.0.to_le_bytes());
        out.extend_from_slice(&self.wear.1.to_le_bytes());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&count(self.generations.len()));
        for info in &self.generations {
            out.extend_from_slice(&info.id.to_le_bytes());
            out.push(u8::from(info.closed));
            out.extend_from_slice(&info.stored.to_le_bytes());
            out.extend_from_slice(&info.first_own.to_le_bytes());
            put_ranges(&mut out, &info.holds);
        }
        out.extend_from_slice(&count(self.owed.0.len()));
        for ((cause, class), debt) in &self.owed.0 {
            let cause = LossCause::ALL.iter().position(|c| c == cause).and_then(|place| u8::try_from(place).ok());
            let class = class.and_then(|class| u8::try_from(class.rank()).ok());
            out.extend([cause.unwrap_or(0), class.unwrap_or(NO_CLASS)]);
            put_ranges(&mut out, &debt.events);
            put_ranges(&mut out, &debt.lost);
        }
        self.fixes.put(&mut out);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut name = None;
        let mut rest = match body.strip_prefix(MAGIC_NAMED) {
            Some(mut named) => {
                let length = usize::from(take::<1>(&mut named)?[0]);
                let (text, rest) = named.split_at_checked(length)?;
                name = Some(str::from_utf8(text).ok()?.into());
                rest
            }
            None => body.strip_prefix(MAGIC)?,
        };
        let reserved_end = u64::from_le_bytes(take(&mut rest)?);
        let doubt = Doubt::take(&mut rest)?;
        let clean = Some(u64::from_le_bytes(take(&mut rest)?)).filter(|&n| n != 0);
        let next_generation = u32::from_le_bytes(take(&mut rest)?);
        let wear = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
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
        let mut owed = Owed::default();
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let [cause, class] = take(&mut rest)?;
            let cause = *LossCause::ALL.get(usize::from(cause))?;
            let class = if class == NO_CLASS { None } else { Some(Class::from_rank(usize::from(class))?) };
            let debt = Debt { events: take_ranges(&mut rest)?, lost: take_ranges(&mut rest)? };
            owed.0.insert((cause, class), debt);
        }
        let fixes = Fixes::take(&mut rest)?;
        let whole = rest.is_empty();
        whole.then_some(Self { reserved_end, doubt, clean, next_generation, wear, generations, owed, fixes, name })
    }

    /// Reads the first copy that is whole. `None` when there is none.
    ///
    /// # Errors
    /// When no copy that is there can be read: then it is the disk that refuses.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Self>> {
        let (mut refused, mut damaged) = (None, false);
        for name in COPIES {
            let mut bytes = Vec::new();
            match File::open(dir.join(name)).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) {
                Ok(_) => match Self::decode(&bytes) {
                    Some(head) => return Ok(Some(head)),
                    None => {
                        tracing::warn!(file = name, "outbox head is damaged");
                        damaged = true;
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = name, %error, "outbox head cannot be read");
                    refused = Some(error);
                }
            }
        }
        refused.filter(|_| !damaged).map_or(Ok(None), Err)
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

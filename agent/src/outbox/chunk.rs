//! The chunk: a part of a record, as sled has it for a value, and as it is found in sled's file (`raw.rs`).
//!
//! Little endian:
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 4 | `ORK1`: magic and version |
//! | 4 | 4 | the generation, so that blocks of a deleted one are not taken for this one's |
//! | 8 | 1 | rank of the class; 255: a note of numbers in doubt |
//! | 9 | 1 | the how-many-th part, from 0 |
//! | 10 | 8 | sequence number of the record's first event |
//! | 18 | 4 | length of the record |
//! | 22 | 4 | the record's own CRC: tells two records of one name apart |
//! | 26 | 2 | length of this part |
//! | 28 | | the part: [`PART`] bytes, the last one less |
//! | | 4 | CRC-32 (IEEE) of all before |

use super::record::take;

/// Bytes of a record in one chunk. sled's leaves hold up to 17 values, and a page that is larger than a quarter segment
/// would go to a file of its own, which sled never syncs: the largest page (26 KiB) stays below the 32 KiB.
pub(super) const PART: usize = 1500;
pub(super) const MAGIC: &[u8; 4] = b"ORK1";
const HEADER: usize = 28;
/// Bytes of the largest chunk.
pub(super) const MOST: usize = HEADER + PART + 4;
/// Instead of a class.
pub(super) const NOTE: u8 = u8::MAX;

/// A chunk without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chunk {
    pub(super) rank: u8,
    pub(super) first: u64,
    pub(super) total: u32,
    pub(super) crc: u32,
    pub(super) place: u8,
}

/// Cuts a record or a note, whose last four bytes are a CRC, into chunks.
pub(super) fn cut(generation: u32, rank: u8, first: u64, bytes: &[u8]) -> impl Iterator<Item = (u8, Vec<u8>)> + '_ {
    let crc = bytes.last_chunk::<4>().copied().unwrap_or_default();
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    (0_u8..=u8::MAX).zip(bytes.chunks(PART)).map(move |(place, part)| {
        let mut out = Vec::with_capacity(MOST);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&generation.to_le_bytes());
        out.extend([rank, place]);
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&narrow(bytes.len()));
        out.extend_from_slice(&crc);
        out.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(part);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        (place, out)
    })
}

/// The chunk at the start of `bytes`, and its part. What follows is left alone.
pub(super) fn parse(generation: u32, bytes: &[u8]) -> Option<(Chunk, &[u8])> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    if u32::from_le_bytes(take(&mut rest)?) != generation {
        return None;
    }
    let [rank, place] = take(&mut rest)?;
    let first = u64::from_le_bytes(take(&mut rest)?);
    let (total, crc) = (u32::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
    let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
    let (part, mut rest) = rest.split_at_checked(length)?;
    let whole = &bytes[..HEADER + length];
    (crc32fast::hash(whole) == u32::from_le_bytes(take(&mut rest)?))
        .then_some((Chunk { rank, first, total, crc, place }, part))
}

//! The record: some events of one class, as stored.
//!
//! Little endian:
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 4 | `ORB2`: magic and version; `ORB3` where the events may not go everywhere |
//! | 4 | 1 | rank of the class |
//! | 5 | 4 | ordinal: the how-many-th record of its generation, from 0 |
//! | 9 | 4 | number of events |
//! | 13 | 8 | sequence number of the first event |
//! | 21 | 8 | time of the earliest event, nanoseconds since the Unix epoch |
//! | 29 | 8 | time of the latest |
//! | 37 | 4 | length of the table |
//! | 41 | 4 | length of the payload |
//! | 45 | | with `ORB3` only: length of the regions' names, one byte, and the names with commas between |
//! | | | table: for each event, as LEB128, the step from the number before (0 for the first) and its length |
//! | | | payload: the events' encodings |
//! | | 4 | CRC-32 (IEEE) of all before |
//!
//! sled has checksums of its own, but has been seen to open damaged files without a word; what
//! passes here is what was written.

use crate::event::{Class, Regions};

const MAGIC: &[u8; 4] = b"ORB2";
const MAGIC_RESTRICTED: &[u8; 4] = b"ORB3";
const HEADER: usize = 45;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) class: Class,
    pub(super) ordinal: u32,
    /// Sequence number and length of each event; at least one.
    pub(super) events: Vec<(u64, u32)>,
    /// Of the earliest and the latest event.
    pub(super) times: Times,
    /// Where all of them may go.
    pub(super) regions: Option<Regions>,
    pub(super) payload: Vec<u8>,
}

/// Earliest and latest, nanoseconds since the Unix epoch.
pub(super) type Times = (u64, u64);

impl Record {
    pub(super) fn first(&self) -> u64 {
        self.events.first().map_or(0, |e| e.0)
    }

    pub(super) fn last(&self) -> u64 {
        self.events.last().map_or(0, |e| e.0)
    }

    /// The events' numbers and encodings.
    pub(super) fn events(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut rest = self.payload.as_slice();
        self.events.iter().map(move |&(seq, len)| {
            let (event, after) = rest.split_at(usize::try_from(len).unwrap_or(usize::MAX).min(rest.len()));
            rest = after;
            (seq, event)
        })
    }
}

/// Encodes a record as the how-many-th of its generation. Its events must ascend and their lengths add up to the payload's.
pub(super) fn encode(record: &Record, ordinal: u32) -> Vec<u8> {
    let mut table = Vec::with_capacity(record.events.len() * 3);
    let mut before = record.first();
    for &(seq, len) in &record.events {
        put_varint(&mut table, seq - before);
        put_varint(&mut table, u64::from(len));
        before = seq;
    }
    // A record is far below 4 GiB: one event is at most 64 KiB, several at most 12 KiB.
    let narrow = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = Vec::with_capacity(HEADER + table.len() + record.payload.len() + 4);
    let regions = record.regions.as_ref().map(Regions::as_str);
    out.extend_from_slice(if regions.is_some() { MAGIC_RESTRICTED } else { MAGIC });
    out.push(u8::try_from(record.class.rank()).unwrap_or(u8::MAX));
    out.extend_from_slice(&ordinal.to_le_bytes());
    out.extend_from_slice(&narrow(record.events.len()));
    for number in [record.first(), record.times.0, record.times.1] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&narrow(table.len()));
    out.extend_from_slice(&narrow(record.payload.len()));
    if let Some(regions) = regions {
        // The configuration's bounds keep it far below.
        out.push(u8::try_from(regions.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(regions.as_bytes());
    }
    out.extend_from_slice(&table);
    out.extend_from_slice(&record.payload);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Decodes a record; `None` when anything about it is wrong.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let is_restricted = body.starts_with(MAGIC_RESTRICTED);
    let mut rest = body.strip_prefix(if is_restricted { MAGIC_RESTRICTED } else { MAGIC })?;
    let class = Class::from_rank(usize::from(take::<1>(&mut rest)?[0]))?;
    let ordinal = u32::from_le_bytes(take(&mut rest)?);
    let count = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
    let first = u64::from_le_bytes(take(&mut rest)?);
    let times = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
    let table_len = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
    let payload_len = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
    let mut regions = None;
    if is_restricted {
        let length = usize::from(take::<1>(&mut rest)?[0]);
        let (names, after) = rest.split_at_checked(length)?;
        // A record that may go nowhere would be one that may go everywhere.
        regions = Some(Regions::new(str::from_utf8(names).ok()?.split(','))?);
        rest = after;
    }
    let (mut table, payload) = rest.split_at_checked(table_len)?;
    // Each event has at least two bytes in the table, so `count` cannot make us reserve more than we were given.
    if payload.len() != payload_len || count == 0 || count > table_len / 2 {
        return None;
    }
    let mut events = Vec::with_capacity(count);
    let (mut seq, mut sum) = (first, 0_u64);
    for at in 0..count {
        let step = take_varint(&mut table)?;
        if (step == 0) != (at == 0) {
            return None;
        }
        seq = seq.checked_add(step)?;
        let len = u32::try_from(take_varint(&mut table)?).ok()?;
        sum += u64::from(len);
        events.push((seq, len));
    }
    (table.is_empty() && sum == payload_len as u64).then(|| Record {
        class,
        ordinal,
        events,
        times,
        regions,
        payload: payload.to_vec(),
    })
}

/// The next `N` bytes.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

pub(super) fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = u64::from(take::<1>(rest)?[0]);
        let bits = byte & 0x7f;
        n |= bits << shift;
        if (n >> shift) & 0x7f != bits {
            return None;
        }
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

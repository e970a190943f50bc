//! Two files beside a generation's database, so that opening the outbox need not open every database.
//!
//! `contents` is written once, when the generation is closed: first the sums, which are read at every start, then the table
//! of its records, which is read when they are wanted. `acked` says which records are acknowledged; it is rewritten in place
//! now and then and not synced. Both have CRCs. Without `contents` the database is read instead; without `acked` its records
//! are sent once more. What `acked` says is left holds only if no record was stored since: it also says how many there were.
//!
//! Little endian. `contents`: `ORT1`; length of the sums; sums: generation, records, length of the data file, numbers as
//! ranges, the five classes' stocks; CRC of all so far; the table (`index.rs`), its CRC. `acked`: `ORA2`,
//! length, records, five range sets, five stocks, CRC.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::generation::Acked;
use super::head::{put_ranges, take_ranges};
use super::index::Table;
use super::ranges::RangeSet;
use super::record::take;
use super::stock::Stock;

const CONTENTS: &str = "contents";
const ACKED: &str = "acked";
const CONTENTS_MAGIC: &[u8; 4] = b"ORT1";
const ACKED_MAGIC: &[u8; 4] = b"ORA2";
/// No generation needs more.
const MAX_BYTES: u64 = 8 << 20;

/// A closed generation's sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) generation: u32,
    pub(super) records: u32,
    /// Of the database's file, which must not be less.
    pub(super) data_bytes: u64,
    /// Numbers of all events.
    pub(super) numbers: RangeSet,
    /// Of all records, acknowledged ones too.
    pub(super) stocks: [Stock; 5],
}

/// Writes a closed generation's contents, durably.
pub(super) fn store(dir: &Path, sums: &Sums, table: &Table) -> io::Result<()> {
    let mut head = Vec::new();
    head.extend_from_slice(&sums.generation.to_le_bytes());
    head.extend_from_slice(&sums.records.to_le_bytes());
    head.extend_from_slice(&sums.data_bytes.to_le_bytes());
    put_ranges(&mut head, &sums.numbers);
    sums.stocks.iter().for_each(|stock| stock.put(&mut head));
    let mut out = framed(CONTENTS_MAGIC, &head);
    let from = out.len();
    table.encode(&mut out);
    let crc = crc32fast::hash(&out[from..]);
    out.extend_from_slice(&crc.to_le_bytes());
    let mut file = private().truncate(true).open(dir.join(CONTENTS))?;
    file.write_all(&out)?;
    file.sync_data()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Magic, length, body, CRC of all that.
fn framed(magic: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(body);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads what [`framed`] made.
fn unframed(file: &mut File, magic: &[u8; 4]) -> Option<Vec<u8>> {
    let mut start = [0; 8];
    file.read_exact(&mut start).ok()?;
    let length = u32::from_le_bytes(*start.last_chunk::<4>()?);
    if start[..4] != magic[..] || u64::from(length) > MAX_BYTES {
        return None;
    }
    let mut rest = Vec::new();
    file.take(u64::from(length) + 4).read_to_end(&mut rest).ok()?;
    let (body, crc) = rest.split_last_chunk::<4>()?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&start);
    hasher.update(body);
    let right = body.len() as u64 == u64::from(length) && hasher.finalize() == u32::from_le_bytes(*crc);
    right.then(|| body.to_vec())
}

/// The sums of a closed generation, if they are there and whole.
pub(super) fn sums(dir: &Path, generation: u32) -> Option<Sums> {
    let mut file = File::open(dir.join(CONTENTS)).ok()?;
    sums_of(&mut file, generation)
}

fn sums_of(file: &mut File, generation: u32) -> Option<Sums> {
    let body = unframed(file, CONTENTS_MAGIC)?;
    let mut rest = body.as_slice();
    let rest = &mut rest;
    let mut sums = Sums {
        generation: u32::from_le_bytes(take(rest)?),
        records: u32::from_le_bytes(take(rest)?),
        data_bytes: u64::from_le_bytes(take(rest)?),
        numbers: take_ranges(rest)?,
        ..Sums::default()
    };
    for stock in &mut sums.stocks {
        *stock = Stock::take(rest)?;
    }
    (sums.generation == generation && rest.is_empty()).then_some(sums)
}

/// The table of a closed generation, if it is there and whole.
pub(super) fn table(dir: &Path, generation: u32) -> Option<Table> {
    let mut file = File::open(dir.join(CONTENTS)).ok()?;
    let sums = sums_of(&mut file, generation)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let table = Table::decode(body, generation)?;
    (table.len() == usize::try_from(sums.records).ok()?).then_some(table)
}

/// What is acknowledged in a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) acked: Acked,
    /// Records in the generation when this was noted.
    pub(super) records: u32,
    /// What was left of them.
    pub(super) left: [Stock; 5],
}

/// Notes which records are acknowledged. Not synced.
pub(super) fn store_acked(dir: &Path, Noted { acked, records, left }: &Noted) -> io::Result<()> {
    let mut body = records.to_le_bytes().to_vec();
    acked.iter().for_each(|ranges| put_ranges(&mut body, ranges));
    left.iter().for_each(|stock| stock.put(&mut body));
    // In place: should it be cut half way, it is void, and its records are sent once more.
    let file = private().truncate(false).open(dir.join(ACKED))?;
    file.write_all_at(&framed(ACKED_MAGIC, &body), 0)
}

/// Forgets what [`store_acked`] noted, for good.
pub(super) fn void_acked(dir: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(dir.join(ACKED)) {
        Ok(file) => file.set_len(0).and_then(|()| file.sync_data()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What [`store_acked`] noted, if it is there and whole.
pub(super) fn acked(dir: &Path) -> Option<Noted> {
    let mut file = File::open(dir.join(ACKED)).ok()?;
    let body = unframed(&mut file, ACKED_MAGIC)?;
    let mut rest = body.as_slice();
    let mut noted = Noted { records: u32::from_le_bytes(take(&mut rest)?), ..Noted::default() };
    for ranges in &mut noted.acked {
        *ranges = take_ranges(&mut rest)?;
    }
    for stock in &mut noted.left {
        *stock = Stock::take(&mut rest)?;
    }
    rest.is_empty().then_some(noted)
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;
    use crate::event::Class;

    fn sample() -> (Sums, Table) {
        let mut table = Table::default();
        for n in 0..50_u64 {
            let class = if n % 3 == 0 { Class::Alert } else { Class::Bulk };
            let events = vec![(10 * n + 1, 200), (10 * n + 4, 300)];
            table.insert(
                &Record { class, ordinal: 0, events, times: (n, 2 * n), regions: None, payload: vec![0; 500] },
                7,
            );
        }
        let numbers = [(1, 494)].into_iter().collect();
        let stocks = table.stocks(|_, _| false);
        (Sums { generation: 7, records: 50, data_bytes: 1234, numbers, stocks }, table)
    }

    #[test]
    fn what_is_stored_comes_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (sums_in, table_in) = sample();
        store(dir.path(), &sums_in, &table_in).unwrap();
        assert_eq!(sums(dir.path(), 7), Some(sums_in.clone()));
        assert_eq!(table(dir.path(), 7), Some(table_in));
        assert_eq!(sums(dir.path(), 8), None, "another generation's");
        let good = std::fs::read(dir.path().join(CONTENTS)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            std::fs::write(dir.path().join(CONTENTS), &bad).unwrap();
            assert_eq!(table(dir.path(), 7), None, "{at}");
            std::fs::write(dir.path().join(CONTENTS), &good[..at]).unwrap();
            assert_eq!(table(dir.path(), 7), None, "cut at {at}");
        }
    }

    #[test]
    fn a_shorter_note_of_acknowledgements_replaces_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut noted = Noted { records: 9, left: sample().0.stocks, ..Noted::default() };
        (0..100).for_each(|n| noted.acked[1].insert(3 * n, 3 * n));
        store_acked(dir.path(), &noted).unwrap();
        assert_eq!(acked(dir.path()), Some(noted.clone()));
        noted.acked[1].insert(0, 1000);
        store_acked(dir.path(), &noted).unwrap();
        assert_eq!(acked(dir.path()), Some(noted));
        void_acked(dir.path()).unwrap();
        assert_eq!(acked(dir.path()), None);
    }
}

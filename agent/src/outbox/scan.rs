//! What a generation holds, as found when the outbox is opened.

use std::io;
use std::path::Path;

use super::contents::Noted;
use super::generation::{Acked, data_bytes};
use super::head::{Doubt, Note};
use super::index::Table;
use super::ranges::RangeSet;
use super::raw;
use super::record::Record;
use super::stock::Stock;
use super::{contents, ledger};
use crate::event::{Class, Gap};

/// What a generation holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Its records. `None`: only the sums were read, the generation's `contents` have the table.
    pub(super) table: Option<Table>,
    pub(super) records: u32,
    /// Numbers of their events.
    pub(super) numbers: RangeSet,
    /// Their ordinals, if they were read.
    ordinals: RangeSet,
    pub(super) acked: Acked,
    /// What is not acknowledged.
    pub(super) stock: [Stock; 5],
    /// Of the latest commit that was finished.
    pub(super) doubt: Option<Doubt>,
    /// Records that finished commits have stored, at least.
    finished: u32,
    /// Gap events with their numbers, if the records were read.
    pub(super) gaps: Vec<(u64, Gap)>,
    /// There is less than `contents` say.
    pub(super) is_cut: bool,
    /// Some of the data could not be read.
    pub(super) has_unreadable: bool,
}

impl Scan {
    pub(super) fn of(dir: &Path, generation: u32) -> io::Result<Self> {
        match Self::of_contents(dir, generation) {
            Some(scan) => Ok(scan),
            None => Self::of_raw(dir, generation),
        }
    }

    /// By the files beside a closed generation's database.
    fn of_contents(dir: &Path, generation: u32) -> Option<Self> {
        let sums = contents::sums(dir, generation)?;
        let (acked, stock) = match contents::acked(dir) {
            None => (Acked::default(), sums.stocks),
            Some(noted) if noted.records == sums.records => (noted.acked, noted.left),
            // Others were stored after it was noted what is left.
            Some(Noted { acked, .. }) => {
                let stock =
                    contents::table(dir, generation)?.stocks(|class, first| acked[class.rank()].contains(first));
                (acked, stock)
            }
        };
        let is_cut = data_bytes(dir).unwrap_or(0) < sums.data_bytes;
        Some(Self { records: sums.records, numbers: sums.numbers, acked, stock, is_cut, ..Self::default() })
    }

    /// From end to end.
    pub(super) fn of_raw(dir: &Path, generation: u32) -> io::Result<Self> {
        let mut scan = Self { acked: contents::acked(dir).unwrap_or_default().acked, ..Self::default() };
        let mut table = Table::default();
        if let Some(mut raw) = raw::open(dir, generation)? {
            for (class, first) in raw.names() {
                if let Some(record) = raw.record(class, first)? {
                    scan.take(&record);
                    table.insert(&record, generation);
                }
            }
            scan.take_notes(raw.notes()?);
            scan.has_unreadable = raw.has_unreadable;
        }
        scan.stock = table.stocks(|class, first| scan.acked[class.rank()].contains(first));
        scan.table = Some(table);
        Ok(scan)
    }

    fn take(&mut self, record: &Record) {
        record.events.iter().for_each(|e| self.numbers.insert(e.0, e.0));
        if record.class == Class::Status {
            self.gaps.extend(record.events().filter_map(|(seq, event)| Some((seq, ledger::gap(event)?))));
        }
        let ordinal = u64::from(record.ordinal);
        self.ordinals.insert(ordinal, ordinal);
        self.records = self.records.saturating_add(1);
    }

    /// Records from the first on without one missing between.
    fn together(&self) -> u64 {
        self.ordinals.iter().next().filter(|(from, _)| *from == 0).map_or(0, |(_, to)| to + 1)
    }

    /// A note counts when all records are there that its commit knew. Of the last commit it may be that only some came
    /// through, and the note too: then the one before counts. More than one such commit is damage.
    fn take_notes(&mut self, notes: Vec<Note>) {
        let mut notes = notes.into_iter();
        let mut cut_short = 0;
        let whole = loop {
            match notes.next() {
                Some(note) if u64::from(note.records) > self.together() => cut_short += 1,
                other => break other,
            }
        };
        self.finished = if cut_short > 1 { u32::MAX } else { whole.as_ref().map_or(0, |note| note.records) };
        self.doubt = whole.map(|note| note.doubt);
    }

    /// Whether some record is missing of those that finished commits have stored.
    pub(super) fn has_holes(&self) -> bool {
        let end = self.ordinals.last().map_or(0, |last| last + 1);
        self.together() < end.min(u64::from(self.finished))
    }
}

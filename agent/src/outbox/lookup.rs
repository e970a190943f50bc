//! Finding records: which generation has them, with few of the tables in memory.

use super::index::{Entry, Table};
use super::ranges::RangeSet;
use super::scan::Scan;
use super::store::SledOutbox;
use super::volatile::MEMORY;
use super::{OutboxError, contents, dir, generation, raw};
use crate::event::{Class, LossCause};

/// Generations of which the table is in memory, beside the newest: as many as classes are read at a time.
const MAX_LOADED: usize = 5;

impl SledOutbox {
    /// A generation's table. `None`: it is gone.
    pub(super) fn table(&mut self, id: u32) -> Result<Option<&Table>, OutboxError> {
        let Some(keep) = self.keeps.get_mut(&id).filter(|keep| !keep.doomed) else { return Ok(None) };
        if keep.table.is_none() {
            let path = self.dir.generation(id);
            let io_error = |e| dir::io_error(&path, "read a generation", e);
            keep.table = contents::table(&path, id);
            if keep.table.is_none() {
                let scan = Scan::of_raw(&path, id).map_err(io_error)?;
                if scan.has_unreadable && !keep.is_given_up() {
                    return Err(io_error(std::io::Error::other(
                        "a part of it cannot be read; it is tried again for a minute",
                    )));
                }
                // Made anew, it may hold less than the books say.
                let mut missing = keep.holds.clone();
                missing.subtract(&scan.numbers);
                keep.acked.iter().for_each(|acked| missing.subtract(acked));
                if !missing.is_empty() {
                    tracing::error!(generation = id, "outbox generation has lost records");
                    // The head goes on saying what it held until that is explained.
                    keep.hold_listing(id);
                    keep.damaged = true;
                }
                let table = scan.table.unwrap_or_default();
                keep.stock = table.stocks(|class, first| keep.acked[class.rank()].contains(first));
                (keep.holds, keep.table) = (scan.numbers, Some(table));
                self.lose(LossCause::Corrupt, None, &missing, None);
                self.store_contents(id);
            }
        }
        if id != self.newest {
            self.loaded.retain(|&other| other != id);
            self.loaded.push(id);
            while self.loaded.len() > MAX_LOADED {
                let oldest = self.loaded.remove(0);
                self.unload(oldest);
            }
        }
        Ok(self.keeps.get(&id).and_then(|keep| keep.table.as_ref()))
    }

    pub(super) fn unload(&mut self, id: u32) {
        self.note_acked(id);
        self.loaded.retain(|&other| other != id);
        if let Some(keep) = self.keeps.get_mut(&id).filter(|_| id != self.newest) {
            (keep.table, keep.raw) = (None, None);
        }
    }

    /// Opens a closed generation for reading. False: there is nothing to read.
    pub(super) fn open_raw(&mut self, id: u32) -> Result<bool, OutboxError> {
        // Whose raw file is open is among the loaded.
        if self.table(id)?.is_none() {
            return Ok(false);
        }
        let Some(keep) = self.keeps.get_mut(&id) else { return Ok(false) };
        if keep.raw.is_none() {
            let path = self.dir.generation(id);
            keep.raw = raw::open(&path, id).map_err(|e| dir::io_error(&path, "read a generation", e))?;
            if keep.raw.as_ref().is_some_and(|raw| !raw.has_unreadable) {
                keep.unreadable_since = None;
            }
        }
        Ok(keep.raw.is_some())
    }

    /// Writes a closed generation's contents. Failing that, its data file is read at the next start.
    pub(super) fn store_contents(&self, id: u32) {
        let path = self.dir.generation(id);
        let Some((keep, table)) = self.keeps.get(&id).and_then(|keep| Some((keep, keep.table.as_ref()?))) else {
            return;
        };
        let stored = generation::data_bytes(&path).and_then(|data_bytes| {
            let records = u32::try_from(table.len()).unwrap_or(u32::MAX);
            let (numbers, stocks) = (keep.holds.clone(), table.stocks(|_, _| false));
            contents::store(&path, &contents::Sums { generation: id, records, data_bytes, numbers, stocks }, table)
        });
        if let Err(error) = stored {
            tracing::warn!(generation = id, %error, "outbox generation's contents not noted");
        }
    }

    /// Generations that may hold a number of `class` from `first` to `last` in a record that is not acknowledged, with the
    /// least number that each can have there.
    fn candidates(&self, class: Class, first: u64, last: u64) -> Vec<(u64, u32)> {
        let usable = self.keeps.iter().filter(|(_, keep)| !keep.doomed);
        let stocks = usable.map(|(&id, keep)| (id, keep.stock[class.rank()]));
        let mut found: Vec<_> = stocks
            .filter(|(_, stock)| stock.records > 0 && stock.last >= first && stock.first <= last)
            .map(|(id, stock)| (stock.first.max(first), id))
            .collect();
        found.sort_unstable();
        found
    }

    /// Whether a record that the table has is not acknowledged.
    fn is_live(&self, class: Class, first: u64, generation: u32) -> bool {
        self.keeps.get(&generation).is_some_and(|keep| !keep.acked[class.rank()].contains(first))
    }

    /// The first record of `class` whose first number is above `after`.
    pub(super) fn next(&mut self, class: Class, after: u64) -> Result<Option<(u64, Entry)>, OutboxError> {
        let Some(from) = after.checked_add(1) else { return Ok(None) };
        let mut best = self.volatile.next(class, after);
        for (least, id) in self.candidates(class, from, u64::MAX) {
            if best.is_some_and(|(first, _)| first <= least) {
                break;
            }
            if self.table(id)?.is_none() {
                continue;
            }
            if let Some((first, entry)) = self.keeps.get(&id).and_then(|keep| keep.beyond(class, after))
                && best.is_none_or(|(least, _)| first < least)
            {
                best = Some((first, entry));
            }
        }
        Ok(best)
    }

    /// The record of that name, if it is not acknowledged.
    pub(super) fn get(&mut self, class: Class, first: u64) -> Result<Option<Entry>, OutboxError> {
        if let Some(record) = self.volatile.get(class, first) {
            return Ok(Some(Entry::of(record, MEMORY)));
        }
        for (_, id) in self.candidates(class, first, first) {
            if let Some(entry) = self.table(id)?.and_then(|table| table.get(class, first))
                && self.is_live(class, first, id)
            {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// All records of a generation that are not acknowledged, most important class first, ascending.
    pub(super) fn of_generation(&mut self, id: u32) -> Result<Vec<(Class, u64, Entry)>, OutboxError> {
        let all: Vec<_> = self.table(id)?.map(|table| table.all().collect()).unwrap_or_default();
        Ok(all.into_iter().filter(|&(class, first, _)| self.is_live(class, first, id)).collect())
    }

    /// The numbers of a record's events.
    pub(super) fn numbers(&mut self, class: Class, first: u64, entry: Entry) -> RangeSet {
        if entry.generation == MEMORY {
            let record = self.volatile.get(class, first);
            return record.map(|record| record.events.iter().map(|e| (e.0, e.0)).collect()).unwrap_or_default();
        }
        let of_table = self.table(entry.generation).ok().flatten().map(|table| table.numbers(class, first, &entry));
        // The entry is from the table, so that is there; else rather too many.
        of_table.unwrap_or_else(|| [(first, entry.last)].into_iter().collect())
    }

    /// Events not acknowledged, by class rank.
    pub(super) fn events(&self) -> [u64; 5] {
        let mut events = self.volatile.events();
        for keep in self.keeps.values().filter(|keep| !keep.doomed) {
            for (sum, stock) in events.iter_mut().zip(&keep.stock) {
                *sum += stock.events;
            }
        }
        events
    }
}

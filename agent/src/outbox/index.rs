//! Which records are stored and not acknowledged, in memory: about 40 bytes a record.

use std::collections::BTreeMap;

use super::record::Record;
use crate::event::Class;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number of its last event.
    pub(super) last: u64,
    /// Events.
    pub(super) count: u32,
    /// Bytes of the payload.
    pub(super) bytes: u32,
    /// Where it is.
    pub(super) generation: u32,
}

impl Entry {
    pub(super) fn of(record: &Record, generation: u32) -> Self {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (count, bytes) = (narrow(record.events.len()), narrow(record.payload.len()));
        Self { last: record.last(), count, bytes, generation }
    }

    /// Whether its numbers are all those from `first` to its last, so that the record need not be read to know them.
    pub(super) fn is_contiguous(&self, first: u64) -> bool {
        self.last - first == u64::from(self.count).saturating_sub(1)
    }
}

/// The records by class and first number.
#[derive(Debug, Default)]
pub(super) struct Index {
    classes: [BTreeMap<u64, Entry>; 5],
    events: [u64; 5],
}

impl Index {
    /// Adds a record; returns the one that had its name before.
    pub(super) fn insert(&mut self, class: Class, first: u64, entry: Entry) -> Option<Entry> {
        let before = self.classes[class.rank()].insert(first, entry);
        self.events[class.rank()] += u64::from(entry.count);
        self.events[class.rank()] -= before.map_or(0, |e| u64::from(e.count));
        before
    }

    pub(super) fn remove(&mut self, class: Class, first: u64) -> Option<Entry> {
        let entry = self.classes[class.rank()].remove(&first)?;
        self.events[class.rank()] -= u64::from(entry.count);
        Some(entry)
    }

    pub(super) fn get(&self, class: Class, first: u64) -> Option<Entry> {
        self.classes[class.rank()].get(&first).copied()
    }

    /// The first record of `class` whose first number is above `after`.
    pub(super) fn next(&self, class: Class, after: u64) -> Option<(u64, Entry)> {
        let from = after.checked_add(1)?;
        self.classes[class.rank()].range(from..).next().map(|(&first, &entry)| (first, entry))
    }

    /// First numbers that bound `first` among the records of `generation`: no record of it lies strictly between.
    /// `None`: there is none at all on that side.
    pub(super) fn bounds(&self, class: Class, first: u64, generation: u32) -> (Option<u64>, Option<u64>) {
        /// Records of other generations are rare in between (only what was salvaged). After this many of them the
        /// last one seen is the bound: narrower than need be, never wrong.
        const WALK: usize = 64;
        fn bound<'a>(records: impl Iterator<Item = (&'a u64, &'a Entry)>, generation: u32) -> Option<u64> {
            let mut walked = records.enumerate();
            walked.find(|(at, (_, entry))| entry.generation == generation || *at == WALK).map(|(_, (&first, _))| first)
        }
        let records = &self.classes[class.rank()];
        let after = first.checked_add(1).and_then(|from| bound(records.range(from..), generation));
        (bound(records.range(..first).rev(), generation), after)
    }

    /// All records of a generation, most important class first, ascending.
    pub(super) fn of_generation(&self, generation: u32) -> Vec<(Class, u64, Entry)> {
        let mut found = Vec::new();
        for class in Class::ALL {
            let records = self.classes[class.rank()].iter().filter(|(_, entry)| entry.generation == generation);
            found.extend(records.map(|(&first, &entry)| (class, first, entry)));
        }
        found
    }

    /// Records of `class` with a number in `first..=last`, as far as `limit`.
    pub(super) fn overlapping(&self, class: Class, first: u64, last: u64, limit: usize) -> Vec<(u64, Entry)> {
        let records = self.classes[class.rank()].range(..=last).rev();
        records.take_while(|(_, entry)| entry.last >= first).take(limit).map(|(&f, &e)| (f, e)).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Class, u64, Entry)> + '_ {
        let of = |class: Class| self.classes[class.rank()].iter().map(move |(&first, &entry)| (class, first, entry));
        Class::ALL.into_iter().flat_map(of)
    }

    /// Events by class rank.
    pub(super) fn events(&self) -> [u64; 5] {
        self.events
    }
}

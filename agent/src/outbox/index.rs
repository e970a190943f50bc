//! Which records a generation has, in memory: the newest generation's always, of the others those that are being read.

use super::ranges::RangeSet;
use super::record::{Record, Times, put_varint, take_varint};
use super::stock::Stock;
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
    pub(super) times: Times,
    /// Where it is.
    pub(super) generation: u32,
}

impl Entry {
    pub(super) fn of(record: &Record, generation: u32) -> Self {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (count, bytes) = (narrow(record.events.len()), narrow(record.payload.len()));
        Self { last: record.last(), count, bytes, times: record.times, generation }
    }
}

/// Records by class and first number, ascending, 48 bytes each; and the numbers of their events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    records: [Vec<(u64, Entry)>; 5],
    numbers: [RangeSet; 5],
}

impl Table {
    /// Adds a record. One that had its name before is forgotten.
    pub(super) fn insert(&mut self, record: &Record, generation: u32) -> Option<Entry> {
        record.events.iter().for_each(|e| self.numbers[record.class.rank()].insert(e.0, e.0));
        self.insert_entry(record.class, record.first(), Entry::of(record, generation))
    }

    fn insert_entry(&mut self, class: Class, first: u64, entry: Entry) -> Option<Entry> {
        let of_class = &mut self.records[class.rank()];
        match of_class.binary_search_by_key(&first, |e| e.0) {
            Ok(at) => Some(std::mem::replace(&mut of_class[at].1, entry)),
            Err(at) => {
                of_class.insert(at, (first, entry));
                None
            }
        }
    }

    pub(super) fn get(&self, class: Class, first: u64) -> Option<Entry> {
        let of_class = self.of_class(class);
        of_class.binary_search_by_key(&first, |e| e.0).ok().map(|at| of_class[at].1)
    }

    /// The records of a class.
    pub(super) fn of_class(&self, class: Class) -> &[(u64, Entry)] {
        &self.records[class.rank()]
    }

    /// The records of a class whose first numbers are above `after`.
    pub(super) fn beyond(&self, class: Class, after: u64) -> &[(u64, Entry)] {
        let of_class = self.of_class(class);
        &of_class[of_class.partition_point(|e| e.0 <= after)..]
    }

    /// First numbers of the records before and after `first`.
    pub(super) fn neighbours(&self, class: Class, first: u64) -> (Option<u64>, Option<u64>) {
        let of_class = self.of_class(class);
        let before = of_class[..of_class.partition_point(|e| e.0 < first)].last().map(|e| e.0);
        (before, self.beyond(class, first).first().map(|e| e.0))
    }

    /// The numbers of a record's events.
    pub(super) fn numbers(&self, class: Class, first: u64, entry: &Entry) -> RangeSet {
        // Between its first and last there is no other record of its class.
        self.numbers[class.rank()].within(first, entry.last)
    }

    /// All, most important class first, ascending.
    pub(super) fn all(&self) -> impl Iterator<Item = (Class, u64, Entry)> + '_ {
        Class::ALL.into_iter().flat_map(|class| self.of_class(class).iter().map(move |&(f, e)| (class, f, e)))
    }

    pub(super) fn len(&self) -> usize {
        self.records.iter().map(Vec::len).sum()
    }

    /// What of it is left by `done`, by class rank.
    pub(super) fn stocks(&self, done: impl Fn(Class, u64) -> bool) -> [Stock; 5] {
        let mut stocks = [Stock::default(); 5];
        for (class, first, entry) in self.all().filter(|&(class, first, _)| !done(class, first)) {
            stocks[class.rank()].add(first, &entry);
        }
        stocks
    }

    /// For each class the number of records, for each record, as LEB128, the steps from the first number before to its first
    /// and from that to its last, events, bytes, earliest time, step to the latest; then the number of ranges of numbers,
    /// for each the step from the end of the one before, and its length.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for (records, numbers) in self.records.iter().zip(&self.numbers) {
            put_varint(out, records.len() as u64);
            let mut before = 0;
            for (first, entry) in records {
                for n in [first - before, entry.last - first, u64::from(entry.count), u64::from(entry.bytes)] {
                    put_varint(out, n);
                }
                put_varint(out, entry.times.0);
                put_varint(out, entry.times.1 - entry.times.0);
                before = *first;
            }
            put_varint(out, numbers.len() as u64);
            let mut end = 0;
            for (first, last) in numbers.iter() {
                put_varint(out, first - end);
                put_varint(out, last - first);
                end = last;
            }
        }
    }

    /// What [`Table::encode`] made.
    pub(super) fn decode(mut rest: &[u8], generation: u32) -> Option<Self> {
        let mut table = Self::default();
        for class in Class::ALL {
            let mut number = || take_varint(&mut rest);
            let mut before = 0_u64;
            for _ in 0..number()? {
                let first = before.checked_add(number()?)?;
                let last = first.checked_add(number()?)?;
                let (count, bytes) = (u32::try_from(number()?).ok()?, u32::try_from(number()?).ok()?);
                let from = number()?;
                let times = (from, from.checked_add(number()?)?);
                table.insert_entry(class, first, Entry { last, count, bytes, times, generation });
                before = first;
            }
            let mut end = 0_u64;
            for _ in 0..number()? {
                let first = end.checked_add(number()?)?;
                end = first.checked_add(number()?)?;
                table.numbers[class.rank()].insert(first, end);
            }
        }
        rest.is_empty().then_some(table)
    }
}

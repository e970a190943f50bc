//! What waits in memory only.
//!
//! While the link is good, an event of a class that is stored only offline ([`super::Durability::Offline`]) is sent from here
//! and never touches the disk: an hour of telemetry would wear the flash for nothing. It goes to the disk, records and numbers
//! as they are, when the link is lost, when the gateway takes too long, when there is too much of it, and at the end. A power
//! cut before that loses it; the numbers in doubt are on disk with every commit, so that a gap event can name them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::index::Entry;
use super::ranges::RangeSet;
use super::record::Record;
use crate::event::Class;

/// Stands for a generation in the index.
pub(super) const MEMORY: u32 = 0;

/// Records by rank and first number.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    /// With when each came.
    records: BTreeMap<(usize, u64), (Record, Instant)>,
    numbers: RangeSet,
    bytes: usize,
}

impl Volatile {
    pub(super) fn insert(&mut self, record: Record, since: Instant) {
        for &(seq, _) in &record.events {
            self.numbers.insert(seq, seq);
        }
        self.bytes += record.payload.len();
        self.records.insert((record.class.rank(), record.first()), (record, since));
    }

    pub(super) fn get(&self, class: Class, first: u64) -> Option<&Record> {
        Some(&self.records.get(&(class.rank(), first))?.0)
    }

    pub(super) fn remove(&mut self, class: Class, first: u64) {
        let Some((record, _)) = self.records.remove(&(class.rank(), first)) else { return };
        for &(seq, _) in &record.events {
            self.numbers.remove(seq, seq);
        }
        self.bytes -= record.payload.len();
    }

    /// The first record of `class` whose first number is above `after`.
    pub(super) fn next(&self, class: Class, after: u64) -> Option<(u64, Entry)> {
        let from = (class.rank(), after.checked_add(1)?);
        let (_, (record, _)) = self.records.range(from..=(class.rank(), u64::MAX)).next()?;
        Some((record.first(), Entry::of(record, MEMORY)))
    }

    /// Events by class rank.
    pub(super) fn events(&self) -> [u64; 5] {
        let mut events = [0; 5];
        for ((rank, _), (record, _)) in &self.records {
            events[*rank] += record.events.len() as u64;
        }
        events
    }

    /// The oldest record of the least important class.
    pub(super) fn least_important(&self) -> Option<(Class, u64, Entry)> {
        let rank = self.records.keys().next_back()?.0;
        let (_, (record, _)) = self.records.range((rank, 0)..).next()?;
        Some((record.class, record.first(), Entry::of(record, MEMORY)))
    }

    /// All of it, most important first.
    pub(super) fn names(&self) -> Vec<(Class, u64)> {
        self.records.keys().filter_map(|&(rank, first)| Some((Class::from_rank(rank)?, first))).collect()
    }

    /// Bytes of a class.
    pub(super) fn bytes_of(&self, class: Class) -> u64 {
        let records = self.records.range((class.rank(), 0)..=(class.rank(), u64::MAX));
        records.map(|(_, (record, _))| record.payload.len() as u64).sum()
    }

    /// Time of the earliest event of a class.
    pub(super) fn earliest(&self, class: Class) -> Option<u64> {
        let records = self.records.range((class.rank(), 0)..=(class.rank(), u64::MAX));
        records.map(|(_, (record, _))| record.times.0).min()
    }

    /// When the oldest came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.records.values().map(|(_, since)| *since).min()
    }

    pub(super) fn numbers(&self) -> &RangeSet {
        &self.numbers
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

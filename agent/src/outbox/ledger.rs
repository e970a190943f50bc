//! Losses that no stored gap event explains yet.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ranges::RangeSet;
use super::record::Times;
use crate::event::{Body, Class, Event, Gap, LossCause, Moment};

/// Ranges in one gap event: it stays below 6 KiB.
const MAX_RANGES: usize = 256;

/// Ranges of one cause and class. A disk that refuses for weeks would make more and more; rounded up to so many, some numbers
/// between them are explained that arrived all the same.
const MOST_RANGES: usize = 4096;

/// Lost numbers by cause and class, coalesced.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<(LossCause, Option<Class>), Loss>);

/// Numbers, and the times of their events as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) numbers: RangeSet,
    pub(super) times: Option<Times>,
}

impl Loss {
    /// One more.
    pub(super) fn add(&mut self, numbers: &RangeSet, times: Option<Times>) {
        self.numbers.extend(numbers);
        self.times = match (self.times, times) {
            (Some((from, to)), Some((first, last))) => Some((from.min(first), to.max(last))),
            (known, other) => known.or(other),
        };
    }
}

impl Ledger {
    pub(super) fn add(&mut self, cause: LossCause, class: Option<Class>, lost: &RangeSet, times: Option<Times>) {
        if !lost.is_empty() {
            let loss = self.0.entry((cause, class)).or_default();
            loss.add(lost, times);
            loss.numbers.coarsen(MOST_RANGES);
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        for (key, loss) in other.0 {
            self.0.entry(key).or_default().add(&loss.numbers, loss.times);
        }
    }

    /// Takes over the gap events among the encodings of `events`, because those are about to be lost themselves.
    pub(super) fn readopt<'a>(&mut self, events: impl Iterator<Item = &'a [u8]>) {
        for gap in events.filter_map(gap) {
            self.add(gap.cause, gap.lost, &gap.ranges.into_iter().collect(), gap.span);
        }
    }

    /// How many events [`Ledger::drain`] will make.
    pub(super) fn events(&self) -> usize {
        self.0.values().map(|loss| loss.numbers.len().div_ceil(MAX_RANGES)).sum()
    }

    /// All lost numbers.
    pub(super) fn numbers(&self) -> RangeSet {
        let mut all = RangeSet::default();
        self.0.values().for_each(|loss| all.extend(&loss.numbers));
        all
    }

    /// Whether all losses have these causes.
    pub(super) fn only(&self, causes: &[LossCause]) -> bool {
        self.0.keys().all(|key| causes.contains(&key.0))
    }

    /// Empties the ledger into events that explain it.
    pub(super) fn drain(&mut self, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        for ((cause, lost), loss) in std::mem::take(&mut self.0) {
            let ranges: Vec<(u64, u64)> = loss.numbers.iter().collect();
            for ranges in ranges.chunks(MAX_RANGES) {
                let count = ranges.iter().copied().collect::<RangeSet>().count();
                let gap = Gap { lost, span: loss.times, cause, count, ranges: ranges.to_vec() };
                let (time_ns, clock) = (now.time_ns, now.clock);
                events.push(Event { clock, ..Event::new(time_ns, Class::Status, Body::Gap(gap)) });
            }
        }
        events
    }
}

/// The gap event that this encoding is, if it is one.
pub(super) fn gap(event: &[u8]) -> Option<Gap> {
    #[derive(Deserialize)]
    struct Probe {
        kind: String,
        body: serde_cbor::Value,
    }
    let probe: Probe = serde_cbor::from_slice(event).ok()?;
    if probe.kind == "gap" { serde_cbor::value::from_value(probe.body).ok() } else { None }
}

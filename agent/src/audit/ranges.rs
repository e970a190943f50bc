//! Sets of sequence numbers.

use std::collections::BTreeMap;

/// A set of numbers, kept as ranges: first → last, inclusive, apart from each other.
#[derive(Debug, Default, Clone)]
pub(super) struct Ranges(pub(super) BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `first..=last`; returns how many of them were new.
    pub(super) fn add(&mut self, mut first: u64, mut last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let mut new = (last - first).saturating_add(1);
        // Every range that overlaps or touches goes into the new one.
        while let Some((&f, &l)) = self.0.range(..=last.saturating_add(1)).next_back() {
            if l.saturating_add(1) < first {
                break;
            }
            self.0.remove(&f);
            let (overlap_first, overlap_last) = (f.max(first), l.min(last));
            if overlap_first <= overlap_last {
                new -= overlap_last - overlap_first + 1;
            }
            (first, last) = (first.min(f), last.max(l));
        }
        self.0.insert(first, last);
        new
    }

    pub(super) fn first(&self) -> u64 {
        self.0.first_key_value().map_or(0, |(&f, _)| f)
    }

    pub(super) fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, &l)| l)
    }

    pub(super) fn contains(&self, n: u64) -> bool {
        self.0.range(..=n).next_back().is_some_and(|(_, &l)| l >= n)
    }

    /// Ranges of `first..=last` that are not in the set.
    pub(super) fn holes(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut next = first;
        for (&f, &l) in &self.0 {
            if f > last {
                break;
            }
            if f > next {
                holes.push((next, f - 1));
            }
            next = next.max(l.saturating_add(1));
        }
        if next <= last {
            holes.push((next, last));
        }
        holes
    }
}

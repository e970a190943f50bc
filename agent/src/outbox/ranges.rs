//! A set of numbers kept as ranges: sequence numbers that are lost, known or acknowledged.

use std::collections::BTreeMap;

/// Disjoint, never touching ranges; first to last, inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// Adds `first..=last`; nothing when `first` is above `last`.
    pub(super) fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        if let Some((&start, &end)) = self.0.range(..=first).next_back()
            && end >= first.saturating_sub(1)
        {
            first = start;
            last = last.max(end);
        }
        while let Some((&start, &end)) = self.0.range(first..=last.saturating_add(1)).next() {
            last = last.max(end);
            self.0.remove(&start);
        }
        self.0.insert(first, last);
    }

    /// Takes `first..=last` out.
    pub(super) fn remove(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        while let Some((&start, &end)) = self.0.range(..=last).next_back() {
            if end < first {
                break;
            }
            self.0.remove(&start);
            if end > last {
                self.0.insert(last + 1, end);
            }
            if start < first {
                self.0.insert(start, first - 1);
                break;
            }
        }
    }

    pub(super) fn extend(&mut self, other: &Self) {
        for (first, last) in other.iter() {
            self.insert(first, last);
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        for (first, last) in other.iter() {
            self.remove(first, last);
        }
    }

    /// What of it is from `first` to `last`.
    pub(super) fn within(&self, first: u64, last: u64) -> Self {
        let start = self.0.range(..=first).next_back().map_or(first, |(&start, _)| start);
        let ranges = self.0.range(start..=last.max(start)).map(|(&from, &to)| (from.max(first), to.min(last)));
        ranges.filter(|(from, to)| from <= to).collect()
    }

    pub(super) fn contains(&self, n: u64) -> bool {
        self.0.range(..=n).next_back().is_some_and(|(_, &end)| end >= n)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&first, &last)| (first, last))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many numbers, as far as `u64` counts.
    pub(super) fn count(&self) -> u64 {
        self.iter().fold(0, |sum: u64, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.values().next_back().copied()
    }

    /// Closes the narrowest holes until at most `max` ranges (at least one) are left.
    pub(super) fn coarsen(&mut self, max: usize) {
        let max = max.max(1);
        if self.len() <= max {
            return;
        }
        let ranges: Vec<(u64, u64)> = self.iter().collect();
        let mut holes: Vec<(u64, u64, u64)> =
            ranges.windows(2).map(|pair| (pair[1].0 - pair[0].1, pair[0].1, pair[1].0)).collect();
        holes.sort_unstable();
        for &(_, before, after) in &holes[..self.len() - max] {
            self.insert(before, after);
        }
    }
}

impl FromIterator<(u64, u64)> for RangeSet {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut set = Self::default();
        for (first, last) in ranges {
            set.insert(first, last);
        }
        set
    }
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;

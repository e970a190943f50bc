//! What a message's only multiplexor selects, found once.
//!
//! A multiplexed message may define dozens of signals of which a frame has a handful; to ask of each whether it is there
//! takes longer than to decode those that are. Where one multiplexor, that is in all frames, selects all that is selected
//! (almost always), its values fall into intervals, and for each the signals of such a frame are listed. What is nested, or
//! selected by several multiplexors, is asked of each signal instead ([`crate::plan::Gate`]).

use std::collections::HashSet;
use std::ops::Range;

use crate::plan::{Gate, OPEN};

/// Most intervals times signals of a message. Above this, its signals are asked one by one: lists for a hostile file would
/// take more memory than the file.
const MAX_WORK: usize = 1 << 16;

/// The lists of all messages that have some.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choices {
    /// By message; without intervals for those that have no list.
    choices: Vec<Choice>,
    intervals: Vec<Interval>,
    /// Signals as offsets from their message's first, in its order.
    picks: Vec<u16>,
}

#[derive(Debug, Clone, Default)]
struct Choice {
    selector: u32,
    intervals: Range<u32>,
}

/// Raw values of a multiplexor from here up to the next interval.
#[derive(Debug, Clone)]
struct Interval {
    start: u64,
    picks: Range<u32>,
}

/// The signals of one message while it is compiled.
pub(crate) struct Gates<'a> {
    /// The first signal's number, and for each its place in `gates`, or [`OPEN`].
    pub(crate) first: u32,
    pub(crate) of: &'a [u32],
    pub(crate) gates: &'a [Gate],
    pub(crate) ranges: &'a [(u64, u64)],
}

impl Gates<'_> {
    fn gate(&self, place: u32) -> Option<&Gate> {
        if place == OPEN { None } else { self.gates.get(place as usize) }
    }

    fn ranges(&self, gate: &Gate) -> &[(u64, u64)] {
        self.ranges.get(gate.ranges.start as usize..gate.ranges.end as usize).unwrap_or_default()
    }

    /// The one that selects all that is selected, when it is always there.
    fn only_selector(&self) -> Option<u32> {
        // A gate without ranges admits nothing, whatever its selector.
        let selecting = self.of.iter().filter_map(|place| self.gate(*place)).filter(|gate| !gate.ranges.is_empty());
        let mut selectors = selecting.map(|gate| gate.selector);
        let only = selectors.next()?;
        let is_open = self.of.get((only.checked_sub(self.first)?) as usize) == Some(&OPEN);
        (is_open && selectors.all(|selector| selector == only)).then_some(only)
    }

    /// Where intervals start: 0, and wherever a range starts or has ended. Signals may share thousands of ranges.
    fn starts(&self) -> Vec<u64> {
        let tables: HashSet<(u32, u32)> = self
            .of
            .iter()
            .filter_map(|place| self.gate(*place))
            .map(|gate| (gate.ranges.start, gate.ranges.end))
            .collect();
        let ranges = tables.into_iter().flat_map(|(start, end)| &self.ranges[start as usize..end as usize]);
        let edges = ranges.flat_map(|(low, high)| [Some(*low), high.checked_add(1)]);
        let mut starts: Vec<u64> = edges.flatten().chain([0]).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }
}

impl Choices {
    /// Adds the next message; false when its signals must be asked one by one.
    pub(crate) fn add(&mut self, gates: &Gates<'_>) -> bool {
        let choice = self.list(gates);
        self.choices.push(choice.clone().unwrap_or_default());
        choice.is_some()
    }

    fn list(&mut self, gates: &Gates<'_>) -> Option<Choice> {
        let selector = gates.only_selector()?;
        let starts = gates.starts();
        let work = starts.len().saturating_mul(gates.of.len());
        if work > MAX_WORK || self.picks.len() + work > u32::MAX as usize {
            return None;
        }
        let first = number(self.intervals.len());
        for start in starts {
            let from = number(self.picks.len());
            let there = (0_u16..)
                .zip(gates.of)
                .filter(|(_, place)| gates.gate(**place).is_none_or(|gate| admits(gates.ranges(gate), start)));
            self.picks.extend(there.map(|(offset, _)| offset));
            self.intervals.push(Interval { start, picks: from..number(self.picks.len()) });
        }
        Some(Choice { selector, intervals: first..number(self.intervals.len()) })
    }

    /// The signals of a frame of a message that has lists; `raw` reads its multiplexor.
    #[inline]
    pub(crate) fn picks(&self, message: u32, raw: impl FnOnce(u32) -> u64) -> &[u16] {
        let Choice { selector, intervals } = &self.choices[message as usize];
        let intervals = &self.intervals[intervals.start as usize..intervals.end as usize];
        let raw = raw(*selector);
        // The first starts at 0.
        let after = intervals.partition_point(|interval| interval.start <= raw);
        let picks = &intervals[after - 1].picks;
        &self.picks[picks.start as usize..picks.end as usize]
    }
}

/// True when one of the ranges has the raw value. They are sorted, with gaps between them: only the last that starts at or
/// before it can have it.
#[inline]
pub(crate) fn admits(ranges: &[(u64, u64)], raw: u64) -> bool {
    if let [(low, high)] = ranges {
        return (*low..=*high).contains(&raw);
    }
    let after = ranges.partition_point(|(low, _)| *low <= raw);
    after > 0 && raw <= ranges[after - 1].1
}

/// A count as an index. [`Choices::list`] sees to it that it is one.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;

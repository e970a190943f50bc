//! What stored gap events explain, known apart from them.
//!
//! A gap event is an event like others: it waits in a generation, and that may be damaged before it is sent. What it
//! explained would then be explained by nothing. So the head says, too, what the gap events not yet acknowledged explain, by
//! cause and class: when one of a group is lost, all that the group explains is explained anew. That may explain a
//! number twice, or one that is there after all; a backend counts what has arrived first.

use std::collections::BTreeMap;

use super::ranges::RangeSet;
use crate::event::{Class, Gap, LossCause};

/// Ranges of a group. Rounded up beyond: a group that grows for months stays small.
const MAX_RANGES: usize = 256;

/// One group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Debt {
    /// Numbers of the gap events. May hold numbers of others.
    pub(super) events: RangeSet,
    /// What they explain.
    pub(super) lost: RangeSet,
}

/// By cause and class of what is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owed(pub(super) BTreeMap<(LossCause, Option<Class>), Debt>);

impl Owed {
    /// A gap event waits under the number `seq`.
    pub(super) fn add(&mut self, seq: u64, gap: &Gap) {
        let debt = self.0.entry((gap.cause, gap.lost)).or_default();
        debt.events.insert(seq, seq);
        debt.lost.extend(&gap.ranges.iter().copied().collect());
        debt.events.coarsen(MAX_RANGES);
        debt.lost.coarsen(MAX_RANGES);
    }

    pub(super) fn extend(&mut self, other: Self) {
        for (key, more) in other.0 {
            let debt = self.0.entry(key).or_default();
            debt.events.extend(&more.events);
            debt.lost.extend(&more.lost);
        }
    }

    /// The gap events among these numbers are acknowledged, or explained again.
    pub(super) fn settle(&mut self, events: &RangeSet) {
        self.0.retain(|_, debt| {
            debt.events.subtract(events);
            !debt.events.is_empty()
        });
    }

    /// The gap events among these numbers are lost: what must be explained anew.
    pub(super) fn take(&mut self, events: &RangeSet) -> Vec<(LossCause, Option<Class>, RangeSet)> {
        let hit = |debt: &Debt| {
            let mut rest = debt.events.clone();
            rest.subtract(events);
            rest.count() < debt.events.count()
        };
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|(_, debt)| hit(debt))
            .map(|(&(cause, class), d)| (cause, class, d.lost.clone()))
            .collect();
        self.settle(events);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(cause: LossCause, first: u64, last: u64) -> Gap {
        Gap { lost: Some(Class::Bulk), span: None, cause, count: last - first + 1, ranges: vec![(first, last)] }
    }

    #[test]
    fn a_lost_gap_event_brings_back_what_its_group_explains() {
        let mut owed = Owed::default();
        owed.add(10, &gap(LossCause::Quota, 1, 5));
        owed.add(20, &gap(LossCause::Quota, 12, 15));
        owed.add(30, &gap(LossCause::Overflow, 21, 22));
        owed.settle(&[(10, 10), (11, 19)].into_iter().collect());
        assert_eq!(owed.take(&[(1, 19), (31, 40)].into_iter().collect()), []);
        let lost = [(1, 5), (12, 15)].into_iter().collect();
        assert_eq!(owed.take(&[(20, 20)].into_iter().collect()), [(LossCause::Quota, Some(Class::Bulk), lost)]);
        assert_eq!(owed.0.len(), 1, "it is explained by another event now");
    }

    #[test]
    fn it_stays_small() {
        let mut owed = Owed::default();
        for n in 0..10_000 {
            owed.add(10 * n + 3, &gap(LossCause::Overflow, 10 * n + 1, 10 * n + 1));
        }
        let debt = &owed.0[&(LossCause::Overflow, Some(Class::Bulk))];
        assert!(debt.events.len() <= MAX_RANGES && debt.lost.len() <= MAX_RANGES);
        assert!((0..10_000).all(|n| debt.events.contains(10 * n + 3) && debt.lost.contains(10 * n + 1)));
    }
}

//! Batches that have to get to several gateways: who has them already.
//!
//! A batch leaves the outbox when as many gateways have settled it as it is to get to. One that takes an event is enough
//! for it to count as delivered; only what all of them refuse for good becomes a gap.

use std::collections::BTreeMap;

use crate::event::{Class, LossCause};

/// Batches noted at most. Beyond, the oldest are forgotten and sent once more: copies, no loss.
const MAX_BATCHES: usize = 16 * 1024;

/// A batch by class rank, first and last number: one that was put together anew is another one.
pub(crate) type Name = (usize, u64, u64);

/// What became of a batch at one gateway, or in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The gateway has all of it.
    Taken,
    /// It refused all of it for good.
    Refused(LossCause),
    /// It refused these events for good (ascending) and has the others.
    RefusedSome(Vec<u64>, LossCause),
}

impl Outcome {
    /// What neither gateway has.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Taken, _) | (_, Self::Taken) => Self::Taken,
            (Self::Refused(_), other) => other,
            (this, Self::Refused(_)) => this,
            (Self::RefusedSome(mut seqs, cause), Self::RefusedSome(others, _)) => {
                seqs.retain(|seq| others.binary_search(seq).is_ok());
                if seqs.is_empty() { Self::Taken } else { Self::RefusedSome(seqs, cause) }
            }
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Custody {
    /// The gateways that have settled a batch, and what is left of it.
    batches: BTreeMap<Name, (u16, Outcome)>,
}

impl Custody {
    /// Whether the gateway has settled the batch.
    pub(crate) fn has(&self, gateway: usize, name: Name) -> bool {
        self.batches.get(&name).is_some_and(|(places, _)| places & 1 << gateway != 0)
    }

    /// The gateway has settled the batch, which has to be settled by `needed`. `Some`: it is done with, and how.
    pub(crate) fn settle(&mut self, gateway: usize, name: Name, outcome: Outcome, needed: usize) -> Option<Outcome> {
        let (before, outcome) = match self.batches.remove(&name) {
            Some((places, before)) => (places, before.and(outcome)),
            None => (0, outcome),
        };
        let places = before | 1 << gateway;
        if usize::try_from(places.count_ones()).is_ok_and(|settled| settled >= needed) {
            return Some(outcome);
        }
        while self.batches.len() >= MAX_BATCHES {
            self.batches.pop_first();
        }
        self.batches.insert(name, (places, outcome));
        None
    }

    /// What the outbox no longer has below a batch of a class needs no note: `first` is the first that it has.
    pub(crate) fn forget_before(&mut self, class: Class, first: u64) {
        let rank = class.rank();
        while let Some((&name, _)) = self.batches.range((rank, 0, 0)..(rank, first, 0)).next() {
            self.batches.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name = (0, 5, 9);
    const REJECTED: LossCause = LossCause::Rejected;

    #[test]
    fn one_place_needs_no_note() {
        let mut custody = Custody::default();
        assert_eq!(custody.settle(3, NAME, Outcome::Taken, 1), Some(Outcome::Taken));
        assert!(custody.batches.is_empty());
    }

    #[test]
    fn it_is_done_with_when_both_have_settled_it() {
        let mut custody = Custody::default();
        assert_eq!(custody.settle(0, NAME, Outcome::Taken, 2), None);
        assert!(custody.has(0, NAME) && !custody.has(1, NAME) && !custody.has(0, (0, 5, 8)));
        assert_eq!(custody.settle(0, NAME, Outcome::Taken, 2), None, "the same one again");
        assert_eq!(custody.settle(1, NAME, Outcome::Taken, 2), Some(Outcome::Taken));
        assert!(custody.batches.is_empty());
    }

    #[test]
    fn lost_is_what_nobody_took() {
        let some = |seqs: &[u64]| Outcome::RefusedSome(seqs.to_vec(), REJECTED);
        let cases = [
            (Outcome::Taken, Outcome::Refused(REJECTED), Outcome::Taken),
            (Outcome::Refused(REJECTED), Outcome::Refused(LossCause::Oversize), Outcome::Refused(LossCause::Oversize)),
            (Outcome::Refused(REJECTED), some(&[6, 7]), some(&[6, 7])),
            (some(&[5, 6]), some(&[6, 7]), some(&[6])),
            (some(&[5]), some(&[6]), Outcome::Taken),
        ];
        for (one, other, together) in cases {
            for (one, other) in [(one.clone(), other.clone()), (other, one)] {
                let mut custody = Custody::default();
                assert_eq!(custody.settle(0, NAME, one, 2), None);
                let done = custody.settle(1, NAME, other, 2).unwrap();
                assert!(done == together || matches!((&done, &together), (Outcome::Refused(_), Outcome::Refused(_))));
            }
        }
    }

    #[test]
    fn it_is_bounded() {
        let mut custody = Custody::default();
        for seq in 1..=MAX_BATCHES as u64 + 10 {
            custody.settle(0, (0, seq, seq), Outcome::Taken, 2);
        }
        assert_eq!(custody.batches.len(), MAX_BATCHES);
        assert!(!custody.has(0, (0, 10, 10)) && custody.has(0, (0, 11, 11)));
        custody.forget_before(Class::Critical, 1_000);
        assert!(!custody.has(0, (0, 999, 999)) && custody.has(0, (0, 1_000, 1_000)));
    }
}

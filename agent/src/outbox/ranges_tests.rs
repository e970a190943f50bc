use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

proptest! {
    /// Against a plain set of numbers.
    #[test]
    fn behaves_like_a_set(ops in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 0..60)) {
        let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
        for (add, first, len) in ops {
            let last = first + len;
            if add {
                set.insert(first, last);
                model.extend(first..=last);
            } else {
                set.remove(first, last);
                model.retain(|n| !(first..=last).contains(n));
            }
            prop_assert_eq!(set.iter().flat_map(|(a, b)| a..=b).collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(set.count(), model.len() as u64);
            prop_assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0), "touching ranges");
        }
        let mut coarse = set.clone();
        coarse.coarsen(3);
        prop_assert!(coarse.len() <= 3);
        prop_assert!(model.iter().all(|&n| coarse.contains(n)));
        prop_assert_eq!((coarse.first(), coarse.last()), (set.first(), set.last()));
    }
}

#[test]
fn the_ends_of_the_number_line_hold() {
    let mut set: RangeSet = [(0, 3), (u64::MAX - 1, u64::MAX)].into_iter().collect();
    set.insert(3, 3);
    set.insert(u64::MAX, u64::MAX);
    assert_eq!(set.len(), 2);
    set.insert(0, u64::MAX);
    assert_eq!(set.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
    assert_eq!(set.count(), u64::MAX);
    set.remove(0, u64::MAX);
    assert!(set.is_empty());
}

#[test]
fn a_part_is_cut_at_both_ends() {
    let set: RangeSet = [(3, 5), (9, 20), (30, 31)].into_iter().collect();
    let part = |first, last| set.within(first, last).iter().collect::<Vec<_>>();
    assert_eq!(part(4, 12), [(4, 5), (9, 12)]);
    assert_eq!(part(0, 100), [(3, 5), (9, 20), (30, 31)]);
    assert_eq!(part(10, 10), [(10, 10)]);
    assert_eq!((part(6, 8), part(32, 40), part(0, 2)), (vec![], vec![], vec![]));
}

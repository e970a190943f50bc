use super::*;
use crate::event::Gap;

fn sample() -> Head {
    let holds: RangeSet = [(1, 5), (9, 20)].into_iter().collect();
    let mut owed = Owed::default();
    owed.add(9, &Gap { lost: None, span: None, cause: LossCause::Storage, count: 1, ranges: vec![(6, 6)] });
    owed.add(10, &Gap { lost: Some(Class::Bulk), span: None, cause: LossCause::Quota, count: 2, ranges: vec![(7, 8)] });
    let mut fixes = Fixes::default();
    let fix = |mono_ns| crate::event::ClockFix { mono_ns, offset_ns: -5, state: crate::event::ClockState::Set };
    [7, 9].into_iter().for_each(|mono_ns| fixes.add("boot", fix(mono_ns)));
    Head {
        fixes,
        wear: (5, 7),
        reserved_end: 4097,
        doubt: Doubt { from: 21, waiting: [(3, 4)].into_iter().collect() },
        clean: None,
        next_generation: 3,
        generations: vec![
            GenerationInfo { id: 1, closed: true, stored: 4, first_own: 1, holds },
            GenerationInfo { id: 2, closed: false, stored: 0, first_own: 21, holds: RangeSet::default() },
        ],
        owed,
        name: None,
    }
}

#[test]
fn survives_damage_to_either_copy_but_not_to_both() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Head::load(dir.path()).unwrap(), None);
    let head = Head { name: Some("p-1".into()), ..sample() };
    head.store(dir.path()).unwrap();
    for name in COPIES {
        let path = dir.path().join(name);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(Head::decode(&bad), None, "byte {at}");
            assert_eq!(Head::decode(&good[..at]), None, "cut at {at}");
        }
        fs::write(&path, b"ORH2 but not quite").unwrap();
        assert_eq!(Head::load(dir.path()).unwrap(), Some(head.clone()));
        fs::write(&path, good).unwrap();
    }
    for name in COPIES {
        fs::write(dir.path().join(name), b"").unwrap();
    }
    assert_eq!(Head::load(dir.path()).unwrap(), None);
}

#[test]
fn without_a_name_it_is_as_it_was_before_there_were_names() {
    let (plain, named) = (sample(), Head { name: Some("p-1".into()), ..sample() });
    assert!(plain.encode().starts_with(b"ORH3") && named.encode().starts_with(b"ORH4"));
    for head in [plain, named] {
        assert_eq!(Head::decode(&head.encode()), Some(head));
    }
}

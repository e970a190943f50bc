use super::*;

fn sample() -> Head {
    let holds: RangeSet = [(1, 5), (9, 20)].into_iter().collect();
    Head {
        reserved_end: 4097,
        committed: 20,
        clean: None,
        next_generation: 3,
        generations: vec![
            GenerationInfo { id: 1, closed: true, stored: 4, first_own: 1, holds },
            GenerationInfo { id: 2, closed: false, stored: 0, first_own: 21, holds: RangeSet::default() },
        ],
    }
}

#[test]
fn survives_damage_to_either_copy_but_not_to_both() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Head::load(dir.path()).unwrap(), None);
    let head = sample();
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
        fs::write(&path, b"ORH1 but not quite").unwrap();
        assert_eq!(Head::load(dir.path()).unwrap(), Some(head.clone()));
        fs::write(&path, good).unwrap();
    }
    for name in COPIES {
        fs::write(dir.path().join(name), b"").unwrap();
    }
    assert_eq!(Head::load(dir.path()).unwrap(), None);
}

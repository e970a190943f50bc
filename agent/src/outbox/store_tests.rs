use super::super::ranges::RangeSet;
use super::super::test_support::*;
use super::*;
use crate::outbox::Inspection;

fn ranges(ranges: &[(u64, u64)]) -> RangeSet {
    ranges.iter().copied().collect()
}

#[test]
fn events_are_read_after_commit_by_class_and_leave_when_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    let (t, c) = (Class::Telemetry, Class::Critical);
    assert_eq!(outbox.append(&event(t, 200)).unwrap(), 1);
    assert_eq!(outbox.append(&event(c, 200)).unwrap(), 2);
    assert_eq!(outbox.append(&event(t, 200)).unwrap(), 3);
    assert_eq!(outbox.read(t, 0).unwrap(), None, "not committed yet");
    outbox.commit().unwrap();
    assert_eq!(outbox.stat().events, [1, 0, 0, 2, 0]);
    let batch = outbox.read(t, 0).unwrap().unwrap();
    assert_eq!((batch.first_seq, batch.last_seq, batch.count), (1, 3, 2));
    assert_eq!(outbox.read(t, 1).unwrap(), None);
    assert_eq!(outbox.read(c, 0).unwrap().unwrap().first_seq, 2);
    outbox.ack(t, 1).unwrap();
    outbox.ack(t, 1).unwrap();
    outbox.ack(t, 77).unwrap();
    assert_eq!(outbox.read(t, 0).unwrap(), None);
    assert_eq!(outbox.stat().events, [1, 0, 0, 0, 0]);
}

#[test]
fn records_are_cut_at_twelve_kilobytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for _ in 0..100 {
        outbox.append(&event(Class::Bulk, 1000)).unwrap();
    }
    outbox.append(&event(Class::Bulk, 40_000)).unwrap();
    outbox.commit().unwrap();
    let batches = batches(&mut outbox, Class::Bulk);
    assert_eq!(batches.iter().map(|b| b.count).sum::<u32>(), 101);
    assert!(batches.iter().all(|b| b.payload.len() <= 12 * 1024 || b.count == 1));
    assert!(batches.len() <= 11, "{}", batches.len());
}

#[test]
fn a_clean_close_leaves_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let mut outbox = open(dir.path());
        assert_eq!(outbox.append(&event(Class::Alert, 200)).unwrap(), round + 1);
        outbox.close().unwrap();
    }
    let audit = Audit::of(&mut open(dir.path()));
    assert_eq!(audit.numbers.len(), 4);
    assert!(audit.gaps.is_empty());
}

/// Appending after a close takes the note of the clean close back.
#[test]
fn numbers_are_not_reused_when_a_closed_outbox_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    outbox.append(&event(Class::Alert, 200)).unwrap();
    outbox.close().unwrap();
    assert_eq!(outbox.append(&event(Class::Alert, 200)).unwrap(), 2);
    drop(outbox);
    let mut outbox = open(dir.path());
    assert!(outbox.append(&event(Class::Alert, 200)).unwrap() > 2);
    outbox.commit().unwrap();
    assert!(Audit::of(&mut outbox).lost_to(LossCause::Restart).contains(2));
}

#[test]
fn a_crash_explains_exactly_the_numbers_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for _ in 0..10 {
        outbox.append(&event(Class::Telemetry, 200)).unwrap();
    }
    outbox.commit().unwrap();
    outbox.append(&event(Class::Telemetry, 200)).unwrap();
    let reserved = outbox.head.reserved_end;
    drop(outbox);
    let mut outbox = open(dir.path());
    let audit = Audit::of(&mut outbox);
    assert_eq!(audit.lost_to(LossCause::Restart), ranges(&[(11, reserved - 1)]));
    assert_eq!(audit.numbers, (1..=10).chain([reserved]).collect());
    assert_eq!(outbox.stat().lost, 0, "numbers in doubt are not counted as lost events");
}

#[test]
fn numbers_go_on_over_the_ends_of_blocks_and_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let mut used = std::collections::BTreeSet::new();
    for round in 0_u64..4 {
        let mut outbox = open(dir.path());
        for n in 0..BLOCK + 3 * round {
            assert!(used.insert(outbox.append(&event(Class::Telemetry, 150)).unwrap()));
            if n % 1000 == 0 {
                outbox.commit().unwrap();
            }
        }
    }
    let mut outbox = open(dir.path());
    let audit = Audit::of(&mut outbox);
    let lost = audit.lost_to(LossCause::Restart);
    assert!(used.iter().all(|&n| audit.numbers.contains(&n) != lost.contains(n)));
}

#[test]
fn oversize_lost_and_rejected_events_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    let huge = outbox.append(&event(Class::Bulk, 70_000)).unwrap();
    outbox.lost(Class::Telemetry, 5, LossCause::Overflow).unwrap();
    outbox.lost(Class::Telemetry, 0, LossCause::Overflow).unwrap();
    for class in [Class::Alert, Class::Telemetry, Class::Alert] {
        outbox.append(&event(class, 200)).unwrap();
    }
    outbox.commit().unwrap();
    outbox.reject(Class::Alert, 7, LossCause::Rejected).unwrap();
    outbox.commit().unwrap();
    assert_eq!(outbox.read(Class::Alert, 0).unwrap(), None);
    let audit = Audit::of(&mut outbox);
    assert_eq!(audit.lost_to(LossCause::Oversize), ranges(&[(huge, huge)]));
    assert_eq!(audit.lost_to(LossCause::Overflow), ranges(&[(2, 6)]));
    assert_eq!(audit.lost_to(LossCause::Rejected), ranges(&[(7, 7), (9, 9)]), "8 is telemetry and was not refused");
    assert_eq!(outbox.stat().lost, 8);
}

#[test]
fn of_a_divided_batch_only_what_was_refused_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for _ in 0..5 {
        outbox.append(&event(Class::Alert, 200)).unwrap();
    }
    outbox.commit().unwrap();
    outbox.reject_events(Class::Alert, 1, &[2, 5], LossCause::Oversize).unwrap();
    outbox.commit().unwrap();
    assert_eq!(outbox.read(Class::Alert, 0).unwrap(), None);
    let gap = outbox.read(Class::Status, 0).unwrap().unwrap();
    let body: serde_cbor::Value = serde_cbor::from_slice(&gap.payload).unwrap();
    let text = format!("{body:?}");
    assert!(text.contains("[Array([Integer(2), Integer(2)]), Array([Integer(5), Integer(5)])]"), "{text}");
}

/// Forgetting a refused batch on disk before its gap event is there would hide it.
#[test]
fn a_crash_after_a_refusal_does_not_hide_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for _ in 0..200 {
        outbox.append(&event(Class::Alert, 200)).unwrap();
        outbox.commit().unwrap();
    }
    for seq in 1..=200 {
        outbox.reject(Class::Alert, seq, LossCause::Rejected).unwrap();
    }
    drop(outbox);
    Audit::of(&mut open(dir.path()));
}

#[test]
fn acknowledged_batches_stay_away_after_a_clean_close_and_mostly_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for _ in 0..100 {
        outbox.append(&event(Class::Alert, 200)).unwrap();
        outbox.commit().unwrap();
    }
    for seq in (1..=90).rev().filter(|n| n % 10 != 0) {
        outbox.ack(Class::Alert, seq).unwrap();
    }
    outbox.close().unwrap();
    drop(outbox);
    let mut outbox = open(dir.path());
    let left: Vec<u64> = batches(&mut outbox, Class::Alert).iter().map(|b| b.first_seq).collect();
    assert_eq!(left, (1..=100).filter(|n| n % 10 == 0 || *n > 90).collect::<Vec<_>>());
    for seq in left {
        outbox.ack(Class::Alert, seq).unwrap();
    }
    drop(outbox);
    assert!(open(dir.path()).stat().events[1] <= 32);
}

#[test]
fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    let identity = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    let second = SledOutbox::open(dir.path(), OutboxConfig::new(QUOTA), identity, NOW);
    assert!(matches!(second, Err(OutboxError::Locked { .. })));
    assert!(matches!(Inspection::open(dir.path()), Err(OutboxError::Locked { .. })));
    outbox.close().unwrap();
    drop(outbox);
    open(dir.path());
}

#[test]
fn a_tiny_quota_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    match SledOutbox::open(dir.path(), OutboxConfig::new(1 << 20), identity, NOW) {
        Err(error @ OutboxError::Quota { .. }) => assert!(error.to_string().contains("4194304"), "{error}"),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn foreign_files_are_left_alone_and_everything_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/outbox");
    drop(open(&dir));
    std::fs::write(dir.join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(dir.join("gen-1")).unwrap();
    drop(open(&dir));
    assert_eq!(std::fs::read(dir.join("notes.txt")).unwrap(), b"mine");
    assert!(dir.join("gen-1").is_dir());
    for name in [".", "head", "head.copy", "lock", "gen-00000001"] {
        let mode = std::fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is open to others: {mode:o}");
    }
}

/// sled never syncs the files it makes for large pages; values are cut so that there are none.
#[test]
fn sled_keeps_everything_in_the_file_that_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for n in 0..600_usize {
        for class in [Class::Telemetry, Class::Alert, Class::Bulk] {
            outbox.append(&event(class, 300 + (n * 7919) % 12_000)).unwrap();
        }
        if n % 50 == 0 {
            outbox.append(&event(Class::Bulk, 64_000)).unwrap();
        }
        outbox.commit().unwrap();
    }
    let mut generations = 0;
    for id in outbox.keeps.keys() {
        generations += 1;
        assert_eq!(std::fs::read_dir(outbox.dir.generation(*id).join("blobs")).unwrap().count(), 0);
    }
    assert!(generations >= 2, "too little was written to mean anything");
}

#[test]
fn inspection_shows_and_exports_without_changing_anything() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for n in 0..60_usize {
        outbox.append(&event(if n % 7 == 0 { Class::Alert } else { Class::Telemetry }, 900)).unwrap();
        if n % 20 == 0 {
            outbox.commit().unwrap();
        }
    }
    outbox.commit().unwrap();
    outbox.ack(Class::Telemetry, 2).unwrap();
    outbox.close().unwrap();
    drop(outbox);
    for _ in 0..2 {
        let inspection = Inspection::open(dir.path()).unwrap();
        let (mut bytes, stat) = (Vec::new(), inspection.stat());
        let written = inspection.export(&mut bytes).unwrap();
        assert_eq!(written, stat.depth());
        assert_eq!(inspection.batches().map(|b| u64::from(b.count)).sum::<u64>(), written);
        let numbers: Vec<u64> = seen(&bytes).iter().map(|e| e.seq).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "not in order");
        assert_eq!(stat.next_seq, 61);
        assert!(inspection.damaged().next().is_none());
        assert_eq!(numbers.len() as u64, written);
    }
    let mut outbox = open(dir.path());
    assert_eq!(outbox.append(&event(Class::Alert, 200)).unwrap(), 61);
}

/// What is noted about a generation while it is written says nothing about what is stored in it later.
#[test]
fn what_comes_after_a_note_of_acknowledgements_is_not_forgotten() {
    for crash in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path());
        let store = |outbox: &mut SledOutbox, count: usize| {
            for _ in 0..count {
                outbox.append(&event(Class::Alert, 300)).unwrap();
                outbox.commit().unwrap();
            }
        };
        store(&mut outbox, 50);
        for batch in batches(&mut outbox, Class::Alert).iter().take(32) {
            outbox.ack(Class::Alert, batch.first_seq).unwrap();
        }
        assert_eq!(outbox.keeps[&outbox.newest].acks_dirty, 0, "noted");
        store(&mut outbox, 7);
        // The first start after a crash reads the data, the next what the first has noted.
        for round in 0..3 {
            if crash && round == 0 {
                drop(outbox);
            } else {
                outbox.close().unwrap();
                drop(outbox);
            }
            outbox = open(dir.path());
            assert_eq!(batches(&mut outbox, Class::Alert).len(), 25, "start {round}, crash {crash}");
            assert_eq!(outbox.stat().events[Class::Alert.rank()], 25);
        }
    }
}

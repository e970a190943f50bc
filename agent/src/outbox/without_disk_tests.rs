use std::fs;

use super::super::test_support::*;
use super::*;
use crate::outbox::Outbox;

fn ack_all(outbox: &mut SledOutbox, audit: &mut Audit) {
    for class in Class::ALL {
        for batch in batches(outbox, class) {
            audit.take(&batch);
            outbox.ack(class, batch.first_seq).unwrap();
        }
    }
}

/// A file where the directory should be: as wrong rights and a read-only file system, which a superuser's test cannot have.
#[test]
fn a_directory_that_does_not_open_costs_nothing_while_the_link_is_up() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("outbox");
    // Something is stored there already.
    let mut before = open(&dir);
    for _ in 0..5 {
        before.append(&event(Class::Alert, 200)).unwrap();
    }
    before.commit().unwrap();
    before.close().unwrap();
    drop(before);
    let aside = parent.path().join("aside");
    fs::rename(&dir, &aside).unwrap();
    fs::write(&dir, "in the way").unwrap();

    let mut outbox = open(&dir);
    outbox.link(true).unwrap();
    let first = outbox.append(&event(Class::Critical, 200)).unwrap();
    assert!(first > 1 << 50 && first < 1 << 53, "{first}");
    assert!(matches!(outbox.commit(), Err(OutboxError::Io { .. })), "it is not durable");
    assert!(outbox.stat().refused);
    let mut audit = Audit::default();
    ack_all(&mut outbox, &mut audit);
    assert!(audit.numbers.contains(&first), "but it is sent");
    audit.prove(outbox.stat().next_seq);

    let second = outbox.append(&event(Class::Alert, 200)).unwrap();
    assert!(outbox.commit().is_err());
    fs::remove_file(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    outbox.open_again(false);
    outbox.commit().unwrap();
    assert!(!outbox.stat().refused);
    let third = outbox.append(&event(Class::Alert, 200)).unwrap();
    assert_eq!(third, outbox.stat().next_seq - 1);
    outbox.commit().unwrap();
    outbox.close().unwrap();
    drop(outbox);
    let mut outbox = open(&dir);
    audit.receive(&mut outbox);
    for seq in (1..=5).chain([second, third]) {
        assert!(audit.numbers.contains(&seq), "{seq}");
    }
    audit.prove(outbox.stat().next_seq);
    assert!(outbox.append(&event(Class::Alert, 200)).unwrap() > third);
}

/// Offline as well, memory is the only place, and it is bounded.
#[test]
fn without_disk_and_link_the_least_important_goes_when_memory_is_full() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("outbox");
    fs::write(&dir, "in the way").unwrap();
    let mut outbox = open(&dir);
    outbox.config.pending_bytes = 50_000;
    let mut critical = Vec::new();
    for n in 0..200 {
        let class = if n % 10 == 0 { Class::Critical } else { Class::Telemetry };
        let seq = outbox.append(&event(class, 1000)).unwrap();
        critical.extend((n % 10 == 0).then_some(seq));
        assert!(outbox.commit().is_err());
    }
    fs::remove_file(&dir).unwrap();
    outbox.open_again(false);
    outbox.commit().unwrap();
    let audit = Audit::of(&mut outbox);
    assert!(critical.iter().all(|seq| audit.numbers.contains(seq)));
    assert!(audit.gaps.iter().any(|gap| gap.cause == LossCause::Storage && gap.lost == Some(Class::Telemetry)));
}

/// The backlog of a full disk can be sent, and that makes room.
#[test]
fn what_is_stored_can_be_read_though_nothing_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for _ in 0..5 {
        outbox.append(&event(Class::Alert, 200)).unwrap();
    }
    outbox.close().unwrap();
    drop(outbox);
    // The head cannot be replaced: its temporary file is a directory.
    let blocked = dir.path().join(super::super::head::TEMPORARY);
    fs::create_dir(&blocked).unwrap();
    let mut outbox = open(dir.path());
    assert_eq!(batches(&mut outbox, Class::Alert).len(), 1);
    outbox.link(true).unwrap();
    let sent = outbox.append(&event(Class::Telemetry, 200)).unwrap();
    assert!(sent > 1 << 50);
    drop(outbox.commit());
    let mut audit = Audit::default();
    ack_all(&mut outbox, &mut audit);
    assert!(audit.numbers.contains(&sent) && audit.numbers.contains(&1));
    fs::remove_dir(&blocked).unwrap();
    outbox.append(&event(Class::Alert, 200)).unwrap();
    outbox.commit().unwrap();
    ack_all(&mut outbox, &mut audit);
    let next = outbox.stat().next_seq;
    audit.prove(next);
    drop(outbox);
    let mut outbox = open(dir.path());
    audit.receive(&mut outbox);
    assert!(outbox.append(&event(Class::Alert, 200)).unwrap() >= next);
    audit.prove(outbox.stat().next_seq - 1);
}

/// A lost erase block: all others are sent, once it is clear that it does not come back.
#[test]
fn one_file_that_cannot_be_read_does_not_keep_the_others_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for _ in 0..3 {
        for _ in 0..5 {
            outbox.append(&event(Class::Alert, 200)).unwrap();
        }
        outbox.commit().unwrap();
        outbox.rotate().unwrap();
    }
    outbox.close().unwrap();
    drop(outbox);
    let generation = dir.path().join("gen-00000002");
    fs::remove_file(generation.join("contents")).unwrap();
    fs::remove_file(generation.join("db")).unwrap();
    // It opens, and cannot be read.
    fs::create_dir(generation.join("db")).unwrap();
    let mut outbox = open(dir.path());
    assert!(!outbox.dir.is_open());
    outbox.tried = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
    outbox.patience = Duration::from_secs(1);
    drop(outbox.commit());
    assert!(!outbox.dir.is_open(), "it may come back");
    outbox.tried = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
    outbox.patience = GIVE_UP;
    drop(outbox.commit());
    drop(outbox.commit());
    assert!(outbox.dir.is_open());
    let audit = Audit::of(&mut outbox);
    assert!((1..=5).chain(11..=15).all(|seq| audit.numbers.contains(&seq)));
    assert_eq!(audit.lost_to(LossCause::Corrupt), [(6, 10)].into_iter().collect());
}

/// A clock that is set back, or never set: a second jump must not stay where the first went.
#[test]
fn numbers_jump_on_from_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    let error = || super::super::dir::io_error(dir.path(), "test", std::io::Error::other("no"));
    outbox.jump(&error());
    let first = outbox.next_seq;
    assert!(first > 1 << 50);
    outbox.jump(&error());
    assert!(outbox.next_seq > first + BLOCK);
}

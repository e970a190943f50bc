use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Outbox;
use super::super::test_support::*;
use super::*;
use crate::event::LossCause;

/// Stored one after the other with the bucket at a level; how many are admitted.
fn admitted(class: Class, left: u64) -> usize {
    let mut wear = Wear::new(Some(1_000_000), || None);
    wear.resume(left, 0);
    (0..1000).filter(|_| wear.admits(class)).count()
}

#[test]
fn the_less_important_is_thinned_first_and_evenly() {
    assert_eq!(admitted(Class::Bulk, 600_000), 1000);
    assert!(admitted(Class::Bulk, 250_000).abs_diff(500) <= 1);
    assert_eq!(admitted(Class::Telemetry, 250_000), 1000);
    assert!(admitted(Class::Telemetry, 25_000).abs_diff(100) <= 1);
    assert_eq!(admitted(Class::Status, 70_000), 1000);
    assert!(admitted(Class::Bulk, 0) <= 1 && admitted(Class::Telemetry, 0) <= 1 && admitted(Class::Status, 0) <= 1);
    assert_eq!(admitted(Class::Alert, 0) + admitted(Class::Critical, 0), 2000);
}

#[test]
fn a_day_off_fills_the_bucket_and_no_more() {
    let mut wear = Wear::new(Some(1_000_000), || None);
    wear.resume(1_000, 8_640);
    assert_eq!(wear.left(), Some(101_000));
    wear.resume(900_000, 86_400 * 365);
    assert_eq!(wear.left(), Some(1_000_000));
}

#[test]
fn another_budget_leaves_what_was_left_of_the_day() {
    let mut wear = Wear::new(Some(1_000_000), || None);
    wear.resume(600_000, 0);
    wear.configure(Some(2_000_000));
    assert_eq!(wear.left().map(|left| left / 1000), Some(600));
    wear.configure(Some(100_000));
    assert_eq!(wear.left().map(|left| left / 1000), Some(100));
    wear.configure(None);
    assert_eq!(wear.left(), None);
    wear.configure(Some(50_000));
    assert_eq!(wear.left(), Some(50_000));
}

#[test]
fn what_is_written_is_measured() {
    let mut file = tempfile::NamedTempFile::new_in(".").unwrap();
    let before = process_written().unwrap();
    file.write_all(&vec![7; 1 << 20]).unwrap();
    file.as_file().sync_all().unwrap();
    assert!(process_written().unwrap() >= before + (1 << 20));
}

static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Offline for long: telemetry past the budget is thinned and explained, alerts are all there.
#[test]
fn past_the_budget_the_flash_is_spared_and_the_loss_explained() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    // As if each commit wrote 100 KB, with 10 MB a day.
    outbox.wear = Wear::new(Some(10_000_000), || Some(WRITTEN.fetch_add(100_000, Ordering::Relaxed)));
    for _ in 0..200 {
        for class in [Class::Alert, Class::Telemetry, Class::Telemetry, Class::Bulk] {
            outbox.append(&event(class, 300)).unwrap();
        }
        outbox.commit().unwrap();
    }
    let stat = outbox.stat();
    assert!(stat.written >= 19_000_000 && stat.wear_left == Some(0), "{stat:?}");
    // A crash now explains what no gap event does yet.
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    Audit::of(&mut open(crashed.path()));
    outbox.close().unwrap();
    drop(outbox);
    let mut outbox = open(dir.path());
    let audit = Audit::of(&mut outbox);
    let events = outbox.stat().events;
    assert!(events[Class::Status.rank()] <= 4, "gap events would wear it as well: {events:?}");
    assert_eq!(events[Class::Alert.rank()], 200);
    assert!((150..250).contains(&events[Class::Telemetry.rank()]), "{events:?}");
    assert!((50..100).contains(&events[Class::Bulk.rank()]), "{events:?}");
    assert_eq!(audit.lost_to(LossCause::Wear).count(), 600 - events[3] - events[4]);
}

/// What is left of the day is known after a restart.
#[test]
fn a_restart_is_no_new_day() {
    let dir = tempfile::tempdir().unwrap();
    let config = super::super::OutboxConfig { write_budget: Some(50_000_000), ..config(QUOTA) };
    let mut outbox = open_as(dir.path(), config);
    outbox.wear.resume(1_000_000, 0);
    outbox.append(&event(Class::Alert, 300)).unwrap();
    outbox.close().unwrap();
    drop(outbox);
    let left = open_as(dir.path(), config).stat().wear_left.unwrap();
    assert!(left <= 1_000_000, "{left}");
}

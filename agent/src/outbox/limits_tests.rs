use std::time::Duration;

use super::super::test_support::*;
use super::super::{MIN_QUOTA_BYTES, Outbox, OutboxConfig};
use super::*;

#[test]
fn a_class_keeps_to_its_quota_and_costs_the_others_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), MIN_QUOTA_BYTES);
    outbox.config.classes[Class::Telemetry.rank()].quota_bytes = 100_000;
    for n in 0..400 {
        let class = if n % 4 == 0 { Class::Bulk } else { Class::Telemetry };
        outbox.append(&event(class, 1000)).unwrap();
        if n % 10 == 0 {
            outbox.commit().unwrap();
        }
    }
    outbox.commit().unwrap();
    assert!(outbox.bytes(Class::Telemetry) <= 100_000 + 10_000);
    outbox.close().unwrap();
    drop(outbox);
    let mut outbox = open_with(dir.path(), MIN_QUOTA_BYTES);
    let audit = Audit::of(&mut outbox);
    assert_eq!(outbox.stat().events[Class::Bulk.rank()], 100);
    let left = outbox.stat().events[Class::Telemetry.rank()];
    assert!((85..=110).contains(&left), "{left}");
    assert_eq!(audit.lost_to(LossCause::Quota).count(), 300 - left);
    assert!(audit.gaps.iter().all(|gap| gap.lost == Some(Class::Telemetry)));
    assert!(audit.lost_to(LossCause::Quota).last() < audit.numbers.last().copied(), "the oldest go");
}

/// Smaller bounds hold for what is there already.
#[test]
fn other_bounds_hold_from_the_next_commit_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), 4 * MIN_QUOTA_BYTES);
    for n in 0..9000 {
        outbox.append(&event(Class::Telemetry, 1000)).unwrap();
        if n % 100 == 99 {
            outbox.commit().unwrap();
        }
    }
    assert!(outbox.stat().disk_bytes > 2 * MIN_QUOTA_BYTES, "{:?}", outbox.stat());
    let mut smaller = OutboxConfig { quota_bytes: MIN_QUOTA_BYTES, ..outbox.config };
    smaller.classes[Class::Bulk.rank()].quota_bytes = 20_000;
    outbox.configure(smaller);
    for _ in 0..40 {
        outbox.append(&event(Class::Bulk, 1000)).unwrap();
        outbox.commit().unwrap();
    }
    let stat = outbox.stat();
    assert!(
        stat.disk_bytes <= MIN_QUOTA_BYTES + MIN_QUOTA_BYTES / 8 && stat.quota_bytes == MIN_QUOTA_BYTES,
        "{stat:?}"
    );
    assert!(stat.events[Class::Bulk.rank()] <= 20, "{stat:?}");
    // Explanations may wait a little for others; a stop writes them.
    outbox.close().unwrap();
    drop(outbox);
    let audit = Audit::of(&mut open_with(dir.path(), MIN_QUOTA_BYTES));
    assert!(audit.lost_to(LossCause::Quota).count() > 4000, "all of that is explained");
}

#[test]
fn what_is_too_old_goes_and_is_explained_by_its_age() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), MIN_QUOTA_BYTES);
    const HOUR: u64 = 3_600_000_000_000;
    outbox.config.classes[Class::Telemetry.rank()].max_age = Duration::from_secs(24 * 3600);
    for hour in 0..48 {
        for class in [Class::Alert, Class::Telemetry] {
            let mut event = event(class, 300);
            event.time_ns = NOW + hour * HOUR;
            outbox.append(&event).unwrap();
        }
        outbox.commit().unwrap();
        if hour == 20 {
            outbox.rotate().unwrap();
        }
    }
    outbox.expire(NOW - HOUR);
    outbox.expire(0);
    outbox.commit().unwrap();
    assert_eq!(outbox.stat().events, [0, 48, 0, 48, 0], "a clock far in the past drops nothing");
    outbox.expire(NOW + 47 * HOUR);
    outbox.commit().unwrap();
    assert_eq!(outbox.stat().events[..2], [0, 48]);
    assert_eq!(outbox.stat().events[3], 25);
    let audit = Audit::of(&mut outbox);
    assert_eq!(audit.lost_to(LossCause::Age).count(), 23);
    assert_eq!(audit.gaps[0].span, Some((NOW, NOW + 22 * HOUR)));
    // Not noted as done with before the gap event was stored, and for good afterwards.
    drop(outbox);
    Audit::of(&mut open_with(dir.path(), MIN_QUOTA_BYTES));
}

/// Dropping gap events would only make new ones.
#[test]
fn a_quota_of_status_events_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), MIN_QUOTA_BYTES);
    outbox.config.classes[Class::Status.rank()].quota_bytes = 2_000;
    for n in 0..200_u64 {
        outbox.lost(Class::Bulk, 1, LossCause::Overflow).unwrap();
        outbox.append(&event(Class::Status, 300)).unwrap();
        outbox.append(&event(Class::Telemetry, 200)).unwrap();
        outbox.commit().unwrap();
        assert!(n < 20 || outbox.stat().events[Class::Status.rank()] < 200);
    }
    outbox.close().unwrap();
    let audit = Audit::of(&mut outbox);
    assert_eq!(audit.lost_to(LossCause::Overflow).count(), 200);
}

/// While old records are dropped, tables come and go, and with them what is noted on disk as done with.
#[test]
fn what_was_dropped_for_its_age_is_explained_after_a_crash_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), MIN_QUOTA_BYTES);
    outbox.config.classes[Class::Telemetry.rank()].max_age = Duration::from_secs(60);
    for _ in 0..12 {
        for class in [Class::Telemetry, Class::Alert] {
            outbox.append(&event(class, 300)).unwrap();
        }
        outbox.commit().unwrap();
        outbox.rotate().unwrap();
    }
    outbox.expire(NOW + 120_000_000_000);
    assert_eq!(outbox.stat().events, [0, 12, 0, 0, 0]);
    drop(outbox);
    Audit::of(&mut open_with(dir.path(), MIN_QUOTA_BYTES));
}

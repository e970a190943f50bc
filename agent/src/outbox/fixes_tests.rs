use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::super::test_support::{config, event};
use super::super::{MIN_QUOTA_BYTES, Outbox, OutboxConfig};
use super::*;
use crate::event::{Class, Event, Identity, Moment};

const S: u64 = 1_000_000_000;
const YEAR_2000: u64 = 946_684_800 * S;
const RIGHT: u64 = 1_800_000_000 * S;

fn open(dir: &Path, boot: &str) -> SledOutbox {
    let identity = Identity { vehicle: "VIN1".into(), boot: boot.into() };
    let now = Moment { time_ns: YEAR_2000, clock: Some(Clock { mono_ns: 1, state: ClockState::Unset }) };
    let config = OutboxConfig { ..config(MIN_QUOTA_BYTES) };
    SledOutbox::open(dir, config, identity, now).unwrap()
}

/// At `s` seconds since the computer was started, by a clock that was at `began` then.
fn at(s: u64, began: u64, state: ClockState) -> Event {
    Event { time_ns: began + s * S, clock: Some(Clock { mono_ns: s * S, state }), ..event(Class::Telemetry, 300) }
}

fn fix(s: u64, began: u64, state: ClockState) -> ClockFix {
    ClockFix { mono_ns: s * S, offset_ns: i64::try_from(began).unwrap(), state }
}

#[derive(Debug, Deserialize)]
struct Seen {
    seq: u64,
    t: u64,
    stamp: Option<u64>,
    mono: u64,
    clock: ClockState,
    kind: String,
}

fn seen(outbox: &mut SledOutbox, class: Class) -> Vec<Seen> {
    let (mut after, mut all) = (0, Vec::new());
    while let Some(batch) = outbox.read(class, after).unwrap() {
        after = batch.first_seq;
        let events = serde_cbor::Deserializer::from_slice(&batch.payload).into_iter::<Seen>();
        all.extend(events.map(Result::unwrap));
    }
    all
}

#[test]
fn a_fix_puts_right_what_waits_and_keeps_the_order() {
    for stored in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path(), "first");
        outbox.link(!stored).unwrap();
        for s in 1..=50 {
            outbox.append(&at(s, YEAR_2000, ClockState::Unset)).unwrap();
        }
        outbox.commit().unwrap();
        outbox.clock_was_set(fix(55, RIGHT, ClockState::Synced));
        for s in 60..=70 {
            outbox.append(&at(s, RIGHT, ClockState::Synced)).unwrap();
        }
        outbox.commit().unwrap();
        let events = seen(&mut outbox, Class::Telemetry);
        assert_eq!(events.len(), 61);
        assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq && pair[0].t < pair[1].t), "{events:?}");
        for event in events {
            assert_eq!(event.t, RIGHT + event.mono, "{event:?}");
            assert_eq!(event.clock, ClockState::Synced);
            assert_eq!(event.stamp, (event.mono < 55 * S).then_some(YEAR_2000 + event.mono));
        }
    }
}

#[test]
fn a_fix_outlives_the_process_and_the_next_start_of_the_computer() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path(), "first");
    outbox.append(&at(5, YEAR_2000, ClockState::Unset)).unwrap();
    outbox.commit().unwrap();
    outbox.clock_was_set(fix(9, RIGHT, ClockState::Synced));
    // The power goes; the next start has no clock either, and another difference.
    drop(outbox);
    let mut outbox = open(dir.path(), "second");
    outbox.append(&at(5, YEAR_2000, ClockState::Unset)).unwrap();
    outbox.commit().unwrap();
    let times =
        |outbox: &mut SledOutbox| -> Vec<u64> { seen(outbox, Class::Telemetry).iter().map(|event| event.t).collect() };
    assert_eq!(times(&mut outbox), [RIGHT + 5 * S, YEAR_2000 + 5 * S]);
    outbox.clock_was_set(fix(7, RIGHT + 1000 * S, ClockState::Synced));
    assert_eq!(times(&mut outbox), [RIGHT + 5 * S, RIGHT + 1005 * S]);
    // What the loss of the reserved numbers is explained by has a clock, too.
    let gaps = seen(&mut outbox, Class::Status);
    assert!(gaps.iter().any(|event| event.kind == "gap" && event.t == RIGHT + 1000 * S + event.mono), "{gaps:?}");
}

#[test]
fn the_best_fix_counts() {
    let mut fixes = Fixes::default();
    let unset = |s: u64| Clock { mono_ns: s * S, state: ClockState::Unset };
    let found = |fixes: &Fixes, clock| fixes.find("b", clock).map(|fix| fix.mono_ns / S);
    assert_eq!(found(&fixes, unset(1)), None);
    fixes.add("b", fix(10, 1, ClockState::Set));
    fixes.add("other", fix(10, 1, ClockState::Synced));
    assert_eq!(found(&fixes, unset(1)), Some(10));
    assert_eq!(found(&fixes, unset(11)), None, "stamped afterwards");
    fixes.add("b", fix(20, 2, ClockState::Set));
    assert_eq!(found(&fixes, unset(1)), Some(20), "set by hand, and again");
    assert_eq!(found(&fixes, Clock { state: ClockState::Set, ..unset(1) }), None, "no better than it was");
    fixes.add("b", fix(30, 3, ClockState::Synced));
    fixes.add("b", fix(40, 4, ClockState::Synced));
    assert_eq!(found(&fixes, unset(1)), Some(30), "before it could drift");
    assert_eq!(found(&fixes, Clock { state: ClockState::Set, ..unset(35) }), Some(40));
    // Bounded: the latest is always there.
    for s in 50..90 {
        fixes.add("b", fix(s, 5, ClockState::Synced));
        fixes.add(&format!("boot {s}"), fix(s, 5, ClockState::Synced));
        fixes.add(&"x".repeat(100), fix(s, 5, ClockState::Synced));
    }
    assert!(fixes.0.len() <= MAX_BOOTS && fixes.0.iter().all(|(_, fixes)| fixes.len() <= MAX_FIXES));
    assert_eq!(found(&fixes, unset(89)), Some(89));
    let mut bytes = Vec::new();
    fixes.put(&mut bytes);
    assert_eq!(Fixes::take(&mut bytes.as_slice()), Some(fixes));
    for cut in 0..bytes.len() {
        assert_eq!(Fixes::take(&mut &bytes[..cut]), None, "{cut}");
    }
}

/// Events from before the fix look 27 years old by their stamps, and are some seconds old.
#[test]
fn age_goes_by_the_time_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path(), "now");
    outbox.config.classes[Class::Telemetry.rank()].max_age = Duration::from_secs(3600);
    // Of an earlier start that never had a clock; of this one before the fix; and after.
    outbox.identity.boot = "before".into();
    outbox.append(&at(5, YEAR_2000, ClockState::Unset)).unwrap();
    outbox.commit().unwrap();
    outbox.identity.boot = "now".into();
    outbox.append(&at(7, YEAR_2000, ClockState::Unset)).unwrap();
    outbox.commit().unwrap();
    outbox.append(&at(20, RIGHT, ClockState::Synced)).unwrap();
    outbox.commit().unwrap();
    outbox.clock_was_set(fix(9, RIGHT, ClockState::Synced));
    let mut left = |now_ns: u64| {
        outbox.expire(now_ns);
        outbox.commit().unwrap();
        let left: Vec<u64> = seen(&mut outbox, Class::Telemetry).iter().map(|event| event.mono / S).collect();
        left
    };
    assert_eq!(left(RIGHT + 60 * S), [5, 7, 20]);
    assert_eq!(left(RIGHT + 3610 * S), [5, 20], "nobody knows how old the first one is");
    assert_eq!(left(RIGHT + 7200 * S), [5]);
    let gaps = seen(&mut outbox, Class::Status).into_iter().filter(|event| event.kind == "gap").count();
    assert_eq!(gaps, 2, "one each time");
}

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::event::{AgentState, Blind, BlindCause, Body, Event, Gap, Identity, LossCause, NameMap};

fn event(class: Class, seq: u64) -> Vec<u8> {
    encode(
        class,
        Body::Agent(AgentState { state: "started", reason: None, version: "0", counters: NameMap::new(Vec::new()) }),
        seq,
    )
}

fn gap(ranges: &[(u64, u64)], seq: u64) -> Vec<u8> {
    let count = ranges.iter().map(|(a, b)| b - a + 1).sum();
    encode(
        Class::Status,
        Body::Gap(Gap { lost: None, span: None, cause: LossCause::Quota, count, ranges: ranges.to_vec() }),
        seq,
    )
}

fn encode(class: Class, body: Body, seq: u64) -> Vec<u8> {
    let identity = Identity { vehicle: "v".into(), boot: "b".into() };
    let mut bytes = Vec::new();
    Event::new(1, class, body).encode(&identity, seq, &mut bytes).unwrap();
    bytes
}

fn audit(items: &[Vec<u8>]) -> Audit {
    let mut audit = Audit::default();
    audit.read("test", &*items.concat()).unwrap();
    audit
}

#[test]
fn complete_with_duplicates_and_classes_that_overtake() {
    let t = |n| event(Class::Telemetry, n);
    let audit = audit(&[t(1), t(2), event(Class::Alert, 4), t(2), t(3), t(5)]);
    let vehicle = &audit.vehicles["v"];
    assert_eq!((vehicle.events(), vehicle.duplicates(), vehicle.out_of_order()), (5, 1, 0));
    assert!(audit.is_complete(Some(1)));
}

#[test]
fn a_hole_is_found_unless_a_gap_explains_it() {
    let t = |n| event(Class::Telemetry, n);
    let with_hole = audit(&[t(1), t(2), t(6)]);
    assert_eq!(with_hole.vehicles["v"].holes(1), [(3, 5)]);
    assert!(!with_hole.is_complete(Some(1)));
    assert!(with_hole.is_complete(Some(6)));

    let explained = audit(&[t(1), t(2), t(6), gap(&[(3, 4), (5, 5)], 7)]);
    assert!(explained.is_complete(Some(1)));
    assert_eq!(explained.vehicles["v"].explained(), 3);
    assert_eq!(explained.vehicles["v"].lost["quota"], 3);

    let first_missing = audit(&[t(2)]);
    assert_eq!(first_missing.vehicles["v"].holes(1), [(1, 1)]);
}

#[test]
fn order_within_a_class_is_checked() {
    let t = |n| event(Class::Telemetry, n);
    let audit = audit(&[t(1), t(3), t(2)]);
    assert_eq!(audit.vehicles["v"].out_of_order(), 1);
    assert!(!audit.is_complete(Some(1)));
}

#[test]
fn no_events_are_not_completeness() {
    assert!(!audit(&[]).is_complete(Some(1)));
}

#[test]
fn json_lines_say_the_same_and_errors_name_the_line() {
    let lines = concat!(
        r#"{"t":1,"v":1,"seq":1,"body":{},"boot":"b","kind":"x","class":"alert","vehicle":"v"}"#,
        "\n\n",
        r#"{"t":1,"v":1,"seq":3,"body":{"cause":"restart","ranges":[[2,2]]},"boot":"b","kind":"gap","class":"status","vehicle":"v"}"#,
    );
    let mut audit = Audit::default();
    audit.read("f", lines.as_bytes()).unwrap();
    assert!(audit.is_complete(Some(1)));

    let error = Audit::default().read("f.jsonl", &b"{\"seq\":1}\n"[..]).unwrap_err().to_string();
    assert!(error.starts_with("f.jsonl:1:"), "{error}");
    let error =
        Audit::default().read("f.cbor", &[event(Class::Bulk, 1), vec![0x01]].concat()[..]).unwrap_err().to_string();
    assert!(error.starts_with("f.cbor: item 2"), "{error}");
}

proptest! {
    #[test]
    fn ranges_are_a_set(adds in proptest::collection::vec((0u64..60, 0u64..12), 0..40)) {
        let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
        for (first, length) in adds {
            let new = (first..=first + length).filter(|n| model.insert(*n)).count() as u64;
            prop_assert_eq!(ranges.add(first, first + length), new);
        }
        for n in 0..80 {
            prop_assert_eq!(ranges.contains(n), model.contains(&n));
        }
        let holes: BTreeSet<u64> = ranges.holes(0, 75).into_iter().flat_map(|(a, b)| a..=b).collect();
        let expected: BTreeSet<u64> = (0..=75).filter(|n| !model.contains(n)).collect();
        prop_assert_eq!(holes, expected);
        let apart = ranges.0.iter().zip(ranges.0.iter().skip(1)).all(|((_, l), (f, _))| l + 1 < *f);
        prop_assert!(apart, "ranges that touch are one");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Audit::default().read("x", &*bytes);
    }
}

/// Other kinds have causes of their own, and later versions of the agent kinds that this one does not know.
#[test]
fn events_of_other_kinds_are_counted_whatever_they_say() {
    let blind = Blind { to: 2, bus: "can0".into(), from: 1, cause: BlindCause::Interface, frames: None };
    let mut bytes = encode(Class::Status, Body::Blind(blind), 1);
    let later = r#"{"t":1,"v":1,"seq":2,"body":{"cause":"moonlight"},"boot":"b","kind":"eclipse","class":"status","vehicle":"v"}"#;
    let later: serde_json::Value = serde_json::from_str(later).unwrap();
    bytes.extend(serde_cbor::to_vec(&later).unwrap());
    let mut audit = Audit::default();
    audit.read("test", &bytes[..]).unwrap();
    assert!(audit.is_complete(Some(1)));
    assert_eq!((audit.vehicles["v"].kinds["blind"], audit.vehicles["v"].kinds["eclipse"]), (1, 1));
}

#[test]
fn each_class_is_counted_and_delays_are_known_where_arrival_is() {
    let t = |n| event(Class::Telemetry, n);
    let lost = |class, seq| {
        let gap = Gap { lost: Some(class), span: None, cause: LossCause::Age, count: 2, ranges: vec![(3, 4)] };
        encode(Class::Status, Body::Gap(gap), seq)
    };
    let mut audit = Audit::default();
    let items = [t(1), t(6), t(2), t(2), lost(Class::Telemetry, 5), event(Class::Alert, 7)].concat();
    // Events are stamped with 1 ns; one second passes from one to the next.
    let clock = std::cell::Cell::new(0);
    let tick = || {
        clock.set(clock.get() + 1_000_000_000);
        Some(clock.get() + 1)
    };
    audit.read_with("test", &*items, tick).unwrap();
    let classes = &audit.vehicles["v"].classes;
    let of = |class: Class| {
        let audit = &classes[class.rank()];
        (audit.events, audit.duplicates, audit.out_of_order, audit.lost)
    };
    assert_eq!([Class::Alert, Class::Status, Class::Telemetry].map(of), [(1, 0, 0, 0), (1, 0, 0, 0), (3, 1, 1, 2)]);
    assert_eq!(classes[Class::Telemetry.rank()].delays.longest(), 3.0);
    let report = audit.report(None).to_string();
    assert!(
        report.contains("class telemetry: 3 events, 1 duplicates, 2 lost by gap events, 1 out of order; delay p50 2."),
        "{report}"
    );
    assert!(!report.contains("class bulk"), "{report}");
}

#[test]
fn without_a_first_number_it_begins_with_the_lowest() {
    let t = |n| event(Class::Telemetry, n);
    assert!(audit(&[t(100), t(101)]).is_complete(None));
    let hole = audit(&[t(100), t(102)]);
    assert!(!hole.is_complete(None));
    assert!(hole.report(None).to_string().contains("numbers 100 to 102"));
}

#[test]
fn order_holds_within_each_source() {
    let t = |n| event(Class::Telemetry, n);
    let mut audit = audit(&[t(3), t(4)]);
    audit.next_source();
    audit.read("second", &*[t(1), t(2), t(4)].concat()).unwrap();
    assert!(audit.is_complete(Some(1)));
    assert_eq!(audit.vehicles["v"].duplicates(), 1);
}

/// A vehicle under its second pseudonym: the numbers before it are not missing, one of its own is.
#[test]
fn a_later_pseudonym_begins_where_its_numbers_do() {
    let event = |name: &str, seq: u64| {
        let identity = Identity { vehicle: name.into(), boot: "b".into() };
        let body = Body::Agent(AgentState {
            state: "started",
            reason: None,
            version: "0",
            counters: NameMap::new(Vec::new()),
        });
        let mut bytes = Vec::new();
        Event::new(1, Class::Status, body).encode(&identity, seq, &mut bytes).unwrap();
        bytes
    };
    let far = LATER_NAMES_FROM + 4711;
    assert!(audit(&[event("p-1", 1), event("p-2", far), event("p-2", far + 1)]).is_complete(Some(1)));
    assert!(!audit(&[event("p-2", far), event("p-2", far + 2)]).is_complete(Some(1)));
    assert!(!audit(&[event("p-1", 2)]).is_complete(Some(1)), "its first name");
    assert!(!audit(&[event("truck", far)]).is_complete(Some(1)), "no pseudonym");
    assert!(!audit(&[event("p-2", far)]).is_complete(Some(2)), "asked for");
}

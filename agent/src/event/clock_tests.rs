use super::*;
use crate::event::{
    Anomaly, AnomalyPhase, Blind, BlindCause, Body, Class, Event, Gap, Identity, LossCause, MessageState,
};

const STAMP: u64 = 946_684_800_000_000_000;
const RIGHT: u64 = 1_800_000_000_000_000_000;
const MONO: u64 = 42_000_000_000;

fn encoded(body: Body, clock: Option<Clock>) -> Vec<u8> {
    let identity = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    let mut bytes = Vec::new();
    Event { clock, ..Event::new(STAMP, Class::Status, body) }.encode(&identity, 7, &mut bytes).unwrap();
    bytes
}

fn fix() -> ClockFix {
    ClockFix { mono_ns: 2 * MONO, offset_ns: i64::try_from(RIGHT - MONO).unwrap(), state: ClockState::Synced }
}

fn unset() -> Option<Clock> {
    Some(Clock { mono_ns: MONO, state: ClockState::Unset })
}

fn gap() -> Body {
    Body::Gap(Gap { cause: LossCause::Quota, count: 1, lost: None, span: Some((STAMP, STAMP)), ranges: vec![(1, 1)] })
}

fn field(event: &Value, name: &str) -> u64 {
    number(get(event, name).unwrap()).unwrap()
}

#[test]
fn a_time_is_put_right_and_the_stamp_kept() {
    let before = encoded(gap(), unset());
    assert!(may_be_wrong(&before));
    let right = put_right(&before, |boot, clock| {
        assert_eq!((boot, Some(clock)), ("b", unset()));
        Some(fix())
    });
    let right: Value = serde_cbor::from_slice(&right.unwrap()).unwrap();
    assert_eq!((field(&right, "t"), field(&right, "stamp"), field(&right, "mono")), (RIGHT, STAMP, MONO));
    assert_eq!(get(&right, "clock"), Some(&Value::Text("synced".into())));
    let span = get(get(&right, "body").unwrap(), "span").unwrap();
    let stamp = || Value::Integer(STAMP.into());
    assert_eq!(*span, Value::Array(vec![stamp(), stamp()]), "of other events, perhaps of another boot");
    // Nothing else has changed.
    let mut same: Value = serde_cbor::from_slice(&before).unwrap();
    for key in ["t", "clock", "stamp"] {
        let Value::Map(map) = &mut same else { panic!() };
        map.insert(Value::Text(key.into()), get(&right, key).unwrap().clone());
    }
    assert_eq!(same, right);
}

#[test]
fn times_in_the_body_move_along() {
    let anomaly = Anomaly {
        hash: "0123456789abcdef".into(),
        what: "deviation".into(),
        frame: 7,
        top: Vec::new(),
        model: "m".into(),
        phase: AnomalyPhase::Cleared,
        score: 1.0,
        since: STAMP - 5,
        version: "1".into(),
        threshold: 1.0,
    };
    let blind = Blind { to: STAMP, bus: "can0".into(), from: STAMP - 7, cause: BlindCause::Suspend, frames: None };
    let message =
        MessageState { bus: "can0".into(), last: STAMP - 9, name: "M".into(), state: "silent", period_ms: 10.0 };
    let cases = [
        (Body::Anomaly(anomaly), vec![("since", RIGHT - 5)]),
        (Body::Blind(blind), vec![("from", RIGHT - 7), ("to", RIGHT)]),
        (Body::Message(message), vec![("last", RIGHT - 9)]),
    ];
    for (body, expected) in cases {
        let right = put_right(&encoded(body, unset()), |_, _| Some(fix())).unwrap();
        let right: Value = serde_cbor::from_slice(&right).unwrap();
        for (name, ns) in expected {
            assert_eq!(field(get(&right, "body").unwrap(), name), ns, "{name}");
        }
    }
}

#[test]
fn what_has_no_clock_or_a_good_one_stays() {
    let never = |_: &str, _: Clock| -> Option<ClockFix> { panic!("not asked") };
    assert_eq!(put_right(&encoded(gap(), None), never), None);
    assert!(!may_be_wrong(&encoded(gap(), None)));
    assert!(!may_be_wrong(&encoded(gap(), Some(Clock { mono_ns: 1, state: ClockState::Synced }))));
    assert!(may_be_wrong(&encoded(gap(), Some(Clock { mono_ns: 1, state: ClockState::Set }))));
    assert_eq!(put_right(&encoded(gap(), unset()), |_, _| None), None, "nothing is known of that boot");
    for bytes in [&b""[..], b"\x00", b"\xa1\x61t\x01", &encoded(gap(), unset())[1..]] {
        assert_eq!(put_right(bytes, |_, _| Some(fix())), None);
    }
}

#[test]
fn the_best_time_there_is() {
    let known = |clock| best_time(&encoded(gap(), clock), |_, _| None);
    assert_eq!(known(None), Some(STAMP), "a recording's time is its time");
    assert_eq!(known(unset()), None, "the year 2000, and nobody has set it");
    assert_eq!(known(Some(Clock { mono_ns: 1, state: ClockState::Set })), Some(STAMP));
    assert_eq!(best_time(&encoded(gap(), unset()), |_, _| Some(fix())), Some(RIGHT));
}

use serde_cbor::Value;

use super::*;

#[path = "../../../tests/support/schema.rs"]
mod schema;

/// Nothing about it is unknown.
fn known() -> BusHealth {
    let mut invalid_by = InvalidBy::default();
    can_decoders::Validity::ALL[1..].iter().for_each(|cause| invalid_by.add(*cause));
    BusHealth {
        invalid_by,
        load: Some(37.5),
        rate: Some(1600.0),
        state: Some(BusState::ErrorPassive),
        bitrate: Some(500_000),
        rx_errors: Some(3),
        tx_errors: Some(128),
        dropped: 12,
        ..BusHealth::default()
    }
}

fn samples() -> Vec<Event> {
    let name: Arc<str> = "EngineSpeed".into();
    let bodies = vec![
        Body::Agent(AgentState {
            state: "started",
            reason: None,
            version: "0.1.0",
            counters: NameMap::new(vec![("queue_overflow".into(), 7), ("bad_lines".into(), 1)]),
        }),
        Body::Anomaly(Anomaly {
            hash: "0123456789abcdef".into(),
            what: "deviation".into(),
            frame: 7,
            top: vec![Contribution { name: name.clone(), part: 4.2, expected: Some(800.0), observed: Some(3000.5) }],
            model: "demo".into(),
            phase: AnomalyPhase::Raised,
            score: 4.2,
            since: 1_700_000_000_000_000_000,
            version: "1".into(),
            threshold: 1.0,
        }),
        Body::Blind(Blind {
            to: 1_700_000_000_000_000_009,
            bus: "can0".into(),
            from: 1_700_000_000_000_000_000,
            cause: BlindCause::Dropped,
            frames: Some(12),
        }),
        Body::Bus(BusStatus { bus: "can0".into(), health: known() }),
        Body::Campaign(Campaign {
            name: "winter".into(),
            bytes: 4096,
            state: CampaignState::Started,
            events: 7,
            frames: 81_233,
        }),
        Body::Clock(ClockChange { step: -86_400_000_000_000, error: Some(1_250_000), state: ClockState::Synced }),
        Body::Condition(Condition {
            name: "overheat".into(),
            frame: 7,
            phase: ConditionPhase::Cleared,
            since: 1_700_000_000_000_000_000,
            values: None,
            suppressed: 0,
        }),
        Body::Xl(Xl {
            af: 0xDEAD_BEEF,
            bus: "can0".into(),
            sdt: 3,
            sec: true,
            data: [1, 2, 255].into(),
            vcid: 7,
            priority: 0x7FF,
        }),
        Body::Certificate(Certificate {
            ends: 1_800_000_000_000_000_000,
            name: "CN=truck-1".into(),
            what: "cert_file",
            gateway: "eu-1".into(),
        }),
        Body::Gateway(GatewayState {
            class: None,
            state: "carries",
            reason: "eu-1: network: no route to host".into(),
            gateway: "eu-2".into(),
        }),
        Body::Gap(Gap {
            cause: LossCause::Quota,
            count: 3,
            lost: Some(Class::Telemetry),
            span: Some((1, 2)),
            ranges: vec![(4, 5), (9, 9)],
        }),
        Body::Health(Health {
            buses: NameMap::new(vec![("can1".into(), BusHealth::default()), ("can0".into(), BusHealth::default())]),
            silent: 1,
            late_frames: 2,
            counters: NameMap::new(vec![("unrouted_frames".into(), 7), ("time_jumps".into(), 1)]),
        }),
        Body::Message(MessageState {
            bus: "can0".into(),
            name: "Engine".into(),
            state: "silent",
            last: 5,
            period_ms: 10.0,
        }),
        Body::Model(ModelState {
            name: "demo".into(),
            state: "benched",
            reason: "score is not a number".into(),
            version: "1".into(),
        }),
        Body::ModelStats(ModelStats {
            hash: "0123456789abcdef".into(),
            name: "demo".into(),
            since: 1_700_000_000_000_000_000,
            inputs: vec![InputStats { psi: Some(0.31), name: name.clone(), missing: 0.0, outside: 0.125 }],
            points: 36_000,
            scores: [30_000, 5_000, 990, 4, 3, 2, 1, 0],
            version: "1".into(),
        }),
        Body::Recording(Recording {
            id: "1700000000000000000-crash".into(),
            to: 1_700_000_000_000_000_009,
            from: 1_700_000_000_000_000_000,
            bytes: 4096,
            state: RecordingState::Started,
            digest: None,
            frames: 9,
            missed: 0,
            reason: None,
            triggers: vec!["crash".into()],
        }),
        Body::RecordingChunk(RecordingChunk {
            id: "1700000000000000000-crash".into(),
            of: 2,
            data: vec![0x1F, 0x8B, 0xFF],
            index: 1,
            digest: "00ff".into(),
        }),
        Body::Signals(Signals {
            group: "drive".into(),
            values: NameMap::new(vec![("Speed".into(), Some(1.5)), ("Gear".into(), None), (name.clone(), Some(0.1))]),
        }),
        Body::Aggregates(Aggregates {
            group: "slow".into(),
            stats: NameMap::new(vec![(name, Aggregate { n: 2, max: 2.0, min: 1.0, last: 2.0, mean: 1.5 })]),
            period_ms: 60_000,
        }),
    ];
    bodies.into_iter().map(|body| Event::new(1_700_000_000_123_456_789, Class::Status, body)).collect()
}

fn identity() -> Identity {
    Identity { vehicle: "VIN1".into(), boot: "b".into() }
}

/// serde_cbor's own `Value` holds maps in canonical order, so a round trip through it must change nothing.
#[test]
fn every_kind_encodes_in_canonical_order() {
    for event in samples() {
        let mut bytes = Vec::new();
        event.encode(&identity(), 7, &mut bytes).unwrap();
        let value: serde_cbor::Value = serde_cbor::from_slice(&bytes).unwrap();
        assert_eq!(serde_cbor::to_vec(&value).unwrap(), bytes, "{} is not canonical", event.body.kind());
    }
}

fn encode(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&identity(), 7, &mut bytes).unwrap();
    bytes
}

/// The samples, and what they leave out: each cause, class, phase and state, and null wherever it may be.
fn variants() -> Vec<Event> {
    let mut events = samples();
    let causes = [
        LossCause::Restart,
        LossCause::Quota,
        LossCause::Overflow,
        LossCause::Rejected,
        LossCause::Oversize,
        LossCause::Corrupt,
        LossCause::Storage,
        LossCause::Age,
        LossCause::Wear,
    ];
    for sample in samples() {
        for class in Class::ALL {
            events.push(Event { class, ..sample.clone() });
        }
        for state in ClockState::ALL {
            events.push(Event { clock: Some(Clock { mono_ns: 12_345_678_901, state }), ..sample.clone() });
        }
        events.push(Event { campaign: Some("winter".into()), ..sample.clone() });
        events.push(Event { regions: Regions::new(["uk", "eu"]), ..sample.clone() });
        let mut with = |body| events.push(Event { body, ..sample.clone() });
        match &sample.body {
            Body::Agent(agent) => {
                with(Body::Agent(AgentState { state: "running", ..agent.clone() }));
                with(Body::Agent(AgentState { state: "reloaded", ..agent.clone() }));
                let reason = Some("outrider.toml:3: no such key".into());
                with(Body::Agent(AgentState { state: "kept", reason, ..agent.clone() }));
                with(Body::Agent(AgentState {
                    state: "stopping",
                    counters: NameMap::new(Vec::new()),
                    ..agent.clone()
                }));
            }
            Body::Anomaly(anomaly) => {
                for phase in [AnomalyPhase::Raised, AnomalyPhase::Ongoing, AnomalyPhase::Cleared] {
                    let none = Contribution { name: "a".into(), part: 1.0, expected: None, observed: None };
                    with(Body::Anomaly(Anomaly { phase, top: vec![none], ..anomaly.clone() }));
                }
                with(Body::Anomaly(Anomaly { top: Vec::new(), ..anomaly.clone() }));
            }
            Body::Certificate(certificate) => {
                for what in ["ca_file", "crl_file", "gateway"] {
                    with(Body::Certificate(Certificate { what, ..certificate.clone() }));
                }
            }
            Body::Gateway(state) => {
                let class = Some(Class::Bulk);
                with(Body::Gateway(GatewayState { class, state: "refuses", ..state.clone() }));
            }
            Body::Gap(gap) => {
                for cause in causes {
                    with(Body::Gap(Gap { cause, lost: None, span: None, ..gap.clone() }));
                }
            }
            Body::Blind(blind) => {
                for cause in [BlindCause::Overflow, BlindCause::Interface, BlindCause::Suspend] {
                    with(Body::Blind(Blind { cause, frames: None, ..blind.clone() }));
                }
            }
            Body::Bus(status) => {
                use BusState::{BusOff, ErrorActive, ErrorPassive, ErrorWarning, Lost, Refused, Sleeping, Stopped};
                for state in [ErrorActive, ErrorWarning, ErrorPassive, BusOff, Stopped, Sleeping, Lost, Refused] {
                    let health = BusHealth { state: Some(state), ..BusHealth::default() };
                    with(Body::Bus(BusStatus { health, ..status.clone() }));
                }
            }
            Body::Health(health) => {
                with(Body::Health(Health {
                    buses: NameMap::new(Vec::new()),
                    counters: NameMap::new(Vec::new()),
                    ..health.clone()
                }));
            }
            Body::Message(message) => with(Body::Message(MessageState { state: "back", ..message.clone() })),
            Body::Model(model) => with(Body::Model(ModelState { state: "refused", ..model.clone() })),
            Body::ModelStats(stats) => {
                let none = InputStats { psi: None, ..stats.inputs[0].clone() };
                with(Body::ModelStats(ModelStats { inputs: vec![none], ..stats.clone() }));
                with(Body::ModelStats(ModelStats { inputs: Vec::new(), ..stats.clone() }));
            }
            Body::Clock(_) => {
                for state in ClockState::ALL {
                    with(Body::Clock(ClockChange { step: 1, error: None, state }));
                }
            }
            Body::Condition(condition) => {
                let values = || {
                    Some(NameMap::new(vec![
                        ("Load".into(), Snapshot { v: None, age: None, why: None }),
                        ("EngineSpeed".into(), Snapshot { v: Some(3000.5), age: Some(12), why: None }),
                        ("Oil".into(), Snapshot { v: Some(215.0), age: Some(1), why: Some("not_available") }),
                    ]))
                };
                for phase in [ConditionPhase::Raised, ConditionPhase::Holding] {
                    with(Body::Condition(Condition { phase, values: values(), suppressed: 3, ..condition.clone() }));
                }
                for validity in can_decoders::Validity::ALL {
                    let snapshot = Snapshot { v: Some(1.0), age: Some(0), why: Some(validity.name()) };
                    let values = Some(NameMap::new(vec![("a".into(), snapshot)]));
                    with(Body::Condition(Condition { values, ..condition.clone() }));
                }
            }
            Body::Campaign(campaign) => {
                for state in [CampaignState::Running, CampaignState::Spent, CampaignState::Ended] {
                    with(Body::Campaign(Campaign { state, ..campaign.clone() }));
                }
            }
            Body::Recording(recording) => {
                let (digest, reason) = (Some("00ff".to_owned()), Some("no space left on device".to_owned()));
                for state in [RecordingState::Finished, RecordingState::Evicted, RecordingState::Refused] {
                    let recording = Recording { state, digest: digest.clone(), ..recording.clone() };
                    with(Body::Recording(Recording { reason: reason.clone(), ..recording }));
                }
            }
            Body::Signals(_) | Body::Aggregates(_) | Body::RecordingChunk(_) | Body::Xl(_) => {}
        }
    }
    events
}

#[test]
fn the_schema_describes_every_kind_wholly() {
    let fix = ClockFix { mono_ns: u64::MAX, offset_ns: 1_800_000_000_000_000_000, state: ClockState::Set };
    for event in variants() {
        let bytes = encode(&event);
        let right = clock::put_right(&bytes, |_, _| Some(fix));
        assert_eq!(right.is_some(), event.clock.is_some());
        for bytes in std::iter::once(bytes).chain(right) {
            schema::describes(&bytes).unwrap_or_else(|error| panic!("{event:?}: {error}"));
            schema::accepts(&bytes).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        }
    }
}

/// Otherwise the test above would prove nothing.
#[test]
fn the_schema_refuses_what_is_no_event() {
    let text = |text: &str| Value::Text(text.into());
    for event in samples() {
        let Value::Map(whole) = serde_cbor::from_slice(&encode(&event)).unwrap() else { panic!("a map") };
        let judge = |map: std::collections::BTreeMap<Value, Value>, accepted: bool, what: &str| {
            let bytes = serde_cbor::to_vec(&Value::Map(map)).unwrap();
            assert_eq!(schema::accepts(&bytes).is_ok(), accepted, "{}: {what}", event.body.kind());
            assert!(schema::describes(&bytes).is_err(), "{}: {what}", event.body.kind());
        };
        let change = |key: &str, value: Value| {
            let mut map = whole.clone();
            map.insert(text(key), value);
            map
        };
        judge(change("later", Value::Null), true, "a key of a later version");
        judge(change("v", Value::Integer(2)), false, "another version");
        judge(change("seq", Value::Integer(0)), false, "number 0");
        judge(change("t", Value::Integer(-1)), false, "a time before the epoch");
        judge(change("kind", text("other")), false, "a kind that is not there");
        judge(change("class", text("urgent")), false, "a class that is not there");
        judge(change("body", Value::Null), false, "no body");
        for key in whole.keys() {
            let mut map = whole.clone();
            map.remove(key);
            judge(map, false, &format!("without {key:?}"));
        }
        let Some(Value::Map(body)) = whole.get(&text("body")) else { panic!("a map") };
        for key in body.keys() {
            let mut changed = body.clone();
            changed.remove(key);
            judge(change("body", Value::Map(changed.clone())), false, &format!("body without {key:?}"));
            let other = if matches!(body[key], Value::Bytes(_)) { Value::Null } else { Value::Bytes(vec![0]) };
            changed.insert(key.clone(), other);
            judge(change("body", Value::Map(changed)), false, &format!("another type of {key:?}"));
        }
    }
}

/// Bytes that a backend has stored must stay readable: this encoding may not change without a new schema version.
#[test]
fn golden_bytes() {
    let gap = Gap { cause: LossCause::Restart, count: 2, lost: None, span: None, ranges: vec![(3, 4)] };
    let event = Event::new(1, Class::Status, Body::Gap(gap));
    let mut bytes = Vec::new();
    event.encode(&identity(), 5, &mut bytes).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        concat!(
            "a8",
            "6174",
            "01",
            "6176",
            "01",
            "63736571",
            "05",
            "64626f6479",
            "a5",
            "646c6f7374",
            "f6",
            "647370616e",
            "f6",
            "656361757365",
            "6772657374617274",
            "65636f756e74",
            "02",
            "6672616e676573",
            "81820304",
            "64626f6f74",
            "6162",
            "646b696e64",
            "63676170",
            "65636c617373",
            "66737461747573",
            "6776656869636c65",
            "6456494e31"
        )
    );
}

/// As the uplink writes them.
#[test]
fn bytes_are_base64url_in_json() {
    let xl = samples().into_iter().find_map(|event| if let Body::Xl(xl) = event.body { Some(xl) } else { None });
    assert_eq!(serde_json::to_value(xl.unwrap()).unwrap()["data"], "AQL_");
}

#[test]
fn names_are_ordered_and_unique() {
    let map = NameMap::new(vec![("bb".into(), 1), ("a".into(), 2), ("aa".into(), 3), ("a".into(), 4)]);
    let entries: Vec<(&str, i32)> = map.entries().iter().map(|(n, v)| (&**n, *v)).collect();
    assert_eq!(entries, [("a", 4), ("aa", 3), ("bb", 1)]);
}

#[test]
fn scores_are_rounded_to_three_digits() {
    assert_eq!(round_score(1.234_567), 1.23);
    assert_eq!(round_score(0.001_239_9), 0.001_24);
    assert_eq!(round_score(-98_765.0), -98_800.0);
    assert_eq!(round_score(0.0), 0.0);
    assert!(round_score(f64::NAN).is_nan());
}

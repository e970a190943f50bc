use std::sync::Arc;

use can_decoders::{BusId, CanId, Database, Plan, Validity};

use self::models::{drive, model};
use super::debounce::DebounceSpec;
use super::*;
use crate::event::{AnomalyPhase, Body, Class};

#[path = "bus_tests.rs"]
mod bus_health;
#[path = "jump_tests.rs"]
mod jumps;
#[path = "model_tests.rs"]
mod models;
#[path = "validity_tests.rs"]
mod validity;

const DBC: &str = r#"VERSION ""
BU_: A
BO_ 256 Motor: 8 A
 SG_ Speed : 0|16@1+ (0.5,0) [0|8000] "rpm" A
 SG_ Load : 16|8@1+ (1,0) [0|100] "%" A
BO_ 257 Body: 2 A
 SG_ Door : 0|1@1+ (1,0) [0|1] "" A
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 256 10;
"#;

const MS: u64 = 1_000_000;
const START: u64 = 1_700_000_000_000 * MS;

fn catalog(buses: &[&str]) -> Catalog {
    let plan = Arc::new(Plan::compile(&[Database::parse("test.dbc", DBC.as_bytes()).unwrap()]));
    Catalog::new(buses.iter().map(|name| Bus { plan: plan.clone(), ..Bus::new(*name, Plan::compile(&[])) }).collect())
}

const HEALTH: HealthSpec = HealthSpec { period_ns: 3_600_000 * MS, silent_factor: 5, silent_min_ns: 200 * MS };

fn frame_on(bus: u8, ms: u64, id: u32, payload: &[u8]) -> Frame {
    Frame::new(START + ms * MS, BusId(bus), CanId::standard(id).unwrap(), FrameKind::Data, payload).unwrap()
}

fn motor(ms: u64, speed: u16) -> Frame {
    let [low, high] = speed.to_le_bytes();
    frame_on(0, ms, 256, &[low, high, 50, 0, 0, 0, 0, 0])
}

fn spec(name: &str, function: Function, of: &str, window: usize) -> FeatureSpec {
    FeatureSpec { name: name.into(), function, of: of.into(), window, max_age_ns: 1000 * MS, only_if: None }
}

fn collect(catalog: &Catalog, pattern: &str, mode: Mode, deadband: f64) -> Collector {
    let spec = CollectSpec {
        name: "c".into(),
        signals: catalog.select(pattern).unwrap(),
        mode,
        period_ns: 100 * MS,
        deadband,
        max_age_ns: 1000 * MS,
        campaign: None,
    };
    Collector::new(spec, catalog)
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|e| e.body.kind()).collect()
}

#[test]
fn last_values_have_age_and_validity() {
    let catalog = catalog(&["can0"]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    engine.frame(&motor(0, 3000), &mut events);
    let speed = engine.catalog().find_signal("Motor.Speed").unwrap();
    let load = engine.catalog().find_signal("Load").unwrap();
    let slot = *engine.state().signal(speed);
    assert_eq!(slot.usable(START + 10 * MS, 20 * MS), Some(1500.0));
    assert_eq!(slot.usable(START + 30 * MS, 20 * MS), None, "too old");

    // Three bytes hold the speed and the load; two only the speed.
    engine.frame(&frame_on(0, 10, 256, &[2, 0]), &mut events);
    assert_eq!(engine.state().signal(speed).usable(START + 10 * MS, MS), Some(1.0));
    assert_eq!(engine.state().signal(load).usable(START + 10 * MS, MS), None, "beyond the payload");
    let bus = *engine.health().bus(0);
    assert_eq!((bus.frames, bus.too_short, bus.invalid), (2, 1, 1));
}

#[test]
fn everything_that_cannot_be_used_is_counted() {
    let catalog = catalog(&["can0"]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    engine.frame(&frame_on(0, 0, 0x300, &[1]), &mut events);
    engine.frame(&frame_on(0, 1, 0x300, &[1]), &mut events);
    engine.frame(&frame_on(0, 2, 0x301, &[1]), &mut events);
    engine.frame(&frame_on(7, 3, 256, &[1]), &mut events);
    let error = CanId::extended(4).unwrap();
    engine.frame(&Frame::new(START + 4 * MS, BusId(0), error, FrameKind::Error, &[0; 8]).unwrap(), &mut events);
    engine.frame(&frame_on(0, 1, 257, &[0, 0, 0]), &mut events);
    engine.finish(&mut events);
    let Body::Health(health) = &events.last().unwrap().body else { panic!("{events:?}") };
    let (_, bus) = health.buses.entries()[0];
    assert_eq!((bus.frames, bus.unknown, bus.unknown_ids, bus.errors, bus.too_long), (5, 3, 2, 1, 1));
    assert_eq!(health.late_frames, 1);
    let counters: Vec<(&str, u64)> = health.counters.entries().iter().map(|(n, v)| (&**n, *v)).collect();
    assert_eq!(counters, [("time_jumps", 0), ("unrouted_frames", 1)]);
}

#[test]
fn frames_of_buses_without_an_entry_go_to_the_one_for_any() {
    let catalog = catalog(&["can0", ANY_BUS]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    engine.frame(&frame_on(5, 0, 256, &[4, 0, 0, 0, 0, 0, 0, 0]), &mut Vec::new());
    let speed = engine.catalog().find_signal("*:Motor.Speed").unwrap();
    assert_eq!(engine.state().signal(speed).value, 2.0);
}

#[test]
fn names_lead_to_signals_or_say_why_not() {
    let catalog = catalog(&["can0", "can1"]);
    assert!(matches!(catalog.find_signal("Motor.Speed"), Err(NameError::Ambiguous { .. })));
    let id = catalog.find_signal("can1:Motor.Speed").unwrap();
    assert_eq!(&*catalog.signal_names(&[id])[0], "can1:Motor.Speed");
    let alone = self::catalog(&["can1"]);
    assert_eq!(&*alone.signal_names(&[alone.find_signal("Speed").unwrap()])[0], "Motor.Speed");
    assert_eq!(catalog.select("can0:Motor.*").unwrap().len(), 2);
    assert_eq!(catalog.select("*").unwrap().len(), 6);
    let error = catalog.find_signal("can0:Motor.speed").unwrap_err().to_string();
    assert!(error.contains("did you mean") && error.contains("can0:Motor.Speed"), "{error}");
    assert!(catalog.select("Gone.*").is_err());
    assert!(matches!(catalog.find_message("Motor"), Err(NameError::Ambiguous { .. })));
    assert!(catalog.find_message("can1:Body").is_ok());
}

#[test]
fn a_collection_sends_changes_then_everything_as_heartbeat() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.*", Mode::OnChange { heartbeat_ns: 1000 * MS }, 5.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let mut events = Vec::new();
    // Steady, a change inside of the deadband at 300 ms, one outside at 500 ms.
    for ms in (0..1500).step_by(10) {
        let speed = if ms >= 500 {
            3020
        } else if ms >= 300 {
            3002
        } else {
            3000
        };
        engine.frame(&motor(ms, speed), &mut events);
    }
    type Sent<'a> = (u64, Vec<(&'a str, Option<f64>)>);
    let sent: Vec<Sent> = events
        .iter()
        .map(|e| {
            let Body::Signals(signals) = &e.body else { panic!("{e:?}") };
            assert_eq!(e.class, Class::Telemetry);
            ((e.time_ns - START) / MS, signals.values.entries().iter().map(|(n, v)| (&**n, *v)).collect())
        })
        .collect();
    let all = |speed| vec![("Motor.Load", Some(50.0)), ("Motor.Speed", Some(speed))];
    assert_eq!(sent, [(100, all(1500.0)), (600, vec![("Motor.Speed", Some(1510.0))]), (1100, all(1510.0))]);
}

#[test]
fn a_value_that_gets_too_old_is_sent_as_null_once() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.Speed", Mode::OnChange { heartbeat_ns: 0 }, 0.0);
    let health = HealthSpec { silent_min_ns: 86_400_000 * MS, ..HEALTH };
    let mut engine = Engine::new(catalog, health, vec![collector], vec![]);
    let mut events = Vec::new();
    engine.frame(&motor(50, 3000), &mut events);
    engine.advance(START + 5000 * MS, &mut events);
    let values: Vec<Option<f64>> = events
        .iter()
        .map(|e| if let Body::Signals(s) = &e.body { s.values.entries()[0].1 } else { panic!("{e:?}") })
        .collect();
    assert_eq!(values, [Some(1500.0), None]);
}

#[test]
fn aggregates_see_every_sample() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.Speed", Mode::Aggregate, 0.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let mut events = Vec::new();
    for (ms, speed) in [(1, 10), (2, 90), (3, 20), (150, 8)] {
        engine.frame(&motor(ms, speed), &mut events);
    }
    let Body::Aggregates(aggregates) = &events[0].body else { panic!("{events:?}") };
    let stat = aggregates.stats.entries()[0].1;
    assert_eq!((stat.n, stat.min, stat.max, stat.last, stat.mean), (3, 5.0, 45.0, 10.0, 20.0));
    assert_eq!(events.len(), 1);
}

#[test]
fn a_silent_message_is_told_once_and_its_return_too() {
    let catalog = catalog(&["can0"]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    for ms in (0..500).step_by(10) {
        engine.frame(&motor(ms, 1), &mut events);
    }
    assert!(events.is_empty());
    engine.advance(START + 2000 * MS, &mut events);
    assert_eq!(kinds(&events), ["message"]);
    let Body::Message(state) = &events[0].body else { unreachable!() };
    assert_eq!((state.state, &*state.name, state.period_ms, state.last), ("silent", "Motor", 10.0, START + 490 * MS));
    assert_eq!(events[0].time_ns, START + 700 * MS, "found at the first check after 200 ms");
    engine.frame(&motor(2100, 1), &mut events);
    let Body::Message(state) = &events[1].body else { panic!("{events:?}") };
    assert_eq!((state.state, state.last), ("back", START + 490 * MS));
}

#[test]
fn a_message_without_a_cycle_time_is_silent_by_what_was_learned() {
    let catalog = catalog(&["can0"]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    for i in 0..30 {
        engine.frame(&frame_on(0, i * 100, 257, &[0, 0]), &mut events);
    }
    engine.advance(START + 3300 * MS, &mut events);
    assert!(events.is_empty(), "{events:?}");
    engine.advance(START + 3600 * MS, &mut events);
    assert_eq!(kinds(&events), ["message"]);
}

#[test]
fn times_at_both_ends_of_the_range_are_survived() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "*", Mode::Aggregate, 0.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let id = CanId::standard(256).unwrap();
    for time in [0, 1, u64::MAX, 0, u64::MAX - 1, START] {
        engine.frame(&Frame::new(time, BusId(0), id, FrameKind::Data, &[0; 8]).unwrap(), &mut Vec::new());
        engine.advance(time, &mut Vec::new());
    }
    engine.advance(u64::MAX, &mut Vec::new());
}

#[test]
fn how_frames_are_batched_changes_nothing() {
    let build = || {
        let catalog = catalog(&["can0"]);
        let (spec, network) = model(usize::MAX);
        let detector = Detector::new(spec, network, &catalog).unwrap();
        let collectors = vec![
            collect(&catalog, "*", Mode::OnChange { heartbeat_ns: 500 * MS }, 0.0),
            collect(&catalog, "*", Mode::Aggregate, 0.0),
        ];
        Engine::new(catalog, HealthSpec { period_ns: 700 * MS, ..HEALTH }, collectors, vec![detector])
    };
    let frames: Vec<Frame> = (0..800u64)
        .filter(|i| !(300..340).contains(i))
        .map(|i| {
            frame_on(0, i * 7, 256, &[u8::try_from(i % 50).unwrap(), 0, u8::try_from(i / 9).unwrap(), 0, 0, 0, 0, 0])
        })
        .collect();
    let (mut plain, mut eager) = (build(), build());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for frame in &frames {
        plain.frame(frame, &mut a);
        // A live source tells the time between frames, too.
        eager.advance(frame.time_ns.saturating_sub(2 * MS), &mut b);
        eager.frame(frame, &mut b);
        eager.advance(frame.time_ns, &mut b);
    }
    plain.finish(&mut a);
    eager.finish(&mut b);
    assert!(a.len() > 50);
    assert_eq!(a, b);
}

//! The shipped model on drives that it was not trained on: which injected faults it finds, and how quiet it is without.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the report")]

use std::path::Path;
use std::time::Duration;

use can_decoders::{Database, Plan};
use outrider::engine::{Bus, Catalog, Detector, Engine, HealthSpec};
use outrider::event::{AnomalyPhase, Body, Class, Event, ModelStats};
use outrider::model;
use outrider::source::sim::{DBC, ScheduledFault, SimConfig, Simulation};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;
/// Smoothing, debounce and physics: an anomaly may begin so long after a fault has ended.
const AFTER_S: u64 = 7;

fn engine() -> Engine {
    let buses = DBC.iter().map(|(name, file, text)| {
        let plan = Plan::compile(&[Database::parse(file, text.as_bytes()).unwrap()]);
        Bus::new(*name, plan)
    });
    let catalog = Catalog::new(buses.collect());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
    let (manifest, network) = model::load(&dir).unwrap();
    let detector = Detector::new(manifest.spec, network, &catalog).unwrap();
    let health = HealthSpec { period_ns: 3600 * SECOND, silent_factor: 5, silent_min_ns: SECOND };
    Engine::new(catalog, health, vec![], vec![detector])
}

/// Drives, and returns the anomalies that were raised or got worse, and the speed at each full second.
fn drive(seed: u64, seconds: u64, faults: &[ScheduledFault]) -> (Vec<Event>, Vec<f64>) {
    let config = SimConfig { seed, start_ns: START, faults: faults.to_vec() };
    let mut engine = engine();
    let speed = engine.catalog().find_signal("VehicleSpeedData.VehicleSpeed").unwrap();
    let (mut events, mut speeds) = (Vec::new(), Vec::new());
    for frame in Simulation::new(config).unwrap() {
        let second = (frame.time_ns - START) / SECOND;
        if second >= seconds {
            break;
        }
        if speeds.len() as u64 <= second {
            speeds.push(engine.state().signal(speed).value);
        }
        engine.frame(&frame, &mut events);
    }
    events.retain(|e| matches!(&e.body, Body::Anomaly(a) if a.phase != AnomalyPhase::Cleared));
    (events, speeds)
}

fn describe(event: &Event) -> String {
    let Body::Anomaly(anomaly) = &event.body else { unreachable!() };
    let cause: Vec<String> = anomaly.top.iter().map(|t| format!("{} {}", t.name, t.part)).collect();
    format!("{:.1} s, score {}: {}", (event.time_ns - START) as f64 / 1e9, anomaly.score, cause.join(", "))
}

#[test]
fn quiet_on_clean_drives_that_it_has_not_seen() {
    let minutes = 30;
    for seed in [9001, 9002, 9003, 9004] {
        let (anomalies, speeds) = drive(seed, minutes * 60, &[]);
        assert!(speeds.iter().any(|s| *s > 60.0), "seed {seed}: a drive");
        println!("seed {seed}: {} alerts in {minutes} minutes", anomalies.len());
        for anomaly in &anomalies {
            println!("  {}", describe(anomaly));
        }
        assert!(anomalies.is_empty(), "seed {seed}: false alarms");
    }
}

/// What the hour's end, or the drive's, tells about the model.
fn stats(seed: u64, minutes: u64, faults: &[&str]) -> Vec<ModelStats> {
    let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    // Half an hour before a full one.
    let start_ns = START / (3600 * SECOND) * 3600 * SECOND + 1800 * SECOND;
    let (mut engine, mut events) = (engine(), Vec::<Event>::new());
    for frame in Simulation::new(SimConfig { seed, start_ns, faults }).unwrap() {
        if frame.time_ns >= start_ns + minutes * 60 * SECOND {
            break;
        }
        engine.frame(&frame, &mut events);
    }
    engine.finish(&mut events);
    let stats = |event: Event| if let Body::ModelStats(stats) = event.body { Some(stats) } else { None };
    events.into_iter().filter_map(stats).collect()
}

#[test]
fn how_the_model_fares_is_told_and_drift_shows() {
    let healthy = stats(9001, 40, &[]);
    let [hour, rest] = &healthy[..] else { panic!("{healthy:?}") };
    for (stats, minutes) in [(hour, 30), (rest, 10)] {
        assert_eq!((&*stats.name, stats.hash.len(), stats.inputs.len()), ("demo-vehicle", 16, 5));
        assert!(stats.points > minutes * 600 - 150 && stats.points <= minutes * 600, "{}", stats.points);
        assert_eq!(stats.scores.iter().sum::<u64>(), stats.points);
        assert_eq!(stats.scores[4..], [0; 4], "none above the threshold");
        assert!(stats.inputs.is_sorted_by(|a, b| a.psi >= b.psi), "the furthest first");
        assert!(stats.inputs.iter().all(|input| input.missing < 0.05 && input.outside < 0.2), "{stats:?}");
    }
    assert!(hour.since < rest.since);
    // A thermostat that sticks, or another engine oil: the sensor reads far too high for most of the time.
    let drifted = stats(9001, 40, &["drift:CoolantTemp:0.2@60+2340"]);
    let worst = |stats: &ModelStats, name: &str| {
        stats.inputs.iter().find(|input| input.name.contains(name)).and_then(|input| input.psi)
    };
    let (before, after) = (worst(rest, "Coolant").unwrap_or(0.0), worst(&drifted[1], "Coolant").unwrap());
    assert!(after > 0.25 && after > 2.0 * before, "{before} before, {after} after");
    assert!(drifted[1].scores[5..].iter().sum::<u64>() > 0, "and it is an anomaly");
}

/// Kind, how long it lasts, and whether it shows only while the car moves.
const FAULTS: [(&str, u64, bool); 14] = [
    ("stuck:EngineSpeed", 10, true),
    ("stuck:VehicleSpeed", 10, true),
    ("stuck:WheelSpeedFL", 10, true),
    ("drift:VehicleSpeed:1.5", 12, true),
    ("drift:EngineSpeed:40", 12, true),
    ("replay:EngineSpeed", 10, true),
    ("replay:VehicleSpeed", 10, true),
    ("missing:EngineData1", 6, false),
    ("missing:WheelSpeeds", 6, false),
    ("flood:BrakeData1:8", 6, false),
    ("flood:EngineData2:4", 6, false),
    ("leak", 20, false),
    ("imbalance:7", 20, false),
    ("crash", 6, true),
];

#[test]
fn finds_the_faults_that_are_injected() {
    let length = 1500;
    let (mut injected, mut found, mut false_alarms) = (0, 0, 0);
    let mut missed = Vec::new();
    for seed in [9101, 9102, 9103] {
        let (_, speeds) = drive(seed, length, &[]);
        // Where the car moves and its speed changes: what is stuck or replayed has to differ from the truth.
        let shows = |start: u64, duration: u64| {
            let part =
                (0..).zip(&speeds).filter(|(s, _)| (start..start + duration).contains(s)).map(|(_, speed)| speed);
            let (low, high) = part.fold((f64::MAX, f64::MIN), |(l, h), s| (l.min(*s), h.max(*s)));
            low > 20.0 && high - low > 10.0
        };
        let mut faults: Vec<ScheduledFault> = Vec::new();
        let mut next = 20;
        for (kind, duration, moving) in FAULTS {
            let start = (next..length - 60).find(|&s| !moving || shows(s, duration));
            let Some(start) = start else { break };
            faults.push(format!("{kind}@{start}+{duration}").parse().unwrap());
            next = start + duration + 45;
        }
        let (events, _) = drive(seed, length, &faults);
        let (critical, _): (Vec<&Event>, Vec<&Event>) = events.iter().partition(|e| e.class == Class::Critical);
        let raised = |e: &&Event| matches!(&e.body, Body::Anomaly(a) if a.phase == AnomalyPhase::Raised);
        let anomalies: Vec<&Event> = events.iter().filter(raised).collect();
        let belongs = |event: &Event, fault: &ScheduledFault| {
            let at = Duration::from_nanos(event.time_ns - START);
            at >= fault.start && at <= fault.start + fault.duration + Duration::from_secs(AFTER_S)
        };
        for fault in &faults {
            injected += 1;
            match anomalies.iter().find(|a| belongs(a, fault)) {
                Some(anomaly) => {
                    found += 1;
                    let delay = Duration::from_nanos(anomaly.time_ns - START) - fault.start;
                    println!("seed {seed}: {fault}: found after {:.1} s; {}", delay.as_secs_f64(), describe(anomaly));
                    let is_critical = critical.iter().any(|e| belongs(e, fault));
                    assert_eq!(is_critical, fault.kind.to_string() == "crash", "a crash is critical, a fault is not");
                }
                None => missed.push(format!("seed {seed}: {fault}")),
            }
        }
        for anomaly in anomalies.iter().filter(|a| !faults.iter().any(|f| belongs(a, f))) {
            false_alarms += 1;
            println!("seed {seed}: belongs to no fault: {}", describe(anomaly));
        }
    }
    println!("{found} of {injected} faults found, {false_alarms} anomalies that belong to none");
    assert!(injected >= 36, "only {injected} faults could be placed");
    assert!(missed.is_empty(), "missed: {missed:#?}");
    assert_eq!(false_alarms, 0);
}

//! The clock is set, or a recording has a hole: what was known before no longer counts, and all goes on.

use super::*;

const HOUR: u64 = 3_600_000;

#[test]
fn a_jump_of_the_clock_is_counted_and_raises_nothing() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.Speed", Mode::OnChange { heartbeat_ns: 0 }, 0.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let mut events = Vec::new();
    for ms in (0..300).step_by(10) {
        engine.frame(&motor(ms, 1), &mut events);
    }
    let day = 86_400_000;
    for start in [10 * day, 0] {
        let before = events.len();
        for ms in (start..start + 300).step_by(10) {
            engine.frame(&motor(ms, u16::try_from(ms % 300 + 1).unwrap()), &mut events);
        }
        let collected = events[before..].iter().filter(|e| e.body.kind() == "signals").count();
        assert!(collected >= 2, "grid points go on after a jump");
    }
    assert!(!kinds(&events).contains(&"message"), "{events:?}");
    engine.finish(&mut events);
    let Body::Health(health) = &events.last().unwrap().body else { panic!() };
    assert_eq!(health.counters.entries()[0].1, 2, "once ahead, once back");
    assert_eq!(health.late_frames, 0);
}

/// Frames of the hour before the step are an hour in the future: they must not look fresh.
#[test]
fn after_a_step_back_no_value_is_fresh_before_it_comes_again() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.Speed", Mode::OnChange { heartbeat_ns: 0 }, 0.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let mut events = Vec::new();
    engine.frame(&motor(HOUR, 84), &mut events);
    engine.frame(&frame_on(0, HOUR + 150, 257, &[0, 0]), &mut events);
    let speed = engine.catalog().find_signal("Motor.Speed").unwrap();
    for ms in (0..2000).step_by(50) {
        engine.frame(&frame_on(0, ms, 257, &[0, 0]), &mut events);
        assert_eq!(engine.state().signal(speed).usable(START + ms * MS, 1000 * MS), None);
    }
    let sent: Vec<Option<f64>> = events
        .iter()
        .filter_map(|e| if let Body::Signals(s) = &e.body { Some(s.values.entries()[0].1) } else { None })
        .collect();
    assert_eq!(sent, [Some(42.0), None]);
}

#[test]
fn heartbeats_go_on_after_a_step_back() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.Speed", Mode::OnChange { heartbeat_ns: 1000 * MS }, 0.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let mut events = Vec::new();
    for ms in (HOUR..HOUR + 3000).chain(0..10_000).step_by(10) {
        if ms == 0 {
            events.clear();
        }
        engine.frame(&motor(ms, 84), &mut events);
    }
    assert!((9..=11).contains(&events.len()), "ten seconds, ten heartbeats: {}", events.len());
}

/// An anomaly that was raised clears, and the next is raised, though both lie before the time of the first.
#[test]
fn anomalies_are_told_after_a_step_back() {
    let catalog = catalog(&["can0"]);
    let (spec, network) = model(usize::MAX);
    let detector = Detector::new(spec, network, &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
    let mut events = Vec::new();
    drive(&mut engine, HOUR, HOUR + 1000, 50, &mut events);
    drive(&mut engine, HOUR + 1000, HOUR + 1500, 90, &mut events);
    drive(&mut engine, 0, 2000, 50, &mut events);
    drive(&mut engine, 2000, 3000, 90, &mut events);
    let phases: Vec<AnomalyPhase> =
        events.iter().filter_map(|e| if let Body::Anomaly(a) = &e.body { Some(a.phase) } else { None }).collect();
    assert_eq!(phases, [AnomalyPhase::Raised, AnomalyPhase::Cleared, AnomalyPhase::Raised]);
}

/// A computer without a battery-backed clock starts in 1970.
#[test]
fn learned_periods_survive_a_jump() {
    let catalog = catalog(&["can0"]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    for i in (0..60).chain(9_000_000..9_000_030) {
        engine.frame(&frame_on(0, i * 100, 257, &[0, 0]), &mut events);
    }
    engine.advance(START + 900_000_000 * MS + 10_000 * MS, &mut events);
    assert_eq!(kinds(&events), ["message"]);
    let Body::Message(state) = &events[0].body else { unreachable!() };
    assert_eq!((state.state, state.period_ms), ("silent", 100.0));
}

/// Silences do not count either: a car is parked at night.
#[test]
fn learned_periods_leave_silences_out() {
    let catalog = catalog(&["can0"]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    for i in (0..30).chain(530..560).chain(1060..1090) {
        engine.frame(&frame_on(0, i * 100, 257, &[0, 0]), &mut events);
        engine.advance(START + i * 100 * MS, &mut events);
    }
    let periods: Vec<(&str, f64)> = events
        .iter()
        .map(|e| if let Body::Message(m) = &e.body { (m.state, m.period_ms) } else { panic!("{e:?}") })
        .collect();
    assert_eq!(periods, [("silent", 100.0), ("back", 100.0), ("silent", 100.0), ("back", 100.0)]);
}

/// Samples from before a hole are not mixed with those after it, and none is forgotten at the end.
#[test]
fn aggregates_end_at_a_jump_and_at_the_end() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.Speed", Mode::Aggregate, 0.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let mut events = Vec::new();
    for ms in [10, 20, 30, HOUR + 10, HOUR + 20] {
        engine.frame(&motor(ms, 1), &mut events);
    }
    engine.finish(&mut events);
    let told: Vec<(u64, u64)> = events
        .iter()
        .filter_map(
            |e| if let Body::Aggregates(a) = &e.body { Some((e.time_ns, a.stats.entries()[0].1.n)) } else { None },
        )
        .collect();
    assert_eq!(told, [(START + 30 * MS, 3), (START + (HOUR + 20) * MS, 2)]);
}

/// A source that has seen nothing yet does not know the time.
#[test]
fn an_unknown_time_is_not_1970() {
    let mut engine = Engine::new(catalog(&["can0"]), HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    engine.advance(0, &mut events);
    engine.finish(&mut events);
    assert!(events.is_empty(), "{events:?}");
}

/// The clock of a live bus is set back, and nothing is said on it: time goes on all the same.
#[test]
fn a_step_back_without_frames_is_a_jump() {
    let catalog = catalog(&["can0"]);
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    engine.frame(&motor(HOUR, 1), &mut events);
    engine.advance(START + (HOUR - 900) * MS, &mut events);
    assert_eq!(engine.now_ns(), START + HOUR * MS, "less than a second is no step");
    engine.advance(0, &mut events);
    assert_eq!(engine.now_ns(), START + HOUR * MS, "not known");
    events.clear();
    for ms in (0..20_000).step_by(50) {
        engine.advance(START + ms * MS, &mut events);
    }
    assert_eq!(engine.now_ns(), START + 19_950 * MS);
    assert_eq!(kinds(&events), ["message"], "the one that was heard is missed");
}

/// A grid point at the very time of a frame after a step back has not seen that frame, as any other.
#[test]
fn a_grid_point_after_a_step_back_sees_the_frames_before_it() {
    let catalog = catalog(&["can0"]);
    let collector = collect(&catalog, "Motor.Speed", Mode::OnChange { heartbeat_ns: 0 }, 0.0);
    let mut engine = Engine::new(catalog, HEALTH, vec![collector], vec![]);
    let mut events = Vec::new();
    engine.frame(&motor(HOUR, 1), &mut events);
    engine.advance(START + (HOUR + 5000) * MS, &mut events);
    events.clear();
    // START is a grid point.
    engine.frame(&motor(0, 84), &mut events);
    engine.advance(START + 5000 * MS, &mut events);
    let sent: Vec<(u64, Option<f64>)> = events
        .iter()
        .filter_map(|e| {
            let Body::Signals(signals) = &e.body else { return None };
            Some((e.time_ns, signals.values.entries()[0].1))
        })
        .filter(|(_, value)| value.is_some())
        .collect();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].0 > START, "{sent:?}");
}

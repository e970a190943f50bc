use std::sync::OnceLock;

use can_decoders::{BusId, FrameKind, Plan};

use super::*;
use crate::engine::{Engine, HealthSpec, Missed, Notice};
use crate::event::{Anomaly, AnomalyPhase, BlindCause, Body};
use crate::profile::test_traffic::{SECOND, START, frame, id, learned, signed, traffic};

/// Ten minutes, so that all is known that can be.
fn profile() -> &'static Profile {
    static PROFILE: OnceLock<Profile> = OnceLock::new();
    PROFILE.get_or_init(|| learned(700))
}

fn engine() -> Engine {
    let catalog = profile().catalog(Catalog::new(Vec::new()));
    let health = HealthSpec { period_ns: 60 * SECOND, silent_factor: 5, silent_min_ns: SECOND };
    let guard = Guard::new(profile(), &catalog).unwrap();
    Engine::new(catalog, health, Vec::new(), Vec::new()).with_guard(guard)
}

fn anomalies(events: Vec<Event>) -> Vec<(u64, Anomaly)> {
    let anomaly = |event: Event| match event.body {
        Body::Anomaly(anomaly) => Some((event.time_ns, anomaly)),
        _ => None,
    };
    events.into_iter().filter_map(anomaly).collect()
}

fn play(frames: &[Frame]) -> Vec<(u64, Anomaly)> {
    let (mut engine, mut events) = (engine(), Vec::new());
    frames.iter().for_each(|frame| engine.frame(frame, &mut events));
    engine.finish(&mut events);
    anomalies(events)
}

/// Another minute than was learned from.
fn minute() -> Vec<Frame> {
    traffic(START + 90_000 * SECOND, 60, 99)
}

const FROM: u64 = START + 90_030 * SECOND;
const TO: u64 = START + 90_038 * SECOND;

fn within(frame: &Frame) -> bool {
    (FROM..TO).contains(&frame.time_ns)
}

/// The one anomaly of a kind: raised in the attack, cleared some seconds after it, and nothing else that is not allowed.
fn only(found: &[(u64, Anomaly)], what: &str, also: &[&str]) -> Anomaly {
    let of: Vec<_> = found.iter().filter(|(_, anomaly)| &*anomaly.what == what).collect();
    let kinds: Vec<&str> = found.iter().map(|(_, anomaly)| &*anomaly.what).collect();
    assert!(kinds.iter().all(|kind| *kind == what || also.contains(kind)), "{kinds:?}");
    let phases: Vec<AnomalyPhase> = of.iter().map(|(_, anomaly)| anomaly.phase).collect();
    assert_eq!(phases.first(), Some(&AnomalyPhase::Raised), "{what}: {kinds:?}");
    assert_eq!(phases.iter().filter(|phase| **phase == AnomalyPhase::Raised).count(), 1, "{what}");
    assert_eq!(phases.last(), Some(&AnomalyPhase::Cleared), "{what}");
    let (raised, cleared) = (of[0].0, of[of.len() - 1].0);
    assert!((FROM..TO + SECOND).contains(&raised), "{what} {}", raised.saturating_sub(FROM));
    assert!((FROM..TO + 12 * SECOND).contains(&cleared), "{what} {}", cleared.saturating_sub(TO));
    assert!(of[0].1.score >= of[0].1.threshold, "{what}");
    of[0].1.clone()
}

#[test]
fn what_was_learned_is_quiet_elsewhere() {
    for seed in 10..15 {
        let found = play(&traffic(START + 90_000 * SECOND, 300, seed));
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn missing() {
    let mut frames = minute();
    frames.retain(|frame| !(within(frame) && frame.id == id("200")));
    let anomaly = only(&play(&frames), "missing", &[]);
    assert_eq!((&*anomaly.model, anomaly.top.len(), &*anomaly.top[0].name), ("test", 1, "ID_200"));
    assert_eq!(anomaly.top[0].expected, Some(0.1), "seconds");
    assert!(anomaly.top[0].observed.unwrap() >= 0.5);
    // The flag may be quiet for as long as it likes.
    frames = minute();
    frames.retain(|frame| !(within(frame) && frame.id == id("300")));
    assert!(play(&frames).is_empty());
}

#[test]
fn never_there_is_missing_after_a_while() {
    let mut frames = traffic(START + 90_000 * SECOND, 60, 99);
    frames.retain(|frame| frame.id != id("18FEF100"));
    let found = play(&frames);
    let [(raised, anomaly), ..] = &found[..] else { panic!() };
    assert_eq!((&*anomaly.what, &*anomaly.top[0].name), ("missing", "ID_18FEF100"));
    assert!((30..36).contains(&((raised - START - 90_000 * SECOND) / SECOND)));
}

#[test]
fn a_bus_that_sleeps_misses_nothing() {
    let mut frames = traffic(START + 90_000 * SECOND, 20, 99);
    frames.extend(traffic(START + 90_050 * SECOND, 20, 98));
    // Across a jump of the clock as well.
    frames.extend(traffic(START + 99_000 * SECOND, 20, 97));
    frames.extend(traffic(START + 98_000 * SECOND, 20, 96));
    let found = play(&frames);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn strangers_are_found_after_the_clock_was_set_back() {
    let mut frames = minute();
    frames.push(frame(TO, "7DF", &[2, 1, 0]));
    frames.sort_by_key(|frame| frame.time_ns);
    let mut later = traffic(START, 30, 98);
    later
        .extend((START + 10 * SECOND..START + 14 * SECOND).step_by(700_000_000).map(|at| frame(at, "7DF", &[2, 1, 0])));
    later.sort_by_key(|frame| frame.time_ns);
    frames.extend(later);
    let found = play(&frames);
    assert_eq!(found.first().map(|(at, anomaly)| ((at - START) / SECOND, &*anomaly.what)), Some((10, "unknown")));
}

/// Two large buses, of which one sleeps while the other goes on, and both of which then lose an identifier.
#[test]
fn one_bus_may_sleep_while_another_does_not() {
    let both = |frames: Vec<Frame>| -> Vec<Frame> {
        let twin = |mut frame: Frame| {
            frame.bus = BusId(1);
            frame
        };
        frames.into_iter().flat_map(|frame| [frame, twin(frame)]).collect()
    };
    let mut learner = crate::profile::learn::Learner::new(Vec::new());
    let frames = both(traffic(START, 60, 1));
    loop {
        frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&["can0".into(), "can1".into()]) {
            break;
        }
    }
    let profile = learner.finish("two", "1", Vec::new()).unwrap();
    let play = |frames: &[Frame]| {
        let catalog = profile.catalog(Catalog::new(Vec::new()));
        let health = HealthSpec { period_ns: 60 * SECOND, silent_factor: 5, silent_min_ns: SECOND };
        let guard = Guard::new(&profile, &catalog).unwrap();
        let (mut engine, mut events) = (Engine::new(catalog, health, vec![], vec![]).with_guard(guard), Vec::new());
        frames.iter().for_each(|frame| engine.frame(frame, &mut events));
        anomalies(events)
    };
    let mut frames = both(minute());
    frames.retain(|frame| !(within(frame) && frame.bus == BusId(1)));
    assert!(play(&frames).is_empty());
    let mut frames = both(minute());
    frames.retain(|frame| !(within(frame) && frame.id == id("200") && frame.bus == BusId(1)));
    assert_eq!(&*play(&frames)[0].1.top[0].name, "can1:ID_200");
}

#[test]
fn after_a_pause_nothing_has_to_follow() {
    // Elsewhere at once, and then the same value as a minute before.
    let mut frames = minute();
    frames.retain(|frame| !(within(frame) && frame.id == id("100")));
    for own in frames.iter_mut().filter(|frame| frame.id == id("100") && frame.time_ns >= TO) {
        let payload = own.payload();
        *own = frame(own.time_ns, "100", &signed(payload[0], u16::from_be_bytes([payload[1], payload[2]]) ^ 0x8000));
    }
    frames.retain(|frame| frame.id != id("200"));
    let kinds: Vec<String> = play(&frames).into_iter().map(|(_, anomaly)| anomaly.what.to_string()).collect();
    assert!(kinds.iter().all(|kind| kind == "missing"), "{kinds:?}");
}

#[test]
fn flooding() {
    for (name, step_ns) in [("100", 3_000_000), ("200", 40_000_000), ("18FEF100", 300_000_000)] {
        let mut frames = minute();
        let own: Vec<Frame> = frames.iter().filter(|frame| frame.id == id(name) && within(frame)).copied().collect();
        let mut more = Vec::new();
        for time_ns in (FROM..TO).step_by(step_ns) {
            let last = own.iter().rev().find(|frame| frame.time_ns <= time_ns).or(own.first()).unwrap();
            let mut copy = *last;
            copy.time_ns = time_ns;
            more.push(copy);
        }
        frames.extend(more);
        frames.sort_by_key(|frame| frame.time_ns);
        let anomaly = only(&play(&frames), "flooding", &["counter"]);
        assert_eq!(&*anomaly.top[0].name, format!("ID_{name}"));
    }
}

#[test]
fn unknown_identifiers() {
    let mut frames = minute();
    frames.extend((FROM..TO).step_by(700_000_000).map(|at| frame(at, "7DF", &[2, 1, 0])));
    frames.sort_by_key(|frame| frame.time_ns);
    let anomaly = only(&play(&frames), "unknown", &[]);
    assert_eq!(&*anomaly.top[0].name, "can0:7DF");
    // Hundreds of them take no memory, and no more events.
    frames = minute();
    frames.extend(
        (FROM..TO).step_by(1_000_000).map(|at| frame(at, &format!("{:03X}", 0x400 + at / 1_000_000 % 0x300), &[1])),
    );
    frames.sort_by_key(|frame| frame.time_ns);
    assert_eq!(only(&play(&frames), "unknown", &[]).top.len(), 3);
    // A single one may be anybody's mistake.
    frames = minute();
    frames.push(frame(TO, "7DF", &[2, 1, 0]));
    frames.sort_by_key(|frame| frame.time_ns);
    assert!(play(&frames).is_empty());
}

#[test]
fn lengths() {
    let mut frames = minute();
    for own in frames.iter_mut().filter(|frame| frame.id == id("18FEF100") && within(frame)) {
        *own = Frame::new(own.time_ns, own.bus, own.id, FrameKind::Data, &own.payload()[..5]).unwrap();
    }
    let top = only(&play(&frames), "length", &[]).top[0].clone();
    assert_eq!((&*top.name, top.observed, top.expected), ("ID_18FEF100", Some(5.0), Some(8.0)));
}

#[test]
fn forged_payloads() {
    let mut rng = fastrand::Rng::with_seed(3);
    for name in ["100", "200", "18FEF100"] {
        let mut frames = minute();
        let own: Vec<Frame> = frames.iter().filter(|frame| frame.id == id(name) && within(frame)).copied().collect();
        for mut forged in own {
            let length = forged.len();
            let mut payload = [0; 8];
            rng.fill(&mut payload[..length]);
            forged.time_ns += 500_000;
            frames
                .push(Frame::new(forged.time_ns, forged.bus, forged.id, FrameKind::Data, &payload[..length]).unwrap());
        }
        frames.sort_by_key(|frame| frame.time_ns);
        let also = ["counter", "checksum", "jump", "apart", "flooding", "range"];
        assert_eq!(&*only(&play(&frames), "payload", &also).top[0].name, format!("ID_{name}"));
    }
}

/// Changes the payloads of 0x100, with good checksums, and takes 0x200 along.
fn with_number(change: impl Fn(&Frame, u16) -> u16) -> Vec<Frame> {
    let mut frames = minute();
    for own in frames.iter_mut().filter(|frame| frame.id == id("100") && within(frame)) {
        let payload = own.payload();
        let number = change(own, u16::from_be_bytes([payload[1], payload[2]]));
        *own = frame(own.time_ns, "100", &signed(payload[0], number));
    }
    frames.retain(|frame| !(within(frame) && frame.id == id("200")));
    frames
}

#[test]
fn impossible_steps() {
    let far = |own: &Frame, number: u16| if own.time_ns < FROM + SECOND { number } else { number.wrapping_add(30_000) };
    let found = play(&with_number(far));
    // Away, and back again.
    let jumps = found.iter().filter(|(_, a)| &*a.what == "jump" && a.phase == AnomalyPhase::Raised);
    let jumps: Vec<_> = jumps.map(|(at, anomaly)| ((at - FROM) / SECOND, anomaly)).collect();
    assert_eq!(jumps.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 8]);
    let anomaly = jumps[0].1;
    assert_eq!(&*anomaly.top[0].name, "ID_100.Byte1_7_16");
    let (observed, expected) = (anomaly.top[0].observed.unwrap(), anomaly.top[0].expected.unwrap());
    assert!((observed - expected).abs() > 20_000.0, "from {expected} to {observed}");
}

#[test]
fn frozen_values() {
    let first = minute().iter().find(|frame| within(frame) && frame.id == id("100")).copied().unwrap();
    let number = u16::from_be_bytes([first.payload()[1], first.payload()[2]]);
    let anomaly = only(&play(&with_number(|_, _| number)), "frozen", &["missing"]);
    assert_eq!(&*anomaly.top[0].name, "ID_100.Byte1_7_16");
    assert_eq!(anomaly.top[0].observed, Some(round_score(number.into())));
}

#[test]
fn counters_and_checksums() {
    let mut frames = minute();
    for own in frames.iter_mut().filter(|frame| frame.id == id("100") && within(frame)) {
        let payload = own.payload();
        let number = u16::from_be_bytes([payload[1], payload[2]]);
        *own = frame(own.time_ns, "100", &signed(payload[0] & 0xFC, number));
    }
    let anomaly = only(&play(&frames), "counter", &[]);
    assert_eq!(&*anomaly.top[0].name, "ID_100");

    frames = minute();
    for own in frames.iter_mut().filter(|frame| frame.id == id("100") && within(frame)) {
        let mut payload = <[u8; 8]>::try_from(own.payload()).unwrap();
        payload[7] ^= 1;
        *own = frame(own.time_ns, "100", &payload);
    }
    assert_eq!(&*only(&play(&frames), "checksum", &[]).top[0].name, "ID_100");
}

#[test]
fn fields_that_no_longer_move_together() {
    let mut frames = minute();
    for own in frames.iter_mut().filter(|frame| frame.id == id("200") && within(frame)) {
        let payload = own.payload();
        let away = (own.time_ns - FROM) / 2_000_000;
        let number = u16::from_be_bytes([payload[1], payload[2]]) + u16::try_from(away).unwrap();
        let [high, low] = number.to_be_bytes();
        *own = frame(own.time_ns, "200", &[0, high, low]);
    }
    let top = only(&play(&frames), "apart", &[]).top;
    assert!(top.iter().any(|top| &*top.name == "ID_200.Byte1_6_15"), "{top:?}");
}

#[test]
fn what_was_not_heard_is_nobodys_fault() {
    let (mut engine, mut events) = (engine(), Vec::new());
    let mut told = false;
    for frame in minute().iter().filter(|frame| !within(frame)) {
        if frame.time_ns > TO && !std::mem::replace(&mut told, true) {
            let cause = BlindCause::Overflow;
            let missed = Missed { bus: BusId(0), cause, from_ns: FROM, to_ns: TO, frames: None };
            engine.notice(Notice::Missed(missed), &mut events);
        }
        engine.frame(frame, &mut events);
    }
    let found = anomalies(events);
    assert!(found.iter().all(|(_, anomaly)| &*anomaly.what == "missing"), "{found:?}");
}

#[test]
fn it_has_to_fit_the_buses() {
    let bus = |name: &str| Catalog::new(vec![crate::engine::Bus::new(name, Plan::compile(&[]))]);
    assert_eq!(Guard::new(profile(), &bus("can1")).err(), Some(GuardError::Bus("can0".into())));
    assert!(Guard::new(profile(), &bus(ANY_BUS)).is_ok(), "one profile's only bus is any bus");
    let mut bad = profile().clone();
    bad.buses[0].dbc = bad.buses[0].dbc.replace("BO_ 512", "BO_ 513");
    assert!(matches!(Guard::new(&bad, &bus("can0")), Err(GuardError::Inconsistent(_))));
    bad = profile().clone();
    bad.relations[0].x.field = "Nothing".into();
    assert!(matches!(Guard::new(&bad, &bus("can0")), Err(GuardError::Inconsistent(_))));
}

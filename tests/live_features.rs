//! What a model sees in a vehicle is what `outrider features` writes for whoever trains it, bit for bit.
//!
//! A live source gives frames when their time has come, in batches of any size and with moments between them in which only
//! time passes; a recording gives one after the other. The runtime is the agent's own, threads and all.

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

#[path = "support/memory_outbox.rs"]
mod memory_outbox;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use can_decoders::{Database, Frame, Plan};
use memory_outbox::MemoryOutbox;
use outrider::config;
use outrider::engine::debounce::DebounceSpec;
use outrider::engine::{
    Bus, Catalog, Detector, Engine, FeatureSpec, Finder, Function, Fuse, HealthSpec, ModelFeature, ModelSpec, Network,
    Score, Sink, Target, Verdict,
};
use outrider::event::{Class, Event, Identity};
use outrider::runtime::{Parts, run};
use outrider::source::sim::{DBC, SimConfig, Simulation};
use outrider::source::{Progress, Source, SourceError};
use outrider::uplink::{Monitors, UplinkConfig};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;
const PERIOD: u64 = SECOND / 10;
/// Times faster than a real car.
const SPEED: u64 = 10;

/// By grid point, the bits of all features.
type Seen = BTreeMap<u64, Vec<u64>>;

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

struct Nothing;

impl Network for Nothing {
    fn run(&mut self, _: &[f32], _: &mut Verdict) -> Result<(), String> {
        Ok(())
    }
}

/// Every function of some signals and messages of the simulated car.
fn engine() -> Engine {
    use Function::{Age, Count, Delta, Gap, Lag, Max, Mean, Min, Rate, Run, Std, Valid, Value};
    let bus = |(name, file, text): (&str, &str, &str)| {
        Bus::new(name, Plan::compile(&[Database::parse(file, text.as_bytes()).unwrap()]))
    };
    let catalog = Catalog::new(DBC.map(bus).into());
    let places = [("EngineData1", "EngineSpeed"), ("WheelSpeeds", "WheelSpeedFL"), ("EngineData1", "ThrottlePosition")];
    let mut features = Vec::new();
    for function in [Value, Lag, Delta, Mean, Min, Max, Std, Run, Valid, Age, Gap, Count, Rate] {
        for (message, signal) in places {
            let of = if function.of_times() { message.to_owned() } else { format!("{message}.{signal}") };
            if catalog.find_signal(&format!("{message}.{signal}")).is_err() {
                continue;
            }
            let spec = FeatureSpec {
                name: format!("{function:?} {signal}").into(),
                function,
                of,
                window: if function.has_window() { 20 } else { 0 },
                max_age_ns: SECOND,
                only_if: None,
            };
            let target = features.is_empty().then_some(Target { scale: 1.0, smooth_ns: 0, class: Class::Alert });
            features.push(ModelFeature { spec, mean: 0.0, std: 1.0, target, seen: None });
        }
    }
    assert!(features.len() >= 26, "{} features", features.len());
    let spec = ModelSpec {
        finder: Finder { name: "m".into(), version: "1".into(), hash: "00".into() },
        what: "deviation".into(),
        period_ns: PERIOD,
        warmup_ns: 0,
        features,
        score: Score::Residual(Fuse::Max),
        threshold: f64::MAX,
        debounce: DebounceSpec { k: 1, n: 1, min_ns: 0, clear_ns: SECOND, update_ns: SECOND },
    };
    let detector = Detector::new(Arc::new(spec), Box::new(Nothing), &catalog).unwrap();
    let health = HealthSpec { period_ns: 60 * SECOND, silent_factor: 5, silent_min_ns: SECOND };
    Engine::new(catalog, health, Vec::new(), vec![detector])
}

fn drive() -> Vec<Frame> {
    // With a message that is gone for a while, so that there are features that cannot be computed.
    let faults = vec!["missing:EngineData1@6+3".parse().unwrap()];
    let simulation = Simulation::new(SimConfig { seed: 5, start_ns: START, faults }).unwrap();
    simulation.take_while(|frame| frame.time_ns < START + 20 * SECOND).collect()
}

/// As a bus: frames are there when the clock has come to them.
struct Live {
    frames: std::iter::Peekable<std::vec::IntoIter<Frame>>,
    since: Instant,
}

impl Live {
    fn now_ns(&self) -> u64 {
        START + u64::try_from(self.since.elapsed().as_nanos()).unwrap() * SPEED
    }
}

impl Source for Live {
    fn read(&mut self, batch: &mut Vec<Frame>, _: Duration) -> Result<Progress, SourceError> {
        std::thread::sleep(Duration::from_micros(fastrand::u64(200..3000)));
        let now_ns = self.now_ns();
        while batch.len() < batch.capacity()
            && let Some(frame) = self.frames.next_if(|frame| frame.time_ns <= now_ns)
        {
            batch.push(frame);
        }
        // What has not been read yet holds time back.
        let waiting = self.frames.peek().filter(|frame| frame.time_ns <= now_ns).map(|frame| frame.time_ns);
        Ok(Progress { now_ns: waiting.unwrap_or(now_ns), ended: self.frames.peek().is_none() })
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[test]
fn features_are_the_same_live_and_in_a_recording() {
    struct Recorded(Seen);
    impl Sink for Recorded {
        fn event(&mut self, _: Event) {}
        fn features(&mut self, _: usize, now_ns: u64, values: &[f64]) {
            self.0.insert(now_ns, bits(values));
        }
    }
    let (mut replayed, mut player) = (Recorded(Seen::new()), engine());
    drive().iter().for_each(|frame| player.frame(frame, &mut replayed));
    let Recorded(replayed) = replayed;

    let live = Arc::new(Mutex::new(Seen::new()));
    let seen = live.clone();
    let observer = Box::new(move |engine: &Engine, _: &[Event]| {
        if engine.now_ns() >= START + PERIOD {
            let values = bits(engine.detectors()[0].last_features());
            seen.lock().unwrap().insert(engine.now_ns() / PERIOD * PERIOD, values);
        }
    });
    let parts = Parts {
        identity: Identity { vehicle: "v".into(), boot: "b".into() },
        source: Box::new(Live { frames: drive().into_iter().peekable(), since: Instant::now() }),
        live: config::Live { engine: engine(), refused: Vec::new(), meters: Vec::new() },
        privacy: None,
        outbox: Arc::new(Mutex::new(MemoryOutbox::new(10))),
        uplink: UplinkConfig::default(),
        monitors: Monitors::default(),
        changes: None,
        notifier: None,
        recorder: None,
        accounts: outrider::runtime::Accounts::default(),
        observer: Some(observer),
    };
    run(parts, &AtomicBool::new(false)).unwrap();

    let live = live.lock().unwrap();
    // A batch that spans two grid points shows the second only.
    let common: Vec<u64> = live.keys().copied().filter(|at| replayed.contains_key(at)).collect();
    assert!(common.len() > 40, "{} grid points live, {} replayed", live.len(), replayed.len());
    for at in common {
        assert_eq!(live[&at], replayed[&at], "at {} s", (at - START) / SECOND);
    }
    let missing = replayed.values().flatten().filter(|bits| f64::from_bits(**bits).is_nan()).count();
    assert!(missing > 100, "{missing} could not be computed");
}

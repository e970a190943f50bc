//! The way of a frame takes no memory once warm: what a vehicle computer with little of it relies on, and what keeps
//! the time of a frame even. Counted by an allocator that stands in for the system's in this test program.
//!
//! What may allocate: making an event, opening and loading, and the inference itself (tract builds its tensors anew).

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

use std::sync::Arc;

use allocation_counter::measure;
use can_decoders::log::{LogWriter, Options};
use can_decoders::{BusId, CanId, Database, Frame, FrameKind, LogReader, Plan, Sample};
use outrider::condition::{Scope, compile};
use outrider::engine::conditions::{Schedule, Timing};
use outrider::engine::debounce::DebounceSpec;
use outrider::engine::{
    Bus, Catalog, CollectSpec, Collector, ConditionSpec, Detector, Engine, FeatureSpec, Finder, Function, Fuse, Guard,
    HealthSpec, Mode, ModelFeature, ModelSpec, Models, Network, Score, Seen, Sink, Target, Verdict,
};
use outrider::event::{Class, Event};
use outrider::profile::Profile;
use outrider::profile::learn::Learner;
use outrider::source::sim::{DBC, SimConfig, Simulation};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;

/// A simulated drive with what else a bus brings: frames that are unknown, too short, too long, remote, errors, or of a
/// bus that is not configured.
fn drive(seconds: u64) -> Vec<Frame> {
    let simulation = Simulation::new(SimConfig { seed: 7, start_ns: START, faults: Vec::new() }).unwrap();
    let mut frames: Vec<Frame> = simulation.take_while(|frame| frame.time_ns < START + seconds * SECOND).collect();
    let odd = |i: usize, frame: &Frame| {
        let number = u32::try_from(i).unwrap();
        let (id, kind, bus) = (frame.id, frame.kind, frame.bus);
        match i % 7 {
            0 => Frame::new(frame.time_ns, bus, CanId::standard(number % 0x800).unwrap(), kind, &[1, 2]),
            1 => Frame::new(frame.time_ns, bus, CanId::extended(number).unwrap(), kind, frame.payload()),
            2 => Frame::new(frame.time_ns, bus, id, kind, &frame.payload()[..1]),
            3 => Frame::new(frame.time_ns, bus, id, FrameKind::Fd { brs: true, esi: false }, &[9; 64]),
            4 => Frame::new(frame.time_ns, bus, CanId::extended(4).unwrap(), FrameKind::Error, &[0; 8]),
            5 => Frame::remote(frame.time_ns, bus, id, 8),
            _ => Frame::new(frame.time_ns, BusId(9), id, kind, frame.payload()),
        }
    };
    for i in (0..frames.len()).step_by(10) {
        frames[i] = odd(i / 10, &frames[i]).unwrap();
    }
    frames
}

fn catalog() -> Catalog {
    let bus = |(name, file, text): (&str, &str, &str)| {
        let database = Database::parse(file, text.as_bytes()).unwrap();
        Bus::new(name, Plan::compile(&[database]))
    };
    Catalog::new(DBC.map(bus).into())
}

fn collector(catalog: &Catalog, name: &str, mode: Mode, period_ns: u64) -> Collector {
    let signals = catalog.select("*").unwrap();
    let spec = CollectSpec {
        name: name.into(),
        signals,
        mode,
        period_ns,
        deadband: 0.0,
        max_age_ns: 3600 * SECOND,
        campaign: None,
    };
    Collector::new(spec, catalog)
}

/// Predicts the mean of all features, so that the whole of a detector works but the network's own library.
struct Mean;

impl Network for Mean {
    fn run(&mut self, x: &[f32], verdict: &mut Verdict) -> Result<(), String> {
        let sum: f32 = x.iter().sum();
        verdict.expected.fill(sum / 10.0);
        Ok(())
    }
}

/// A model at 10 Hz with every function, which scores but never finds anything.
fn detector(catalog: &Catalog) -> Detector {
    use Function::{Age, Count, Delta, Gap, Lag, Max, Mean as MeanOf, Min, Rate, Run, Std, Valid, Value};
    let feature = |function: Function| {
        let (message, signal) = ("EngineData1", "EngineData1.EngineSpeed");
        let of = if function.of_times() { message } else { signal };
        ModelFeature {
            spec: FeatureSpec {
                name: format!("{function:?}").into(),
                function,
                of: of.into(),
                window: if function.has_window() { 10 } else { 0 },
                max_age_ns: SECOND,
                only_if: Some((signal.into(), 1500.0)).filter(|_| function == Run),
            },
            mean: 1500.0,
            std: 500.0,
            target: Some(Target { scale: 1000.0, smooth_ns: SECOND, class: Class::Alert }),
            seen: Some(Seen { min: 0.0, max: 6000.0, edges: vec![800.0, 1500.0], shares: vec![0.2, 0.3, 0.5] }),
        }
    };
    let spec = ModelSpec {
        finder: Finder { name: "m".into(), version: "1".into(), hash: "00".into() },
        what: "deviation".into(),
        period_ns: SECOND / 10,
        warmup_ns: 2 * SECOND,
        features: [Value, Lag, Delta, MeanOf, Min, Max, Std, Run, Valid, Age, Gap, Count, Rate].map(feature).into(),
        score: Score::Residual(Fuse::Rms),
        threshold: f64::MAX,
        debounce: DebounceSpec { k: 3, n: 5, min_ns: 0, clear_ns: SECOND, update_ns: SECOND },
    };
    Detector::new(Arc::new(spec), Box::new(Mean), catalog).unwrap()
}

/// What the drive is like without anything odd in it.
fn profile(catalog: &Catalog) -> Profile {
    let simulation = Simulation::new(SimConfig { seed: 8, start_ns: START, faults: Vec::new() }).unwrap();
    let frames: Vec<Frame> = simulation.take_while(|frame| frame.time_ns < START + 400 * SECOND).collect();
    let buses: Vec<String> = catalog.buses().iter().map(|bus| bus.name.to_string()).collect();
    let mut learner = Learner::new(Vec::new());
    loop {
        frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&buses) {
            return learner.finish("drive", "1", Vec::new()).unwrap();
        }
    }
}

/// One of each kind. None of them is ever true for long enough to act, but all are looked at.
fn conditions(catalog: &Catalog) -> Vec<ConditionSpec> {
    let models = ["m".into(), "profile".into()];
    let texts = [
        "EngineSpeed > 1500.0 && VehicleSpeed < 30.0 || FrontAcceleration > 0.5",
        "within(EngineSpeed > 1500.0, duration('200ms')) && lasting(VehicleSpeed > 30.0, duration('1s'))",
        "slope(EngineSpeed) > 10.0 && step(VehicleSpeed) > 0.0 && run(EngineSpeed) < 2.0 && gap(EngineSpeed) > 0.01",
        "EngineSpeed > 40.0 * VehicleSpeed && BeltDriver == 'Fastened'",
        "mean(EngineSpeed, duration('1s')) > 1500.0 && count(EngineData1, duration('1s')) > 90.0",
        "score('m') > 0.5 && !anomaly('profile') && !silent(EngineData1)",
    ];
    let spec = |(i, text): (usize, &&str)| {
        let period_ns = text.contains("mean").then_some(SECOND / 10);
        let max_age_ns = SECOND;
        let when = compile(text, Scope { catalog, models: &models, period_ns, max_age_ns }).unwrap();
        let until = compile("EngineSpeed < 900.0", Scope { catalog, models: &models, period_ns, max_age_ns }).unwrap();
        ConditionSpec {
            models: models.clone().into(),
            until: Some(until),
            timing: Timing { hold_ns: 3600 * SECOND, ..Timing::default() },
            schedule: Schedule { times: vec![(0, 7 * 1440)], ..Schedule::default() },
            ..ConditionSpec::new(i.to_string(), when, period_ns, max_age_ns)
        }
    };
    texts.iter().enumerate().map(spec).collect()
}

/// Counts, and lets the events go.
#[derive(Default)]
struct Tally {
    events: usize,
    features: usize,
    scores: usize,
    /// Scores of the profile.
    guarded: usize,
    parts: f64,
}

impl Sink for Tally {
    fn event(&mut self, _: Event) {
        self.events += 1;
    }

    fn features(&mut self, _: usize, _: u64, _: &[f64]) {
        self.features += 1;
    }

    fn score(&mut self, model: usize, _: u64, score: f64, parts: &mut dyn Iterator<Item = f64>) {
        assert!(score > 0.0);
        if model > 0 {
            self.guarded += 1;
            return;
        }
        self.scores += 1;
        self.parts += parts.sum::<f64>();
    }
}

#[test]
fn a_frame_without_an_event_takes_no_memory() {
    let (warm, seconds) = (20, 80);
    let frames = drive(seconds);
    let catalog = catalog();
    let collectors = vec![
        collector(&catalog, "changes", Mode::OnChange { heartbeat_ns: 0 }, 10 * SECOND),
        collector(&catalog, "aggregates", Mode::Aggregate, 15 * SECOND),
    ];
    let detectors = vec![detector(&catalog)];
    let health = HealthSpec { period_ns: 10 * SECOND, silent_factor: 5, silent_min_ns: SECOND / 2 };
    let guard = Guard::new(&profile(&catalog), &catalog).unwrap();
    let conditions = conditions(&catalog);
    let models = Models { names: 2, places: vec![Some(0), Some(1)] };
    let engine = Engine::new(catalog, health, collectors, detectors).with_guard(guard);
    let mut engine = engine.with_conditions(conditions, models);

    let mut tally = Tally::default();
    let (mut quiet, mut eventful) = (0_u64, 0_u64);
    for frame in &frames {
        let before = tally.events;
        let taken = measure(|| engine.frame(frame, &mut tally));
        if frame.time_ns < START + warm * SECOND {
            continue;
        }
        if tally.events > before {
            eventful += 1;
            continue;
        }
        quiet += 1;
        assert_eq!(taken.count_total, 0, "{} allocations, {} bytes at {frame:?}", taken.count_total, taken.bytes_total);
    }

    // All of it did happen: grid points with a score, events, and every kind of frame.
    let scores = usize::try_from((seconds - warm) * 10).unwrap();
    assert!(tally.scores >= scores && tally.features >= tally.scores, "{} scores", tally.scores);
    assert!(tally.parts.is_finite() && tally.guarded >= scores);
    assert!(eventful >= 6, "{eventful} frames with events");
    assert!(quiet > 50_000, "{quiet} frames without");
    for bus in [engine.health().bus(0), engine.health().bus(1)] {
        let seen = [bus.errors, bus.invalid, bus.unknown, bus.too_long, bus.too_short];
        assert!(seen.iter().all(|count| *count > 50), "{bus:?}");
    }
}

#[test]
fn decoding_takes_no_memory() {
    let catalog = catalog();
    let frames = drive(10);
    let (mut signals, mut written) = (0, 0);
    let most = catalog.buses().iter().map(|bus| bus.plan.most_signals()).max();
    let mut buffer = vec![Sample::default(); most.unwrap()];
    let taken = measure(|| {
        for frame in &frames {
            let Some(bus) = catalog.route(frame.bus) else { continue };
            let plan = &catalog.buses()[bus].plan;
            let Some(message) = plan.find(frame.id) else { continue };
            signals += plan.decode(message, frame.payload()).signals().filter(|sample| !sample.value.is_nan()).count();
            written += plan
                .decode_frame(message, frame)
                .write(&mut buffer)
                .iter()
                .filter(|sample| !sample.value.is_nan())
                .count();
        }
    });
    assert_eq!(taken.count_total, 0);
    assert!(signals > 10_000, "{signals} signals");
    assert!(written > 10_000, "{written} signals");
}

#[test]
fn reading_a_log_takes_no_memory() {
    let file = tempfile::NamedTempFile::with_suffix(".log").unwrap();
    let mut writer = LogWriter::create(file.path()).unwrap();
    let frames = drive(10);
    for frame in &frames {
        writer.write(if frame.bus.0 == 1 { "can1" } else { "can0" }, frame).unwrap();
    }
    writer.finish().unwrap();

    let options = Options { buses: vec!["can0".into(), "can1".into()], ..Options::default() };
    let mut reader = LogReader::open(file.path(), options).unwrap();
    let mut count = 0;
    // From the first line on, over many ends of the reader's buffer.
    let taken = measure(|| reader.by_ref().for_each(|frame| count += usize::from(frame.is_ok())));
    assert_eq!(taken.count_total, 0, "{} bytes", taken.bytes_total);
    assert_eq!(count, frames.len());
    let bytes = file.path().metadata().unwrap().len();
    assert!(bytes > 10 * 64 * 1024, "{bytes} bytes are too few to cross the buffer's end");
}

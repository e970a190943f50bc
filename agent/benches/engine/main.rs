//! What a frame costs: `cargo bench -p outrider`.
//!
//! Times are per frame (per line, per call), over whole drives: a drive is two minutes of the simulated
//! vehicle, and the recorded RAV4 where the shared data is at hand. Each run starts with a fresh
//! engine, so first events and the filling of windows are in the figure. Events are made and let
//! go: encoding and storing them is not measured here.
//!
//! | group | what is measured |
//! |---|---|
//! | `candump` | a line of a log in memory to a frame |
//! | `decode` | identifier to message, payload to the physical values of all its signals |
//! | `engine` | [`Engine::frame`]: decoding, last values, health, silence, and a collection of all signals on change each second |
//! | `engine-conditions` | the same with 256 conditions, for faults or for driving |
//! | `engine-profile` | the same with a profile, learned from the drive without DBC files, watching each frame and at 10 Hz |
//! | `engine-model` | the same with a model at 10 Hz: features, inference by tract, score, debounce |
//! | `recorder-copy` | what the flight recorder adds to the engine's thread |
//! | `recorder` | what its own thread does: lines, compressed |
//! | `inference` | one call of the network alone |
//!
//! `mlp` is a network of 18-14-7-7-18 with random weights over signals of the drive: it costs what a trained one of its
//! size costs. `demo-vehicle` is the model that is shipped.

#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a panic is a benchmark's report, and so is its output")]

mod conditions;
mod drive;
mod mlp;
mod recorder;

use std::hint::black_box;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use can_decoders::LogReader;
use can_decoders::log::Options;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use outrider::engine::{CollectSpec, Collector, Detector, Engine, Guard, HealthSpec, Mode, Models, Score, Verdict};
use outrider::model;
use outrider::profile::Profile;
use outrider::profile::learn::Learner;

use drive::{Discard, Drive};

const SECOND_NS: u64 = 1_000_000_000;

/// Time per item of a job that handles `items` of them each time; `prepare` is not measured.
fn per_item<S>(
    group: &mut BenchmarkGroup<WallTime>,
    name: &str,
    items: usize,
    mut prepare: impl FnMut() -> S,
    mut job: impl FnMut(&mut S),
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|wanted| {
            let runs = wanted.div_ceil(items as u64);
            let mut total = Duration::ZERO;
            for _ in 0..runs {
                let mut subject = prepare();
                let start = Instant::now();
                job(&mut subject);
                total += start.elapsed();
            }
            #[expect(clippy::cast_precision_loss, reason = "counts of frames")]
            let share = wanted as f64 / (runs * items as u64) as f64;
            total.mul_f64(share)
        });
    });
}

fn engine(drive: &Drive, model: Option<&Path>) -> Engine {
    let catalog = drive.catalog.clone();
    let collect = CollectSpec {
        name: "all".into(),
        signals: catalog.select("*").unwrap(),
        mode: Mode::OnChange { heartbeat_ns: 60 * SECOND_NS },
        period_ns: SECOND_NS,
        deadband: 0.0,
        max_age_ns: 5 * SECOND_NS,
        campaign: None,
    };
    let collector = Collector::new(collect, &catalog);
    let detectors = model.map(|dir| {
        let (manifest, network) = model::load(dir).unwrap();
        Detector::new(manifest.spec, network, &catalog).unwrap()
    });
    let health = HealthSpec { period_ns: 60 * SECOND_NS, silent_factor: 5, silent_min_ns: SECOND_NS / 2 };
    Engine::new(catalog, health, vec![collector], detectors.into_iter().collect())
}

fn learned(drive: &Drive) -> Profile {
    let buses: Vec<String> = drive.catalog.buses().iter().map(|bus| bus.name.to_string()).collect();
    let mut learner = Learner::new(Vec::new());
    loop {
        drive.frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&buses) {
            return learner.finish("bench", "1", Vec::new()).unwrap();
        }
    }
}

/// The models to try on a drive: (name, directory).
fn models(drive: &Drive, scratch: &Path) -> Vec<(&'static str, PathBuf)> {
    if cfg!(not(feature = "onnx")) {
        eprintln!("skipped: everything with a model, because this build is without the feature `onnx`");
        return Vec::new();
    }
    let dir = scratch.join(drive.name);
    mlp::write(&dir, drive);
    let mut models = vec![("mlp", dir)];
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
    if drive.name == drive::SIMULATED && shipped.join(model::MANIFEST).is_file() {
        models.push(("demo-vehicle", shipped));
    }
    models
}

fn all(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().unwrap();
    let drives: Vec<Drive> = [Some(drive::simulated()), drive::rav4()].into_iter().flatten().collect();
    for drive in &drives {
        eprintln!("{}: {drive}", drive.name);
    }

    let mut candump = criterion.benchmark_group("candump");
    for drive in &drives {
        let text = drive.text(scratch.path());
        let open = || LogReader::from_reader(drive.name, Cursor::new(text.clone()), Options::default()).unwrap();
        per_item(&mut candump, drive.name, drive.frames.len(), open, |reader| {
            for frame in reader {
                black_box(frame.unwrap());
            }
        });
    }
    candump.finish();

    recorder::all(criterion, &drives, scratch.path());

    let mut decode = criterion.benchmark_group("decode");
    for drive in &drives {
        per_item(
            &mut decode,
            drive.name,
            drive.frames.len(),
            || (),
            |()| {
                let mut sum = 0.0;
                drive.samples(|_, sample| sum += sample.value);
                black_box(sum);
            },
        );
    }
    decode.finish();

    let mut plain = criterion.benchmark_group("engine");
    for drive in &drives {
        per_item(&mut plain, drive.name, drive.frames.len(), || engine(drive, None), |e| drive.play(e, &mut Discard));
    }
    plain.finish();

    let mut conditioned = criterion.benchmark_group("engine-conditions");
    for drive in &drives {
        for (what, limits) in [("faults", conditions::FAULTS), ("driving", conditions::DRIVING)] {
            let specs = conditions::all(drive, limits);
            let prepare = || engine(drive, None).with_conditions(specs.clone(), Models::default());
            let name = format!("{what}/{}", drive.name);
            per_item(&mut conditioned, &name, drive.frames.len(), prepare, |e| drive.play(e, &mut Discard));
        }
    }
    conditioned.finish();

    let mut guarded = criterion.benchmark_group("engine-profile");
    for drive in &drives {
        let profile = learned(drive);
        let prepare = || engine(drive, None).with_guard(Guard::new(&profile, &drive.catalog).unwrap());
        per_item(&mut guarded, drive.name, drive.frames.len(), prepare, |e| drive.play(e, &mut Discard));
    }
    guarded.finish();

    // All that it does, and conditions beside it.
    let mut whole = criterion.benchmark_group("engine-whole");
    for drive in &drives {
        let profile = learned(drive);
        let model = models(drive, &scratch.path().join("whole")).into_iter().next().map(|(_, dir)| dir);
        let specs = conditions::all(drive, conditions::FAULTS);
        for count in [0, conditions::COUNT] {
            let prepare = || {
                let engine = engine(drive, model.as_deref()).with_guard(Guard::new(&profile, &drive.catalog).unwrap());
                engine.with_conditions(specs[..count].to_vec(), Models::default())
            };
            let name = format!("{count}-conditions/{}", drive.name);
            per_item(&mut whole, &name, drive.frames.len(), prepare, |e| drive.play(e, &mut Discard));
        }
    }
    whole.finish();

    for drive in &drives {
        for (name, dir) in models(drive, scratch.path()) {
            let mut with_model = criterion.benchmark_group(format!("engine-model/{name}"));
            let prepare = || engine(drive, Some(&dir));
            per_item(&mut with_model, drive.name, drive.frames.len(), prepare, |e| drive.play(e, &mut Discard));
            with_model.finish();

            let mut inference = criterion.benchmark_group(format!("inference/{name}"));
            let (manifest, mut network) = model::load(&dir).unwrap();
            let features = &manifest.spec.features;
            let x = vec![0.5; features.len()];
            let targets = features.iter().filter(|f| f.target.is_some()).count();
            let mut verdict = Verdict::new(targets, manifest.spec.score == Score::Network);
            inference.bench_function(drive.name, |b| b.iter(|| network.run(black_box(&x), black_box(&mut verdict))));
            inference.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = all
}
criterion_main!(benches);

//! Our side of `agent/benches/runtimes/run`: each shipped model through tract, and the whole way of frames with three models.
//!
//! Writes for each model DIR/NAME.json: the inputs of a few thousand grid points, what the network made of them, and the time
//! of each inference. Prints a table of the whole way.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a panic is a benchmark's report, and so is its output"
)]

#[path = "../engine/drive.rs"]
#[allow(dead_code, reason = "the other benchmark uses all of it")]
mod drive;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use outrider::engine::{Detector, Engine, Guard, HealthSpec, Score, Verdict};
use outrider::model;
use outrider::profile::Profile;
use outrider::profile::learn::Learner;
use serde_json::json;

use drive::Discard;

/// Grid points of an inference benchmark: five minutes at 10 Hz.
const POINTS: usize = 3000;
const SECOND_NS: u64 = 1_000_000_000;

fn models() -> Vec<PathBuf> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|dir| dir.join(model::MANIFEST).exists());
    dirs.sort();
    dirs
}

/// Inputs as they come, normalised: mostly within three spreads.
fn inputs(count: usize, width: usize) -> Vec<Vec<f32>> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut row = vec![0.0_f32; width];
    let mut step = || {
        for x in &mut row {
            *x = (0.95 * *x + 1.2 * (rng.f32() - 0.5)).clamp(-8.0, 8.0);
        }
        row.clone()
    };
    (0..count).map(|_| step()).collect()
}

fn inference(dir: &Path, out: &Path) {
    let (manifest, mut network) = model::load(dir).unwrap();
    let spec = &manifest.spec;
    let targets = spec.features.iter().filter(|feature| feature.target.is_some()).count();
    let mut verdict = Verdict::new(targets, spec.score == Score::Network);
    let inputs = inputs(POINTS, spec.features.len());
    let (mut outputs, mut times) = (Vec::new(), Vec::new());
    for x in &inputs {
        let start = Instant::now();
        network.run(black_box(x), &mut verdict).unwrap();
        times.push(u64::try_from(start.elapsed().as_nanos()).unwrap());
        let score: &[f32] = if verdict.parts.is_empty() { &[] } else { &[verdict.score] };
        outputs.push([&verdict.expected[..], &verdict.parts, score].concat());
    }
    let name = &spec.finder.name;
    let file = dir.join("model.onnx");
    let result = json!({ "model": file, "inputs": inputs, "outputs": outputs, "nanoseconds": times });
    std::fs::write(out.join(format!("{name}.json")), result.to_string()).unwrap();
}

/// The share of a core that the drive takes, with so many models at 10 Hz, and with a profile.
fn share(drive: &drive::Drive, dir: &Path, models: usize, profile: Option<&Profile>) -> f64 {
    let mut shares: Vec<f64> = (0..5)
        .map(|_| {
            let detector = || {
                let (manifest, network) = model::load(dir).unwrap();
                Detector::new(manifest.spec, network, &drive.catalog).unwrap()
            };
            let detectors = (0..models).map(|_| detector()).collect();
            let health = HealthSpec { period_ns: 60 * SECOND_NS, silent_factor: 5, silent_min_ns: SECOND_NS / 2 };
            let mut engine = Engine::new(drive.catalog.clone(), health, Vec::new(), detectors);
            if let Some(profile) = profile {
                engine = engine.with_guard(Guard::new(profile, &drive.catalog).unwrap());
            }
            let start = Instant::now();
            drive.play(&mut engine, &mut Discard);
            let length_ns = drive.frames.last().unwrap().time_ns - drive.frames[0].time_ns;
            #[expect(clippy::cast_precision_loss, reason = "durations")]
            let length = length_ns as f64 / 1e9;
            start.elapsed().as_secs_f64() / length
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    shares[2]
}

fn main() {
    // Cargo adds `--bench`.
    let Some(out) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
        println!("give a directory for the results; see agent/benches/runtimes/run");
        return;
    };
    let (out, dirs) = (PathBuf::from(out), models());
    dirs.iter().for_each(|dir| inference(dir, &out));

    let drive = drive::simulated();
    let mut learner = Learner::new(Vec::new());
    let profile = loop {
        drive.frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&["can0".to_string(), "can1".to_string()]) {
            break learner.finish("bench", "1", Vec::new()).unwrap();
        }
    };
    let dir = dirs.iter().find(|dir| dir.ends_with("demo-vehicle")).unwrap();
    println!("| the simulated car's frames, from decoding to events | share of a core |\n|---|---|");
    for (what, models, profile) in
        [("nothing to detect", 0, None), ("a profile", 0, Some(&profile)), ("three models at 10 Hz", 3, None)]
    {
        println!("| {what} | {:.3} % |", 100.0 * share(&drive, dir, models, profile));
    }
    println!("| both | {:.3} % |\n", 100.0 * share(&drive, dir, 3, Some(&profile)));
}

//! `outrider score` prints what the manifest says of the features that `outrider features` prints.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::path::{Path, PathBuf};

use agent::{arg, good, run};
use can_decoders::log::LogWriter;
use outrider::engine::Verdict;
use outrider::source::sim::{SimConfig, Simulation};

const START_S: f64 = 1_700_000_000.0;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Head and rows of a CSV text; what is missing in a row is NaN.
fn table(text: &str) -> (Vec<String>, Vec<Vec<f64>>) {
    let mut lines = text.lines();
    let head = lines.next().unwrap().split(',').map(str::to_owned).collect();
    let number = |field: &str| if field.is_empty() { f64::NAN } else { field.parse().unwrap() };
    (head, lines.map(|line| line.split(',').map(number).collect()).collect())
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "the network computes in f32")]
fn a_score_is_what_the_manifest_says_of_the_features() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("drive.log");
    let mut writer = LogWriter::create(&log).unwrap();
    let start_ns = 1_700_000_000_000_000_000;
    let faults = vec!["leak@30+20".parse().unwrap()];
    let vehicle = Simulation::new(SimConfig { seed: 5, start_ns, faults }).unwrap();
    for frame in vehicle.take_while(|frame| frame.time_ns < start_ns + 60_000_000_000) {
        writer.write(Simulation::bus_names()[usize::from(frame.bus.0)], &frame).unwrap();
    }
    writer.finish().unwrap();
    let model = repository("models/demo-vehicle");
    let powertrain = repository("can-decoders/dbc/demo-powertrain.dbc");
    let body = repository("can-decoders/dbc/demo-body.dbc");
    let config = dir.path().join("drive.toml");
    let text = format!(
        "[vehicle]\nid = \"car\"\n[[bus]]\nname = \"can0\"\ndbc = [{powertrain:?}]\n[[bus]]\nname = \"can1\"\ndbc = [{body:?}]\n\
         [[model]]\ndir = {model:?}\n"
    );
    std::fs::write(&config, text).unwrap();

    let dbc = [format!("can0={}", arg(&powertrain)), format!("can1={}", arg(&body))];
    let scored = good(&run(&["score", arg(&log), "--model", arg(&model), "--dbc", &dbc[0], "--dbc", &dbc[1]]));
    let (head, scores) = table(&scored);
    let (names, features) = table(&good(&run(&["features", arg(&log), "-c", arg(&config)])));
    let (manifest, mut network) = outrider::model::load(&model).unwrap();
    let spec = manifest.spec;
    assert_eq!(&head[..2], ["t", "score"]);
    assert_eq!(names.len(), spec.features.len() + 1);
    let targets: Vec<usize> = (0..spec.features.len()).filter(|&i| spec.features[i].target.is_some()).collect();
    assert!(targets.iter().map(|&i| &names[i + 1]).eq(&head[2..]), "a column for each target");

    // By hand, from the features and the manifest alone.
    let alpha = 100.0 / (400.0 + 100.0);
    let mut parts = vec![0.0; targets.len()];
    let (mut x, mut verdict) = (vec![0.0; spec.features.len()], Verdict::new(targets.len(), false));
    let warmup_rows = features.len() - scores.len();
    assert!((95..=105).contains(&warmup_rows), "{warmup_rows} grid points of 100 ms in a warm-up of 10 s");
    for (values, row) in features[warmup_rows..].iter().zip(&scores) {
        assert!((values[0] - row[0]).abs() < 1e-6, "the same grid");
        for ((x, feature), value) in x.iter_mut().zip(&spec.features).zip(&values[1..]) {
            let normal = (value - feature.mean) / feature.std;
            *x = if normal.is_nan() { 0.0 } else { normal.clamp(-8.0, 8.0) as f32 };
        }
        network.run(&x, &mut verdict).unwrap();
        for ((part, &i), y) in parts.iter_mut().zip(&targets).zip(&verdict.expected) {
            let feature = &spec.features[i];
            let residual = values[i + 1] - (f64::from(*y) * feature.std + feature.mean);
            let raw = if residual.is_nan() { 0.0 } else { residual.abs() / feature.target.unwrap().scale };
            *part += alpha * (raw - *part);
        }
        let largest = parts.iter().copied().fold(0.0, f64::max);
        for (by_hand, printed) in std::iter::once(&largest).chain(&parts).zip(&row[1..]) {
            // Three significant digits are printed.
            assert!((by_hand - printed).abs() <= 0.006 * by_hand.abs() + 1e-9, "{by_hand} printed as {printed}");
        }
    }

    let of_leak = head.iter().position(|name| name == "CoolantLevel").unwrap();
    let peak = |from: f64, to: f64, column: usize| {
        let within = scores.iter().filter(|row| (from..to).contains(&(row[0] - START_S)));
        within.map(|row| row[column]).fold(0.0, f64::max)
    };
    assert!(peak(0.0, 30.0, 1) < spec.threshold, "quiet before the leak: {}", peak(0.0, 30.0, 1));
    assert!(peak(30.0, 50.0, of_leak) > 2.0 * spec.threshold, "{}", peak(30.0, 50.0, of_leak));
}

//! The commands, on a simulated drive and the model of it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use can_decoders::log::LogWriter;
use outrider::source::sim::{SimConfig, Simulation};

const START_NS: u64 = 1_700_000_000_000_000_000;
const SECONDS: u64 = 240;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn recording(dir: &Path) -> PathBuf {
    let path = dir.join("drive.log.zst");
    let mut writer = LogWriter::create(&path).unwrap();
    let drive = Simulation::new(SimConfig { seed: 9301, start_ns: START_NS, faults: Vec::new() }).unwrap();
    for frame in drive.take_while(|frame| frame.time_ns < START_NS + SECONDS * 1_000_000_000) {
        writer.write(Simulation::bus_names()[usize::from(frame.bus.0)], &frame).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn evaluation(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evaluation")).args(args).output().unwrap()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn dbc() -> [String; 2] {
    ["powertrain", "body"].map(|name| {
        let bus = if name == "body" { "can1" } else { "can0" };
        format!("{bus}={}", repository(&format!("can-decoders/dbc/demo-{name}.dbc")).display())
    })
}

#[test]
fn what_is_put_in_is_said_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = recording(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [powertrain, body] = dbc();
    let buses = ["--dbc", powertrain.as_str(), "--dbc", body.as_str()];
    let signals = ["--signals", "EngineData1.EngineSpeed,VehicleSpeedData.VehicleSpeed", "--pause", "8:12"];

    // The same seed, the same bytes; the labels say where they differ from the recording.
    let (out, labels) = (path("attacked.log"), path("attacked.csv"));
    let inject = |out: &str, labels: &str, kinds: &str| {
        let args = [&["inject", log.to_str().unwrap()], &buses[..], &signals, &["--kinds", kinds]].concat();
        good(&evaluation(&[&args[..], &["--out", out, "--labels", labels]].concat()));
    };
    inject(&out, &labels, "suppress");
    inject(&path("again.log"), &path("again.csv"), "suppress");
    let read = |path: &str| std::fs::read(path).unwrap();
    assert!(read(&out) == read(&path("again.log")) && read(&labels) == read(&path("again.csv")));
    let table = String::from_utf8(read(&labels)).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert!(rows.len() >= 8, "{table}");
    let attacked = String::from_utf8(read(&out)).unwrap();
    for row in &rows {
        let (from, to): (f64, f64) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        assert!((4.0..=12.0).contains(&(to - from)) && row[2] == "suppress", "{row:?}");
        let id = if row[3].starts_with("EngineData1") { " 0A0#" } else { "" };
        let time = |line: &str| line[1..line.find(')').unwrap()].parse::<f64>().unwrap();
        let left =
            attacked.lines().filter(|line| !id.is_empty() && line.contains(id) && (from..to).contains(&time(line)));
        assert_eq!(left.count(), 0, "{row:?}");
    }

    let (csv, svg) = (path("out.csv"), path("out.svg"));
    let model = repository("models/demo-vehicle");
    let args = [&["measure", log.to_str().unwrap()], &buses[..], &signals, &["--kinds", "suppress,flooding"]].concat();
    let rest = ["--rounds", "1", "--model", model.to_str().unwrap(), "--csv", csv.as_str(), "--picture", svg.as_str()];
    let text = good(&evaluation(&[&args[..], &rest].concat()));
    assert!(text.starts_with("clean: 0.07 hours, 0 alerts"), "{text}");
    for kind in ["suppress", "flooding"] {
        let row = text.lines().find(|line| line.starts_with(kind)).unwrap();
        let numbers: Vec<f64> = row.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect();
        assert!(numbers[0] >= 8.0 && numbers[1] > 0.85 && numbers[2] > 0.95, "attacks, area, share found: {text}");
    }
    assert!(String::from_utf8(read(&csv)).unwrap().lines().count() > 16);
    let picture = String::from_utf8(read(&svg)).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("ROC") && picture.contains("flooding"), "{picture:.300}");
}

#[test]
fn wrong_usage_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let log = recording(dir.path());
    let [powertrain, _] = dbc();
    let out = dir.path().join("out.log");
    let cases: [(&[&str], &str); 7] = [
        (&["--kinds", "suppress", "--ids", "can0:7FF"], "in no frame of the recording"),
        (&["--signals", "can0:BusHealth.Load"], "is in no frame"),
        (&["--signals", "EngineSped"], "no signal named `EngineSped`"),
        (&["--kinds", "replay", "--signals", "EngineSpeed"], "there are: plateau"),
        (&["--kinds", "offset"], "name --signals or --ids"),
        (&["--kinds", "suppress", "--ids", "can0:XYZ"], "BUS:ID in hexadecimal"),
        (&["--signals", "EngineSpeed", "--length", "9:2"], "not below the first"),
    ];
    for (args, word) in cases {
        let out = out.to_str().unwrap();
        let fixed = ["inject", log.to_str().unwrap(), "--dbc", &powertrain, "--out", out, "--labels", out];
        let output = evaluation(&[&fixed[..], args].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(word), "{args:?}: {error}");
    }
}

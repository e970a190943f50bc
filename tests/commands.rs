//! The built commands, by what they print and how they end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/schema.rs"]
mod schema;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agent::{arg, audit, data, dbc, ended, good, outrider, run, run_with_input, split, texts};
use can_decoders::log::LogWriter;
use outrider::source::sim::{SimConfig, Simulation};

#[test]
fn wrong_usage_ends_with_2_and_failures_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let (log, dbc) = (data("small.log"), dbc());
    let no_source = dir.path().join("no-source.toml");
    std::fs::write(&no_source, "[vehicle]\nid = \"a\"\n").unwrap();
    let usage: [&[&str]; 7] = [
        &[],
        &["fly"],
        &["decode"],
        &["decode", arg(&log)],
        &["decode", arg(&log), "--dbc", &dbc, "--format", "xml"],
        &["run", "-c", arg(&no_source)],
        &["features", arg(&log), "-c", arg(&no_source)],
    ];
    for args in usage {
        let (code, out, err) = ended(&run(args));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert!(!err.is_empty(), "{args:?}");
    }
    let failed: [&[&str]; 6] = [
        &["decode", "/nonexistent.log", "--dbc", &dbc],
        &["decode", arg(&log), "--dbc", "/nonexistent.dbc"],
        &["check", "-c", "/nonexistent.toml"],
        &["outbox", "stat", "/nonexistent-outbox"],
        &["audit", "/nonexistent.cbor"],
        &["replay", "/nonexistent.log", "-c", arg(&no_source)],
    ];
    for args in failed {
        let (code, out, err) = ended(&run(args));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {err}");
        assert!(err.contains("nonexistent"), "{err}");
    }
    for args in [&["--help"][..], &["decode", "--help"], &["--version"]] {
        let (code, out, err) = ended(&run(args));
        assert!(code == Some(0) && !out.is_empty() && err.is_empty(), "{args:?}");
    }
}

/// A minute of the simulated vehicle and a configuration for it.
struct Drive {
    dir: tempfile::TempDir,
    log: PathBuf,
    config: PathBuf,
}

impl Drive {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("drive.log");
        let start_ns = 1_700_000_000_000_000_000;
        let faults = vec!["missing:EngineData1@20+10".parse().unwrap()];
        let mut writer = LogWriter::create(&log).unwrap();
        let vehicle = Simulation::new(SimConfig { seed: 5, start_ns, faults }).unwrap();
        for frame in vehicle.take_while(|frame| frame.time_ns < start_ns + 60_000_000_000) {
            writer.write(Simulation::bus_names()[usize::from(frame.bus.0)], &frame).unwrap();
        }
        writer.finish().unwrap();
        let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
        let config = dir.path().join("drive.toml");
        let text = format!(
            "[vehicle]\nid = \"truck-7\"\n\n[[bus]]\nname = \"can0\"\ndbc = [{:?}]\n\n[[bus]]\nname = \"can1\"\ndbc = [{:?}]\n\n\
             [[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n\n\
             [[collect]]\nname = \"slow\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 10000\n\n[health]\nperiod_s = 10\n",
            dbc.join("demo-powertrain.dbc"),
            dbc.join("demo-body.dbc"),
        );
        std::fs::write(&config, text).unwrap();
        Self { dir, log, config }
    }

    fn replay(&self, format: &str) -> Vec<u8> {
        let output = run(&["replay", arg(&self.log), "-c", arg(&self.config), "--format", format]);
        assert!(output.status.success(), "{}", texts(&output).1);
        output.stdout
    }
}

#[test]
fn replay_prints_the_same_bytes_each_time_and_the_same_events_in_both_formats() {
    let drive = Drive::new();
    let (cbor, jsonl) = (drive.replay("cbor"), drive.replay("jsonl"));
    assert_eq!(cbor, drive.replay("cbor"));
    assert_eq!(jsonl, drive.replay("jsonl"));
    let from_cbor: Vec<serde_json::Value> =
        serde_cbor::Deserializer::from_slice(&cbor).into_iter().collect::<Result<_, _>>().unwrap();
    let jsonl = String::from_utf8(jsonl).unwrap();
    let from_json: Vec<serde_json::Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(from_cbor.len(), from_json.len());
    for (cbor, json) in from_cbor.iter().zip(&from_json) {
        // Both through the same reader of decimal numbers, which may be off by the last bit.
        let cbor: serde_json::Value = serde_json::from_str(&cbor.to_string()).unwrap();
        assert_eq!(cbor, *json);
    }
    let kind = |kind: &str| from_json.iter().filter(|event| event["kind"] == kind).count();
    assert!((590..=600).contains(&kind("signals")), "{}", kind("signals"));
    assert_eq!((kind("message"), kind("aggregates")), (2, 6));
}

#[test]
fn the_schema_describes_what_replay_prints() {
    let drive = Drive::new();
    let (events, _) = split(&drive.replay("cbor"));
    let mut kinds = std::collections::BTreeSet::new();
    for (event, bytes) in events {
        // Every twentieth is enough of what comes often.
        if kinds.insert(event.kind.clone()) || event.kind != "signals" || event.seq % 20 == 0 {
            schema::describes(&bytes).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        }
    }
    assert!(["signals", "aggregates", "health", "message"].iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
}

/// The reader of the output goes away early, as `head` does: that is no failure.
#[test]
fn a_closed_pipe_is_a_good_end() {
    let drive = Drive::new();
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc/demo-powertrain.dbc");
    let features = drive.dir.path().join("features.toml");
    let mut text = "period_ms = 10\n".to_owned();
    for i in 0..20 {
        text += &format!("[[feature]]\nname = \"f{i}\"\nfn = \"value\"\nof = \"EngineSpeed\"\n");
    }
    std::fs::write(&features, text).unwrap();
    let (log, config) = (arg(&drive.log), arg(&drive.config));
    let commands: [&[&str]; 5] = [
        &["decode", log, "--dbc", arg(&dbc)],
        &["decode", log, "--dbc", arg(&dbc), "--format", "csv"],
        &["replay", log, "-c", config],
        &["replay", log, "-c", config, "--format", "cbor"],
        &["features", log, "-c", config, "--features", arg(&features)],
    ];
    for args in commands {
        let mut child = outrider().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let (code, _, err) = ended(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert!(!err.contains("ERROR"), "{args:?}: {err}");
    }
}

const FEATURES: &str = r#"
period_ms = 100
[[feature]]
name = "speed"
fn = "value"
of = "Speed"
max_age_ms = 200
[[feature]]
name = "step"
fn = "delta"
of = "Motor.Speed"
window_ms = 200
max_age_ms = 200
[[feature]]
name = "average"
fn = "mean"
of = "Speed"
window_ms = 300
max_age_ms = 200
[[feature]]
name = "age"
fn = "age"
of = "Motor"
[[feature]]
name = "frames"
fn = "count"
of = "Motor"
window_ms = 300
"#;

/// Speeds of 100, 200, ... 500 at 50 ms past each grid point, then silence until 0.75 s.
const FEATURE_LOG: &str = "\
(1000.050000) can0 100#9001000000000000
(1000.150000) can0 100#2003000000000000
(1000.250000) can0 100#B004000000000000
(1000.350000) can0 100#4006000000000000
(1000.450000) can0 100#D007000000000000
(1000.750000) can0 7DF#00
";

/// By hand: a window counts once all of it is in the past; a value older than 200 ms is missing.
const FEATURE_CSV: &str = "\
t,speed,step,average,age,frames
1000.100000,100.0,,,0.05,
1000.200000,200.0,,,0.05,
1000.300000,300.0,200.0,,0.05,
1000.400000,400.0,200.0,300.0,0.05,3.0
1000.500000,500.0,200.0,400.0,0.05,3.0
1000.600000,500.0,100.0,466.6666666666667,0.15,2.0
1000.700000,,,,0.25,1.0
";

#[test]
fn features_are_those_computed_by_hand_and_a_prefix_of_the_log_gives_a_prefix_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config =
        file("c.toml", &format!("[vehicle]\nid = \"a\"\n[[bus]]\nname = \"can0\"\ndbc = [{:?}]\n", data("small.dbc")));
    let features = file("features.toml", FEATURES);
    let compute = |log: &str| {
        let args = ["features", "-", "-c", arg(&config), "--features", arg(&features)];
        good(&run_with_input(&args, log.as_bytes()))
    };
    assert_eq!(compute(FEATURE_LOG), FEATURE_CSV);
    for lines in 1..6 {
        let prefix: String = FEATURE_LOG.lines().take(lines).flat_map(|line| [line, "\n"]).collect();
        let out = compute(&prefix);
        assert!(FEATURE_CSV.starts_with(&out), "{lines}: {out}");
        assert_eq!(out.lines().count(), lines, "a header, and a grid point between two frames");
    }

    // A file that is wrong is refused with its name, whatever its numbers.
    for (from, to, word) in [
        ("period_ms = 100", "period_ms = 9223372036854775807", "period_ms"),
        ("window_ms = 200", "window_ms = 250", "multiple"),
        ("fn = \"age\"", "fn = \"old\"", "old"),
        ("of = \"Motor\"", "of = \"Moter\"", "Moter"),
    ] {
        let bad = file("bad.toml", &FEATURES.replacen(from, to, 1));
        let log = data("small.log");
        let (code, _, err) = ended(&run(&["features", arg(&log), "-c", arg(&config), "--features", arg(&bad)]));
        assert_eq!(code, Some(1), "{to}: {err}");
        assert!(err.contains("bad.toml") && err.contains(word), "{to}: {err}");
    }
}

#[test]
fn check_tells_good_from_bad() {
    let drive = Drive::new();
    let (code, out, err) = ended(&run(&["check", "-c", arg(&drive.config)]));
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(!err.contains('\x1b'), "colours in a log: {err:?}");
    assert!(err.contains("is good: 2 buses") && err.contains("2 collections, 0 models"), "{err}");

    let text = std::fs::read_to_string(&drive.config).unwrap();
    let bad = drive.dir.path().join("bad.toml");
    for (from, to, line, word) in [
        ("id = \"truck-7\"", "id = \"truck 7\"", 2, "letters"),
        ("demo-body.dbc", "gone.dbc", 10, "gone.dbc"),
        ("period_ms = 100\n", "period_ms = 100\nperiod = 1\n", 16, "period"),
        ("[\"*\"]", "[\"EngineSped\"]", 14, "EngineSped"),
        ("period_s = 10", "period_s = 10\n[[model]]\ndir = \"gone\"", 26, "gone"),
    ] {
        assert!(text.contains(from));
        std::fs::write(&bad, text.replacen(from, to, 1)).unwrap();
        let (code, out, err) = ended(&run(&["check", "-c", arg(&bad)]));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{to}: {err}");
        assert!(err.contains(&format!("bad.toml:{line}: ")) && err.contains(word), "{to}: {err}");
    }
}

/// What would keep the agent from starting, or from sending.
#[test]
fn check_looks_at_the_source_and_the_uplink() {
    let drive = Drive::new();
    let text = std::fs::read_to_string(&drive.config).unwrap();
    let file = drive.dir.path().join("bad.toml");
    let socketcan = "\n[source]\nkind = \"socketcan\"\n";
    let mqtts = "\n[[gateway]]\nurl = \"mqtts://gateway.example:8883\"\nca_file = \"gone.pem\"\n";
    for (text, words) in [
        (text.replace("\"can1\"", "\"*\"") + socketcan, ["bad.toml:26: ", "\"*\""]),
        (format!("[vehicle]\nid = \"a\"\n{socketcan}"), ["bad.toml:4: ", "[[bus]]"]),
        (
            text.replace("name = \"can1\"", "name = \"can1\"\nonly_known = true\nforward_xl = true") + socketcan,
            ["bad.toml:9: ", "exclude each other"],
        ),
        (text.clone() + mqtts, ["bad.toml: gateway gateway.example: ", "gone.pem"]),
        (
            text.clone() + "\n[outbox]\ndir = \"outbox\"\nquota_mib = 20000\n",
            ["bad.toml:28: ", "quota_mib = 20000: it must be from 4 to 16384"],
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        let (code, out, err) = ended(&run(&["check", "-c", arg(&file)]));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(words.iter().all(|word| err.contains(word)), "{words:?}: {err}");
    }
}

/// The order of the buses in the configuration decides nothing.
#[test]
fn the_bus_for_all_others_may_come_first() {
    let drive = Drive::new();
    let text = std::fs::read_to_string(&drive.config).unwrap();
    let others = format!("[[bus]]\nname = \"*\"\ndbc = [{:?}]\n\n[[bus]]", data("small.dbc"));
    let config = drive.dir.path().join("others.toml");
    std::fs::write(&config, text.replacen("[[bus]]", &others, 1)).unwrap();
    let log = "(1700000000.000000) can0 100#A00F140001FF9C00\n(1700000000.010000) can9 100#A00F140001FF9C00\n";
    let replay = run_with_input(&["replay", "-", "-c", arg(&config)], log.as_bytes());
    let events = good(&replay);
    let health: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let frames = |bus: &str| health["body"]["buses"][bus]["frames"].as_u64().unwrap();
    assert_eq!((frames("*"), frames("can0"), frames("can1")), (1, 1, 0), "{events}");
}

/// As a compiler says it, and as JSON.
#[test]
fn where_there_is_no_outbox_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["stat", "list", "export"] {
        let (code, out, err) = ended(&run(&["outbox", command, arg(dir.path())]));
        assert!(code == Some(1) && out.is_empty() && err.contains(arg(dir.path())), "{err}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking leaves nothing behind");
}

#[test]
fn audit_finds_a_hole_a_copy_and_a_wrong_order() {
    let drive = Drive::new();
    let whole = drive.replay("cbor");
    let (events, _) = split(&whole);
    let file = drive.dir.path().join("events.cbor");
    let judge = |order: &mut dyn Iterator<Item = usize>| {
        let bytes: Vec<u8> = order.flat_map(|i| events[i].1.clone()).collect();
        std::fs::write(&file, bytes).unwrap();
        audit(&[&file])
    };
    let all = events.len();
    let verdict = judge(&mut (0..all));
    assert!(verdict.good && verdict.events == u64::try_from(all).unwrap(), "{}", verdict.text);

    let verdict = judge(&mut (0..all).filter(|i| *i != 300));
    assert!(!verdict.good && verdict.missing == 1, "{}", verdict.text);
    assert!(verdict.text.contains("missing: 301 to 301"), "{}", verdict.text);

    let verdict = judge(&mut (0..all).chain([300]));
    assert!(verdict.good && verdict.duplicates == 1, "{}", verdict.text);

    let telemetry: Vec<usize> = (0..all).filter(|i| events[*i].0.class == "telemetry").collect();
    let verdict = judge(&mut (0..all).map(|i| match i {
        i if i == telemetry[7] => telemetry[8],
        i if i == telemetry[8] => telemetry[7],
        i => i,
    }));
    assert!(!verdict.good && verdict.out_of_order == 1 && verdict.missing == 0, "{}", verdict.text);

    // JSON lines, on standard input; a file that is cut off; nothing at all.
    let out = good(&run_with_input(&["audit", "-"], &drive.replay("jsonl")));
    assert!(out.contains(" 0 missing, 0 out of order"), "{out}");
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let (code, _, err) = ended(&run(&["audit", arg(&file)]));
    assert!(code == Some(1) && err.contains("events.cbor: item "), "{err}");
    std::fs::write(&file, b"").unwrap();
    let (code, out, _) = ended(&run(&["audit", arg(&file)]));
    assert_eq!((code, out.as_str()), (Some(1), "no events\n"));
}

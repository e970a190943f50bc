//! Profiles as a user makes and uses them: `learn` from drives of the simulated car, then `score`, `replay` and `run` on
//! others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};

use agent::{arg, ended, good, run, shared_data};
use can_decoders::log::LogWriter;
use outrider::source::sim::{ScheduledFault, SimConfig, Simulation};
use serde_json::Value;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_750_000_000 * SECOND;

fn dbc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc").join(name)
}

/// A recording of a drive of the simulated car.
fn drive(dir: &Path, seed: u64, seconds: u64, faults: &[&str]) -> PathBuf {
    let path = dir.join(format!("{seed}.log.zst"));
    let faults: Vec<ScheduledFault> = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    let start_ns = START + seed * 100_000 * SECOND;
    let mut writer = LogWriter::create(&path).unwrap();
    for frame in Simulation::new(SimConfig { seed, start_ns, faults }).unwrap() {
        if frame.time_ns >= start_ns + seconds * SECOND {
            break;
        }
        writer.write(["can0", "can1"][usize::from(frame.bus.0)], &frame).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn learn(dir: &Path, logs: &[PathBuf], more: &[&str]) -> PathBuf {
    let out = dir.join("car.toml");
    let mut args = vec!["learn"];
    args.extend(logs.iter().map(|log| arg(log)));
    args.extend(["-o", arg(&out)]);
    args.extend(more);
    good(&run(&args));
    out
}

/// A configuration with the simulated car's two buses, with DBC files or without.
fn config(dir: &Path, profile: &str, described: bool) -> PathBuf {
    let path = dir.join("outrider.toml");
    let file = |name: &str| if described { format!("\"{}\"", arg(&dbc(name))) } else { String::new() };
    let (a, b) = (file("demo-powertrain.dbc"), file("demo-body.dbc"));
    let text = format!(
        "[vehicle]\nid = \"car\"\n[[bus]]\nname = \"can0\"\ndbc = [{a}]\n[[bus]]\nname = \"can1\"\ndbc = [{b}]\n\
         [profile]\nfile = \"{profile}\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn anomalies(log: &Path, config: &Path) -> Vec<Value> {
    let events = good(&run(&["replay", arg(log), "-c", arg(config)]));
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["kind"] == "anomaly").collect()
}

#[test]
fn learned_from_drives_it_is_quiet_on_another_and_finds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let logs: Vec<PathBuf> = (1..4).map(|seed| drive(dir.path(), seed, 400, &[])).collect();
    learn(dir.path(), &logs, &["--name", "car", "--profile-version", "7"]);
    let config = config(dir.path(), "car.toml", false);
    good(&run(&["check", "-c", arg(&config)]));
    for seed in 11..14 {
        let found = anomalies(&drive(dir.path(), seed, 400, &[]), &config);
        assert!(found.is_empty(), "{seed}: {found:?}");
    }
    let faults = ["missing:WheelSpeeds@60+8", "flood:EngineData1:5@90+8"];
    let found = anomalies(&drive(dir.path(), 20, 120, &faults), &config);
    let raised: Vec<&Value> = found.iter().filter(|event| event["body"]["phase"] == "raised").collect();
    let what = |event: &&Value| event["body"]["what"].as_str().unwrap().to_owned();
    let kinds: Vec<String> = raised.iter().map(what).collect();
    assert!(kinds.contains(&"missing".into()) && kinds.contains(&"flooding".into()), "{kinds:?}");
    for event in raised {
        let body = &event["body"];
        assert_eq!((&body["model"], &body["version"]), (&Value::from("car"), &Value::from("7")));
        assert_eq!(body["hash"].as_str().unwrap().len(), 16);
        assert!(body["frame"].as_u64().unwrap() > 10_000 && body["score"].as_f64() >= body["threshold"].as_f64());
        assert!(body["top"][0]["name"].as_str().unwrap().contains(':'), "which bus: {body}");
        assert_eq!(event["class"], "alert");
    }
}

#[test]
fn a_score_has_a_column_for_each_kind_and_needs_no_dbc() {
    let dir = tempfile::tempdir().unwrap();
    let log = drive(dir.path(), 1, 60, &[]);
    let bus = format!("can0={}", arg(&dbc("demo-powertrain.dbc")));
    let profile = learn(dir.path(), std::slice::from_ref(&log), &["--to", "0.5", "--dbc", &bus]);
    let text = std::fs::read_to_string(&profile).unwrap();
    assert!(
        text.contains("name = \"EngineSpeed\"") && text.contains("described = false"),
        "can0 has names, can1 has none"
    );
    let csv = good(&run(&["score", arg(&log), "--profile", arg(&profile)]));
    let mut lines = csv.lines();
    let header = "t,score,missing,flooding,unknown,length,payload,jump,range,frozen,counter,checksum,apart";
    assert_eq!(lines.next(), Some(header));
    let rows: Vec<Vec<f64>> = lines.map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
    assert!((590..=600).contains(&rows.len()), "{}", rows.len());
    for row in &rows {
        assert_eq!(row.len(), 13);
        let most = row[2..].iter().copied().fold(0.0, f64::max);
        assert!(row[1] >= 0.0 && (row[1] - most).abs() < 1e-12, "{row:?}");
    }
    // Twice the same, to the byte.
    assert_eq!(csv, good(&run(&["score", arg(&log), "--profile", arg(&profile)])));
    let again = learn(dir.path(), std::slice::from_ref(&log), &["--to", "0.5", "--dbc", &bus]);
    assert_eq!(std::fs::read_to_string(again).unwrap(), text);
}

#[test]
fn what_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let log = drive(dir.path(), 1, 5, &[]);
    let out = dir.path().join("out.toml");
    let case = |args: &[&str], code: i32, complaint: &str| {
        let (ended, _, err) = ended(&run(args));
        assert_eq!(ended, Some(code), "{args:?}: {err}");
        assert!(err.contains(complaint), "{args:?}: {err}");
    };
    case(&["learn", "-", "-o", arg(&out)], 2, "several times");
    case(&["learn", arg(&log), "-o", arg(&out), "--from", "2"], 2, "from 0 to 1");
    case(&["learn", arg(&log), "-o", "/nonexistent/out.toml"], 1, "/nonexistent/out.toml");
    case(&["learn", "/nonexistent.log", "-o", arg(&out)], 1, "/nonexistent.log");
    let empty = dir.path().join("empty.log");
    std::fs::write(&empty, "").unwrap();
    case(&["learn", arg(&empty), "-o", arg(&out)], 1, "");
    assert!(!out.exists());
    case(&["score", arg(&log), "--profile", arg(&log)], 1, "profile ");

    let profile = learn(dir.path(), &[log], &[]);
    let text = std::fs::read_to_string(&profile).unwrap();
    std::fs::write(dir.path().join("bad.toml"), text.replace("format = 1", "format = 2")).unwrap();
    let with = |name: &str| config(dir.path(), name, true);
    case(&["check", "-c", arg(&with("bad.toml"))], 1, "learn the profile anew");
    case(&["check", "-c", arg(&with("none.toml"))], 1, "none.toml");
    std::fs::write(dir.path().join("other.toml"), text.replace("name = \"can1\"", "name = \"can7\"")).unwrap();
    case(&["check", "-c", arg(&with("other.toml"))], 1, "it knows bus `can7`");
}

/// Only with the recordings at hand, which are not part of the project.
#[test]
fn toyotas_checksums_and_counters_are_found_on_a_real_car() {
    let Some(data) = shared_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dbc = format!("can0={}", arg(&data.join("dbc/opendbc/toyota_new_mc_pt_generated.dbc")));
    let profile = learn(dir.path(), &[data.join("logs/comma2k19_rav4.log.zst")], &["--dbc", &dbc]);
    let profile: toml::Value = toml::from_str(&std::fs::read_to_string(profile).unwrap()).unwrap();
    let messages = profile["bus"][0]["message"].as_array().unwrap();
    let find = |name: &str| messages.iter().find(|message| message["name"].as_str() == Some(name)).unwrap();
    // The DBC file calls these signals CHECKSUM; Toyota's sum is over the identifier and the length, too.
    for name in ["STEER_ANGLE_SENSOR", "SPEED"] {
        let checksum = find(name).get("checksum").unwrap();
        assert_eq!((checksum["algorithm"].as_str(), checksum["byte"].as_integer()), (Some("sum8"), Some(7)), "{name}");
    }
    // The radar's messages on the other bus count.
    let radar = profile["bus"][1]["message"].as_array().unwrap();
    assert!(radar.iter().filter(|message| message.get("counter").is_some()).count() >= 30);
}

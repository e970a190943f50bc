//! Campaigns by the built program: tried on a recording first, then at work in a vehicle until they have brought enough.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/demo_vehicle.rs"]
mod demo_vehicle;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};

use agent::{Agent, Arrival, Recorder, arg, run, split, texts};
use demo_vehicle::drive;
use mosquitto::{Mosquitto, wait_until};
use serde_json::Value;

/// Of another year than the recording.
const BRAKES: &str = r#"
name = "brakes"
start = 2026-01-01T00:00:00Z
end = 2100-01-01T00:00:00Z

[[collect]]
name = "brakes"
signals = ["BrakeData1.*"]
mode = "aggregate"
period_ms = 10000

[[condition]]
name = "crash while braking"
when = "FrontAcceleration < -30.0"
class = "critical"
record = { before_s = 5, after_s = 2 }
collect = { name = "brakes", period_ms = 500, for_s = 3 }
"#;

const ENGINE: &str = r#"
name = "engine"
volume_mib = 1

[[collect]]
name = "engine"
signals = ["EngineData1.*"]
period_ms = 1000
"#;

/// Both campaigns beside a configuration, which names them as it likes.
fn config(dir: &Path, what: &str) -> PathBuf {
    std::fs::write(dir.join("brakes.toml"), BRAKES).unwrap();
    std::fs::write(dir.join("engine.toml"), ENGINE).unwrap();
    let usual = "[[collect]]\nname = \"usual\"\nsignals = [\"VehicleSpeed\"]\nperiod_ms = 1000\n\
                 [recorder]\ndir = \"recordings\"\nseconds = 5\n";
    demo_vehicle::config(dir, &format!("{usual}{what}"))
}

fn campaign_of(bytes: &[u8]) -> Value {
    schema::describes(bytes).unwrap();
    let serde_cbor::Value::Map(map) = serde_cbor::from_slice(bytes).unwrap() else { panic!("no event") };
    match map.get(&serde_cbor::Value::Text("campaign".to_owned())) {
        Some(serde_cbor::Value::Text(name)) => name.as_str().into(),
        _ => Value::Null,
    }
}

fn body(event: &Arrival) -> Value {
    serde_cbor::value::from_value(event.body.clone()).unwrap()
}

#[test]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures from a line")]
fn a_campaign_is_tried_on_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "");
    let log = drive(dir.path(), 5, 60, &["crash@25+10"]);
    let (brakes, engine) = (dir.path().join("brakes.toml"), dir.path().join("engine.toml"));
    let tried = |campaigns: &[&Path]| {
        let mut args = vec!["replay", arg(&log), "-c", arg(&config), "--format", "cbor"];
        campaigns.iter().for_each(|campaign| args.extend(["--campaign", arg(campaign)]));
        let output = run(&args);
        assert!(output.status.success(), "{}", texts(&output).1);
        (split(&output.stdout).0, texts(&output).1)
    };
    let (events, said) = tried(&[&brakes, &engine]);
    for (event, bytes) in &events {
        assert!(["brakes", "engine"].iter().any(|name| campaign_of(bytes) == **name), "{event:?}");
    }
    let of = |kind: &str, name: &str| -> Vec<&Arrival> {
        events
            .iter()
            .filter(|(event, bytes)| event.kind == kind && campaign_of(bytes) == name)
            .map(|(event, _)| event)
            .collect()
    };
    assert_eq!(of("condition", "brakes").len(), 2, "raised and cleared");
    assert!(of("signals", "engine").len() >= 55);
    // Every ten seconds, and twice a second for three after the crash.
    assert!((9..=14).contains(&of("aggregates", "brakes").len()), "{}", of("aggregates", "brakes").len());
    let recording = of("recording", "brakes").iter().map(|event| body(event)).find(|body| body["state"] == "finished");
    let recorded = recording.unwrap()["bytes"].as_u64().unwrap();
    // What is printed, and the recording.
    for (name, more) in [("brakes", recorded), ("engine", 0)] {
        let line =
            said.lines().find(|line| line.contains(&format!("campaign {name}: "))).unwrap_or_else(|| panic!("{said}"));
        let numbers: Vec<f64> =
            line.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter_map(|word| word.parse().ok()).collect();
        let mine = events.iter().filter(|(_, bytes)| campaign_of(bytes) == name);
        let printed: usize = mine.clone().map(|(_, bytes)| bytes.len()).sum();
        let [.., count, bytes, seconds, per_hour] = numbers[..] else { panic!("{line}") };
        let (count, bytes) = (count as u64, bytes as u64);
        assert_eq!(count, mine.count() as u64, "{line}");
        // Numbers of events take fewer bytes than is reckoned with.
        let least = printed as u64 + more;
        assert!((least..=least + 4 * count).contains(&bytes), "{line}: {least}");
        assert!(
            (59.0..61.0).contains(&seconds)
                && (per_hour / (bytes as f64 / 1024.0 * 3600.0 / seconds) - 1.0).abs() < 0.01,
            "{line}"
        );
    }
    assert!(said.contains("1 recordings are in that"), "{said}");
    // One changes nothing in the other.
    let (alone, _) = tried(&[&engine]);
    let without = |(event, _): &(Arrival, Vec<u8>)| (event.t, event.kind.clone(), event.body.clone());
    let both: Vec<_> = events.iter().filter(|(_, bytes)| campaign_of(bytes) == "engine").map(without).collect();
    assert_eq!(alone.iter().map(without).collect::<Vec<_>>(), both);
}

/// Three at once: one whose time is over, one that runs, one that may send little. What they have brought is known after a restart.
#[test]
fn campaigns_work_in_their_time_and_until_they_are_spent() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let mut received = Recorder::start(&broker, dir.path());
    let what = format!(
        "[outbox]\ndir = \"outbox\"\n[source]\nkind = \"sim\"\nseed = 5\nspeed = 20\n[[gateway]]\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[campaign]]\nfile = \"engine.toml\"\n[[campaign]]\nfile = \"over.toml\"\n[[campaign]]\nfile = \"much.toml\"\n",
        broker.port
    );
    let config = config(dir.path(), &what);
    let over = "name = \"over\"\nend = 2020-01-01\n[[collect]]\nname = \"over\"\nsignals = [\"*\"]\nperiod_ms = 1000\n";
    std::fs::write(dir.path().join("over.toml"), over).unwrap();
    let much = "name = \"much\"\nvolume_mib = 1\n[[collect]]\nname = \"much\"\nsignals = [\"*\"]\nperiod_ms = 10\nheartbeat_ms = 10\n";
    std::fs::write(dir.path().join("much.toml"), much).unwrap();
    let told = |received: &mut Recorder, name: &str, state: &str| -> Vec<Value> {
        let events = received.events();
        let bodies = events.iter().filter(|event| event.kind == "campaign").map(body);
        bodies.filter(|body| body["name"] == name && body["state"] == state).collect()
    };
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    wait_until("one that is spent", || {
        agent.assert_running();
        !told(&mut received, "much", "spent").is_empty()
    });
    agent.signal("TERM");
    agent.finish();
    let spent = told(&mut received, "much", "spent").remove(0);
    let bytes = spent["bytes"].as_u64().unwrap();
    // Within a second of driving, a twentieth of one here, it is noticed.
    assert!((1 << 20..2 << 20).contains(&bytes), "{spent}");
    assert!(spent["events"].as_u64().unwrap() > 100 && spent["frames"].as_u64().unwrap() > 100, "{spent}");

    // It stays spent, and the other goes on counting.
    wait_until("the last word of the other", || !told(&mut received, "engine", "running").is_empty());
    let before = told(&mut received, "engine", "running").pop().unwrap();
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    wait_until("more of the other", || {
        agent.assert_running();
        received.poll();
        received.events().iter().filter(|event| event.kind == "agent" && body(event)["state"] == "started").count() == 2
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    agent.signal("TERM");
    agent.finish();
    wait_until("its last word once more", || told(&mut received, "engine", "running").len() == 2);
    received.stop();
    let after = told(&mut received, "engine", "running").pop().unwrap();
    for key in ["events", "bytes", "frames"] {
        assert!(after[key].as_u64() > before[key].as_u64(), "{key}: {before} {after}");
    }
    assert_eq!(told(&mut received, "much", "started").len(), 1, "it does not begin again");
    assert!(["started", "ended", "running"].iter().all(|state| told(&mut received, "over", state).is_empty()));
    let all = std::fs::read(&received.file).unwrap();
    let (events, _) = split(&all);
    assert!(events.iter().all(|(_, bytes)| campaign_of(bytes) != "over"));
    assert!(
        events.iter().any(|(event, bytes)| event.kind == "signals" && campaign_of(bytes) == Value::Null),
        "the usual goes on"
    );
}

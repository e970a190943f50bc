//! Conditions of a configuration over the simulated vehicle, by the built program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/demo_vehicle.rs"]
mod demo_vehicle;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/schema.rs"]
mod schema;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use agent::{Agent, arg, ended, run, split, texts};
use demo_vehicle::{START_NS, config, drive};

/// A collection that a condition may hurry.
const SLOW: &str = "[[collect]]\nname = \"slow\"\nsignals = [\"FrontAcceleration\"]\nperiod_ms = 5000\n";

const CONDITIONS: &str = r#"
[[condition]]
name = "crash"
when = '''
within(FrontAcceleration < -30.0, duration('200ms'))
  && within(LongAcceleration < -30.0, duration('200ms'))'''
class = "critical"
snapshot = ["VehicleSpeed", "BeltDriver"]
collect = { name = "slow", period_ms = 100, for_s = 2 }

[[condition]]
name = "no engine"
when = "silent(EngineData1) && valid(VehicleSpeed)"

[[condition]]
name = "stands"
when = "mean(VehicleSpeed, duration('3s')) < 0.5 && BeltDriver == 'Fastened'"
period_ms = 500
class = "status"
"#;

#[test]
fn conditions_act_when_they_are_meant_to() {
    let dir = tempfile::tempdir().unwrap();
    // A message is missing for a while, and then the car hits something.
    let log = drive(dir.path(), 5, 40, &["missing:EngineData1@8+4", "crash@25+10"]);
    let config = config(dir.path(), &format!("{SLOW}{CONDITIONS}"));
    let output = run(&["replay", arg(&log), "-c", arg(&config), "--format", "cbor"]);
    assert!(output.status.success(), "{}", texts(&output).1);
    assert_eq!(output.stdout, run(&["replay", arg(&log), "-c", arg(&config), "--format", "cbor"]).stdout);
    let (events, _) = split(&output.stdout);
    let mut acts = Vec::new();
    for (event, bytes) in &events {
        if event.kind == "condition" {
            schema::describes(bytes).unwrap();
            let value: serde_json::Value = serde_cbor::from_slice(bytes).unwrap();
            let (name, phase) = (value["body"]["name"].as_str().unwrap(), value["body"]["phase"].as_str().unwrap());
            let ms = (value["t"].as_u64().unwrap() - START_NS) / 1_000_000;
            acts.push((name.to_owned(), phase.to_owned(), ms, value));
        }
    }
    let of = |name: &str| acts.iter().filter(|act| act.0 == name).collect::<Vec<_>>();
    let [raised, cleared] = &of("crash")[..] else { panic!("{:?}", of("crash")) };
    assert_eq!((raised.1.as_str(), cleared.1.as_str()), ("raised", "cleared"));
    assert!((25_000..25_300).contains(&raised.2), "{raised:?}");
    assert_eq!(raised.3["class"], "critical");
    let values = raised.3["body"]["values"].as_object().unwrap();
    let names: Vec<&str> = values.keys().map(|name| name.rsplit('.').next().unwrap()).collect();
    for name in ["BeltDriver", "FrontAcceleration", "LongAcceleration", "VehicleSpeed"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let [raised, cleared] = &of("no engine")[..] else { panic!("{:?}", of("no engine")) };
    assert!((8_000..8_700).contains(&raised.2) && (12_000..12_100).contains(&cleared.2), "{raised:?} {cleared:?}");
    let stands = of("stands");
    assert!(stands.iter().any(|act| act.1 == "raised"), "{stands:?}");
    assert!(stands.iter().all(|act| act.2 % 500 == 0), "on its grid: {stands:?}");
    // For two seconds after the crash the collection looks ten times a second.
    let collected = events.iter().filter(|(event, _)| event.kind == "signals");
    let mut times: Vec<u64> = collected.map(|(event, _)| (event.t - START_NS) / 1_000_000).collect();
    assert_eq!(times.pop(), Some(39_999), "the end");
    let hurried = times.iter().filter(|ms| **ms % 5000 != 0).count();
    assert!(
        (10..=20).contains(&hurried) && times.iter().all(|ms| ms % 5000 == 0 || (25_000..27_500).contains(ms)),
        "{times:?}"
    );
}

#[test]
fn check_tells_where_a_condition_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        config(dir.path(), "[[condition]]\nname = \"a\"\nwhen = \"VehicleSpeed > 3.0 && EngineSpeed + 1 > 2.0\"\n");
    let (code, out, err) = ended(&run(&["check", "-c", arg(&config)]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let place = format!("{}:14:45: condition \"a\": when: `+` takes two doubles", config.display());
    assert!(err.contains(&place) && err.contains("write 1.0"), "{err}");
}

/// A lamp in the vehicle, with no gateway anywhere.
#[test]
fn listeners_in_the_vehicle_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let lamp = "[notify]\nsocket = \"lamp.sock\"\n[outbox]\ndir = \"outbox\"\n[source]\nkind = \"sim\"\nseed = 5\nspeed = 2\n\
                faults = [\"crash@3+10\"]\n[[condition]]\nname = \"lamp\"\nwhen = \"FrontAcceleration < -30.0\"\nnotify = true\n\
                [[condition]]\nname = \"quiet\"\nwhen = \"FrontAcceleration < -20.0\"\n";
    let config = config(dir.path(), lamp);
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    let stream = UnixStream::connect(dir.path().join("lamp.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    let (first, second) = (next(), next());
    assert_eq!((&first["body"]["name"], &first["body"]["phase"]), (&"lamp".into(), &"raised".into()));
    assert_eq!((&second["body"]["name"], &second["body"]["phase"]), (&"lamp".into(), &"cleared".into()));
    assert!(first["body"]["values"]["RestraintData.FrontAcceleration"]["v"].as_f64().unwrap() < -30.0, "{first}");
    agent.signal("TERM");
    agent.finish();
    assert!(!dir.path().join("lamp.sock").exists());
}

/// A place where no socket can be made ends the start, and leaves the outbox alone.
#[test]
fn a_socket_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let tables =
        "[notify]\nsocket = \"none/lamp.sock\"\n[outbox]\ndir = \"outbox\"\n[source]\nkind = \"sim\"\nminutes = 0.01\n";
    let (code, _, err) = ended(&run(&["run", "-c", arg(&config(dir.path(), tables))]));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("none/lamp.sock: No such file or directory"), "{err}");
    assert!(!dir.path().join("outbox").exists());
}

//! The flight recorder from the crash to the engineer's desk, by the built program: recorded, sent in pieces through a broker, put
//! together, replayed, converted.

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

use agent::{Agent, Recorder, arg, ended, good, run, split, texts};
use can_decoders::log::{LogReader, Options};
use can_decoders::{Frame, FrameKind};
use demo_vehicle::{START_NS, config, drive};
use mosquitto::{Mosquitto, wait_until};
use serde_json::Value;

const WHAT: &str = r#"
[source]
kind = "sim"
seed = 5
speed = 8
faults = ["crash@25+10"]

[outbox]
dir = "outbox"

[recorder]
dir = "recordings"
seconds = 10

[[condition]]
name = "crash"
when = '''
within(FrontAcceleration < -30.0, duration('200ms'))
  && within(LongAcceleration < -30.0, duration('200ms'))'''
class = "critical"
snapshot = ["VehicleSpeed", "BeltDriver"]
record = { before_s = 6, after_s = 4 }
"#;

fn frames(path: &Path) -> Vec<Frame> {
    let options = Options { buses: vec!["can0".to_owned(), "can1".to_owned()], ..Options::default() };
    LogReader::open(path, options).unwrap().map(Result::unwrap).collect()
}

/// Conditions that were raised, of events as CBOR: when, and what was said.
fn raised(events: &[u8]) -> Vec<(u64, Value)> {
    let (events, _) = split(events);
    events.iter().for_each(|(_, bytes)| schema::describes(bytes).unwrap());
    let values = events
        .iter()
        .filter(|(event, _)| event.kind == "condition")
        .map(|(event, bytes)| (event.t, serde_cbor::from_slice::<Value>(bytes).unwrap()));
    values.filter(|(_, value)| value["body"]["phase"] == "raised").collect()
}

#[test]
fn a_crash_reaches_the_desk_frame_by_frame_and_happens_again_there() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let mut received = Recorder::start(&broker, dir.path());
    let gateway = format!("\n[[gateway]]\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port);
    let config = config(dir.path(), &format!("{WHAT}{gateway}"));
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    wait_until("the recording to be sent as a whole", || {
        agent.assert_running();
        received.poll();
        let list = texts(&run(&["recording", "list", arg(&dir.path().join("recordings"))])).0;
        list.lines().any(|line| {
            let (sent, of) = line.rsplit(',').next().and_then(|sent| sent.split_once('/')).unwrap_or_default();
            let pieces = received.events().iter().filter(|event| event.kind == "recording_chunk").count();
            !sent.is_empty() && sent == of && of.parse() == Ok(pieces)
        })
    });
    agent.signal("TERM");
    agent.finish();
    received.stop();

    // The event came, and what has become of the recording was told.
    let bytes = std::fs::read(&received.file).unwrap();
    let live = raised(&bytes);
    let [(crash_ns, live)] = &live[..] else { panic!("{live:?}") };
    let told: Vec<(String, u64, u64)> = received
        .events()
        .iter()
        .filter(|event| event.kind == "recording")
        .map(|event| {
            let body: Value = serde_cbor::value::from_value(event.body.clone()).unwrap();
            let number = |key: &str| body[key].as_u64().unwrap();
            (body["state"].as_str().unwrap().to_owned(), number("frames"), number("missed"))
        })
        .collect();
    let [(started, before, 0), (finished, all, 0)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((started.as_str(), finished.as_str()), ("started", "finished"));
    assert!(before < all, "{told:?}");

    // From what the broker passed on alone.
    let out = dir.path().join("desk");
    let said = good(&run(&["recording", "assemble", arg(&received.file), "-o", arg(&out)]));
    let path = PathBuf::from(said.trim_end().split_once(": complete: ").unwrap_or_else(|| panic!("{said}")).1);
    assert!(path.starts_with(out.join("truck-7")), "{said}");
    let of_vehicle = dir.path().join("recordings").join(path.file_name().unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&of_vehicle).unwrap());
    let found = frames(&path);
    assert_eq!(found.len() as u64, *all);
    let (first, last) = (found[0].time_ns, found[found.len() - 1].time_ns);
    assert!(first <= crash_ns - 6_000_000_000 && last >= crash_ns + 4_000_000_000);

    // The same configuration, and the recording in place of the vehicle.
    let replayed = run(&["replay", arg(&path), "-c", arg(&config), "--format", "cbor"]);
    assert!(replayed.status.success(), "{}", texts(&replayed).1);
    let replayed = raised(&replayed.stdout);
    let [(again_ns, again)] = &replayed[..] else { panic!("{replayed:?}") };
    assert_eq!(again_ns, crash_ns);
    assert_eq!(again["body"]["values"], live["body"]["values"], "the same moment between the same frames");
    let frame = usize::try_from(again["body"]["frame"].as_u64().unwrap()).unwrap();
    assert_eq!(found[frame - 1].time_ns, *crash_ns, "the frame that led to it");

    // For other programs.
    for (name, micros) in [("crash.blf", true), ("crash.asc", true), ("crash.log.zst", true), ("copy.log.gz", false)] {
        let to = dir.path().join(name);
        let what = if micros { "export" } else { "extract" };
        assert!(run(&["recording", what, arg(&path), "-o", arg(&to)]).status.success());
        let mut expected = found.clone();
        for frame in expected.iter_mut().filter(|_| micros) {
            frame.time_ns = frame.time_ns / 1000 * 1000;
        }
        assert_eq!(frames(&to), expected, "{name}");
    }
    let one = dir.path().join("one.log");
    good(&run(&["recording", "export", arg(&path), "-o", arg(&one), "--bus", "can1", "--around", "1"]));
    let one = frames(&one);
    assert!(!one.is_empty() && one.iter().all(|frame| frame.bus.0 == 1 && frame.kind == FrameKind::Data));
    assert!(one.iter().all(|frame| frame.time_ns.abs_diff(*crash_ns) <= 1_000_000_000));

    // Without some of the pieces.
    let (events, _) = split(&bytes);
    let index = |event: &agent::Arrival| {
        let serde_cbor::Value::Map(body) = &event.body else { panic!("{event:?}") };
        body.get(&serde_cbor::Value::Text("index".to_owned())).cloned()
    };
    let kept: Vec<u8> = events
        .iter()
        .filter(|(event, _)| !(event.kind == "recording_chunk" && index(event) == Some(serde_cbor::Value::Integer(1))))
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    let some = dir.path().join("some.cbor");
    std::fs::write(&some, kept).unwrap();
    let (code, said, _) = ended(&run(&["recording", "assemble", arg(&some), "-o", arg(&out)]));
    assert_eq!(code, Some(1));
    assert!(said.contains(": missing: pieces 1 of "), "{said}");
}

/// A recording of a model's anomaly, replayed: the model comes to the same score, and the condition acts at the same frame.
#[test]
#[cfg(feature = "onnx")]
fn a_model_comes_to_the_same_score_in_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    let log = drive(dir.path(), 9101, 150, &["replay:VehicleSpeed@100+20"]);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
    let tables = format!(
        "[source]\nkind = \"replay\"\nlog = \"drive.log\"\nspeed = 0\n[outbox]\ndir = \"outbox\"\n\
         [recorder]\ndir = \"recordings\"\nseconds = 30\nmemory_kib = 16384\n[[model]]\ndir = {model:?}\n\
         [[condition]]\nname = \"strange\"\nwhen = \"score('demo-vehicle') > 3.0 && VehicleSpeed > 1.0\"\n\
         cooldown_ms = 60000\nrecord = {{ before_s = 25, after_s = 5 }}\n"
    );
    let config = config(dir.path(), &tables);
    good(&run(&["run", "-c", arg(&config)]));
    let acts = |log: &Path| {
        let replayed = run(&["replay", arg(log), "-c", arg(&config), "--format", "cbor"]);
        assert!(replayed.status.success(), "{}", texts(&replayed).1);
        raised(&replayed.stdout)
    };
    let all = acts(&log);
    let [(act_ns, act)] = &all[..] else { panic!("{all:?}") };
    assert!((100..130).contains(&((act_ns - START_NS) / 1_000_000_000)), "{act}");

    let path = std::fs::read_dir(dir.path().join("recordings")).unwrap().map(|entry| entry.unwrap().path());
    let path = path.filter(|path| path.extension().is_some_and(|end| end == "gz")).collect::<Vec<_>>().pop().unwrap();
    let live = score(&path);
    assert!(live > 3.0, "{live}");
    let again = acts(&path);
    let [(again_ns, again)] = &again[..] else { panic!("{again:?}") };
    assert_eq!((again_ns, &again["body"]["values"]), (act_ns, &act["body"]["values"]));

    // Recorded once more, from the recording.
    let second = tables.replace("drive.log", arg(&path)).replace("\"recordings\"", "\"copies\"");
    let second = second.replace("\"outbox\"", "\"other\"");
    good(&run(&["run", "-c", arg(&demo_vehicle::config(dir.path(), &second))]));
    let copy = dir.path().join("copies").join(path.file_name().unwrap());
    assert!((score(&copy) - live).abs() < 1e-6, "{live} and {}", score(&copy));

    // What is recorded of the time before has to be enough for the model.
    let short = tables.replace("before_s = 25", "before_s = 9");
    let (code, _, err) = ended(&run(&["check", "-c", arg(&demo_vehicle::config(dir.path(), &short))]));
    assert_eq!(code, Some(0));
    assert!(err.contains("condition \"strange\" looks back 25 s, and its recording begins 9 s before"), "{err}");
}

/// The agent goes on without, and says so; so does what would have been recorded.
#[test]
fn a_directory_that_cannot_be_used_is_told() {
    let dir = tempfile::tempdir().unwrap();
    drive(dir.path(), 5, 30, &["crash@25+10"]);
    let what = WHAT.replace("dir = \"recordings\"", "dir = \"drive.log/recordings\"");
    let (_, what) = what.split_once("[outbox]").unwrap();
    let tables = format!("[source]\nkind = \"replay\"\nlog = \"drive.log\"\nspeed = 0\n[outbox]{what}");
    let (code, _, err) = ended(&run(&["run", "-c", arg(&config(dir.path(), &tables))]));
    assert!(code == Some(0) && err.contains("drive.log/recordings: Not a directory"), "{err}");
    let (events, _) = split(&run(&["outbox", "export", arg(&dir.path().join("outbox"))]).stdout);
    let of = |kind: &str| {
        let events = events.iter().filter(|(event, _)| event.kind == kind);
        let bodies = events.map(|(event, _)| serde_cbor::value::from_value(event.body.clone()).unwrap());
        bodies.collect::<Vec<Value>>()
    };
    assert_eq!(of("agent").pop().unwrap()["counters"]["recorder_closed"], 1);
    let [recording] = &of("recording")[..] else { panic!("{:?}", of("recording")) };
    assert_eq!((&recording["state"], &recording["triggers"][0]), (&"refused".into(), &"crash".into()));
    assert!(recording["reason"].as_str().unwrap().contains("Not a directory"), "{recording}");
}

/// The model's score that a recording begins with.
#[cfg(feature = "onnx")]
fn score(path: &Path) -> f64 {
    let text = std::process::Command::new("zcat").arg(path).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("# score demo-vehicle "));
    line.unwrap().parse().unwrap()
}

#[test]
fn what_is_no_recording_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.log.gz");
    std::fs::write(&other, "(1.5) can0 123#11\n").unwrap();
    let (code, _, err) = ended(&run(&["recording", "export", arg(&other), "-o", "-"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("other.log.gz: not a recording of outrider"), "{err}");
    let (code, _, err) = ended(&run(&["recording", "list", arg(&dir.path().join("none"))]));
    assert_eq!(code, Some(1));
    assert!(err.contains("none: No such file or directory"), "{err}");
}

/// What a recording would need and is not there, before the agent starts.
#[test]
fn check_tells_what_is_wrong_with_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, expected) in [
        (
            "[recorder]\ndir = \"recordings\"\nseconds = 10\n",
            "",
            "condition.record needs the table [recorder] with a dir",
        ),
        ("before_s = 6", "before_s = 11", "condition.record.before_s = 11: the recorder keeps 10 s"),
        ("dir = \"recordings\"", "dir = \"outbox/recordings\"", "outrider.toml:23: recorder.dir lies in outbox.dir"),
        ("seconds = 10", "seconds = 0", "recorder.seconds = 0: it must be from 1 to 600"),
        (
            "[recorder]",
            "[[privacy.rule]]\nsignals = [\"VehicleSpeed\"]\nregions = [\"eu\"]\n[[gateway]]\nurl = \"mqtt://127.0.0.1\"\nregion = \"eu\"\n[recorder]",
            "",
        ),
        (
            "[recorder]",
            "[[privacy.rule]]\nsignals = [\"FrontAcceleration\"]\ntime_s = 60\n[recorder]",
            "privacy: condition \"crash\" begins a recording, which tells the exact time to all gateways",
        ),
        (
            "[recorder]",
            "[[privacy.rule]]\nclasses = [\"bulk\"]\ntime_s = 60\n[recorder]",
            "time of all events of class status or bulk",
        ),
        (
            "[recorder]",
            "[[privacy.rule]]\nclasses = [\"critical\"]\ntime_s = 60\n[recorder]",
            "all events of its class have a rule",
        ),
    ] {
        assert!(WHAT.contains(from));
        let config = config(dir.path(), &WHAT.replacen(from, to, 1));
        let (code, _, err) = ended(&run(&["check", "-c", arg(&config)]));
        assert_eq!(code, Some(i32::from(!expected.is_empty())), "{err}");
        assert!(err.contains(expected), "{expected}: {err}");
    }
    let config = config(dir.path(), &WHAT.replace("'''\nclass", "'''\nhold_ms = 7000\nclass"));
    let (code, _, err) = ended(&run(&["check", "-c", arg(&config)]));
    assert_eq!(code, Some(0));
    assert!(err.contains("condition \"crash\" looks back 7 s, and its recording begins 6 s before"), "{err}");
}

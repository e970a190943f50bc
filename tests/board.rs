//! The program for a board, emulated: it does what the one for this computer does, to the byte.
//!
//! `cross/check TARGET` builds it and runs these. `OUTRIDER_BOARD` is how it is run: an emulator with its arguments, and the
//! program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/pki.rs"]
mod pki;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent::{Agent, Arrival, Recorder, arg, audit, good, outrider, shared_data, split};
use can_decoders::log::LogWriter;
use mosquitto::{Mosquitto, wait_until};
use outrider::source::sim::{SimConfig, Simulation};
use pki::Pki;

/// The board's program, ready for arguments.
fn board() -> Command {
    let words = std::env::var("OUTRIDER_BOARD").expect("OUTRIDER_BOARD says how the program is run: use cross/check");
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().expect("OUTRIDER_BOARD is empty"));
    command.args(words).env_remove("OUTRIDER_LOG").stdin(Stdio::null());
    command
}

/// What both print for the same arguments.
fn both(args: &[&str]) -> String {
    let here = outrider().args(args).output().unwrap();
    let there = board().args(args).output().unwrap();
    assert!(here.status.success() && !here.stdout.is_empty(), "{}", String::from_utf8_lossy(&here.stderr));
    good(&there);
    if here.stdout != there.stdout {
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
        let (here, there) = (lines(&here.stdout), lines(&there.stdout));
        let first = here.iter().zip(&there).position(|(a, b)| a != b).unwrap_or(here.len().min(there.len()));
        panic!("{args:?}: line {}:\nhere  {:?}\nthere {:?}", first + 1, here.get(first), there.get(first));
    }
    String::from_utf8_lossy(&here.stdout).into_owned()
}

/// A recorded drive of the simulated vehicle, with a fault that the model finds.
fn drive(dir: &Path, minutes: u64) -> PathBuf {
    let file = dir.join("drive.log");
    let config = SimConfig {
        seed: 5,
        start_ns: 1_700_000_000_000_000_000,
        faults: vec!["stuck:EngineSpeed@30+15".parse().unwrap()],
    };
    let buses = Simulation::bus_names();
    let mut log = LogWriter::create(&file).unwrap();
    let until = config.start_ns + minutes * 60_000_000_000;
    for frame in Simulation::new(config).unwrap().take_while(|frame| frame.time_ns < until) {
        log.write(buses[usize::from(frame.bus.0)], &frame).unwrap();
    }
    log.finish().unwrap();
    file
}

/// The demonstration's model, with all the time that a model may have: an emulated processor is slow, and one that takes too long
/// is benched.
fn patient_model(dir: &Path) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
    let copy = dir.join("demo-vehicle");
    std::fs::create_dir_all(&copy).unwrap();
    for name in ["model.onnx", "parity.json"] {
        std::fs::copy(shipped.join(name), copy.join(name)).unwrap();
    }
    let manifest = std::fs::read_to_string(shipped.join("model.toml")).unwrap();
    std::fs::write(copy.join("model.toml"), format!("budget_us = 500000\n{manifest}")).unwrap();
    copy
}

/// The vehicle's configuration, with these tables besides.
fn vehicle(dir: &Path, more: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut text = "[vehicle]\nid = \"board\"\n[health]\nperiod_s = 10\n".to_owned();
    for (bus, dbc) in [("can0", "demo-powertrain.dbc"), ("can1", "demo-body.dbc")] {
        let dbc = root.join("can-decoders/dbc").join(dbc);
        writeln!(text, "[[bus]]\nname = \"{bus}\"\ndbc = [{dbc:?}]").unwrap();
    }
    let model = patient_model(dir);
    writeln!(text, "[[model]]\ndir = {model:?}").unwrap();
    writeln!(text, "[[collect]]\nname = \"all\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 1000").unwrap();
    text + more
}

#[test]
fn a_recording_is_decoded_and_leads_to_the_same_events() {
    let dir = tempfile::tempdir().unwrap();
    let log = drive(dir.path(), 2);
    let config = dir.path().join("car.toml");
    std::fs::write(&config, vehicle(dir.path(), "")).unwrap();
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc/demo-powertrain.dbc");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
    both(&["decode", arg(&log), "--dbc", arg(&dbc), "--format", "csv"]);
    let events = both(&["replay", arg(&log), "-c", arg(&config)]);
    assert!(events.contains("\"kind\":\"anomaly\"") && events.contains("\"kind\":\"aggregates\""), "{events:.2000}");
    both(&["replay", arg(&log), "-c", arg(&config), "--format", "cbor"]);
    // Inference differs by some millionths, and numbers are rounded to three digits: the last may differ where they are many,
    // and what is hardly more than nothing by a ten-thousandth of a normal spread.
    let score = ["score", arg(&log), "--model", arg(&model), "-c", arg(&config)];
    let [here, there] = [outrider(), board()].map(|mut program| good(&program.args(score).output().unwrap()));
    assert_eq!(here.lines().count(), there.lines().count());
    let numbers =
        |text: &str| text.lines().skip(1).flat_map(|line| line.split(',')).map(str::to_owned).collect::<Vec<_>>();
    for (a, b) in numbers(&here).iter().zip(numbers(&there)) {
        let (a, b): (f64, f64) = (a.parse().unwrap(), b.parse().unwrap());
        assert!((a - b).abs() <= (1.001e-2 * a.abs().max(b.abs())).max(1e-4), "{a} here, {b} there");
    }
}

/// A real car, with a profile learned from it.
#[test]
fn a_real_recording_is_decoded_and_guarded_alike() {
    let Some(data) = shared_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dbc = data.join("dbc/opendbc/toyota_new_mc_pt_generated.dbc");
    let log = data.join("logs/comma2k19_rav4.log.zst");
    both(&["decode", arg(&log), "--dbc", arg(&dbc), "--format", "csv"]);
    let profile = dir.path().join("rav4.toml");
    good(&outrider().args(["learn", arg(&log), "--dbc", arg(&dbc), "-o", arg(&profile)]).output().unwrap());
    both(&["score", arg(&log), "--profile", arg(&profile)]);
}

/// What happened, whoever told it: not how long models took.
fn told(events: &[Arrival]) -> Vec<(u64, String, serde_cbor::Value)> {
    let of_the_drive = |event: &&Arrival| !["agent", "gateway", "certificate", "model-stats"].contains(&&*event.kind);
    let mut told: Vec<_> = events.iter().filter(of_the_drive).map(|e| (e.t, e.kind.clone(), e.body.clone())).collect();
    told.sort_by_key(|(t, kind, body)| (*t, kind.clone(), format!("{body:?}")));
    told
}

/// The whole way: events wait in an outbox, survive a kill, and reach a real broker over TLS; the same as a replay here leads to.
#[test]
fn events_wait_in_the_outbox_and_arrive_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let log = drive(dir.path(), 1);
    let pki = Pki::make(dir.path());
    let replay = format!(
        "[source]\nkind = \"replay\"\nlog = {log:?}\nspeed = 0\n[outbox]\ndir = \"outbox\"\n[uplink]\ndrain_timeout_s = 3600\n"
    );
    let config = dir.path().join("run.toml");
    // Nobody is there: all that the drive leads to stays.
    std::fs::write(&config, vehicle(dir.path(), &replay)).unwrap();
    Agent::start_as(board(), &config).finish();
    let stat = board().args(["outbox", "stat", arg(&dir.path().join("outbox"))]).output().unwrap();
    let before = agent::stat_of(&good(&stat));
    assert_eq!(before, agent::stat(&dir.path().join("outbox")), "read here and there");
    assert!(before.depth > 50, "{before:?}");

    // Killed while it drives once more; then all goes out.
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let mut recorder = Recorder::start(&broker, dir.path());
    let slow = vehicle(dir.path(), &replay.replace("speed = 0", "speed = 1"));
    std::fs::write(&config, &slow).unwrap();
    let mut agent = Agent::start_as(board(), &config);
    agent.wait_for_start();
    wait_until("new events in the outbox", || agent.log().contains("first frame"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    agent.kill();
    let tls = format!(
        "[[gateway]]\nurl = \"mqtts://localhost:{}\"\nca_file = \"ca.pem\"\ncert_file = \"vehicle.pem\"\nkey_file = \"vehicle.key\"\n\
         reconnect_spread_ms = 0\n",
        broker.port
    );
    std::fs::write(&config, slow + &tls).unwrap();
    let agent = Agent::start_as(board(), &config);
    wait_until("what waited, and something new", || recorder.highest() > before.next + 50);
    agent.signal("TERM");
    agent.finish();
    let after = agent::stat(&dir.path().join("outbox"));
    assert_eq!(after.depth, 0);
    wait_until("the last event", || recorder.highest() >= after.next - 1);
    recorder.stop();
    let verdict = audit(&[&recorder.file]);
    assert!(verdict.good && verdict.missing == 0, "{}", verdict.text);

    // The first drive, beside a replay of it here.
    let arrived: Vec<Arrival> = recorder.events().into_iter().filter(|event| event.seq < before.next).collect();
    let replayed = outrider().args(["replay", arg(&log), "-c", arg(&config), "--format", "cbor"]).output().unwrap();
    let (replayed, _) = split(&replayed.stdout);
    let replayed: Vec<Arrival> = replayed.into_iter().map(|(event, _)| event).collect();
    let (arrived, replayed) = (told(&arrived), told(&replayed));
    let other = arrived.iter().zip(&replayed).find(|(a, b)| a != b).map(|(a, b)| format!("{a:.300?}\n{b:.300?}"));
    let kinds =
        |told: &[(u64, String, serde_cbor::Value)]| told.iter().map(|(_, kind, _)| kind.clone()).collect::<Vec<_>>();
    assert!(other.is_none(), "{}", other.unwrap().chars().take(2000).collect::<String>());
    assert_eq!(kinds(&arrived), kinds(&replayed));
}

//! The built agent against a real mosquitto: links that fail, stops, kills, and a real drive.
//!
//! What arrived is judged by what `mosquitto_sub` wrote into a file, with `outrider audit`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]
#![allow(clippy::print_stdout, reason = "figures, and what was not run")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "agent_reload.rs"]
mod reload;
#[path = "agent_starts.rs"]
mod starts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent::{Agent, Arrival, Recorder, Stat, arg, audit, good, run, split, stat, texts};
use can_decoders::log::{LogReader, LogWriter, Options};
use mosquitto::{Mosquitto, PATIENCE, wait_until};
use outrider::source::sim::{SimConfig, Simulation};
use proxy::Proxy;

/// A gateway behind a link that can fail, a recorder behind the gateway, and a place for the agent.
struct Stage {
    dir: tempfile::TempDir,
    broker: Mosquitto,
    proxy: Proxy,
    recorder: Recorder,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start(dir.path());
        let recorder = Recorder::start(&broker, dir.path());
        let proxy = Proxy::start(broker.port);
        Self { dir, broker, proxy, recorder }
    }

    fn outbox(&self) -> PathBuf {
        self.dir.path().join("outbox")
    }

    /// Writes a configuration: `what` are its tables besides vehicle, outbox and uplink.
    fn config(&self, name: &str, what: &str, mqtt: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        let text = format!(
            "[vehicle]\nid = \"truck-7\"\n\n[outbox]\ndir = \"outbox\"\nquota_mib = 256\n\n\
             [[gateway]]\nurl = \"mqtt://127.0.0.1:{}\"\nreconnect_spread_ms = 0\nbackoff_min_ms = 10\nbackoff_max_ms = 100\n{mqtt}\n\n{what}",
            self.proxy.port
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Fails the link until the agent has been refused `times`.
    fn refuse(&self, times: u64) {
        let before = self.proxy.accepted();
        self.proxy.refuse(true);
        wait_until("attempts that are refused", || self.proxy.accepted() >= before + times);
    }

    /// Waits until `more` events have come that were not there before.
    fn wait_for_more(&mut self, more: usize) {
        let target = self.recorder.poll() + more;
        wait_until("events to arrive", || self.recorder.poll() >= target);
    }

    /// Starts the agent on a simulated vehicle until `more` new events have come, so that the link is up, and stops it:
    /// what had been left in the outbox goes out, too.
    fn deliver(&mut self, more: u64) {
        let target = stat(&self.outbox()).next + more;
        let agent = Agent::start(&self.config("deliver.toml", &simulated(99, 20.0, None), PATIENT));
        wait_until("new events", || self.recorder.highest() >= target);
        agent.signal("TERM");
        agent.finish();
    }

    /// A copy of what has been received so far, whole events only.
    fn received(&self) -> PathBuf {
        let bytes = std::fs::read(&self.recorder.file).unwrap();
        let (_, whole) = split(&bytes);
        let file = self.dir.path().join("received.cbor");
        std::fs::write(&file, &bytes[..whole]).unwrap();
        file
    }

    /// Waits until the recorder has all that the outbox has given away, and stops it.
    fn complete(&mut self) -> Stat {
        let stat = stat(&self.outbox());
        let last = stat.next - 1;
        wait_until("the last event", || self.recorder.highest() >= last);
        // Classes have different ways: the last number need not be the last to arrive.
        let start = Instant::now();
        loop {
            let verdict = audit(&[&self.received()]);
            if verdict.missing == 0 {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "a hole stays, {stat:?}: {}", verdict.text);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.recorder.stop();
        stat
    }
}

/// For as long as it takes: a drain ends when the outbox is empty, not when time is up.
const PATIENT: &str = "[uplink]\ndrain_timeout_s = 3600";

/// The simulated vehicle; `minutes` of its time, without an end when `None`.
fn simulated(seed: u64, speed: f64, minutes: Option<f64>) -> String {
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
    let minutes = minutes.map_or(String::new(), |m| format!("minutes = {m:?}\n"));
    format!(
        "[[bus]]\nname = \"can0\"\ndbc = [{:?}]\n\n[[bus]]\nname = \"can1\"\ndbc = [{:?}]\n\n\
         [source]\nkind = \"sim\"\nseed = {seed}\nspeed = {speed:?}\n{minutes}faults = [\"missing:EngineData1@4+4\"]\n\n\
         [[collect]]\nname = \"fast\"\nsignals = [\"EngineData1.*\", \"VehicleSpeed\"]\nperiod_ms = 50\n\n\
         [[collect]]\nname = \"slow\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 1000\n\n\
         [health]\nperiod_s = 1\n",
        dbc.join("demo-powertrain.dbc"),
        dbc.join("demo-body.dbc"),
    )
}

fn kinds(events: &[Arrival]) -> BTreeMap<&str, usize> {
    let mut kinds = BTreeMap::new();
    for event in events {
        *kinds.entry(event.kind.as_str()).or_default() += 1;
    }
    kinds
}

#[test]
fn a_simulated_drive_through_cuts_arrives_complete_and_in_order() {
    let mut stage = Stage::new();
    let config = stage.config("run.toml", &simulated(7, 8.0, Some(1.5)), PATIENT);
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    assert_eq!(agent.status("THP_enabled"), "0", "each thread would take 2 MiB at once");
    // All cuts come in the first half of the drive, so that it cannot end without a link.
    for cut in 0..4 {
        stage.wait_for_more(150);
        agent.assert_running();
        if cut % 2 == 0 {
            stage.proxy.cut();
        } else {
            stage.refuse(3);
            stage.proxy.refuse(false);
        }
    }
    stage.wait_for_more(1);
    agent.finish();

    let stat = stage.complete();
    assert_eq!(stat.depth, 0, "the outbox is empty");
    let verdict = audit(&[&stage.recorder.file]);
    assert!(verdict.good, "{}", verdict.text);
    assert_eq!((verdict.events, verdict.explained), (stat.next - 1, 0), "{}", verdict.text);
    assert_eq!(verdict.duplicates, stage.recorder.duplicates());
    // 90 s: 20 and 1 times a second, and a few more.
    let events = stage.recorder.events();
    let kinds = kinds(&events);
    assert!((1700..=1801).contains(&kinds["signals"]), "{kinds:?}");
    assert!((89..=91).contains(&kinds["aggregates"]) && (90..=92).contains(&kinds["health"]), "{kinds:?}");
    assert_eq!((kinds["agent"], kinds["message"], kinds.get("gap")), (2, 2, None), "{kinds:?}");
    assert!(stage.proxy.accepted() >= 5 + 3, "{}", stage.proxy.accepted());
}

/// Stops the agent with `signal` while `fail` keeps the link from working, looks into the outbox, and starts it again.
fn a_stop_without_a_link(signal: &str, mqtt: &str, fail: impl Fn(&Stage), mend: impl Fn(&Stage)) {
    let mut stage = Stage::new();
    let agent = Agent::start(&stage.config("run.toml", &simulated(3, 15.0, None), mqtt));
    stage.wait_for_more(100);
    let in_use = run(&["outbox", "stat", arg(&stage.outbox())]);
    assert_eq!(in_use.status.code(), Some(1));
    let (out, err) = texts(&in_use);
    assert!(out.is_empty() && err.contains("in use"), "{err}");
    fail(&stage);
    agent.signal(signal);
    agent.finish();

    // What could not be sent waits, and can be looked at.
    let before = stat(&stage.outbox());
    assert!(before.depth > 0, "{before:?}");
    let list = good(&run(&["outbox", "list", arg(&stage.outbox())]));
    let mut lines = list.lines();
    assert_eq!(lines.next(), Some("class,first_seq,last_seq,events,bytes"));
    let listed: u64 = lines.map(|line| line.split(',').nth(3).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(listed, before.depth);
    let exported = stage.dir.path().join("exported.cbor");
    let export = run(&["outbox", "export", arg(&stage.outbox())]);
    assert!(export.status.success());
    std::fs::write(&exported, &export.stdout).unwrap();
    let (events, end) = split(&export.stdout);
    assert_eq!((events.len(), end), (usize::try_from(before.depth).unwrap(), export.stdout.len()));
    assert!(events.is_sorted_by_key(|(event, _)| event.seq));
    assert_eq!(events.last().unwrap().0.kind, "agent", "the last event says that the agent stops");
    assert_eq!(before.next, events.last().unwrap().0.seq + 1);
    // The gateway acknowledges before its subscribers have written.
    wait_until("no hole", || audit(&[&stage.received(), &exported]).missing == 0);
    let together = audit(&[&stage.received(), &exported]);
    assert!(together.good, "{}", together.text);
    assert_eq!((together.events, together.explained), (before.next - 1, 0), "{}", together.text);

    // The next start delivers it, and counts on without a hole.
    mend(&stage);
    stage.deliver(500);
    let after = stage.complete();
    assert_eq!(after.depth, 0);
    assert!(after.next > before.next + 500, "{before:?} {after:?}");
    let verdict = audit(&[&stage.recorder.file]);
    assert!(verdict.good, "{}", verdict.text);
    assert_eq!((verdict.events, verdict.explained), (after.next - 1, 0), "{}", verdict.text);
    assert_eq!(kinds(&stage.recorder.events())["agent"], 4);
}

#[test]
fn sigterm_without_a_link_keeps_everything_and_does_not_wait() {
    // A drain of an hour would be noticed.
    a_stop_without_a_link("TERM", PATIENT, |stage| stage.refuse(5), |stage| stage.proxy.refuse(false));
}

#[test]
fn sigint_with_a_dead_link_ends_at_the_drain_deadline() {
    // The connection stays open and nothing is acknowledged: only the deadline ends the drain.
    let mqtt = "ack_timeout_s = 3600\n[uplink]\ndrain_timeout_s = 1";
    let mend = |stage: &Stage| {
        stage.proxy.cut();
        stage.proxy.swallow(false);
    };
    a_stop_without_a_link("INT", mqtt, |stage| stage.proxy.swallow(true), mend);
}

#[test]
fn kills_at_random_moments_lose_nothing_without_saying_so() {
    let rounds = if std::env::var_os("OUTRIDER_SOAK").is_some() { 300 } else { 7 };
    let mut rng = fastrand::Rng::with_seed(20_260);
    let mut stage = Stage::new();
    for round in 0..rounds {
        let mut agent = Agent::start(&stage.config("run.toml", &simulated(round, 20.0, None), PATIENT));
        // Every kind of trouble comes at least once; what else happens is chance.
        match round % 4 {
            0 => stage.wait_for_more(rng.usize(1..300)),
            1 => {
                stage.refuse(rng.u64(1..10));
                agent.assert_running();
                stage.proxy.refuse(false);
                if rng.bool() {
                    stage.wait_for_more(rng.usize(1..100));
                }
            }
            2 => {
                stage.wait_for_more(rng.usize(1..200));
                stage.broker.stop();
                let before = stage.proxy.accepted();
                wait_until("attempts without a gateway", || stage.proxy.accepted() >= before + rng.u64(1..6));
            }
            _ => {
                stage.wait_for_more(rng.usize(1..100));
                stage.proxy.cut();
            }
        }
        // The moment of the blow is left to chance; nothing that is asserted depends on it.
        std::thread::sleep(Duration::from_millis(rng.u64(0..150)));
        agent.kill();
        if round % 4 == 2 {
            stage.broker.start_again();
        }
    }
    stage.deliver(300);

    let stat = stage.complete();
    assert_eq!(stat.depth, 0);
    let verdict = audit(&[&stage.recorder.file]);
    assert!(verdict.good, "{}", verdict.text);
    assert_eq!(verdict.events + verdict.explained, stat.next - 1, "{}", verdict.text);
    assert!(verdict.text.contains("cause restart: "), "{}", verdict.text);
    // A kill leaves numbers in doubt, and nothing else: no event that was stored is lost.
    assert!(
        !["quota", "overflow", "rejected", "oversize", "corrupt", "storage", "age", "wear"]
            .iter()
            .any(|c| verdict.text.contains(&format!("cause {c}:")))
    );
    let events = stage.recorder.events();
    let started = events.iter().filter(|e| e.kind == "agent").count();
    assert!(started >= 2, "{started}");
}

/// A recording, the buses in it with their DBC files, and how many frames it has.
struct Drive {
    log: PathBuf,
    buses: Vec<(&'static str, PathBuf)>,
    frames: usize,
    /// Times faster than recorded. Not at once: it would be over before the link has been cut often enough.
    speed: u32,
}

impl Drive {
    /// Two minutes of the simulated vehicle.
    fn simulated(dir: &Path) -> Self {
        let log = dir.join("drive.log.gz");
        let mut writer = LogWriter::create(&log).unwrap();
        let start_ns = 1_700_000_000_000_000_000;
        let fault = |text: &str| text.parse().unwrap();
        let faults = vec![fault("missing:EngineData1@20+10"), fault("flood:BrakeData1:8@40+5")];
        let vehicle = Simulation::new(SimConfig { seed: 11, start_ns, faults }).unwrap();
        let mut frames = 0;
        for frame in vehicle.take_while(|frame| frame.time_ns < start_ns + 120_000_000_000) {
            writer.write(Simulation::bus_names()[usize::from(frame.bus.0)], &frame).unwrap();
            frames += 1;
        }
        writer.finish().unwrap();
        let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
        let buses = vec![("can0", dbc.join("demo-powertrain.dbc")), ("can1", dbc.join("demo-body.dbc"))];
        Self { log, buses, frames, speed: 10 }
    }

    /// 40 minutes of a real car in five files: zstd streams may be put one after the other.
    fn real(data: &Path, dir: &Path) -> Self {
        let mut parts: Vec<PathBuf> =
            std::fs::read_dir(data.join("logs")).unwrap().map(|e| e.unwrap().path()).collect();
        parts.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("3BA199E2_00000164_"));
        parts.sort();
        assert_eq!(parts.len(), 5);
        let log = dir.join("drive.log.zst");
        let bytes: Vec<u8> = parts.iter().flat_map(|part| std::fs::read(part).unwrap()).collect();
        std::fs::write(&log, bytes).unwrap();
        let obd2 = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc/obd2.dbc");
        Self {
            log,
            buses: vec![("can1", obd2), ("can2", data.join("dbc/other/canmod-gps.dbc"))],
            frames: 292_097,
            speed: 120,
        }
    }

    /// Everything that changes in `log`.
    fn config(&self, log: &Path) -> String {
        let mut text = String::new();
        for (bus, dbc) in &self.buses {
            write!(text, "[[bus]]\nname = \"{bus}\"\ndbc = [{dbc:?}]\n\n").unwrap();
        }
        write!(
            text,
            "[source]\nkind = \"replay\"\nlog = {log:?}\nspeed = {}\n\n\
             [[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n\n[health]\nperiod_s = 10\n",
            self.speed
        )
        .unwrap();
        text
    }
}

/// What the engine made: what the agent says of itself is left out.
fn of_the_engine(events: Vec<Arrival>) -> Vec<Arrival> {
    let mut events: Vec<Arrival> = events.into_iter().filter(|event| event.kind != "agent").collect();
    for event in &mut events {
        event.seq = 0;
    }
    events
}

/// Values of a signal in the order in which events carry them.
fn values(events: &[Arrival], signal: &str) -> Vec<f64> {
    let key = |name: &str| serde_cbor::Value::Text(name.into());
    let value = |event: &Arrival| {
        let serde_cbor::Value::Map(body) = &event.body else { panic!("{event:?}") };
        let Some(serde_cbor::Value::Map(values)) = body.get(&key("values")) else { return None };
        match values.get(&key(signal)) {
            Some(serde_cbor::Value::Float(value)) => Some(*value),
            _ => None,
        }
    };
    events.iter().filter_map(value).collect()
}

/// Plays a drive into the gateway through cuts; what arrives is what `outrider replay` prints.
fn a_recorded_drive(drive: impl Fn(&Path) -> Drive, signals: &[&str]) {
    const CUTS: u64 = 4;
    let mut stage = Stage::new();
    let drive = drive(stage.dir.path());
    let config = stage.config("run.toml", &drive.config(&drive.log), PATIENT);
    let mut agent = Agent::start(&config);
    for cut in 0..=CUTS {
        // What arrives may have been on its way before the last cut.
        wait_until("a connection", || stage.proxy.accepted() > cut);
        if cut < CUTS {
            stage.wait_for_more(50);
            agent.assert_running();
            stage.proxy.cut();
        }
    }
    stage.wait_for_more(1);
    agent.finish();
    let said = std::fs::read_to_string(config.with_file_name("run.log")).unwrap();
    assert!(said.contains(&format!("stopped: {} frames, ", drive.frames)), "{said}");
    assert!(stage.proxy.accepted() > CUTS, "{}", stage.proxy.accepted());

    // A cut after the last frame ends the drain: then the next start sends the rest.
    let of_the_drive = stat(&stage.outbox()).next;
    stage.deliver(1);
    let stat = stage.complete();
    assert_eq!(stat.depth, 0);
    let verdict = audit(&[&stage.recorder.file]);
    assert!(verdict.good, "{}", verdict.text);
    assert_eq!((verdict.events, verdict.explained), (stat.next - 1, 0), "{}", verdict.text);

    let mut received = stage.recorder.events();
    received.retain(|event| event.seq < of_the_drive);
    let received = of_the_engine(received);
    let replay = run(&["replay", arg(&drive.log), "-c", arg(&config), "--format", "cbor"]);
    assert!(replay.status.success(), "{}", texts(&replay).1);
    let (replayed, end) = split(&replay.stdout);
    assert_eq!(end, replay.stdout.len());
    let replayed = of_the_engine(replayed.into_iter().map(|(event, _)| event).collect());
    assert_eq!(received.len(), replayed.len());
    for (received, replayed) in received.iter().zip(&replayed) {
        assert_eq!(received, replayed);
    }
    for signal in signals {
        let values = values(&received, signal);
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        assert!(values.len() > 100 && least < most, "{signal}: {} values, {least} to {most}", values.len());
        println!("{signal}: {} values, {least} to {most}", values.len());
    }
    println!("{} frames, {} events, {} duplicates", drive.frames, verdict.events, verdict.duplicates);
}

#[test]
fn a_simulated_recording_arrives_as_replay_prints_it() {
    a_recorded_drive(Drive::simulated, &["EngineData1.EngineSpeed", "VehicleSpeedData.VehicleSpeed"]);
}

#[test]
fn a_real_drive_arrives_as_replay_prints_it() {
    let Some(data) = agent::shared_data() else {
        println!("NOT RUN: no real drive here; set OUTRIDER_SHARED to the folder that has data/logs");
        return;
    };
    a_recorded_drive(|dir| Drive::real(&data, dir), &["OBD2Response.EngineSpeed", "OBD2Response.VehicleSpeed"]);
}

//! The built agent on a kernel that has CAN, with can-utils as the other side.
//!
//! `tests/kernel/run` runs these: directly where the kernel has vcan, else in user-mode Linux. They need
//! root in whatever kernel they run on, and make and delete interfaces of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]
#![allow(clippy::print_stdout, reason = "figures")]

#[path = "../support/agent.rs"]
mod agent;
mod alone;
mod interfaces;
#[path = "../support/mosquitto.rs"]
mod mosquitto;
#[path = "../support/proxy.rs"]
mod proxy;
mod stage;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent::{Arrival, arg, run, split};
use can_decoders::BusId;
use can_decoders::log::{LogReader, LogWriter, Options};
use mosquitto::wait_until;
use outrider::source::Source as _;
use outrider::source::sim::{SimConfig, Simulation};
use outrider::source::socketcan::SocketCan;
use stage::{Stage, Vcan, bus, field, number, sh, text};

const SMALL: &str = "tests/data/small.dbc";

/// Frames of a bus by the newest `health` event.
fn frames(stage: &mut Stage, bus: &str) -> u64 {
    let events = stage.events();
    let last = events.iter().rfind(|event| event.kind == "health");
    last.and_then(|event| number(event, &["buses", bus, "frames"])).unwrap_or(0)
}

fn generate(interface: &str, count: u32, more: &str) -> Child {
    let count = count.to_string();
    let mut command = Command::new("cangen");
    command.args([interface, "-g", "0", "-n", &count, "-i"]).args(more.split_whitespace());
    command.stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn every_frame_of_two_flooded_buses_is_counted() {
    const COUNT: u32 = 20_000;
    let (one, two) = (Vcan::new("kv0"), Vcan::new("kv1"));
    let mut stage = Stage::new();
    let what = bus(one.0, SMALL, "") + &bus(two.0, SMALL, "");
    let agent = stage.listen(&what, &[one.0, two.0]);
    let floods = [generate(one.0, COUNT, "-m"), generate(two.0, COUNT, "-e -L 8")];
    floods.into_iter().for_each(|mut flood| assert!(flood.wait().unwrap().success()));
    assert_eq!((one.sent(), two.sent()), (COUNT.into(), COUNT.into()));
    for interface in [one.0, two.0] {
        wait_until("all frames", || frames(&mut stage, interface) >= COUNT.into());
    }
    let events = stage.complete(agent);
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    for interface in [one.0, two.0] {
        let counter = |name| number(last, &["buses", interface, name]);
        assert_eq!((counter("frames"), counter("dropped")), (Some(COUNT.into()), Some(0)), "{last:?}");
    }
    // Of one processor that is flooded, the kernel may take a frame to its socket later than it is waited for.
    let late = number(last, &["late_frames"]).unwrap();
    assert!(late < u64::from(COUNT) / 100, "{late} frames not in the order of their stamps");
    assert!(events.iter().all(|event| event.kind != "blind"));
    // Whatever was on the buses, remote frames and all lengths of FD among it: the agent has sent nothing.
    assert_eq!((one.sent(), two.sent()), (COUNT.into(), COUNT.into()));
}

/// A flood on two buses while the configuration changes again and again: other signals, filters, buffers, one bus more and one
/// less. Every frame of the bus that stays goes through one engine or the other.
#[test]
fn a_new_configuration_loses_no_frame() {
    const COUNT: u32 = 30_000;
    let (one, two) = (Vcan::new("kv0"), Vcan::new("kv1"));
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(one.0, SMALL, ""), &[one.0]);
    let mut flood = Command::new("cangen")
        .args([one.0, "-g", "0.3", "-n", &COUNT.to_string(), "-L", "8"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let is = |event: &Arrival, state: &str| event.kind == "agent" && text(event, &["state"]) == Some(state);
    let rounds = [
        bus(two.0, SMALL, "") + &bus(one.0, SMALL, "receive_buffer_kib = 4096"),
        bus(one.0, SMALL, "") + "[[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n",
        bus(one.0, SMALL, "forward_xl = true") + &bus("kv9", SMALL, ""),
        bus(one.0, SMALL, ""),
    ];
    // What is in force when the agent tells of its start is no news.
    stage.wait_for("the start", |event| is(event, "started"));
    for (round, what) in rounds.iter().enumerate() {
        stage.config(what);
        agent.signal("HUP");
        wait_until("a reload", || stage.events().iter().filter(|event| is(event, "reloaded")).count() == round + 1);
    }
    assert!(flood.try_wait().unwrap().is_none(), "frames came all the time");
    assert!(flood.wait().unwrap().success());
    // What the engines before had counted when they ended, and what the last one has.
    let total = |events: &[Arrival], name: &str| {
        let (mut sum, mut last) = (0, 0);
        for event in events {
            if event.kind == "health" {
                last = number(event, &["buses", "kv0", name]).unwrap_or(0);
            } else if is(event, "reloaded") {
                sum += std::mem::take(&mut last);
            }
        }
        sum + last
    };
    wait_until("all frames", || total(&stage.events(), "frames") >= COUNT.into());
    let events = stage.complete(agent);
    assert_eq!(total(&events, "frames"), u64::from(COUNT));
    assert!(events.iter().all(|event| event.kind != "blind" || text(event, &["bus"]) != Some("kv0")));
}

/// A listener in the vehicle, on two buses of which one is flooded. How soon it is told is printed: from the kernel's stamp of the
/// frame until the line has been read.
#[test]
fn a_listener_is_told_at_once() {
    use std::io::{BufRead, BufReader};
    let (one, two) = (Vcan::new("kv0"), Vcan::new("kv1"));
    let mut stage = Stage::new();
    let what = bus(one.0, SMALL, "")
        + &bus(two.0, SMALL, "")
        + "[notify]\nsocket = \"lamp.sock\"\n[[condition]]\nname = \"lamp\"\nwhen = \"kv0.Motor.Speed > 1000.0\"\nnotify = true\n";
    let agent = stage.listen(&what, &[one.0, two.0]);
    let mut flood = generate(two.0, 20_000, "-L 8 -g 0.5");
    let lamp = std::os::unix::net::UnixStream::connect(stage.dir.path().join("lamp.sock")).unwrap();
    lamp.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut lines = BufReader::new(lamp).lines();
    let mut micros = Vec::new();
    for round in 0..100 {
        for (payload, phase) in [("A00F140001FF9C00", "cleared"), ("A01F140001FF9C00", "raised")] {
            sh(&format!("cansend kv0 100#{payload}"));
            if round == 0 && phase == "cleared" {
                continue;
            }
            let line = lines.next().unwrap().unwrap();
            let now = std::time::UNIX_EPOCH.elapsed().unwrap();
            assert!(line.contains(&format!("\"phase\":\"{phase}\"")), "{line}");
            let (_, rest) = line.split_once("{\"t\":").unwrap();
            let stamp: u64 = rest.split(',').next().unwrap().parse().unwrap();
            micros.push((u64::try_from(now.as_nanos()).unwrap() - stamp) / 1000);
        }
    }
    micros.sort_unstable();
    let at = |share: usize| micros[(micros.len() - 1) * share / 100];
    println!("frame to listener, microseconds: median {}, 95 of 100 {}, longest {}", at(50), at(95), at(100));
    flood.kill().unwrap();
    flood.wait().unwrap();
    assert_eq!(micros.len(), 199);
    stage.complete(agent);
}

/// What has come for a bus until it is left out of the configuration is still handed over.
#[test]
fn frames_of_a_bus_that_leaves_are_heard() {
    let (_one, two) = (Vcan::new("kv0"), Vcan::new("kv1"));
    let catalog = |names: &[&str]| {
        let dbc: Vec<String> = names.iter().map(|name| format!("{name}={SMALL}")).collect();
        outrider::config::load_catalog(&dbc, &mut Vec::new()).unwrap()
    };
    let mut source = SocketCan::open(&catalog(&["kv0", "kv1"]), &[]).unwrap();
    assert!(generate(two.0, 300, "-L 8").wait().unwrap().success());
    sh("cansend kv0 7AB#01");
    let (mut rest, mut notices) = (Vec::new(), Vec::new());
    source.reconfigure(&catalog(&["kv0"]), &[], &mut rest, &mut notices).unwrap();
    assert_eq!(rest.iter().filter(|frame| frame.bus == BusId(1)).count(), 300);
    let mut batch = Vec::with_capacity(8);
    wait_until("the frame of the bus that stays", || {
        source.read(&mut batch, std::time::Duration::from_millis(50)).unwrap();
        batch.len() + rest.len() > 300
    });
    assert_eq!(batch.iter().chain(&rest).filter(|frame| frame.bus == BusId(0)).count(), 1);
}

/// The kernel's filter of an open socket changes with the configuration.
#[test]
fn a_filter_goes_with_its_configuration() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(vcan.0, SMALL, "only_known = true"), &[vcan.0]);
    sh("cansend kv0 7AB#01");
    for (more, frames) in [("", 1), ("only_known = true", 0)] {
        let before = stage.log().matches("is in force").count();
        stage.config(&bus(vcan.0, SMALL, more));
        agent.signal("HUP");
        wait_until("the reload", || stage.log().matches("is in force").count() > before);
        sh("cansend kv0 7AB#01 && cansend kv0 100#11EE0F140001FF9C");
        let heard = |event: &Arrival| number(event, &["buses", "kv0", "frames"]) == Some(1 + frames);
        stage.wait_for("the frames that are let through", |event| event.kind == "health" && heard(event));
    }
    stage.complete(agent);
}

/// The agent is held up while there is more on one bus than on the other: it catches up with both, and loses nothing.
#[test]
fn a_backlog_is_worked_off() {
    let (one, two) = (Vcan::new("kv0"), Vcan::new("kv1"));
    let mut stage = Stage::new();
    let what = bus(one.0, SMALL, "") + &bus(two.0, SMALL, "");
    let agent = stage.listen(&what, &[one.0, two.0]);
    agent.signal("STOP");
    let paced = |interface, gap_ms, count: u32| {
        let arguments = format!("{interface} -g {gap_ms} -L 8 -n {count}");
        Command::new("cangen").args(arguments.split_whitespace()).stdin(Stdio::null()).spawn().unwrap()
    };
    let traffic = [paced(one.0, 1, 3000), paced(two.0, 8, 500)];
    std::thread::sleep(std::time::Duration::from_millis(1500));
    agent.signal("CONT");
    traffic.into_iter().for_each(|mut cangen| assert!(cangen.wait().unwrap().success()));
    wait_until("all frames", || (frames(&mut stage, "kv0"), frames(&mut stage, "kv1")) == (3000, 500));
    let events = stage.complete(agent);
    assert!(events.iter().all(|event| event.kind != "blind"));
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    assert!(number(last, &["late_frames"]).unwrap() < 35, "{last:?}");
}

/// The agent is held up while the bus is flooded: what the small buffer cannot keep is counted by the frame.
#[test]
fn drops_are_counted_exactly() {
    const COUNT: u32 = 3_000;
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(vcan.0, SMALL, "receive_buffer_kib = 16"), &[vcan.0]);
    agent.signal("STOP");
    assert!(generate(vcan.0, COUNT, "-L 8").wait().unwrap().success());
    agent.signal("CONT");
    // No frame comes after the flood, so none tells how many were dropped at its end.
    let sum = |event: &Arrival| {
        number(event, &["buses", "kv0", "frames"]).zip(number(event, &["buses", "kv0", "dropped"])).map(|(a, b)| a + b)
    };
    stage.wait_for("frames and drops", |event| event.kind == "health" && sum(event) == Some(COUNT.into()));
    let events = stage.complete(agent);
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    assert_eq!(sum(last), Some(COUNT.into()), "{last:?}");
    let dropped = number(last, &["buses", "kv0", "dropped"]).unwrap();
    let told: u64 = events
        .iter()
        .filter(|event| event.kind == "blind")
        .map(|event| {
            assert_eq!((text(event, &["bus"]), text(event, &["cause"])), (Some("kv0"), Some("dropped")));
            assert!(number(event, &["from"]).unwrap() <= number(event, &["to"]).unwrap());
            number(event, &["frames"]).unwrap()
        })
        .sum();
    assert_eq!(told, dropped);
    assert!(dropped > 1000, "{dropped}");
    println!("{dropped} of {COUNT} dropped and told");
}

/// The simulated vehicle with its model on two buses.
#[test]
fn a_drive_on_the_bus_gives_the_events_of_its_recording() {
    let mut what = bus("kv0", "can-decoders/dbc/demo-powertrain.dbc", "bitrate = 500000")
        + &bus("kv1", "can-decoders/dbc/demo-body.dbc", "");
    if cfg!(feature = "onnx") {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
        what += &format!("[[model]]\ndir = {model:?}\n");
    }
    played_and_replayed(&what, |drive| simulate(drive, 20));
}

/// Two buses of a real car.
#[test]
fn a_real_drive_on_the_bus_gives_the_events_of_its_recording() {
    let Some(data) = agent::shared_data() else {
        println!("NOT RUN: a real drive, which needs the shared recordings (OUTRIDER_SHARED)");
        return;
    };
    let dbc = data.join("dbc/opendbc/toyota_new_mc_pt_generated.dbc");
    let what = bus("kv0", arg(&dbc), "bitrate = 500000") + &bus("kv1", SMALL, "");
    played_and_replayed(&what, |drive| cut(&data.join("logs/comma2k19_rav4.log.zst"), drive, 20));
}

/// A drive, made by `make`, is played on two buses. What arrives live is what `outrider replay` makes of a
/// recording by candump.
fn played_and_replayed(buses: &str, make: impl Fn(&Path) -> Vec<u64>) {
    let (one, two) = (Vcan::new("kv0"), Vcan::new("kv1"));
    let mut stage = Stage::new();
    let dir = stage.dir.path().to_owned();
    let drive = dir.join("drive.log");
    let played = make(&drive);
    let what = format!(
        "{buses}[[collect]]\nname = \"all\"\nsignals = [\"*\", \"BusHealth.*\"]\nperiod_ms = 100\n\
         [[collect]]\nname = \"means\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 1000\n"
    );
    let agent = stage.listen(&what, &[one.0, two.0]);
    let recorded = dir.join("recorded.log");
    let file = std::fs::File::create(&recorded).unwrap();
    let mut candump = Command::new("candump").args(["-L", "-r", "8000000", one.0, two.0]).stdout(file).spawn().unwrap();
    // It is there once it has its two sockets.
    let sockets = || std::fs::read_to_string("/proc/net/can/rcvlist_all").unwrap().matches("kv").count();
    wait_until("candump", || sockets() >= 4);
    sh(&format!("canplayer -I {} kv0=can0 kv1=can1", drive.display()));
    let times = || log_times(&recorded);
    wait_until("the recording", || times().len() >= played.len());
    // One more second: what the last frames lead to.
    let last_ns = *times().last().unwrap();
    stage.wait_for("the end", |event| event.kind == "health" && event.t > last_ns + 1_000_000_000);
    let _ = candump.kill();
    candump.wait().unwrap();
    let live = stage.complete(agent);

    // candump prints one bus after the other; the agent goes by the stamps.
    let sorted = dir.join("sorted.log");
    sh(&format!("sort -s -k1,1 {} >{}", recorded.display(), sorted.display()));
    let config = dir.join("run.toml");
    let replay = run(&["replay", arg(&sorted), "-c", arg(&config), "--format", "cbor"]);
    assert!(replay.status.success());
    let replayed: Vec<Arrival> = split(&replay.stdout).0.into_iter().map(|(event, _)| event).collect();
    // From after the second whole second, when both have measured one and told what it was, to the last frame. The agent
    // may have told before: it was there first.
    let first_ns = (times()[0] / 1_000_000_000 + 2) * 1_000_000_000 + 1;
    let within = |events: &[Arrival]| -> Vec<Arrival> {
        let mut events: Vec<Arrival> =
            events.iter().filter(|e| e.kind != "agent" && (first_ns..last_ns).contains(&e.t)).cloned().collect();
        for event in &mut events {
            event.seq = 0;
            // A recording says nothing of this computer's clock.
            (event.mono, event.clock) = (None, None);
            // How late the kernel brought frames to their sockets is in no recording.
            if let ("health", serde_cbor::Value::Map(body)) = (&*event.kind, &mut event.body) {
                let late = body.remove(&serde_cbor::Value::Text("late_frames".into()));
                assert!(matches!(late, Some(serde_cbor::Value::Integer(0..200))), "{late:?}");
            }
        }
        events
    };
    let (live, replayed) = (within(&live), within(&replayed));
    assert!(live.len() > 100, "{}", live.len());
    for (live, replayed) in live.iter().zip(&replayed) {
        assert_eq!(live, replayed);
    }
    assert_eq!(live.len(), replayed.len());
    println!("{} frames, {} events, the same live and replayed", played.len(), live.len());
}

/// Seconds of a recording, its first bus, as plain text. The times of its frames.
fn cut(log: &Path, to: &Path, seconds: u64) -> Vec<u64> {
    let mut writer = LogWriter::create(to).unwrap();
    let mut times = Vec::new();
    for frame in LogReader::open(log, Options::default()).unwrap() {
        let frame = frame.unwrap();
        if frame.time_ns > times.first().unwrap_or(&frame.time_ns) + seconds * 1_000_000_000 {
            break;
        }
        if frame.bus.0 < 2 {
            writer.write(["can0", "can1"][usize::from(frame.bus.0)], &frame).unwrap();
            times.push(frame.time_ns);
        }
    }
    writer.finish().unwrap();
    times
}

fn simulate(to: &Path, seconds: u64) -> Vec<u64> {
    let mut writer = LogWriter::create(to).unwrap();
    let start_ns = 1_700_000_000_000_000_000;
    let vehicle = Simulation::new(SimConfig { seed: 3, start_ns, faults: Vec::new() }).unwrap();
    let frames = vehicle.take_while(|frame| frame.time_ns < start_ns + seconds * 1_000_000_000);
    let times = frames.map(|frame| {
        writer.write(Simulation::bus_names()[usize::from(frame.bus.0)], &frame).unwrap();
        frame.time_ns
    });
    let times = times.collect();
    writer.finish().unwrap();
    times
}

/// Times of the whole lines of a recording that may still grow.
fn log_times(log: &Path) -> Vec<u64> {
    let mut text = std::fs::read(log).unwrap();
    text.truncate(text.iter().rposition(|&byte| byte == b'\n').map_or(0, |i| i + 1));
    let reader = LogReader::from_reader("recorded.log", std::io::Cursor::new(text), Options::default()).unwrap();
    reader.map(|frame| frame.unwrap().time_ns).collect()
}

#[test]
fn error_frames_tell_the_state() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(vcan.0, SMALL, ""), &[vcan.0]);
    // Controller warning with counters 100 and 3; bus-off; restarted; nobody acknowledges.
    for (frame, state) in [
        ("20000004#0004000000006403", "error-warning"),
        ("20000040#0000000000000000", "bus-off"),
        ("20000100#0000000000000000", "error-active"),
    ] {
        sh(&format!("cansend kv0 {frame}"));
        stage.wait_for(state, |event| event.kind == "bus" && text(event, &["health", "state"]) == Some(state));
    }
    sh("cansend kv0 20000020#0000000000000000; cansend kv0 20000006#0201000000000000");
    wait_until("all frames", || frames(&mut stage, "kv0") == 5);
    let events = stage.complete(agent);
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    let counter = |name| number(last, &["buses", "kv0", name]);
    assert_eq!((counter("errors"), counter("tx_errors"), counter("rx_errors")), (Some(5), Some(100), Some(3)));
    assert_eq!((counter("bus_off"), counter("restarts"), counter("no_ack")), (Some(1), Some(1), Some(1)));
    assert_eq!((counter("lost_arbitration"), counter("overflow")), (Some(1), Some(1)));
}

#[test]
fn fd_frames_are_decoded() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let dbc = stage.dir.path().join("fd.dbc");
    std::fs::write(&dbc, "BU_: A\nBO_ 291 Wide: 64 A\n SG_ Last : 504|8@1+ (0.5,0) [0|0] \"\" A\n").unwrap();
    let what = format!(
        "[[bus]]\nname = \"kv0\"\ndbc = [{dbc:?}]\n[[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n"
    );
    let agent = stage.listen(&what, &["kv0"]);
    sh(&format!("cansend kv0 123##1{}FF", "00".repeat(63)));
    let seen = stage.wait_for("the value", |event| event.kind == "signals");
    assert_eq!(field(&seen, &["values", "Wide.Last"]), Some(&serde_cbor::Value::Float(127.5)));
    stage.complete(agent);
    drop(vcan);
}

/// CAN XL came with Linux 6.1: before, an interface cannot be made wide enough, and there is nothing to hear.
#[test]
fn xl_frames_are_counted_and_sent_on() {
    let vcan = Vcan::new("kv0");
    // An interface that is up keeps its width.
    sh("ip link set kv0 down");
    if !Command::new("ip").args(["link", "set", "kv0", "mtu", "2060"]).stderr(Stdio::null()).status().unwrap().success()
    {
        println!("NOT RUN: CAN XL, which came with Linux 6.1");
        return;
    }
    sh("ip link set kv0 up");
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(vcan.0, SMALL, "forward_xl = true"), &["kv0"]);
    // Priority 1, XL, 1000 bytes; then a classic frame.
    sh("python3 -c 'import socket, struct; s = socket.socket(29, 3, 1); s.setsockopt(101, 7, 1); s.bind((\"kv0\",)); \
        [s.send(struct.pack(\"=IBBHI\", 1, 0x80, 3, 1000, 0) + bytes([7]) * 1000) for _ in range(5)]' && cansend kv0 100#01");
    wait_until("the classic frame", || frames(&mut stage, "kv0") == 1);
    let events = stage.complete(agent);
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    let counter = |name| number(last, &["buses", "kv0", name]);
    assert_eq!((counter("xl_frames"), counter("unreadable")), (Some(5), Some(0)));
    let sent_on: Vec<_> = events.iter().filter(|event| event.kind == "xl").collect();
    assert_eq!(sent_on.len(), 5);
    for event in sent_on {
        assert_eq!(field(event, &["data"]), Some(&serde_cbor::Value::Bytes(vec![7; 1000])));
        assert_eq!((number(event, &["priority"]), number(event, &["sdt"])), (Some(1), Some(3)));
    }
}

/// Without the privilege for a large buffer, the agent says what would help, and works.
#[test]
fn a_small_buffer_is_warned_of() {
    let vcan = Vcan::new("kv0");
    let stage = Stage::new();
    let config = stage.config(&bus(vcan.0, SMALL, ""));
    let program = env!("CARGO_BIN_EXE_outrider");
    // A root without CAP_NET_ADMIN.
    let said = sh(&format!(
        "timeout --preserve-status 6 setpriv --bounding-set -net_admin {program} run -c {} 2>&1",
        config.display()
    ));
    assert!(said.contains("KiB instead of 8192") && said.contains("sysctl net.core.rmem_max=8388608"), "{said}");
    assert!(said.contains("kv0: open") && said.contains("stopped: 0 frames"), "{said}");
}

/// Only what the DBC describes passes the kernel's filter; of J1939 each parameter group, whoever sends it.
#[test]
fn a_filter_lets_only_known_identifiers_through() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let what = bus(vcan.0, SMALL, "only_known = true\n[bus.validity]\nj1939 = \"always\"");
    let agent = stage.listen(&what, &["kv0"]);
    // Known: 100 and 18FEF1FE (extended), also with another priority and sender. Not: 101, 00000100 (extended), 0FE with
    // the low bits of the second, another group.
    sh("for f in 101#01 00000100#01 100#01 18FEF1FE#01 1FE#01 18FEF2FE#01 0CFEF121#01 101#02 100#02; do \
        cansend kv0 $f; done");
    wait_until("the known frames", || frames(&mut stage, "kv0") >= 4);
    let events = stage.complete(agent);
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    let counter = |name| number(last, &["buses", "kv0", name]);
    assert_eq!((counter("frames"), counter("unknown")), (Some(4), Some(0)));
}

/// The agent dies while frames come, and is started again: every event has arrived or is explained.
#[test]
fn a_kill_loses_nothing_without_saying_so() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let what = bus(vcan.0, SMALL, "") + "[[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 20\n";
    let mut traffic = Command::new("cangen");
    let mut traffic = traffic.args(["kv0", "-g", "2", "-I", "100", "-L", "8"]).spawn().unwrap();
    for _ in 0..3 {
        let agent = stage.listen(&what, &["kv0"]);
        let target = stage.recorder.poll() + 30;
        wait_until("events", || stage.recorder.poll() >= target);
        agent.kill();
    }
    let agent = stage.listen(&what, &["kv0"]);
    let target = stage.recorder.poll() + 30;
    wait_until("events", || stage.recorder.poll() >= target);
    traffic.kill().unwrap();
    traffic.wait().unwrap();
    stage.complete(agent);
}

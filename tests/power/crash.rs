//! A crash on two buses at full speed; the power is cut a tenth of a second later; the computer is started again, and the network
//! comes back after a while. The crash's event and the seconds before it arrive, complete.
//!
//! The flood counts in its payload, so that a frame that is missing is seen. `OUTRIDER_CRASH_AWAY_S` is how long the network is away.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use can_decoders::log::{LogReader, Options};
use serde_cbor::Value;

use super::scripted_gateway::ScriptedGateway;
use super::{DISK, path};

const GUEST: &str = "OUTRIDER_CRASH_GUEST";
/// What the recording has of the time before, seconds.
const BEFORE_S: u64 = 10;
/// From when the crash has been sent until the power is cut.
const CUT: Duration = Duration::from_millis(100);

const DBC: &str = "VERSION \"\"\nBU_: A\nBO_ 256 Restraint: 8 A\n SG_ Front : 0|16@1- (0.01,0) [0|0] \"m/s2\" A\n\
    BO_ 257 Chassis: 8 A\n SG_ Rear : 0|16@1- (0.01,0) [0|0] \"m/s2\" A\n";

fn sh(command: &str) {
    let output = Command::new("bash").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

fn outrider(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outrider")).args(args).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// The agent, once it listens to both buses.
fn start(port: u16) -> Child {
    for bus in ["kv0", "kv1"] {
        sh(&format!("ip link add {bus} type vcan && ip link set {bus} up"));
    }
    std::fs::write("/dev/shm/car.dbc", DBC).unwrap();
    let config = "/dev/shm/crash.toml";
    let text = format!(
        "[vehicle]\nid = \"car\"\n[[bus]]\nname = \"kv0\"\ndbc = [\"car.dbc\"]\n[[bus]]\nname = \"kv1\"\ndbc = [\"car.dbc\"]\n\
         [source]\nkind = \"socketcan\"\n[outbox]\ndir = \"{DISK}/agent\"\n[recorder]\ndir = \"{DISK}/recordings\"\nseconds = {BEFORE_S}\n\
         [crash]\nacceleration = [\"kv0:Restraint.Front\", \"kv1:Chassis.Rear\"]\nbefore_s = {BEFORE_S}\nafter_s = 5\n\
         [[gateway]]\nurl = \"mqtt://127.0.0.1:{port}\"\nstate_topic = \"\"\nreconnect_spread_ms = 0\nbackoff_min_ms = 100\nbackoff_max_ms = 1000\n"
    );
    std::fs::write(config, text).unwrap();
    let log = std::fs::File::create("/dev/shm/agent.log").unwrap();
    let agent = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .args(["run", "-c", config])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    wait("the agent to listen", || {
        let log = std::fs::read_to_string("/dev/shm/agent.log").unwrap();
        ["kv0", "kv1"].iter().all(|bus| log.contains(&format!("CAN interface {bus}: open")))
    });
    agent
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..300 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} has not come: {}", std::fs::read_to_string("/dev/shm/agent.log").unwrap());
}

/// The drive, up to the crash; it does not survive it.
#[expect(clippy::zombie_processes, reason = "it does not survive the crash")]
fn drive() {
    // Nobody listens there.
    start(1);
    // A bus of 500 kbit/s carries some 4,000 frames of 8 bytes a second.
    for bus in ["kv0", "kv1"] {
        sh(&format!("cangen {bus} -g 0.25 -I 7AB -L 8 -D i -i </dev/null >/dev/null 2>&1 &"));
    }
    std::thread::sleep(Duration::from_secs(BEFORE_S + 3));
    // -60 m/s² by both.
    sh("cansend kv0 100#90E8000000000000; cansend kv1 101#90E8000000000000");
    println!("CRASH");
    std::io::stdout().flush().unwrap();
    nix::sys::termios::tcdrain(std::io::stdout()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

/// After the reboot.
fn afterwards() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let into = received.clone();
    let gateway = ScriptedGateway::start(&[], move |publish| {
        into.lock().unwrap().extend_from_slice(&publish.payload);
        vec![(publish.id, 0)]
    });
    let away = std::env::var("OUTRIDER_CRASH_AWAY_S").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(15_u64);
    sh("ip link set lo down");
    let mut agent = start(gateway.port);
    std::thread::sleep(Duration::from_secs(away));
    assert!(received.lock().unwrap().is_empty(), "there was no network");
    sh("ip link set lo up");
    let (file, out) = (Path::new("/dev/shm/received.cbor"), "/dev/shm/desk");
    let mut said = String::new();
    wait("the recording", || {
        std::fs::write(file, &*received.lock().unwrap()).unwrap();
        let (good, text) = outrider(&["recording", "assemble", file.to_str().unwrap(), "-o", out]);
        said = text;
        good && said.contains(": complete: ")
    });
    sh(&format!("kill -TERM {}", agent.id()));
    assert!(agent.wait().unwrap().success());
    let path = PathBuf::from(said.trim_end().split_once(": complete: ").unwrap().1);

    // The event, with both sources.
    let bytes = std::fs::read(file).unwrap();
    let events: Vec<Value> = serde_cbor::Deserializer::from_slice(&bytes).into_iter().map(Result::unwrap).collect();
    let get = |value: &Value, key: &str| match value {
        Value::Map(map) => map.get(&Value::Text(key.to_owned())).cloned().unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let first = &events[0];
    assert_eq!((get(first, "class"), get(first, "kind")), (text("critical"), text("condition")), "before all else");
    assert_eq!(get(&get(first, "body"), "name"), text("crash impact"));
    // As it was stamped: the clock of this computer may have been set since.
    let stamp = if get(first, "stamp") == Value::Null { get(first, "t") } else { get(first, "stamp") };
    let Value::Integer(crash_ns) = stamp else { panic!("{first:?}") };
    let crash_ns = u64::try_from(crash_ns).unwrap();
    let torn = events.iter().any(|event| get(&get(event, "body"), "reason") == text("cut by a power failure"));

    // The seconds before, frame by frame.
    let options = Options { buses: vec!["kv0".to_owned(), "kv1".to_owned()], ..Options::default() };
    let mut counts: [Vec<u64>; 2] = Default::default();
    let (mut crash, mut first_ns, mut last_ns) = (0, u64::MAX, 0);
    for frame in LogReader::open(&path, options).unwrap() {
        let frame = frame.unwrap();
        (first_ns, last_ns) = (first_ns.min(frame.time_ns), last_ns.max(frame.time_ns));
        if frame.id.number() == 0x7AB {
            counts[usize::from(frame.bus.0)].push(u64::from_le_bytes(frame.payload().try_into().unwrap()));
        } else {
            crash += 1;
        }
    }
    for counts in &counts {
        let step = if counts[1].wrapping_sub(counts[0]) == 1 { |n: u64| n } else { u64::swap_bytes };
        let holes = counts.windows(2).filter(|pair| step(pair[1]).wrapping_sub(step(pair[0])) != 1).count();
        assert_eq!(holes, 0, "of {} frames", counts.len());
    }
    assert_eq!(crash, 2, "both frames of the crash");
    let before_ms = (crash_ns - first_ns) / 1_000_000;
    assert!(before_ms >= BEFORE_S * 1000 - 1, "{before_ms} ms before");
    let frames = counts[0].len() + counts[1].len();
    println!(
        "DONE {before_ms} ms before the crash and {} after it, {frames} frames, none missing{}; \
         the event came first, after {away} s without a network",
        last_ns.saturating_sub(crash_ns) / 1_000_000,
        if torn { ", cut by the power failure" } else { "" }
    );
}

#[test]
fn a_crash_and_the_seconds_before_it_survive_the_power_cut() {
    match std::env::var(GUEST).as_deref() {
        Ok("drive") => return drive(),
        Ok(_) => return afterwards(),
        Err(_) => {}
    }
    // The tenth of a second is this computer's: one that is busy may leave the other none of it.
    let outcome = (0..3).find_map(|_| match scenario() {
        Ok(done) => Some(done),
        Err(why) => {
            println!("once more: {why}");
            None
        }
    });
    println!("{}", outcome.expect("a crash that survives the power cut"));
}

/// The whole of it. What was found, or what is missing.
fn scenario() -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(256 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk).env("PATH", path()).status().unwrap();
    assert!(made.success(), "mkfs.ext4");
    let computer = |task: &str| {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel/boot"))
            .args(["-t", "600", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_crash_and_the_seconds_before_it_survive_the_power_cut", "--nocapture"])
            .env(GUEST, task)
            .env("UML_DISK", &disk)
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut running = computer("drive");
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let crashed = lines.by_ref().any(|line| {
        said.push(line.clone());
        line.contains("CRASH")
    });
    assert!(crashed, "{said:?}");
    std::thread::sleep(CUT);
    let killed = Command::new("pkill").args(["-KILL", "-f", &format!("ubd0={}", disk.display())]).status().unwrap();
    assert!(killed.success(), "there was nothing to kill");
    running.wait().unwrap();

    let output = computer("afterwards").wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let done = out.lines().find(|line| line.contains("DONE"));
    match done.filter(|_| output.status.success()) {
        Some(done) => Ok(done.trim().to_owned()),
        None => Err(format!("{out}\n{err}")),
    }
}

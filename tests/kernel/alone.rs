//! What changes the whole computer: its clock, its sleep, its network's set-up. Only in a kernel of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::agent::{Agent, Arrival};
use crate::mosquitto::wait_until;
use crate::proxy::Proxy;
use crate::stage::{Slcan, Stage, Vcan, bus, number, sh, text};
use crate::{SMALL, frames, generate};

/// The files in systemd/network, read by systemd-networkd, make interfaces that the agent opens without a permission.
#[test]
fn interfaces_come_up_as_documented() {
    let directory = Path::new("/run/systemd/network");
    std::fs::create_dir_all(directory).unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/network");
    for file in std::fs::read_dir(files).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), directory.join(file.file_name())).unwrap();
    }
    // With /sys writable it would wait for udev, which is not there.
    sh("mount -o remount,ro /sys");
    let mut networkd =
        Command::new("/lib/systemd/systemd-networkd").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut slcan = Slcan::new();
    assert_eq!(slcan.interface, "can0");
    let mut stage = Stage::new();
    let agent = stage.listen(&(bus("can0", SMALL, "") + &bus("vcan0", SMALL, "")), &["can0", "vcan0"]);
    wait_until("listen-only mode", || slcan.written().last().is_some_and(|said| said == "L"));
    slcan.say("t1001FF");
    sh(&format!("cansend vcan0 123##1{}", "00".repeat(64)));
    for interface in ["can0", "vcan0"] {
        wait_until("the frame", || frames(&mut stage, interface) == 1);
    }
    stage.complete(agent);
    networkd.kill().unwrap();
    networkd.wait().unwrap();
    sh("mount -o remount,rw /sys; ip link del vcan0");
}

/// Starts the agent with its gateway behind a proxy, and waits until it listens to the bus.
fn start_through(stage: &Stage, proxy: &Proxy, what: &str) -> Agent {
    let config = stage.config(what);
    let through = std::fs::read_to_string(&config).unwrap();
    let through = through.replace(&format!(":{}\"", stage.broker.port), &format!(":{}\"", proxy.port));
    std::fs::write(&config, through.replace("[uplink]", "keep_alive_s = 60\n[uplink]")).unwrap();
    let _ = std::fs::remove_file(stage.dir.path().join("run.log"));
    let agent = Agent::start(&config);
    wait_until("an open interface", || stage.log().contains("CAN interface kv0: open"));
    agent
}

/// Tells the kernel that somebody disciplines the clock, as an NTP daemon does: error 1 ms, no longer unsynchronised.
const DISCIPLINE: &str = "python3 -c '
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
ADJ_MAXERROR, ADJ_ESTERROR, ADJ_STATUS, STA_PLL = 4, 8, 16, 1
timex = ctypes.create_string_buffer(struct.pack(\"@Iqqqqi\", ADJ_MAXERROR | ADJ_ESTERROR | ADJ_STATUS, 0, 0, 1000, 500, STA_PLL), 256)
assert libc.adjtimex(timex) >= 0, ctypes.get_errno()
'";

/// The envelope's clock.
fn clock(event: &Arrival) -> (u64, u64, Option<u64>, &str) {
    (event.t, event.mono.unwrap(), event.stamp, event.clock.as_deref().unwrap())
}

/// A week in a garage: the clock begins in the year 2000, the gateway is out of reach, then comes the time, then the network.
#[test]
fn a_clock_that_is_set_late_puts_right_what_waits() {
    const YEAR_2000: u64 = 946_684_800;
    const NOW: u64 = 1_800_000_000;
    const S: u64 = 1_000_000_000;
    sh(&format!("date -s @{YEAR_2000}"));
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let proxy = Proxy::start(stage.broker.port);
    proxy.refuse(true);
    let collect = "[[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n";
    let what = bus(vcan.0, SMALL, "") + collect;
    let agent = start_through(&stage, &proxy, &what);
    let traffic = |count: u32| {
        let mut traffic = Command::new("cangen")
            .args([vcan.0, "-I", "100", "-L", "8", "-g", "20", "-n", &count.to_string()])
            .spawn()
            .unwrap();
        assert!(traffic.wait().unwrap().success());
    };
    traffic(100);
    sh(&format!("date -s @{NOW}"));
    wait_until("the step to be seen", || stage.log().contains("state=\"set\""));
    traffic(50);
    sh(DISCIPLINE);
    wait_until("the synchronisation to be seen", || stage.log().contains("state=\"synced\""));
    traffic(50);
    // Stopped before it ever had a gateway: what is in the outbox is stored as it was stamped.
    agent.signal("TERM");
    agent.finish();
    proxy.refuse(false);
    let agent = start_through(&stage, &proxy, &what);
    wait_until("the clock to be looked at", || stage.log().contains("state=\"synced\""));
    let events = stage.complete(agent);

    let changes: Vec<&Arrival> = events.iter().filter(|event| event.kind == "clock").collect();
    let states: Vec<&str> = changes.iter().filter_map(|event| text(event, &["state"])).collect();
    assert_eq!(states, ["unset", "set", "synced", "synced"], "the last one is of the second run");
    let step = number(changes[1], &["step"]).unwrap();
    assert!(step.abs_diff((NOW - YEAR_2000) * S) < 60 * S, "{step}");
    let (t, mono, ..) = clock(changes[2]);
    let offset = t - mono;
    let (mut put_right, mut highest) = ([0; 2], 0);
    for event in &events {
        let (t, mono, stamp, state) = clock(event);
        assert_eq!(state, "synced", "{event:?}");
        assert!((t - mono).abs_diff(offset) < S / 5, "{event:?}");
        match stamp {
            Some(stamp) if stamp < NOW * S => put_right[0] += 1,
            Some(_) => put_right[1] += 1,
            None => {}
        }
        if event.class == "telemetry" {
            assert!(t >= highest, "order: {event:?}");
            highest = t;
        }
    }
    assert!(put_right.iter().all(|&count| count > 10), "{put_right:?} of {}", events.len());
    println!(
        "{put_right:?} of {} events put right: stamped before the clock was set, and before it was synchronised",
        events.len()
    );
}

/// The connection dies while the computer sleeps, and nobody says so.
#[test]
fn after_a_sleep_the_agent_is_back_at_once() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let proxy = Proxy::start(stage.broker.port);
    let agent = start_through(&stage, &proxy, &bus(vcan.0, SMALL, ""));
    wait_until("events", || frames(&mut stage, vcan.0) == 0 && !stage.events().is_empty());
    std::fs::write("/run/host/wake", "6").unwrap();
    proxy.abandon();
    let before = stage.recorder.highest();
    sh("echo freeze >/sys/power/state");
    let awake = Instant::now();
    assert!(generate(vcan.0, 10, "").wait().unwrap().success());
    wait_until("frames from after the sleep", || frames(&mut stage, vcan.0) == 10);
    let took = awake.elapsed();
    println!("{} ms after the sleep, events of frames from after it had arrived", took.as_millis());
    assert!(stage.recorder.highest() > before && proxy.accepted() == 2, "{}", stage.log());
    // It is told in two seconds at the worst; this bound is for slow computers, and far below keep_alive.
    assert!(took.as_secs() < 20, "{took:?}");
    stage.complete(agent);
}

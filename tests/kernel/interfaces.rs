//! Interfaces that come, go, and may not be opened.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::agent::{self, arg, run};
use crate::mosquitto::wait_until;
use crate::stage::{Slcan, Stage, Vcan, bus, field, number, sh, text};
use crate::{SMALL, frames, generate};

/// What was pending when the interface went down is heard before it is given up.
#[test]
fn frames_before_a_loss_are_heard() {
    const COUNT: u32 = 700;
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(vcan.0, SMALL, ""), &[vcan.0]);
    agent.signal("STOP");
    assert!(generate(vcan.0, COUNT, "-L 8").wait().unwrap().success());
    sh("ip link set kv0 down");
    let down_ns = outrider::runtime::clock::wall_ns();
    std::thread::sleep(std::time::Duration::from_millis(300));
    agent.signal("CONT");
    stage.wait_for("the loss", |event| text(event, &["health", "state"]) == Some("lost"));
    // Lost to the end: that is told at the end.
    let events = stage.complete(agent);
    let end_ns = outrider::runtime::clock::wall_ns();
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    assert_eq!(number(last, &["buses", "kv0", "frames"]), Some(COUNT.into()));
    assert_eq!(text(last, &["buses", "kv0", "state"]), Some("lost"));
    let blind: Vec<_> = events.iter().filter(|event| event.kind == "blind").collect();
    let [blind] = blind[..] else { panic!("{blind:?}") };
    assert_eq!(text(blind, &["cause"]), Some("interface"));
    let (from, to) = (number(blind, &["from"]).unwrap(), number(blind, &["to"]).unwrap());
    // All that came was heard, but it may have been down and up in between: told is from when the agent was held up.
    assert!(from <= down_ns && from + 5_000_000_000 > down_ns, "{blind:?} and down at {down_ns}");
    assert!(to > down_ns + 300_000_000 && to < end_ns, "{blind:?}");
}

/// Down and up, deleted and made anew, renamed: each time the loss is told, and the interface is opened again.
#[test]
fn an_interface_that_is_lost_is_opened_again() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(vcan.0, SMALL, ""), &[vcan.0]);
    let mut sent = 0;
    let lose_and_return = [
        ("ip link set kv0 down", "ip link set kv0 up"),
        ("ip link del kv0", "ip link add kv0 type vcan && ip link set kv0 up"),
        (
            "ip link set kv0 down && ip link set kv0 name kv7 && ip link set kv7 up",
            "ip link set kv7 down && ip link set kv7 name kv0 && ip link set kv0 up",
        ),
    ];
    for (lose, back) in lose_and_return {
        sh("cansend kv0 100#0102030405060708");
        sent += 1;
        wait_until("the frame before", || frames(&mut stage, "kv0") >= sent);
        let before_ns = outrider::runtime::clock::wall_ns();
        sh(lose);
        let lost_ns = outrider::runtime::clock::wall_ns();
        let lost = stage.wait_for("the loss", |event| {
            event.kind == "bus" && event.t > before_ns && text(event, &["health", "state"]) == Some("lost")
        });
        assert!(lost.t < lost_ns + 1_000_000_000, "{lose}: told within a second");
        std::thread::sleep(std::time::Duration::from_millis(300));
        sh(back);
        let back_ns = outrider::runtime::clock::wall_ns();
        let blind = stage.wait_for("the blind time", |event| event.kind == "blind" && event.t > before_ns);
        let at = |key| number(&blind, &[key]).unwrap();
        assert_eq!(
            (text(&blind, &["cause"]), field(&blind, &["frames"])),
            (Some("interface"), Some(&serde_cbor::Value::Null))
        );
        assert!(at("from") < lost_ns + 1_000_000_000 && at("to") - at("from") >= 300_000_000, "{lose}: {blind:?}");
        assert!(at("to") < back_ns + 1_000_000_000, "{lose}: opened within a second of {back_ns}: {blind:?}");
        println!("{lose}: heard again {} ms after it was back", at("to").saturating_sub(back_ns) / 1_000_000);
    }
    sh("cansend kv0 100#0102030405060708");
    wait_until("the frame after", || frames(&mut stage, "kv0") > sent);
    let events = stage.complete(agent);
    assert_eq!(events.iter().filter(|event| event.kind == "blind").count(), 3);
    // Up again, a virtual bus has no state.
    let last = events.iter().rfind(|event| event.kind == "bus").unwrap();
    assert_eq!(field(last, &["health", "state"]), Some(&serde_cbor::Value::Null));
}

/// Down and up many times a second: told no more often than it is opened, and all of it covered.
#[test]
fn a_flapping_interface_is_told_in_bounds() {
    let vcan = Vcan::new("kv0");
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(vcan.0, SMALL, ""), &[vcan.0]);
    let begin_ns = outrider::runtime::clock::wall_ns();
    for _ in 0..60 {
        sh("ip link set kv0 down; sleep 0.03; ip link set kv0 up; sleep 0.03");
    }
    let end_ns = outrider::runtime::clock::wall_ns();
    wait_until("the frame after", || {
        sh("cansend kv0 100#01");
        frames(&mut stage, "kv0") > 0
    });
    let said = stage.log();
    let events = stage.complete(agent);
    let blind = events.iter().filter(|event| event.kind == "blind").count() as u64;
    assert!(blind >= 1 && blind <= (end_ns - begin_ns) / 800_000_000 + 2, "{blind}");
    let lines = said.lines().filter(|line| line.contains("CAN interface kv0")).count();
    assert!(lines <= 21, "{lines} lines: {said}");
}

#[test]
fn an_interface_that_comes_late_is_waited_for() {
    let mut stage = Stage::new();
    let start_ns = outrider::runtime::clock::wall_ns();
    let agent = stage.listen(&bus("kv3", SMALL, ""), &[]);
    wait_until("the warning", || stage.log().contains("CAN interface kv3: is not there"));
    let lost = stage.wait_for("its state", |event| text(event, &["health", "state"]) == Some("lost"));
    assert!(lost.t > start_ns);
    let vcan = Vcan::new("kv3");
    wait_until("an open interface", || stage.log().contains("CAN interface kv3: open"));
    let open_ns = outrider::runtime::clock::wall_ns();
    sh("cansend kv3 100#01");
    wait_until("the frame", || frames(&mut stage, vcan.0) == 1);
    let events = stage.complete(agent);
    let blind: Vec<_> = events.iter().filter(|event| event.kind == "blind").collect();
    let [blind] = blind[..] else { panic!("{blind:?}") };
    assert!(number(blind, &["from"]).unwrap() > start_ns && number(blind, &["to"]).unwrap() < open_ns, "{blind:?}");
}

/// A real driver, and a wire that can be seen: what would acknowledge is refused, listening leaves no trace on it.
#[test]
fn only_a_controller_that_listens_only_is_opened() {
    let mut slcan = Slcan::new();
    let interface = slcan.interface.clone();
    let mut stage = Stage::new();
    let what =
        bus(&interface, SMALL, "") + "[[collect]]\nname = \"load\"\nsignals = [\"BusHealth.Load\"]\nperiod_ms = 1000\n";
    sh(&format!("ip link set {interface} type can bitrate 500000 && ip link set {interface} up"));
    let refused = run(&["run", "-c", arg(&stage.config(&what))]);
    assert_eq!(refused.status.code(), Some(1));
    let said = agent::texts(&refused).1;
    assert!(
        said.contains(&interface) && said.contains("listen-only on") && said.contains("allow_acknowledge"),
        "{said}"
    );

    sh(&format!(
        "ip link set {interface} down && ip link set {interface} type can listen-only on && ip link set {interface} up"
    ));
    let start_ns = outrider::runtime::clock::wall_ns();
    let agent = stage.listen(&what, &[&interface]);
    wait_until("listen-only mode", || slcan.written().last().is_some_and(|said| said == "L"));
    let before = slcan.written();
    for i in 0..200 {
        slcan.say(&format!("t1008{i:016X}"));
    }
    wait_until("the frames", || frames(&mut stage, &interface) == 200);
    let state = stage.wait_for("the state", |event| event.kind == "bus");
    assert_eq!(text(&state, &["health", "state"]), Some("error-active"));
    assert_eq!(number(&state, &["health", "bitrate"]), Some(500_000));
    // Load is measured over whole seconds: the first frames may have come before the first.
    stage.wait_for("a measured second", |event| field(event, &["values", "BusHealth.Load"]).is_some());
    for i in 0..200 {
        slcan.say(&format!("t1008{i:016X}"));
    }
    stage.wait_for("a load", |event| {
        matches!(field(event, &["values", "BusHealth.Load"]), Some(serde_cbor::Value::Float(load)) if *load > 0.1)
    });
    assert!(stage.events().iter().filter(|event| event.kind == "bus").all(|event| event.t > start_ns));

    // Switched over while it was down: it is not heard again, and that is told. What goes on the wire comes in order, so
    // the driver's next word after all that is proof that there was none between.
    let normal = format!(
        "ip link set {interface} down && ip link set {interface} type can listen-only off && ip link set {interface} up"
    );
    sh(&normal);
    stage.wait_for("the refusal", |event| text(event, &["health", "state"]) == Some("refused"));
    let mut words = before.clone();
    // Closed as it goes down and before it comes up, the bitrate again, open in normal mode.
    words.extend(["C", "C", "S6", "O"].map(String::from));
    wait_until("normal mode", || slcan.written().len() >= words.len());
    assert_eq!(slcan.written(), words, "nothing else on the wire");
    let received = || sh(&format!("cat /sys/class/net/{interface}/statistics/rx_packets"));
    let before = received();
    slcan.say("t1001FF");
    wait_until("the driver", || received() != before);
    let heard = frames(&mut stage, &interface);
    let events = stage.complete(agent);
    let last = events.iter().rfind(|event| event.kind == "health").unwrap();
    assert_eq!(number(last, &["buses", &interface, "frames"]), Some(heard));
    let blind = events.iter().rfind(|event| event.kind == "blind").unwrap();
    assert_eq!(text(blind, &["cause"]), Some("interface"));

    // Allowed by name.
    let mut stage = Stage::new();
    let agent = stage.listen(&bus(&interface, SMALL, "allow_acknowledge = true"), &[&interface]);
    slcan.say("t1001FF");
    wait_until("the frame", || frames(&mut stage, &interface) == 1);
    stage.complete(agent);
}

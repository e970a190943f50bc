//! Networks with budgets, on the loopback interface: what is used is what the kernel says, and what may wait waits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/proxy.rs"]
mod proxy;

use std::path::{Path, PathBuf};
use std::time::Instant;

use agent::{Agent, Recorder, audit, stat};
use mosquitto::{Mosquitto, wait_until};
use proxy::Proxy;
use serde_cbor::Value;

const MIB: usize = 1 << 20;

/// An agent that has driven for so many seconds of the simulated vehicle, and sends for so many.
fn drive(dir: &Path, port: u16, minutes: f64, drain_s: u64, network: &str) -> PathBuf {
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
    let text = format!(
        "[vehicle]\nid = \"truck-1\"\n\n[outbox]\ndir = \"outbox\"\n\n[uplink]\ndrain_timeout_s = {drain_s}\n\n\
         [[bus]]\nname = \"can0\"\ndbc = [{:?}]\n\n[source]\nkind = \"sim\"\nspeed = 100\nminutes = {minutes}\n\n\
         [[collect]]\nname = \"fast\"\nsignals = [\"*\"]\nperiod_ms = 20\n\n\
         [[gateway]]\nurl = \"mqtt://127.0.0.1:{port}\"\nbackoff_min_ms = 20\nbackoff_max_ms = 100\n\
         reconnect_spread_ms = 0\n\n{network}",
        dbc.join("demo-powertrain.dbc"),
    );
    let config = dir.join("outrider.toml");
    std::fs::write(&config, text).unwrap();
    Agent::start(&config).finish();
    dir.join("outbox")
}

/// What the agent has said of a network at the `ends`th of its ends, bytes: what it has carried, and what is left.
fn told(recorder: &mut Recorder, ends: usize) -> (u64, u64) {
    let counter = |map: &Value, name: &str| {
        let Value::Map(map) = map else { return None };
        let Value::Integer(kib) = map.get(&Value::Text(name.into()))? else { return None };
        Some(u64::try_from(*kib).unwrap() << 10)
    };
    let is_end = |event: &Value| {
        let Value::Map(body) = event else { return false };
        body.get(&Value::Text("state".into())) == Some(&Value::Text("stopping".into()))
    };
    wait_until("the agent's last words", || {
        recorder.events().into_iter().filter(|event| is_end(&event.body)).count() == ends
    });
    let told = recorder.events().into_iter().rev().filter(|event| is_end(&event.body)).find_map(|event| {
        let Value::Map(body) = event.body else { return None };
        let counters = body.get(&Value::Text("counters".into()))?;
        Some((counter(counters, "network.lo.kib")?, counter(counters, "network.lo.left_kib")?))
    });
    told.unwrap()
}

#[test]
fn when_the_day_is_used_up_what_may_wait_waits_and_a_restart_makes_no_new_day() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let mut recorder = Recorder::start(&broker, dir.path());
    let proxy = Proxy::start(broker.port);
    proxy.capture();
    let metered = "[[network]]\ninterface = \"lo\"\nmib_per_day = 2\n";
    let outbox = drive(dir.path(), proxy.port, 4.0, 60, metered);
    let (first, waits) = (proxy.captured().len(), stat(&outbox).depth);
    // Three quarters of it for telemetry, which has not been enough; the rest is for what is more important. What is on its
    // way when that is known comes on top.
    assert!((MIB..2 * MIB).contains(&first) && waits > 1000, "{first} bytes, {waits} events wait");
    // As the agent itself counts, when it begins to end.
    let (carried, left) = told(&mut recorder, 1);
    assert!(carried > 500_000 && carried < first as u64 * 5 / 4 && left < MIB as u64, "{carried}, {left} of {first}");

    drive(dir.path(), proxy.port, 0.5, 60, metered);
    let second = proxy.captured().len() - first;
    assert!(second < 128 << 10, "{second} bytes: only what is important");
    assert!(told(&mut recorder, 2).1 < MIB as u64);
    let now = stat(&outbox).depth;
    assert!(now > waits, "{waits}, now {now}, {second} bytes: what came meanwhile waits, too");

    // A free network.
    drive(dir.path(), proxy.port, 0.1, 120, "");
    assert_eq!(stat(&outbox).depth, 0);
    recorder.stop();
    let verdict = audit(&[&recorder.file]);
    assert!(verdict.good && verdict.missing == 0, "{verdict:?}");
}

#[test]
fn the_bandwidth_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let proxy = Proxy::start(broker.port);
    proxy.capture();
    let began = Instant::now();
    let outbox = drive(dir.path(), proxy.port, 2.0, 4, "[[network]]\ninterface = \"lo\"\nkbit_per_s = 160\n");
    let (bytes, seconds) = (proxy.captured().len(), began.elapsed().as_secs_f64());
    let most = 20_000.0 * seconds;
    // A message is as large as it is, and some may be on their way.
    assert!((bytes as f64) < most + 64_000.0 && bytes > 40_000, "{bytes} bytes, {most} in {seconds} s");
    assert!(stat(&outbox).depth > 0, "it was not enough for all");
}

//! What may not leave the vehicle is in no byte that it sends, and in none that it writes: captures and the disk are searched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/ruled_vehicle.rs"]
mod ruled_vehicle;

use std::collections::BTreeSet;

use agent::{Recorder, arg, audit, good, run, stat};
use mosquitto::Mosquitto;
use proxy::Proxy;
use ruled_vehicle::{FRAMES, RULES, VIN, Vehicle, boot_id, count, exact, gateway, has, ruled};
use tempfile::TempDir;

/// A gateway that has a record of every byte that it was sent.
struct Site {
    proxy: Proxy,
    broker: Mosquitto,
    room: TempDir,
}

impl Site {
    fn make() -> Self {
        let room = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start(room.path());
        let proxy = Proxy::start(broker.port);
        proxy.capture();
        Self { proxy, broker, room }
    }
}

/// With gateways in `eu` and `us` at these ports.
fn vehicle(rules: &str, eu: u16, us: u16) -> Vehicle {
    let gateway = |name: &str, port: u16, more: &str| {
        let topic = format!("topic = \"outrider/{{vehicle}}/{name}/{{class}}\"\n{more}");
        gateway(name, &format!("mqtt://127.0.0.1:{port}"), &topic)
    };
    Vehicle::make(rules, 2, &[gateway("eu", eu, ""), gateway("us", us, "payload = \"json\"\n")])
}

#[test]
fn without_rules_the_search_finds_it_all() {
    let (eu, us) = (Site::make(), Site::make());
    let vehicle = vehicle("", eu.proxy.port, us.proxy.port);
    for site in [&eu, &us] {
        site.proxy.refuse(true);
    }
    vehicle.drive(0);
    let disk = vehicle.disk();
    for site in [&eu, &us] {
        site.proxy.refuse(false);
    }
    vehicle.drive(60);
    for (bytes, place) in [(&disk, "disk"), (&eu.proxy.captured(), "eu"), (&us.proxy.captured(), "us")] {
        for (signal, values) in ruled(&vehicle) {
            let found = count(bytes, &values);
            assert!(found >= values.len() * 9 / 10 && found > 0, "{signal} in {place}: {found} of {}", values.len());
        }
        assert!(has(bytes, VIN.as_bytes()) && has(bytes, boot_id().as_bytes()), "{place}");
    }
}

#[test]
fn no_forbidden_value_is_in_any_byte_sent_or_stored() {
    let (eu, us) = (Site::make(), Site::make());
    let mut recorder = Recorder::start(&eu.broker, eu.room.path());
    let vehicle = vehicle(RULES, eu.proxy.port, us.proxy.port);
    // First no gateway can be reached, then the one that may not have all.
    for site in [&eu, &us] {
        site.proxy.refuse(true);
    }
    let mut log = vehicle.drive(0);
    let mut disk = vehicle.disk();
    let waits = stat(&vehicle.outbox()).depth;
    us.proxy.refuse(false);
    log += &vehicle.drive(3);
    disk.extend(vehicle.disk());
    let held = stat(&vehicle.outbox()).depth;
    assert!(waits > u64::from(FRAMES) && held > 100, "{waits} {held}: what is for eu alone stays");
    eu.proxy.refuse(false);
    log += &vehicle.drive(60);
    disk.extend(vehicle.disk());
    assert_eq!(stat(&vehicle.outbox()).depth, 0, "{log}");

    // Times and random pauses have digits of their own: some would be those of a value one day.
    let is_own = |word: &&str| !word.starts_with("retry_in=") && !word.ends_with('Z');
    let log = log.split(' ').flat_map(|word| word.split('\n')).filter(is_own).collect::<Vec<_>>().join(" ");
    assert!(log.contains("link up"), "{log}");
    let (eu_bytes, us_bytes) = (eu.proxy.captured(), us.proxy.captured());
    let places = [(&disk, "disk"), (&eu_bytes, "eu"), (&us_bytes, "us"), (&log.into_bytes(), "log")];
    for (bytes, place) in places {
        for (signal, values) in ruled(&vehicle) {
            assert!(values.len() >= if signal == "Car.Driver" { 4 } else { 250 }, "{signal}");
            assert_eq!(count(bytes, &values), 0, "{signal} in {place}");
        }
        assert!(!has(bytes, VIN.as_bytes()) && !has(bytes, boot_id().as_bytes()), "{place}");
        assert!(!has(bytes, b"Car.Heart") && !has(bytes, b"nobody can guess"), "{place}");
        assert!(bytes.len() > 100_000 || place == "log", "{place}");
    }
    // Where it may go, it went; and nowhere else.
    let weights = exact(&vehicle, "Cabin.Weight");
    assert!(count(&eu_bytes, &weights) >= weights.len() * 9 / 10 && has(&eu_bytes, b"Cabin.Weight"));
    assert!(count(&us_bytes, &weights) == 0 && !has(&us_bytes, b"Cabin.Weight"));
    assert!(has(&us_bytes, b"Car.Speed") && has(&us_bytes, b"Gps.Lat") && has(&us_bytes, b"Car.Driver"));

    // Complete all the same.
    recorder.stop();
    let events = std::fs::read(&recorder.file).unwrap();
    let verdict = audit(&[&recorder.file]);
    assert!(verdict.good, "{verdict:?}");
    // Times of what is told by the hour.
    let mut hours = BTreeSet::new();
    for (event, bytes) in agent::split(&events).0 {
        if has(&bytes, b"Cabin.Weight") {
            assert_eq!(event.t % 3_600_000_000_000, 0);
            hours.insert(event.t);
        }
    }
    assert_eq!(hours.len(), 1);
}

#[test]
fn what_leaves_can_be_looked_at_before() {
    let vehicle = vehicle(RULES, 1, 1);
    let config = vehicle.dir.path().join("now.toml");
    std::fs::write(&config, std::fs::read_to_string(&vehicle.config).unwrap().replace("DRAIN", "1")).unwrap();
    let text = good(&run(&["replay", arg(&vehicle.dir.path().join("drive.log")), "-c", arg(&config)]));
    assert!(!text.contains(VIN) && !text.contains("Car.Heart") && text.contains("\"regions\":[\"eu\"]"), "{text}");
    for signal in ["Gps.Lat", "Gps.Lon", "Car.Speed", "Car.Driver"] {
        assert_eq!(count(text.as_bytes(), &exact(&vehicle, signal)), 0, "{signal}");
    }
    let good = |output: std::process::Output| assert!(output.status.success(), "{output:?}");
    good(run(&["check", "-c", arg(&config)]));
}

//! What may not leave the vehicle is in no byte that it sends, and in none that it writes: captures and the disk are searched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/proxy.rs"]
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use agent::{Agent, Recorder, arg, audit, good, run, stat};
use mosquitto::Mosquitto;
use proxy::Proxy;
use serde_cbor::Value;
use tempfile::TempDir;

const VIN: &str = "WVWZZZ1JZXW000001";
const FRAMES: u32 = 400;
/// When the recording begins, seconds: one that is no full hour.
const BEGIN: u64 = 1_800_001_234;

const DBC: &str = r#"VERSION ""
BU_: A
BO_ 256 Gps: 8 A
 SG_ Lat : 0|32@1- (1e-7,0) [-90|90] "deg" A
 SG_ Lon : 32|32@1- (1e-7,0) [-180|180] "deg" A
BO_ 257 Car: 8 A
 SG_ Speed : 0|16@1+ (0.013,0) [0|900] "km/h" A
 SG_ Driver : 16|32@1+ (1,0) [0|4294967295] "" A
 SG_ Heart : 48|16@1+ (0.0123,0) [0|900] "1/min" A
BO_ 258 Cabin: 8 A
 SG_ Weight : 0|32@1+ (0.00137,0) [0|5883516] "kg" A
"#;

const RULES: &str = r#"
[privacy]
vehicle = "pseudonym"
key_file = "pseudonyms.key"

[[privacy.rule]]
latitude = "Gps.Lat"
longitude = "Gps.Lon"
grid_m = 1000

[[privacy.rule]]
signals = ["Car.Speed"]
round = 5

[[privacy.rule]]
signals = ["Car.Driver"]
pseudonym = true

[[privacy.rule]]
signals = ["Car.Heart"]
drop = true

[[privacy.rule]]
signals = ["Cabin.Weight"]
time_s = 3600
regions = ["eu"]
"#;

/// A vehicle's directory: recording, configuration, outbox.
struct Vehicle {
    dir: TempDir,
    config: PathBuf,
}

impl Vehicle {
    /// With gateways in `eu` and `us` at these ports.
    fn make(rules: &str, eu: u16, us: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut log = String::new();
        for n in 0..FRAMES {
            let t = f64::from(n) * 0.1;
            let payload = |a: u32, b: u32| (u64::from(a) | u64::from(b) << 32).to_le_bytes();
            let car =
                u64::from(4_000 + 7 * n) | (3_141_592_653 + u64::from(n / 100)) << 16 | u64::from(5_000 + n) << 48;
            let frames = [
                ("100", payload(525_162_700 + 123 * n, 133_777_000 + 177 * n)),
                ("101", car.to_le_bytes()),
                ("102", payload(987_654 + 31 * n, 0)),
            ];
            for (id, payload) in frames {
                let hex: String = payload.iter().map(|byte| format!("{byte:02X}")).collect();
                writeln!(log, "({:.6}) can0 {id}#{hex}", BEGIN as f64 + t).unwrap();
            }
        }
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("drive.log", &log);
        write("car.dbc", DBC);
        write("pseudonyms.key", "nobody can guess this, nobody at all\n");
        let key = dir.path().join("pseudonyms.key");
        std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let gateway = |name: &str, port: u16, more: &str| {
            format!(
                "[[gateway]]\nname = \"{name}\"\nregion = \"{name}\"\nurl = \"mqtt://127.0.0.1:{port}\"\n\
                 topic = \"outrider/{{vehicle}}/{name}/{{class}}\"\nbackoff_min_ms = 10\nbackoff_max_ms = 100\n\
                 reconnect_spread_ms = 0\n{more}\n"
            )
        };
        let text = format!(
            "[vehicle]\nid = \"{VIN}\"\n\n[[bus]]\nname = \"can0\"\ndbc = [\"car.dbc\"]\n\n\
             [source]\nkind = \"replay\"\nlog = \"drive.log\"\nspeed = 40\n\n\
             [[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n\n\
             [[collect]]\nname = \"sums\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 1000\n\n\
             [outbox]\ndir = \"outbox\"\n[outbox.class]\ntelemetry = {{ store = \"always\" }}\n\n\
             [uplink]\ndrain_timeout_s = DRAIN\ncopies = {{ status = 2, telemetry = 2 }}\n\n{}{}{rules}",
            gateway("eu", eu, ""),
            gateway("us", us, "payload = \"json\"\n"),
        );
        let config = dir.path().join("outrider.toml");
        std::fs::write(&config, text).unwrap();
        Self { dir, config }
    }

    /// Drives once, and then sends for at most so many seconds. What it said.
    fn drive(&self, drain_s: u64) -> String {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let config = self.dir.path().join("now.toml");
        std::fs::write(&config, text.replace("DRAIN", &drain_s.to_string())).unwrap();
        Agent::start(&config).finish();
        std::fs::read_to_string(self.dir.path().join("run.log")).unwrap()
    }

    fn outbox(&self) -> PathBuf {
        self.dir.path().join("outbox")
    }

    /// All that it has on disk.
    fn disk(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut dirs = vec![self.outbox()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { all.extend(std::fs::read(path).unwrap()) }
            }
        }
        all
    }
}

fn has(bytes: &[u8], pattern: &[u8]) -> bool {
    memchr::memmem::find(bytes, pattern).is_some()
}

/// How many of the values are there, as a double or as text.
fn count(bytes: &[u8], values: &[f64]) -> usize {
    // As a number of its own, not as a part of another.
    let is_digit =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| b.is_ascii_digit() || *b == b'.');
    let as_text = |text: &str| {
        let mut places = memchr::memmem::find_iter(bytes, text);
        places.any(|at| !is_digit(at.checked_sub(1)) && !is_digit(Some(at + text.len())))
    };
    values.iter().filter(|value| has(bytes, &value.to_be_bytes()) || as_text(&format!("{value:?}"))).count()
}

/// The exact values of a signal in the drive, as events without rules have them.
fn exact(vehicle: &Vehicle, signal: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(&vehicle.config).unwrap();
    let plain = vehicle.dir.path().join("plain.toml");
    std::fs::write(&plain, text.split("\n[privacy]").next().unwrap().replace("DRAIN", "1")).unwrap();
    let drive = vehicle.dir.path().join("drive.log");
    let events = run(&["replay", arg(&drive), "-c", arg(&plain), "--format", "cbor"]).stdout;
    let mut values = Vec::new();
    for (event, _) in agent::split(&events).0 {
        let Value::Map(body) = event.body else { continue };
        let entry = |map: &BTreeMap<Value, Value>, name: &str| map.get(&Value::Text(name.into())).cloned();
        if let Some(Value::Map(all)) = entry(&body, "values")
            && let Some(Value::Float(value)) = entry(&all, signal)
        {
            values.push(value);
        }
    }
    // What can also be a round number, or the middle of something, proves nothing.
    values.retain(|value| value.to_string().len() >= 6);
    values
}

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

/// What has rules: signals, and their values in the drive.
fn ruled(vehicle: &Vehicle) -> [(&'static str, Vec<f64>); 5] {
    ["Gps.Lat", "Gps.Lon", "Car.Speed", "Car.Driver", "Car.Heart"].map(|signal| (signal, exact(vehicle, signal)))
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

#[test]
fn without_rules_the_search_finds_it_all() {
    let (eu, us) = (Site::make(), Site::make());
    let vehicle = Vehicle::make("", eu.proxy.port, us.proxy.port);
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
    let vehicle = Vehicle::make(RULES, eu.proxy.port, us.proxy.port);
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
    let vehicle = Vehicle::make(RULES, 1, 1);
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

//! A vehicle with rules of privacy, a drive whose values can be told from all others, and the search for them.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_cbor::Value;
use tempfile::TempDir;

use crate::agent::{Agent, arg, run, split};

pub(crate) const VIN: &str = "WVWZZZ1JZXW000001";
pub(crate) const FRAMES: u32 = 400;
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

pub(crate) const RULES: &str = r#"
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
pub(crate) struct Vehicle {
    pub(crate) dir: TempDir,
    pub(crate) config: PathBuf,
}

impl Vehicle {
    /// With these gateways and copies of telemetry.
    pub(crate) fn make(rules: &str, copies: usize, gateways: &[String]) -> Self {
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
        let text = format!(
            "[vehicle]\nid = \"{VIN}\"\n\n[[bus]]\nname = \"can0\"\ndbc = [\"car.dbc\"]\n\n\
             [source]\nkind = \"replay\"\nlog = \"drive.log\"\nspeed = 40\n\n\
             [[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n\n\
             [[collect]]\nname = \"sums\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 1000\n\n\
             [outbox]\ndir = \"outbox\"\n[outbox.class]\ntelemetry = {{ store = \"always\" }}\n\n\
             [uplink]\ndrain_timeout_s = DRAIN\ncopies = {{ status = {copies}, telemetry = {copies} }}\n\n{}{rules}",
            gateways.concat(),
        );
        let config = dir.path().join("outrider.toml");
        std::fs::write(&config, text).unwrap();
        Self { dir, config }
    }

    /// Drives once, and then sends for at most so many seconds. What it said.
    pub(crate) fn drive(&self, drain_s: u64) -> String {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let config = self.dir.path().join("now.toml");
        std::fs::write(&config, text.replace("DRAIN", &drain_s.to_string())).unwrap();
        Agent::start(&config).finish();
        std::fs::read_to_string(self.dir.path().join("run.log")).unwrap()
    }

    pub(crate) fn outbox(&self) -> PathBuf {
        self.dir.path().join("outbox")
    }

    /// All that it has on disk.
    pub(crate) fn disk(&self) -> Vec<u8> {
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

pub(crate) fn has(bytes: &[u8], pattern: &[u8]) -> bool {
    memchr::memmem::find(bytes, pattern).is_some()
}

/// How many of the values are there, as a double or as text.
pub(crate) fn count(bytes: &[u8], values: &[f64]) -> usize {
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
pub(crate) fn exact(vehicle: &Vehicle, signal: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(&vehicle.config).unwrap();
    let plain = vehicle.dir.path().join("plain.toml");
    std::fs::write(&plain, text.split("\n[privacy]").next().unwrap().replace("DRAIN", "1")).unwrap();
    let drive = vehicle.dir.path().join("drive.log");
    let events = run(&["replay", arg(&drive), "-c", arg(&plain), "--format", "cbor"]).stdout;
    let mut values = Vec::new();
    for (event, _) in split(&events).0 {
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

/// What has rules: signals, and their values in the drive.
pub(crate) fn ruled(vehicle: &Vehicle) -> [(&'static str, Vec<f64>); 5] {
    ["Gps.Lat", "Gps.Lon", "Car.Speed", "Car.Driver", "Car.Heart"].map(|signal| (signal, exact(vehicle, signal)))
}

pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

/// A gateway of that name and region.
pub(crate) fn gateway(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[gateway]]\nname = \"{name}\"\nregion = \"{name}\"\nurl = \"{url}\"\nbackoff_min_ms = 10\n\
         backoff_max_ms = 100\nreconnect_spread_ms = 0\n{more}\n"
    )
}

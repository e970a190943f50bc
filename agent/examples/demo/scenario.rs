//! What happens in the demo, and when.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use can_decoders::{Database, Plan, SignalIndex};
use outrider::source::sim::{self, ScheduledFault, SimConfig, Simulation};

use crate::options::Options;

/// The vehicle's time runs so many times faster than the clock on the wall.
pub(crate) const SPEED: f64 = 4.0;

/// Kinds of faults in the order in which they come, with how long each lasts, how long its traces last (coolant has to
/// warm up again, a car that stopped has to get going), and whether it shows only while the car moves. Seconds.
const FAULTS: [(&str, u64, u64, bool); 8] = [
    ("stuck:EngineSpeed", 8, 7, true),
    ("missing:EngineData1", 5, 7, false),
    ("leak", 12, 15, false),
    ("drift:VehicleSpeed:1.5", 10, 7, true),
    ("flood:BrakeData1:8", 5, 7, false),
    ("replay:EngineSpeed", 8, 7, true),
    ("imbalance:7", 12, 7, false),
    ("crash", 5, 30, true),
];
/// No fault before the model has warmed up and the car has got going.
const FIRST_S: u64 = 15;
/// The car counts as moving from here on, km/h.
const MOVING: f64 = 25.0;

pub(crate) struct Scenario {
    seed: u64,
    length: Duration,
    recording: Option<(PathBuf, Vec<PathBuf>)>,
    pub(crate) faults: Vec<ScheduledFault>,
}

impl Scenario {
    /// # Errors
    /// When a fault of the list above is not one that the simulation knows.
    pub(crate) fn new(options: &Options) -> Result<Self, Box<dyn Error>> {
        let length = Duration::from_secs_f64((options.minutes * 60.0).clamp(5.0, 86_400.0));
        let recording = options.log.clone().map(|log| (log, options.dbc.clone()));
        let faults = if recording.is_some() { Vec::new() } else { schedule(options.seed, length.mul_f64(SPEED))? };
        Ok(Self { seed: options.seed, length, recording, faults })
    }

    /// By the clock on the wall.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.recording.is_none()
    }

    /// The link is cut twice: once shortly, once for long.
    pub(crate) fn link_is_cut(&self, passed: Duration) -> bool {
        let at = passed.as_secs_f64() / self.length.as_secs_f64();
        (0.20..0.26).contains(&at) || (0.55..0.75).contains(&at)
    }

    /// The agent's configuration, as a user would write it.
    pub(crate) fn config(&self, dir: &Path, port: u16) -> Result<String, Box<dyn Error>> {
        let mut text = format!(
            "[vehicle]\nid = \"demo-car\"\n\n[health]\nperiod_s = 10\n\n[outbox]\ndir = \"outbox\"\nquota_mib = 32\n\n\
             [uplink.mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\nbackoff_min_ms = 100\nbackoff_max_ms = 1000\n"
        );
        match &self.recording {
            Some((log, dbc)) => {
                let files: Vec<PathBuf> = dbc.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
                let log = std::path::absolute(log)?;
                write!(
                    text,
                    "\n[[bus]]\nname = \"*\"\ndbc = {files:?}\n\n[source]\nkind = \"replay\"\nlog = {log:?}\ntolerant = true\n\n\
                     [[collect]]\nname = \"signals\"\nsignals = [\"*\"]\nperiod_ms = 1000\n"
                )?;
            }
            None => {
                let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
                for (bus, file, dbc) in sim::DBC {
                    std::fs::write(dir.join(file), dbc)?;
                    write!(text, "\n[[bus]]\nname = \"{bus}\"\ndbc = [\"{file}\"]\n")?;
                }
                let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
                write!(
                    text,
                    "\n[source]\nkind = \"sim\"\nseed = {}\nspeed = {SPEED:?}\nfaults = {faults:?}\n\n[[model]]\ndir = {model:?}\n\n\
                     [[collect]]\nname = \"drive\"\nsignals = [\"EngineSpeed\", \"VehicleSpeed\", \"ActualGear\", \"CoolantTemp\"]\n\
                     period_ms = 200\ndeadband = 0.5\n\n\
                     [[collect]]\nname = \"minute\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 10000\n",
                    self.seed
                )?;
            }
        }
        Ok(text)
    }
}

/// Drives ahead, to put faults that need a moving car where it moves.
fn schedule(seed: u64, length: Duration) -> Result<Vec<ScheduledFault>, Box<dyn Error>> {
    let moving = moving_seconds(seed, length.as_secs());
    let mut faults = Vec::new();
    let mut next = FIRST_S;
    for (kind, duration, traces, needs_moving) in FAULTS.iter().cycle() {
        let good = |start: u64| !needs_moving || (start..start + duration).all(|s| at(&moving, s).is_some_and(|m| *m));
        let end = length.as_secs().saturating_sub(duration + 7);
        let Some(start) = (next..=end).find(|&s| good(s)) else { break };
        faults.push(format!("{kind}@{start}+{duration}").parse()?);
        next = start + duration + traces;
    }
    Ok(faults)
}

/// For each second of a drive without faults, whether the car moves.
fn moving_seconds(seed: u64, length: u64) -> Vec<bool> {
    let Ok(simulation) = Simulation::new(SimConfig { seed, ..SimConfig::default() }) else { return Vec::new() };
    let speed = sim::DBC.iter().zip(0u8..).find_map(|((_, file, text), bus)| {
        let plan = Plan::compile(&[Database::parse(file, text.as_bytes()).ok()?]);
        let signal =
            (0u32..).zip(plan.signals()).find(|(_, s)| &*s.name == "VehicleSpeed").map(|(i, _)| SignalIndex(i))?;
        Some((bus, plan, signal))
    });
    let Some((bus, plan, signal)) = speed else { return Vec::new() };
    let message = plan.signal(signal).message;
    let mut moving = vec![true; usize::try_from(length).unwrap_or(0)];
    for frame in simulation.take_while(|f| f.time_ns < length * 1_000_000_000) {
        if frame.bus.0 != bus || plan.find(frame.id) != Some(message) {
            continue;
        }
        let value = plan.decode(message, frame.payload()).signals().find(|s| s.signal == signal);
        if let (Some(sample), Some(slot)) =
            (value, usize::try_from(frame.time_ns / 1_000_000_000).ok().and_then(|s| moving.get_mut(s)))
        {
            *slot &= sample.value >= MOVING;
        }
    }
    moving
}

fn at(seconds: &[bool], second: u64) -> Option<&bool> {
    seconds.get(usize::try_from(second).ok()?)
}

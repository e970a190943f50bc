//! What happens in the demo, and when.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use can_decoders::log::{LogReader, Options as LogOptions, UtcOffset};
use can_decoders::{Database, Plan};
use outrider::source::sim::{self, ScheduledFault, SimConfig, Simulation};

use crate::options::Options;

/// The vehicle's time runs so many times faster than the clock on the wall.
pub(crate) const SPEED: f64 = 4.0;

/// When a fault can show.
#[derive(Clone, Copy)]
enum Shows {
    Always,
    /// While the car gets faster or slower: a sensor that is stuck at what is true is not wrong.
    Changing,
    /// While the car is fast: what stands cannot crash.
    Fast,
}

/// A kind of fault, how long it lasts, and how long its traces last (coolant has to warm up again, a car that stopped has
/// to get going). Seconds.
struct Kind(&'static str, u64, u64, Shows);

const FAULTS: [Kind; 8] = [
    Kind("stuck:EngineSpeed", 8, 7, Shows::Changing),
    Kind("missing:EngineData1", 5, 7, Shows::Always),
    Kind("leak", 10, 15, Shows::Always),
    Kind("drift:VehicleSpeed:1.5", 10, 7, Shows::Changing),
    Kind("flood:BrakeData1:8", 5, 7, Shows::Always),
    Kind("replay:VehicleSpeed", 8, 7, Shows::Changing),
    Kind("imbalance:7", 12, 7, Shows::Always),
    Kind("crash", 5, 20, Shows::Fast),
];
/// No fault before the model has warmed up.
const FIRST_S: u64 = 15;

pub(crate) struct Scenario {
    seed: u64,
    length: Duration,
    recording: Option<Recording>,
    pub(crate) faults: Vec<ScheduledFault>,
}

/// A drive of one's own, played to its end.
struct Recording {
    log: PathBuf,
    dbc: Vec<PathBuf>,
    utc_offset: UtcOffset,
    /// So many times faster than it was recorded that it fits into the demo.
    speed: f64,
}

impl Scenario {
    /// # Errors
    /// When a fault of the list above is not one that the simulation knows, or the recording cannot be read.
    pub(crate) fn new(options: &Options) -> Result<Self, Box<dyn Error>> {
        let mut length = Duration::from_secs_f64((options.minutes * 60.0).clamp(5.0, 86_400.0));
        let recording = match &options.log {
            None => None,
            Some(log) => {
                let whole = playing_time(log)?;
                // A short one is not stretched.
                length = length.min(whole.max(Duration::from_secs(1)));
                let speed = (whole.as_secs_f64() / length.as_secs_f64()).max(1.0);
                let Options { dbc, utc_offset, .. } = options;
                Some(Recording { log: log.clone(), dbc: dbc.clone(), utc_offset: *utc_offset, speed })
            }
        };
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
             [[gateway]]\nurl = \"mqtt://127.0.0.1:{port}\"\nbackoff_min_ms = 100\nbackoff_max_ms = 1000\n\
             reconnect_spread_ms = 1000\n"
        );
        match &self.recording {
            Some(Recording { log, dbc, utc_offset, speed }) => {
                let files: Vec<PathBuf> = dbc.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
                let log = std::path::absolute(log)?;
                write!(
                    text,
                    "\n[[bus]]\nname = \"*\"\ndbc = {files:?}\n\n[source]\nkind = \"replay\"\nlog = {log:?}\ntolerant = true\nspeed = {speed:?}\nutc_offset = \"{utc_offset}\"\n\n\
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

/// How long a recording takes at its own pace. A step back in time costs nothing: the pace starts anew there.
fn playing_time(log: &Path) -> Result<Duration, Box<dyn Error>> {
    if log.as_os_str() == "-" {
        return Err("--log needs a file: the recording is read twice".into());
    }
    let (mut whole_ns, mut last_ns) = (0u64, None);
    for frame in LogReader::open(log, LogOptions { tolerant: true, ..LogOptions::default() })? {
        let time_ns = frame?.time_ns;
        whole_ns = whole_ns.saturating_add(time_ns.saturating_sub(last_ns.unwrap_or(time_ns)));
        last_ns = Some(time_ns);
    }
    if last_ns.is_none() {
        return Err(format!("{}: there is no frame in it", log.display()).into());
    }
    Ok(Duration::from_nanos(whole_ns))
}

/// Drives ahead, and puts each fault where it can show: of those that are left always the one that can come first.
fn schedule(seed: u64, length: Duration) -> Result<Vec<ScheduledFault>, Box<dyn Error>> {
    let speeds = speeds(seed, length.as_secs())?;
    let mut faults = Vec::new();
    let mut next = FIRST_S;
    let mut left: Vec<&Kind> = FAULTS.iter().collect();
    loop {
        let earliest = |kind: &&Kind| (next..speeds.len() as u64).find(|&start| can_show(kind, start, &speeds));
        let first = left.iter().enumerate().filter_map(|(i, kind)| Some((earliest(kind)?, i))).min();
        let Some((start, i)) = first else { return Ok(faults) };
        let Kind(name, duration, traces, _) = left.remove(i);
        faults.push(format!("{name}@{start}+{duration}").parse()?);
        next = start + duration + traces;
        if left.is_empty() {
            left = FAULTS.iter().collect();
        }
    }
}

/// True when a fault that starts then is over, and found, before the drive ends, and differs from the truth meanwhile.
fn can_show(Kind(_, duration, _, shows): &Kind, start: u64, speeds: &[f64]) -> bool {
    let part = |from: u64, to: u64| speeds.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?);
    let Some(during) = part(start, start + duration) else { return false };
    if part(start, start + duration + 7).is_none() {
        return false;
    }
    let (low, high) = during.iter().fold((f64::MAX, f64::MIN), |(low, high), s| (low.min(*s), high.max(*s)));
    match shows {
        Shows::Always => true,
        Shows::Changing => low > 15.0 && high - low > 10.0,
        Shows::Fast => during.first().is_some_and(|s| *s > 30.0),
    }
}

/// The car's speed at each second of a drive without faults, km/h.
fn speeds(seed: u64, length: u64) -> Result<Vec<f64>, Box<dyn Error>> {
    let (_, file, text) = sim::DBC[0];
    let plan = Plan::compile(&[Database::parse(file, text.as_bytes())?]);
    let message = plan.find_message("VehicleSpeedData").ok_or("the simulated car tells no speed")?;
    let signal = plan.find_signal(message, "VehicleSpeed").ok_or("the simulated car tells no speed")?;
    let mut speeds = Vec::new();
    for frame in Simulation::new(SimConfig { seed, ..SimConfig::default() })? {
        let second = frame.time_ns / 1_000_000_000;
        if second >= length {
            break;
        }
        if frame.bus.0 != 0 || plan.find(frame.id) != Some(message) || (speeds.len() as u64) > second {
            continue;
        }
        speeds.extend(plan.decode(message, frame.payload()).signals().find(|s| s.signal == signal).map(|s| s.value));
    }
    Ok(speeds)
}

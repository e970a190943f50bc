//! Writes a drive of the simulated vehicle as a candump log, with faults and their labels when asked for.
//!
//! ```text
//! cargo run --release --example simulate -- --seed 1 --minutes 30 \
//!     --fault stuck:EngineSpeed@120+10 --fault crash@600+15 --out drive.log.zst --labels labels.csv
//! ```
//!
//! The log is compressed as its extension says (`.gz`, `.zst`). The labels are CSV: `start_s,end_s,kind`, in seconds
//! from the start of the log. The kinds of faults are described in `source/sim/fault.rs`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use can_decoders::LogWriter;
use clap::Parser;
use outrider::source::sim::{ScheduledFault, SimConfig, Simulation};

/// Simulates a drive of the demonstration vehicle into a candump log.
#[derive(Debug, Parser)]
struct Arguments {
    /// Decides over road, driver, weather, tolerances and noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Length of the drive in minutes.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// A fault as KIND@START+DURATION in seconds; may be given several times.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<ScheduledFault>,
    /// Unix time of the start in seconds.
    #[arg(long, default_value_t = 1_700_000_000, value_parser = clap::value_parser!(u64).range(..=10_000_000_000))]
    start: u64,
    /// The log to write.
    #[arg(long)]
    out: PathBuf,
    /// A CSV file to write the faults' times to.
    #[arg(long)]
    labels: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let allowed = |minutes: &f64| *minutes > 0.0 && *minutes <= 60.0 * 24.0 * 7.0;
    text.parse().ok().filter(allowed).ok_or_else(|| "expected minutes, more than 0 and at most a week".to_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.labels {
        let mut text = String::from("start_s,end_s,kind\n");
        for fault in &arguments.faults {
            let (start, end) = (fault.start, fault.start + fault.duration);
            writeln!(text, "{},{},{}", start.as_secs_f64(), end.as_secs_f64(), fault.kind)?;
        }
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let start_ns = arguments.start * 1_000_000_000;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: positive, at most a week")]
    let end_ns = start_ns + (arguments.minutes * 60e9) as u64;
    let simulation = Simulation::new(SimConfig { seed: arguments.seed, start_ns, faults: arguments.faults })?;
    let buses = Simulation::bus_names();
    let mut log = LogWriter::create(&arguments.out)?;
    for frame in simulation.take_while(|frame| frame.time_ns < end_ns) {
        log.write(buses[usize::from(frame.bus.0)], &frame)?;
    }
    log.finish()?;
    Ok(())
}

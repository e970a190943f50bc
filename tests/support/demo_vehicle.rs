//! The simulated vehicle: a configuration for it, and recordings of it.

use std::path::{Path, PathBuf};

use can_decoders::log::LogWriter;
use outrider::source::sim::{SimConfig, Simulation};

/// When recorded drives begin.
pub(crate) const START_NS: u64 = 1_700_000_000_000_000_000;

/// A configuration in `dir` with both buses, and these tables, from line 12 on.
pub(crate) fn config(dir: &Path, tables: &str) -> PathBuf {
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
    let text = format!(
        "[vehicle]\nid = \"truck-7\"\n\n[[bus]]\nname = \"can0\"\ndbc = [{:?}]\n\n[[bus]]\nname = \"can1\"\ndbc = [{:?}]\n\n{tables}",
        dbc.join("demo-powertrain.dbc"),
        dbc.join("demo-body.dbc"),
    );
    let path = dir.join("outrider.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A recording of so many seconds of it in `dir`.
pub(crate) fn drive(dir: &Path, seed: u64, seconds: u64, faults: &[&str]) -> PathBuf {
    let log = dir.join("drive.log");
    let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    let mut writer = LogWriter::create(&log).unwrap();
    let vehicle = Simulation::new(SimConfig { seed, start_ns: START_NS, faults }).unwrap();
    for frame in vehicle.take_while(|frame| frame.time_ns < START_NS + seconds * 1_000_000_000) {
        writer.write(Simulation::bus_names()[usize::from(frame.bus.0)], &frame).unwrap();
    }
    writer.finish().unwrap();
    log
}

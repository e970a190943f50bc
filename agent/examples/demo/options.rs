//! The demo's command line.

use std::path::PathBuf;

use can_decoders::log::UtcOffset;
use clap::Parser;

/// A simulated vehicle, the real agent, an embedded broker; cut links, injected faults, a crash; and a count at the end.
#[derive(Parser)]
pub(crate) struct Options {
    /// How long to drive, in minutes by the clock on the wall. A longer recording is played so much faster.
    #[arg(long, default_value_t = 0.8)]
    pub(crate) minutes: f64,
    /// Another seed is another drive.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Play this recording (candump, ASC, BLF, TRC; plain, gzip, zstd) instead of the simulated vehicle.
    #[arg(long, value_name = "FILE", requires = "dbc")]
    pub(crate) log: Option<PathBuf>,
    /// DBC file of the recording, for all its buses. May be given several times.
    #[arg(long, value_name = "FILE", requires = "log")]
    pub(crate) dbc: Vec<PathBuf>,
    /// Where the recorder's clock was, as +02:00, for recordings that have local time (ASC, BLF, TRC).
    #[arg(long, value_name = "OFFSET", requires = "log", default_value_t, allow_hyphen_values = true)]
    pub(crate) utc_offset: UtcOffset,
}

//! DBC files and recordings as commands take them.

use std::path::PathBuf;

use can_decoders::log::{Options, UtcOffset};
use clap::Args;

use super::CliError;
use crate::config::{Config, load_catalog};
use crate::engine::Catalog;
use crate::source::Log;

/// What describes the buses, as all commands take it.
#[derive(Debug, Args)]
pub(super) struct Description {
    /// DBC file, for all buses or as BUS=FILE for one. May be given several times.
    #[arg(long = "dbc", value_name = "FILE")]
    dbc: Vec<String>,
    /// The agent's configuration instead: its DBC files, and what it says of valid values.
    #[arg(short, long, value_name = "FILE", conflicts_with = "dbc")]
    config: Option<PathBuf>,
}

impl Description {
    /// The buses. A DBC file without a bus is for all that have none.
    pub(super) fn catalog(&self) -> Result<Catalog, CliError> {
        if self.config.is_none() && self.dbc.is_empty() {
            return Err(CliError::Usage("name a DBC file with --dbc, or a configuration with -c".into()));
        }
        self.catalog_if_any()
    }

    /// As [`Description::catalog`], and none when nothing describes them.
    pub(super) fn catalog_if_any(&self) -> Result<Catalog, CliError> {
        match &self.config {
            None => {
                let mut warnings = Vec::new();
                let catalog = load_catalog(&self.dbc, &mut warnings)?;
                warn_all(&warnings);
                Ok(catalog)
            }
            Some(file) => {
                let config = Config::load(file)?;
                warn_all(&config.warnings);
                Ok(config.engine.catalog)
            }
        }
    }
}

/// Warnings for the log: the first few, and how many more.
pub(super) fn warn_all(warnings: &[String]) {
    const SHOWN: usize = 5;
    for warning in warnings.iter().take(SHOWN) {
        tracing::warn!("{warning}");
    }
    if warnings.len() > SHOWN {
        tracing::warn!("and {} more warnings about the DBC files", warnings.len() - SHOWN);
    }
}

/// A recording, as all commands take it.
#[derive(Debug, Args)]
pub(super) struct Recording {
    /// The recording: candump, Vector ASC or BLF, PEAK TRC; plain, gzip or zstd; `-` for standard input.
    log: PathBuf,
    /// Skip lines that cannot be read, and count them.
    #[arg(long)]
    tolerant: bool,
    /// Where the recorder's clock was, as +02:00, for formats that have local time (ASC, BLF, TRC).
    #[arg(long, value_name = "OFFSET", default_value_t, allow_hyphen_values = true)]
    utc_offset: UtcOffset,
}

impl Recording {
    /// Opens it so that its frames carry the numbers of the catalog's buses.
    pub(super) fn open(&self, catalog: &Catalog) -> Result<Log, CliError> {
        let buses = catalog.buses().iter().map(|bus| bus.name.to_string()).collect();
        let log = Log::open(&self.log, Options { tolerant: self.tolerant, buses, utc_offset: self.utc_offset })?;
        tracing::debug!("{} is a {} recording", self.log.display(), log.reader().format().name());
        Ok(log)
    }
}

/// Says what was skipped in a recording that was read.
pub(super) fn report_skipped(log: &Log) {
    let reader = log.reader();
    let bad = reader.bad_lines();
    for line in bad.first() {
        tracing::warn!("{}: skipped: {}", line.place, line.fault.name());
    }
    if bad.total() > 0 {
        tracing::warn!("{} bad {}s skipped", bad.total(), reader.format().record());
    }
    if reader.other_events() > 0 {
        tracing::info!("{} events that are not CAN frames were passed over", reader.other_events());
    }
    if !reader.dated() {
        tracing::warn!("the recording does not tell when it started: its times count from 1970-01-01");
    }
}

//! DBC files and recordings as commands take them.

use std::path::{Path, PathBuf};

use super::CliError;
use crate::config::load_plan;
use crate::engine::{ANY_BUS, Bus, Catalog};
use crate::source::Log;

/// The buses that `--dbc FILE` and `--dbc BUS=FILE` describe: a file without a bus is for all buses that have none.
pub(super) fn catalog(args: &[String]) -> Result<Catalog, CliError> {
    let mut groups: Vec<(String, Vec<PathBuf>)> = Vec::new();
    for arg in args {
        let (bus, file) = match arg.split_once('=') {
            // A path may have an equals sign in it; an interface's name has no slash.
            Some((bus, file)) if !bus.contains('/') && !Path::new(arg).exists() => (bus, file),
            _ => (ANY_BUS, arg.as_str()),
        };
        match groups.iter_mut().find(|(name, _)| name == bus) {
            Some((_, files)) => files.push(file.into()),
            None => groups.push((bus.into(), vec![file.into()])),
        }
    }
    let mut warnings = Vec::new();
    let mut buses = Vec::new();
    for (name, files) in groups {
        buses.push(Bus::new(name, load_plan(&files, &mut warnings)?));
    }
    warn_all(&warnings);
    Ok(Catalog::new(buses))
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

/// Opens a recording so that its frames carry the numbers of the catalog's buses.
pub(super) fn open_log(path: &Path, tolerant: bool, catalog: &Catalog) -> Result<Log, CliError> {
    let names = catalog.buses().iter().map(|bus| bus.name.to_string()).collect();
    Ok(Log::open(path, tolerant, names)?)
}

/// Says what a tolerant reader skipped.
pub(super) fn report_bad_lines(log: &Log) {
    let bad = log.reader().bad_lines();
    for line in bad.first() {
        tracing::warn!("line {}, column {}: skipped: {}", line.line, line.column, line.fault.name());
    }
    if bad.total() > 0 {
        tracing::warn!("{} bad lines skipped", bad.total());
    }
}

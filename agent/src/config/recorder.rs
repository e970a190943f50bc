//! `[recorder]`.

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::{ConfigError, Reader};
use crate::engine::{Engine, Finder};
use crate::privacy::Privacy;
use crate::recorder::{Bounds, RecorderConfig, Settings};

/// `[recorder]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    dir: Spanned<String>,
    seconds: Option<Spanned<u64>>,
    memory_kib: Option<Spanned<u32>>,
    quota_mib: Option<Spanned<u64>>,
    longest_s: Option<Spanned<u64>>,
    write_mib_per_day: Option<Spanned<u64>>,
    upload: Option<bool>,
}

impl Raw {
    /// Where its directory is named.
    pub(super) fn at(&self) -> &Spanned<String> {
        &self.dir
    }
}

/// The flight recorder, and what its recordings say of where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderPlace {
    /// Where and how much.
    pub config: RecorderConfig,
    /// The DBC files: `dbc BUS FILE sha256 …`.
    pub dbc: Vec<String>,
}

impl RecorderPlace {
    /// What goes with an engine and the rules for its events.
    pub fn settings(&self, engine: &Engine, privacy: Option<&Privacy>) -> Settings {
        let finders = engine.detectors().iter().map(|detector| &detector.spec().finder);
        let finders = finders.chain(engine.guard().map(|guard| guard.finder()));
        let model = |finder: &Finder| format!("model {} {} sha256 {}", finder.name, finder.version, finder.hash);
        Settings {
            catalog: engine.catalog().clone(),
            hidden: privacy.map(|privacy| privacy.hidden(engine.catalog())).unwrap_or_default(),
            about: self.dbc.iter().cloned().chain(finders.map(model)).collect(),
            regions: privacy.and_then(|privacy| privacy.regions(crate::event::Class::Bulk)),
            bounds: self.config.bounds,
        }
    }
}

/// From the raw table.
pub(super) fn recorder(reader: &Reader, raw: &Raw, buses: &[super::raw::Bus]) -> Result<RecorderPlace, ConfigError> {
    let usual = Bounds::default();
    let number = |key: &str, value: &Option<Spanned<u64>>, range, usual: u64| match value {
        Some(value) => reader.in_range(&format!("recorder.{key}"), value, range),
        None => Ok(usual),
    };
    let memory = raw.memory_kib.as_ref();
    let memory_kib = memory.map(|kib| reader.in_range("recorder.memory_kib", kib, 256..=1 << 20)).transpose()?;
    let bounds = Bounds {
        seconds: number("seconds", &raw.seconds, 1..=600, usual.seconds)?,
        quota_bytes: number("quota_mib", &raw.quota_mib, 1..=1 << 20, usual.quota_bytes >> 20)? << 20,
        longest_s: number("longest_s", &raw.longest_s, 1..=3600, usual.longest_s)?,
        write_per_day: number("write_mib_per_day", &raw.write_mib_per_day, 1..=16 << 20, usual.write_per_day >> 20)?
            << 20,
        upload: raw.upload.unwrap_or(usual.upload),
    };
    let mut dbc = Vec::new();
    for bus in buses {
        for file in &bus.dbc {
            let path = reader.resolve(file.get_ref());
            let bytes = std::fs::read(&path).map_err(|error| reader.error(file, format!("bus.dbc: {error}")))?;
            let name = Path::new(file.get_ref()).file_name().unwrap_or_default().to_string_lossy().into_owned();
            let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            dbc.push(format!("dbc {} {name} sha256 {hash}", bus.name.get_ref()));
        }
    }
    let memory_bytes = memory_kib.unwrap_or(4096) as usize * 1024;
    Ok(RecorderPlace { config: RecorderConfig { dir: reader.resolve(raw.dir.get_ref()), memory_bytes, bounds }, dbc })
}

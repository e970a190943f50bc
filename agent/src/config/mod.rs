//! Configuration: one TOML file, read in two stages.
//!
//! [`raw`](self) is what the file says; [`Config`] is what it means, with every name resolved, every
//! range checked and every file that it names read once. Paths are relative to the configuration
//! file. Secrets are never in the file itself, only the names of files that hold them.

mod build;
mod campaign;
mod condition;
mod crash;
mod gateway;
mod privacy;
mod raw;
mod recorder;
mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use can_decoders::log::UtcOffset;
use can_decoders::{Database, Plan};
use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::Spanned;

pub use build::{EngineConfig, EngineError, Live};
pub(crate) use gateway::url;
pub use recorder::RecorderPlace;

use crate::engine::{ANY_BUS, Bus, Catalog, CollectSpec, HealthSpec, Mode};
use crate::event::Class;
use crate::model;
use crate::outbox::{NETWORKS, OutboxConfig};
use crate::privacy::PrivacySpec;
use crate::source::sim::ScheduledFault;
use crate::source::socketcan::Listen;
use crate::uplink::UplinkConfig;

/// What conditions call the profile.
const PROFILE: &str = "profile";
/// Largest configuration file, bytes.
const MAX_BYTES: u64 = 4 << 20;

/// What is wrong with a configuration, where, and what to do. The file has to be mended.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{path}:{line}:{} {message}", column.map(|column| format!("{column}:")).unwrap_or_default())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Bytes of the line up to it, from 1, where it is a place in a text.
        column: Option<usize>,
        /// Key, what is wrong, and the remedy.
        message: String,
    },
}

/// A validated configuration.
#[derive(Debug)]
pub struct Config {
    /// The vehicle's identity.
    pub vehicle: Arc<str>,
    /// Where frames come from.
    pub source: Option<SourceConfig>,
    /// What the engine does.
    pub engine: EngineConfig,
    /// The socket that listeners in the vehicle connect to.
    pub notify: Option<PathBuf>,
    /// The flight recorder.
    pub recorder: Option<RecorderPlace>,
    /// Where events are kept.
    pub outbox: Option<OutboxPlace>,
    /// Where events go.
    pub uplink: UplinkConfig,
    /// What of them may leave the vehicle.
    pub privacy: PrivacySpec,
    /// Things that are odd but usable, for the log.
    pub warnings: Vec<String>,
}

/// The outbox's directory and bounds.
#[derive(Debug, Clone)]
pub struct OutboxPlace {
    /// Its directory.
    pub dir: PathBuf,
    /// Its bounds.
    pub config: OutboxConfig,
}

/// Where frames come from.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// The CAN interfaces that the buses are named after.
    SocketCan {
        /// How each is listened to, by the buses' numbers.
        listen: Vec<Listen>,
    },
    /// A recording.
    Replay {
        /// The file, `-` for standard input.
        log: PathBuf,
        /// Times faster than it was recorded; `None` as fast as possible.
        speed: Option<f64>,
        /// Count bad lines and go on.
        tolerant: bool,
        /// Where the recorder's clock was.
        utc_offset: UtcOffset,
    },
    /// The simulated vehicle.
    Sim {
        /// Seed of the drive.
        seed: u64,
        /// Times faster than real; `None` as fast as possible.
        speed: Option<f64>,
        /// Ends after so much of the vehicle's time.
        length: Option<Duration>,
        /// Faults and when.
        faults: Vec<ScheduledFault>,
    },
}

/// Text of the file with what is needed to say where something is.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..at.span().start).unwrap_or_default();
        self.error_at_line(before.matches('\n').count() + 1, message)
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = self.text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            self.error_at_line(line, error.message())
        })
    }

    fn error_at_line(&self, line: usize, message: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { path: self.path.into(), line, column: None, message: message.into() }
    }

    /// Something is wrong so many bytes into a text of the file.
    fn error_inside(&self, text: &Spanned<String>, at: usize, message: impl Into<String>) -> ConfigError {
        let written = self.text.get(text.span()).unwrap_or_default();
        // With escapes in it, the text is not in the file as it is: then its beginning is what can be told.
        let inside = written.find(text.get_ref().as_str()).map_or(0, |start| start + at);
        let before = self.text.get(..text.span().start + inside).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
        ConfigError::Invalid { path: self.path.into(), line, column: Some(column), message: message.into() }
    }

    fn resolve(&self, file: &str) -> PathBuf {
        if file == "-" { file.into() } else { self.path.parent().unwrap_or(Path::new(".")).join(file) }
    }

    /// As [`Self::resolve`]; `credential:NAME` is what systemd hands over under that name (`LoadCredential=`).
    fn secret_path(&self, file: &str) -> PathBuf {
        match (file.strip_prefix("credential:"), std::env::var_os("CREDENTIALS_DIRECTORY")) {
            (Some(name), Some(dir)) => PathBuf::from(dir).join(name),
            // The error names the file that is not there.
            (Some(name), None) => PathBuf::from("$CREDENTIALS_DIRECTORY").join(name),
            (None, _) => self.resolve(file),
        }
    }

    fn in_range<T: PartialOrd + Copy + std::fmt::Display>(
        &self,
        key: &str,
        value: &Spanned<T>,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let v = *value.get_ref();
        if range.contains(&v) {
            return Ok(v);
        }
        Err(self.error(value, format!("{key} = {v}: it must be from {} to {}", range.start(), range.end())))
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let failed = |source| ConfigError::Read { path: path.into(), source };
    let mut text = String::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

impl Config {
    /// Reads and validates the file at `path`, and the DBC files that it names.
    ///
    /// # Errors
    /// File, line, key and remedy of the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &read_text(path)?)
    }

    /// As [`Config::load`], for a text that stands for the file at `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let reader = Reader { path, text };
        let raw: raw::Raw = reader.parse()?;

        let id = raw.vehicle.id.get_ref();
        let clean =
            !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !clean {
            return Err(reader.error(
                &raw.vehicle.id,
                format!(
                    "vehicle.id = \"{id}\": use 1 to 64 letters, digits, '-', '_' or '.', as it becomes part of topics"
                ),
            ));
        }

        let mut warnings = Vec::new();
        let catalog = buses(&reader, &raw.buses, &mut warnings)?;
        let listen = raw.buses.iter().map(|bus| listen(&reader, bus)).collect::<Result<Vec<_>, _>>()?;
        let source = raw.source.map(|s| source(&reader, s, &catalog, listen)).transpose()?;
        let collections = raw.collections.iter().map(|c| collection(&reader, c, &catalog)).collect::<Result<_, _>>()?;
        let mut models = Vec::new();
        for entry in &raw.models {
            let dir = reader.resolve(entry.dir.get_ref());
            if !dir.is_dir() {
                return Err(reader.error(&entry.dir, format!("model.dir: {} is not a directory", dir.display())));
            }
            models.push(dir);
        }
        let model_names: Vec<Arc<str>> =
            models.iter().map(|dir| model::name(dir)).chain(raw.profile.as_ref().map(|_| PROFILE.into())).collect();
        if raw.profile.is_some() && model_names[..models.len()].iter().any(|name| **name == *PROFILE) {
            warnings.push(format!(
                "a model is called \"{PROFILE}\": conditions that speak of it mean that one, not the profile"
            ));
        }
        let recorder = raw.recorder.as_ref().map(|table| recorder::recorder(&reader, table, &raw.buses)).transpose()?;
        let around = condition::Surroundings {
            catalog: &catalog,
            recorded_s: recorder.as_ref().map(|place| place.config.bounds.seconds),
            models: &model_names,
            can_notify: raw.notify.is_some(),
            collections: &raw.collections,
        };
        let mut conditions = condition::conditions(&reader, &raw.conditions, around)?;
        if let Some(table) = &raw.crash {
            for spec in crash::crash(&reader, table, around)? {
                if conditions.iter().any(|other| other.name == spec.name) {
                    return Err(reader.error(table, format!("crash: condition \"{}\" is there twice", spec.name)));
                }
                conditions.push(spec);
            }
        }
        let profile = raw.profile.map(|profile| reader.resolve(profile.file.get_ref()));
        for bus in raw.buses.iter().filter(|bus| profile.is_some() && bus.only_known) {
            warnings.push(format!(
                "bus \"{}\": with only_known, identifiers that no DBC file describes never come: the profile will miss those it \
                 knows, and not see strangers; leave only_known out, or learn from recordings without them",
                bus.name.get_ref()
            ));
        }
        let outbox = match raw.outbox {
            None => None,
            Some(outbox) => {
                let mib = reader.in_range("outbox.quota_mib", &outbox.quota_mib, 4..=16 << 10)?;
                let kib = reader.in_range("outbox.memory_kib", &outbox.memory_kib, 64..=1 << 20)?;
                let mut config = OutboxConfig::new(mib << 20);
                config.memory_bytes = kib as usize * 1024;
                let mib = reader.in_range("outbox.write_mib_per_day", &outbox.write_mib_per_day, 1..=16 << 20)?;
                config.write_budget = Some(mib << 20);
                let given = outbox.class;
                let given = [given.critical, given.alert, given.status, given.telemetry, given.bulk];
                for ((class, limits), given) in Class::ALL.into_iter().zip(&mut config.classes).zip(given) {
                    limits.store = given.store.unwrap_or(limits.store);
                    if let Some(kib) = &given.quota_kib {
                        let key = format!("outbox.class.{class}.quota_kib");
                        limits.quota_bytes = reader.in_range(&key, kib, 16..=16 << 20)? << 10;
                    }
                    if let Some(seconds) = &given.max_age_s {
                        let key = format!("outbox.class.{class}.max_age_s");
                        limits.max_age = Duration::from_secs(reader.in_range(&key, seconds, 60..=10 * 366 * 86_400)?);
                    }
                }
                Some(OutboxPlace { dir: reader.resolve(&outbox.dir), config })
            }
        };
        if let (Some(recorder), Some(raw), Some(place)) = (&recorder, &raw.recorder, &outbox) {
            let (inner, outer) = (&recorder.config.dir, &place.dir);
            if inner.starts_with(outer) || outer.starts_with(inner) {
                let message = "recorder.dir lies in outbox.dir, or the other way round: each counts all that is in it; name another";
                return Err(reader.error(raw.at(), message));
            }
        }
        let mut uplink = gateway::uplink(&reader, &raw.uplink, &raw.gateways)?;
        let places: Vec<Arc<str>> = uplink.gateways.iter().filter_map(|gateway| gateway.region.clone()).collect();
        let privacy = privacy::privacy(&reader, &raw.privacy, &catalog, &places, &mut warnings)?;
        uplink.audiences = privacy.audiences();
        uplink.hide_subject = privacy.vehicle;
        uplink.networks = gateway::networks(&reader, &raw.networks)?;
        uplink.network_note = outbox.as_ref().map(|outbox| outbox.dir.join(NETWORKS));
        let mut config = Self {
            vehicle: id.as_str().into(),
            source,
            engine: EngineConfig {
                catalog,
                collections,
                models,
                profile,
                conditions,
                campaigns: Vec::new(),
                model_names,
                health: health(&reader, &raw.health)?,
            },
            notify: raw.notify.map(|notify| reader.resolve(&notify.socket)),
            recorder,
            outbox,
            uplink,
            privacy,
            warnings,
        };
        for place in &raw.campaigns {
            config.add_campaign(&reader.resolve(place.file.get_ref())).map_err(|error| match error {
                ConfigError::Read { path, source } => {
                    reader.error(&place.file, format!("campaign.file: {}: {source}", path.display()))
                }
                other => other,
            })?;
        }
        config.conditions_are_known();
        Ok(config)
    }

    /// What follows from all conditions, those of campaigns among them.
    fn conditions_are_known(&mut self) {
        let hasty = self.engine.conditions.iter().any(|spec| spec.notify);
        if let Some(SourceConfig::SocketCan { listen }) = &mut self.source {
            listen.iter_mut().for_each(|listen| listen.hasty = hasty);
        }
        for spec in &self.engine.conditions {
            let before_ns = spec.record.map_or(u64::MAX, |record| record.before_ns);
            if spec.looks_back_ns() > before_ns {
                self.warnings.push(format!(
                    "condition \"{}\" looks back {} s, and its recording begins {} s before: replayed, it may not act at the same frame",
                    spec.name,
                    spec.looks_back_ns() / 1_000_000_000,
                    before_ns / 1_000_000_000
                ));
            }
        }
    }
}

/// The buses that DBC files describe, each given as `FILE` for all buses that have none of their own, or as `BUS=FILE`;
/// what is odd in them goes to `warnings`.
///
/// # Errors
/// What is wrong with a file: file, line and remedy.
pub fn load_catalog(dbc: &[String], warnings: &mut Vec<String>) -> Result<Catalog, can_decoders::DbcError> {
    let mut buses = Vec::new();
    for (name, databases) in load_databases(dbc)? {
        let plan = Plan::compile(&databases);
        warn(&plan, warnings);
        buses.push(Bus::new(name, plan));
    }
    Ok(Catalog::new(buses))
}

/// The DBC files of each bus, given as for [`load_catalog`].
///
/// # Errors
/// What is wrong with a file: file, line and remedy.
pub fn load_databases(dbc: &[String]) -> Result<Vec<(String, Vec<Database>)>, can_decoders::DbcError> {
    let mut groups: Vec<(String, Vec<Database>)> = Vec::new();
    for arg in dbc {
        let (bus, file) = match arg.split_once('=') {
            // A path may have an equals sign in it; an interface's name has no slash.
            Some((bus, file)) if !bus.contains('/') && !Path::new(arg).exists() => (bus, file),
            _ => (ANY_BUS, arg.as_str()),
        };
        let database = Database::load(Path::new(file))?;
        match groups.iter_mut().find(|(name, _)| name == bus) {
            Some((_, databases)) => databases.push(database),
            None => groups.push((bus.into(), vec![database])),
        }
    }
    Ok(groups)
}

fn warn(plan: &Plan, warnings: &mut Vec<String>) {
    warnings.extend(plan.warnings().iter().map(ToString::to_string));
}

fn buses(reader: &Reader, raw: &[raw::Bus], warnings: &mut Vec<String>) -> Result<Catalog, ConfigError> {
    let mut buses: Vec<Bus> = Vec::new();
    for entry in raw {
        let name = entry.name.get_ref();
        // 15 characters is what a Linux interface's name may have.
        if name.is_empty() || name.len() > 15 || name.contains([':', '/', ' ']) {
            return Err(reader
                .error(&entry.name, format!("bus.name = \"{name}\": use the interface's name, 1 to 15 characters")));
        }
        if buses.iter().any(|bus| &*bus.name == name.as_str()) {
            return Err(
                reader.error(&entry.name, format!("bus.name = \"{name}\" is there twice: list all DBC files in one"))
            );
        }
        if buses.len() == 128 {
            return Err(reader.error(&entry.name, "more than 128 buses"));
        }
        let load = |dbc: &Spanned<String>| {
            Database::load(&reader.resolve(dbc.get_ref()))
                .map_err(|error| reader.error(dbc, format!("bus.dbc: {error}")))
        };
        let databases = entry.dbc.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let rate = |key: &str, rate: &Option<Spanned<u32>>| {
            rate.as_ref().map(|rate| reader.in_range(key, rate, 1_000..=20_000_000)).transpose()
        };
        let rules = validity::rules(reader, &entry.validity)?;
        let plan = Plan::compile_with(&databases, &rules).map_err(|error| {
            let place = entry.validity.place(&error).unwrap_or(&entry.name);
            reader.error(place, format!("bus.validity of {name}: {error}"))
        })?;
        warn(&plan, warnings);
        buses.push(Bus {
            bitrate: rate("bus.bitrate", &entry.bitrate)?,
            data_bitrate: rate("bus.data_bitrate", &entry.data_bitrate)?,
            ..Bus::new(name.as_str(), plan)
        });
    }
    Ok(Catalog::new(buses))
}

fn listen(reader: &Reader, raw: &raw::Bus) -> Result<Listen, ConfigError> {
    if raw.only_known && raw.forward_xl {
        let text =
            "`only_known` and `forward_xl` exclude each other: the kernel's filters know no CAN XL; leave one out";
        return Err(reader.error(&raw.name, text));
    }
    let kib = reader.in_range("bus.receive_buffer_kib", &raw.receive_buffer_kib, 4..=64 << 10)?;
    Ok(Listen {
        allow_acknowledge: raw.allow_acknowledge,
        only_known: raw.only_known,
        receive_buffer: kib as usize * 1024,
        forward_xl: raw.forward_xl,
        hasty: false,
    })
}

fn source(
    reader: &Reader,
    raw: Spanned<raw::Source>,
    catalog: &Catalog,
    listen: Vec<Listen>,
) -> Result<SourceConfig, ConfigError> {
    let check_speed = |speed: f64| {
        if speed == 0.0 {
            return Ok(None);
        }
        if speed.is_finite() && (0.001..=100_000.0).contains(&speed) {
            return Ok(Some(speed));
        }
        Err(reader.error(&raw, format!("source.speed = {speed}: from 0.001 to 100000, or 0 for as fast as possible")))
    };
    Ok(match raw.get_ref() {
        raw::Source::Socketcan {} if catalog.buses().is_empty() => {
            return Err(
                reader.error(&raw, "source \"socketcan\" needs a [[bus]] for each interface that it is to read")
            );
        }
        raw::Source::Socketcan {} if catalog.buses().iter().any(|bus| &*bus.name == ANY_BUS) => {
            return Err(reader.error(&raw, "source \"socketcan\" opens interfaces by name: there is none named \"*\""));
        }
        raw::Source::Socketcan {} => SourceConfig::SocketCan { listen },
        raw::Source::Replay { log, speed, tolerant, utc_offset } => {
            let utc_offset = utc_offset.as_deref().map_or(Ok(UtcOffset::default()), str::parse);
            let utc_offset = utc_offset.map_err(|error| reader.error(&raw, format!("source.utc_offset: {error}")))?;
            let speed = check_speed(*speed)?;
            SourceConfig::Replay { log: reader.resolve(log), speed, tolerant: *tolerant, utc_offset }
        }
        raw::Source::Sim { seed, speed, minutes, faults } => {
            let length = match minutes {
                None => None,
                Some(m) if *m > 0.0 && *m <= 1e6 => Some(Duration::from_secs_f64(m * 60.0)),
                Some(m) => return Err(reader.error(&raw, format!("source.minutes = {m}: it must be above zero"))),
            };
            let faults = faults
                .iter()
                .map(|f| f.parse().map_err(|e| reader.error(&raw, format!("source.faults: `{f}`: {e}"))))
                .collect::<Result<_, _>>()?;
            SourceConfig::Sim { seed: *seed, speed: check_speed(*speed)?, length, faults }
        }
    })
}

fn collection(reader: &Reader, raw: &raw::Collect, catalog: &Catalog) -> Result<CollectSpec, ConfigError> {
    let mut signals = Vec::new();
    for pattern in &raw.signals {
        let found = catalog.select(pattern.get_ref());
        signals.extend(found.map_err(|error| reader.error(pattern, format!("collect.signals: {error}")))?);
    }
    if signals.is_empty() {
        return Err(reader.error(&raw.name, format!("collect \"{}\" has no signals", raw.name.get_ref())));
    }
    if !(raw.deadband.is_finite() && raw.deadband >= 0.0) {
        return Err(reader.error(&raw.name, format!("collect.deadband = {}: it must be zero or above", raw.deadband)));
    }
    let ms = |key: &str, value: &Option<Spanned<u64>>, default: u64| match value {
        Some(value) => reader.in_range(key, value, 0..=86_400_000),
        None => Ok(default),
    };
    let period_ms = reader.in_range("collect.period_ms", &raw.period_ms, 10..=86_400_000)?;
    let heartbeat_ms = ms("collect.heartbeat_ms", &raw.heartbeat_ms, 60_000)?;
    let max_age_ms = ms("collect.max_age_ms", &raw.max_age_ms, 5000.max(2 * period_ms))?;
    let mode = match raw.mode {
        raw::CollectMode::Aggregate => Mode::Aggregate,
        raw::CollectMode::OnChange => Mode::OnChange { heartbeat_ns: heartbeat_ms * 1_000_000 },
    };
    Ok(CollectSpec {
        name: raw.name.get_ref().as_str().into(),
        signals,
        mode,
        period_ns: period_ms * 1_000_000,
        deadband: raw.deadband,
        max_age_ns: max_age_ms * 1_000_000,
        campaign: None,
    })
}

fn health(reader: &Reader, raw: &raw::Health) -> Result<HealthSpec, ConfigError> {
    let fits = (1..=86_400).contains(&raw.period_s)
        && (2..=1000).contains(&raw.silent_factor)
        && raw.silent_min_ms <= 86_400_000;
    if !fits {
        // `[health]` is one small table: its line is that of its header.
        let line = reader.text.lines().position(|l| l.trim_start().starts_with("[health]")).map_or(1, |i| i + 1);
        return Err(reader.error_at_line(
            line,
            "health: period_s must be from 1 to 86400, silent_factor from 2 to 1000, silent_min_ms at most 86400000",
        ));
    }
    Ok(HealthSpec {
        period_ns: raw.period_s * 1_000_000_000,
        silent_factor: raw.silent_factor,
        silent_min_ns: raw.silent_min_ms * 1_000_000,
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! Configuration: one TOML file, read in two stages.
//!
//! [`raw`](self) is what the file says; [`Config`] is what it means, with every name resolved, every
//! range checked and every file that it names read once. Paths are relative to the configuration
//! file. Secrets are never in the file itself, only the names of files that hold them.

mod build;
mod buses;
mod campaign;
mod condition;
mod crash;
mod gateway;
mod outbox;
mod privacy;
mod raw;
mod reader;
mod recorder;
mod source;
mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

pub use build::{EngineConfig, EngineError, Live};
pub use buses::{load_catalog, load_databases};
pub(crate) use gateway::url;
pub use outbox::OutboxPlace;
pub use reader::ConfigError;
use reader::{Reader, read_text};
pub use recorder::RecorderPlace;
pub use source::SourceConfig;

use crate::engine::{Catalog, CollectSpec, HealthSpec, Mode};
use crate::model;
use crate::outbox::NETWORKS;
use crate::privacy::PrivacySpec;
use crate::uplink::UplinkConfig;

/// What conditions call the profile.
const PROFILE: &str = "profile";

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
        let catalog = buses::buses(&reader, &raw.buses, &mut warnings)?;
        let listen = raw.buses.iter().map(|bus| buses::listen(&reader, bus)).collect::<Result<Vec<_>, _>>()?;
        let source = raw.source.map(|s| source::source(&reader, s, &catalog, listen)).transpose()?;
        let collections = raw.collections.iter().map(|c| collection(&reader, c, &catalog)).collect::<Result<_, _>>()?;
        let mut models = Vec::new();
        for entry in &raw.models {
            let dir = reader.resolve(entry.dir.get_ref());
            if !dir.is_dir() {
                return Err(reader.error(&entry.dir, format!("model.dir: {} is not a directory", dir.display())));
            }
            models.push(dir);
        }
        let (mut model_names, warmups_ns): (Vec<Arc<str>>, _) = models.iter().map(|dir| model::outline(dir)).unzip();
        model_names.extend(raw.profile.as_ref().map(|_| PROFILE.into()));
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
        let outbox = raw.outbox.map(|table| outbox::outbox(&reader, table)).transpose()?;
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
                warmups_ns,
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
            let back_ns = spec.looks_back_ns(&self.engine.warmups_ns);
            if back_ns > before_ns {
                self.warnings.push(format!(
                    "condition \"{}\" looks back {} s, and its recording begins {} s before: replayed, it may not act at the same frame",
                    spec.name,
                    back_ns / 1_000_000_000,
                    before_ns / 1_000_000_000
                ));
            }
        }
    }
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

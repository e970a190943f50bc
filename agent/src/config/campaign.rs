//! Campaigns: each a file of its own, which names its collections and conditions as the configuration does, and when they work.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::value::{Datetime, Offset};

use super::condition::{self, Surroundings};
use super::raw::Collect;
use super::{Config, ConfigError, Reader, collection, read_text};
use crate::engine::conditions::MAX_CONDITIONS;
use crate::engine::{CampaignSpec, MAX_CAMPAIGNS};

/// `[[campaign]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) file: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    start: Option<Spanned<Datetime>>,
    end: Option<Spanned<Datetime>>,
    volume_mib: Option<Spanned<u64>>,
    #[serde(rename = "collect", default)]
    collections: Vec<Collect>,
    #[serde(rename = "condition", default)]
    conditions: Vec<condition::Raw>,
}

impl Config {
    /// Adds the campaign in a file.
    ///
    /// # Errors
    /// File, line, key and remedy of the first thing that is wrong.
    pub fn add_campaign(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read_text(path)?;
        let reader = Reader { path, text: &text };
        let raw: Raw = reader.parse()?;
        let name = raw.name.get_ref();
        let clean = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(clean) {
            return Err(reader.error(&raw.name, "name: use 1 to 64 letters, digits, '-', '_' or '.'"));
        }
        let engine = &mut self.engine;
        if engine.campaigns.iter().any(|other| *other.name == *name.as_str()) {
            return Err(reader.error(&raw.name, format!("another campaign is called \"{name}\"")));
        }
        let Some(number) = u16::try_from(engine.campaigns.len()).ok().filter(|n| usize::from(*n) < MAX_CAMPAIGNS)
        else {
            return Err(reader.error(&raw.name, format!("more than {MAX_CAMPAIGNS} campaigns")));
        };
        if raw.collections.is_empty() && raw.conditions.is_empty() {
            return Err(reader.error(&raw.name, "has neither a [[collect]] nor a [[condition]]"));
        }
        let time = |key: &str, time: &Option<Spanned<Datetime>>, usual: u64| match time {
            None => Ok(usual),
            Some(time) => moment(time.get_ref()).ok_or_else(|| {
                reader.error(
                    time,
                    format!("{key} = {}: write it as 2026-12-01T06:00:00Z, from 1970 to 2100", time.get_ref()),
                )
            }),
        };
        let (from_ns, to_ns) = (time("start", &raw.start, 0)?, time("end", &raw.end, u64::MAX)?);
        if let Some(end) = raw.end.as_ref().filter(|_| to_ns <= from_ns) {
            return Err(reader.error(end, "end is not behind start"));
        }
        let volume = raw.volume_mib.as_ref();
        let volume = volume.map(|mib| reader.in_range("volume_mib", mib, 1..=1 << 20)).transpose()?;

        let base = engine.collections.len();
        for raw in &raw.collections {
            let spec = collection(&reader, raw, &engine.catalog)?;
            if engine.collections.iter().any(|other| other.name == spec.name) {
                return Err(reader.error(&raw.name, format!("another collection is called \"{}\"", spec.name)));
            }
            engine.collections.push(crate::engine::CollectSpec { campaign: Some(number), ..spec });
        }
        let around = Surroundings {
            catalog: &engine.catalog,
            models: &engine.model_names,
            can_notify: self.notify.is_some(),
            recorded_s: self.recorder.as_ref().map(|place| place.config.bounds.seconds),
            collections: &raw.collections,
        };
        if engine.conditions.len() + raw.conditions.len() > MAX_CONDITIONS {
            return Err(reader.error(&raw.name, format!("more than {MAX_CONDITIONS} conditions in all")));
        }
        for (spec, raw) in condition::conditions(&reader, &raw.conditions, around)?.into_iter().zip(&raw.conditions) {
            if engine.conditions.iter().any(|other| other.name == spec.name) {
                return Err(reader.error(raw.name(), format!("another condition is called \"{}\"", spec.name)));
            }
            let hurry = spec.hurry.map(|hurry| crate::engine::Hurry { collector: base + hurry.collector, ..hurry });
            engine.conditions.push(crate::engine::ConditionSpec { hurry, campaign: Some(number), ..spec });
        }
        let volume_bytes = volume.map_or(u64::MAX, |mib| mib << 20);
        engine.campaigns.push(CampaignSpec { name: name.as_str().into(), from_ns, to_ns, volume_bytes });
        Ok(())
    }
}

/// Nanoseconds since the Unix epoch; without a zone it is UTC, without a time midnight.
fn moment(time: &Datetime) -> Option<u64> {
    let date = time.date?;
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    // Howard Hinnant, chrono-compatible low-level date algorithms: years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_era = year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100
        + (153 * month + 2) / 5
        + day
        - 1;
    let days = year.div_euclid(400) * 146_097 + day_of_era - 719_468;
    let clock = time.time;
    let part = |part: Option<i64>| part.unwrap_or(0);
    let seconds = part(clock.map(|t| i64::from(t.hour))) * 3600
        + part(clock.map(|t| i64::from(t.minute))) * 60
        + part(clock.and_then(|t| t.second).map(i64::from));
    let offset = match time.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes) * 60,
        Some(Offset::Z) | None => 0,
    };
    let seconds = u64::try_from(days * 86_400 + seconds - offset).ok()?;
    seconds.checked_mul(1_000_000_000).filter(|ns| *ns <= 4_102_444_800_000_000_000)
}

#[cfg(test)]
#[path = "campaign_tests.rs"]
mod tests;

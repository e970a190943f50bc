//! `[privacy]`: from the raw table to rules.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::gateway::{region_name, secret};
use super::{ConfigError, Reader};
use crate::engine::{Catalog, SignalId};
use crate::event::{Class, Regions};
use crate::privacy::{Measure, PrivacySpec, Pseudonyms, Rule};

/// Different sets of regions, at most: what they have in common makes more.
const MAX_AUDIENCES: usize = 8;
/// Names in a set: a record on disk has 255 bytes for them.
const MAX_REGIONS: usize = 7;
const DAY_S: u64 = 86_400;

/// `[privacy]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default)]
    vehicle: RawVehicle,
    key_file: Option<Spanned<String>>,
    rotate_days: Option<Spanned<u32>>,
    #[serde(rename = "rule", default)]
    rules: Vec<Spanned<RawRule>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawVehicle {
    #[default]
    Plain,
    Pseudonym,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    signals: Vec<Spanned<String>>,
    latitude: Option<Spanned<String>>,
    longitude: Option<Spanned<String>>,
    classes: Option<Vec<Class>>,
    #[serde(default)]
    drop: bool,
    round: Option<Spanned<f64>>,
    grid_m: Option<Spanned<f64>>,
    #[serde(default)]
    pseudonym: bool,
    time_s: Option<Spanned<u64>>,
    regions: Option<Vec<Spanned<String>>>,
}

/// The rules, and what is odd about them for the log, where `places` are the regions that gateways are in.
pub(super) fn privacy(
    reader: &Reader,
    raw: &Raw,
    catalog: &Catalog,
    places: &[Arc<str>],
    warnings: &mut Vec<String>,
) -> Result<PrivacySpec, ConfigError> {
    let mut spec = PrivacySpec { vehicle: raw.vehicle == RawVehicle::Pseudonym, ..PrivacySpec::default() };
    if let Some(file) = &raw.key_file {
        let key = secret(reader, "privacy.key_file", file)?;
        let days = match &raw.rotate_days {
            Some(days) => reader.in_range("privacy.rotate_days", days, 0..=3650)?,
            None => 30,
        };
        let rotate = (days > 0).then(|| Duration::from_secs(u64::from(days) * DAY_S));
        let pseudonyms = Pseudonyms::new(key.reveal().as_bytes(), rotate);
        let pseudonyms = pseudonyms.map_err(|error| reader.error(file, format!("privacy.key_file: {error}")))?;
        spec.pseudonyms = Some(pseudonyms.into());
    }
    for rule in &raw.rules {
        rules(reader, rule, catalog, &mut spec.rules)?;
    }
    let needs_key = spec.vehicle || spec.rules.iter().any(|rule| rule.value == Some(Measure::Pseudonym));
    if needs_key && spec.pseudonyms.is_none() {
        let message = "privacy: pseudonyms need key_file, a file with at least 32 characters that nobody can guess, as \
                       `openssl rand -hex 32` makes them";
        let is_header =
            |line: &str| ["[privacy]", "[[privacy.rule]]"].iter().any(|header| line.trim_start().starts_with(header));
        let line = reader.text.lines().position(is_header).map_or(1, |i| i + 1);
        return Err(reader.error_at_line(line, message));
    }
    let audiences = spec.audiences();
    if audiences.len() > MAX_AUDIENCES
        && let Some(rule) = raw.rules.iter().rfind(|rule| rule.get_ref().regions.is_some())
    {
        let message = format!(
            "privacy.rule.regions: the rules make {} different sets of regions, with what two of them have in common; \
             there can be {MAX_AUDIENCES}",
            audiences.len()
        );
        return Err(reader.error(rule, message));
    }
    for regions in audiences {
        if !places.iter().any(|place| regions.contains(place)) {
            let names = regions.as_str();
            warnings.push(format!(
                "privacy: no [[gateway]] has one of the regions {names}: what is restricted to them stays in the outbox"
            ));
        }
    }
    Ok(spec)
}

/// One table, which may stand for two rules: of a latitude and its longitude.
fn rules(reader: &Reader, raw: &Spanned<RawRule>, catalog: &Catalog, rules: &mut Vec<Rule>) -> Result<(), ConfigError> {
    let rule = raw.get_ref();
    let fail = |message: &str| Err(reader.error(raw, format!("privacy.rule: {message}")));
    let classes = match &rule.classes {
        Some(classes) if classes.is_empty() => {
            return fail("classes = []: name at least one, or leave it out for all");
        }
        Some(classes) => std::array::from_fn(|rank| classes.iter().any(|class| class.rank() == rank)),
        None => [true; 5],
    };
    let bucket_ns = match &rule.time_s {
        Some(seconds) => Some(reader.in_range("privacy.rule.time_s", seconds, 1..=366 * DAY_S)? * 1_000_000_000),
        None => None,
    };
    let regions = rule.regions.as_ref().map(|regions| self::regions(reader, raw, regions)).transpose()?;
    let mut measures = Vec::new();
    if rule.drop {
        measures.push(Measure::Drop);
    }
    if let Some(step) = &rule.round {
        let positive = step.get_ref().is_finite() && *step.get_ref() > 0.0;
        if !positive {
            return Err(reader.error(step, "privacy.rule.round: write the step to round to, above zero".to_owned()));
        }
        measures.push(Measure::Round(*step.get_ref()));
    }
    if rule.pseudonym {
        measures.push(Measure::Pseudonym);
    }
    let made = |signals, value| Rule { signals, classes, value, bucket_ns, regions: regions.clone() };
    if let (Some(latitude), Some(longitude), Some(metres)) = (&rule.latitude, &rule.longitude, &rule.grid_m) {
        if !measures.is_empty() || !rule.signals.is_empty() {
            return fail(
                "a position has latitude, longitude and grid_m; signals, drop, round and pseudonym are for others",
            );
        }
        let metres = reader.in_range("privacy.rule.grid_m", metres, 10.0..=1e6)?;
        let (latitude, longitude) = (find(reader, latitude, catalog)?, find(reader, longitude, catalog)?);
        rules.push(made(vec![latitude], Some(Measure::Latitude(metres))));
        rules.push(made(vec![longitude], Some(Measure::Longitude(metres, latitude))));
        return Ok(());
    }
    if rule.latitude.is_some() || rule.longitude.is_some() || rule.grid_m.is_some() {
        return fail("latitude, longitude and grid_m go together");
    }
    if measures.len() > 1 {
        return fail("say one of drop, round, pseudonym");
    }
    let value = measures.pop();
    if value.is_none() && bucket_ns.is_none() && regions.is_none() {
        return fail("says nothing; add one of drop, round, grid_m, pseudonym, time_s, regions");
    }
    let mut signals = Vec::new();
    for pattern in &rule.signals {
        let found = catalog.select(pattern.get_ref());
        signals.extend(found.map_err(|error| reader.error(pattern, format!("privacy.rule.signals: {error}")))?);
    }
    if signals.is_empty() && value.is_some() {
        return fail("drop, round and pseudonym need signals");
    }
    rules.push(made(signals, value));
    Ok(())
}

fn find(reader: &Reader, name: &Spanned<String>, catalog: &Catalog) -> Result<SignalId, ConfigError> {
    catalog.find_signal(name.get_ref()).map_err(|error| reader.error(name, format!("privacy.rule: {error}")))
}

fn regions(reader: &Reader, rule: &Spanned<RawRule>, names: &[Spanned<String>]) -> Result<Regions, ConfigError> {
    if names.len() > MAX_REGIONS {
        return Err(reader.error(rule, format!("privacy.rule.regions: there can be {MAX_REGIONS}")));
    }
    let names = names.iter().map(|name| region_name(reader, "privacy.rule.regions", name));
    let regions = Regions::new(names.collect::<Result<Vec<_>, _>>()?);
    regions.ok_or_else(|| reader.error(rule, "privacy.rule.regions = []: name at least one".to_owned()))
}

//! `[bus.validity]`: which values of a bus are valid.

use std::ops::RangeInclusive;

use can_decoders::integrity::{ChecksumRule, CounterRule, Suffix};
use can_decoders::validity::{J1939, RuleError, Rules, SignalRule, Trust};
use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Reader};

/// `[bus.validity]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    ranges: RawTrust,
    j1939: RawJ1939,
    not_available_labels: Option<Vec<String>>,
    error_labels: Option<Vec<String>>,
    #[serde(rename = "signal")]
    signals: Vec<RawSignal>,
    #[serde(rename = "checksum")]
    checksums: Vec<RawChecksum>,
    #[serde(rename = "counter")]
    counters: Vec<RawCounter>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawTrust {
    #[default]
    Plausible,
    All,
    None,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawJ1939 {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignal {
    name: Spanned<String>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    not_available: Vec<RawRange>,
    #[serde(default)]
    error: Vec<RawRange>,
}

/// `255` or `[250, 253]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum RawRange {
    One(i64),
    Range([i64; 2]),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChecksum {
    signal: Spanned<String>,
    algorithm: Spanned<String>,
    #[serde(default)]
    prefix: Vec<u8>,
    #[serde(default)]
    suffix: Vec<u8>,
    suffix_by_counter: Option<[u8; 16]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCounter {
    signal: Spanned<String>,
    #[serde(default = "one")]
    max_jump: u32,
    #[serde(default)]
    modulus: u32,
}

const fn one() -> u32 {
    1
}

impl Raw {
    /// The name in the rule that an error is about; counters and checksums are looked at before signals.
    pub(super) fn place(&self, error: &RuleError) -> Option<&Spanned<String>> {
        let counters = self.counters.iter().map(|entry| &entry.signal);
        let checksums = self.checksums.iter().map(|entry| &entry.signal);
        let mut names = counters.chain(checksums).chain(self.signals.iter().map(|entry| &entry.name));
        names.find(|name| {
            let Some((of, name)) = name.get_ref().split_once('.') else { return false };
            match error {
                RuleError::NoMessage { message } => of == message,
                RuleError::NoSignal { message, signal } => of == &**message && name == signal,
                RuleError::Unfit { message, signal, .. } => (of == &**message || of == "*") && name == &**signal,
                _ => false,
            }
        })
    }
}

/// What it means.
pub(super) fn rules(reader: &Reader<'_>, raw: &Raw) -> Result<Rules, ConfigError> {
    let own = Rules::default();
    let ranges = |ranges: &[RawRange]| -> Vec<RangeInclusive<i64>> {
        ranges
            .iter()
            .map(|range| match *range {
                RawRange::One(raw) => raw..=raw,
                RawRange::Range([low, high]) => low..=high,
            })
            .collect()
    };
    let mut rules = Rules {
        ranges: match raw.ranges {
            RawTrust::Plausible => Trust::Plausible,
            RawTrust::All => Trust::All,
            RawTrust::None => Trust::None,
        },
        j1939: match raw.j1939 {
            RawJ1939::Auto => J1939::Auto,
            RawJ1939::Always => J1939::Always,
            RawJ1939::Never => J1939::Never,
        },
        not_available_labels: raw.not_available_labels.clone().unwrap_or(own.not_available_labels),
        error_labels: raw.error_labels.clone().unwrap_or(own.error_labels),
        ..Rules::default()
    };
    for entry in &raw.signals {
        let (message, signal) = name(reader, "bus.validity.signal.name", &entry.name)?;
        rules.signals.push(SignalRule {
            message,
            signal,
            min: entry.min,
            max: entry.max,
            not_available: ranges(&entry.not_available),
            error: ranges(&entry.error),
        });
    }
    for entry in &raw.checksums {
        let (message, signal) = name(reader, "bus.validity.checksum.signal", &entry.signal)?;
        let algorithm = entry.algorithm.get_ref();
        let algorithm = algorithm.parse().map_err(|error| {
            reader.error(&entry.algorithm, format!("bus.validity.checksum.algorithm = \"{algorithm}\": {error}"))
        })?;
        let suffix = match (entry.suffix_by_counter, entry.suffix.is_empty()) {
            (Some(_), false) => {
                return Err(reader.error(&entry.signal, "bus.validity.checksum: suffix or suffix_by_counter, not both"));
            }
            (Some(bytes), true) => Suffix::ByCounter(bytes),
            (None, true) => Suffix::None,
            (None, false) => Suffix::Bytes(entry.suffix.clone()),
        };
        rules.checksums.push(ChecksumRule { message, signal, algorithm, prefix: entry.prefix.clone(), suffix });
    }
    for entry in &raw.counters {
        let (message, signal) = name(reader, "bus.validity.counter.signal", &entry.signal)?;
        rules.counters.push(CounterRule { message, signal, max_jump: entry.max_jump, modulus: entry.modulus });
    }
    Ok(rules)
}

/// `Message.Signal`.
fn name(reader: &Reader<'_>, key: &str, name: &Spanned<String>) -> Result<(String, String), ConfigError> {
    match name.get_ref().split_once('.') {
        Some((message, signal)) if !message.is_empty() && !signal.is_empty() => Ok((message.into(), signal.into())),
        _ => Err(reader.error(name, format!("{key} = \"{}\": write Message.Signal", name.get_ref()))),
    }
}

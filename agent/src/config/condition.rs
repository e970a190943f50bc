//! `[[condition]]`: from the raw tables to conditions.

use std::sync::Arc;

use can_decoders::log::UtcOffset;
use serde::Deserialize;
use toml::Spanned;

use super::raw::Collect;
use super::{ConfigError, Reader};
use crate::condition::{self, Scope};
use crate::engine::conditions::{ConditionSpec, Hurry, MAX_CONDITIONS, Program, Schedule, Timing};
use crate::engine::{Catalog, Record, SignalId};
use crate::event::Class;

/// Signals in a snapshot, at most.
const MAX_SNAPSHOT: usize = 256;
const MS_NS: u64 = 1_000_000;
const DAY_MS: u64 = 86_400_000;

/// `[[condition]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    name: Spanned<String>,
    when: Spanned<String>,
    until: Option<Spanned<String>>,
    class: Option<Spanned<Class>>,
    priority: Option<Spanned<u8>>,
    hold_ms: Option<Spanned<u64>>,
    repeat_ms: Option<Spanned<u64>>,
    cooldown_ms: Option<Spanned<u64>>,
    max_per_hour: Option<Spanned<u16>>,
    period_ms: Option<Spanned<u64>>,
    max_age_ms: Option<Spanned<u64>>,
    schedule: Option<RawSchedule>,
    #[serde(default)]
    snapshot: Vec<Spanned<String>>,
    collect: Option<RawHurry>,
    record: Option<RawRecord>,
    notify: Option<Spanned<bool>>,
}

impl Raw {
    pub(super) fn name(&self) -> &Spanned<String> {
        &self.name
    }

    /// Somebody waits for it.
    pub(super) fn notifies(&self) -> bool {
        self.notify.as_ref().is_some_and(|notify| *notify.get_ref())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchedule {
    days: Option<Vec<Spanned<String>>>,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    utc_offset: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHurry {
    name: Spanned<String>,
    period_ms: Spanned<u64>,
    for_s: Spanned<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    before_s: Spanned<u64>,
    after_s: Spanned<u64>,
}

/// What conditions of a file may speak of.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) catalog: &'a Catalog,
    /// Models by their number, the profile after them.
    pub(super) models: &'a [Arc<str>],
    /// Listeners have a place to connect to.
    pub(super) can_notify: bool,
    /// What the recorder keeps, seconds, if there is one.
    pub(super) recorded_s: Option<u64>,
    /// Collections, by their number.
    pub(super) collections: &'a [Collect],
}

/// The conditions of a file.
pub(super) fn conditions(
    reader: &Reader,
    raw: &[Raw],
    around: Surroundings<'_>,
) -> Result<Vec<ConditionSpec>, ConfigError> {
    let mut all: Vec<ConditionSpec> = Vec::with_capacity(raw.len());
    for entry in raw {
        if all.len() == MAX_CONDITIONS {
            return Err(reader.error(&entry.name, format!("more than {MAX_CONDITIONS} conditions")));
        }
        let spec = Maker { reader, raw: entry, around }.make()?;
        if all.iter().any(|other| other.name == spec.name) {
            return Err(reader.error(&entry.name, format!("condition \"{}\" is there twice", spec.name)));
        }
        all.push(spec);
    }
    Ok(all)
}

struct Maker<'a> {
    reader: &'a Reader<'a>,
    raw: &'a Raw,
    around: Surroundings<'a>,
}

impl Maker<'_> {
    fn make(&self) -> Result<ConditionSpec, ConfigError> {
        let Self { raw, reader, .. } = self;
        let name = raw.name.get_ref();
        if name.is_empty() || name.len() > 64 {
            return Err(reader.error(&raw.name, "condition.name: use 1 to 64 bytes"));
        }
        let ns = |key: &str, value: &Option<Spanned<u64>>, least: u64| {
            let value = value.as_ref().map(|ms| reader.in_range(&format!("condition.{key}"), ms, least..=DAY_MS));
            Ok::<_, ConfigError>(value.transpose()?.map(|ms| ms * MS_NS))
        };
        let period_ns = ns("period_ms", &raw.period_ms, 10)?;
        let max_age_ns = ns("max_age_ms", &raw.max_age_ms, 1)?.unwrap_or(5000 * MS_NS);
        let Surroundings { catalog, models, .. } = self.around;
        let scope = Scope { catalog, models, period_ns, max_age_ns };
        let when = self.program("when", &raw.when, scope)?;
        let until = raw.until.as_ref().map(|until| self.program("until", until, scope)).transpose()?;
        let per_hour = raw.max_per_hour.as_ref();
        let timing = Timing {
            hold_ns: ns("hold_ms", &raw.hold_ms, 0)?.unwrap_or(0),
            repeat_ns: ns("repeat_ms", &raw.repeat_ms, 10)?,
            cooldown_ns: ns("cooldown_ms", &raw.cooldown_ms, 0)?.unwrap_or(0),
            per_hour: per_hour.map(|n| reader.in_range("condition.max_per_hour", n, 1..=3600)).transpose()?,
        };
        let usual = ConditionSpec::new(name.as_str(), when, period_ns, max_age_ns);
        let class = match &raw.class {
            Some(class) if matches!(class.get_ref(), Class::Bulk | Class::Telemetry) => {
                return Err(reader.error(class, "condition.class: it must be critical, alert or status"));
            }
            Some(class) => *class.get_ref(),
            None => usual.class,
        };
        let priority = raw.priority.as_ref().map(|n| reader.in_range("condition.priority", n, 0..=100)).transpose()?;
        Ok(ConditionSpec {
            models: models.into(),
            snapshot: self.snapshot(&usual.when)?,
            until,
            timing,
            schedule: self.schedule()?,
            priority: priority.unwrap_or(usual.priority),
            class,
            hurry: self.hurry()?,
            record: self.record()?,
            notify: self.notify()?,
            ..usual
        })
    }

    fn program(&self, key: &str, text: &Spanned<String>, scope: Scope<'_>) -> Result<Program, ConfigError> {
        condition::compile(text.get_ref(), scope).map_err(|fault| {
            let what = format!("condition \"{}\": {key}: {}", self.raw.name.get_ref(), fault.message);
            self.reader.error_inside(text, fault.at, what)
        })
    }

    /// What is asked for, and what the expression is made of.
    fn snapshot(&self, when: &Program) -> Result<Vec<SignalId>, ConfigError> {
        let Surroundings { catalog, .. } = self.around;
        let mut signals = when.signals.clone();
        signals.extend(when.features.iter().filter_map(|feature| catalog.find_signal(&feature.of).ok()));
        for pattern in &self.raw.snapshot {
            let found = catalog.select(pattern.get_ref());
            signals.extend(found.map_err(|error| self.reader.error(pattern, format!("condition.snapshot: {error}")))?);
        }
        signals.sort_unstable();
        signals.dedup();
        if signals.len() > MAX_SNAPSHOT {
            let message = format!("condition.snapshot has {} signals; {MAX_SNAPSHOT} at most", signals.len());
            return Err(self.reader.error(&self.raw.name, message));
        }
        Ok(signals)
    }

    fn schedule(&self) -> Result<Schedule, ConfigError> {
        let Some(raw) = &self.raw.schedule else { return Ok(Schedule::default()) };
        let reader = self.reader;
        let time = |key: &str, text: &Option<Spanned<String>>, usual: u32| match text {
            None => Ok(usual),
            Some(text) => minute(text.get_ref()).ok_or_else(|| {
                let message =
                    format!("condition.schedule.{key} = \"{}\": write a time as 06:30, up to 24:00", text.get_ref());
                reader.error(text, message)
            }),
        };
        let (from, to) = (time("from", &raw.from, 0)?, time("to", &raw.to, 1440)?);
        if raw.days.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                reader.error(&self.raw.name, "condition.schedule.days is empty: name a day, or leave it out for all")
            );
        }
        let mut days = [raw.days.is_none(); 7];
        for text in raw.days.iter().flatten() {
            let range = day_range(text.get_ref()).ok_or_else(|| {
                let message = format!(
                    "condition.schedule.days: \"{}\": write mon, tue, wed, thu, fri, sat, sun, or mon-fri",
                    text.get_ref()
                );
                reader.error(text, message)
            })?;
            range.into_iter().for_each(|day| days[day] = true);
        }
        let length = if from < to { to - from } else { to + 1440 - from };
        let week = 7 * 1440;
        let mut times = Vec::new();
        for (day, _) in (0u32..).zip(days).filter(|(_, is)| *is) {
            let start = day * 1440 + from;
            // A whole week has no end; two neighbours are two times.
            times.push((start, if start + length > week { start + length - week } else { start + length }));
        }
        let offset_min = match &raw.utc_offset {
            None => 0,
            Some(text) => {
                let offset: UtcOffset = text
                    .get_ref()
                    .parse()
                    .map_err(|error| reader.error(text, format!("condition.schedule.utc_offset: {error}")))?;
                offset.seconds() / 60
            }
        };
        Ok(Schedule { times, offset_min, ..Schedule::default() })
    }

    fn notify(&self) -> Result<bool, ConfigError> {
        match &self.raw.notify {
            Some(notify) if self.raw.notifies() && !self.around.can_notify => {
                Err(self.reader.error(notify, "condition.notify needs the table [notify] with a socket"))
            }
            _ => Ok(self.raw.notifies()),
        }
    }

    fn record(&self) -> Result<Option<Record>, ConfigError> {
        let Some(raw) = &self.raw.record else { return Ok(None) };
        let Some(seconds) = self.around.recorded_s else {
            return Err(self.reader.error(&raw.before_s, "condition.record needs the table [recorder] with a dir"));
        };
        let before = *raw.before_s.get_ref();
        if before > seconds {
            let message = format!(
                "condition.record.before_s = {before}: the recorder keeps {seconds} s; raise recorder.seconds, or record less"
            );
            return Err(self.reader.error(&raw.before_s, message));
        }
        let after_s = self.reader.in_range("condition.record.after_s", &raw.after_s, 0..=3600)?;
        Ok(Some(Record { before_ns: before * 1000 * MS_NS, after_ns: after_s * 1000 * MS_NS }))
    }

    fn hurry(&self) -> Result<Option<Hurry>, ConfigError> {
        let Some(raw) = &self.raw.collect else { return Ok(None) };
        let Surroundings { collections, .. } = self.around;
        let name = raw.name.get_ref();
        let Some(place) = collections.iter().position(|collection| collection.name.get_ref() == name) else {
            return Err(self
                .reader
                .error(&raw.name, format!("condition.collect.name: no [[collect]] is called \"{name}\"")));
        };
        let period_ms = self.reader.in_range("condition.collect.period_ms", &raw.period_ms, 10..=DAY_MS)?;
        let usual_ms = *collections[place].period_ms.get_ref();
        if period_ms >= usual_ms {
            let message =
                format!("condition.collect.period_ms = {period_ms}: \"{name}\" looks every {usual_ms} ms already");
            return Err(self.reader.error(&raw.period_ms, message));
        }
        let for_s = self.reader.in_range("condition.collect.for_s", &raw.for_s, 1..=86_400)?;
        Ok(Some(Hurry { collector: place, period_ns: period_ms * MS_NS, for_ns: for_s * 1000 * MS_NS }))
    }
}

/// Minutes of `06:30`, up to `24:00`.
fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let is_plain = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let two = |text: &str| if is_plain(text) { text.parse::<u32>().ok() } else { None };
    let minute = two(hours)? * 60 + two(minutes).filter(|minutes| *minutes < 60)?;
    (minute <= 1440).then_some(minute)
}

/// The days of `mon`, or of `fri-mon`.
fn day_range(text: &str) -> Option<Vec<usize>> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let day = |text: &str| DAYS.iter().position(|day| *day == text.trim().to_lowercase());
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (day(from)?, day(to)?),
        None => (day(text)?, day(text)?),
    };
    let length = (to + 7 - from) % 7;
    Some((0..=length).map(|ahead| (from + ahead) % 7).collect())
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;

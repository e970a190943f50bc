//! `[crash]`: conditions that tell a crash, made of whatever signals a vehicle has for it.
//!
//! A single sensor that fails must not call an ambulance. So each condition needs two sources that agree within a moment, and
//! is left out, with an error, where there is only one:
//!
//! * `crash airbag`: the airbag's signal, and within a second a deceleration that any other source shows;
//! * `crash impact`: two of the accelerometers and the change of the speed show a deceleration within 200 ms;
//! * `crash rollover`: two of the roll angles and the vertical accelerometer show for 300 ms that it lies on its side.
//!
//! Nobody brakes a road vehicle at 30 m/s²; airbags fire from about that on. They are conditions like all others: what they ask for
//! is compiled, and fails, as if it had been written by hand.

use std::fmt::Write as _;

use serde::Deserialize;
use toml::Spanned;

use super::condition::{self, Surroundings};
use super::{ConfigError, Reader};
use crate::condition::Scope;
use crate::engine::conditions::ConditionSpec;

/// `[crash]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    airbag: Option<Spanned<String>>,
    speed: Option<Spanned<String>>,
    #[serde(default)]
    acceleration: Vec<Spanned<String>>,
    #[serde(default)]
    roll: Vec<Spanned<String>>,
    vertical: Option<Spanned<String>>,
    deceleration_ms2: Option<Spanned<f64>>,
    roll_deg: Option<Spanned<f64>>,
    #[serde(default)]
    snapshot: Vec<Spanned<String>>,
    before_s: Option<Spanned<u64>>,
    after_s: Option<Spanned<u64>>,
    #[serde(default)]
    notify: bool,
}

#[derive(Deserialize)]
struct Shipped {
    condition: Vec<condition::Raw>,
}

/// The conditions that `[crash]` stands for.
pub(super) fn crash(
    reader: &Reader,
    table: &Spanned<Raw>,
    around: Surroundings<'_>,
) -> Result<Vec<ConditionSpec>, ConfigError> {
    let raw = table.get_ref();
    let maker = Maker { reader, around };
    let threshold = |key: &str, value: &Option<Spanned<f64>>, range, usual| match value {
        Some(value) => reader.in_range(&format!("crash.{key}"), value, range),
        None => Ok(usual),
    };
    let limit = threshold("deceleration_ms2", &raw.deceleration_ms2, 10.0..=200.0, 30.0)?;
    let angle = threshold("roll_deg", &raw.roll_deg, 30.0..=180.0, 60.0)?;

    let mut impacts = Vec::new();
    for signal in &raw.acceleration {
        let limit = limit / maker.unit(signal, &[("m/s2", 1.0), ("m/s^2", 1.0), ("m/s²", 1.0), ("g", 9.80665)])?;
        impacts.push(format!("math.abs({}) > {limit:?}", quoted(signal)));
    }
    if let Some(signal) = &raw.speed {
        let limit = limit / maker.unit(signal, &[("m/s", 1.0), ("km/h", 1.0 / 3.6), ("mph", 0.44704)])?;
        impacts.push(format!("math.abs(slope({})) > {limit:?}", quoted(signal)));
    }
    let mut rolls = Vec::new();
    for signal in &raw.roll {
        let degrees =
            maker.unit(signal, &[("deg", 1.0), ("°", 1.0), ("degree", 1.0), ("rad", 180.0 / std::f64::consts::PI)])?;
        rolls.push(format!("lasting(math.abs({}) > {:?}, duration('300ms'))", quoted(signal), angle / degrees));
    }
    if let Some(signal) = &raw.vertical {
        // Gravity, as far as it still points down through the floor.
        let most = 9.80665 * angle.to_radians().cos().max(0.0);
        let most = most / maker.unit(signal, &[("m/s2", 1.0), ("m/s^2", 1.0), ("m/s²", 1.0), ("g", 9.80665)])?;
        rolls.push(format!("lasting({} < {most:?}, duration('300ms'))", quoted(signal)));
    }

    let mut whens: Vec<(&str, String)> = Vec::new();
    if let Some(airbag) = &raw.airbag {
        maker.check(airbag)?;
        if impacts.is_empty() {
            return Err(
                reader.error(airbag, "crash.airbag: a second source is needed: name a speed or an acceleration")
            );
        }
        let impact = impacts.join(" || ");
        let when = format!("within({}, duration('1s')) && within({impact}, duration('1s'))", airbag.get_ref());
        whens.push(("crash airbag", when));
    }
    let within: Vec<String> = impacts.iter().map(|impact| format!("within({impact}, duration('200ms'))")).collect();
    match &within[..] {
        [] => {}
        [_] if raw.airbag.is_some() => {}
        [_] => {
            return Err(reader.error(
                table,
                "crash: a second source is needed for a deceleration: name another acceleration, the speed, or the airbag",
            ));
        }
        all => whens.push(("crash impact", pairs(all))),
    }
    match &rolls[..] {
        [] => {}
        [_] => {
            return Err(reader.error(
                table,
                "crash: a second source is needed for a roll-over: name another roll angle, or the vertical acceleration",
            ));
        }
        all => whens.push(("crash rollover", pairs(all))),
    }
    if whens.is_empty() {
        return Err(reader.error(table, "crash: names no sources; add acceleration, speed, airbag, roll, vertical"));
    }
    maker.conditions(table, &whens)
}

/// Two of them.
fn pairs(all: &[String]) -> String {
    let mut text = String::new();
    for (n, one) in all.iter().enumerate() {
        for other in &all[n + 1..] {
            let or = if text.is_empty() { "" } else { " || " };
            // Memory takes it.
            let _ = write!(text, "{or}({one} && {other})");
        }
    }
    text
}

/// A signal by its name, whatever that looks like.
fn quoted(name: &Spanned<String>) -> String {
    format!("signal('{}')", name.get_ref().replace(['\\', '\''], ""))
}

struct Maker<'a> {
    reader: &'a Reader<'a>,
    around: Surroundings<'a>,
}

impl Maker<'_> {
    /// How many of the first unit the signal's own is.
    fn unit(&self, name: &Spanned<String>, known: &[(&str, f64)]) -> Result<f64, ConfigError> {
        let catalog = self.around.catalog;
        let id = catalog.find_signal(name.get_ref());
        let id = id.map_err(|error| self.reader.error(name, format!("crash: {error}")))?;
        let unit = catalog.signal(id).unit;
        let found = known.iter().find(|(text, _)| unit.trim().eq_ignore_ascii_case(text));
        found.map(|(_, factor)| *factor).ok_or_else(|| {
            let units: Vec<&str> = known.iter().map(|(text, _)| *text).collect();
            let message = format!(
                "crash: {} has the unit \"{unit}\"; known are {}: mend the DBC file, or write the condition by hand",
                name.get_ref(),
                units.join(", ")
            );
            self.reader.error(name, message)
        })
    }

    /// Is true or false by itself.
    fn check(&self, text: &Spanned<String>) -> Result<(), ConfigError> {
        let Surroundings { catalog, models, .. } = self.around;
        let scope = Scope { catalog, models, period_ns: None, max_age_ns: 5_000_000_000 };
        crate::condition::compile(text.get_ref(), scope)
            .map(|_| ())
            .map_err(|fault| self.reader.error_inside(text, fault.at, format!("crash.airbag: {}", fault.message)))
    }

    fn conditions(&self, table: &Spanned<Raw>, whens: &[(&str, String)]) -> Result<Vec<ConditionSpec>, ConfigError> {
        let raw = table.get_ref();
        let recorded_s = self.around.recorded_s;
        let seconds = |given: &Option<Spanned<u64>>, usual| given.as_ref().map_or(usual, |given| *given.get_ref());
        if let (Some(given), None) = (raw.before_s.as_ref().or(raw.after_s.as_ref()), recorded_s) {
            return Err(self.reader.error(given, "crash: recordings need the table [recorder] with a dir"));
        }
        let snapshot: Vec<&str> = raw.snapshot.iter().map(|name| name.get_ref().as_str()).collect();
        let mut text = String::new();
        for (name, when) in whens {
            let (when, snapshot) = (toml::Value::from(when.as_str()), toml::Value::from(snapshot.clone()));
            let _ = write!(
                text,
                "[[condition]]\nname = \"{name}\"\nwhen = {when}\nclass = \"critical\"\npriority = 0\n\
                 cooldown_ms = 10000\nsnapshot = {snapshot}\nnotify = {}\n",
                raw.notify
            );
            if let Some(most) = recorded_s {
                let (before, after) = (seconds(&raw.before_s, most.min(20)), seconds(&raw.after_s, 10));
                let _ = writeln!(text, "record = {{ before_s = {before}, after_s = {after} }}");
            }
        }
        let at = |message: String| self.reader.error(table, format!("crash: {message}"));
        let shipped: Shipped = toml::from_str(&text).map_err(|error| at(error.message().to_owned()))?;
        let inner = Reader { path: self.reader.path, text: &text };
        condition::conditions(&inner, &shipped.condition, self.around).map_err(|error| match error {
            ConfigError::Invalid { message, .. } => at(message),
            other => other,
        })
    }
}

#[cfg(test)]
#[path = "crash_tests.rs"]
mod tests;

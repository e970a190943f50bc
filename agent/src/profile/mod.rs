//! Profiles: what the healthy traffic of a vehicle's buses is like, learned from recordings.
//!
//! A profile is one TOML file of plain facts: for each identifier how often its frames came, how long they were, how often
//! each bit changed, which counter and which checksum it carries, and what its fields did. It says nothing about what
//! counts as odd: [`crate::engine::Guard`] makes limits of the facts, so that better ones need no new recordings.
//!
//! Fields are described as a DBC file would, in the file itself: those of the vehicle's DBC where [`learn`] had one, else
//! those that the bits gave away. So a profile needs nothing beside it.

mod error;
pub mod fields;
pub mod learn;
mod movement;
mod relation;
mod traffic;

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use can_decoders::{CanId, Database, Plan};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use error::ProfileError;

use crate::engine::{ANY_BUS, Bus, Catalog, Guard, GuardError};

/// Version of the file's form.
const FORMAT: u32 = 1;
/// Largest file that is read, bytes.
const MAX_BYTES: u64 = 32 << 20;
/// Longest name and version, bytes.
pub const MAX_NAME: usize = 64;
/// Most buses.
pub const MAX_BUSES: usize = 128;
/// Most identifiers of all buses.
pub const MAX_MESSAGES: usize = 8192;
/// Most fields of all messages.
pub const MAX_FIELDS: usize = 65_536;
/// Most relations between fields.
pub const MAX_RELATIONS: usize = 1024;

/// A profile. See the module's documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`FORMAT`].
    format: u32,
    /// Name of the profile in events.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file, hexadecimal; empty of one that was not read from a file.
    #[serde(skip)]
    pub hash: String,
    /// Where it is from.
    pub provenance: Provenance,
    /// The buses that were heard.
    #[serde(rename = "bus", default)]
    pub buses: Vec<BusProfile>,
    /// Fields that move together.
    #[serde(rename = "together", default)]
    pub relations: Vec<Relation>,
}

/// What a profile was learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Names of the recordings.
    pub recordings: Vec<String>,
    /// Version of the agent that learned it.
    pub outrider: String,
    /// How much time was heard, without pauses, seconds.
    pub seconds: f64,
    /// How many frames.
    pub frames: u64,
}

/// A bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusProfile {
    /// Its name.
    pub name: String,
    /// How far into the recordings the last new identifier came, seconds.
    pub newest_s: f64,
    /// DBC text that describes the fields.
    pub dbc: String,
    /// What came on it.
    #[serde(rename = "message", default)]
    pub messages: Vec<Message>,
}

/// The frames of one identifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The identifier as candump writes it: three or eight hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether a DBC file describes it; else its fields are what the bits gave away.
    pub described: bool,
    /// How many there were.
    pub frames: u64,
    /// The lengths that they had, bytes, ascending.
    pub lengths: Vec<u8>,
    /// For each bit, the least significant of the first byte first: how often it was another than in the frame before.
    pub flips: Vec<u32>,
    /// How far the surprise of its changes went at most; see [`crate::engine::guard::surprise::Excess`].
    pub surprise: f64,
    /// When they came; absent of one that came only once.
    pub timing: Option<Timing>,
    /// A counter.
    pub counter: Option<Counter>,
    /// A checksum.
    pub checksum: Option<Checksum>,
    /// What its fields did.
    #[serde(rename = "field", default)]
    pub fields: Vec<Field>,
}

/// Times between the frames of an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// How many there were.
    pub gaps: u64,
    /// Their mean, milliseconds.
    pub mean_ms: f64,
    /// Their standard deviation, milliseconds.
    pub deviation_ms: f64,
    /// The shortest, milliseconds.
    pub shortest_ms: f64,
    /// The longest, milliseconds,
    pub longest_ms: f64,
    /// and the longest of the others.
    pub second_ms: f64,
    /// The most frames within each of [`crate::engine::guard::WINDOWS_NS`].
    pub busiest: [f64; 3],
}

/// A counter: it goes on by the same step with each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Its byte.
    pub byte: usize,
    /// Its least significant bit there.
    pub shift: u32,
    /// Its width in bits.
    pub bits: u32,
    /// How many values it has.
    pub modulus: u16,
    /// How often it did not go on so.
    pub breaks: u64,
}

impl Counter {
    /// Its value in a payload.
    pub fn of(&self, payload: &[u8]) -> Option<u16> {
        Some(u16::from(*payload.get(self.byte)? >> self.shift) & ((1 << self.bits) - 1))
    }

    /// What comes after a value.
    pub fn next(&self, value: u16) -> u16 {
        (value + 1) % self.modulus
    }
}

/// A checksum in one byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    /// How it is computed; see [`can_decoders::integrity::Algorithm`].
    pub algorithm: String,
    /// Its byte.
    pub byte: usize,
    /// Its distance from what is computed of the other bytes.
    pub distance: u8,
}

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name in the DBC text.
    pub name: String,
    /// How many samples there were.
    pub samples: u64,
    /// How many of them had another value than the one before.
    pub changes: u64,
    /// How many different values it had, counted up to [`MAX_VALUES`].
    pub values: u32,
    /// How often it turned: rose after it had fallen, or the other way round.
    pub turns: u64,
    /// Its smallest value.
    pub min: f64,
    /// Its largest.
    pub max: f64,
    /// The largest change from one sample to the next; from the highest that its bits can say to the lowest is a small one.
    pub step: f64,
    /// The longest time without a change while samples came, seconds.
    pub still_s: f64,
    /// Whether the first half of the recordings had most of the range of the whole, and the second half, too.
    pub settled: bool,
}

/// Different values of a field that are counted.
pub const MAX_VALUES: u32 = 64;

/// Two fields of which one follows from the other: `y = slope * x + offset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// The one.
    pub x: Place,
    /// The other.
    pub y: Place,
    /// See [`Relation`].
    pub slope: f64,
    /// See [`Relation`].
    pub offset: f64,
    /// How far off it was at most.
    pub off: f64,
}

/// Where a field is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Bus.
    pub bus: String,
    /// Identifier, as [`Message::id`].
    pub id: String,
    /// The field's name.
    pub field: String,
}

/// An identifier as candump writes it.
pub fn parse_id(text: &str) -> Option<CanId> {
    let number = u32::from_str_radix(text, 16).ok()?;
    match text.len() {
        3 => CanId::standard(number),
        8 => CanId::extended(number),
        _ => None,
    }
}

impl Profile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or is no profile.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let failed = |source| ProfileError::Read { path: path.into(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(ProfileError::Invalid { path: path.into(), message: format!("larger than {MAX_BYTES} bytes") });
        }
        Self::parse(&text).map_err(|message| ProfileError::Invalid { path: path.into(), message })
    }

    /// As [`Profile::load`], of a text; the error says where and what.
    ///
    /// # Errors
    /// See [`Profile::load`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut profile: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        })?;
        profile.check()?;
        profile.hash = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(profile)
    }

    /// The file's text.
    ///
    /// # Errors
    /// None in practice: all of it can be written.
    pub fn to_text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// The plan of a bus's fields.
    ///
    /// # Errors
    /// What is wrong with the DBC text, and where.
    pub fn plan(bus: &BusProfile) -> Result<Plan, String> {
        let database = Database::parse(&format!("dbc of bus {}", bus.name), bus.dbc.as_bytes());
        Ok(Plan::compile(&[database.map_err(|error| error.to_string())?]))
    }

    /// A catalog that has the profile's buses one by one; `described` says what is on them, or on all others (`*`).
    pub fn catalog(&self, described: Catalog) -> Catalog {
        let find = |name: &str| described.buses().iter().find(|bus| &*bus.name == name);
        let bus = |profile: &BusProfile| match find(&profile.name).or_else(|| find(ANY_BUS)) {
            Some(bus) => Bus { name: profile.name.as_str().into(), ..bus.clone() },
            None => Bus::new(profile.name.as_str(), Plan::compile(&[])),
        };
        Catalog::new(self.buses.iter().map(bus).collect())
    }

    /// Puts it to work on the buses of `catalog`; `path` is where it is from.
    ///
    /// # Errors
    /// When it does not fit them.
    pub fn guard(&self, path: &Path, catalog: &Catalog) -> Result<Guard, ProfileError> {
        Guard::new(self, catalog).map_err(|error| match error {
            GuardError::Bus(bus) => ProfileError::Bus { path: path.into(), bus },
            GuardError::Inconsistent(message) => ProfileError::Invalid { path: path.into(), message },
        })
    }

    /// Whether the agent can use what [`Profile::to_text`] gives.
    ///
    /// # Errors
    /// Why not.
    pub fn usable(text: &str) -> Result<(), String> {
        let profile = Self::parse(text)?;
        let catalog = profile.catalog(Catalog::new(Vec::new()));
        Guard::new(&profile, &catalog).map(|_| ()).map_err(|error| error.to_string())
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "format = {}: this agent reads format {FORMAT}; learn the profile anew with it",
                self.format
            ));
        }
        for (key, text) in [("name", &self.name), ("version", &self.version)] {
            if text.is_empty() || text.len() > MAX_NAME || text.contains(char::is_control) {
                return Err(format!("{key}: use 1 to {MAX_NAME} bytes on one line, as it is in every event"));
            }
        }
        let mut names = HashSet::new();
        if self.buses.len() > MAX_BUSES || !self.buses.iter().all(|bus| names.insert(&bus.name)) {
            return Err(format!("a bus is there twice, or there are more than {MAX_BUSES}"));
        }
        let all = || self.buses.iter().flat_map(|bus| bus.messages.iter().map(move |message| (bus, message)));
        if all().count() > MAX_MESSAGES {
            return Err(format!("more than {MAX_MESSAGES} messages"));
        }
        if all().map(|(_, message)| message.fields.len()).sum::<usize>() > MAX_FIELDS {
            return Err(format!("more than {MAX_FIELDS} fields"));
        }
        if self.relations.len() > MAX_RELATIONS {
            return Err(format!("more than {MAX_RELATIONS} relations"));
        }
        let mut seen = HashSet::new();
        for (bus, message) in all() {
            let wrong = |what: &str| format!("bus {}: message {}: {what}", bus.name, message.id);
            parse_id(&message.id)
                .ok_or_else(|| wrong("its identifier has neither three nor eight hexadecimal digits"))?;
            if !seen.insert((&bus.name, &message.id)) {
                return Err(wrong("it is there twice"));
            }
            message.check().map_err(|what| wrong(&what))?;
        }
        let numbers = self.relations.iter().flat_map(|r| [r.slope, r.offset, r.off]);
        let numbers = numbers.chain(self.buses.iter().map(|bus| bus.newest_s)).chain([self.provenance.seconds]);
        if numbers.into_iter().any(|x| !x.is_finite()) {
            return Err(
                "`newest_s`, `seconds` or a number of a [[together]] is not finite; learn the profile anew".into()
            );
        }
        Ok(())
    }
}

impl Message {
    fn check(&self) -> Result<(), String> {
        let longest = usize::from(self.lengths.last().copied().unwrap_or(0));
        if !self.lengths.is_sorted() || longest > can_decoders::frame::MAX_PAYLOAD || self.flips.len() != 8 * longest {
            return Err(
                "`lengths` or `flips` do not fit: one number a bit of the longest frame, at most 64 bytes".into()
            );
        }
        if let Some(Counter { shift, bits, modulus, .. }) = self.counter
            && !(bits >= 1 && shift < 8 && bits <= 8 - shift && modulus >= 2 && u32::from(modulus) <= 1 << bits)
        {
            return Err("its counter is not within a byte".into());
        }
        if let Some(checksum) = &self.checksum {
            checksum.algorithm.parse::<can_decoders::integrity::Algorithm>().map_err(|error| error.to_string())?;
        }
        let timing = self.timing.map(|t| {
            let [a, b, c] = t.busiest;
            [t.mean_ms, t.deviation_ms, t.shortest_ms, t.longest_ms, t.second_ms, a, b, c]
        });
        if self.fields.iter().any(|f| f.min > f.max || f.step < 0.0 || f.still_s < 0.0) {
            return Err("a field has `min` above `max`, or a step or a time below zero".into());
        }
        let fields = self.fields.iter().flat_map(|f| [f.min, f.max, f.step, f.still_s]);
        let mut numbers = timing.into_iter().flatten().chain(fields).chain([self.surprise]);
        if numbers.any(|x| !x.is_finite()) || timing.is_some_and(|t| t.into_iter().any(|x| x < 0.0)) {
            return Err("a number is not finite, or a time is below zero; learn the profile anew".into());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod test_traffic;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

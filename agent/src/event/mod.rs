//! Events: what leaves the vehicle.
//!
//! The engine makes an [`Event`]; the outbox gives it its sequence number and encodes the
//! [`Envelope`]. The encoding is CBOR (RFC 8949) in core deterministic form: text keys ordered by
//! length, then bytes; shortest floats. Struct fields below are declared in that order, because
//! serde writes them as declared; a test checks it for every kind. Several events in one message
//! are a CBOR sequence (RFC 8742): their encodings, one after the other. `tests/events.cddl` is
//! the schema that backends build against.

mod bus;
mod campaign;
pub(crate) mod clock;
mod condition;
mod gateway;
mod model;
mod recording;
mod regions;

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

pub use bus::{Blind, BlindCause, BusHealth, BusState, BusStatus, InvalidBy, Xl};
pub use campaign::{Campaign, CampaignState};
pub use clock::{Clock, ClockChange, ClockFix, ClockState, Moment};
pub use condition::{Condition, ConditionPhase, Snapshot};
pub use gateway::{Certificate, GatewayState};
pub use model::{Anomaly, AnomalyPhase, Contribution, InputStats, ModelState, ModelStats};
pub use recording::{Recording, RecordingChunk, RecordingState};
pub use regions::Regions;

/// Version of the envelope. Backends must ignore keys that they do not know.
pub const SCHEMA_VERSION: u8 = 1;

/// How important an event is. Bounds drop the least important class first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Crash and safety.
    Critical,
    /// Anomalies and trouble codes.
    Alert,
    /// Health, gaps, results of commands.
    Status,
    /// Signals.
    Telemetry,
    /// Recordings.
    Bulk,
}

impl Class {
    /// All classes, most important first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::Alert, Self::Status, Self::Telemetry, Self::Bulk];

    /// The class's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Status => "status",
            Self::Telemetry => "telemetry",
            Self::Bulk => "bulk",
        }
    }

    /// Position in [`Class::ALL`]; 0 is the most important.
    pub const fn rank(self) -> usize {
        self as usize
    }

    /// The class at `rank`, `None` past the last.
    pub fn from_rank(rank: usize) -> Option<Self> {
        Self::ALL.get(rank).copied()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that happened, before it has a sequence number.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, in nanoseconds since the Unix epoch, by the clock that stamped the frames.
    pub time_ns: u64,
    /// What that clock is worth; `None` from the engine, which has none, and in a recording.
    pub clock: Option<Clock>,
    /// Importance.
    pub class: Class,
    /// The regions whose gateways may have it; `None`: all.
    pub regions: Option<Regions>,
    /// The campaign that asked for it.
    pub campaign: Option<Arc<str>>,
    /// What.
    pub body: Body,
}

/// Who sends: fixed for the life of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The vehicle's name, stable for its life: the key of its events.
    pub vehicle: Arc<str>,
    /// Differs at each start of the computer, and with each name; tells events with odd times apart.
    pub boot: Arc<str>,
}

/// The event as it is encoded.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    /// Nanoseconds since the Unix epoch.
    pub t: u64,
    /// [`SCHEMA_VERSION`].
    pub v: u8,
    /// Number of the event, counted per vehicle from 1, never used twice.
    pub seq: u64,
    /// The body; its form depends on `kind`.
    pub body: &'a Body,
    /// See [`Identity::boot`].
    pub boot: &'a str,
    /// See [`Body::kind`].
    pub kind: &'a str,
    /// See [`Clock::mono_ns`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mono: Option<u64>,
    /// Importance.
    pub class: Class,
    /// See [`Clock::state`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockState>,
    /// See [`Event::regions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<&'a Regions>,
    /// See [`Identity::vehicle`].
    pub vehicle: &'a str,
    /// See [`Event::campaign`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<&'a str>,
}

impl Event {
    /// An event without a clock of its own.
    pub fn new(time_ns: u64, class: Class, body: Body) -> Self {
        Self { time_ns, clock: None, class, regions: None, campaign: None, body }
    }

    /// When.
    pub fn moment(&self) -> Moment {
        Moment { time_ns: self.time_ns, clock: self.clock }
    }

    /// The envelope of this event as number `seq` of `identity`.
    pub fn envelope<'a>(&'a self, identity: &'a Identity, seq: u64) -> Envelope<'a> {
        Envelope {
            t: self.time_ns,
            v: SCHEMA_VERSION,
            seq,
            body: &self.body,
            boot: &identity.boot,
            kind: self.body.kind(),
            mono: self.clock.map(|clock| clock.mono_ns),
            class: self.class,
            clock: self.clock.map(|clock| clock.state),
            regions: self.regions.as_ref(),
            vehicle: &identity.vehicle,
            campaign: self.campaign.as_deref(),
        }
    }

    /// Appends the CBOR encoding of the envelope to `out`.
    ///
    /// # Errors
    /// None in practice: the types here always encode. serde_cbor's error type is passed on all the same.
    pub fn encode(&self, identity: &Identity, seq: u64, out: &mut Vec<u8>) -> Result<(), serde_cbor::Error> {
        serde_cbor::to_writer(out, &self.envelope(identity, seq))
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// The agent started, or stops in good order.
    Agent(AgentState),
    /// A model found something, goes on finding it, or no longer does.
    Anomaly(Anomaly),
    /// A time in which not all frames of a bus were heard.
    Blind(Blind),
    /// A bus changed its state, or messages fell silent on it or came back.
    Bus(BusStatus),
    /// How a campaign does.
    Campaign(Campaign),
    /// Something that a link needs ends soon.
    Certificate(Certificate),
    /// The clock was set, or what is known of it changed.
    Clock(ClockChange),
    /// A condition has acted, or is over.
    Condition(Condition),
    /// Sequence numbers that will not arrive, and why.
    Gap(Gap),
    /// What became of a gateway.
    Gateway(GatewayState),
    /// Counters of the buses and of the engine.
    Health(Health),
    /// A message fell silent or came back.
    Message(MessageState),
    /// A model was taken out of service or put back.
    Model(ModelState),
    /// How a model fared.
    ModelStats(ModelStats),
    /// What has become of a recording.
    Recording(Recording),
    /// A piece of a recording.
    RecordingChunk(RecordingChunk),
    /// Values of signals.
    Signals(Signals),
    /// Aggregates of signals over a period.
    Aggregates(Aggregates),
    /// A CAN XL frame.
    Xl(Xl),
}

impl Body {
    /// The kind's name on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Anomaly(_) => "anomaly",
            Self::Blind(_) => "blind",
            Self::Bus(_) => "bus",
            Self::Campaign(_) => "campaign",
            Self::Certificate(_) => "certificate",
            Self::Clock(_) => "clock",
            Self::Condition(_) => "condition",
            Self::Gap(_) => "gap",
            Self::Gateway(_) => "gateway",
            Self::Health(_) => "health",
            Self::Message(_) => "message",
            Self::Model(_) => "model",
            Self::ModelStats(_) => "model_stats",
            Self::Recording(_) => "recording",
            Self::RecordingChunk(_) => "recording_chunk",
            Self::Signals(_) => "signals",
            Self::Aggregates(_) => "aggregates",
            Self::Xl(_) => "xl",
        }
    }
}

/// Body of kind `agent`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentState {
    /// `started`, `running`, `reloaded`, `kept` (a new configuration was refused) or `stopping`.
    pub state: &'static str,
    /// Why, of `kept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The agent's version.
    pub version: &'static str,
    /// What the parts around the engine dropped, refused or could not read since the start, by cause; and how long the models
    /// take (`model.NAME.us_max`, `model.NAME.us_p99`).
    pub counters: NameMap<u64>,
}

/// Why events were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossCause {
    /// The process ended without closing the outbox: these numbers may never have been used.
    Restart,
    /// The disk quota made room for newer or more important events.
    Quota,
    /// The queue before the outbox was full.
    Overflow,
    /// The gateway refused them for good.
    Rejected,
    /// Larger than the gateway or the outbox takes.
    Oversize,
    /// A record on disk was damaged.
    Corrupt,
    /// The disk refused to store them.
    Storage,
    /// They waited for longer than their class may.
    Age,
    /// Storing them would have worn out the flash.
    Wear,
}

impl LossCause {
    /// All causes; a place here stands for the cause on disk.
    pub(crate) const ALL: [Self; 9] = [
        Self::Restart,
        Self::Quota,
        Self::Overflow,
        Self::Rejected,
        Self::Oversize,
        Self::Corrupt,
        Self::Storage,
        Self::Age,
        Self::Wear,
    ];
}

/// Body of kind `gap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Class of the lost events, null when it is not known or mixed.
    pub lost: Option<Class>,
    /// Times of the earliest and the latest of them, nanoseconds since the Unix epoch; null when they are not known.
    #[serde(default)]
    pub span: Option<(u64, u64)>,
    /// Why.
    pub cause: LossCause,
    /// How many numbers the ranges hold.
    pub count: u64,
    /// Ranges of sequence numbers, first and last inclusive, ascending.
    pub ranges: Vec<(u64, u64)>,
}

/// Body of kind `health`. Counters count from the start of the agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Per bus, by the bus's name.
    pub buses: NameMap<BusHealth>,
    /// Messages now silent.
    pub silent: u64,
    /// Counters of what the other parts of the agent dropped or refused, by cause.
    pub counters: NameMap<u64>,
    /// Frames whose time was before the engine's; they are processed at the engine's time.
    pub late_frames: u64,
}

/// Body of kind `message`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageState {
    /// The bus.
    pub bus: Arc<str>,
    /// Time of its last frame before the silence, nanoseconds since the Unix epoch.
    pub last: u64,
    /// The message's name in the DBC.
    pub name: Arc<str>,
    /// `silent` or `back`.
    pub state: &'static str,
    /// The period it is expected at, in milliseconds.
    pub period_ms: f64,
}

/// Body of kind `signals`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signals {
    /// The collection's name in the configuration.
    pub group: Arc<str>,
    /// Physical values by signal; null marks one that is not valid or too old.
    pub values: NameMap<Option<f64>>,
}

/// Body of kind `aggregates`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Aggregates {
    /// The collection's name in the configuration.
    pub group: Arc<str>,
    /// Aggregates by signal; signals without a valid value in the period are left out.
    pub stats: NameMap<Aggregate>,
    /// The period in milliseconds.
    pub period_ms: u64,
}

/// One signal over one period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Aggregate {
    /// Samples.
    pub n: u64,
    /// Largest value.
    pub max: f64,
    /// Smallest value.
    pub min: f64,
    /// Last value.
    pub last: f64,
    /// Mean over the samples.
    pub mean: f64,
}

/// A map from names, kept in the canonical order of CBOR keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameMap<T>(Vec<(Arc<str>, T)>);

impl<T> NameMap<T> {
    /// Takes the entries in any order; the last of two with one name wins.
    pub fn new(mut entries: Vec<(Arc<str>, T)>) -> Self {
        entries.sort_by(|a, b| canonical_order(&a.0, &b.0));
        // The first of a run is the one that is kept: it takes the place of each that follows.
        entries.dedup_by(|later, kept| {
            later.0 == kept.0 && {
                std::mem::swap(later, kept);
                true
            }
        });
        Self(entries)
    }

    /// The entries in canonical order.
    pub fn entries(&self) -> &[(Arc<str>, T)] {
        &self.0
    }
}

/// The order of text keys in deterministic CBOR: shorter first, then by bytes.
pub fn canonical_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

impl<T: Serialize> Serialize for NameMap<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(&**name, value)?;
        }
        map.end()
    }
}

/// Rounds to three significant digits.
///
/// Inference differs by about 4e-6 between processors; rounded scores keep events identical
/// across them, but for the rare score that lies on a rounding boundary.
pub fn round_score(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    // Going through the decimal text gives the closest double to the three digits, the same everywhere. Its at most ten
    // bytes ("-1.23e-308") stay on the stack: scores come at every grid point.
    let mut text = [0; 16];
    let mut rest = &mut text[..];
    let Ok(free) = write!(rest, "{x:.2e}").map(|()| rest.len()) else { return x };
    str::from_utf8(&text[..text.len() - free]).ok().and_then(|digits| digits.parse().ok()).unwrap_or(x)
}

/// Bytes as text, where JSON has none (RFC 4648, section 5, without padding).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = 0u32;
        for i in 0..3 {
            word = word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0));
        }
        // n bytes need n + 1 digits of six bits.
        for i in 0..=chunk.len() {
            let digit = word >> (18 - 6 * i) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests;

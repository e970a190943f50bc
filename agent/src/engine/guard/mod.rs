//! The guard: watches the buses' traffic by a profile of what is healthy ([`crate::profile`]), with or without a DBC file.
//!
//! It looks at each frame by itself, against the one before of its identifier, and at each grid point at what did not come
//! or came too often. For each identifier and kind of oddness it keeps how much speaks for it: 1 is enough to tell. Events
//! are by kind: an anomaly `missing` begins with the first identifier that is missing, names those that are missed most, and
//! ends when none is.
//!
//! A bus that falls silent altogether is no anomaly: it sleeps, and if not, `bus` and `message` events say what it is. Only of a
//! bus with one or two identifiers that is silent while others are not, those are missed.

mod bus;
mod limits;
mod pair;
pub mod surprise;
mod watch;
pub mod window;

use std::sync::Arc;

use can_decoders::{CanId, Frame};

use self::bus::GuardBus;
use self::pair::Pair;
use super::Sink;
use super::anomaly::{Finder, Tick, Watched};
use super::catalog::{ANY_BUS, Catalog};
use super::debounce::DebounceSpec;
use crate::event::{Class, Contribution, Event, round_score};
use crate::profile::Profile;

pub use watch::{is_unavailable, ring, whole};

/// Windows in which frames are counted, nanoseconds.
pub const WINDOWS_NS: [u64; 3] = [500_000_000, 2_000_000_000, 4_000_000_000];
/// Grid period, nanoseconds.
pub(super) const PERIOD_NS: u64 = 100_000_000;
/// Contributions named in an event.
const TOP: usize = 3;
/// From this score on, something is odd.
pub const THRESHOLD: f64 = 1.0;
/// When that is told.
pub const DEBOUNCE: DebounceSpec =
    DebounceSpec { k: 1, n: 1, min_ns: 0, clear_ns: 3_000_000_000, update_ns: 60_000_000_000 };

/// Kinds of oddness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An identifier does not come.
    Missing,
    /// It comes too often.
    Flooding,
    /// It is not in the profile.
    Unknown,
    /// Its frames have another length.
    Length,
    /// Their payloads change as they never did.
    Payload,
    /// A field makes an impossible step,
    Jump,
    /// is far out of its range,
    Range,
    /// or stands still although it never did.
    Frozen,
    /// A counter does not count.
    Counter,
    /// A checksum is wrong.
    Checksum,
    /// Fields no longer move together.
    Apart,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Missing,
        Self::Flooding,
        Self::Unknown,
        Self::Length,
        Self::Payload,
        Self::Jump,
        Self::Range,
        Self::Frozen,
        Self::Counter,
        Self::Checksum,
        Self::Apart,
    ];

    /// What it is called in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Flooding => "flooding",
            Self::Unknown => "unknown",
            Self::Length => "length",
            Self::Payload => "payload",
            Self::Jump => "jump",
            Self::Range => "range",
            Self::Frozen => "frozen",
            Self::Counter => "counter",
            Self::Checksum => "checksum",
            Self::Apart => "apart",
        }
    }

    /// Whether it is about a field.
    const fn is_of_field(self) -> bool {
        matches!(self, Self::Jump | Self::Range | Self::Frozen)
    }
}

/// What speaks for something odd.
#[derive(Debug, Clone, Copy, Default)]
struct Evidence {
    /// From 1 on, it is told.
    level: f64,
    observed: f64,
    /// NaN when there is no telling.
    expected: f64,
    field: u32,
}

/// A profile at work.
pub struct Guard {
    finder: Finder,
    buses: Vec<GuardBus>,
    /// By bus of the engine.
    routes: Vec<Option<usize>>,
    pairs: Vec<Pair>,
    watched: Vec<Watched>,
    /// Time of the last frame of any bus.
    heard_ns: u64,
    scores: [f64; Kind::ALL.len()],
}

/// A profile does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// It knows a bus that is not configured.
    #[error("it knows bus `{0}`, which the configuration does not have")]
    Bus(String),
    /// Its parts contradict each other.
    #[error("{0}")]
    Inconsistent(String),
}

impl Guard {
    /// Puts a profile to work on the buses of `catalog`.
    ///
    /// # Errors
    /// When it does not fit them, or its parts do not fit each other.
    pub fn new(profile: &Profile, catalog: &Catalog) -> Result<Self, GuardError> {
        let mut routes = vec![None; catalog.buses().len()];
        for (number, bus) in profile.buses.iter().enumerate() {
            let only = profile.buses.len() == 1;
            let own = catalog.buses().iter().position(|b| *b.name == *bus.name);
            let any = || catalog.buses().iter().position(|b| only && &*b.name == ANY_BUS);
            let place = own.or_else(any).ok_or_else(|| GuardError::Bus(bus.name.clone()))?;
            routes[place] = Some(number);
        }
        let seconds = profile.provenance.seconds;
        let several = profile.buses.len() > 1;
        let buses = profile.buses.iter().map(|bus| GuardBus::new(bus, several, seconds, &profile.relations));
        let buses = buses.collect::<Result<Vec<_>, _>>().map_err(GuardError::Inconsistent)?;
        let pairs = profile.relations.iter().map(|relation| Pair::new(relation, &buses)).collect::<Result<_, _>>();
        Ok(Self {
            finder: Finder {
                name: profile.name.as_str().into(),
                version: profile.version.as_str().into(),
                hash: profile.hash.get(..16).unwrap_or_default().into(),
            },
            pairs: pairs.map_err(GuardError::Inconsistent)?,
            buses,
            routes,
            watched: Kind::ALL.map(|kind| Watched::new(kind.name().into(), THRESHOLD, DEBOUNCE)).into(),
            heard_ns: 0,
            scores: [0.0; Kind::ALL.len()],
        })
    }

    /// Who it is.
    pub fn finder(&self) -> &Finder {
        &self.finder
    }

    /// How the names begin that contributions give to the fields of a message of the engine's bus, and to what moves together
    /// with them. `is_it` says whether frames with an identifier are that message's: in J1939 those of many senders are.
    pub fn fields_of(&self, bus: usize, is_it: impl Fn(CanId) -> bool) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        if let Some((b, bus)) = self.routes[bus].and_then(|b| Some((b, self.buses.get(b)?))) {
            for (number, _) in bus.plan.messages().iter().enumerate().filter(|(_, message)| is_it(message.id)) {
                found.push(format!("{}.", bus.names[number]).into());
                let related = self.pairs.iter().filter(|pair| pair.is_of(b, number));
                found.extend(related.map(|pair| pair.name.clone()));
            }
        }
        found
    }

    /// A data frame of the engine's bus.
    pub(super) fn frame(&mut self, bus: usize, frame: &Frame, now_ns: u64) {
        let Some(bus) = self.routes[bus] else { return };
        self.heard_ns = now_ns;
        self.buses[bus].frame(frame, now_ns);
    }

    /// The score of the last grid point.
    pub(super) fn last_score(&self) -> f64 {
        self.scores.iter().copied().fold(0.0, f64::max)
    }

    /// An anomaly of it has been raised, and has not cleared.
    pub(super) fn is_raised(&self) -> bool {
        self.watched.iter().any(Watched::is_raised)
    }

    /// Frames of the engine's bus were missed: what comes next need not follow from what came before.
    pub(super) fn missed(&mut self, bus: usize) {
        if let Some(bus) = self.routes[bus] {
            self.buses[bus].forget();
        }
    }

    /// The clock jumped.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.watched.iter_mut().for_each(|watched| watched.time_jumped(now_ns));
        self.buses.iter_mut().for_each(GuardBus::time_jumped);
        self.heard_ns = 0;
    }

    /// One grid point.
    pub(super) fn tick(&mut self, index: usize, tick: Tick, sink: &mut impl Sink) {
        let now_ns = tick.now_ns;
        self.scores = [0.0; Kind::ALL.len()];
        for bus in &mut self.buses {
            bus.tick(now_ns, self.heard_ns);
            for watch in &bus.watches {
                for (score, evidence) in self.scores.iter_mut().zip(&watch.evidence) {
                    *score = score.max(evidence.level);
                }
            }
            let unknown = &mut self.scores[Kind::Unknown as usize];
            *unknown = unknown.max(bus.unknown);
        }
        for pair in &mut self.pairs {
            pair.tick(&self.buses, now_ns);
            let apart = &mut self.scores[Kind::Apart as usize];
            *apart = apart.max(pair.evidence.level);
        }
        self.scores.iter_mut().for_each(|score| *score = round_score(*score));
        sink.score(index, now_ns, self.last_score(), &mut self.scores.iter().copied());
        for (kind, watched) in Kind::ALL.into_iter().zip(&mut self.watched) {
            let score = self.scores[kind as usize];
            let class = (score >= THRESHOLD).then_some(Class::Alert);
            let event: Option<Event> =
                watched.step(tick, score, class, &self.finder, || top(kind, &self.buses, &self.pairs));
            event.into_iter().for_each(|event| sink.event(event));
        }
        self.buses.iter_mut().for_each(|bus| bus.fade(seconds(PERIOD_NS)));
    }
}

/// What speaks for a kind, the most first; ties by position.
fn top(kind: Kind, buses: &[GuardBus], pairs: &[Pair]) -> Vec<Contribution> {
    let mut all: Vec<(Arc<str>, Evidence)> = Vec::new();
    match kind {
        Kind::Unknown => {
            for bus in buses {
                for stranger in &bus.strangers {
                    let name = format!("{}:{}", bus.name, stranger.id).into();
                    let (level, observed) = (bus.unknown, f64::from(stranger.frames));
                    all.push((name, Evidence { level, observed, expected: 0.0, field: 0 }));
                }
            }
        }
        Kind::Apart => {
            let broken = pairs.iter().filter(|pair| pair.evidence.level > 0.0);
            all.extend(broken.map(|pair| (pair.name.clone(), pair.evidence)));
        }
        _ => {
            for bus in buses {
                for (number, watch) in bus.watches.iter().enumerate() {
                    let evidence = watch.evidence[kind as usize];
                    if evidence.level > 0.0 {
                        let is_field = kind.is_of_field();
                        let name = if is_field { bus.field(number, evidence.field) } else { bus.names[number].clone() };
                        all.push((name, evidence));
                    }
                }
            }
        }
    }
    all.sort_by(|a, b| b.1.level.total_cmp(&a.1.level).then(b.1.observed.total_cmp(&a.1.observed)));
    // Those that are found; when it is about to clear, what is left of them.
    let found = all.iter().filter(|(_, evidence)| evidence.level >= THRESHOLD).count();
    all.truncate(found.clamp(1, TOP));
    let contribution = |(name, evidence): (Arc<str>, Evidence)| Contribution {
        name,
        part: round_score(evidence.level),
        expected: (!evidence.expected.is_nan()).then(|| round_score(evidence.expected)),
        observed: Some(round_score(evidence.observed)),
    };
    all.into_iter().map(contribution).collect()
}

#[expect(clippy::cast_precision_loss, reason = "durations; the last bits do not matter")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

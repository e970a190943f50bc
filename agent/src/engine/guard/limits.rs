//! What counts as odd: limits made of a profile's facts.
//!
//! A recording shows some of what is healthy, the car does more of it over the years. So each limit leaves room beyond the
//! extremes that were seen, the more the fewer they come from, and what one odd frame could be by chance has to come again.

use super::WINDOWS_NS;
use super::surprise::Weights;
use crate::profile::{Counter, Field, Message, Timing};

/// An identifier that is gone for less is not missed, seconds: a busy bus, or a busy gateway, can hold back frames.
const MISSING_MIN_S: f64 = 0.5;
/// Times between frames that have to be known, to miss them,
const MISSING_MIN_GAPS: u64 = 5;
/// of identifiers that do not come regularly so many,
const MISSING_MIN_GAPS_ODD: u64 = 300;
/// and the share of the recording that they make up: what comes in one burst and never again is not missed.
const MISSING_MIN_SHARE: f64 = 0.8;
/// A time between two frames that is so many times as long as any other is not taken for healthy,
const OUTAGE: f64 = 3.0;
/// if so many are known.
const OUTAGE_MIN_GAPS: u64 = 100;
/// A counter that does not count more often than so many times a second is not watched.
const BREAKS_PER_S: f64 = 0.1;
/// What comes regularly has times between frames with a standard deviation of at most this share of their mean.
const REGULAR: f64 = 0.5;
/// The window that an identifier's frames are counted in holds so many, if the longest one does.
const WINDOW_FRAMES: f64 = 5.0;
/// Changes of payloads that have to be known, to be surprised.
const SURPRISE_MIN_CHANGES: u64 = 3;
/// A field is stiff, and cannot jump, when its largest step was at most this share of its range.
const STIFF: f64 = 0.25;
/// It takes so many seconds to know,
const STIFF_MIN_S: f64 = 300.0;
/// and no jump is less than this share of it.
const JUMP: f64 = 0.3;
/// A field that stands still is missed when it changed in so many of its samples, noise as it were,
const RESTLESS: f64 = 0.9;
/// so many of them,
const RESTLESS_MIN_SAMPLES: u64 = 5000;
/// in a recording of so many seconds, and never stopped for long.
const FROZEN_MIN_S: f64 = 600.0;
/// See [`FROZEN_MIN_S`]: the longest stop, as a share of the recording.
const FROZEN_SHARE: f64 = 0.005;

/// The limits of one identifier.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Seconds without a frame from which it is missing; `None` when that cannot be said.
    pub(super) missing_s: Option<f64>,
    /// Seconds without a frame after which the next one need not follow from it.
    pub(super) pause_s: f64,
    /// Frames within the window from which it floods the bus.
    pub(super) flooding: f64,
    /// The window, nanoseconds.
    pub(super) window_ns: u64,
    /// Frames that come closer than this are not the sender's own, nanoseconds; 0 when that cannot be said.
    pub(super) early_ns: u64,
    /// Excess of surprise from which payloads are not the sender's own; infinite when that cannot be said.
    pub(super) excess: f64,
    /// See [`Weights::of_random`].
    pub(super) of_random: f64,
    pub(super) weights: Weights,
    /// The usual time between two frames, seconds; 0 when not known.
    pub(super) period_s: f64,
    pub(super) counter: Option<Counter>,
}

impl Limits {
    /// `seconds` is how much was heard.
    pub(super) fn of(message: &Message, seconds: f64) -> Self {
        let changes = message.timing.map_or(0, |timing| timing.gaps);
        let weights = Weights::new(&message.flips, changes);
        let of_random = weights.of_random().filter(|_| changes >= SURPRISE_MIN_CHANGES);
        let excess = match of_random {
            // All bits may change, once: that is twice what half of them do.
            Some(random) => (1.5 * message.surprise + weights.rarest()).max(1.4 * random),
            None => f64::INFINITY,
        };
        // A sender that restarts, or a recorder that lost frames, breaks it now and then; more often, it is not to be trusted.
        let counter = message.counter.filter(|counter| number(counter.breaks) <= BREAKS_PER_S * seconds + 1.0);
        let mut limits = Self {
            missing_s: None,
            pause_s: MISSING_MIN_S,
            flooding: f64::INFINITY,
            window_ns: WINDOWS_NS[2],
            early_ns: 0,
            of_random: of_random.unwrap_or(0.0),
            excess,
            weights,
            period_s: 0.0,
            counter,
        };
        match &message.timing {
            Some(timing) => limits.time(timing, seconds),
            // Seen once.
            None => limits.flooding = 8.0,
        }
        limits
    }

    fn time(&mut self, timing: &Timing, heard: f64) {
        // One outage in a recording is an outage.
        let outage = timing.longest_ms > OUTAGE * timing.second_ms.max(timing.mean_ms);
        let longest = if outage && timing.gaps >= OUTAGE_MIN_GAPS { timing.second_ms } else { timing.longest_ms } / 1e3;
        let period = timing.mean_ms / 1e3;
        self.period_s = period;
        let few = 1.0 / number(timing.gaps).sqrt();
        self.pause_s = (2.0 * longest).max(MISSING_MIN_S);
        // What is sent on events can let you wait, or come in a row.
        let variance = (timing.deviation_ms / 1e3).powi(2);
        let variance =
            if outage { variance - (timing.longest_ms / 1e3).powi(2) / number(timing.gaps) } else { variance };
        let regular = variance <= (REGULAR * period).powi(2) && longest <= 10.0 * period;
        let enough = timing.gaps >= if regular { MISSING_MIN_GAPS } else { MISSING_MIN_GAPS_ODD };
        let always = number(timing.gaps) * period >= MISSING_MIN_SHARE * heard;
        if enough && always {
            let room = if regular && !outage { 1.2 } else { 2.5 } + 3.0 * few;
            self.missing_s = Some((room * longest + 0.5 * period).max(MISSING_MIN_S));
        }
        let window = (0..WINDOWS_NS.len()).find(|&i| seconds(WINDOWS_NS[i]) >= WINDOW_FRAMES * period);
        let window = window.unwrap_or(WINDOWS_NS.len() - 1);
        self.window_ns = WINDOWS_NS[window];
        let room = if regular { 1.3 } else { 2.0 } + 2.0 * few;
        self.flooding = room * timing.busiest[window] + 2.0;
        let even = timing.gaps >= 3 && timing.shortest_ms >= if timing.gaps >= 50 { 0.3 } else { 0.7 } * timing.mean_ms;
        self.early_ns = if even { nanoseconds(timing.shortest_ms / 2.0 * 1e6) } else { 0 };
    }
}

/// The limits of one field.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldLimits {
    /// The largest step from one frame to the next; infinite when it may jump.
    pub(super) step: f64,
    /// Values between which it was,
    pub(super) seen: (f64, f64),
    /// and how far from their middle is too far; infinite when anything may be.
    pub(super) far: f64,
    /// See [`super::watch::whole`].
    pub(super) whole: f64,
    /// Seconds without a change from which it is frozen; infinite when it may stand still.
    pub(super) still_s: f64,
}

impl FieldLimits {
    /// `described` tells that a DBC file has the field; `seconds` is how much was heard.
    pub(super) fn of(field: &Field, described: bool, whole: f64, seconds: f64) -> Self {
        let span = field.max - field.min;
        let lively = field.samples >= 200
            && field.values >= 16
            && number(field.changes) >= 0.05 * number(field.samples)
            && field.turns >= 10;
        let stiff = lively && seconds >= STIFF_MIN_S && field.step <= STIFF * span;
        let room = if field.samples < 2000 { 4.0 } else { 3.0 };
        let noisy = number(field.changes) >= RESTLESS * number(field.samples) && field.samples >= RESTLESS_MIN_SAMPLES;
        let restless = noisy && lively && seconds >= FROZEN_MIN_S && field.still_s <= FROZEN_SHARE * seconds;
        Self {
            step: if stiff { (room * field.step).max(JUMP * span) } else { f64::INFINITY },
            seen: (field.min, field.max),
            // A field that has seen most of its values cannot leave them; a place or a height goes on; and what the bits
            // gave away may be the lower part of one that is longer.
            far: if stiff && described && field.settled && 3.5 * span < whole { 1.5 * span } else { f64::INFINITY },
            whole,
            still_s: if restless { 5.0 * field.still_s + 2.0 } else { f64::INFINITY },
        }
    }

    /// Whether there is anything to watch.
    pub(super) fn watches(&self) -> bool {
        self.step.is_finite() || self.still_s.is_finite()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts; the last bits do not matter")]
fn number(n: u64) -> f64 {
    n as f64
}

fn seconds(ns: u64) -> f64 {
    number(ns) / 1e9
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: not below zero")]
fn nanoseconds(ns: f64) -> u64 {
    ns as u64
}

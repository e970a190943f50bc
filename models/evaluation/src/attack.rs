//! Attacks and faults, and what they make of a recording's frames.
//!
//! The five kinds of the literature on attacks against signals (plateau, continuous change, playback, suppression and
//! flooding: SynCAN, Hanselmann et al. 2020), attacks on a bus (unknown identifiers, fuzzing), and faults of sensors (offset,
//! gain, noise, stuck, intermittent, delayed). All but the second group change one signal: the bits of the others in its
//! frames stay as they are, and multiplexed signals are changed only where they are.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use can_decoders::{BusId, CanId, EncodeError, Frame, FrameKind, MessageIndex, Plan, SignalIndex};
use fastrand::Rng;

/// What is done to a signal or a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its value freezes, or jumps to another and stays there.
    Plateau,
    /// It drifts away by 30 to 60 % of its range.
    Continuous,
    /// Its values are those of another time of the recording.
    Playback,
    /// Its frames are missing.
    Suppress,
    /// Its frames come 3 to 20 times as often.
    Flooding,
    /// Frames with an identifier that the recording does not have.
    Unknown,
    /// Frames with known identifiers and random payloads.
    Fuzzing,
    /// It is off by 10 to 30 % of its range.
    Offset,
    /// It is 0.5 to 0.8 or 1.25 to 2 times what it should be.
    Gain,
    /// It has noise of 5 to 20 % of its range.
    Noise,
    /// It stays at its value.
    Stuck,
    /// Each sample is the smallest value with a chance of 30 to 70 %.
    Intermittent,
    /// It is late by 1 to 3 seconds.
    Delayed,
}

impl Kind {
    /// All kinds with their names.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Plateau, "plateau"),
        (Self::Continuous, "continuous"),
        (Self::Playback, "playback"),
        (Self::Suppress, "suppress"),
        (Self::Flooding, "flooding"),
        (Self::Unknown, "unknown"),
        (Self::Fuzzing, "fuzzing"),
        (Self::Offset, "offset"),
        (Self::Gain, "gain"),
        (Self::Noise, "noise"),
        (Self::Stuck, "stuck"),
        (Self::Intermittent, "intermittent"),
        (Self::Delayed, "delayed"),
    ];
    /// The five attacks on signals.
    pub const FIVE: [Self; 5] = [Self::Plateau, Self::Continuous, Self::Playback, Self::Suppress, Self::Flooding];

    /// True when it is about a bus, and no signal has to be named.
    pub const fn is_of_bus(self) -> bool {
        matches!(self, Self::Unknown | Self::Fuzzing)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(kind, _)| kind == self).map_or("?", |(_, name)| name))
    }
}

/// There is no such kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind `{0}`; there are: {names}", names = Kind::ALL.map(|(_, name)| name).join(", "))]
pub struct NoKind(String);

impl FromStr for Kind {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind).ok_or_else(|| NoKind(text.into()))
    }
}

/// What an attack is on.
#[derive(Debug, Clone)]
pub enum Victim {
    /// A signal, and with it the frames that carry it.
    Signal(SignalAt),
    /// The frames of an identifier.
    Frames {
        /// The bus.
        bus: BusId,
        /// The identifier.
        id: CanId,
    },
}

/// A signal of a bus.
#[derive(Debug, Clone)]
pub struct SignalAt {
    /// `Message.Signal`.
    pub name: String,
    /// The bus that its frames carry;
    pub bus: BusId,
    /// where its description is for all buses that have none of their own, the first of those, too.
    pub others_from: Option<BusId>,
    /// What describes it.
    pub plan: Arc<Plan>,
    /// Its message.
    pub message: MessageIndex,
    /// Itself.
    pub signal: SignalIndex,
}

impl SignalAt {
    /// Its value in a frame, `None` when the frame does not carry it.
    pub fn of(&self, frame: &Frame) -> Option<f64> {
        let is_its = (self.bus == frame.bus || self.others_from.is_some_and(|first| frame.bus >= first))
            && matches!(frame.kind, FrameKind::Data | FrameKind::Fd { .. })
            && self.plan.find(frame.id) == Some(self.message);
        let decoded = is_its.then(|| self.plan.decode_frame(self.message, frame))?;
        decoded.signals().find(|sample| sample.signal == self.signal).map(|sample| sample.value)
    }

    /// The frame with another value of it, or the nearest that its bits can say.
    fn with(&self, frame: &Frame, value: f64) -> Frame {
        let mut payload = [0; 64];
        let payload = &mut payload[..frame.len()];
        payload.copy_from_slice(frame.payload());
        let mut encode = |value| self.plan.encode(self.message, &[(self.signal, value)], payload);
        if let Err(EncodeError::OutOfRange { low, high, .. }) = encode(value) {
            // Between them it fits; should it not, the frame stays as it was.
            let _ = encode(if value.is_nan() { low } else { value.clamp(low, high) });
        }
        Frame::new(frame.time_ns, frame.bus, frame.id, frame.kind, payload).unwrap_or(*frame)
    }
}

/// One attack on one victim.
#[derive(Debug, Clone)]
pub struct Attack {
    /// What.
    pub kind: Kind,
    /// On what.
    pub victim: Victim,
    /// From this time on, nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// To before this one.
    pub end_ns: u64,
    /// Of its random numbers.
    pub seed: u64,
}

impl Victim {
    /// Whether a frame is one of its.
    pub fn has(&self, frame: &Frame) -> bool {
        carries(self, frame)
    }
}

/// The values of a signal over a recording.
struct History(Vec<(u64, f64)>);

impl History {
    fn of(signal: &SignalAt, frames: &[Frame]) -> Self {
        Self(frames.iter().filter_map(|frame| Some((frame.time_ns, signal.of(frame)?))).collect())
    }

    /// The last value before `at_ns`, or the first of all.
    fn before(&self, at_ns: u64) -> f64 {
        let after = self.0.partition_point(|(time_ns, _)| *time_ns < at_ns);
        self.0.get(after.saturating_sub(1)).map_or(0.0, |(_, value)| *value)
    }

    fn range(&self) -> (f64, f64) {
        self.0.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, v)| (low.min(*v), high.max(*v)))
    }
}

/// Puts one attack into the frames of a recording, which stay in the order of their times. `clean` is the recording as it was.
pub fn apply(attack: &Attack, clean: &[Frame], frames: &mut Vec<Frame>) {
    let mut rng = Rng::with_seed(attack.seed);
    let within = |frame: &Frame| (attack.start_ns..attack.end_ns).contains(&frame.time_ns);
    match (attack.kind, &attack.victim) {
        (Kind::Suppress, victim) => frames.retain(|frame| !(within(frame) && carries(victim, frame))),
        (Kind::Flooding, victim) => {
            let template = frames.iter().rev().find(|frame| frame.time_ns < attack.start_ns && carries(victim, frame));
            let Some(mut last) = template.copied() else { return };
            let times = more(3.0 + 17.0 * rng.f64(), period(victim, clean), attack);
            let mut own = frames.iter().filter(|frame| within(frame) && carries(victim, frame)).peekable();
            let mut new = Vec::new();
            for time_ns in times {
                while let Some(frame) = own.next_if(|frame| frame.time_ns <= time_ns) {
                    last = *frame;
                }
                let mut copy = last;
                copy.time_ns = time_ns;
                new.push(copy);
            }
            insert(frames, new);
        }
        (Kind::Unknown | Kind::Fuzzing, Victim::Frames { bus, id }) => {
            // At the pace of the bus, so that neither is found by the load alone.
            let on_bus = clean.iter().filter(|frame| frame.bus == *bus).count();
            let span = clean.last().map_or(1, |last| last.time_ns - clean[0].time_ns).max(1);
            let own = if attack.kind == Kind::Fuzzing { period(&attack.victim, clean) } else { None };
            let bus_period = span / u64::try_from(on_bus.max(1)).unwrap_or(u64::MAX);
            let step = own.unwrap_or(bus_period * 10).max(1_000_000);
            let length = clean.iter().find(|frame| carries(&attack.victim, frame)).map_or(8, Frame::len);
            let new = (attack.start_ns..attack.end_ns).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            let random = |time_ns| {
                let mut payload = [0; 64];
                rng.fill(&mut payload[..length]);
                let kind = if length > 8 { FrameKind::Fd { brs: false, esi: false } } else { FrameKind::Data };
                Frame::new(time_ns, *bus, *id, kind, &payload[..length])
            };
            let new = new.map(random).collect::<Option<Vec<_>>>().unwrap_or_default();
            insert(frames, new);
        }
        (kind, Victim::Signal(signal)) => {
            let history = History::of(signal, clean);
            let change = change(kind, attack, &history, &mut rng);
            let mut change = change;
            for frame in frames.iter_mut().filter(|frame| within(frame)) {
                if let Some(value) = signal.of(frame) {
                    *frame = signal.with(frame, change(frame.time_ns, value));
                }
            }
        }
        // A signal's value is nothing that frames without a description have.
        (_, Victim::Frames { .. }) => {}
    }
}

fn carries(victim: &Victim, frame: &Frame) -> bool {
    match victim {
        Victim::Signal(signal) => signal.of(frame).is_some(),
        Victim::Frames { bus, id } => frame.bus == *bus && frame.id == *id && !matches!(frame.kind, FrameKind::Error),
    }
}

/// The usual time between two frames of the victim, nanoseconds; `None` with fewer than three.
fn period(victim: &Victim, clean: &[Frame]) -> Option<u64> {
    let times: Vec<u64> = clean.iter().filter(|frame| carries(victim, frame)).map(|frame| frame.time_ns).collect();
    let mut gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().filter(|_| gaps.len() >= 2)
}

/// Times of the frames that make `factor` times as many.
fn more(factor: f64, period: Option<u64>, attack: &Attack) -> Vec<u64> {
    let step = nanos(number(period.unwrap_or(1_000_000_000)) / (factor - 1.0)).max(50_000);
    (attack.start_ns..attack.end_ns).step_by(usize::try_from(step).unwrap_or(usize::MAX)).skip(1).collect()
}

fn insert(frames: &mut Vec<Frame>, new: Vec<Frame>) {
    frames.extend(new);
    // Stable: what was there comes before what was added at the same time.
    frames.sort_by_key(|frame| frame.time_ns);
}

/// What becomes of a value at a time.
fn change<'a>(
    kind: Kind,
    attack: &'a Attack,
    history: &'a History,
    rng: &mut Rng,
) -> Box<dyn FnMut(u64, f64) -> f64 + 'a> {
    let (low, high) = history.range();
    let range = high - low;
    let sign = if rng.bool() { 1.0 } else { -1.0 };
    let share = |from: f64, to: f64, rng: &mut Rng| from + (to - from) * rng.f64();
    let start_ns = attack.start_ns;
    let length = number(attack.end_ns - attack.start_ns);
    match kind {
        Kind::Plateau => {
            let value = if rng.bool() { history.before(start_ns) } else { share(low, high, rng) };
            Box::new(move |_, _| value)
        }
        Kind::Stuck => {
            let value = history.before(start_ns);
            Box::new(move |_, _| value)
        }
        Kind::Continuous => {
            let far = sign * share(0.3, 0.6, rng) * range;
            Box::new(move |at_ns, v| (v + far * number(at_ns - start_ns) / length).clamp(low, high))
        }
        Kind::Playback => {
            let (first, last) = (history.0.first(), history.0.last());
            let (Some(first), Some(last)) = (first, last) else { return Box::new(|_, v| v) };
            // From at least 30 s away, if the recording is that long.
            let latest = last.0.saturating_sub(attack.end_ns - start_ns).max(first.0);
            let mut from = first.0;
            for _ in 0..100 {
                from = rng.u64(first.0..=latest);
                if from.abs_diff(start_ns) > 30_000_000_000 {
                    break;
                }
            }
            Box::new(move |at_ns, _| history.before(from + (at_ns - start_ns) + 1))
        }
        Kind::Offset => {
            let off = sign * share(0.1, 0.3, rng) * range;
            Box::new(move |_, v| v + off)
        }
        Kind::Gain => {
            let gain = if rng.bool() { share(0.5, 0.8, rng) } else { share(1.25, 2.0, rng) };
            Box::new(move |_, v| v * gain)
        }
        Kind::Noise => {
            let (width, mut rng) = (share(0.05, 0.2, rng) * range, rng.fork());
            // The sum of twelve is nearly normal, with a deviation of 1.
            Box::new(move |_, v| v + width * ((0..12).map(|_| rng.f64()).sum::<f64>() - 6.0))
        }
        Kind::Intermittent => {
            let (chance, mut rng) = (share(0.3, 0.7, rng), rng.fork());
            Box::new(move |_, v| if rng.f64() < chance { low } else { v })
        }
        Kind::Delayed => {
            let late = nanos(share(1.0, 3.0, rng) * 1e9);
            Box::new(move |at_ns, _| history.before(at_ns.saturating_sub(late) + 1))
        }
        Kind::Suppress | Kind::Flooding | Kind::Unknown | Kind::Fuzzing => Box::new(|_, v| v),
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations; the last bits do not matter")]
/// A count or a duration as a number.
pub fn number(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "durations, not below zero")]
fn nanos(x: f64) -> u64 {
    x as u64
}

#[cfg(test)]
#[path = "attack_tests.rs"]
mod tests;

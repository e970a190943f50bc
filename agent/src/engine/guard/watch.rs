//! One identifier under watch: what each of its frames says.

use can_decoders::integrity::Algorithm;
use can_decoders::{Decoded, Frame, Plan, Raw, Signal};

use super::limits::{FieldLimits, Limits};
use super::surprise::Excess;
use super::window::Window;
use super::{Evidence, Kind};
use crate::profile::Message;

/// A field that is not available has all bits set, in J1939 and where people follow it; from this width on.
const UNAVAILABLE_BITS: u32 = 8;

/// Evidence is held to this, so that it is soon forgotten when all is well again.
const MAX_LEVEL: f64 = 1.5;
/// So many frames that come too early within so many seconds, or periods if they are longer, are a flood.
const EARLY: f64 = 5.0;

/// Whether a sample says that there is no value.
pub fn is_unavailable(raw: Raw, bits: u32) -> bool {
    bits >= UNAVAILABLE_BITS && matches!(raw, Raw::Unsigned(value) if value == u64::MAX >> (64 - bits.min(64)))
}

/// How far apart two values of a field are that begins anew after `whole`: a number that counts up, an angle, the lower
/// bits of a larger number.
pub fn ring(difference: f64, whole: f64) -> f64 {
    let difference = difference.abs();
    difference.min((whole - difference).abs())
}

/// By how much a field's value grows from one raw value to the one that its bits cannot hold any more.
pub fn whole(signal: &Signal) -> f64 {
    signal.factor.abs() * 2_f64.powf(signal.bits.into())
}

/// A field under watch.
#[derive(Debug, Clone)]
pub(super) struct FieldWatch {
    pub(super) limits: FieldLimits,
    /// NaN when there is none.
    pub(super) value: f64,
    pub(super) time_ns: u64,
    changed_ns: u64,
}

/// One identifier.
pub(super) struct Watch {
    pub(super) limits: Limits,
    lengths: Box<[u8]>,
    checksum: Option<(Algorithm, usize, u8)>,
    pub(super) fields: Vec<FieldWatch>,
    pub(super) window: Window,
    /// Time of the last frame, 0 when there was none since all began.
    pub(super) last_ns: u64,
    last: Box<[u8]>,
    last_length: usize,
    last_counter: Option<u16>,
    excess: Excess,
    /// Frames that came too early, lately.
    early: f64,
    /// How much speaks for each kind, 1 or above when it is found; in the order of [`Kind::ALL`].
    pub(super) evidence: [Evidence; Kind::ALL.len()],
    /// What each second takes away from it.
    leak: f64,
}

impl Watch {
    pub(super) fn new(message: &Message, fields: Vec<FieldLimits>, seconds: f64) -> Self {
        let limits = Limits::of(message, seconds);
        let longest = usize::from(message.lengths.last().copied().unwrap_or(0));
        let fields = fields.into_iter().map(|limits| FieldWatch { limits, value: f64::NAN, time_ns: 0, changed_ns: 0 });
        let checksum = message.checksum.as_ref();
        Self {
            lengths: message.lengths.clone().into(),
            checksum: checksum.and_then(|c| Some((c.algorithm.parse().ok()?, c.byte, c.distance))),
            fields: fields.collect(),
            window: Window::new(limits.window_ns),
            last_ns: 0,
            last: vec![0; longest].into(),
            last_length: 0,
            last_counter: None,
            excess: Excess::default(),
            early: 0.0,
            evidence: [Evidence::default(); Kind::ALL.len()],
            // What comes rarely must be remembered for longer.
            leak: (0.125 / limits.period_s).min(0.5),
            limits,
        }
    }

    /// What came before says nothing about what comes now.
    pub(super) fn forget(&mut self) {
        (self.last_ns, self.last_length, self.last_counter, self.early) = (0, 0, None, 0.0);
        self.window.clear();
        self.excess = Excess::default();
        for field in &mut self.fields {
            (field.value, field.time_ns) = (f64::NAN, 0);
        }
        self.evidence = [Evidence::default(); Kind::ALL.len()];
    }

    /// Something odd, a share of what is needed to raise it.
    fn strike(&mut self, kind: Kind, share: f64, observed: f64, expected: f64, field: u32) {
        let evidence = &mut self.evidence[kind as usize];
        let level = (evidence.level + share).min(MAX_LEVEL);
        *evidence = Evidence { level, observed, expected, field };
    }

    /// A frame, which `decoded` is made of.
    pub(super) fn frame(&mut self, frame: &Frame, now_ns: u64, plan: &Plan, decoded: &Decoded<'_>) {
        let payload = frame.payload();
        self.window.add(now_ns);
        let gap_ns = now_ns.saturating_sub(self.last_ns);
        let follows = self.last_ns != 0 && seconds(gap_ns) < self.limits.pause_s;
        if self.last_ns != 0 && gap_ns < self.limits.early_ns {
            self.early = (self.early + 1.0 / EARLY).min(MAX_LEVEL);
        }
        self.last_ns = now_ns;

        let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
        if self.lengths.binary_search(&length).is_err() {
            let usual = self.lengths.iter().min_by_key(|usual| usual.abs_diff(length)).copied();
            self.strike(Kind::Length, 0.5, length.into(), usual.unwrap_or(0).into(), 0);
        }
        if let Some((algorithm, byte, distance)) = &self.checksum
            && let Some(found) = algorithm.distance(payload, *byte)
            && found != *distance
        {
            let (observed, expected) = (f64::from(found), f64::from(*distance));
            self.strike(Kind::Checksum, 0.5, observed, expected, 0);
        }
        if let Some(counter) = self.limits.counter {
            let value = counter.of(payload);
            if follows
                && let (Some(before), Some(now)) = (self.last_counter, value)
                && now != counter.next(before)
            {
                self.strike(Kind::Counter, 0.34, now.into(), counter.next(before).into(), 0);
            }
            self.last_counter = value;
        }
        if follows && self.limits.excess.is_finite() {
            let surprise = self.limits.weights.of(&self.last[..self.last_length], payload);
            self.excess.add(surprise, self.limits.of_random, MAX_LEVEL * self.limits.excess);
        }
        self.last_length = payload.len().min(self.last.len());
        self.last[..self.last_length].copy_from_slice(&payload[..self.last_length]);
        if self.fields.is_empty() {
            return;
        }
        if !follows {
            self.fields.iter_mut().for_each(|field| (field.value, field.time_ns) = (f64::NAN, 0));
        }
        let mut frozen = Evidence::default();
        let first = decoded.message().signals.start;
        for sample in decoded.signals() {
            let number = sample.signal.0 - first;
            let Some(field) = self.fields.get_mut(number as usize) else { continue };
            if !sample.validity.is_valid()
                || is_unavailable(sample.raw, plan.signal(sample.signal).bits)
                || !sample.value.is_finite()
            {
                (field.value, field.time_ns) = (f64::NAN, 0);
                continue;
            }
            let (limits, before, now) = (field.limits, field.value, sample.value);
            if before.to_bits() != now.to_bits() || field.time_ns == 0 {
                field.changed_ns = now_ns;
            }
            (field.value, field.time_ns) = (now, now_ns);
            let still = seconds(now_ns - field.changed_ns) / limits.still_s;
            if still > frozen.level {
                frozen = Evidence { level: still, observed: now, expected: f64::NAN, field: number };
            }
            if follows && ring(now - before, limits.whole) > limits.step {
                self.strike(Kind::Jump, 1.0, now, before, number);
            }
            let (low, high) = limits.seen;
            if ring(now - f64::midpoint(low, high), limits.whole) > limits.far {
                self.strike(Kind::Range, 0.34, now, now.clamp(low, high), number);
            }
        }
        self.evidence[Kind::Frozen as usize] = frozen;
    }

    /// A grid point: what time itself says, and that what was odd is the longer ago. `age_s` is the time since the last
    /// frame, `None` when nobody can be missed now.
    pub(super) fn tick(&mut self, now_ns: u64, age_s: Option<f64>) {
        let missing = age_s.zip(self.limits.missing_s).map_or(0.0, |(age, limit)| age / limit);
        self.evidence[Kind::Missing as usize] =
            Evidence { level: missing, observed: age_s.unwrap_or(0.0), expected: self.limits.period_s, field: 0 };
        if missing >= 1.0 {
            // What stands still has to come.
            self.evidence[Kind::Frozen as usize] = Evidence::default();
        }
        let (excess, limit) = (self.excess.level(), self.limits.excess);
        self.evidence[Kind::Payload as usize] =
            Evidence { level: excess / limit, observed: excess, expected: limit.min(f64::MAX), field: 0 };
        let level = self.window.level(now_ns);
        let rate = 1.0 / seconds(self.limits.window_ns);
        let usual = if self.limits.period_s > 0.0 { 1.0 / self.limits.period_s } else { 0.0 };
        let flooding = (level / self.limits.flooding).max(self.early);
        self.evidence[Kind::Flooding as usize] =
            Evidence { level: flooding, observed: level * rate, expected: usual, field: 0 };
    }

    /// After the evidence of a grid point was looked at: it counts for less from now on.
    pub(super) fn fade(&mut self, period_s: f64) {
        // Healthy frames take away from it; where none come, time does.
        self.excess.fade(0.1 * self.leak * period_s * self.limits.excess.min(1e6));
        self.early = (self.early - period_s / (EARLY * self.limits.period_s.max(1.0))).max(0.0);
        for kind in [Kind::Length, Kind::Jump, Kind::Range, Kind::Counter, Kind::Checksum] {
            let level = &mut self.evidence[kind as usize].level;
            *level = (*level - self.leak * period_s).max(0.0);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations; the last bits do not matter")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

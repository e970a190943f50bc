//! The second pass over the recordings: what each field does, which counters count, and how surprising changes are.

use can_decoders::{Frame, MessageIndex, Plan, Signal};

use super::traffic::{number, seconds};
use super::{Counter, Field, MAX_VALUES};
use crate::engine::guard::surprise::{Excess, Weights};
use crate::engine::guard::{is_unavailable, ring, whole};

/// A counter may miss a step in this share of the frames, if the recorder lost some: few enough that three do not come
/// together.
const BREAKS: f64 = 0.0005;

/// See [`Field::settled`]: the share of the range.
const SETTLED: f64 = 0.7;

/// What a field does.
pub(super) struct FieldWatch {
    last: Option<f64>,
    changed_ns: u64,
    rising: Option<bool>,
    seen: Vec<u64>,
    whole: f64,
    /// Ranges of the first and the second half.
    halves: [(f64, f64); 2],
    field: Field,
}

impl FieldWatch {
    fn new(signal: &Signal) -> Self {
        let field = Field {
            name: signal.name.to_string(),
            samples: 0,
            changes: 0,
            values: 0,
            turns: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            step: 0.0,
            still_s: 0.0,
            settled: false,
        };
        Self {
            last: None,
            changed_ns: 0,
            rising: None,
            seen: Vec::new(),
            whole: whole(signal),
            halves: [(f64::INFINITY, f64::NEG_INFINITY); 2],
            field,
        }
    }

    fn pause(&mut self) {
        (self.last, self.rising) = (None, None);
    }

    fn sample(&mut self, value: f64, now_ns: u64, half: usize) {
        if !value.is_finite() {
            return;
        }
        let field = &mut self.field;
        field.samples += 1;
        (field.min, field.max) = (field.min.min(value), field.max.max(value));
        let range = &mut self.halves[half];
        *range = (range.0.min(value), range.1.max(value));
        if field.values < MAX_VALUES
            && let Err(place) = self.seen.binary_search(&value.to_bits())
        {
            self.seen.insert(place, value.to_bits());
            field.values += 1;
        }
        match self.last.replace(value) {
            None => self.changed_ns = now_ns,
            Some(last) if last.to_bits() == value.to_bits() => {
                field.still_s = field.still_s.max(seconds(now_ns.saturating_sub(self.changed_ns)));
            }
            Some(last) => {
                field.changes += 1;
                field.step = field.step.max(ring(value - last, self.whole));
                let rises = value > last;
                field.turns += u64::from(self.rising.replace(rises).is_some_and(|rose| rose != rises));
                self.changed_ns = now_ns;
            }
        }
    }
}

/// What one identifier does.
pub(super) struct Movement {
    message: Option<MessageIndex>,
    pub(super) fields: Vec<FieldWatch>,
    first_signal: u32,
    weights: Weights,
    excess: Excess,
    /// Of the first half of the recordings alone, and what it is made of.
    half: Option<Weights>,
    half_excess: Excess,
    half_flips: Vec<u32>,
    half_changes: u64,
    pub(super) surprise: f64,
    counters: Vec<Counter>,
    changes: u64,
    last: Vec<u8>,
    is_new: bool,
}

impl Movement {
    pub(super) fn new(
        plan: &Plan,
        message: Option<MessageIndex>,
        counters: Vec<Counter>,
        flips: &[u32],
        changes: u64,
    ) -> Self {
        let signals = message.map_or(0..0, |message| plan.message(message).signals.clone());
        Self {
            message,
            fields: signals.clone().map(|s| FieldWatch::new(&plan.signals()[s as usize])).collect(),
            first_signal: signals.start,
            weights: Weights::new(flips, changes),
            excess: Excess::default(),
            half: None,
            half_excess: Excess::default(),
            half_flips: vec![0; flips.len()],
            half_changes: 0,
            surprise: 0.0,
            counters,
            changes: 0,
            last: Vec::new(),
            is_new: true,
        }
    }

    /// There is a pause in the recordings.
    pub(super) fn pause(&mut self) {
        self.is_new = true;
        self.fields.iter_mut().for_each(FieldWatch::pause);
    }

    /// Half of the recordings is over: how surprising is what comes, to who has seen only that?
    pub(super) fn half_time(&mut self) {
        self.half = Some(Weights::new(&self.half_flips, self.half_changes));
    }

    pub(super) fn frame(&mut self, frame: &Frame, now_ns: u64, plan: &Plan) {
        let payload = frame.payload();
        if !std::mem::take(&mut self.is_new) {
            self.changes += 1;
            let exceed = |weights: &Weights, excess: &mut Excess, last: &[u8]| {
                weights.of_random().map_or(0.0, |random| excess.add(weights.of(last, payload), random, f64::MAX))
            };
            self.surprise = self.surprise.max(exceed(&self.weights, &mut self.excess, &self.last));
            match &self.half {
                None => {
                    self.half_changes += 1;
                    for (flips, (a, b)) in self.half_flips.chunks_exact_mut(8).zip(self.last.iter().zip(payload)) {
                        for (bit, flip) in flips.iter_mut().enumerate() {
                            *flip += u32::from((a ^ b) >> bit & 1);
                        }
                    }
                }
                Some(half) => self.surprise = self.surprise.max(exceed(half, &mut self.half_excess, &self.last)),
            }
            for counter in &mut self.counters {
                let (Some(before), Some(now)) = (counter.of(&self.last), counter.of(payload)) else { continue };
                counter.breaks += u64::from(now != counter.next(before));
            }
        }
        self.last.clear();
        self.last.extend_from_slice(payload);
        let Some(message) = self.message else { return };
        for sample in plan.decode_frame(message, frame).signals() {
            let bits = plan.signal(sample.signal).bits;
            if sample.validity.is_valid()
                && !is_unavailable(sample.raw, bits)
                && let Some(watch) = self.fields.get_mut((sample.signal.0 - self.first_signal) as usize)
            {
                watch.sample(sample.value, now_ns, usize::from(self.half.is_some()));
            }
        }
    }

    /// The widest counter that counts, and is not in the byte of the checksum: that counts, too, when nothing else changes.
    pub(super) fn counter(&self, checksum: Option<usize>) -> Option<Counter> {
        let counts = |c: &&Counter| Some(c.byte) != checksum && number(c.breaks) <= BREAKS * number(self.changes);
        self.counters.iter().filter(counts).max_by_key(|c| (c.bits, std::cmp::Reverse(c.breaks))).copied()
    }

    /// What its fields did; without those that never came.
    pub(super) fn fields(&self) -> Vec<Field> {
        let field = |watch: &FieldWatch| {
            let span = SETTLED * (watch.field.max - watch.field.min);
            Field { settled: watch.halves.iter().all(|(low, high)| high - low >= span), ..watch.field.clone() }
        };
        self.fields.iter().map(field).filter(|field| field.samples > 0).collect()
    }
}

//! Decoding a payload by a compiled plan, without allocation.
//!
//! There are two ways to the samples. [`Decoded::signals`] is an iterator; its `for_each`, `fold`, `map(…).sum()` and the
//! like are faster than a `for` loop, as they ask once for the frame what a loop asks for each signal.
//! [`Decoded::write`] fills a buffer of the caller's, for those who want all of a frame at once.
//!
//! ```
//! use can_decoders::{CanId, Database, Plan, Sample};
//!
//! let dbc = "BO_ 291 M: 2 A\n SG_ S : 0|8@1+ (0.5,-40) [-40|80] \"degC\" A\n SG_ T : 8|8@1+ (1,0) [0|0] \"\" A\n";
//! let plan = Plan::compile(&[Database::parse("a.dbc", dbc.as_bytes())?]);
//! // Once: no frame has more signals.
//! let mut buffer = vec![Sample::default(); plan.most_signals()];
//!
//! let message = plan.find(CanId::standard(0x123).unwrap()).unwrap();
//! let samples = plan.decode(message, &[160, 7]).write(&mut buffer);
//! assert_eq!((samples.len(), samples[0].value, samples[1].value), (2, 40.0, 7.0));
//!
//! let sum: f64 = plan.decode(message, &[160, 7]).signals().map(|sample| sample.value).sum();
//! assert_eq!(sum, 47.0);
//! # Ok::<(), can_decoders::DbcError>(())
//! ```

use crate::integrity::{Check, Counter};
use crate::plan::{Form, Head, Message, MessageIndex, Plan, SignalIndex};
use crate::step::{Step, Words};
use crate::validity::Validity;

/// A signal's value as it is in the frame, before factor and offset.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Raw {
    /// Unsigned integer of up to 64 bits.
    Unsigned(u64),
    /// Signed integer of up to 64 bits.
    Signed(i64),
    /// IEEE float of 32 or 64 bits.
    Float(f64),
}

impl Raw {
    /// The integer, when it is one and within the range of `i64`; the key of value labels.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Unsigned(raw) => i64::try_from(raw).ok(),
            Self::Signed(raw) => Some(raw),
            Self::Float(_) => None,
        }
    }
}

/// One signal of one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sample {
    /// The signal.
    pub signal: SignalIndex,
    /// Whether `value` can be used.
    pub validity: Validity,
    /// Value before scaling; 0 when the signal is [`Validity::Short`].
    pub raw: Raw,
    /// Physical value in the signal's unit.
    pub value: f64,
}

impl Default for Sample {
    /// A sample that says nothing, to fill buffers with.
    fn default() -> Self {
        Self { signal: SignalIndex(0), validity: Validity::Short, raw: Raw::Unsigned(0), value: f64::NAN }
    }
}

/// How the payload's length compares with the message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Fit {
    /// As long as the DBC says.
    Exact,
    /// Shorter: signals that end beyond it are [`Validity::Short`].
    Short {
        /// Bytes that are missing.
        missing: usize,
    },
    /// Longer: no signal is affected.
    Long {
        /// Bytes that no signal describes.
        extra: usize,
    },
}

/// A payload seen as a message; see [`Plan::decode`].
#[derive(Debug, Clone, Copy)]
pub struct Decoded<'a> {
    /// How the payload's length compares with the message's.
    pub fit: Fit,
    plan: &'a Plan,
    message: MessageIndex,
    head: Head,
    payload: &'a [u8],
    words: Words,
    /// [`Validity::Valid`], or what is wrong with the frame as a whole.
    verdict: Validity,
}

impl<'a> Decoded<'a> {
    #[inline]
    pub(crate) fn new(plan: &'a Plan, message: MessageIndex, head: Head, payload: &'a [u8], words: Words) -> Self {
        let (is, should) = (payload.len(), usize::from(head.size));
        let fit = match is.cmp(&should) {
            std::cmp::Ordering::Equal => Fit::Exact,
            std::cmp::Ordering::Less => Fit::Short { missing: should - is },
            std::cmp::Ordering::Greater => Fit::Long { extra: is - should },
        };
        let verdict = match plan.check(&head) {
            None => Validity::Valid,
            Some(check) => verify(plan, check, message, payload),
        };
        Self { fit, plan, message, head, payload, words, verdict }
    }

    /// The message's counter and, unless the frame is too short for it, its value; `None` when it cannot be believed.
    #[inline]
    pub(crate) fn counter(&self) -> Option<(&'a Counter, Option<u64>)> {
        let counter = self.plan.check(&self.head)?.counter.as_ref()?;
        if !self.verdict.is_valid() {
            return None;
        }
        Some((counter, self.plan.raw(counter.signal, self.payload)))
    }

    /// Says of all values of the frame that its counter is wrong, unless something else is wrong already: what to do when
    /// [`crate::integrity::Counters::check`] says no.
    pub fn with_wrong_counter(self) -> Self {
        let verdict = if self.verdict.is_valid() { Validity::Counter } else { self.verdict };
        Self { verdict, ..self }
    }

    /// The message's number.
    #[inline]
    pub fn index(&self) -> MessageIndex {
        self.message
    }

    /// The message.
    pub fn message(&self) -> &'a Message {
        self.plan.message(self.message)
    }

    /// The signals that are in this frame, in the order of the DBC: those that are always there, and
    /// those that the multiplexors in the frame select.
    ///
    /// Signals that end beyond the payload are there too, as [`Validity::Short`]. What a multiplexor
    /// beyond the payload would select is unknown and left out.
    #[inline]
    pub fn signals(&self) -> Samples<'a> {
        Samples {
            plan: self.plan,
            payload: self.payload,
            words: self.words,
            message: self.message,
            next: self.head.first,
            steps: self.steps().iter(),
            form: self.form(),
            picks: None,
            selector: None,
            verdict: self.verdict,
        }
    }

    #[inline]
    fn steps(&self) -> &'a [Step] {
        let Head { first, count, .. } = self.head;
        let steps = self.plan.steps.get(first as usize..).and_then(|steps| steps.get(..usize::from(count)));
        steps.unwrap_or_default()
    }

    /// What can be relied on in this frame.
    #[inline]
    fn form(&self) -> Form {
        let whole = self.verdict.is_valid() && usize::from(self.head.needed) <= self.payload.len();
        if whole { self.head.form } else { Form::Any }
    }

    /// Writes the samples of [`Decoded::signals`] to the front of `out` and returns those. When `out` is too small the
    /// rest is left out: [`Plan::most_signals`] is always enough.
    #[inline]
    pub fn write<'o>(&self, out: &'o mut [Sample]) -> &'o [Sample] {
        let count = match self.form() {
            Form::Near => self.signals().write_plain::<true>(out),
            Form::Far => self.signals().write_plain::<false>(out),
            Form::Listed | Form::Any => self.signals().write_any(out),
        };
        &out[..count]
    }
}

/// [`Validity::Checksum`] when the frame's checksum is wrong.
#[inline(never)]
fn verify(plan: &Plan, check: &Check, message: MessageIndex, payload: &[u8]) -> Validity {
    let Some(checksum) = &check.checksum else { return Validity::Valid };
    // What is too short for its checksum has none.
    let Some(stored) = plan.raw(checksum.signal, payload) else { return Validity::Checksum };
    let counter = check.counter.as_ref().and_then(|counter| plan.raw(counter.signal, payload));
    let id = plan.message(message).id.number();
    if checksum.holds(id, payload, stored, counter) { Validity::Valid } else { Validity::Checksum }
}

/// Iterator over the signals of a frame; see [`Decoded::signals`].
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    plan: &'a Plan,
    payload: &'a [u8],
    words: Words,
    message: MessageIndex,
    /// The signals still to come, of which `next` is the first.
    steps: std::slice::Iter<'a, Step>,
    next: u32,
    /// Other than [`Form::Any`] only when the payload holds all signals and the frame is good.
    form: Form,
    verdict: Validity,
    /// Of [`Form::Listed`], the signals still to come, once they were asked for; `steps` and `next` stay as they are.
    picks: Option<std::slice::Iter<'a, u16>>,
    /// The multiplexor asked for last and its raw value when it is in the frame: signals that one
    /// multiplexor selects usually follow each other.
    selector: Option<(u32, Option<u64>)>,
}

impl<'a> Samples<'a> {
    /// A signal that is in the frame, is not odd, and that the payload holds.
    #[inline]
    fn plain<const NEAR: bool>(&self, step: &Step, index: u32) -> Sample {
        let (raw, value, plainly) = step.value::<NEAR>(&self.words, self.payload);
        let mut validity = if plainly { Validity::Valid } else { Validity::OutOfRange };
        if !plainly && step.is_judged() {
            validity = self.plan.judge(index, raw, value);
        }
        let raw = if step.is_signed() { Raw::Signed(raw) } else { Raw::Unsigned(raw.cast_unsigned()) };
        Sample { signal: SignalIndex(index), validity, raw, value }
    }

    /// Any signal; `None` when it is not in the frame.
    #[inline(never)]
    fn any(&mut self, step: &Step, index: u32) -> Option<Sample> {
        if !step.is_open() && !self.selected(index) {
            return None;
        }
        let op = self.plan.op(index);
        if !op.fits(self.payload.len()) {
            let signal = SignalIndex(index);
            return Some(Sample { signal, validity: Validity::Short, raw: Raw::Unsigned(0), value: f64::NAN });
        }
        let mut sample = if step.is_odd() {
            let bits = op.bits(&self.words, self.payload);
            let (raw, value) = op.value(bits);
            let validity = self.plan.judge(index, op.extended(bits), value);
            Sample { signal: SignalIndex(index), validity, raw, value }
        } else {
            self.plain::<false>(step, index)
        };
        if !self.verdict.is_valid() {
            sample.validity = self.verdict;
        }
        Some(sample)
    }

    /// The signals of [`Form::Listed`], by their place in `steps`.
    fn picks(&self) -> std::slice::Iter<'a, u16> {
        let bits = |selector| self.plan.op(selector).bits(&self.words, self.payload);
        self.picks.clone().unwrap_or_else(|| self.plan.choices.picks(self.message.0, bits).iter())
    }

    #[inline]
    fn picked(&self, pick: u16) -> Sample {
        self.plain::<false>(&self.steps.as_slice()[usize::from(pick)], self.next + u32::from(pick))
    }

    /// As [`Samples::next`], where it is not plain which signals are there.
    #[inline(never)]
    fn next_any(&mut self) -> Option<Sample> {
        if self.form == Form::Listed {
            let mut picks = self.picks();
            let pick = picks.next();
            self.picks = Some(picks);
            return pick.map(|pick| self.picked(*pick));
        }
        loop {
            let step = self.steps.next()?;
            let index = self.next;
            self.next += 1;
            if let Some(sample) = self.any(step, index) {
                return Some(sample);
            }
        }
    }

    #[inline]
    fn write_plain<const NEAR: bool>(&self, out: &mut [Sample]) -> usize {
        for ((slot, step), index) in out.iter_mut().zip(self.steps.as_slice()).zip(self.next..) {
            *slot = self.plain::<NEAR>(step, index);
        }
        self.steps.len().min(out.len())
    }

    #[inline]
    fn fold_plain<const NEAR: bool, B>(&self, start: B, mut f: impl FnMut(B, Sample) -> B) -> B {
        let mut all = start;
        for (step, index) in self.steps.as_slice().iter().zip(self.next..) {
            all = f(all, self.plain::<NEAR>(step, index));
        }
        all
    }

    #[inline(never)]
    fn fold_any<B, F: FnMut(B, Sample) -> B>(mut self, start: B, mut f: F) -> B {
        if self.form == Form::Listed {
            return self.picks().fold(start, |all, pick| f(all, self.picked(*pick)));
        }
        let mut all = start;
        while let Some(step) = self.steps.next() {
            let index = self.next;
            self.next += 1;
            if let Some(sample) = self.any(step, index) {
                all = f(all, sample);
            }
        }
        all
    }

    #[inline(never)]
    fn write_any(self, out: &mut [Sample]) -> usize {
        let mut count = 0;
        if self.form == Form::Listed {
            for (slot, pick) in out.iter_mut().zip(self.picks()) {
                *slot = self.picked(*pick);
                count += 1;
            }
            return count;
        }
        for (slot, sample) in out.iter_mut().zip(self) {
            *slot = sample;
            count += 1;
        }
        count
    }

    /// True when multiplexors select the signal in this frame.
    fn selected(&mut self, signal: u32) -> bool {
        let Some(gate) = self.plan.gate(signal) else { return true };
        let raw = match self.selector {
            Some((selector, raw)) if selector == gate.selector => raw,
            _ => {
                let raw = self.selector_value(gate.selector);
                self.selector = Some((gate.selector, raw));
                raw
            }
        };
        raw.is_some_and(|raw| self.plan.admits(gate, raw))
    }

    /// Raw value of a multiplexor; `None` when it is beyond the payload or not selected itself.
    fn selector_value(&self, selector: u32) -> Option<u64> {
        let value = self.bits(selector)?;
        // Upwards through nested multiplexors; the plan has no cycles.
        let mut below = selector;
        while let Some(gate) = self.plan.gate(below) {
            let raw = self.bits(gate.selector)?;
            if !self.plan.admits(gate, raw) {
                return None;
            }
            below = gate.selector;
        }
        Some(value)
    }

    fn bits(&self, signal: u32) -> Option<u64> {
        let op = self.plan.op(signal);
        op.fits(self.payload.len()).then(|| op.bits(&self.words, self.payload))
    }
}

impl Iterator for Samples<'_> {
    type Item = Sample;

    #[inline]
    fn next(&mut self) -> Option<Sample> {
        if matches!(self.form, Form::Near | Form::Far) {
            let step = self.steps.next()?;
            let index = self.next;
            self.next += 1;
            return Some(self.plain::<false>(step, index));
        }
        self.next_any()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.form == Form::Listed { self.picks().len() } else { self.steps.len() };
        (if self.form == Form::Any { 0 } else { left }, Some(left))
    }

    /// The question whether all is plain is asked once, not for each signal.
    #[inline]
    fn fold<B, F: FnMut(B, Sample) -> B>(self, start: B, f: F) -> B {
        match self.form {
            Form::Near => self.fold_plain::<true, B>(start, f),
            Form::Far => self.fold_plain::<false, B>(start, f),
            // Put together anew, so that where all is plain nothing of it has to be in memory.
            Form::Listed | Form::Any => {
                let Self { plan, payload, words, message, steps, next, form, verdict, picks, selector } = self;
                Self { plan, payload, words, message, steps, next, form, verdict, picks, selector }.fold_any(start, f)
            }
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;

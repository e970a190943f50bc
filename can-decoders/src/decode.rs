//! Decoding a payload by a compiled plan: an iterator over samples that allocates nothing.

use crate::op::Words;
use crate::plan::{Message, Plan, SignalIndex, Step};

/// A signal's value as it is in the frame, before factor and offset.
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// Whether a sample's value can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Validity {
    /// It can.
    Valid,
    /// Bits of the signal lie beyond the payload; the value is NaN.
    Short,
    /// The value is NaN or infinite: a float sent like this, or a scaling that passes the range of `f64`.
    NotFinite,
}

/// One signal of one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// How the payload's length compares with the message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    message: &'a Message,
    payload: &'a [u8],
    words: Words,
}

impl<'a> Decoded<'a> {
    pub(crate) fn new(plan: &'a Plan, message: &'a Message, payload: &'a [u8]) -> Self {
        let (is, should) = (payload.len(), message.size);
        let fit = match is.cmp(&should) {
            std::cmp::Ordering::Equal => Fit::Exact,
            std::cmp::Ordering::Less => Fit::Short { missing: should - is },
            std::cmp::Ordering::Greater => Fit::Long { extra: is - should },
        };
        Self { fit, plan, message, payload, words: Words::new(payload) }
    }

    /// The message.
    pub fn message(&self) -> &'a Message {
        self.message
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
            next: self.message.signals.start,
            steps: self.plan.steps(self.message).iter(),
            selector: None,
        }
    }
}

/// Iterator over the signals of a frame; see [`Decoded::signals`].
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    plan: &'a Plan,
    payload: &'a [u8],
    words: Words,
    /// The signals still to come, of which `next` is the first.
    steps: std::slice::Iter<'a, Step>,
    next: u32,
    /// The multiplexor asked for last and its raw value when it is in the frame: signals that one
    /// multiplexor selects usually follow each other.
    selector: Option<(u32, Option<u64>)>,
}

impl Samples<'_> {
    /// True when multiplexors select the signal in this frame.
    #[inline(never)]
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
        loop {
            let step = self.steps.next()?;
            let index = self.next;
            self.next += 1;
            if !step.is_open() && !self.selected(index) {
                continue;
            }
            let signal = SignalIndex(index);
            if !step.op.fits(self.payload.len()) {
                return Some(Sample { signal, validity: Validity::Short, raw: Raw::Unsigned(0), value: f64::NAN });
            }
            let (raw, value, validity) = step.op.value(step.op.bits(&self.words, self.payload));
            return Some(Sample { signal, validity, raw, value });
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.steps.len()))
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;

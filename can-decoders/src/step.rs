//! One signal as decoding wants it: what almost every signal needs, in 48 bytes and without a choice to make.
//!
//! A frame's first 8 bytes are read once as two words, one for each byte order ([`Words`]). Whatever its byte order,
//! width and sign, an integer signal is then: one of the two words, shifted left until its first bit is the topmost and
//! right again until its last bit is the lowest; the sign extended by an exclusive or and a subtraction, which do
//! nothing to unsigned signals; multiplied and added. Whether it is valid is one more subtraction and a comparison. The
//! processor guesses nothing wrong here, whatever the signals' order. Signals further back in long payloads take their 8
//! bytes from where they end. What does not fit this form (floats, 64 unsigned bits, integers that doubles would round on
//! the way, signals that span nine bytes) goes through [`crate::op::Op`].

use crate::dbc::{ByteOrder, SignalDef};
use crate::op::Op;
use crate::validity::Judge;

/// Eight bytes as little- and big-endian words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    pub(crate) little: u64,
    pub(crate) big: u64,
}

impl Words {
    /// The first 8 bytes of a payload, padded with zeros.
    #[inline]
    pub(crate) fn new(payload: &[u8]) -> Self {
        match payload.first_chunk::<8>() {
            Some(bytes) => Self::of(*bytes),
            None => Self::of(short(payload).to_le_bytes()),
        }
    }

    #[inline]
    pub(crate) fn of(bytes: [u8; 8]) -> Self {
        Self { little: u64::from_le_bytes(bytes), big: u64::from_be_bytes(bytes) }
    }

    /// The 8 bytes from `at` on; zeros where the payload does not have them.
    #[inline]
    fn at(payload: &[u8], at: u16) -> Self {
        let bytes = payload.get(usize::from(at)..).and_then(<[u8]>::first_chunk::<8>);
        Self::of(bytes.copied().unwrap_or_default())
    }
}

/// Up to 7 bytes as a little-endian word: the first half and the last half, which may share bytes. Copying a number of
/// bytes that is not known before would be a call.
#[inline]
fn short(payload: &[u8]) -> u64 {
    let length = payload.len();
    if let (Some(first), Some(last)) = (payload.first_chunk::<4>(), payload.last_chunk::<4>()) {
        let (first, last) = (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)));
        return first | last << (8 * (length - 4));
    }
    let byte = |at: usize| payload.get(at).map_or(0, |byte| u64::from(*byte) << (8 * at));
    byte(0) | byte(1) | byte(2)
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    factor: f64,
    offset: f64,
    /// Smallest raw value that is valid without a further question, and how many more are.
    low: i64,
    span: u64,
    /// The sign's bit of signed signals, else 0.
    sign: u64,
    /// Where its 8 bytes begin.
    at: u16,
    /// Bytes that a payload needs for it; 0 when it is not of this form.
    end: u16,
    left: u8,
    right: u8,
    big: bool,
    flags: u8,
}

/// It is in some frames of its message only.
const GATED: u8 = 1;
/// A value that is not plainly valid may be more than out of range.
const JUDGED: u8 = 2;
/// Not of this form: [`crate::op::Op`] decodes it.
const ODD: u8 = 4;

impl Step {
    pub(crate) fn compile(signal: &SignalDef, op: &Op, judge: &Judge, gated: bool) -> Self {
        let span = signal.span();
        let end = span.end.div_ceil(8);
        let at = end.saturating_sub(8);
        // Bits before the signal within its 8 bytes, counted in its own order.
        let before = span.start.checked_sub(at * 8);
        let scale = op.double_scale().filter(|_| signal.bits < 64 || op.is_signed());
        let form = (before, scale, judge.plain, u16::try_from(end));
        let mut flags = if gated { GATED } else { 0 };
        let (Some(before), Some((factor, offset)), Some((low, span)), Ok(end)) = form else {
            flags |= ODD;
            return Self {
                factor: 0.0,
                offset: 0.0,
                low: 0,
                span: 0,
                sign: 0,
                at: 0,
                end: 0,
                left: 0,
                right: 0,
                big: false,
                flags,
            };
        };
        if !judge.patterns.is_empty() {
            flags |= JUDGED;
        }
        let bits = signal.bits;
        let big = signal.order == ByteOrder::Big;
        // A big-endian word has its first bit on top, a little-endian one at the bottom.
        let left = if big { before } else { 64 - before - bits };
        // Below 64 by construction: a word has 64 bits, and a signal at least one.
        let narrow = |shift: u32| u8::try_from(shift).unwrap_or(0);
        Self {
            factor,
            offset,
            low,
            span,
            sign: if op.is_signed() { 1 << (bits - 1) } else { 0 },
            at: u16::try_from(at).unwrap_or(0),
            end,
            left: narrow(left),
            right: narrow(64 - bits),
            big,
            flags,
        }
    }

    /// True when it is in all frames of its message.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.flags & GATED == 0
    }

    /// True when [`Step::value`] is of no use.
    #[inline]
    pub(crate) fn is_odd(&self) -> bool {
        self.flags & ODD != 0
    }

    /// True when a value that is not plainly valid may be valid, or have another reason than its range.
    #[inline]
    pub(crate) fn is_judged(&self) -> bool {
        self.flags & JUDGED != 0
    }

    /// Bytes that a payload needs for it.
    #[inline]
    pub(crate) fn end(&self) -> u16 {
        self.end
    }

    #[inline]
    pub(crate) fn is_signed(&self) -> bool {
        self.sign != 0
    }

    /// True when it is within the first 8 bytes.
    pub(crate) fn is_near(&self) -> bool {
        self.at == 0
    }

    /// Raw and physical value, and whether it is plainly valid. The payload must hold the signal. `NEAR` when it is
    /// known to be within the first 8 bytes.
    #[inline]
    pub(crate) fn value<const NEAR: bool>(&self, first: &Words, payload: &[u8]) -> (i64, f64, bool) {
        let words = if NEAR || self.at == 0 { *first } else { Words::at(payload, self.at) };
        let word = if self.big { words.big } else { words.little };
        let bits = word << (self.left & 63) >> (self.right & 63);
        let raw = (bits ^ self.sign).wrapping_sub(self.sign).cast_signed();
        let valid = raw.wrapping_sub(self.low).cast_unsigned() <= self.span;
        (raw, raw as f64 * self.factor + self.offset, valid)
    }
}

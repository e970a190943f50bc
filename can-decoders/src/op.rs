//! One signal of any form: where its bits are, and how they become a value, and back.
//!
//! [`crate::step::Step`] decodes almost all signals faster. This decodes the rest (floats, 64 unsigned bits, integers
//! that must not be rounded on the way, signals that span nine bytes), reads multiplexors, and encodes.

use crate::dbc::{ByteOrder, Encoding, SignalDef};
use crate::decode::Raw;
use crate::step::Words;

/// Where the bits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Within the first 8 bytes.
    LittleWord,
    /// Within the first 8 bytes.
    BigWord,
    /// Bytes `first..end` of the payload.
    LittleBytes,
    /// Bytes `first..end` of the payload.
    BigBytes,
}

/// How raw becomes physical.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    /// Raw as it is.
    Identity,
    /// In double arithmetic, which is exact or rounds as the DBC's author must expect.
    Double { factor: f64, offset: f64 },
    /// Factor and offset are integers but intermediate results can pass 2^53: computed exactly and rounded once.
    Wide { factor: i64, offset: i64 },
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    load: Load,
    encoding: Encoding,
    /// Bits below the signal in the word, or in the loaded bytes.
    shift: u8,
    /// 64 minus the width: shifting left and right by this extends the sign.
    spare: u8,
    first: u32,
    /// Bytes a payload needs to hold the signal.
    end: u32,
    scale: Scale,
}

impl Op {
    pub(crate) fn compile(signal: &SignalDef) -> Self {
        let span = signal.span();
        let first = span.start / 8;
        let end = span.end.div_ceil(8);
        let little = signal.order == ByteOrder::Little;
        let (load, shift) = match (little, end <= 8) {
            (true, true) => (Load::LittleWord, span.start),
            (false, true) => (Load::BigWord, 64 - span.end),
            (true, false) => (Load::LittleBytes, span.start % 8),
            (false, false) => (Load::BigBytes, (8 - span.end % 8) % 8),
        };
        Self {
            load,
            encoding: signal.encoding,
            // Below 64 by construction: a word has 64 bits and a byte 8.
            shift: u8::try_from(shift).unwrap_or(0),
            spare: u8::try_from(64 - signal.bits.clamp(1, 64)).unwrap_or(0),
            first,
            end,
            scale: scale(signal),
        }
    }

    /// Factor and offset, when the signal is an integer and doubles are right for it whatever the raw value is.
    pub(crate) fn double_scale(&self) -> Option<(f64, f64)> {
        let (factor, offset) = match self.scale {
            Scale::Identity => (1.0, 0.0),
            Scale::Double { factor, offset } => (factor, offset),
            Scale::Wide { .. } => return None,
        };
        let integer = matches!(self.encoding, Encoding::Unsigned | Encoding::Signed);
        let finite = (2_f64.powi(64) * factor.abs() + offset.abs()).is_finite();
        (integer && finite).then_some((factor, offset))
    }

    pub(crate) fn is_signed(&self) -> bool {
        self.encoding == Encoding::Signed
    }

    pub(crate) fn is_float(&self) -> bool {
        matches!(self.encoding, Encoding::Float32 | Encoding::Float64)
    }

    /// The bits as a raw value: sign-extended when the signal is signed.
    pub(crate) fn extended(&self, bits: u64) -> i64 {
        let top = (bits << self.spare).cast_signed();
        if self.is_signed() { top >> self.spare } else { bits.cast_signed() }
    }

    /// True when `length` bytes of payload hold the whole signal.
    #[inline]
    pub(crate) fn fits(&self, length: usize) -> bool {
        self.end as usize <= length
    }

    /// Bytes a payload needs to hold the whole signal.
    pub(crate) fn end(&self) -> usize {
        self.end as usize
    }

    /// The signal's bits, right-aligned. Meaningless, but harmless, when it does not fit.
    #[inline]
    pub(crate) fn bits(&self, words: &Words, payload: &[u8]) -> u64 {
        let value = match self.load {
            Load::LittleWord => words.little >> self.shift,
            Load::BigWord => words.big >> self.shift,
            Load::LittleBytes | Load::BigBytes => self.far_bits(payload),
        };
        value & (u64::MAX >> self.spare)
    }

    /// Bits from behind the words: up to nine bytes.
    fn far_bits(&self, payload: &[u8]) -> u64 {
        let bytes = payload.get(self.first as usize..self.end as usize).unwrap_or(&[]);
        let append = |wide: u128, byte: &u8| wide << 8 | u128::from(*byte);
        let wide = match self.load {
            Load::LittleBytes => bytes.iter().rev().fold(0, append),
            _ => bytes.iter().fold(0, append),
        };
        #[expect(clippy::cast_possible_truncation, reason = "signals have at most 64 bits; the mask follows")]
        let low = (wide >> self.shift) as u64;
        low
    }

    /// Raw and physical value of the signal's bits.
    pub(crate) fn value(&self, bits: u64) -> (Raw, f64) {
        match self.encoding {
            Encoding::Unsigned => (Raw::Unsigned(bits), self.scale_integer(bits as f64, || i128::from(bits))),
            Encoding::Signed => {
                let signed = self.extended(bits);
                (Raw::Signed(signed), self.scale_integer(signed as f64, || i128::from(signed)))
            }
            Encoding::Float32 => {
                #[expect(clippy::cast_possible_truncation, reason = "masked to 32 bits")]
                let float = f64::from(f32::from_bits(bits as u32));
                (Raw::Float(float), self.scale_float(float))
            }
            Encoding::Float64 => {
                let float = f64::from_bits(bits);
                (Raw::Float(float), self.scale_float(float))
            }
        }
    }

    fn scale_integer(&self, double: f64, exact: impl FnOnce() -> i128) -> f64 {
        match self.scale {
            Scale::Identity => double,
            Scale::Double { factor, offset } => double * factor + offset,
            Scale::Wide { factor, offset } => wide(exact(), factor, offset),
        }
    }

    fn scale_float(&self, float: f64) -> f64 {
        match self.scale {
            Scale::Double { factor, offset } => float * factor + offset,
            Scale::Identity | Scale::Wide { .. } => float,
        }
    }

    /// Writes `bits` where the signal is; other bits stay. The payload must hold the signal.
    pub(crate) fn store(&self, bits: u64, payload: &mut [u8]) {
        let (little, base) = match self.load {
            Load::LittleWord => (true, u32::from(self.shift)),
            Load::LittleBytes => (true, self.first * 8 + u32::from(self.shift)),
            // From the end of the last byte backwards.
            Load::BigWord => (false, (64 - u32::from(self.shift)).saturating_sub(1)),
            Load::BigBytes => (false, self.end * 8 - u32::from(self.shift) - 1),
        };
        for n in 0..64 - u32::from(self.spare) {
            let (byte, bit) =
                if little { ((base + n) / 8, (base + n) % 8) } else { ((base - n) / 8, 7 - (base - n) % 8) };
            if let Some(byte) = payload.get_mut(byte as usize) {
                *byte = *byte & !(1 << bit) | u8::from(bits >> n & 1 == 1) << bit;
            }
        }
    }

    /// The bits for a physical value, or the smallest and largest physical value that have bits.
    pub(crate) fn encode(&self, value: f64) -> Result<u64, (f64, f64)> {
        let (factor, offset) = match self.scale {
            Scale::Identity => (1.0, 0.0),
            Scale::Double { factor, offset } => (factor, offset),
            Scale::Wide { factor, offset } => (factor as f64, offset as f64),
        };
        let raw = (value - offset) / factor;
        let width = 64 - u32::from(self.spare);
        let (low, high) = match self.encoding {
            Encoding::Float64 if raw.is_finite() => return Ok(raw.to_bits()),
            Encoding::Float32 if raw.abs() <= f64::from(f32::MAX) => {
                #[expect(clippy::cast_possible_truncation, reason = "in range; rounding to f32 is what is asked for")]
                let narrow = raw as f32;
                return Ok(u64::from(narrow.to_bits()));
            }
            Encoding::Float64 => (f64::MIN, f64::MAX),
            Encoding::Float32 => (f64::from(f32::MIN), f64::from(f32::MAX)),
            Encoding::Unsigned => (0.0, (u64::MAX >> self.spare) as f64),
            Encoding::Signed => {
                let half = 1_i128 << (width - 1);
                (-(half as f64), (half - 1) as f64)
            }
        };
        let rounded = raw.round();
        if matches!(self.encoding, Encoding::Unsigned | Encoding::Signed) && rounded >= low && rounded <= high {
            // `high` itself may have been rounded up to a power of two that has no bits: saturate there.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range; saturates at the top"
            )]
            let bits = match self.encoding {
                Encoding::Signed => (rounded as i64).min((i64::MAX) >> self.spare).cast_unsigned(),
                _ => rounded as u64,
            };
            return Ok(bits & (u64::MAX >> self.spare));
        }
        let ends = (low * factor + offset, high * factor + offset);
        Err(if ends.0 <= ends.1 { ends } else { (ends.1, ends.0) })
    }
}

/// 64 bits times 64 bits plus 64 bits stay below 2^127.
fn wide(raw: i128, factor: i64, offset: i64) -> f64 {
    (raw * i128::from(factor) + i128::from(offset)) as f64
}

fn scale(signal: &SignalDef) -> Scale {
    let (factor, offset) = (signal.factor, signal.offset);
    if factor == 1.0 && offset == 0.0 {
        return Scale::Identity;
    }
    let float = matches!(signal.encoding, Encoding::Float32 | Encoding::Float64);
    let top = 2_f64.powi(signal.bits.clamp(1, 64).cast_signed());
    let exact = top * factor.abs() + offset.abs() <= 2_f64.powi(53);
    match (integer(factor), integer(offset)) {
        (Some(factor), Some(offset)) if !float && !exact => Scale::Wide { factor, offset },
        _ => Scale::Double { factor, offset },
    }
}

/// The number as an integer when it is one that a double holds exactly.
fn integer(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 2_f64.powi(53);
    #[expect(clippy::cast_possible_truncation, reason = "checked to be an integer in range")]
    exact.then_some(number as i64)
}

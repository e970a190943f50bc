//! A line's bytes, one after the other: what the readers of texts have in common.

/// In [`HEX`]: not a hexadecimal digit. All of its bits are set, so that they show when two entries are joined.
pub(super) const NO_DIGIT: u8 = 0xFF;

/// The value of each byte as a hexadecimal digit.
pub(super) const HEX: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789ABCDEF"[value as usize] as usize] = value;
        table[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    table
};

/// Base of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Hex,
    Dec,
}

impl Base {
    /// A whole word as a number; `None` when it is not one or beyond 32 bits.
    pub(super) fn number(self, word: &[u8]) -> Option<u32> {
        let base = if self == Self::Hex { 16 } else { 10 };
        let mut value = 0_u32;
        for byte in word {
            let digit = u32::from(HEX[usize::from(*byte)]);
            if digit >= base {
                return None;
            }
            value = value.checked_mul(base)?.checked_add(digit)?;
        }
        (!word.is_empty()).then_some(value)
    }
}

pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    /// The next byte.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips blanks and tells how many. A carriage return before the line end is one.
    pub(super) fn blanks(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        self.at - start
    }

    /// Up to the next blank.
    pub(super) fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }

    /// The next word and its place, after blanks. Empty at the line's end.
    pub(super) fn next_word(&mut self) -> (&'a [u8], usize) {
        self.blanks();
        let start = self.at;
        (self.word(), start)
    }

    pub(super) fn digit(&mut self) -> Option<u64> {
        let digit = self.peek().filter(u8::is_ascii_digit)?;
        self.at += 1;
        Some(u64::from(digit - b'0'))
    }

    pub(super) fn nibble(&mut self) -> Option<u8> {
        let value = HEX[usize::from(self.peek()?)];
        if value == NO_DIGIT {
            return None;
        }
        self.at += 1;
        Some(value)
    }

    /// `digits` or `digits.digits` as a number of 1/`unit`, which is a power of ten; digits below are dropped.
    pub(super) fn decimal(&mut self, unit: u64) -> Option<u64> {
        let mut whole = self.digit()?;
        while let Some(digit) = self.digit() {
            whole = whole.checked_mul(10)?.checked_add(digit)?;
        }
        let mut value = whole.checked_mul(unit)?;
        if self.eat(b'.') {
            let mut place = unit;
            while let Some(digit) = self.digit() {
                place /= 10;
                value = value.checked_add(digit * place)?;
            }
        }
        Some(value)
    }

    /// As many bytes as `data` has room for, separated by blanks. False when one is missing or not one.
    pub(super) fn bytes_of(&mut self, base: Base, data: &mut [u8]) -> bool {
        for slot in data {
            self.blanks();
            // Nearly always two hexadecimal digits and a blank.
            if base == Base::Hex
                && let Some([high, low]) = self.rest().first_chunk()
                && let digits = (HEX[usize::from(*high)], HEX[usize::from(*low)])
                && digits.0 | digits.1 != NO_DIGIT
                && matches!(self.bytes.get(self.at + 2), None | Some(b' ' | b'\t' | b'\r'))
            {
                *slot = digits.0 << 4 | digits.1;
                self.at += 2;
                continue;
            }
            let start = self.at;
            match base.number(self.word()).and_then(|value| u8::try_from(value).ok()) {
                Some(value) => *slot = value,
                None => {
                    self.at = start;
                    return false;
                }
            }
        }
        true
    }
}

/// The number of a channel: decimal, from 1.
pub(super) fn channel(word: &[u8]) -> Option<u16> {
    Base::Dec.number(word).and_then(|number| u16::try_from(number).ok()).filter(|channel| *channel > 0)
}

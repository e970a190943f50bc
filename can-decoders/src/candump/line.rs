//! One line of a candump log to a frame.
//!
//! ```text
//! (1436509052.249713) vcan0 044#2A366C2BBA        standard identifier: 3 hexadecimal digits
//! (1436509052.449847) vcan0 18FEF1FE#7A.59.00 T   extended: 8 digits; separators; direction
//! (1436509052.449847) vcan0 123##1112233          CAN FD: flags (1: bit rate switch, 2: error state), data
//! (1436509052.449847) vcan0 123#R8                remote frame that asks for 8 bytes
//! (1436509052.449847) vcan0 20000088#0000000000000000   error frame: class with bit 29 set
//! (1436509052.449847) vcan0 123#1122334455667788_B      classic frame with a raw DLC above 8
//! ```

use crate::frame::{BusId, CanId, FD_LENGTHS, Frame, FrameKind, MAX_PAYLOAD};

/// Bit of the identifier that marks error frames (SocketCAN's `CAN_ERR_FLAG`).
pub(super) const ERROR_FLAG: u32 = 0x2000_0000;

/// Longest name of a bus, in bytes. Linux has 15, other recorders more.
pub(super) const MAX_BUS_NAME: usize = 63;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The line is longer than [`super::MAX_LINE`] bytes.
    TooLong,
    /// It does not start with `(seconds.fraction)`, 1 to 9 digits of fraction.
    Time,
    /// The name of the bus is missing, longer than 63 bytes or not UTF-8.
    Bus,
    /// The identifier is not 3 or 8 hexadecimal digits before a `#`, or is beyond 11 or 29 bits.
    Identifier,
    /// The payload is not pairs of hexadecimal digits, or the flags, the length of a remote frame or the raw DLC are not one digit.
    Payload,
    /// The payload is longer than 8 bytes (64 for FD), or of a length that no FD frame has.
    Length,
    /// Something follows the frame that is not a direction (`R` or `T`).
    Trailing,
}

impl Fault {
    /// All faults, in the order of [`Fault::index`].
    pub const ALL: [Self; 7] =
        [Self::TooLong, Self::Time, Self::Bus, Self::Identifier, Self::Payload, Self::Length, Self::Trailing];

    /// Place in [`Fault::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::TooLong => 0,
            Self::Time => 1,
            Self::Bus => 2,
            Self::Identifier => 3,
            Self::Payload => 4,
            Self::Length => 5,
            Self::Trailing => 6,
        }
    }

    /// A short name, for counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Time => "time",
            Self::Bus => "bus",
            Self::Identifier => "identifier",
            Self::Payload => "payload",
            Self::Length => "length",
            Self::Trailing => "trailing",
        }
    }

    /// What was expected.
    pub fn expected(self) -> &'static str {
        match self {
            Self::TooLong => "expected a line of at most 4096 bytes",
            Self::Time => "expected (seconds.fraction) with 1 to 9 digits of fraction",
            Self::Bus => "expected the name of a bus, UTF-8 of at most 63 bytes",
            Self::Identifier => "expected 3 or 8 hexadecimal digits of identifier and a #",
            Self::Payload => "expected pairs of hexadecimal digits",
            Self::Length => "expected at most 8 bytes, or an FD length (0 to 8, 12, 16, 20, 24, 32, 48, 64)",
            Self::Trailing => "expected the end of the line, or the direction R or T",
        }
    }
}

/// A line's contents; the bus is still a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'a> {
    /// Name of the bus.
    pub bus: &'a str,
    /// The frame, with bus 0.
    pub frame: Frame,
}

/// Parses one line without its line end. `Ok(None)` for a blank one.
///
/// # Errors
/// The fault and the column (in bytes, from 1) where it shows.
pub fn parse_line(line: &[u8]) -> Result<Option<Line<'_>>, (Fault, usize)> {
    let mut cursor = Cursor { bytes: line, at: 0 };
    cursor.blanks();
    if cursor.peek().is_none() {
        return Ok(None);
    }
    let time_ns = cursor.time().ok_or((Fault::Time, cursor.at + 1))?;
    if cursor.blanks() == 0 {
        return Err((Fault::Time, cursor.at + 1));
    }
    let start = cursor.at;
    let bus = cursor.word();
    let bus = std::str::from_utf8(bus).ok().filter(|bus| !bus.is_empty() && bus.len() <= MAX_BUS_NAME);
    let bus = bus.ok_or((Fault::Bus, start + 1))?;
    cursor.blanks();
    let frame = cursor.frame(time_ns)?;
    cursor.direction()?;
    Ok(Some(Line { bus, frame }))
}

/// In [`HEX`]: not a hexadecimal digit. All of its bits are set, so that they show when two entries are joined.
const NO_DIGIT: u8 = 0xFF;

/// The value of each byte as a hexadecimal digit.
const HEX: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789ABCDEF"[value as usize] as usize] = value;
        table[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    table
};

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips blanks and tells how many. A carriage return before the line end is one.
    fn blanks(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }

    fn digit(&mut self) -> Option<u64> {
        let digit = self.peek().filter(u8::is_ascii_digit)?;
        self.at += 1;
        Some(u64::from(digit - b'0'))
    }

    fn nibble(&mut self) -> Option<u8> {
        let value = HEX[usize::from(self.peek()?)];
        if value == NO_DIGIT {
            return None;
        }
        self.at += 1;
        Some(value)
    }

    /// `(seconds.fraction)` as nanoseconds.
    fn time(&mut self) -> Option<u64> {
        if !self.eat(b'(') {
            return None;
        }
        let mut seconds = self.digit()?;
        while let Some(digit) = self.digit() {
            seconds = seconds.checked_mul(10)?.checked_add(digit)?;
        }
        if !self.eat(b'.') {
            return None;
        }
        let mut nanoseconds = self.digit()?;
        let mut digits = 1;
        while let Some(digit) = self.digit() {
            digits += 1;
            if digits > 9 {
                return None;
            }
            nanoseconds = nanoseconds * 10 + digit;
        }
        nanoseconds *= 10_u64.pow(9 - digits);
        if !self.eat(b')') {
            return None;
        }
        seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
    }

    fn frame(&mut self, time_ns: u64) -> Result<Frame, (Fault, usize)> {
        let (id, error) = self.identifier()?;
        let remote = if error { false } else { self.eat(b'R') || self.eat(b'r') };
        if remote {
            return self.remote(time_ns, id);
        }
        let kind = if error {
            FrameKind::Error
        } else if self.eat(b'#') {
            let flags = self.nibble().ok_or((Fault::Payload, self.at + 1))?;
            FrameKind::Fd { brs: flags & 1 != 0, esi: flags & 2 != 0 }
        } else {
            FrameKind::Data
        };
        let start = self.at;
        let limit = if matches!(kind, FrameKind::Fd { .. }) { MAX_PAYLOAD } else { 8 };
        let mut data = [0; MAX_PAYLOAD];
        let length = self.data(&mut data[..limit])?;
        if length == 8 && kind == FrameKind::Data {
            self.raw_dlc()?;
        }
        if limit == MAX_PAYLOAD && !FD_LENGTHS.iter().any(|l| usize::from(*l) == length) {
            return Err((Fault::Length, start + 1));
        }
        Frame::new(time_ns, BusId(0), id, kind, &data[..length]).ok_or((Fault::Length, start + 1))
    }

    /// The identifier up to and with the `#`, and whether it is the class of an error frame.
    fn identifier(&mut self) -> Result<(CanId, bool), (Fault, usize)> {
        let start = self.at;
        let mut number = 0_u32;
        while self.at - start < 9
            && let Some(nibble) = self.nibble()
        {
            number = number << 4 | u32::from(nibble);
        }
        let digits = self.at - start;
        if digits != 3 && digits != 8 || !self.eat(b'#') {
            return Err((Fault::Identifier, self.at + 1));
        }
        let error = digits == 8 && number & ERROR_FLAG != 0;
        let id = match digits {
            3 => CanId::standard(number),
            _ if error => CanId::extended(number & !ERROR_FLAG),
            _ => CanId::extended(number),
        };
        Ok((id.ok_or((Fault::Identifier, start + 1))?, error))
    }

    /// After the `R` of a remote frame.
    fn remote(&mut self, time_ns: u64, id: CanId) -> Result<Frame, (Fault, usize)> {
        let start = self.at;
        let length = self.nibble().unwrap_or(0);
        if length == 8 {
            self.raw_dlc()?;
        }
        Frame::remote(time_ns, BusId(0), id, length).ok_or((Fault::Length, start + 1))
    }

    /// An optional `_9` to `_F`: what the DLC said of a frame with 8 bytes. It says nothing more.
    fn raw_dlc(&mut self) -> Result<(), (Fault, usize)> {
        if self.eat(b'_') && self.nibble().is_none_or(|dlc| dlc <= 8) {
            return Err((Fault::Payload, self.at + 1));
        }
        Ok(())
    }

    /// Pairs of digits, with dots or blanks between them when there are any.
    fn data(&mut self, data: &mut [u8]) -> Result<usize, (Fault, usize)> {
        let mut length = 0;
        loop {
            // Most logs have no separators.
            while let Some([high, low]) = self.bytes[self.at..].first_chunk()
                && let digits = (HEX[usize::from(*high)], HEX[usize::from(*low)])
                && digits.0 | digits.1 != NO_DIGIT
                && let Some(slot) = data.get_mut(length)
            {
                *slot = digits.0 << 4 | digits.1;
                length += 1;
                self.at += 2;
            }
            let before = self.at;
            if !self.eat(b'.') {
                self.blanks();
            }
            let Some(high) = self.nibble() else {
                // Not ours: the blanks before the direction are, in effect, given back.
                self.at = before;
                return Ok(length);
            };
            let low = self.nibble().ok_or((Fault::Payload, self.at + 1))?;
            let slot = data.get_mut(length).ok_or((Fault::Length, self.at - 1))?;
            *slot = high << 4 | low;
            length += 1;
        }
    }

    /// An optional direction (not kept: it says which of the recorder's own frames came back) and the line's end.
    fn direction(&mut self) -> Result<(), (Fault, usize)> {
        let fault = if self.blanks() == 0 { Fault::Payload } else { Fault::Trailing };
        if self.peek().is_none() {
            return Ok(());
        }
        if fault == Fault::Trailing && (self.eat(b'R') || self.eat(b'T')) {
            self.blanks();
            if self.peek().is_none() {
                return Ok(());
            }
        }
        Err((fault, self.at + 1))
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;

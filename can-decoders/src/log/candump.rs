//! One line of a candump log to a frame.
//!
//! ```text
//! (1436509052.249713) vcan0 044#2A366C2BBA        standard identifier: 3 hexadecimal digits
//! (1436509052.449847) vcan0 18FEF1FE#7A.59.00 T   extended: 8 digits; separators; direction
//! (1436509052.449847) vcan0 123##1112233          CAN FD: flags (1: bit rate switch, 2: error state), data
//! (1436509052.449847) vcan0 123#R8                remote frame that asks for 8 bytes
//! (1436509052.449847) vcan0 20000088#0000000000000000   error frame: class with bit 29 set
//! (1436509052.449847) vcan0 123#1122334455667788_B      classic frame with a raw DLC above 8
//! # a comment, as Outrider's recordings have them
//! ```

use super::text::{Cursor, HEX, NO_DIGIT};
use super::{BusName, Fault, Record};
use crate::frame::{BusId, CanId, FD_LENGTHS, Frame, FrameKind, MAX_PAYLOAD};

/// Bit of the identifier that marks error frames (SocketCAN's `CAN_ERR_FLAG`).
pub(super) const ERROR_FLAG: u32 = 0x2000_0000;

/// Longest name of a bus, in bytes. Linux has 15, other recorders more.
pub(super) const MAX_BUS_NAME: usize = 63;

/// Parses one line without its line end.
///
/// # Errors
/// The fault and the column (in bytes, from 1) where it shows.
pub(super) fn parse_line(line: &[u8]) -> Result<Record<'_>, (Fault, usize)> {
    let mut cursor = Cursor::new(line);
    cursor.blanks();
    if matches!(cursor.peek(), None | Some(b'#')) {
        return Ok(Record::Nothing);
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
    Ok(Record::Frame(BusName::Name(bus), frame))
}

impl Cursor<'_> {
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
#[path = "candump_tests.rs"]
mod tests;

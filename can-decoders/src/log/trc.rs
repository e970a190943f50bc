//! PEAK's text format (PCAN-View, PCAN-Explorer, PEAK-Converter), versions 1.0 to 2.1.
//!
//! ```text
//! 1.0       1)      1841      0001  8  00 00 00 00 00 00 00 00
//! 1.1       1)      1059.9  Rx         0300  7  00 00 00 00 04 00 00
//! 1.2       1)      1059.900  1  Rx         0300  7  00 00 00 00 04 00 00
//! 1.3       1)      1059.900 1  Rx        0300 -  7    00 00 00 00 04 00 00
//! 2.0       1      1059.900 DT     0300 Rx 7  00 00 00 00 04 00 00
//! 2.1       1      1059.900 DT 1      0300 Rx -  7    00 00 00 00 04 00 00
//! ```
//!
//! Lines that begin with a semicolon are comments, three of which are for programs: `;$FILEVERSION`, `;$STARTTIME` (the
//! days since 1899-12-30 as a decimal, local time) and, from 2.0 on, `;$COLUMNS` (which columns there are, by letters).
//! Version 1.0 has none of them: without a version it is assumed, and the start is taken from the comment
//! `Start time: 11.09.2002 16:00:20.682`. When there is no such comment, times count from the epoch.
//!
//! Before 2.0 a column says whether the line is a frame; from 2.0 on the type does, and lines of other types leave out
//! columns. So they are told by their type, which stands in front of what is left out.

use super::date::{self, UtcOffset};
use super::text::{Base, Cursor, channel};
use super::{BusName, Fault, Record, error_codes};
use crate::frame::{BusId, CanId, FD_LENGTHS, Frame, FrameKind, MAX_PAYLOAD};

/// A millisecond in nanoseconds: what times are fractions of.
const MILLISECOND_NS: u64 = 1_000_000;

/// More columns than there are letters for.
const MAX_COLUMNS: usize = 16;

/// The identifier of a line that tells the state of the bus.
const STATUS: &[u8] = b"FFFFFFFF";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
    V2,
}

/// What the lines so far have told.
#[derive(Debug)]
pub(super) struct Trc {
    zone: UtcOffset,
    version: Version,
    /// From version 2.0 on: the letters in `$COLUMNS`.
    columns: Vec<u8>,
    /// What `$STARTTIME` says, or the comment, in nanoseconds since the epoch.
    start_ns: Option<i64>,
    /// The start is that of `$STARTTIME`.
    exact: bool,
}

type Place = (Fault, usize);

impl Trc {
    pub(super) fn new(zone: UtcOffset) -> Self {
        Self { zone, version: Version::V1_0, columns: Vec::new(), start_ns: None, exact: false }
    }

    /// True when a start was told.
    pub(super) fn dated(&self) -> bool {
        self.start_ns.is_some()
    }

    /// Reads a line without its end.
    pub(super) fn line<'a>(&mut self, line: &'a [u8]) -> Result<Record<'a>, Place> {
        let mut cursor = Cursor::new(line);
        cursor.blanks();
        match cursor.peek() {
            None => Ok(Record::Nothing),
            Some(b';') => self.header(line, cursor.at + 1),
            Some(_) => {
                let mut numbered = cursor.digit().is_some();
                while cursor.digit().is_some() {}
                cursor.eat(b')');
                numbered &= cursor.blanks() > 0;
                let offset_ns = if numbered { cursor.decimal(MILLISECOND_NS) } else { None };
                let time_ns = offset_ns
                    .and_then(|offset| u64::try_from(i128::from(self.start_ns.unwrap_or(0)) + i128::from(offset)).ok());
                let time_ns = time_ns.filter(|_| cursor.blanks() > 0).ok_or((Fault::Time, cursor.at + 1))?;
                if self.version == Version::V2 {
                    self.by_columns(&mut cursor, time_ns)
                } else {
                    self.by_version(&mut cursor, time_ns)
                }
            }
        }
    }

    /// A comment, from behind the semicolon.
    fn header(&mut self, line: &[u8], start: usize) -> Result<Record<'static>, Place> {
        let comment = &line[start..];
        let after = |key: &[u8]| comment.strip_prefix(key).map(<[u8]>::trim_ascii);
        if let Some(version) = after(b"$FILEVERSION=") {
            self.version = match version {
                b"1.0" => Version::V1_0,
                b"1.1" => Version::V1_1,
                b"1.2" => Version::V1_2,
                b"1.3" => Version::V1_3,
                b"2.0" | b"2.1" => Version::V2,
                _ => return Err((Fault::Header, start + 14)),
            };
        } else if let Some(days) = after(b"$STARTTIME=") {
            self.start_ns = Some(date::peak_days(days, self.zone).ok_or((Fault::Date, start + 12))?);
            self.exact = true;
        } else if let Some(columns) = after(b"$COLUMNS=") {
            self.columns.clear();
            for column in columns.split(|byte| *byte == b',') {
                match column.trim_ascii() {
                    [letter] if self.columns.len() < MAX_COLUMNS => self.columns.push(*letter),
                    _ => return Err((Fault::Header, start + 10)),
                }
            }
            // Number and time come first in all of them, and the data last.
            if !self.columns.starts_with(b"NO") || self.columns.iter().rev().skip(1).any(|letter| *letter == b'D') {
                return Err((Fault::Header, start + 10));
            }
        } else if !self.exact
            && let Some(date) = comment.trim_ascii_start().strip_prefix(b"Start time:")
        {
            // A comment: what cannot be understood in it is no fault.
            self.start_ns = date::parse(date, self.zone).or(self.start_ns);
        }
        Ok(Record::Nothing)
    }

    /// The columns of versions 1.0 to 1.3, after number and time.
    fn by_version<'a>(&self, cursor: &mut Cursor<'a>, time_ns: u64) -> Result<Record<'a>, Place> {
        let mut bus = 1;
        if self.version >= Version::V1_2 {
            let (word, at) = cursor.next_word();
            bus = channel(word).ok_or((Fault::Bus, at + 1))?;
        }
        let kind = if self.version >= Version::V1_1 { cursor.next_word().0 } else { b"Rx" };
        let (id, id_at) = cursor.next_word();
        if self.version >= Version::V1_3 {
            cursor.next_word();
        }
        let (length, at) = cursor.next_word();
        let length = Base::Dec.number(length).ok_or((Fault::Payload, at + 1));
        let before = cursor.at;
        let (word, _) = cursor.next_word();
        let frame = if kind.eq_ignore_ascii_case(b"Error") || word.eq_ignore_ascii_case(b"ERROR") {
            if !word.eq_ignore_ascii_case(b"ERROR") {
                cursor.at = before;
            }
            let kind = Base::Hex.number(id).and_then(|kind| u8::try_from(kind).ok());
            error_frame(time_ns, kind, cursor)
        } else if !is_direction(kind) || id == STATUS {
            return Ok(Record::Other);
        } else if word == b"RTR" {
            let id = identifier(id).ok_or((Fault::Identifier, id_at + 1))?;
            end(cursor)?;
            Frame::remote(time_ns, BusId(0), id, u8::try_from(length?.min(8)).unwrap_or(8))
        } else {
            cursor.at = before;
            let length = length?;
            let id = identifier(id).ok_or((Fault::Identifier, id_at + 1))?;
            if self.version == Version::V1_3 && length > 8 && words(cursor.rest()) > 8 {
                // J1939 put together from several frames.
                return Ok(Record::Other);
            }
            let kind = FrameKind::Data;
            return data_frame(cursor, time_ns, bus, id, kind, Length { dlc: Some(length), bytes: None }, at);
        };
        let frame = frame.ok_or((Fault::Length, at + 1))?;
        Ok(Record::Frame(BusName::Channel(bus), frame))
    }

    /// The columns of `$COLUMNS`, after number and time.
    fn by_columns<'a>(&self, cursor: &mut Cursor<'a>, time_ns: u64) -> Result<Record<'a>, Place> {
        let (mut kind, mut remote, mut bus, mut id) = (None, false, 1, None);
        let (mut length, mut length_at) = (Length { dlc: None, bytes: None }, 0);
        for column in self.columns.iter().skip(2) {
            if *column == b'D' {
                break;
            }
            let (word, at) = cursor.next_word();
            match column {
                b'T' => match word {
                    b"DT" => kind = Some(FrameKind::Data),
                    b"FD" => kind = Some(FrameKind::Fd { brs: false, esi: false }),
                    b"FB" => kind = Some(FrameKind::Fd { brs: true, esi: false }),
                    b"FE" => kind = Some(FrameKind::Fd { brs: true, esi: true }),
                    b"BI" => kind = Some(FrameKind::Fd { brs: false, esi: true }),
                    b"RR" => (kind, remote) = (Some(FrameKind::Remote), true),
                    b"ER" => return self.error(cursor, time_ns),
                    // States of hardware, counters, events.
                    [_, _] => return Ok(Record::Other),
                    _ => return Err((Fault::Payload, at + 1)),
                },
                b'B' => bus = channel(word).ok_or((Fault::Bus, at + 1))?,
                b'I' => id = Some(identifier(word).ok_or((Fault::Identifier, at + 1))?),
                b'd' if !is_direction(word) => return Err((Fault::Payload, at + 1)),
                b'l' => (length.bytes, length_at) = (Base::Dec.number(word), at),
                b'L' => (length.dlc, length_at) = (Base::Dec.number(word), at),
                _ if word.is_empty() => return Err((Fault::Payload, at + 1)),
                _ => {}
            }
        }
        let (Some(kind), Some(id)) = (kind, id) else { return Err((Fault::Header, 1)) };
        if !remote {
            return data_frame(cursor, time_ns, bus, id, kind, length, length_at);
        }
        end(cursor)?;
        let asked = length.dlc.or(length.bytes).ok_or((Fault::Length, length_at + 1))?;
        let frame = Frame::remote(time_ns, BusId(0), id, u8::try_from(asked.min(8)).unwrap_or(8));
        let frame = frame.ok_or((Fault::Length, length_at + 1))?;
        Ok(Record::Frame(BusName::Channel(bus), frame))
    }

    /// An error frame of version 2: `ER` and, behind the direction, five bytes with or without a length in front.
    fn error<'a>(&self, cursor: &mut Cursor<'a>, time_ns: u64) -> Result<Record<'a>, Place> {
        let mut bus = 1;
        if self.columns.get(3) == Some(&b'B') {
            let (word, at) = cursor.next_word();
            bus = channel(word).ok_or((Fault::Bus, at + 1))?;
        }
        loop {
            let (word, at) = cursor.next_word();
            if is_direction(word) {
                break;
            }
            if word.is_empty() {
                return Err((Fault::Payload, at + 1));
            }
        }
        for _ in 5..words(cursor.rest()) {
            cursor.next_word();
        }
        let kind = Base::Hex.number(cursor.next_word().0).and_then(|kind| u8::try_from(kind).ok());
        let frame = error_frame(time_ns, kind, cursor).ok_or((Fault::Payload, cursor.at + 1))?;
        Ok(Record::Frame(BusName::Channel(bus), frame))
    }
}

/// A frame's length as its line states it.
#[derive(Debug, Clone, Copy)]
struct Length {
    dlc: Option<u32>,
    bytes: Option<u32>,
}

impl Length {
    /// In bytes; `None` when there is none, or none of this kind.
    fn of(self, kind: FrameKind) -> Option<usize> {
        let dlc = self.dlc.and_then(|dlc| usize::try_from(dlc).ok()).filter(|dlc| *dlc <= 15);
        let by_dlc = dlc.map(|dlc| if kind == FrameKind::Data { dlc.min(8) } else { usize::from(FD_LENGTHS[dlc]) });
        self.bytes.and_then(|bytes| usize::try_from(bytes).ok()).or(by_dlc).filter(|length| *length <= MAX_PAYLOAD)
    }
}

fn data_frame<'a>(
    cursor: &mut Cursor<'a>,
    time_ns: u64,
    bus: u16,
    id: CanId,
    kind: FrameKind,
    length: Length,
    length_at: usize,
) -> Result<Record<'a>, Place> {
    let length = length.of(kind).ok_or((Fault::Length, length_at + 1))?;
    let mut data = [0; MAX_PAYLOAD];
    if !cursor.bytes_of(Base::Hex, &mut data[..length]) {
        return Err((Fault::Payload, cursor.at + 1));
    }
    end(cursor)?;
    let frame = Frame::new(time_ns, BusId(0), id, kind, &data[..length]).ok_or((Fault::Length, length_at + 1))?;
    Ok(Record::Frame(BusName::Channel(bus), frame))
}

/// Details follow where a recorder has them.
fn error_frame(time_ns: u64, kind: Option<u8>, cursor: &mut Cursor<'_>) -> Option<Frame> {
    let mut details = [0; 4];
    match kind.filter(|_| cursor.bytes_of(Base::Hex, &mut details)) {
        Some(kind) => error_codes::peak(time_ns, kind, details),
        None => error_codes::bus_error(time_ns),
    }
}

fn is_direction(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"Rx") || word.eq_ignore_ascii_case(b"Tx")
}

/// Four digits, or more for extended identifiers.
fn identifier(word: &[u8]) -> Option<CanId> {
    let number = Base::Hex.number(word)?;
    if word.len() > 4 { CanId::extended(number) } else { CanId::standard(number) }
}

fn words(text: &[u8]) -> usize {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count()
}

fn end(cursor: &mut Cursor<'_>) -> Result<(), Place> {
    cursor.blanks();
    if cursor.peek().is_none() { Ok(()) } else { Err((Fault::Trailing, cursor.at + 1)) }
}

#[cfg(test)]
#[path = "trc_tests.rs"]
mod tests;

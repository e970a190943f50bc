//! Vector's text format (CANoe, CANalyzer and whatever writes like them).
//!
//! ```text
//! date Sat Sep 30 10:06:13.191 pm 2017
//! base hex  timestamps absolute
//! internal events logged
//! // version 9.0.0
//! Begin Triggerblock Sat Sep 30 10:06:13.191 pm 2017
//!    0.000000 Start of measurement
//!    0.015991 CAN 1 Status:chip status error active
//!    1.015991 1  6F9             Rx   d 8 05 0C 00 00 00 00 00 00  Length = 240015 BitCount = 124 ID = 1785
//!    2.501000 1  ErrorFrame
//!   30.005071 CANFD   3 Rx   30a  Name   1 1 8  8 01 02 03 04 05 06 07 08   102203  133   303000 …
//! End TriggerBlock
//! ```
//!
//! The constraint is that there are as many events as Vector has products, and that new ones come. So a line is taken
//! for a frame when it looks like one from its time to its direction, and from there on must be one; all other lines
//! with a time are other events. They count nevertheless where times are relative: to the event before, whatever it
//! was. Lines without a time are headers, of which the known ones are understood and all others are faults.
//!
//! Times count from the measurement's start, which `date` tells. A recording with triggers has blocks with dates of
//! their own, and both ways of counting are found in them: on from the measurement's start, or anew in each block. The
//! first event of a block tells: its time is counted from whichever start brings it nearer to the block's date.
//! (Programs that write both dates give `date` the time of writing; the block's is the right one then.)

mod frame;
mod writer;

use self::frame::{classic, error_frame, fd};
use super::date::{self, UtcOffset};
use super::text::{Base, Cursor, channel};
use super::{BusName, Fault, MAX_LINE, Record};

pub(super) use self::writer::AscWriter;

/// A second in nanoseconds: what times are fractions of.
const SECOND_NS: u64 = 1_000_000_000;

/// What the lines so far have told.
#[derive(Debug)]
pub(super) struct Asc {
    zone: UtcOffset,
    base: Base,
    /// Times are differences to the event before.
    relative: bool,
    /// What `date` says, in nanoseconds since the epoch.
    date_ns: Option<i64>,
    /// What the block says that begins with the next event.
    block_ns: Option<i64>,
    /// What times count from.
    start_ns: Option<i64>,
    /// Time of the last event, nanoseconds from the start.
    elapsed_ns: u64,
}

type Place = (Fault, usize);

impl Asc {
    pub(super) fn new(zone: UtcOffset) -> Self {
        Self { zone, base: Base::Hex, relative: false, date_ns: None, block_ns: None, start_ns: None, elapsed_ns: 0 }
    }

    /// True when a date was told.
    pub(super) fn dated(&self) -> bool {
        self.start_ns.or(self.date_ns).is_some()
    }

    /// Reads a line without its end, of which at most the first [`MAX_LINE`] bytes are here.
    pub(super) fn line<'a>(&mut self, line: &'a [u8], whole: bool) -> Result<Record<'a>, Place> {
        let mut cursor = Cursor::new(line);
        cursor.blanks();
        match cursor.peek() {
            None => Ok(Record::Nothing),
            Some(b'0'..=b'9') => match self.event(&mut cursor) {
                // No frame is that long: what looks like one is not.
                Ok(Record::Frame(..)) | Err(_) if !whole => Err((Fault::TooLong, MAX_LINE + 1)),
                result => result,
            },
            Some(_) => self.header(&mut cursor),
        }
    }

    fn header(&mut self, cursor: &mut Cursor<'_>) -> Result<Record<'static>, Place> {
        let (word, start) = cursor.next_word();
        let is = |known: &[u8]| word.eq_ignore_ascii_case(known);
        if is(b"date") {
            let date = self.date(cursor)?;
            self.date_ns = Some(date);
        } else if is(b"base") || is(b"timestamps") {
            cursor.at = start;
            self.settings(cursor)?;
        } else if is(b"begin") {
            let (what, at) = cursor.next_word();
            if !what.eq_ignore_ascii_case(b"triggerblock") {
                return Err((Fault::Time, at + 1));
            }
            cursor.blanks();
            if cursor.peek().is_some() {
                self.block_ns = Some(self.date(cursor)?);
            }
        } else if !(word.starts_with(b"//")
            || [&b"end"[..], b"internal", b"no", b"measurement", b"version", b"split"].into_iter().any(is))
        {
            return Err((Fault::Time, start + 1));
        }
        Ok(Record::Nothing)
    }

    fn date(&self, cursor: &mut Cursor<'_>) -> Result<i64, Place> {
        cursor.blanks();
        date::parse(cursor.rest(), self.zone).ok_or((Fault::Date, cursor.at + 1))
    }

    /// `base hex timestamps absolute`, in one line or two.
    fn settings(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Place> {
        loop {
            let (word, _) = cursor.next_word();
            if word.is_empty() {
                return Ok(());
            }
            let (value, at) = cursor.next_word();
            let is = |known: &[u8]| value.eq_ignore_ascii_case(known);
            match word.to_ascii_lowercase().as_slice() {
                b"base" if is(b"hex") => self.base = Base::Hex,
                b"base" if is(b"dec") => self.base = Base::Dec,
                b"timestamps" if is(b"absolute") => self.relative = false,
                b"timestamps" if is(b"relative") => self.relative = true,
                _ => return Err((Fault::Header, at + 1)),
            }
        }
    }

    fn event<'a>(&mut self, cursor: &mut Cursor<'a>) -> Result<Record<'a>, Place> {
        let time_ns = cursor.decimal(SECOND_NS).ok_or((Fault::Time, cursor.at + 1))?;
        if cursor.blanks() == 0 && cursor.peek().is_some() {
            return Err((Fault::Time, cursor.at + 1));
        }
        let time_ns = self.time(time_ns).ok_or((Fault::Time, 1))?;
        let (word, at) = cursor.next_word();
        let is_fd = word.eq_ignore_ascii_case(b"CANFD");
        let (number, channel_at) = if is_fd { cursor.next_word() } else { (word, at) };
        if !number.iter().all(u8::is_ascii_digit) || number.is_empty() {
            // A CAN FD line is ours and must have a channel.
            return if is_fd { Err((Fault::Bus, channel_at + 1)) } else { Ok(Record::Other) };
        }
        let (id, id_at) = cursor.next_word();
        let is_error = |word: &[u8]| word.eq_ignore_ascii_case(b"ErrorFrame");
        let frame = if is_fd {
            let (direction, after) = (id, cursor.at);
            if !is_direction(direction) {
                return Ok(Record::Other);
            }
            if is_error(cursor.next_word().0) {
                error_frame(cursor, time_ns)?
            } else {
                cursor.at = after;
                fd(cursor, self.base, time_ns)?
            }
        } else if is_error(id) {
            error_frame(cursor, time_ns)?
        } else {
            if !is_direction(cursor.next_word().0) {
                return Ok(Record::Other);
            }
            classic(cursor, (id, id_at), self.base, time_ns)?
        };
        let channel = channel(number).ok_or((Fault::Bus, channel_at + 1))?;
        Ok(Record::Frame(BusName::Channel(channel), frame))
    }

    /// Nanoseconds since the epoch of an event at this time.
    fn time(&mut self, time_ns: u64) -> Option<u64> {
        self.elapsed_ns = if self.relative { self.elapsed_ns.checked_add(time_ns)? } else { time_ns };
        if let Some(block) = self.block_ns.take() {
            let elapsed = i64::try_from(self.elapsed_ns).ok()?;
            let from_date = self.date_ns.filter(|date| {
                let off = date.saturating_add(elapsed).saturating_sub(block);
                off.unsigned_abs() < self.elapsed_ns
            });
            self.start_ns = Some(from_date.unwrap_or(block));
        }
        let start = self.start_ns.or(self.date_ns).unwrap_or(0);
        u64::try_from(i128::from(start) + i128::from(self.elapsed_ns)).ok()
    }
}

/// A request to send, `TxRq`, is none: the frame comes when it is on the bus.
fn is_direction(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"Rx") || word.eq_ignore_ascii_case(b"Tx")
}

#[cfg(test)]
#[path = "asc_tests.rs"]
mod tests;

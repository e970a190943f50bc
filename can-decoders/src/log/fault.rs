//! What is wrong with a line or an object, and the account of what was skipped.

use std::fmt;

use super::Format;

/// Bad lines that are kept with their place; all are counted.
const KEPT: usize = 10;

/// What is wrong with a line of a text, or with an object of a BLF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A frame's line is longer than [`super::MAX_LINE`] bytes.
    TooLong,
    /// The time is missing or not one.
    Time,
    /// The bus or channel is missing or not one.
    Bus,
    /// The identifier is not one, or is beyond 11 or 29 bits.
    Identifier,
    /// The payload is cut or has something else in it, or its flags are not flags.
    Payload,
    /// A length that no frame of its kind has.
    Length,
    /// Something follows the frame.
    Trailing,
    /// A header asks for something that is not known.
    Header,
    /// The date at which the recording started cannot be understood.
    Date,
    /// An object does not start where it should, or its size is impossible.
    Object,
    /// A container of objects is damaged.
    Container,
}

impl Fault {
    /// All faults, in the order of [`Fault::index`].
    pub const ALL: [Self; 11] = [
        Self::TooLong,
        Self::Time,
        Self::Bus,
        Self::Identifier,
        Self::Payload,
        Self::Length,
        Self::Trailing,
        Self::Header,
        Self::Date,
        Self::Object,
        Self::Container,
    ];

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
            Self::Header => 7,
            Self::Date => 8,
            Self::Object => 9,
            Self::Container => 10,
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
            Self::Header => "header",
            Self::Date => "date",
            Self::Object => "object",
            Self::Container => "container",
        }
    }

    /// What was expected in a recording of this format.
    pub fn expected(self, format: Format) -> &'static str {
        use Format::{Asc, Blf, Candump, Trc};
        match (self, format) {
            (Self::TooLong, _) => "expected a line of at most 4096 bytes",
            (Self::Time, Candump) => "expected (seconds.fraction) with 1 to 9 digits of fraction",
            (Self::Time, Asc) => "expected seconds.fraction, a comment or a header such as date or base",
            (Self::Time, Trc) => "expected a message number and its time offset in milliseconds",
            (Self::Time, Blf) => {
                "expected a time in units of 10 microseconds or of nanoseconds, after 1970 and before 2554"
            }
            (Self::Bus, Candump) => "expected the name of a bus, UTF-8 of at most 63 bytes",
            (Self::Bus, _) => "expected a channel, 1 to 65535",
            (Self::Identifier, Candump) => "expected 3 or 8 hexadecimal digits of identifier and a #",
            (Self::Identifier, Asc) => {
                "expected an identifier in the base of the header, with an x when it is extended, or a name and `ID =`"
            }
            (Self::Identifier, Trc) => "expected 4 or 8 hexadecimal digits of identifier",
            (Self::Identifier, Blf) => "expected an identifier of 11 bits, or of 29 with bit 31 set",
            (Self::Payload, Candump) => "expected pairs of hexadecimal digits",
            (Self::Payload, Asc) => "expected d or r, the DLC, and as many bytes, in the base of the header",
            (Self::Payload, Trc) => "expected the columns of this version, and as many bytes as the length says",
            (Self::Payload, Blf) => "expected an object that has all of its fields",
            (Self::Length, Candump) => "expected at most 8 bytes, or an FD length (0 to 8, 12, 16, 20, 24, 32, 48, 64)",
            (Self::Length, _) => "expected a DLC of at most 15 and a length that goes with it",
            (Self::Trailing, Candump) => "expected the end of the line, or the direction R or T",
            (Self::Trailing, _) => "expected the end of the line",
            (Self::Header, Asc) => "expected `base hex` or `base dec`, and `timestamps absolute` or `relative`",
            (Self::Header, Blf) => "expected the header of a BLF file, 144 bytes",
            (Self::Header, _) => "expected version 1.0, 1.1, 1.2, 1.3, 2.0 or 2.1, from 2.0 on with $COLUMNS",
            (Self::Date, Trc) => "expected the days since 1899-12-30 as a decimal number",
            (Self::Date, Blf) => "expected a date between 1970 and 2261",
            (Self::Date, _) => {
                "expected a date such as `Sat Sep 30 10:06:13.191 pm 2017`, `Sam Okt 30 22:06:13 2017` or `2017-09-30 22:06:13`"
            }
            (Self::Object, _) => "expected an object (LOBJ) of a possible size",
            (Self::Container, _) => "expected a container of objects, stored or deflated to the size that it states",
        }
    }
}

/// Where in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a text.
    Line {
        /// Line from 1.
        line: u64,
        /// Column in bytes from 1.
        column: usize,
    },
    /// In a BLF file.
    Object {
        /// Object from 1, as they lie in the containers.
        object: u64,
        /// Bytes of the inflated containers before it.
        offset: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, column } => write!(f, "line {line}, column {column}"),
            Self::Object { object, offset } => write!(f, "object {object} at byte {offset} of the inflated containers"),
        }
    }
}

/// A line or an object that was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLine {
    /// Where it is.
    pub place: Place,
    /// What is wrong with it.
    pub fault: Fault,
}

/// The lines or objects that a tolerant reader skipped.
#[derive(Debug, Clone, Default)]
pub struct BadLines {
    first: Vec<BadLine>,
    counts: [u64; Fault::ALL.len()],
}

impl BadLines {
    /// The first ten.
    pub fn first(&self) -> &[BadLine] {
        &self.first
    }

    /// How many had this fault.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts[fault.index()]
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn add(&mut self, bad: BadLine) {
        self.counts[bad.fault.index()] += 1;
        if self.first.len() < KEPT {
            self.first.push(bad);
        }
    }
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;

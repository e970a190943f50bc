//! What a DBC file says about frames, before it is compiled.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::code::Code;
use crate::frame::CanId;
use crate::integrity::Algorithm;
use crate::validity::{Trust, believe};

/// A place in a DBC file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Place {
    /// Line from 1; 0 stands for the file as a whole.
    pub line: usize,
    /// Column in characters from 1; 0 when only the line is known.
    pub column: usize,
}

/// Something odd in a DBC file (or between two) that does not keep it from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Warning {
    /// What kind of thing.
    pub code: Code,
    /// Name of the file.
    pub file: Arc<str>,
    /// Where.
    pub place: Place,
    /// What is odd and what was made of it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place.line, self.place.column) {
            (0, _) => write!(f, "{}: {}", self.file, self.text),
            (line, 0) => write!(f, "{}:{line}: {}", self.file, self.text),
            (line, column) => write!(f, "{}:{line}:{column}: {}", self.file, self.text),
        }
    }
}

/// Labels of raw values, sorted by raw value. Shared, as one statement can label thousands of signals.
pub type Labels = Arc<[(i64, Arc<str>)]>;

/// Raw values of a multiplexor, inclusive: sorted, and with gaps between them. Shared as [`Labels`] are.
pub type Ranges = Arc<[RangeInclusive<u64>]>;

/// A message (`BO_`).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MessageDef {
    /// Name.
    pub name: Arc<str>,
    /// Identifier.
    pub id: CanId,
    /// Length in bytes. Above 64 for messages that a transport protocol puts together.
    pub size: usize,
    /// Attribute `GenMsgCycleTime` in milliseconds; `None` when absent or 0.
    pub cycle_time_ms: Option<u32>,
    /// True when the file says that it is a parameter group of J1939 (attribute `VFrameFormat` at `J1939PG`, and an
    /// extended identifier).
    pub is_j1939: bool,
    /// The nodes that send it; empty when the file names none.
    pub senders: Vec<Arc<str>>,
    /// Comment (`CM_ BO_`), empty when there is none.
    pub comment: Arc<str>,
    /// Where its `BO_` is.
    pub place: Place,
    /// Signals in the order of the file.
    pub signals: Vec<SignalDef>,
}

/// Order of the bytes of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ByteOrder {
    /// Intel, `@1`: the start bit is the least significant one.
    Little,
    /// Motorola, `@0`: the start bit is the most significant one.
    Big,
}

/// How the bits of a signal are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Encoding {
    /// Unsigned integer.
    Unsigned,
    /// Two's complement.
    Signed,
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary64.
    Float64,
}

/// When a signal is in the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Multiplexing {
    /// Always.
    Always,
    /// When the signal `selector` (its place in [`MessageDef::signals`]) is itself in the frame and has
    /// a raw value in one of the ranges.
    Selected {
        /// The multiplexor.
        selector: usize,
        /// Its raw values.
        ranges: Ranges,
    },
    /// Multiplexed, but the file does not say by what: never reported. A warning tells.
    Never,
}

/// A signal (`SG_`).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SignalDef {
    /// Name, unique within its message: later ones of the same name end in `_2`, `_3` and so on.
    pub name: Arc<str>,
    /// Start bit as the file has it; see [`ByteOrder`].
    pub start: u32,
    /// Width, 1 to 64 bits.
    pub bits: u32,
    /// Byte order.
    pub order: ByteOrder,
    /// Integer or float.
    pub encoding: Encoding,
    /// Physical value = raw · `factor` + `offset`.
    pub factor: f64,
    /// See `factor`.
    pub offset: f64,
    /// Smallest physical value; `None` when the file says `[0|0]`.
    pub min: Option<f64>,
    /// Largest physical value; `None` when the file says `[0|0]`.
    pub max: Option<f64>,
    /// Unit, empty when there is none.
    pub unit: Arc<str>,
    /// Labels of raw values.
    pub labels: Labels,
    /// When it is in the frame.
    pub multiplexing: Multiplexing,
    /// True when other signals are selected by this one.
    pub is_multiplexor: bool,
    /// It is the frame's checksum (attribute `OutriderChecksum`, see [`crate::integrity`]).
    pub checksum: Option<Algorithm>,
    /// It is the frame's counter and goes on by at most this (attribute `OutriderCounter`).
    pub counter: Option<u32>,
    /// Comment (`CM_ SG_`), empty when there is none.
    pub comment: Arc<str>,
    /// Where its `SG_` is.
    pub place: Place,
}

impl SignalDef {
    /// The bits it occupies, numbered from the first byte's most significant bit for big endian, from
    /// its least significant bit for little endian.
    pub(crate) fn span(&self) -> std::ops::Range<u32> {
        let first = match self.order {
            ByteOrder::Little => self.start,
            ByteOrder::Big => self.start / 8 * 8 + (7 - self.start % 8),
        };
        first..first + self.bits
    }

    /// The range that the file gives when it is not believed ([`Trust::Plausible`]): the signal's bits cannot express it.
    pub fn doubted_range(&self) -> Option<(f64, f64)> {
        self.min.zip(self.max).filter(|range| !believe(self, *range, Trust::Plausible))
    }

    /// The number of bytes that a payload needs for it.
    pub(crate) fn bytes_needed(&self) -> usize {
        self.span().end.div_ceil(8) as usize
    }
}

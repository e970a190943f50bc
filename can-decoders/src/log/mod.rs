//! Recordings as people have them: candump, Vector ASC and BLF, PEAK TRC; plain, gzip or zstd.
//!
//! Recordings come from the field: hours long, cut by a power failure, edited by hand, sometimes not recordings at
//! all. So reading streams in bounded memory whatever the bytes are: a line has at most [`MAX_LINE`] bytes (what is
//! longer is never kept), a BLF container is inflated through a window of fixed size, and a zstd frame may ask for a
//! window of 32 MiB at most. Once the buffers have grown, reading a frame allocates nothing.
//!
//! The first bytes tell the format, never the file's name: standard input has none. What looks like nothing else is
//! read as candump, so that a candump log with a damaged beginning stays one.
//!
//! Nothing is dropped in silence. Strict reading fails on the first line or object that cannot be read, with its
//! place and the remedy; tolerant reading skips such ones, counts them by [`Fault`] and keeps the places of the first.
//! What a recorder writes beside frames (statistics, variables, other buses, requests to send) is skipped and counted
//! apart, by [`LogReader::other_events`]. Received and sent frames are both frames: both were on the bus.
//!
//! **Buses.** candump names them. The others number their channels from 1: channel *n* is called `can{n-1}`, as
//! python-can does when it writes such files; so the first channel is `can0` in all of them.
//!
//! **Times** are integers, nanoseconds since the epoch, from the digits in the file. ASC, BLF and TRC tell when the
//! recording started in the recorder's local time and do not say where that was: [`Options::utc_offset`] does, else it
//! is taken for UTC. The time zone of the computer that reads is never used: the same file gives the same frames
//! everywhere. A recording that does not tell when it started counts from the epoch; see [`LogReader::dated`].
//!
//! **Error frames** are given as SocketCAN has them. Where the file has no details, the class is "bus error".
//!
//! There are crates for two of the formats, and they are not used: `ablf` (0.2) knows no CAN FD, `blf_asc` (0.2) keeps
//! times as floating-point seconds in the computer's time zone and inflates and collects without a bound, and both
//! skip what they do not understand without a count.

mod asc;
mod blf;
mod buses;
mod candump;
mod date;
mod detect;
mod error;
mod error_codes;
mod fault;
mod input;
mod reader;
mod text;
mod trc;
mod writer;

pub use date::{UtcOffset, UtcOffsetError};
pub use error::LogError;
pub use fault::{BadLine, BadLines, Fault, Place};
pub use reader::LogReader;
pub use writer::{Compression, LogWriter, candump_line};

/// Longest line that is read, in bytes. The longest frame that a recorder writes, a CAN FD frame in ASC, has about 350;
/// events that are not frames may be longer and are judged by this much of them.
pub const MAX_LINE: usize = 4096;

/// How a recording is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `candump -l` and `-L` of can-utils.
    Candump,
    /// Vector's text format.
    Asc,
    /// Vector's binary format.
    Blf,
    /// PEAK's text format, versions 1.0 to 2.1.
    Trc,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candump => "candump",
            Self::Asc => "ASC",
            Self::Blf => "BLF",
            Self::Trc => "TRC",
        }
    }

    /// What it consists of.
    pub fn record(self) -> &'static str {
        if self == Self::Blf { "object" } else { "line" }
    }
}

/// How a recording is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Skip and count what cannot be read instead of failing on the first.
    pub tolerant: bool,
    /// Names of buses that get the numbers from 0 on; others get the next ones as they appear.
    pub buses: Vec<String>,
    /// Where the recorder's clock was, for formats that have local time (all but candump).
    pub utc_offset: UtcOffset,
}

/// A frame or not: what a line or an object turned out to be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Record<'a> {
    /// Nothing: a blank line, a comment, a header.
    Nothing,
    /// An event that is not a frame on a CAN bus.
    Other,
    /// A frame; its bus is still a name or a channel.
    Frame(BusName<'a>, crate::Frame),
}

/// How a file calls a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BusName<'a> {
    /// candump.
    Name(&'a str),
    /// The others; from 1.
    Channel(u16),
}

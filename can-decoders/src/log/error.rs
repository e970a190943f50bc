//! What can go wrong with a recording.

use std::io;

use super::{Fault, Format, Place};

/// Reading or writing a recording failed. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file could not be opened or made.
    #[error("{name}: cannot open the log: {source}")]
    Open {
        /// Name of the log.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The log ended early, is damaged (compressed logs), or the system cannot read it.
    #[error("{name}: reading failed after {} {records}: {source}; the frames before it are good", format.record())]
    Read {
        /// Name of the log.
        name: String,
        /// Its format.
        format: Format,
        /// Lines or objects read before.
        records: u64,
        /// The reason.
        source: io::Error,
    },
    /// A line or an object cannot be read (strict reading only).
    #[error("{}: {}; {}", at(name, *place), fault.expected(*format), remedy(*format))]
    Malformed {
        /// Name of the log.
        name: String,
        /// Its format.
        format: Format,
        /// Where.
        place: Place,
        /// What is wrong.
        fault: Fault,
    },
    /// The log has more buses than a [`crate::BusId`] can number.
    #[error("{}: more than 255 buses; is this {}?", at(name, *place), match format { Format::Candump => "a candump log", _ => "a log of CAN buses" })]
    TooManyBuses {
        /// Name of the log.
        name: String,
        /// Its format.
        format: Format,
        /// Where.
        place: Place,
    },
    /// More buses are named in the options than a [`crate::BusId`] can number.
    #[error("{name}: {count} buses are configured, and at most 255 can be told apart; configure fewer")]
    TooManyConfigured {
        /// Name of the log.
        name: String,
        /// How many.
        count: usize,
    },
    /// Writing failed; what was written before may be incomplete at its end.
    #[error("{name}: writing the log failed: {source}")]
    Write {
        /// Name of the log.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The bus's name would not be read back: it is empty, longer than 63 bytes or has blanks.
    #[error("{name}: a bus cannot be called {bus:?} in a candump log; use 1 to 63 bytes without blanks")]
    BusName {
        /// Name of the log.
        name: String,
        /// The bus.
        bus: String,
    },
}

/// As editors and compilers have it, so that the place can be jumped to.
fn at(name: &str, place: Place) -> String {
    match place {
        Place::Line { line, column } => format!("{name}:{line}:{column}"),
        Place::Object { .. } => format!("{name}: {place}"),
    }
}

fn remedy(format: Format) -> &'static str {
    match format {
        Format::Blf => "read the log tolerantly to skip and count such objects",
        _ => "correct the line, or read the log tolerantly to skip and count such lines",
    }
}

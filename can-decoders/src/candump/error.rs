//! What can go wrong with a log.

use std::io;

use super::line::Fault;

/// Reading or writing a log failed. None of these goes away by trying again.
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
    #[error("{name}: reading failed after line {line}: {source}; the frames before it are good")]
    Read {
        /// Name of the log.
        name: String,
        /// Lines read before.
        line: u64,
        /// The reason.
        source: io::Error,
    },
    /// A line is not candump's (strict reading only).
    #[error("{name}:{line}:{column}: {}; correct the line, or read the log tolerantly to skip and count such lines", fault.expected())]
    Line {
        /// Name of the log.
        name: String,
        /// Line from 1.
        line: u64,
        /// Column in bytes from 1.
        column: usize,
        /// What is wrong.
        fault: Fault,
    },
    /// The log has more buses than a [`crate::BusId`] can number.
    #[error("{name}:{line}: more than 255 buses; is this a candump log?")]
    TooManyBuses {
        /// Name of the log.
        name: String,
        /// Line from 1.
        line: u64,
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

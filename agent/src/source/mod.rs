//! Sources: where frames come from. Thin shells around the engine.

pub mod sim;

use std::time::Duration;

use can_decoders::Frame;
use thiserror::Error;

/// What a call of [`Source::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// No frame with an earlier time will come: the engine's clock may advance to here. Nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// The source has come to its end.
    pub ended: bool,
}

/// Why a source failed.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The recording could not be read: its file, line and remedy.
    #[error("{0}")]
    Log(String),
    /// The interface could not be opened or read.
    #[error("CAN interface {interface}: {doing}: {source}")]
    Interface {
        /// Name of the interface.
        interface: String,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Delivers frames in the order of their times.
pub trait Source: Send {
    /// Waits at most `max_wait` for frames and appends at most `batch.capacity() - batch.len()` of them to `batch`.
    ///
    /// # Errors
    /// When no further frame can be had.
    fn read(&mut self, batch: &mut Vec<Frame>, max_wait: Duration) -> Result<Progress, SourceError>;
}

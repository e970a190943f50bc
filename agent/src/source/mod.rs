//! Sources: where frames come from. Thin shells around the engine.

pub mod paced;
mod piped;
pub mod sim;
mod simulated;
pub mod socketcan;

use std::path::Path;
use std::time::Duration;

use can_decoders::Frame;
use can_decoders::log::{LogError, LogReader, Options};
use thiserror::Error;

pub use paced::Paced;
use piped::Piped;
use simulated::Simulated;
use socketcan::SocketCan;

use crate::config::SourceConfig;
use crate::engine::{Catalog, Notice};
use crate::runtime::clock::wall_ns;

/// Frames may gather for so long before they are read, when the last reading was just before: a wake-up costs more than a frame.
const GATHER: Duration = Duration::from_millis(4);

/// What a call of [`Source::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// No frame with an earlier time will come: the engine's clock may advance to here. Nanoseconds since the Unix
    /// epoch; 0 when that is not known.
    pub now_ns: u64,
    /// The source has come to its end.
    pub ended: bool,
}

/// Why a source failed.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The recording could not be read: its file, line and remedy.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The simulated vehicle could not be set up.
    #[error(transparent)]
    Sim(#[from] sim::SimError),
    /// There is no thread for reading the input.
    #[error("cannot start a thread that reads the input: {0}")]
    Thread(std::io::Error),
    /// CAN interfaces cannot be listened to.
    #[error(transparent)]
    SocketCan(#[from] socketcan::SocketCanError),
}

/// Delivers frames in the order of their times.
pub trait Source: Send {
    /// Waits at most `max_wait` for frames and appends at most `batch.capacity() - batch.len()` of them to `batch`.
    ///
    /// # Errors
    /// When no further frame can be had.
    fn read(&mut self, batch: &mut Vec<Frame>, max_wait: Duration) -> Result<Progress, SourceError>;

    /// True when frames come whether or not they are read: what cannot be passed on in time must be dropped and counted.
    /// A recording waits instead.
    fn is_live(&self) -> bool;

    /// Lines of a recording that could not be read and were skipped.
    fn bad_lines(&self) -> u64 {
        0
    }

    /// Appends what is to be told beside frames since the last call.
    fn notices(&mut self, _out: &mut Vec<Notice>) {}

    /// From here on frames carry the numbers of another catalog's buses, and are listened to in another way. Frames that
    /// were taken already, with the numbers of before, are appended to `rest`, and what is still to be told of buses that are
    /// no longer wanted to `out`. A recording goes on as it is: its buses must have the same numbers.
    ///
    /// # Errors
    /// When a bus may not be listened to as asked; then all is as it was.
    fn reconfigure(
        &mut self,
        _catalog: &Catalog,
        _listen: &[socketcan::Listen],
        _rest: &mut Vec<Frame>,
        _out: &mut Vec<Notice>,
    ) -> Result<(), SourceError> {
        Ok(())
    }

    /// No more frames are wanted: appends those that were taken already, and what is still to be told.
    fn finish(&mut self, _rest: &mut Vec<Frame>, _out: &mut Vec<Notice>) {}
}

/// Opens the source that the configuration asks for; frames carry the numbers of the catalog's buses.
///
/// # Errors
/// When it cannot be opened.
pub fn open(config: &SourceConfig, catalog: &Catalog) -> Result<Box<dyn Source>, SourceError> {
    let buses: Vec<String> = catalog.buses().iter().map(|bus| bus.name.to_string()).collect();
    Ok(match config {
        SourceConfig::SocketCan { listen } => Box::new(SocketCan::open(catalog, listen)?),
        SourceConfig::Replay { log, speed, tolerant, utc_offset } => {
            let frames = Log::open(log, Options { tolerant: *tolerant, buses, utc_offset: *utc_offset })?;
            if log.as_os_str() == "-" {
                Box::new(Paced::new(Piped::start(frames).map_err(SourceError::Thread)?, *speed))
            } else {
                Box::new(Paced::new(frames, *speed))
            }
        }
        SourceConfig::Sim { seed, speed, length, faults } => {
            // Whole seconds: a log of the simulation keeps its times, and grid points fall on the drive's own.
            let start_ns = wall_ns() / 1_000_000_000 * 1_000_000_000;
            let config = sim::SimConfig { seed: *seed, start_ns, faults: faults.clone() };
            Box::new(Paced::new(Simulated::new(config, *length, &buses)?, *speed))
        }
    })
}

/// What [`Frames::next_within`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next frame.
    Frame(Frame),
    /// None came in time.
    NotYet,
    /// There are no more.
    End,
}

/// Frames with a way to count what was skipped among them: what [`Paced`] paces.
pub trait Frames: Send {
    /// The next frame, `None` at the end.
    ///
    /// # Errors
    /// When no further frame can be had.
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError>;

    /// The next frame, if it comes within `max_wait`. Only an input that may pause needs a way of its own.
    ///
    /// # Errors
    /// As [`Frames::next_frame`].
    fn next_within(&mut self, _max_wait: Duration) -> Result<Next, SourceError> {
        Ok(self.next_frame()?.map_or(Next::End, Next::Frame))
    }

    /// Lines that could not be read and were skipped.
    fn bad_lines(&self) -> u64 {
        0
    }
}

/// A recording's frames.
pub struct Log(LogReader);

impl Log {
    /// Opens the recording at `path` (`-` is standard input). Frames of the bus `options.buses[i]` get the number `i`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, options: Options) -> Result<Self, LogError> {
        Ok(Self(LogReader::open(path, options)?))
    }

    /// The reader behind it.
    pub fn reader(&self) -> &LogReader {
        &self.0
    }
}

impl Frames for Log {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        Ok(self.0.next().transpose()?)
    }

    fn bad_lines(&self) -> u64 {
        self.0.bad_lines().total()
    }
}

//! Logs in the format of `candump -l` (can-utils), plain or compressed with gzip or zstd.
//!
//! Logs come from the field: hours long, cut by a power failure, edited by hand, sometimes not logs at
//! all. So reading streams in bounded memory whatever the bytes are: a line has at most [`MAX_LINE`]
//! bytes (a longer one is skipped without being kept), a compressed log is decompressed as it is read,
//! and a zstd frame may ask for a window of 32 MiB at most. Strict reading fails on the first line that is not
//! candump's; tolerant reading skips such lines, counts them by [`Fault`] and keeps the places of the
//! first. Once the buffers have grown, reading a frame allocates nothing.

mod error;
mod input;
mod line;
mod reader;
mod writer;

pub use error::LogError;
pub use line::{Fault, Line, parse_line};
pub use reader::{BadLine, BadLines, LogReader, Options};
pub use writer::{Compression, LogWriter};

/// Longest line that is read, in bytes. The longest that candump writes has about 200.
pub const MAX_LINE: usize = 4096;

//! [`LogWriter`]: frames to a log.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::LogError;
use super::candump::{ERROR_FLAG, MAX_BUS_NAME};
use crate::frame::{Frame, FrameKind};

/// Text in one zstd frame, in bytes. Frames are independent: a log that is cut loses the last one only.
const ZSTD_FRAME: usize = 1024 * 1024;

/// How a log is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard, in independent frames of 1 MiB of text.
    Zstd,
}

impl Compression {
    /// By a file's extension: `gz`, `zst` or `zstd`; else plain.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

enum Sink {
    Plain(BufWriter<Box<dyn Write + Send>>),
    Gzip(GzEncoder<Box<dyn Write + Send>>),
    Zstd { text: Vec<u8>, output: Box<dyn Write + Send> },
}

impl Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.write_all(line),
            Self::Gzip(output) => output.write_all(line),
            Self::Zstd { text, output } => {
                text.extend_from_slice(line);
                if text.len() >= ZSTD_FRAME { write_zstd(text, output) } else { Ok(()) }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Gzip(output) => output.flush(),
            Self::Zstd { text, output } => {
                write_zstd(text, output)?;
                output.flush()
            }
        }
    }

    fn finish(mut self) -> io::Result<()> {
        match self {
            Self::Gzip(output) => output.finish()?.flush(),
            Self::Plain(_) | Self::Zstd { .. } => self.flush(),
        }
    }
}

fn write_zstd(text: &mut Vec<u8>, output: &mut impl Write) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let frame = compress_to_vec(text.as_slice(), CompressionLevel::Fastest);
    text.clear();
    output.write_all(&frame)
}

/// Writes frames as `candump -l` does, plain or compressed. What it writes, [`super::LogReader`]
/// reads back the same, except that error frames always come back with extended identifiers.
///
/// End it with [`LogWriter::finish`]; dropping it tries the same and hides errors.
pub struct LogWriter {
    name: String,
    /// `None` once finished.
    sink: Option<Sink>,
    line: Vec<u8>,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl LogWriter {
    /// Makes a file, compressed as its extension says. An existing file is replaced.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, LogError> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Self::to_writer(&name, file, Compression::of(path))),
            Err(source) => Err(LogError::Open { name, source }),
        }
    }

    /// Writes to anything. `name` is for errors.
    pub fn to_writer(name: &str, output: impl Write + Send + 'static, compression: Compression) -> Self {
        let output: Box<dyn Write + Send> = Box::new(output);
        let sink = match compression {
            Compression::Plain => Sink::Plain(BufWriter::with_capacity(64 * 1024, output)),
            Compression::Gzip => Sink::Gzip(GzEncoder::new(
                Box::new(BufWriter::with_capacity(64 * 1024, output)),
                flate2::Compression::fast(),
            )),
            Compression::Zstd => Sink::Zstd { text: Vec::new(), output },
        };
        Self { name: name.to_owned(), sink: Some(sink), line: Vec::new() }
    }

    /// Writes a frame as received from the bus of this name.
    ///
    /// # Errors
    /// When the name cannot be in a log, or writing fails.
    pub fn write(&mut self, bus: &str, frame: &Frame) -> Result<(), LogError> {
        if bus.is_empty() || bus.len() > MAX_BUS_NAME || bus.contains([' ', '\t', '\r', '\n']) {
            return Err(LogError::BusName { name: self.name.clone(), bus: bus.to_owned() });
        }
        self.line.clear();
        let result = format(&mut self.line, bus, frame);
        let result = result.and_then(|()| self.sink.as_mut().map_or(Ok(()), |sink| sink.write(&self.line)));
        result.map_err(|source| LogError::Write { name: self.name.clone(), source })
    }

    /// Hands everything written so far to the system. For zstd this ends a frame: often is costly.
    ///
    /// # Errors
    /// When writing fails.
    pub fn flush(&mut self) -> Result<(), LogError> {
        let result = self.sink.as_mut().map_or(Ok(()), Sink::flush);
        result.map_err(|source| LogError::Write { name: self.name.clone(), source })
    }

    /// Writes what is left and ends the compressed stream.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<(), LogError> {
        let result = self.sink.take().map_or(Ok(()), Sink::finish);
        result.map_err(|source| LogError::Write { name: self.name.clone(), source })
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            // There is no one left to tell.
            let _ = sink.finish();
        }
    }
}

/// One line, with its line end.
fn format(line: &mut Vec<u8>, bus: &str, frame: &Frame) -> io::Result<()> {
    let (seconds, nanoseconds) = (frame.time_ns / 1_000_000_000, frame.time_ns % 1_000_000_000);
    if nanoseconds.is_multiple_of(1000) {
        write!(line, "({seconds:010}.{:06}) {bus} ", nanoseconds / 1000)?;
    } else {
        write!(line, "({seconds:010}.{nanoseconds:09}) {bus} ")?;
    }
    match frame.kind {
        FrameKind::Error => write!(line, "{:08X}#", frame.id.number() | ERROR_FLAG)?,
        _ => write!(line, "{}#", frame.id)?,
    }
    match frame.kind {
        FrameKind::Fd { brs, esi } => write!(line, "#{:X}", u8::from(brs) | u8::from(esi) << 1)?,
        FrameKind::Remote if frame.is_empty() => write!(line, "R")?,
        FrameKind::Remote => write!(line, "R{}", frame.len())?,
        FrameKind::Data | FrameKind::Error => {}
    }
    for byte in frame.payload() {
        for nibble in [byte >> 4, byte & 15] {
            line.push(b"0123456789ABCDEF"[usize::from(nibble)]);
        }
    }
    line.push(b'\n');
    Ok(())
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

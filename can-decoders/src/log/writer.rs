//! [`LogWriter`]: frames to a log.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::asc::AscWriter;
use super::blf::{self, BlfWriter};
use super::candump::{ERROR_FLAG, MAX_BUS_NAME};
use super::{Format, LogError};
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

/// How frames are written.
enum Form {
    Candump,
    Asc(AscWriter, Channels),
    Blf(BlfWriter, Channels),
}

/// Writes frames as a recording, plain or compressed. What it writes, [`super::LogReader`] reads back the same, but for what
/// the formats cannot say: candump's error frames come back with extended identifiers, those of the others without their
/// class; ASC has microseconds, and both ASC and BLF number the buses ([`LogWriter::channels`]).
///
/// End it with [`LogWriter::finish`]; dropping it tries the same and hides errors.
pub struct LogWriter {
    name: String,
    /// `None` once finished.
    sink: Option<Sink>,
    form: Form,
    /// A file whose header is filled in at the end.
    file: Option<File>,
    line: Vec<u8>,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl LogWriter {
    /// Makes a file, in the format and compressed as its extensions say: `asc`, `blf`, else candump; and `gz`, `zst`. An
    /// existing file is replaced.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, LogError> {
        let name = path.display().to_string();
        let failed = |source| LogError::Open { name: name.clone(), source };
        let compression = Compression::of(path);
        let inner = if compression == Compression::Plain { path.to_owned() } else { path.with_extension("") };
        let form = match inner.extension().and_then(|extension| extension.to_str()) {
            Some("asc") => Form::Asc(AscWriter::default(), Channels::default()),
            Some("blf") => Form::Blf(BlfWriter::default(), Channels::default()),
            _ => Form::Candump,
        };
        let file = File::create(path).map_err(failed)?;
        let again = match &form {
            Form::Blf(..) if compression == Compression::Plain => Some(file.try_clone().map_err(failed)?),
            _ => None,
        };
        let mut writer = Self::to_writer(&name, file, compression);
        (writer.form, writer.file) = (form, again);
        Ok(writer)
    }

    /// Writes candump to anything. `name` is for errors.
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
        Self { name: name.to_owned(), sink: Some(sink), form: Form::Candump, file: None, line: Vec::new() }
    }

    /// The format that is written.
    pub fn format(&self) -> Format {
        match self.form {
            Form::Candump => Format::Candump,
            Form::Asc(..) => Format::Asc,
            Form::Blf(..) => Format::Blf,
        }
    }

    /// The buses so far, in the order of their first frames, and their channels in the file. `can0` is channel 1 and so on,
    /// where that is free; others take the first that is. candump has names instead.
    pub fn channels(&self) -> &[(String, u16)] {
        match &self.form {
            Form::Candump => &[],
            Form::Asc(_, channels) | Form::Blf(_, channels) => &channels.0,
        }
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
        let result = match &mut self.form {
            Form::Candump => candump_line(&mut self.line, bus, frame),
            Form::Asc(asc, channels) => asc.frame(&mut self.line, channels.of(bus), frame),
            Form::Blf(blf, channels) => blf.frame(&mut self.line, channels.of(bus), frame),
        };
        let result = result.and_then(|()| self.pass_on());
        self.told(result)
    }

    /// Hands everything written so far to the system. For zstd this ends a frame, for BLF a container: often is costly.
    ///
    /// # Errors
    /// When writing fails.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.line.clear();
        let result = match &mut self.form {
            Form::Blf(blf, _) => blf.flush(&mut self.line).and_then(|()| self.pass_on()),
            Form::Candump | Form::Asc(..) => Ok(()),
        };
        let result = result.and_then(|()| self.sink.as_mut().map_or(Ok(()), Sink::flush));
        self.told(result)
    }

    /// Writes what is left and ends the compressed stream.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<(), LogError> {
        let result = self.end();
        self.told(result)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(sink) = self.sink.as_mut() else { return Ok(()) };
        self.line.clear();
        match &mut self.form {
            Form::Candump => {}
            Form::Asc(asc, _) => asc.finish(&mut self.line)?,
            Form::Blf(blf, _) => blf.finish(&mut self.line)?,
        }
        sink.write(&self.line)?;
        if let Some(sink) = self.sink.take() {
            sink.finish()?;
        }
        if let (Form::Blf(blf, _), Some(mut file)) = (&self.form, self.file.take()) {
            let mut header = [0; blf::HEADER];
            blf.header(&mut header);
            file.rewind()?;
            file.write_all(&header)?;
        }
        Ok(())
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.write(&self.line))
    }

    fn told(&self, result: io::Result<()>) -> Result<(), LogError> {
        result.map_err(|source| LogError::Write { name: self.name.clone(), source })
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // There is no one left to tell.
        let _ = self.end();
    }
}

/// Numbers of buses, where a format has no names.
#[derive(Debug, Default)]
struct Channels(Vec<(String, u16)>);

impl Channels {
    fn of(&mut self, bus: &str) -> u16 {
        if let Some((_, number)) = self.0.iter().find(|(name, _)| name == bus) {
            return *number;
        }
        let is_free = |number: &u16| self.0.iter().all(|(_, taken)| taken != number);
        let own = bus.strip_prefix("can").and_then(|number| number.parse::<u8>().ok());
        let own = own.map(|number| u16::from(number) + 1).filter(is_free);
        let number = own.or_else(|| (1..u16::MAX).find(is_free)).unwrap_or(u16::MAX);
        self.0.push((bus.to_owned(), number));
        number
    }
}

/// Appends a frame as a line of a candump log, with its line end: what [`LogWriter`] writes. Times have microseconds, or
/// nanoseconds where those differ.
///
/// # Errors
/// None in practice: memory takes it.
pub fn candump_line(line: &mut Vec<u8>, bus: &str, frame: &Frame) -> io::Result<()> {
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

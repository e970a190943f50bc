//! [`LogReader`]: frames of a recording, one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::asc::Asc;
use super::blf::{Blf, Step};
use super::buses::{Buses, MAX_BUSES};
use super::candump::parse_line;
use super::detect::detect;
use super::input::decompress;
use super::trc::Trc;
use super::{BadLine, BadLines, BusName, Fault, Format, LogError, MAX_LINE, Options, Place, Record};
use crate::frame::Frame;

/// Reads the frames of a recording, whatever its format, plain or compressed; see the [module](super).
///
/// An iterator that ends after the last frame or the first error.
pub struct LogReader {
    name: String,
    source: Source,
    tolerant: bool,
    buses: Buses,
    bad: BadLines,
    other: u64,
    done: bool,
}

enum Source {
    Text(Text),
    Blf(Box<Blf>),
}

/// A text, line by line.
struct Text {
    input: BufReader<Box<dyn Read + Send>>,
    /// A line that reaches over the end of the input's buffer. Never longer than [`MAX_LINE`] and a byte.
    partial: Vec<u8>,
    line: u64,
    dialect: Dialect,
}

enum Dialect {
    Candump,
    Asc(Asc),
    Trc(Trc),
}

/// What was found, before it is known what to do about it.
enum Found {
    Frame(Frame),
    TooManyBuses(Place),
    Nothing,
    Other,
    Bad(BadLine),
    End,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader")
            .field("name", &self.name)
            .field("format", &self.format())
            .field("lines", &self.lines())
            .field("buses", &self.buses())
            .finish_non_exhaustive()
    }
}

impl LogReader {
    /// Opens a recording; `-` is standard input. The first bytes tell its format and whether it is compressed, not the
    /// name.
    ///
    /// # Errors
    /// When it cannot be opened or its first bytes cannot be read, or the options name more than 255 buses.
    pub fn open(path: &Path, options: Options) -> Result<Self, LogError> {
        if path.as_os_str() == "-" {
            return Self::from_reader("standard input", io::stdin(), options);
        }
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::from_reader(&name, file, options),
            Err(source) => Err(LogError::Open { name, source }),
        }
    }

    /// Reads a recording from anywhere. `name` is for errors.
    ///
    /// # Errors
    /// As for [`LogReader::open`].
    pub fn from_reader(name: &str, source: impl Read + Send + 'static, options: Options) -> Result<Self, LogError> {
        let name = name.to_owned();
        let Options { tolerant, buses, utc_offset } = options;
        if buses.len() > MAX_BUSES {
            return Err(LogError::TooManyConfigured { name, count: buses.len() });
        }
        let open = || -> io::Result<Source> {
            let (format, input) = detect(decompress(source)?)?;
            let input = BufReader::with_capacity(64 * 1024, input);
            let dialect = match format {
                Format::Candump => Dialect::Candump,
                Format::Asc => Dialect::Asc(Asc::new(utc_offset)),
                Format::Trc => Dialect::Trc(Trc::new(utc_offset)),
                Format::Blf => return Ok(Source::Blf(Box::new(Blf::new(input, utc_offset)?))),
            };
            let partial = Vec::with_capacity(MAX_LINE + 1);
            Ok(Source::Text(Text { input, partial, line: 0, dialect }))
        };
        match open() {
            Ok(source) => {
                let buses = Buses::new(buses);
                Ok(Self { name, source, tolerant, buses, bad: BadLines::default(), other: 0, done: false })
            }
            Err(source) => Err(LogError::Open { name, source }),
        }
    }

    /// The format that was found.
    pub fn format(&self) -> Format {
        match &self.source {
            Source::Text(text) => match text.dialect {
                Dialect::Candump => Format::Candump,
                Dialect::Asc(_) => Format::Asc,
                Dialect::Trc(_) => Format::Trc,
            },
            Source::Blf(_) => Format::Blf,
        }
    }

    /// False while the recording has not told when it started: its times count from 1970 then. To be asked once frames
    /// were read, as it is told before them.
    pub fn dated(&self) -> bool {
        match &self.source {
            Source::Text(text) => match &text.dialect {
                Dialect::Candump => true,
                Dialect::Asc(asc) => asc.dated(),
                Dialect::Trc(trc) => trc.dated(),
            },
            Source::Blf(blf) => blf.dated(),
        }
    }

    /// Names of the buses; a [`crate::BusId`] is a place in this slice. Grows as the log is read.
    pub fn buses(&self) -> &[String] {
        self.buses.names()
    }

    /// The lines or objects that were skipped so far because they cannot be read. Empty for a strict reader.
    pub fn bad_lines(&self) -> &BadLines {
        &self.bad
    }

    /// Events so far that are not frames of a CAN bus: statistics, variables, other buses, requests to send.
    pub fn other_events(&self) -> u64 {
        self.other
    }

    /// Lines read so far; of a BLF file, objects.
    pub fn lines(&self) -> u64 {
        match &self.source {
            Source::Text(text) => text.line,
            Source::Blf(blf) => blf.objects(),
        }
    }

    /// Reads on to the next frame; `None` at the end of the log.
    fn read(&mut self) -> Result<Option<Frame>, LogError> {
        loop {
            let found = match &mut self.source {
                Source::Text(text) => text.next(&mut self.buses),
                Source::Blf(blf) => next_object(blf, &mut self.buses),
            };
            match found {
                Ok(Found::Frame(frame)) => return Ok(Some(frame)),
                Ok(Found::Nothing) => {}
                Ok(Found::Other) => self.other += 1,
                Ok(Found::Bad(bad)) if self.tolerant => self.bad.add(bad),
                Ok(Found::Bad(BadLine { place, fault })) => {
                    return Err(LogError::Malformed { name: self.name.clone(), format: self.format(), place, fault });
                }
                Ok(Found::TooManyBuses(place)) => {
                    return Err(LogError::TooManyBuses { name: self.name.clone(), format: self.format(), place });
                }
                Ok(Found::End) => return Ok(None),
                Err(source) => {
                    let (name, format, records) = (self.name.clone(), self.format(), self.lines());
                    return Err(LogError::Read { name, format, records, source });
                }
            }
        }
    }
}

/// A frame that knows its bus.
fn on_bus(bus: BusName<'_>, mut frame: Frame, buses: &mut Buses, place: impl FnOnce() -> Place) -> Found {
    match buses.number(bus) {
        Some(number) => {
            frame.bus = number;
            Found::Frame(frame)
        }
        None => Found::TooManyBuses(place()),
    }
}

fn next_object(blf: &mut Blf, buses: &mut Buses) -> io::Result<Found> {
    Ok(match blf.step()? {
        Step::Frame(bus, frame) => on_bus(bus, frame, buses, || blf.place()),
        Step::Other => Found::Other,
        Step::Bad(fault) => Found::Bad(BadLine { place: blf.place(), fault }),
        Step::End => Found::End,
    })
}

impl Text {
    /// Reads a line, or a piece of one.
    fn next(&mut self, buses: &mut Buses) -> io::Result<Found> {
        let buffer = match self.input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let end_of_log = buffer.is_empty();
        let newline = memchr::memchr(b'\n', buffer);
        let used = newline.map_or(buffer.len(), |at| at + 1);
        let part = &buffer[..newline.unwrap_or(buffer.len())];
        let whole = newline.is_some() && self.partial.is_empty();
        if !whole {
            // One byte over the limit is enough to know that the line is too long.
            let room = (MAX_LINE + 1).saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&part[..part.len().min(room)]);
            if end_of_log && self.partial.is_empty() {
                return Ok(Found::End);
            }
            if newline.is_none() && !end_of_log {
                self.input.consume(used);
                return Ok(Found::Nothing);
            }
        }
        self.line += 1;
        let text = if whole { part } else { &self.partial };
        let fits = text.len() <= MAX_LINE;
        let result = match &mut self.dialect {
            Dialect::Asc(asc) => asc.line(&text[..text.len().min(MAX_LINE)], fits),
            _ if !fits => Err((Fault::TooLong, MAX_LINE + 1)),
            Dialect::Candump => parse_line(text),
            Dialect::Trc(trc) => trc.line(text),
        };
        let line = self.line;
        let found = match result {
            Ok(Record::Frame(bus, frame)) => on_bus(bus, frame, buses, || Place::Line { line, column: 1 }),
            Ok(Record::Nothing) => Found::Nothing,
            Ok(Record::Other) => Found::Other,
            Err((fault, column)) => Found::Bad(BadLine { place: Place::Line { line, column }, fault }),
        };
        self.input.consume(used);
        self.partial.clear();
        Ok(found)
    }
}

impl Iterator for LogReader {
    type Item = Result<Frame, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let result = self.read().transpose();
        self.done = !matches!(result, Some(Ok(_)));
        result
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;

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
    Candump(Text),
    Asc(Text, Asc),
    Trc(Text, Trc),
    Blf(Box<Blf>),
}

/// A text, line by line.
struct Text {
    input: BufReader<Box<dyn Read + Send>>,
    /// A line that reaches over the end of the input's buffer. Never longer than [`MAX_LINE`] and a byte.
    partial: Vec<u8>,
    line: u64,
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
            let text = |input| Text { input, partial: Vec::with_capacity(MAX_LINE + 1), line: 0 };
            Ok(match format {
                Format::Candump => Source::Candump(text(input)),
                Format::Asc => Source::Asc(text(input), Asc::new(utc_offset)),
                Format::Trc => Source::Trc(text(input), Trc::new(utc_offset)),
                Format::Blf => Source::Blf(Box::new(Blf::new(input, utc_offset)?)),
            })
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
            Source::Candump(_) => Format::Candump,
            Source::Asc(..) => Format::Asc,
            Source::Trc(..) => Format::Trc,
            Source::Blf(_) => Format::Blf,
        }
    }

    /// False while the recording has not told when it started: its times count from 1970 then. To be asked once frames
    /// were read, as it is told before them.
    pub fn dated(&self) -> bool {
        match &self.source {
            Source::Candump(_) => true,
            Source::Asc(_, asc) => asc.dated(),
            Source::Trc(_, trc) => trc.dated(),
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
            Source::Candump(text) | Source::Asc(text, _) | Source::Trc(text, _) => text.line,
            Source::Blf(blf) => blf.objects(),
        }
    }

    /// Reads on to the next frame; `None` at the end of the log.
    ///
    /// All in one with what it calls: a frame that is handed from function to function is copied each time, half as
    /// slow again for candump.
    #[inline(always)]
    fn read(&mut self) -> Result<Option<Frame>, LogError> {
        loop {
            let found = match &mut self.source {
                Source::Candump(text) => {
                    match text.next(&mut self.buses, |line, fits| if fits { parse_line(line) } else { TOO_LONG }) {
                        // Replay lives of these: a frame that takes the way of the others is moved three times more.
                        Ok(Found::Frame(frame)) => return Ok(Some(frame)),
                        found => found,
                    }
                }
                Source::Asc(text, asc) => text.next(&mut self.buses, |line, fits| asc.line(line, fits)),
                Source::Trc(text, trc) => {
                    text.next(&mut self.buses, |line, fits| if fits { trc.line(line) } else { TOO_LONG })
                }
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

type Parsed<'a> = Result<Record<'a>, (Fault, usize)>;

/// What there is to say of a line of which not all is here.
const TOO_LONG: Parsed<'static> = Err((Fault::TooLong, MAX_LINE + 1));

/// A frame that knows its bus.
#[inline(always)]
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
    /// Reads a line, or a piece of one. `parse` gets at most [`MAX_LINE`] bytes, and whether that is all.
    #[inline(always)]
    fn next(
        &mut self,
        buses: &mut Buses,
        parse: impl for<'a> FnOnce(&'a [u8], bool) -> Parsed<'a>,
    ) -> io::Result<Found> {
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
        let line = self.line;
        let found = match parse(&text[..text.len().min(MAX_LINE)], text.len() <= MAX_LINE) {
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

//! [`LogReader`]: frames of a log, one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::input::decompress;
use super::line::{Fault, parse_line};
use super::{LogError, MAX_LINE};
use crate::frame::{BusId, Frame};

/// Bad lines that are kept with their place; all are counted.
const KEPT: usize = 10;
/// Numbers of buses are bytes; one is left for "none".
const MAX_BUSES: usize = 255;

/// How a log is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Skip and count lines that cannot be parsed instead of failing on the first.
    pub tolerant: bool,
    /// Names of buses that get the numbers from 0 on; others get the next ones as they appear.
    pub buses: Vec<String>,
}

/// A line that was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLine {
    /// Line from 1.
    pub line: u64,
    /// Column in bytes from 1.
    pub column: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// The lines that a tolerant reader skipped.
#[derive(Debug, Clone, Default)]
pub struct BadLines {
    first: Vec<BadLine>,
    counts: [u64; Fault::ALL.len()],
}

impl BadLines {
    /// The first ten.
    pub fn first(&self) -> &[BadLine] {
        &self.first
    }

    /// How many had this fault.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts[fault.index()]
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, bad: BadLine) {
        self.counts[bad.fault.index()] += 1;
        if self.first.len() < KEPT {
            self.first.push(bad);
        }
    }
}

/// Reads the frames of a candump log, plain or compressed; see the [module](super).
///
/// An iterator that ends after the last frame or the first error.
pub struct LogReader {
    name: String,
    input: BufReader<Box<dyn Read + Send>>,
    tolerant: bool,
    buses: Vec<String>,
    /// The bus of the last frame: mostly also that of the next.
    last_bus: usize,
    /// A line that reaches over the end of the input's buffer. Never longer than [`MAX_LINE`].
    partial: Vec<u8>,
    line: u64,
    bad: BadLines,
    done: bool,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader")
            .field("name", &self.name)
            .field("line", &self.line)
            .field("buses", &self.buses)
            .finish_non_exhaustive()
    }
}

impl LogReader {
    /// Opens a log; `-` is standard input. The first bytes tell whether it is compressed, not the name.
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

    /// Reads a log from anywhere. `name` is for errors.
    ///
    /// # Errors
    /// As for [`LogReader::open`].
    pub fn from_reader(name: &str, source: impl Read + Send + 'static, options: Options) -> Result<Self, LogError> {
        let name = name.to_owned();
        if options.buses.len() > MAX_BUSES {
            return Err(LogError::TooManyBuses { name, line: 0 });
        }
        let input = match decompress(source) {
            Ok(input) => BufReader::with_capacity(64 * 1024, input),
            Err(source) => return Err(LogError::Open { name, source }),
        };
        Ok(Self {
            name,
            input,
            tolerant: options.tolerant,
            buses: options.buses,
            last_bus: 0,
            partial: Vec::with_capacity(MAX_LINE + 1),
            line: 0,
            bad: BadLines::default(),
            done: false,
        })
    }

    /// Names of the buses; a [`BusId`] is a place in this slice. Grows as the log is read.
    pub fn buses(&self) -> &[String] {
        &self.buses
    }

    /// The lines that were skipped so far. Empty for a strict reader.
    pub fn bad_lines(&self) -> &BadLines {
        &self.bad
    }

    /// Lines read so far.
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// Reads on to the next frame; `None` at the end of the log.
    fn read(&mut self) -> Result<Option<Frame>, LogError> {
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(LogError::Read { name: self.name.clone(), line: self.line, source }),
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
                    return Ok(None);
                }
                if newline.is_none() && !end_of_log {
                    self.input.consume(used);
                    continue;
                }
            }
            self.line += 1;
            let text = if whole { part } else { &self.partial };
            let result = if text.len() > MAX_LINE { Err((Fault::TooLong, MAX_LINE + 1)) } else { parse_line(text) };
            let outcome = match result {
                Ok(None) => Ok(None),
                Ok(Some(line)) => match intern(&mut self.buses, &mut self.last_bus, line.bus) {
                    Some(bus) => {
                        let mut frame = line.frame;
                        frame.bus = bus;
                        Ok(Some(frame))
                    }
                    None => Err(LogError::TooManyBuses { name: self.name.clone(), line: self.line }),
                },
                Err((fault, column)) if self.tolerant => {
                    self.bad.add(BadLine { line: self.line, column, fault });
                    Ok(None)
                }
                Err((fault, column)) => Err(LogError::Line { name: self.name.clone(), line: self.line, column, fault }),
            };
            self.input.consume(used);
            self.partial.clear();
            if let Some(frame) = outcome? {
                return Ok(Some(frame));
            }
        }
    }
}

/// The number of a bus; `None` when there are too many.
fn intern(buses: &mut Vec<String>, last: &mut usize, name: &str) -> Option<BusId> {
    if buses.get(*last).is_none_or(|bus| bus != name) {
        *last = match buses.iter().position(|bus| bus == name) {
            Some(known) => known,
            None if buses.len() == MAX_BUSES => return None,
            None => {
                buses.push(name.to_owned());
                buses.len() - 1
            }
        };
    }
    u8::try_from(*last).ok().map(BusId)
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

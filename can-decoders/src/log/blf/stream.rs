//! The contents of a file's containers, put together, through a window of fixed size.

use std::io::{self, BufRead, BufReader, Read};

use flate2::{Decompress, FlushDecompress, Status};

use super::{BASE_HEADER, MAGIC, MAX_PADDING, array, cut, read_up_to};
use crate::log::Fault;

/// Bytes that are inflated at a time. Far more than the part of an object that is looked at.
const WINDOW: usize = 64 * 1024;

const CONTAINER: u32 = 10;
/// A container's own header, after the base header: method, six reserved bytes, inflated size, four reserved bytes.
const CONTAINER_HEADER: usize = 16;
const STORED: u16 = 0;
const DEFLATED: u16 = 2;

/// What [`Stream::fill`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are more bytes than before.
    More,
    /// There will be no more.
    End,
    /// Bytes are missing here: a container is damaged. There may be more behind it.
    Damaged(Fault),
}

/// Where in the file.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Before a top-level object; with how many bytes may be passed over to find it: padding, or all when seeking.
    Between { seeking: bool },
    /// In a stored container, or in an object that is in none. `left` bytes of it are still to be read.
    Stored { left: u64 },
    /// In a deflated container that is to give `expected` more bytes.
    Deflated { left: u64, expected: u64 },
    /// Damage is to be told when what was inflated has been used.
    Damaged { left: u64 },
    /// At the end of a container of which some bytes mean nothing.
    Rest { left: u64 },
}

pub(super) struct Stream {
    input: BufReader<Box<dyn Read + Send>>,
    inflate: Decompress,
    state: State,
    window: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes before `start`, all in all.
    passed: u64,
}

impl Stream {
    /// `seeking`: the first object may be anywhere.
    pub(super) fn new(input: BufReader<Box<dyn Read + Send>>, seeking: bool) -> Self {
        Self {
            input,
            inflate: Decompress::new(true),
            state: State::Between { seeking },
            window: vec![0; WINDOW].into(),
            start: 0,
            end: 0,
            passed: 0,
        }
    }

    /// What is here.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.window[self.start..self.end]
    }

    /// Bytes before what is here.
    pub(super) fn offset(&self) -> u64 {
        self.passed
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.passed += count as u64;
    }

    /// Adds to what is here. There must be room: callers ask for less than the window.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        // Little is left where more is wanted.
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let before = self.end;
        loop {
            match self.state {
                State::Between { seeking } => match self.next_object(seeking)? {
                    Some(Filled::More) if self.end == before => {}
                    Some(filled) => return Ok(filled),
                    None => return Ok(Filled::End),
                },
                State::Stored { left: 0 } | State::Rest { left: 0 } => self.state = State::Between { seeking: false },
                State::Stored { left } => {
                    let room = (WINDOW - self.end).min(usize::try_from(left).unwrap_or(WINDOW));
                    let count = match self.input.read(&mut self.window[self.end..self.end + room]) {
                        Ok(0) => return Err(cut("a container")),
                        Ok(count) => count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => return Err(error),
                    };
                    self.end += count;
                    self.state = State::Stored { left: left - count as u64 };
                    return Ok(Filled::More);
                }
                State::Deflated { left, expected } => {
                    self.state = self.inflate(left, expected)?;
                    if self.end > before {
                        return Ok(Filled::More);
                    }
                }
                State::Damaged { left } => {
                    self.state = State::Rest { left };
                    return Ok(Filled::Damaged(Fault::Container));
                }
                State::Rest { left } => {
                    let passed = io::copy(&mut self.input.by_ref().take(left), &mut io::sink())?;
                    if passed < left {
                        return Err(cut("a container"));
                    }
                    self.state = State::Between { seeking: false };
                }
            }
        }
    }

    /// One piece of a container; the state after it.
    fn inflate(&mut self, left: u64, expected: u64) -> io::Result<State> {
        let input = loop {
            match self.input.fill_buf() {
                Ok(_) => break self.input.buffer(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if input.is_empty() && left > 0 {
            return Err(cut("a container"));
        }
        let input = &input[..input.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let room = (WINDOW - self.end).min(usize::try_from(expected).unwrap_or(WINDOW));
        // More than what is stated goes here, to be seen.
        let mut excess = [0];
        let output = if room == 0 { &mut excess[..] } else { &mut self.window[self.end..self.end + room] };
        let (read_before, written_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, output, FlushDecompress::None);
        let read = self.inflate.total_in() - read_before;
        let written = self.inflate.total_out() - written_before;
        let Ok(status) = status else { return Ok(State::Damaged { left }) };
        self.input.consume(usize::try_from(read).unwrap_or(0));
        let left = left - read;
        if room == 0 && written > 0 {
            return Ok(State::Damaged { left });
        }
        self.end += usize::try_from(written).unwrap_or(0);
        let expected = expected - written;
        Ok(match status {
            Status::StreamEnd if expected == 0 => State::Rest { left },
            Status::StreamEnd => State::Damaged { left },
            // It neither took nor gave: it is cut.
            _ if read == 0 && written == 0 => State::Damaged { left },
            _ => State::Deflated { left, expected },
        })
    }

    /// Reads the headers of the next top-level object. `None` at the end of the file, `More` when the state says how to
    /// go on.
    fn next_object(&mut self, seeking: bool) -> io::Result<Option<Filled>> {
        let mut header = [0; BASE_HEADER];
        let mut have = read_up_to(&mut self.input, &mut header[..MAGIC.len()])?;
        let mut passed = 0;
        while have == MAGIC.len() && !header.starts_with(MAGIC) {
            if !seeking && passed == MAX_PADDING {
                self.state = State::Between { seeking: true };
                return Ok(Some(Filled::Damaged(Fault::Container)));
            }
            header.copy_within(1..MAGIC.len(), 0);
            have -= 1;
            have += read_up_to(&mut self.input, &mut header[have..MAGIC.len()])?;
            passed += 1;
        }
        if have < MAGIC.len() {
            // Padding at the end, or the end of what was sought.
            let padding = header[..have].iter().all(|byte| *byte == 0);
            return if padding || seeking { Ok(None) } else { Err(cut("a container's header")) };
        }
        if read_up_to(&mut self.input, &mut header[MAGIC.len()..])? < BASE_HEADER - MAGIC.len() {
            return Err(cut("a container's header"));
        }
        let (size, kind) = (u64::from(u32::from_le_bytes(array(&header, 8))), u32::from_le_bytes(array(&header, 12)));
        let headers = if kind == CONTAINER { BASE_HEADER + CONTAINER_HEADER } else { BASE_HEADER };
        let Some(left) = size.checked_sub(headers as u64) else {
            self.state = State::Between { seeking: true };
            return Ok(Some(if seeking { Filled::More } else { Filled::Damaged(Fault::Container) }));
        };
        if kind != CONTAINER {
            // An object outside of containers, as very old files have them: it is its own content.
            self.window[self.end..self.end + BASE_HEADER].copy_from_slice(&header);
            self.end += BASE_HEADER;
            self.state = State::Stored { left };
            return Ok(Some(Filled::More));
        }
        let mut own = [0; CONTAINER_HEADER];
        if read_up_to(&mut self.input, &mut own)? < CONTAINER_HEADER {
            return Err(cut("a container's header"));
        }
        self.state = match u16::from_le_bytes(array(&own, 0)) {
            STORED => State::Stored { left },
            DEFLATED => {
                self.inflate.reset(true);
                State::Deflated { left, expected: u64::from(u32::from_le_bytes(array(&own, 8))) }
            }
            _ => State::Damaged { left },
        };
        Ok(Some(Filled::More))
    }
}

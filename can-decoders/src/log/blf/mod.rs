//! Vector's binary format (CANoe, CANalyzer, loggers, and most of what records for them).
//!
//! A file is a header and a sequence of *objects*. Each has a base header of 16 bytes, little-endian: `LOBJ`, the size
//! and version of its header, its own size, its type. At the top level they are *containers*, whose content is deflated
//! or stored; the contents of all containers, put together, are again a sequence of objects, which are the events. So
//! an object may begin in one container and end in the next. Objects are followed by padding whose rule is not the same
//! for all writers (usually its size modulo 4 bytes, sometimes none): the next one begins with the next `LOBJ`, at most
//! four bytes on.
//!
//! There is no specification; the layouts here are those of `binlog_objects.h`, as python-can and Wireshark read them.
//!
//! The constraint is that sizes in the file cannot be trusted, and that files of a recorder that lost its power have no
//! totals in their header. So the totals are not used; a container is inflated piece by piece through a window of
//! fixed size, whatever size it states; and of an object no more is kept than its first bytes, which have all that a
//! frame needs. What is longer (texts, Ethernet frames) is passed over as it is inflated.
//!
//! Recovery, when reading tolerantly: a damaged object is one fault, and reading goes on at the next `LOBJ` with a
//! possible header. A damaged container is one fault; what was inflated of it before is used, and reading goes on with
//! the next container. Its last object is incomplete then, and the first of the next one perhaps, too. A file that ends
//! within a container or an object is an error also when reading tolerantly, as with damaged gzip: what came before is
//! good.
//!
//! Times are relative to the start in the header, a SYSTEMTIME. Vector means local time; python-can takes it for UTC, as
//! it is here unless told otherwise.

mod object;
mod stream;
mod writer;

use std::io::{self, BufRead, BufReader, Read};

use self::object::Decoded;
use self::stream::{Filled, Stream};
use super::date::{self, UtcOffset};
use super::{BusName, Fault, Place};
use crate::frame::Frame;

pub(super) use self::writer::{BlfWriter, HEADER};

/// What files and objects begin with.
pub(super) const FILE_MAGIC: &[u8; 4] = b"LOGG";
const MAGIC: &[u8; 4] = b"LOBJ";

/// The base header of an object.
const BASE_HEADER: usize = 16;

/// The largest header of an object that is believed, in bytes: there are 16, 32 and 40.
const MAX_OBJECT_HEADER: usize = 64;

/// Bytes of an object that are looked at: the fields of a frame and 64 bytes of data end before this.
const HEAD: usize = 256;

/// Padding between objects that is accepted.
const MAX_PADDING: usize = 4;

/// The largest object that is believed, in bytes. Texts and test reports have megabytes; the size of a damaged object
/// may be anything and must not swallow the rest of the file.
const MAX_OBJECT: u32 = 16 * 1024 * 1024;

/// The file's header, up to the start and with all of it.
const HEADER_FIELDS: usize = 72;
const MAX_HEADER: u64 = 4096;

/// What a step of reading found.
#[derive(Debug)]
pub(super) enum Step {
    Frame(BusName<'static>, Frame),
    Other,
    Bad(Fault),
    End,
}

/// Reads the objects of a file.
pub(super) struct Blf {
    stream: Stream,
    /// Nanoseconds since the epoch.
    start_ns: i64,
    dated: bool,
    /// What is wrong with the file's header, until it was told.
    header_fault: Option<Fault>,
    /// Bytes of the last object that are still to be passed over.
    skip: u64,
    /// The next object is to be looked for: what is here is damage that was told.
    seeking: bool,
    objects: u64,
    /// Where the last object began.
    offset: u64,
}

impl Blf {
    /// Reads the file's header.
    pub(super) fn new(mut input: BufReader<Box<dyn Read + Send>>, zone: UtcOffset) -> io::Result<Self> {
        let mut header = [0; HEADER_FIELDS];
        if read_up_to(&mut input, &mut header)? < HEADER_FIELDS {
            return Err(cut("its header"));
        }
        let size = u64::from(u32::from_le_bytes(array(&header, 4)));
        let mut header_fault = None;
        if (HEADER_FIELDS as u64..=MAX_HEADER).contains(&size) {
            let rest = size - HEADER_FIELDS as u64;
            if io::copy(&mut input.by_ref().take(rest), &mut io::sink())? < rest {
                return Err(cut("its header"));
            }
        } else {
            header_fault = Some(Fault::Header);
        }
        // Year, month, day of the week, day, hour, minute, second, millisecond.
        let fields: [u32; 8] = std::array::from_fn(|n| u16::from_le_bytes(array(&header, 40 + 2 * n)).into());
        let [year, month, _, day, hour, minute, second, millisecond] = fields;
        let dated = fields.iter().any(|field| *field != 0);
        let start =
            date::moment([year, month, day], [hour, minute, second], millisecond.saturating_mul(1_000_000), zone);
        if dated && start.is_none() {
            header_fault = header_fault.or(Some(Fault::Date));
        }
        let start_ns = start.unwrap_or(0);
        let stream = Stream::new(input, header_fault == Some(Fault::Header));
        Ok(Self {
            stream,
            start_ns,
            dated: dated && start.is_some(),
            header_fault,
            skip: 0,
            seeking: false,
            objects: 0,
            offset: 0,
        })
    }

    pub(super) fn dated(&self) -> bool {
        self.dated
    }

    pub(super) fn objects(&self) -> u64 {
        self.objects
    }

    /// Where the last object began.
    pub(super) fn place(&self) -> Place {
        Place::Object { object: self.objects, offset: self.offset }
    }

    /// The next object.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        if let Some(fault) = self.header_fault.take() {
            return Ok(Step::Bad(fault));
        }
        if let Some(fault) = self.pass_over()? {
            return Ok(Step::Bad(fault));
        }
        loop {
            // With padding.
            match self.ensure(MAX_PADDING + BASE_HEADER)? {
                Filled::Damaged(fault) => return Ok(self.damaged(fault)),
                Filled::End if self.stream.bytes().iter().all(|byte| *byte == 0) => return Ok(Step::End),
                Filled::End | Filled::More => {}
            }
            let bytes = self.stream.bytes();
            let limit = if self.seeking { bytes.len() } else { bytes.len().min(MAX_PADDING + MAGIC.len()) };
            self.offset = self.stream.offset();
            match memchr::memmem::find(&bytes[..limit], MAGIC) {
                Some(at) => {
                    self.stream.consume(at);
                    self.offset = self.stream.offset();
                    if self.stream.bytes().len() >= BASE_HEADER || self.ensure(BASE_HEADER)? == Filled::More {
                        if let Some(step) = self.object()? {
                            return Ok(step);
                        }
                    } else if self.seeking {
                        return Ok(Step::End);
                    } else {
                        return Err(cut("an object's header"));
                    }
                }
                None if self.seeking => {
                    // The magic may begin at the end of what is here.
                    self.stream.consume(bytes.len().saturating_sub(MAGIC.len() - 1));
                    if self.stream.bytes().len() < MAGIC.len() && self.ensure(MAGIC.len())? == Filled::End {
                        return Ok(Step::End);
                    }
                }
                None if bytes.len() < BASE_HEADER => return Err(cut("an object's header")),
                None => {
                    self.seeking = true;
                    return Ok(Step::Bad(Fault::Object));
                }
            }
        }
    }

    /// The object that begins here; `None` when none does, and that was told.
    fn object(&mut self) -> io::Result<Option<Step>> {
        let bytes = self.stream.bytes();
        let header_size = usize::from(u16::from_le_bytes(array(bytes, 4)));
        let (size, kind) = (u32::from_le_bytes(array(bytes, 8)), u32::from_le_bytes(array(bytes, 12)));
        let header_fits = (BASE_HEADER..=MAX_OBJECT_HEADER).contains(&header_size);
        if !header_fits || size > MAX_OBJECT || u64::from(size) < header_size as u64 {
            // Not where the size says, as that is in doubt, but after this magic.
            self.stream.consume(MAGIC.len());
            let known = std::mem::replace(&mut self.seeking, true);
            return Ok((!known).then_some(Step::Bad(Fault::Object)));
        }
        self.seeking = false;
        self.objects += 1;
        if !object::is_frame(kind) {
            self.skip = u64::from(size);
            return Ok(Some(Step::Other));
        }
        let head = HEAD.min(usize::try_from(size).unwrap_or(HEAD));
        match self.ensure(head)? {
            Filled::Damaged(fault) => return Ok(Some(self.damaged(fault))),
            Filled::End if self.stream.bytes().len() < head => return Err(cut("an object")),
            Filled::End | Filled::More => {}
        }
        let decoded = object::decode(kind, &self.stream.bytes()[..head], self.start_ns);
        self.skip = u64::from(size);
        Ok(Some(match decoded {
            Ok(Decoded::Frame(channel, frame)) => Step::Frame(BusName::Channel(channel), frame),
            Ok(Decoded::Other) => Step::Other,
            Err(fault) => Step::Bad(fault),
        }))
    }

    /// Passes over what is left of the last object.
    fn pass_over(&mut self) -> io::Result<Option<Fault>> {
        while self.skip > 0 {
            let here = self.stream.bytes().len();
            let count = usize::try_from(self.skip).unwrap_or(usize::MAX).min(here);
            self.stream.consume(count);
            self.skip -= count as u64;
            if self.skip == 0 {
                break;
            }
            match self.stream.fill()? {
                Filled::More => {}
                Filled::End => return Err(cut("an object")),
                Filled::Damaged(fault) => {
                    self.damaged(fault);
                    return Ok(Some(fault));
                }
            }
        }
        Ok(None)
    }

    /// A container is damaged: what is left of its content is a piece of an object.
    fn damaged(&mut self, fault: Fault) -> Step {
        self.skip = 0;
        self.seeking = true;
        self.offset = self.stream.offset();
        self.stream.consume(self.stream.bytes().len());
        Step::Bad(fault)
    }

    /// Sees to it that this many bytes are here.
    fn ensure(&mut self, count: usize) -> io::Result<Filled> {
        while self.stream.bytes().len() < count {
            match self.stream.fill()? {
                Filled::More => {}
                other => return Ok(other),
            }
        }
        Ok(Filled::More)
    }
}

/// Bytes `at..at + N`, which are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

fn cut(within: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the file ends within {within}"))
}

/// Reads up to a buffer's size; less at the end.
fn read_up_to(input: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
#[path = "blf_tests.rs"]
mod tests;

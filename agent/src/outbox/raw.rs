//! Reading a generation from sled's file, without sled.
//!
//! sled is trusted with writing: a batch, flushed and synced, is in the file, each value in one piece and as it is (a test
//! holds it to that). It is not trusted with opening what it finds: it has been seen to come up empty, to panic, and to
//! destroy the file while it mends it. So a generation that this process has not made itself, or does not write any more,
//! is never opened with sled again. Its chunks are found by their magic, wherever sled has put them; the CRCs say which are
//! good, the ordinals of the records whether all are there. Nothing is written, nothing can panic, and an event that was
//! synced is found whatever a power cut has made of what was written after it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::chunk::{self, Chunk};
use super::generation::DATA;
use super::head::Note;
use super::record::{self, Record};
use crate::event::Class;

/// The chunks of a generation, and where they lie.
#[derive(Debug)]
pub(super) struct Raw {
    file: File,
    generation: u32,
    /// Where each chunk lies.
    chunks: BTreeMap<Chunk, u64>,
    ahead: Ahead,
    /// Some blocks could not be read.
    pub(super) has_unreadable: bool,
}

/// Looks for the chunks of the generation in `dir`. Blocks that cannot be read are skipped. `None`: there is no file.
///
/// # Errors
/// When nothing can be read, or nothing any more: then it is the disk that refuses.
pub(super) fn open(dir: &Path, generation: u32) -> io::Result<Option<Raw>> {
    /// A generation of the largest size has fewer.
    const MAX_CHUNKS: usize = 100_000;
    let file = match File::open(dir.join(DATA)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut chunks = BTreeMap::new();
    let finder = memchr::memmem::Finder::new(chunk::MAGIC);
    let mut reader = Blocks { file: &file, failed: None, read: None };
    let mut window: Vec<u8> = Vec::new();
    let mut start = 0_u64;
    loop {
        let more = reader.next(start + window.len() as u64, &mut window)?;
        for at in finder.find_iter(&window) {
            // What is cut off here is whole in the next window.
            if let Some((chunk, _)) = chunk::parse(generation, &window[at..])
                && chunks.len() < MAX_CHUNKS
            {
                chunks.entry(chunk).or_insert(start + at as u64);
            }
        }
        if !more {
            break;
        }
        let done = window.len().saturating_sub(chunk::MOST);
        window.drain(..done);
        start += done as u64;
    }
    let has_unreadable = reader.failed.is_some();
    if let Some(error) = reader.failed {
        // It may have begun to refuse on the way: is what could be read still readable?
        let answers = reader.read.is_some_and(|at| file.read_exact_at(&mut [0], at).is_ok());
        if !answers {
            return Err(error);
        }
    }
    Ok(Some(Raw { file, generation, chunks, ahead: Ahead::default(), has_unreadable }))
}

/// Reads a file block by block; one that cannot be read is all zeros.
struct Blocks<'a> {
    file: &'a File,
    failed: Option<io::Error>,
    /// A place that could be read.
    read: Option<u64>,
}

impl Blocks<'_> {
    /// Appends what is at `from`. False at the end.
    fn next(&mut self, from: u64, to: &mut Vec<u8>) -> io::Result<bool> {
        const LARGE: usize = 256 * 1024;
        const SMALL: usize = 4096;
        let length = self.file.metadata()?.len();
        let before = to.len();
        let wanted = LARGE.min(usize::try_from(length.saturating_sub(from)).unwrap_or(LARGE));
        to.resize(before + wanted, 0);
        let whole = &mut to[before..];
        if self.file.read_exact_at(whole, from).is_ok() {
            self.read = self.read.or((wanted > 0).then_some(from));
            return Ok(wanted > 0);
        }
        for (block, at) in whole.chunks_mut(SMALL).zip((from..).step_by(SMALL)) {
            match self.file.read_exact_at(block, at) {
                Ok(()) => self.read = self.read.or(Some(at)),
                Err(error) => {
                    block.fill(0);
                    self.failed.get_or_insert(error);
                }
            }
        }
        Ok(wanted > 0)
    }
}

/// Stretches of the file that were read last, the latest at the end. sled writes several segments in turn, and the chunks of
/// a record are mostly together.
#[derive(Debug, Default)]
struct Ahead(Vec<(u64, Vec<u8>)>);

impl Ahead {
    /// What is at `at`: a chunk, if there is one.
    fn at(&mut self, file: &File, at: u64) -> io::Result<&[u8]> {
        const STRETCHES: usize = 4;
        const LENGTH: usize = 16 * 1024;
        let holds =
            |(from, bytes): &(u64, Vec<u8>)| *from <= at && at + chunk::MOST as u64 <= from + bytes.len() as u64;
        let stretch = match self.0.iter().position(holds) {
            Some(place) => self.0.remove(place),
            None => {
                let mut bytes = if self.0.len() < STRETCHES { Vec::new() } else { self.0.remove(0).1 };
                bytes.resize(LENGTH, 0);
                // Some of what follows may not be readable.
                let mut read = file.read_at(&mut bytes, at).unwrap_or(0);
                if read < chunk::MOST {
                    read = file.read_at(&mut bytes[..chunk::MOST], at)?;
                }
                bytes.truncate(read);
                (at, bytes)
            }
        };
        self.0.push(stretch);
        let Some((from, bytes)) = self.0.last() else { return Ok(&[]) };
        let rest = usize::try_from(at - from).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
        Ok(&rest[..rest.len().min(chunk::MOST)])
    }
}

impl Raw {
    /// Names of the records, ascending, each once.
    pub(super) fn names(&self) -> Vec<(Class, u64)> {
        let mut names: Vec<_> = self
            .chunks
            .keys()
            .filter_map(|chunk| Some((Class::from_rank(usize::from(chunk.rank))?, chunk.first)))
            .collect();
        names.dedup();
        names
    }

    /// A record, if all its chunks are there. Of two of one name the later.
    ///
    /// # Errors
    /// When what could be read before cannot now. After opening anew it may be there or not.
    pub(super) fn record(&mut self, class: Class, first: u64) -> io::Result<Option<Record>> {
        let mut best: Option<Record> = None;
        for bytes in self.wholes(u8::try_from(class.rank()).unwrap_or(chunk::NOTE), first)? {
            let Some(record) = record::decode(&bytes).filter(|r| r.class == class && r.first() == first) else {
                continue;
            };
            let later = |than: &Record| (record.ordinal, record.last()) > (than.ordinal, than.last());
            if best.as_ref().is_none_or(later) {
                best = Some(record);
            }
        }
        Ok(best)
    }

    /// The notes, the latest first.
    ///
    /// # Errors
    /// As [`Raw::record`].
    pub(super) fn notes(&mut self) -> io::Result<Vec<Note>> {
        let mut numbers: Vec<u64> =
            self.chunks.keys().filter(|chunk| chunk.rank == chunk::NOTE).map(|c| c.first).collect();
        numbers.dedup();
        let mut notes = Vec::new();
        for &first in numbers.iter().rev() {
            notes.extend(self.wholes(chunk::NOTE, first)?.iter().filter_map(|bytes| Note::decode(bytes)));
        }
        Ok(notes)
    }

    fn wholes(&mut self, rank: u8, first: u64) -> io::Result<Vec<Vec<u8>>> {
        let from = Chunk { rank, first, total: 0, crc: 0, place: 0 };
        let to = Chunk { rank, first, total: u32::MAX, crc: u32::MAX, place: u8::MAX };
        let mut starts = self.chunks.range(from..=to).map(|(chunk, _)| *chunk).collect::<Vec<_>>();
        starts.dedup_by_key(|chunk| (chunk.total, chunk.crc));
        starts.into_iter().filter_map(|start| self.whole(start).transpose()).collect()
    }

    fn whole(&mut self, start: Chunk) -> io::Result<Option<Vec<u8>>> {
        let total = usize::try_from(start.total).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        for place in 0..=u8::MAX {
            if bytes.len() >= total {
                break;
            }
            let Some(&at) = self.chunks.get(&Chunk { place, ..start }) else { return Ok(None) };
            match chunk::parse(self.generation, self.ahead.at(&self.file, at)?) {
                Some((_, part)) => bytes.extend_from_slice(part),
                None => return Ok(None),
            }
        }
        Ok(Some(bytes).filter(|bytes| bytes.len() == total))
    }
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;

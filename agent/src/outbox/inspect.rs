//! Looking into the outbox of an agent that does not run: `outrider outbox stat|list|export`.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;

use super::dir::{self, Dir};
use super::generation::Generation;
use super::index::Index;
use super::recover::Survey;
use super::{OutboxError, OutboxStat, record};
use crate::event::Class;

/// One stored batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchInfo {
    /// Class of its events.
    pub class: Class,
    /// Number of the first event.
    pub first_seq: u64,
    /// Number of the last event.
    pub last_seq: u64,
    /// Events.
    pub count: u32,
    /// Bytes of their encodings.
    pub bytes: u32,
}

/// A view of what is stored and not acknowledged. Holds the lock while it lives: no agent can start meanwhile.
pub struct Inspection {
    dir: Dir,
    index: Index,
    next_seq: u64,
    generations: usize,
    unreadable: Vec<(String, String)>,
}

impl Inspection {
    /// Opens the outbox in `path` for looking. Nothing stored is changed, nothing is mended, no gap is explained; sled
    /// itself may tidy up after a crash.
    ///
    /// # Errors
    /// [`OutboxError::Locked`] while an agent runs on it; [`OutboxError::Io`] when no outbox is there or it cannot be
    /// read.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let dir = Dir::lock(path, false)?;
        let mut survey = Survey::take(&dir, false)?;
        survey.newest = None;
        let index = survey.index();
        let last = survey.scans.values().filter_map(|s| s.numbers.last()).max().unwrap_or(0);
        let next_seq = survey.head.as_ref().map_or(0, |h| h.clean.unwrap_or(h.reserved_end)).max(last + 1);
        let name = |id: u32| dir.generation(id).display().to_string();
        let unreadable = survey.unreadable.iter().map(|(&id, reason)| (name(id), reason.clone())).collect();
        Ok(Self { index, next_seq, generations: survey.scans.len(), unreadable, dir })
    }

    /// Numbers. After a crash `next_seq` is the number that the next start would continue with. The quota is not known
    /// here and 0.
    pub fn stat(&self) -> OutboxStat {
        OutboxStat {
            events: self.index.events(),
            disk_bytes: dir::disk_bytes(self.dir.path()),
            quota_bytes: 0,
            generations: self.generations,
            next_seq: self.next_seq,
            lost: 0,
        }
    }

    /// Directories of generations that do not open, with the reason. The agent would try to mend them.
    pub fn unreadable(&self) -> &[(String, String)] {
        &self.unreadable
    }

    /// The stored batches, most important class first, ascending.
    pub fn batches(&self) -> impl Iterator<Item = BatchInfo> + '_ {
        self.index.all().map(|(class, first_seq, entry)| BatchInfo {
            class,
            first_seq,
            last_seq: entry.last,
            count: entry.count,
            bytes: entry.bytes,
        })
    }

    /// Writes all events in order of their numbers as a CBOR sequence; returns how many. Damaged records are left out
    /// with a warning.
    ///
    /// # Errors
    /// When writing fails.
    pub fn export(&self, out: &mut dyn Write) -> std::io::Result<u64> {
        let mut cursors: [Cursor; 5] = std::array::from_fn(|_| Cursor::default());
        let mut open = Vec::new();
        let mut written = 0;
        loop {
            let mut next: Option<(u64, usize)> = None;
            for class in Class::ALL {
                let cursor = &mut cursors[class.rank()];
                cursor.fill(self, class, &mut open);
                if let Some(&(seq, _)) = cursor.events.front()
                    && next.is_none_or(|(least, _)| seq < least)
                {
                    next = Some((seq, class.rank()));
                }
            }
            let Some((_, rank)) = next else { return Ok(written) };
            if let Some((_, encoding)) = cursors[rank].events.pop_front() {
                out.write_all(&encoding)?;
                written += 1;
            }
        }
    }
}

/// Where the export of one class is.
#[derive(Default)]
struct Cursor {
    after: u64,
    events: VecDeque<(u64, Vec<u8>)>,
}

impl Cursor {
    /// Reads the next record when the one before is used up. `open`: generations that the cursors share.
    fn fill(&mut self, of: &Inspection, class: Class, open: &mut Vec<Generation>) {
        while self.events.is_empty() {
            let Some((first, entry)) = of.index.next(class, self.after) else { return };
            self.after = first;
            let bytes = of.generation(entry.generation, open).and_then(|g| g.get(class, first).ok().flatten());
            match bytes.and_then(|b| record::decode(&b)) {
                Some(record) => self.events.extend(record.events().map(|(seq, event)| (seq, event.to_vec()))),
                None => tracing::warn!(%class, first, "damaged record left out"),
            }
        }
    }
}

impl Inspection {
    fn generation<'a>(&self, id: u32, open: &'a mut Vec<Generation>) -> Option<&'a Generation> {
        /// One for each class: that many are read at most at a time.
        const MAX_OPEN: usize = 5;
        if let Some(at) = open.iter().position(|g| g.id == id) {
            return open.get(at);
        }
        let generation = Generation::open(&self.dir.generation(id), id, false).ok()?;
        if open.len() == MAX_OPEN {
            open.remove(0);
        }
        open.push(generation);
        open.last()
    }
}

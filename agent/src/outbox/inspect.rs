//! Looking into the outbox of an agent that does not run: `outrider outbox stat|list|export`.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::Path;

use super::dir::{self, Dir};
use super::index::Entry;
use super::raw::{self, Raw};
use super::recover::Survey;
use super::{OutboxError, OutboxStat, contents};
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
    /// By class rank and first number.
    records: BTreeMap<(usize, u64), Entry>,
    next_seq: u64,
    generations: usize,
    damaged: Vec<u32>,
}

impl Inspection {
    /// Opens the outbox in `path` for looking. Nothing is changed, no gap is explained.
    ///
    /// # Errors
    /// [`OutboxError::Locked`] while an agent runs on it; [`OutboxError::Io`] when no outbox is there or it cannot be
    /// read.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let dir = Dir::lock(path, false)?;
        let mut survey = Survey::take(&dir, true)?;
        let damaged = survey.damaged().collect();
        let mut records = BTreeMap::new();
        for (&id, scan) in &mut survey.scans {
            let table = scan.table.take().or_else(|| contents::table(&dir.generation(id), id)).unwrap_or_default();
            let live = table.all().filter(|(class, first, _)| !scan.acked[class.rank()].contains(*first));
            records.extend(live.map(|(class, first, entry)| ((class.rank(), first), entry)));
        }
        let last = survey.scans.values().filter_map(|s| s.numbers.last()).max().unwrap_or(0);
        let next_seq = survey.head.as_ref().map_or(0, |h| h.clean.unwrap_or(h.reserved_end)).max(last + 1);
        Ok(Self { records, next_seq, generations: survey.scans.len(), damaged, dir })
    }

    /// Numbers. After a crash `next_seq` is the number that the next start would continue with. The quota is not known
    /// here and 0.
    pub fn stat(&self) -> OutboxStat {
        let mut events = [0; 5];
        self.records.iter().for_each(|((rank, _), entry)| events[*rank] += u64::from(entry.count));
        OutboxStat {
            events,
            pending: [0; 5],
            disk_bytes: dir::disk_bytes(self.dir.path()),
            quota_bytes: 0,
            generations: self.generations,
            next_seq: self.next_seq,
            lost: 0,
            refused: false,
            written: 0,
            wear_left: None,
        }
    }

    /// Directories of generations that have lost something. What can be found in them is among the batches.
    pub fn damaged(&self) -> impl Iterator<Item = String> {
        self.damaged.iter().map(|&id| self.dir.generation(id).display().to_string())
    }

    /// The stored batches, most important class first, ascending.
    pub fn batches(&self) -> impl Iterator<Item = BatchInfo> + '_ {
        self.records.iter().filter_map(|(&(rank, first_seq), entry)| {
            let (last_seq, count, bytes) = (entry.last, entry.count, entry.bytes);
            Some(BatchInfo { class: Class::from_rank(rank)?, first_seq, last_seq, count, bytes })
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
    fn fill(&mut self, of: &Inspection, class: Class, open: &mut Vec<(u32, Raw)>) {
        while self.events.is_empty() {
            let beyond = (class.rank(), self.after.saturating_add(1))..=(class.rank(), u64::MAX);
            let Some((&(_, first), entry)) = of.records.range(beyond).next() else { return };
            self.after = first;
            match of.raw(entry.generation, open).and_then(|raw| raw.record(class, first).ok()?) {
                Some(record) => self.events.extend(record.events().map(|(seq, event)| (seq, event.to_vec()))),
                None => tracing::warn!(%class, first, "damaged record left out"),
            }
        }
    }
}

impl Inspection {
    fn raw<'a>(&self, id: u32, open: &'a mut Vec<(u32, Raw)>) -> Option<&'a mut Raw> {
        /// One for each class: that many are read at most at a time.
        const MAX_OPEN: usize = 5;
        if let Some(at) = open.iter().position(|other| other.0 == id) {
            return open.get_mut(at).map(|found| &mut found.1);
        }
        let raw = raw::open(&self.dir.generation(id), id).ok()??;
        if open.len() == MAX_OPEN {
            open.remove(0);
        }
        open.push((id, raw));
        open.last_mut().map(|found| &mut found.1)
    }
}

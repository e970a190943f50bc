//! The books of the generations: which there are, which are open, what the head says about them.

use super::dir;
use super::generation::{Acked, Failure, Generation};
use super::head::{GenerationInfo, Head};
use super::ranges::RangeSet;
use super::store::SledOutbox;
use super::{OutboxError, generation};
use crate::event::LossCause;

/// The newest, and those being read. Each takes about 2.6 MB of memory.
const MAX_HANDLES: usize = 3;
/// Ranges by which the head knows a generation.
const MAX_HOLDS: usize = 16;
/// A newest generation of at least this part of its limit is given up when all in it is acknowledged.
const WORTH_RETURNING: u64 = 2;

/// What is known about a generation.
#[derive(Debug, Default)]
pub(super) struct Keep {
    /// Records in it, acknowledged ones too. The next ordinal while it is the newest.
    pub(super) stored: u32,
    /// Records not acknowledged, by class rank.
    pub(super) live: [u32; 5],
    /// Numbers in it.
    pub(super) holds: RangeSet,
    /// While it is the newest: numbers from here on may be in it.
    pub(super) first_own: u64,
    pub(super) closed: bool,
    pub(super) acked: Acked,
    /// Acknowledgements not noted on disk.
    pub(super) acks_dirty: u32,
    /// To be deleted as soon as all losses are explained.
    pub(super) doomed: bool,
    /// What the head goes on saying until the losses in this generation are explained.
    pub(super) listed: Option<GenerationInfo>,
    /// Bytes on disk when last measured.
    pub(super) disk: u64,
}

impl Keep {
    pub(super) fn live(&self) -> u32 {
        self.live.iter().sum()
    }

    pub(super) fn info(&self, id: u32) -> GenerationInfo {
        let mut holds = self.holds.clone();
        holds.coarsen(MAX_HOLDS);
        let (closed, stored, first_own) = (self.closed, self.stored, self.first_own);
        GenerationInfo { id, closed, stored, first_own, holds }
    }

    /// Makes the head go on saying what it says now.
    pub(super) fn hold_listing(&mut self, id: u32) {
        if self.listed.is_none() {
            self.listed = Some(self.info(id));
        }
    }
}

impl SledOutbox {
    /// Disk that a generation may take before the next is begun: an eighth of the quota, but not so much that reading
    /// it at start takes a lot of memory.
    pub(super) fn generation_limit(&self) -> u64 {
        const MOST: u64 = 8 << 20;
        (self.config.quota_bytes / 8).min(MOST)
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.keeps.values().map(|k| k.disk).sum::<u64>() + self.other_disk
    }

    /// Writes the head; `clean` with the next number when nothing will follow.
    pub(super) fn write_head(&mut self, clean: Option<u64>) -> Result<(), OutboxError> {
        self.head = Head {
            reserved_end: self.head.reserved_end,
            committed: self.committed,
            clean,
            next_generation: self.head.next_generation,
            generations: self.keeps.iter().map(|(&id, k)| k.listed.clone().unwrap_or_else(|| k.info(id))).collect(),
        };
        self.head.store(self.dir.path()).map_err(|e| dir::io_error(self.dir.path(), "write head", e))
    }

    /// Begins a new generation.
    pub(super) fn rotate(&mut self) -> Result<(), OutboxError> {
        let id = self.head.next_generation;
        let created = Generation::create(&self.dir.generation(id), id);
        let generation = created.map_err(|e| self.failed(id, "begin a generation", e))?;
        self.head.next_generation = id.saturating_add(1);
        let before = self.newest;
        self.set_closed(before, true);
        let disk = generation.disk_bytes();
        self.keeps.insert(id, Keep { first_own: self.next_seq_uncommitted(), disk, ..Keep::default() });
        // Nothing may be stored in a generation that the head does not know.
        if let Err(error) = self.write_head(None) {
            self.keeps.remove(&id);
            self.set_closed(before, false);
            drop(generation);
            if let Err(error) = self.dir.delete_generation(id) {
                tracing::warn!(%error, generation = id, "outbox generation could not be deleted");
            }
            return Err(error);
        }
        self.newest = id;
        self.rotate_wanted = false;
        // sled keeps what it wrote in memory, whatever its cache is set to: whoever reads the old one opens it afresh.
        self.close_handle(before);
        self.handles.push(generation);
        while self.handles.len() > MAX_HANDLES {
            self.close_oldest_handle();
        }
        Ok(())
    }

    /// The first number that a record of the next commit can hold.
    fn next_seq_uncommitted(&self) -> u64 {
        self.committed + 1
    }

    fn set_closed(&mut self, id: u32, closed: bool) {
        if let Some(keep) = self.keeps.get_mut(&id) {
            keep.closed = closed;
        }
    }

    /// The open generation `id`, as the most recently used.
    pub(super) fn handle(&mut self, id: u32) -> Result<&mut Generation, Failure> {
        let at = self.handles.iter().position(|g| g.id == id);
        let generation = match at.map(|at| self.handles.remove(at)).filter(|g| !g.is_broken()) {
            Some(generation) => generation,
            None => {
                while self.handles.len() >= MAX_HANDLES {
                    self.close_oldest_handle();
                }
                Generation::open(&self.dir.generation(id), id, true)?
            }
        };
        self.handles.push(generation);
        self.handles.last_mut().ok_or_else(|| Failure::Damaged("not open".to_owned()))
    }

    pub(super) fn drop_handle(&mut self, id: u32) {
        self.handles.retain(|g| g.id != id);
    }

    /// Closes the least recently used generation, the newest last.
    pub(super) fn close_oldest_handle(&mut self) {
        let oldest = self.handles.iter().find(|g| g.id != self.newest).or_else(|| self.handles.first());
        if let Some(id) = oldest.map(|g| g.id) {
            self.close_handle(id);
        }
    }

    fn close_handle(&mut self, id: u32) {
        self.note_acked(id);
        self.drop_handle(id);
        if let Some(keep) = self.keeps.get_mut(&id) {
            keep.disk = dir::disk_bytes(&self.dir.generation(id));
        }
    }

    /// Notes on disk what is acknowledged in an open generation. Failing that, it is sent again after a restart.
    pub(super) fn note_acked(&mut self, id: u32) {
        // Among the forgotten may be rejected records: their gap event comes first.
        if self.unexplained {
            return;
        }
        let Some(keep) = self.keeps.get_mut(&id).filter(|k| k.acks_dirty > 0 && !k.doomed) else { return };
        let Some(generation) = self.handles.iter_mut().find(|g| g.id == id) else { return };
        match generation.put_acked(&keep.acked) {
            Ok(()) => keep.acks_dirty = 0,
            Err(error) => tracing::warn!(generation = id, ?error, "outbox acknowledgements not noted"),
        }
    }

    /// After an acknowledgement: gives back what is empty, or notes the acknowledgements now and then.
    pub(super) fn after_ack(&mut self, id: u32) -> Result<(), OutboxError> {
        const NOTE_EVERY: u32 = 32;
        let Some(keep) = self.keeps.get(&id) else { return Ok(()) };
        if keep.live() == 0 {
            if id == self.newest {
                if keep.disk < self.generation_limit() / WORTH_RETURNING || self.unexplained {
                    return Ok(());
                }
                self.rotate()?;
            }
            self.doom(id);
            self.reap()
        } else {
            if keep.acks_dirty >= NOTE_EVERY {
                if let Err(failure) = self.handle(id) {
                    tracing::warn!(generation = id, ?failure, "outbox generation cannot be opened");
                }
                self.note_acked(id);
            }
            Ok(())
        }
    }

    /// Marks a generation for deletion.
    pub(super) fn doom(&mut self, id: u32) {
        self.drop_handle(id);
        if let Some(keep) = self.keeps.get_mut(&id) {
            keep.doomed = true;
        }
    }

    /// Deletes what is doomed, unless there are losses to be explained first: off the list, then off the disk.
    pub(super) fn reap(&mut self) -> Result<(), OutboxError> {
        let doomed: Vec<u32> = self.keeps.iter().filter(|(_, k)| k.doomed).map(|(&id, _)| id).collect();
        if doomed.is_empty() || self.unexplained {
            return Ok(());
        }
        let removed: Vec<_> = doomed.iter().filter_map(|id| Some((*id, self.keeps.remove(id)?))).collect();
        if let Err(error) = self.write_head(None) {
            self.keeps.extend(removed);
            return Err(error);
        }
        for id in doomed {
            self.dir.delete_generation(id).map_err(|e| dir::io_error(&self.dir.generation(id), "delete", e))?;
        }
        Ok(())
    }

    /// A generation cannot be opened any more: moves it away; what was not acknowledged in it is lost.
    pub(super) fn give_up(&mut self, id: u32, reason: &str) {
        tracing::error!(generation = id, reason, "outbox generation is damaged beyond reading; quarantined");
        self.drop_handle(id);
        let mut lost = Vec::new();
        for (class, first, entry) in self.index.of_generation(id) {
            self.index.remove(class, first);
            lost.push((class, first, entry));
        }
        for (class, first, entry) in lost {
            let numbers = self.unaccounted(class, first, entry.last);
            self.lose(LossCause::Corrupt, Some(class), &numbers);
        }
        if let Some(keep) = self.keeps.get_mut(&id) {
            keep.hold_listing(id);
            keep.live = [0; 5];
            keep.disk = 0;
            keep.doomed = true;
        }
        self.rotate_wanted |= id == self.newest;
        if let Err(error) = self.dir.quarantine(id) {
            tracing::warn!(generation = id, %error, "outbox generation could not be quarantined");
        }
        self.other_disk = self.dir.other_disk_bytes();
    }

    /// Stores encoded records in the newest generation.
    pub(super) fn put(&mut self, records: &[generation::Put], with_acked: bool) -> Result<(), OutboxError> {
        let id = self.newest;
        let acked = self.keeps.get(&id).filter(|_| with_acked).map(|k| k.acked.clone());
        let result = self.handle(id).and_then(|generation| generation.put(records, acked.as_ref()));
        match result {
            Ok(()) => {
                if let Some(keep) = self.keeps.get_mut(&id).filter(|_| with_acked) {
                    keep.acks_dirty = 0;
                }
                Ok(())
            }
            Err(failure) => {
                self.drop_handle(id);
                // Whatever it is, a fresh generation is the better place, unless there is no room for one.
                self.rotate_wanted = !matches!(&failure, Failure::Io(error) if super::store::is_full(error));
                Err(self.failed(id, "store", failure))
            }
        }
    }
}

//! Keeping within the quota.
//!
//! What is measured is what the directory takes on disk. Over the quota, the victim is the oldest
//! generation that holds events of the least important class stored anywhere: its records of that
//! class are dropped, the others are copied to the newest generation, the directory is deleted. Each
//! such step removes events of the least important class, so it ends, and nothing goes while
//! something less important is left. The order is safe against crashes: copies first, then the gap
//! event, then the head, then the deletion.
//!
//! When no new generation can be begun (no inodes), room is made in the older ones as long as there
//! are any. After that nothing more is stored: events wait in memory as when the disk refuses.

use std::time::{Duration, Instant};

use super::index::Entry;
use super::keep::Keep;
use super::ledger::Loss;
use super::record::Record;
use super::store::{SledOutbox, is_full};
use super::{OutboxError, dir};
use crate::event::{Class, LossCause};

/// Payload copied in one write: bounds memory.
pub(super) const SALVAGE_BYTES: usize = 256 * 1024;
/// In one generation: bounds the memory that its table takes.
const MAX_RECORDS: u32 = 16_384;
/// Maintenance that fails for days must not fill the log.
pub(super) const LOG_EVERY: Duration = Duration::from_secs(600);

impl SledOutbox {
    /// After a commit: begins a new generation when the newest is large, keeps the quota, gives space back. Failing
    /// at that loses nothing; the next commit tries again.
    pub(super) fn maintain(&mut self) {
        if let Err(error) = self.try_maintain()
            && self.maintenance_told.is_none_or(|at| at.elapsed() >= LOG_EVERY)
        {
            self.maintenance_told = Some(Instant::now());
            tracing::warn!(%error, "outbox maintenance failed; it is tried again at every commit");
        }
        self.freshen_head();
    }

    /// Before a commit: fails while storing more could only make the newest generation grow beyond the quota.
    pub(super) fn room_to_store(&mut self) -> Result<(), OutboxError> {
        if !self.stuck() {
            return Ok(());
        }
        match self.try_maintain() {
            Err(error) if self.stuck() => Err(error),
            _ => Ok(()),
        }
    }

    /// Over the quota by more than may be while room is made, or the newest generation is as large as one may be and could
    /// not be closed.
    fn stuck(&self) -> bool {
        let over = self.disk_bytes().saturating_sub(self.config.quota_bytes);
        over > self.generation_limit() || (over > 0 && self.newest_is_large())
    }

    pub(super) fn newest_is_large(&self) -> bool {
        let large = |keep: &Keep| keep.disk >= self.generation_limit() || keep.stored >= MAX_RECORDS;
        self.keeps.get(&self.newest).is_some_and(large)
    }

    /// Does what it can; the first failure is reported at the end.
    fn try_maintain(&mut self) -> Result<(), OutboxError> {
        self.keep_class_quotas();
        self.measure_newest();
        let rotated = if self.newest_is_large() { self.rotate() } else { Ok(()) };
        let empty: Vec<u32> =
            self.keeps.iter().filter(|(id, k)| **id != self.newest && k.live() == 0).map(|(&id, _)| id).collect();
        empty.into_iter().for_each(|id| self.doom(id));
        let reaped = self.reap();
        let mut failure = rotated.and(reaped).and_then(|()| self.merge_small()).err();
        if self.disk_bytes() > self.config.quota_bytes && self.keeps.values().any(|keep| keep.doomed) {
            // What is empty and only waits for a gap event goes before what is not.
            let freed = self.write_pending().and_then(|()| self.reap());
            failure = failure.or(freed.err());
        }
        // Each round deletes a generation; new ones come only of salvage, which is less than what is deleted.
        for _ in 0..=2 * self.keeps.len() {
            if self.disk_bytes() <= self.config.quota_bytes {
                break;
            }
            match self.make_room() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let full = matches!(&error, OutboxError::Io { source, .. } if is_full(source));
                    failure.get_or_insert(error);
                    if !(full && self.free_in_emergency()) {
                        break;
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Every start begins a generation. Without a network for months there would be thousands of small ones, each with its
    /// line in the head: then what the oldest of them hold is copied to the newest.
    fn merge_small(&mut self) -> Result<(), OutboxError> {
        const MANY: u64 = 64;
        let regular = self.config.quota_bytes / self.generation_limit();
        if self.keeps.len() as u64 <= MANY + 2 * regular {
            return Ok(());
        }
        let bytes = |keep: &Keep| keep.stock.iter().map(|stock| stock.bytes).sum::<u64>();
        let is_small = |(id, keep): &(u32, &Keep)| *id != self.newest && bytes(keep) < self.generation_limit() / 8;
        let small: Vec<u32> = self.usable().filter(is_small).map(|(id, _)| id).take(16).collect();
        for id in small {
            let records = self.of_generation(id)?;
            self.salvage(&records)?;
            self.doom(id);
        }
        self.write_pending()?;
        self.reap()?;
        self.measure_newest();
        Ok(())
    }

    pub(super) fn measure_newest(&mut self) {
        let disk = dir::disk_bytes(&self.dir.generation(self.newest));
        if let Some(keep) = self.keeps.get_mut(&self.newest) {
            keep.disk = disk;
        }
    }

    /// The least important class that can make room. Status in the newest generation cannot: most of it are gap events,
    /// which come back as soon as they are dropped, so that making room would never end.
    pub(super) fn least_important(&self) -> Option<Class> {
        let holds = |class: Class| {
            let in_reach = |id: u32| class != Class::Status || id != self.newest;
            self.usable().any(|(id, keep)| keep.stock[class.rank()].records > 0 && in_reach(id))
        };
        Class::ALL.into_iter().rev().find(|&class| holds(class))
    }

    /// Generations that can be read.
    fn usable(&self) -> impl Iterator<Item = (u32, &Keep)> {
        self.keeps.iter().filter(|(_, keep)| !keep.doomed).map(|(&id, keep)| (id, keep))
    }

    /// Deletes something. False when there is nothing that could go.
    pub(super) fn make_room(&mut self) -> Result<bool, OutboxError> {
        if !self.dir.list().unwrap_or_default().quarantined.is_empty() {
            self.drop_quarantine();
            return Ok(true);
        }
        let Some(class) = self.least_important() else { return Ok(false) };
        let holds = |(id, keep): (u32, &Keep)| (keep.stock[class.rank()].records > 0).then_some(id);
        let Some(victim) = self.usable().find_map(holds) else { return Ok(false) };
        if victim == self.newest {
            self.rotate()?;
        }
        self.evict(victim, class)?;
        Ok(true)
    }

    fn drop_quarantine(&mut self) {
        if let Err(error) = self.dir.empty_quarantine() {
            tracing::warn!(%error, "outbox quarantine could not be emptied");
        }
        self.other_disk = self.dir.other_disk_bytes();
    }

    fn evict(&mut self, victim: u32, class: Class) -> Result<(), OutboxError> {
        let (dropped, kept): (Vec<_>, Vec<_>) =
            self.of_generation(victim)?.into_iter().partition(|(c, ..)| *c == class);
        tracing::warn!(generation = victim, %class, records = dropped.len(), "outbox over its quota; dropping the oldest");
        self.salvage(&kept)?;
        self.drop_records(victim, &dropped);
        self.doom(victim);
        self.write_pending()?;
        self.reap()?;
        self.measure_newest();
        Ok(())
    }

    /// Copies records to the newest generation under their own numbers.
    fn salvage(&mut self, records: &[(Class, u64, Entry)]) -> Result<(), OutboxError> {
        let mut batch: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for &(class, first, entry) in records {
            // Damaged ones are noted as lost here, which must not keep the others from being saved.
            let Some(record) = self.fetch(class, first, entry)? else { continue };
            bytes += record.payload.len();
            batch.push(record);
            if bytes >= SALVAGE_BYTES {
                self.store(&std::mem::take(&mut batch), None)?;
                bytes = 0;
                self.measure_newest();
                if self.newest_is_large() {
                    self.rotate()?;
                }
            }
        }
        if batch.is_empty() { Ok(()) } else { self.store(&batch, None) }
    }

    fn drop_records(&mut self, victim: u32, records: &[(Class, u64, Entry)]) {
        if let Some(keep) = self.keeps.get_mut(&victim) {
            keep.hold_listing(victim);
        }
        let mut lost = Loss::default();
        for &(class, first, entry) in records {
            if class == Class::Status
                && let Some(record) = self.peek(class, first, entry)
            {
                self.ledger.readopt(record.events().map(|e| e.1));
                self.owed.settle(&[(first, entry.last)].into_iter().collect());
            }
            lost.add(&self.numbers(class, first, entry), Some(entry.times));
            self.unexplained = true;
            self.forget(class, first, entry);
        }
        if let Some(&(class, ..)) = records.first() {
            self.lose(LossCause::Quota, Some(class), &lost.numbers, lost.times);
        }
    }

    /// Nearly full of more important events, with the less important ones only in the newest generation: writing more
    /// of those would mean copying the important ones round and round to make room. They are dropped here instead.
    pub(super) fn shed_when_full(&mut self) {
        let doomed: u64 = self.keeps.values().filter(|keep| keep.doomed).map(|keep| keep.disk).sum();
        if self.disk_bytes() - doomed + self.generation_limit() / 2 <= self.config.quota_bytes {
            return;
        }
        let older = || self.keeps.iter().filter(|(id, k)| **id != self.newest && !k.doomed).map(|(_, k)| k);
        // The least important rank stored in the older generations.
        let Some(rank) = (0..5).rev().find(|&rank| older().any(|k| k.stock[rank].records > 0)) else { return };
        for class in [Class::Bulk, Class::Telemetry, Class::Alert] {
            if class.rank() > rank {
                self.drop_pending(class, usize::MAX, LossCause::Quota);
            }
        }
    }

    /// The disk is full though the quota is not: deletes the least valuable things that can go without writing first.
    /// The head still lists what goes, so that a crash before the gap event does not hide it. False: nothing found.
    pub(super) fn free_in_emergency(&mut self) -> bool {
        if !self.dir.list().unwrap_or_default().quarantined.is_empty() {
            self.drop_quarantine();
            return true;
        }
        let Some(class) = self.least_important() else { return false };
        let only = |keep: &Keep| keep.live() > 0 && keep.live() == keep.stock[class.rank()].records;
        let victim = self.usable().find(|(id, keep)| *id != self.newest && only(keep)).map(|(id, _)| id);
        let Some(victim) = victim else { return false };
        let Ok(dropped) = self.of_generation(victim) else { return false };
        self.drop_records(victim, &dropped);
        self.doom(victim);
        match self.dir.delete_generation(victim) {
            Ok(()) => {
                if let Some(keep) = self.keeps.get_mut(&victim) {
                    keep.disk = 0;
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, generation = victim, "outbox generation could not be deleted");
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;

//! From an appended event to one that is stored or held in memory: numbers, gap events, what waits and for how long.

use std::time::{Duration, Instant};

use super::head::Doubt;
use super::ledger::Loss;
use super::pending::{Pending, Pushed};
use super::quota::{LOG_EVERY, SALVAGE_BYTES};
use super::ranges::RangeSet;
use super::record::{Record, Times};
use super::store::{BLOCK, SledOutbox, is_full};
use super::{Durability, OutboxError};
use crate::event::{Body, Class, Event, LossCause};

/// A larger event is not stored: gap with cause `oversize`.
const MAX_EVENT: usize = 64 * 1024;

/// Ranges by which numbers in doubt are known.
const MAX_DOUBT: usize = 64;
/// When the disk refuses for longer, what should be stored first is sent all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is not acknowledged for so long goes to the disk: a power cut must not take hours.
const HOLD: Duration = Duration::from_secs(60);

impl SledOutbox {
    /// Reserves `count` numbers and returns the first.
    pub(super) fn allocate(&mut self, count: u64) -> u64 {
        self.reserve(count);
        let first = self.next_seq;
        self.next_seq += count;
        first
    }

    /// Makes sure that `count` numbers can be taken.
    fn reserve(&mut self, count: u64) {
        let needed = self.next_seq.saturating_add(count);
        if needed <= self.head.reserved_end || self.unreserved {
            return;
        }
        let before = std::mem::replace(&mut self.head.reserved_end, needed.saturating_add(BLOCK));
        let mut written = self.write_head(None);
        if matches!(&written, Err(OutboxError::Io { source, .. }) if is_full(source)) && self.free_in_emergency() {
            written = self.write_head(None);
        }
        if let Err(error) = written {
            self.head.reserved_end = before;
            self.jump(&error);
        }
    }

    /// Notes a loss: counts it, and owes a gap event.
    pub(super) fn lose(&mut self, cause: LossCause, class: Option<Class>, numbers: &RangeSet, times: Option<Times>) {
        self.lost = self.lost.saturating_add(numbers.count());
        self.ledger.add(cause, class, numbers, times);
        self.unexplained |= !numbers.is_empty();
        if class.is_none_or(|class| class == Class::Status) {
            for (cause, class, lost) in self.owed.take(numbers) {
                self.ledger.add(cause, class, &lost, None);
            }
        }
    }

    /// Numbers, encodes and buffers an event.
    pub(super) fn enqueue(&mut self, event: &Event) -> u64 {
        let seq = self.allocate(1);
        let rank = event.class.rank();
        let durable = self.config.classes[rank].store == Durability::Always || matches!(event.body, Body::Gap(_));
        self.pending_since.get_or_insert_with(Instant::now);
        match self.pending[rank].push(event, &self.identity, seq, durable, MAX_EVENT) {
            Pushed::Taken => {}
            Pushed::Oversize => {
                let (numbers, time) = ([(seq, seq)].into_iter().collect(), event.time_ns);
                self.lose(LossCause::Oversize, Some(event.class), &numbers, Some((time, time)));
            }
        }
        seq
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.iter().map(Pending::bytes).sum()
    }

    /// Drops the oldest pending events of the least important class until what waits is within its bound.
    pub(super) fn bound_pending(&mut self, cause: LossCause) {
        while self.pending_bytes() > self.config.pending_bytes {
            let Some(class) = Class::ALL.into_iter().rev().find(|c| !self.pending[c.rank()].is_empty()) else { return };
            self.drop_pending(class, 1, cause);
        }
    }

    /// Drops up to `count` pending events; gap events among them go back to the ledger.
    pub(super) fn drop_pending(&mut self, class: Class, count: usize, cause: LossCause) {
        let mut lost = Loss::default();
        for _ in 0..count {
            let Some((seq, time, encoding)) = self.pending[class.rank()].pop() else { break };
            if class == Class::Status {
                self.ledger.readopt(std::iter::once(encoding));
                self.owed.settle(&[(seq, seq)].into_iter().collect());
            }
            lost.add(&[(seq, seq)].into_iter().collect(), Some((time, time)));
        }
        self.lose(cause, Some(class), &lost.numbers, lost.times);
    }

    /// Makes gap events of all losses.
    fn explain(&mut self) {
        if self.ledger.events() > 0 {
            self.explained_at = Some(Instant::now());
        }
        self.reserve(self.ledger.events() as u64);
        for event in self.ledger.drain(self.latest) {
            let seq = self.enqueue(&event);
            if let Body::Gap(gap) = &event.body {
                self.owed.add(seq, gap);
                self.head_stale = true;
            }
        }
    }

    /// Stores all that is pending, and gap events for all losses, in one write.
    pub(super) fn write_pending(&mut self) -> Result<(), OutboxError> {
        self.explain();
        self.rotate_if_wanted()?;
        if self.pending.iter().all(Pending::is_empty) { Ok(()) } else { self.store_pending() }
    }

    pub(super) fn rotate_if_wanted(&mut self) -> Result<(), OutboxError> {
        if self.rotate_wanted { self.rotate() } else { Ok(()) }
    }

    /// Tells the head what the latest gap events explain and how clocks were set. Failing that, maintenance tries again.
    pub(super) fn freshen_head(&mut self) {
        if self.head_stale
            && let Err(error) = self.write_head(None)
            && self.maintenance_told.is_none_or(|at| at.elapsed() >= LOG_EVERY)
        {
            self.maintenance_told = Some(Instant::now());
            tracing::warn!(%error, "outbox head does not know the latest yet");
        }
    }

    /// What a commit does: what need not be stored goes to the gateway from memory, the rest to the disk.
    pub(super) fn store_all(&mut self) -> Result<(), OutboxError> {
        if self.may_linger() {
            return Ok(());
        }
        if !self.may_explain_later() {
            self.explain();
        }
        self.hold_in_memory();
        if self.failing.is_some() {
            // What should have been stored and was sent from memory instead.
            self.spill()?;
        }
        if self.pending.iter().all(Pending::is_empty) {
            return self.dir.check();
        }
        self.room_to_store()?;
        self.thin();
        self.rotate_if_wanted()?;
        self.store_pending()
    }

    /// What is shed all the time needs no gap event each time: its numbers are known to be in doubt, so that a crash
    /// explains them too.
    fn may_explain_later(&self) -> bool {
        const EVERY: Duration = Duration::from_secs(60);
        let idle = self.pending.iter().all(Pending::is_empty);
        let recently = self.explained_at.is_some_and(|at| at.elapsed() < EVERY);
        (idle && self.ledger.only(&[LossCause::Quota]))
            || (recently && self.ledger.only(&[LossCause::Quota, LossCause::Wear]))
    }

    /// Offline: whether what is pending can wait for more, because it is little and need not be stored at once.
    fn may_linger(&self) -> bool {
        /// Stored in one go, what is written besides hardly matters.
        const ENOUGH: usize = 48 * 1024;
        !self.link_up
            && self.failing.is_none()
            && self.may_explain_later()
            && !self.pending.iter().any(Pending::has_durable)
            && self.pending_bytes() < ENOUGH
            && self.pending_since.is_none_or(|since| since.elapsed() < self.config.linger)
    }

    /// Leaves out what would wear the flash for too little.
    fn thin(&mut self) {
        if !self.wear.is_low() {
            return;
        }
        for class in Class::ALL {
            let mut lost = Loss::default();
            for (seq, time) in self.pending[class.rank()].retain_others(|| self.wear.admits(class)) {
                lost.add(&[(seq, seq)].into_iter().collect(), Some((time, time)));
            }
            self.lose(LossCause::Wear, Some(class), &lost.numbers, lost.times);
        }
    }

    fn store_pending(&mut self) -> Result<(), OutboxError> {
        let mut records = Vec::new();
        for class in Class::ALL {
            records.extend(self.pending[class.rank()].records(class).into_iter().map(|(_, record)| record));
        }
        let mut waiting = self.volatile.numbers().clone();
        waiting.extend(&self.ledger.numbers());
        let doubt = self.doubt_beside(waiting);
        self.store(&records, Some(&doubt))?;
        self.pending.iter_mut().for_each(Pending::clear);
        (self.pending_since, self.failing) = (None, None);
        if self.ledger.events() == 0 {
            self.unexplained = false;
            for keep in self.keeps.values_mut() {
                keep.listed = None;
            }
        }
        self.freshen_head();
        Ok(())
    }

    /// What is in doubt now.
    pub(super) fn doubt(&self) -> Doubt {
        let mut waiting = self.volatile.numbers().clone();
        waiting.extend(&self.ledger.numbers());
        self.pending.iter().flat_map(Pending::numbers).for_each(|seq| waiting.insert(seq, seq));
        self.doubt_beside(waiting)
    }

    fn doubt_beside(&self, mut waiting: RangeSet) -> Doubt {
        waiting.coarsen(MAX_DOUBT);
        Doubt { from: self.next_seq, waiting }
    }

    /// While the link is up: what need not be stored becomes readable from memory; everything when the disk does not come
    /// back.
    pub(super) fn hold_in_memory(&mut self) {
        let now = Instant::now();
        // Sent without having been stored is better than not sent.
        let all = !self.dir.is_open() || self.failing.is_some_and(|since| since.elapsed() >= PATIENCE);
        for class in Class::ALL.into_iter().filter(|_| self.link_up) {
            let pending = &mut self.pending[class.rank()];
            let records = pending.records(class).into_iter().filter(|(durable, _)| all || !durable);
            let records: Vec<Record> = records.map(|(_, record)| record).collect();
            if records.is_empty() {
                continue;
            }
            if all {
                pending.clear();
            } else {
                pending.keep_durable();
            }
            records.into_iter().for_each(|record| self.volatile.insert(record, now));
        }
    }

    /// Puts what waits in memory on the disk when that is due. What the disk does not take stays, within its bound.
    pub(super) fn spill_if_due(&mut self) -> Result<(), OutboxError> {
        let late = self.volatile.since().is_some_and(|since| since.elapsed() >= HOLD);
        if self.link_up && !late && self.volatile.bytes() <= self.config.memory_bytes {
            return Ok(());
        }
        let spilled = self.spill();
        while self.volatile.bytes() > self.config.memory_bytes {
            let Some((class, first, entry)) = self.volatile.least_important() else { break };
            let numbers = self.numbers(class, first, entry);
            self.lose(LossCause::Storage, Some(class), &numbers, Some(entry.times));
            self.forget(class, first, entry);
        }
        spilled
    }

    pub(super) fn spill(&mut self) -> Result<(), OutboxError> {
        let mut names = self.volatile.names().into_iter();
        loop {
            let (mut records, mut bytes) = (Vec::new(), 0);
            while bytes < SALVAGE_BYTES
                && let Some((class, first)) = names.next()
            {
                let Some(record) = self.volatile.get(class, first).cloned() else { continue };
                let must = self.config.classes[class.rank()].store == Durability::Always;
                if !must && class != Class::Status && !self.wear.admits(class) {
                    let numbers = record.events.iter().map(|e| (e.0, e.0)).collect();
                    self.lose(LossCause::Wear, Some(class), &numbers, Some(record.times));
                    self.volatile.remove(class, first);
                    continue;
                }
                bytes += record.payload.len();
                records.push(record);
            }
            if records.is_empty() {
                return Ok(());
            }
            self.room_to_store()?;
            // Making room may have dropped some.
            records.retain(|record| self.volatile.get(record.class, record.first()).is_some());
            self.store(&records, None)?;
            records.iter().for_each(|record| self.volatile.remove(record.class, record.first()));
        }
    }
}

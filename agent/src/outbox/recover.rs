//! Opening: the ladder, and what is missing.

use std::collections::BTreeMap;

use super::dir::{self, Dir};
use super::head::{GenerationInfo, Head};
use super::keep::Keep;
use super::owed::Owed;
use super::ranges::RangeSet;
use super::scan::Scan;
use super::store::SledOutbox;
use super::without_disk::beyond;
use super::{Outbox, OutboxConfig, OutboxError};
use crate::event::{Class, LossCause, Moment};
use crate::privacy::Naming;

/// How far numbers jump ahead of the last one found when no head tells which were used: more than a generation holds.
const SAFETY_JUMP: u64 = 1 << 20;

/// All generations, looked at once. Nothing is changed.
pub(super) struct Survey {
    pub(super) head: Option<Head>,
    /// What they hold.
    pub(super) scans: BTreeMap<u32, Scan>,
    /// Generations whose deletion a crash interrupted.
    leftovers: Vec<u32>,
    quarantined: Vec<u32>,
}

impl Survey {
    /// `give_up`: a generation that has been refused for long is lost, and must not keep the others from being sent.
    pub(super) fn take(dir: &Dir, give_up: bool) -> Result<Self, OutboxError> {
        let failed = |doing| move |e| dir::io_error(dir.path(), doing, e);
        let head = Head::load(dir.path()).map_err(failed("read head"))?;
        let listing = dir.list().map_err(failed("list"))?;
        let quarantined = listing.quarantined;
        let mut survey = Self { head, scans: BTreeMap::new(), leftovers: Vec::new(), quarantined };
        for &id in &listing.generations {
            let known = |head: &Head| id >= head.next_generation || head.generations.iter().any(|info| info.id == id);
            if survey.head.as_ref().is_none_or(known) {
                let path = dir.generation(id);
                let scan = match Scan::of(&path, id) {
                    Err(error) if give_up && survey.head.is_some() => {
                        tracing::error!(generation = id, %error, "outbox generation cannot be read, and is given up");
                        Scan::default()
                    }
                    scan => scan.map_err(|e| dir::io_error(&path, "read a generation", e))?,
                };
                survey.scans.insert(id, scan);
            } else {
                survey.leftovers.push(id);
            }
        }
        Ok(survey)
    }

    /// Generations that do not have everything any more, as far as can be told without reading all.
    pub(super) fn damaged(&self) -> impl Iterator<Item = u32> + '_ {
        let stored =
            |id: u32| self.head.iter().flat_map(|h| &h.generations).find(|info| info.id == id).map(|i| i.stored);
        let is_damaged = move |&(id, scan): &(&u32, &Scan)| {
            scan.is_cut || scan.has_holes() || stored(*id).is_some_and(|n| scan.records < n)
        };
        self.scans.iter().filter(is_damaged).map(|(&id, _)| id)
    }

    /// What stored gap events explain, with those that are lost: what the head knows of, and what it does not know yet.
    fn owed(&self, verdict: &Verdict) -> Owed {
        let mut owed = self.head.as_ref().map(|head| head.owed.clone()).unwrap_or_default();
        let mut waiting = RangeSet::default();
        for scan in self.scans.values() {
            let (stock, acked) = (&scan.stock[Class::Status.rank()], &scan.acked[Class::Status.rank()]);
            match &scan.table {
                Some(table) => {
                    let live = table.of_class(Class::Status).iter().filter(|(first, _)| !acked.contains(*first));
                    live.for_each(|(first, entry)| waiting.insert(*first, entry.last));
                }
                None if stock.records > 0 => waiting.insert(stock.first, stock.last),
                None => {}
            }
        }
        waiting.extend(&verdict.corrupt);
        waiting.extend(&verdict.restart);
        for debt in owed.0.clone().values() {
            let mut done = debt.events.clone();
            done.subtract(&waiting);
            owed.settle(&done);
        }
        for (seq, gap) in self.scans.values().flat_map(|scan| &scan.gaps).filter(|(seq, _)| waiting.contains(*seq)) {
            owed.add(*seq, gap);
        }
        owed
    }

    /// Numbers of all readable records.
    fn numbers(&self) -> RangeSet {
        let mut numbers = RangeSet::default();
        self.scans.values().for_each(|scan| numbers.extend(&scan.numbers));
        numbers
    }

    /// Whether a generation lacks something that the head says it had, or that it shows it had itself.
    fn is_damaged(&self, info: &GenerationInfo) -> bool {
        self.scans.get(&info.id).is_none_or(|scan| scan.records < info.stored || (!info.closed && scan.has_holes()))
    }

    /// Works out the next number, and what is lost.
    fn judge(&self, now_ns: u64) -> Verdict {
        let known = self.numbers();
        let last_known = known.last().unwrap_or(0);
        let mut verdict = Verdict::default();
        let Some(head) = &self.head else {
            let traces = !self.scans.is_empty() || !self.quarantined.is_empty();
            verdict.next_seq = last_known + 1;
            if traces {
                // What was sent from memory has left no trace here, but in notes; the clock has outrun any count of events.
                let notes = self.scans.values().filter_map(|scan| scan.doubt.as_ref());
                let noted = notes.map(|doubt| doubt.from).max().unwrap_or(0);
                verdict.next_seq = last_known.max(noted).saturating_add(SAFETY_JUMP).max(beyond(now_ns));
                verdict.corrupt.insert(last_known + 1, verdict.next_seq - 1);
            }
            if self.damaged().next().is_some() {
                verdict.corrupt.insert(1, last_known);
                verdict.corrupt.subtract(&known);
            }
            return verdict;
        };
        let notes = self.scans.values().filter_map(|scan| scan.doubt.as_ref());
        let doubt = notes.chain([&head.doubt]).max_by_key(|doubt| doubt.from).unwrap_or(&head.doubt);
        let committed = last_known.max(doubt.from.saturating_sub(1));
        verdict.next_seq = head.clean.unwrap_or(head.reserved_end).max(last_known + 1);
        for (at, info) in head.generations.iter().enumerate() {
            if !self.is_damaged(info) {
                continue;
            }
            tracing::error!(generation = info.id, "outbox generation has lost records");
            verdict.lacking.push(info.clone());
            verdict.corrupt.extend(&info.holds);
            if !info.closed {
                let end = match (head.generations.get(at + 1), self.scans.get(&info.id)) {
                    (Some(after), _) => after.first_own.saturating_sub(1),
                    (None, Some(_)) => committed,
                    (None, None) => verdict.next_seq - 1,
                };
                verdict.corrupt.insert(info.first_own, end);
            }
        }
        verdict.corrupt.subtract(&known);
        if head.clean.is_none() {
            verdict.restart.insert(doubt.from.max(1), verdict.next_seq - 1);
            verdict.restart.extend(&doubt.waiting);
            verdict.restart.subtract(&known);
            verdict.restart.subtract(&verdict.corrupt);
        }
        verdict
    }
}

/// What follows from a survey.
#[derive(Debug, Default)]
struct Verdict {
    next_seq: u64,
    corrupt: RangeSet,
    restart: RangeSet,
    /// What the head says of generations that have less.
    lacking: Vec<GenerationInfo>,
}

impl SledOutbox {
    pub(super) fn recover(
        dir: Dir,
        config: OutboxConfig,
        naming: Naming,
        now: Moment,
        give_up: bool,
    ) -> Result<Self, OutboxError> {
        let mut survey = Survey::take(&dir, give_up)?;
        let verdict = survey.judge(now.time_ns);
        let owed = survey.owed(&verdict);
        let keeps = survey.keeps(&dir, &verdict);
        for &id in &survey.leftovers {
            if let Err(error) = dir.delete_generation(id) {
                tracing::warn!(generation = id, %error, "outbox generation could not be deleted");
            }
        }
        let ids = keeps.keys().chain(&survey.quarantined);
        let after = ids.max().map_or(1, |id| id.saturating_add(1));
        let next_generation = survey.head.as_ref().map_or(1, |h| h.next_generation).max(after);
        let mut this = Self::empty(dir, config, naming, now, verdict.next_seq);
        this.head.next_generation = next_generation;
        (this.keeps, this.owed) = (keeps, owed);
        if let Some(head) = &survey.head {
            this.wear.resume(head.wear.0, now.time_ns.saturating_sub(head.wear.1) / 1_000_000_000);
            this.head.fixes = head.fixes.clone();
            this.resume_name(head.name.clone());
        }
        this.lose(LossCause::Corrupt, None, &verdict.corrupt, None);
        // Gap events that the head knew and that were never stored.
        for (cause, class, lost) in this.owed.take(&verdict.restart) {
            this.ledger.add(cause, class, &lost, None);
        }
        // Not counted as lost: most of these numbers were never used.
        this.ledger.add(LossCause::Restart, None, &verdict.restart, None);
        this.unexplained |= !verdict.restart.is_empty();
        // What the head on disk has reserved was not used up when that was written; beyond, numbers jump.
        if let Err(error) = this.write_head(None) {
            this.jump(&error);
        }
        this.find_cut();
        this.settle_tables();
        if let Err(error) = this.commit() {
            tracing::warn!(%error, "outbox cannot store yet; events wait in memory");
        } else if !verdict.lacking.is_empty() {
            // The damage is explained; the head may forget it.
            this.head_stale = true;
            this.freshen_head();
        }
        this.name_at_start(now.time_ns);
        Ok(this)
    }
}

impl Survey {
    /// The books to begin with. What is damaged stays listed as it was until that is explained.
    fn keeps(&mut self, dir: &Dir, verdict: &Verdict) -> BTreeMap<u32, Keep> {
        let mut keeps = BTreeMap::new();
        for (&id, scan) in &mut self.scans {
            let info = self.head.as_ref().and_then(|h| h.generations.iter().find(|info| info.id == id));
            let keep = Keep {
                stored: scan.records,
                holds: scan.numbers.clone(),
                first_own: info.map_or(verdict.next_seq, |i| i.first_own),
                closed: true,
                acked: scan.acked.clone(),
                stock: scan.stock,
                table: scan.table.take(),
                disk: dir::disk_bytes(&dir.generation(id)),
                damaged: scan.is_cut,
                ..Keep::default()
            };
            keeps.insert(id, keep);
        }
        for info in &verdict.lacking {
            let keep = keeps.entry(info.id).or_insert_with(|| Keep { doomed: true, ..Keep::default() });
            keep.listed = Some(info.clone());
            (keep.closed, keep.damaged) = (true, true);
        }
        keeps
    }
}

impl SledOutbox {
    /// Of a generation whose file is shorter than when it was closed, each record is looked for at once.
    fn find_cut(&mut self) {
        let cut: Vec<u32> =
            self.keeps.iter().filter(|(_, k)| k.damaged && k.table.is_none()).map(|(&id, _)| id).collect();
        for id in cut {
            // What is written last, when it is closed, need not be there: that alone costs nothing.
            if let Some(keep) = self.keeps.get_mut(&id) {
                keep.damaged = false;
            }
            for (class, first, entry) in self.of_generation(id).unwrap_or_default() {
                if let Err(error) = self.fetch(class, first, entry) {
                    tracing::warn!(%error, generation = id, "outbox generation cannot be read yet");
                    break;
                }
            }
        }
    }

    /// Of the generations read at the start, no table stays; they note what they hold.
    fn settle_tables(&mut self) {
        let read: Vec<u32> = self.keeps.iter().filter(|(_, k)| k.table.is_some()).map(|(&id, _)| id).collect();
        for id in read {
            self.store_contents(id);
            self.unload(id);
        }
    }
}

#[cfg(test)]
#[path = "damage_tests.rs"]
mod tests;

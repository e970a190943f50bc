//! Opening: the ladder, and what is missing.

use std::collections::BTreeMap;

use super::access::Scan;
use super::dir::{self, Dir};
use super::generation::{Failure, Generation};
use super::head::{GenerationInfo, Head};
use super::index::Index;
use super::keep::Keep;
use super::ledger::Ledger;
use super::pending::Pending;
use super::ranges::RangeSet;
use super::store::{BLOCK, OutboxConfig, SledOutbox};
use super::{Outbox, OutboxError};
use crate::event::{Identity, LossCause};

/// How far numbers jump ahead of the last one found when no head tells which were used: more than a generation holds.
const SAFETY_JUMP: u64 = 1 << 20;

/// All generations, read once.
pub(super) struct Survey {
    pub(super) head: Option<Head>,
    /// Readable generations, with the newest's handle if it opened.
    pub(super) scans: BTreeMap<u32, Scan>,
    pub(super) newest: Option<Generation>,
    /// Generations that could not be opened, with the reason.
    pub(super) unreadable: BTreeMap<u32, String>,
    /// Generations whose deletion a crash interrupted.
    pub(super) leftovers: Vec<u32>,
    pub(super) quarantined: Vec<u32>,
}

impl Survey {
    /// Reads everything. With `mend`, tries harder to open what does not open.
    pub(super) fn take(dir: &Dir, mend: bool) -> Result<Self, OutboxError> {
        let failed = |doing| move |e| dir::io_error(dir.path(), doing, e);
        let head = Head::load(dir.path()).map_err(failed("read head"))?;
        let listing = dir.list().map_err(failed("list"))?;
        let mut survey = Self {
            head,
            scans: BTreeMap::new(),
            newest: None,
            unreadable: BTreeMap::new(),
            leftovers: Vec::new(),
            quarantined: listing.quarantined,
        };
        for &id in &listing.generations {
            let known = |head: &Head| id >= head.next_generation || head.generations.iter().any(|info| info.id == id);
            if !survey.head.as_ref().is_none_or(known) {
                survey.leftovers.push(id);
                continue;
            }
            match Generation::open(&dir.generation(id), id, mend) {
                Ok(generation) => {
                    survey.scans.insert(id, Scan::of(&generation));
                    // One open at a time: only the newest stays.
                    survey.newest = Some(generation).filter(|_| Some(&id) == listing.generations.last());
                }
                Err(Failure::Io(error)) => {
                    return Err(dir::io_error(&dir.generation(id), "open a generation", error));
                }
                Err(Failure::Damaged(reason)) => {
                    survey.unreadable.insert(id, reason);
                }
            }
        }
        Ok(survey)
    }

    /// All that is stored and not acknowledged; newer copies stand for older ones.
    pub(super) fn index(&self) -> Index {
        let mut index = Index::default();
        for scan in self.scans.values() {
            for &(class, first, entry) in &scan.records {
                if !scan.acked[class.rank()].contains(first) {
                    index.insert(class, first, entry);
                }
            }
        }
        index
    }

    /// Numbers of all readable records.
    fn numbers(&self) -> RangeSet {
        let mut numbers = RangeSet::default();
        self.scans.values().for_each(|scan| numbers.extend(&scan.numbers));
        numbers
    }

    /// Whether a generation lacks something that the head says it had, or that it shows it had itself.
    fn is_damaged(&self, info: &GenerationInfo) -> bool {
        self.scans
            .get(&info.id)
            .is_none_or(|scan| scan.count() < info.stored || (!info.closed && (!scan.whole || scan.has_holes())))
    }

    /// Works out the next number, and what is lost.
    fn judge(&self, now_ns: u64) -> Verdict {
        let known = self.numbers();
        let last_known = known.last().unwrap_or(0);
        let mut verdict = Verdict::default();
        let Some(head) = &self.head else {
            let traces = !self.scans.is_empty() || !self.unreadable.is_empty() || !self.quarantined.is_empty();
            verdict.committed = last_known;
            verdict.next_seq = last_known + 1;
            if traces {
                // With nothing at all to go by, the clock in milliseconds has outrun any count of events.
                let floor = if last_known == 0 { now_ns / 1_000_000 } else { 0 };
                verdict.next_seq = (last_known + SAFETY_JUMP).max(floor);
                verdict.corrupt.insert(last_known + 1, verdict.next_seq - 1);
            }
            let holes = |scan: &Scan| !scan.whole || scan.has_holes();
            if !self.unreadable.is_empty() || self.scans.values().any(holes) {
                verdict.corrupt.insert(1, last_known);
                verdict.corrupt.subtract(&known);
            }
            return verdict;
        };
        verdict.committed = last_known.max(head.committed);
        verdict.next_seq = head.clean.unwrap_or(head.reserved_end).max(last_known + 1);
        for (at, info) in head.generations.iter().enumerate() {
            if !self.is_damaged(info) {
                continue;
            }
            tracing::error!(generation = info.id, "outbox generation has lost records");
            verdict.damaged.push(info.clone());
            verdict.corrupt.extend(&info.holds);
            if !info.closed {
                let end = match (head.generations.get(at + 1), self.scans.get(&info.id)) {
                    (Some(after), _) => after.first_own.saturating_sub(1),
                    (None, Some(_)) => verdict.committed,
                    (None, None) => verdict.next_seq - 1,
                };
                verdict.corrupt.insert(info.first_own, end);
            }
        }
        verdict.corrupt.subtract(&known);
        if head.clean.is_none() {
            verdict.restart.insert(verdict.committed + 1, verdict.next_seq - 1);
            verdict.restart.subtract(&verdict.corrupt);
        }
        verdict
    }
}

/// What follows from a survey.
#[derive(Debug, Default)]
struct Verdict {
    next_seq: u64,
    committed: u64,
    corrupt: RangeSet,
    restart: RangeSet,
    damaged: Vec<GenerationInfo>,
}

impl SledOutbox {
    pub(super) fn recover(
        dir: Dir,
        config: OutboxConfig,
        identity: Identity,
        now_ns: u64,
    ) -> Result<Self, OutboxError> {
        let mut survey = Survey::take(&dir, true)?;
        let verdict = survey.judge(now_ns);
        let keeps = survey.keeps(&dir, &verdict);
        let at = dir.path().to_owned();
        let failed = |doing| {
            let at = &at;
            move |e| dir::io_error(at, doing, e)
        };
        for (&id, reason) in &survey.unreadable {
            tracing::error!(generation = id, reason, "outbox generation does not open; quarantined");
            dir.quarantine(id).map_err(failed("quarantine"))?;
        }
        for &id in &survey.leftovers {
            dir.delete_generation(id).map_err(failed("delete"))?;
        }
        let ids = keeps.keys().chain(&survey.quarantined).chain(survey.unreadable.keys());
        let after = ids.max().map_or(1, |id| id.saturating_add(1));
        let next_generation = survey.head.as_ref().map_or(1, |h| h.next_generation).max(after);
        // The newest goes on being written only if there is nothing wrong with it.
        let fit = |id: u32| keeps.get(&id).is_some_and(|k| !k.closed && k.listed.is_none());
        let newest = survey.newest.take().filter(|g| fit(g.id));
        let mut this = Self {
            index: survey.index(),
            keeps,
            newest: newest.as_ref().map_or(0, |g| g.id),
            handles: newest.into_iter().collect(),
            head: Head { reserved_end: verdict.next_seq.saturating_add(BLOCK), next_generation, ..Head::default() },
            other_disk: dir.other_disk_bytes(),
            dir,
            config,
            identity,
            time_ns: now_ns,
            next_seq: verdict.next_seq,
            committed: verdict.committed,
            pending: std::array::from_fn(|_| Pending::default()),
            failing: false,
            ledger: Ledger::default(),
            unexplained: false,
            unnumbered: BTreeMap::new(),
            rotate_wanted: false,
            lost: 0,
            maintenance_told: None,
        };
        this.lose(LossCause::Corrupt, None, &verdict.corrupt);
        // Not counted as lost: most of these numbers were never used.
        this.ledger.add(LossCause::Restart, None, &verdict.restart);
        this.unexplained |= !verdict.restart.is_empty();
        if this.handles.is_empty() {
            this.rotate()?
        } else {
            this.write_head(None)?
        }
        if let Err(error) = this.commit() {
            tracing::warn!(%error, "outbox cannot store yet; events wait in memory");
        } else if !verdict.damaged.is_empty() {
            // The damage is explained; the head may forget it.
            this.write_head(None)?;
        }
        Ok(this)
    }
}

impl Survey {
    /// The books to begin with. What is damaged stays listed as it was until that is explained.
    fn keeps(&self, dir: &Dir, verdict: &Verdict) -> BTreeMap<u32, Keep> {
        let mut keeps = BTreeMap::new();
        let last = self.scans.keys().next_back().copied();
        for (&id, scan) in &self.scans {
            let info = self.head.as_ref().and_then(|h| h.generations.iter().find(|info| info.id == id));
            let keep = Keep {
                stored: scan.count(),
                holds: scan.numbers.clone(),
                first_own: info.map_or(verdict.next_seq, |i| i.first_own),
                closed: info.is_none_or(|i| i.closed) || Some(id) != last || scan.next_ordinal() > scan.count(),
                acked: scan.acked.clone(),
                disk: dir::disk_bytes(&dir.generation(id)),
                ..Keep::default()
            };
            keeps.insert(id, keep);
        }
        for (class, _, entry) in self.index().all() {
            if let Some(keep) = keeps.get_mut(&entry.generation) {
                keep.live[class.rank()] += 1;
            }
        }
        for info in &verdict.damaged {
            let keep = keeps.entry(info.id).or_insert_with(|| Keep { closed: true, doomed: true, ..Keep::default() });
            keep.listed = Some(info.clone());
            keep.closed = true;
        }
        keeps
    }
}

#[cfg(test)]
#[path = "damage_tests.rs"]
mod tests;

//! How wrong the clock was: what puts the times of waiting events right when they are sent.
//!
//! Events are stored as they were stamped. When the clock is set (first NTP answer, first satellite fix), the difference
//! between it and the time since the computer was started is noted in the head, by the name of that start; it holds for
//! all that was stamped before in the same start, also after a restart of the agent, or of the computer. What is read to
//! be sent is put right on the way out, so nothing is written again, and the order stays.

use super::record::{Record, take};
use super::store::SledOutbox;
use crate::event::{Clock, ClockFix, ClockState, clock};

/// Starts of the computer that are remembered, and settings of the clock in each: the first ones, and the last.
const MAX_BOOTS: usize = 16;
const MAX_FIXES: usize = 4;
/// The kernel's names have 36 bytes.
const MAX_NAME: usize = 64;

/// By start of the computer, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fixes(Vec<(String, Vec<ClockFix>)>);

impl Fixes {
    pub(super) fn add(&mut self, boot: &str, fix: ClockFix) {
        if boot.len() > MAX_NAME {
            return;
        }
        let at = self.0.iter().position(|(name, _)| name == boot).unwrap_or_else(|| {
            if self.0.len() == MAX_BOOTS {
                self.0.remove(0);
            }
            self.0.push((boot.to_owned(), Vec::new()));
            self.0.len() - 1
        });
        let of_boot = &mut self.0[at].1;
        of_boot.truncate(MAX_FIXES - 1);
        of_boot.push(fix);
    }

    pub(super) fn extend(&mut self, other: Self) {
        for (boot, fixes) in other.0 {
            fixes.into_iter().for_each(|fix| self.add(&boot, fix));
        }
    }

    /// What puts an event right: the best clock that came after it, of several the one that came first, before it could
    /// drift; of those set by hand the last.
    pub(super) fn find(&self, boot: &str, clock: Clock) -> Option<ClockFix> {
        let (_, fixes) = self.0.iter().find(|(name, _)| name == boot)?;
        let mut better = fixes.iter().filter(|fix| fix.state > clock.state && fix.mono_ns >= clock.mono_ns);
        let synced = better.clone().find(|fix| fix.state == ClockState::Synced);
        synced.or_else(|| better.next_back()).copied()
    }

    /// Count; for each start its name and fixes, with their lengths before them.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let narrow = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        out.push(narrow(self.0.len()));
        for (boot, fixes) in &self.0 {
            out.push(narrow(boot.len()));
            out.extend_from_slice(boot.as_bytes());
            out.push(narrow(fixes.len()));
            for fix in fixes {
                out.extend_from_slice(&fix.mono_ns.to_le_bytes());
                out.extend_from_slice(&fix.offset_ns.to_le_bytes());
                out.push(fix.state as u8);
            }
        }
    }

    /// What [`Fixes::put`] wrote.
    pub(super) fn take(rest: &mut &[u8]) -> Option<Self> {
        let mut boots = Vec::new();
        for _ in 0..take::<1>(rest)?[0] {
            let length = usize::from(take::<1>(rest)?[0]);
            let (name, after) = rest.split_at_checked(length)?;
            *rest = after;
            let mut fixes = Vec::new();
            for _ in 0..take::<1>(rest)?[0] {
                let (mono_ns, offset_ns) = (u64::from_le_bytes(take(rest)?), i64::from_le_bytes(take(rest)?));
                let state = *ClockState::ALL.get(usize::from(take::<1>(rest)?[0]))?;
                fixes.push(ClockFix { mono_ns, offset_ns, state });
            }
            boots.push((str::from_utf8(name).ok()?.to_owned(), fixes));
        }
        Some(Self(boots))
    }
}

impl SledOutbox {
    /// The clock was set.
    pub(super) fn note_fix(&mut self, fix: ClockFix) {
        let boot = self.identity.boot.clone();
        self.head.fixes.add(&boot, fix);
        self.head_stale = true;
        self.freshen_head();
    }

    /// The payload of a record, its times as right as they can be.
    pub(super) fn put_right(&self, record: Record) -> Vec<u8> {
        let fixes = &self.head.fixes;
        if fixes.0.is_empty() || !clock::may_be_wrong(&record.payload) {
            return record.payload;
        }
        let mut payload = Vec::with_capacity(record.payload.len() + 16 * record.events.len());
        for (_, encoding) in record.events() {
            match clock::put_right(encoding, |boot, clock| fixes.find(boot, clock)) {
                Some(right) => payload.extend_from_slice(&right),
                None => payload.extend_from_slice(encoding),
            }
        }
        payload
    }

    /// Time of a record's latest event, as far as it is known.
    pub(super) fn latest_time(&self, record: &Record) -> Option<u64> {
        if !clock::may_be_wrong(&record.payload) {
            return Some(record.times.1);
        }
        let best = |encoding| clock::best_time(encoding, |boot, clock| self.head.fixes.find(boot, clock));
        record.events().filter_map(|(_, encoding)| best(encoding)).max()
    }
}

#[cfg(test)]
#[path = "fixes_tests.rs"]
mod tests;

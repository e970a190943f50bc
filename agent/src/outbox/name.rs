//! The name under which events are stored, and how it changes.
//!
//! Sequence numbers are a vehicle's, and gap events speak of numbers: under a new pseudonym nothing may be said of the old
//! one's, or who reads both knows that they are the same vehicle. So the name changes at a moment when nothing waits and
//! nothing is left to be explained; then every number of the old name has arrived, or a gap event that names it has. Numbers
//! go on from a place that cannot be told from the old one. The head knows the name, so that a restart keeps it.

use std::sync::Arc;

use super::pending::Pending;
use super::store::{BLOCK, SledOutbox};
use crate::event::Identity;
use crate::event::clock::FLOOR_NS;
use crate::privacy::LATER_NAMES_FROM;

/// Numbers jump by this to twice this: 2^53, which JSON readers need, is reached after 65,000 names.
const JUMP: u64 = LATER_NAMES_FROM;

impl SledOutbox {
    /// Who sends what is here.
    pub fn current(&self) -> &Identity {
        &self.identity
    }

    /// Goes on under the name that the head says.
    pub(super) fn resume_name(&mut self, name: Option<Arc<str>>) {
        if self.naming.due(0).is_some() {
            self.head.name.clone_from(&name);
            self.identity = self.naming.under(name);
        }
    }

    /// At the start the clock may be wrong: better the name of before, unless that is the vehicle's own.
    pub(super) fn name_at_start(&mut self, now_ns: u64) {
        let is_plain = self.head.name.is_none();
        if now_ns < FLOOR_NS && !is_plain {
            return;
        }
        if !self.change_name(now_ns) && is_plain {
            tracing::warn!(
                "outbox {}: what waits has the vehicle's own name; events get a pseudonym once all that has arrived",
                self.dir.path().display()
            );
        }
    }

    /// Whether nothing waits.
    pub(super) fn has_arrived(&self) -> bool {
        self.pending.iter().all(Pending::is_empty) && self.events().iter().all(|events| *events == 0)
    }

    /// Takes the name that is due, if nothing waits under the one before. True: it has the name that is due.
    pub(super) fn change_name(&mut self, now_ns: u64) -> bool {
        let Some(due) = self.naming.due(now_ns) else { return true };
        if self.identity.vehicle == due {
            return true;
        }
        let sound = self.dir.is_open() && self.failing.is_none() && !self.unreserved && !self.unexplained;
        if !sound || self.ledger.events() > 0 || !self.has_arrived() {
            return false;
        }
        // What is left on disk is acknowledged; found damaged later, it would be called lost.
        self.retire();
        let ids: Vec<u32> = self.keeps.keys().copied().collect();
        ids.into_iter().for_each(|id| self.doom(id));
        if let Err(error) = self.reap() {
            tracing::warn!(%error, "outbox keeps its name for now");
            return false;
        }
        let before = (self.next_seq, self.head.reserved_end, self.identity.clone(), self.head.name.clone());
        self.next_seq = self.next_seq.saturating_add(JUMP + fastrand::u64(..JUMP));
        self.head.reserved_end = self.next_seq.saturating_add(BLOCK);
        self.identity = self.naming.under(Some(due.clone()));
        self.head.name = Some(due);
        if let Err(error) = self.write_head(None) {
            tracing::warn!(%error, "outbox keeps its name for now");
            (self.next_seq, self.head.reserved_end, self.identity, self.head.name) = before;
            return false;
        }
        tracing::info!("events have a new pseudonym");
        true
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;

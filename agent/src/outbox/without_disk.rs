//! A disk that refuses: no rights, read-only, full, failing.
//!
//! The agent starts and goes on all the same. What it cannot store waits in memory, within its bound, and is sent from there;
//! what does not fit is lost with cause `storage`. A directory that could not be opened is tried again every now and then, and
//! when it opens, what is in memory moves there.
//!
//! Sequence numbers are the difficulty: none may be given out twice, and which were used cannot be read, or cannot be noted.
//! So they jump to a place where no counter ever comes: the milliseconds since 1970 times 1024. Counting goes on from there
//! once the disk is back, and numbers stay below 2^53, which JSON readers need, until the year 2248. What was jumped over is
//! explained by a gap event.

use std::path::Path;
use std::time::{Duration, Instant};

use super::dir::Dir;
use super::head::Head;
use super::ranges::RangeSet;
use super::store::{BLOCK, SledOutbox};
use super::{OutboxConfig, OutboxError};
use crate::event::{Class, LossCause, Moment};
use crate::privacy::Naming;

/// Between two attempts to open the directory: doubled each time, up to the last.
const TRY_FIRST: Duration = Duration::from_millis(100);
const TRY_EVERY: Duration = Duration::from_secs(60);
/// From this wait on, a minute after the start, a generation that cannot be read does not keep the others closed.
const GIVE_UP: Duration = Duration::from_secs(30);
/// 2026-01-01: a clock that says less is not set.
const FLOOR_MS: u64 = 1_767_225_600_000;

/// A number that no counter has reached.
pub(super) fn beyond(now_ns: u64) -> u64 {
    let now_ms = now_ns / 1_000_000;
    if now_ms >= FLOOR_MS {
        return now_ms * 1024;
    }
    // Without a clock nothing tells this start from others, but chance.
    FLOOR_MS * 1024 + fastrand::u64(..1 << 50)
}

impl SledOutbox {
    /// An outbox of which the directory could not be opened.
    pub(super) fn without_disk(
        path: &Path,
        error: OutboxError,
        config: OutboxConfig,
        naming: Naming,
        now: Moment,
    ) -> Self {
        tracing::error!("{error}; events are kept in memory only until the directory can be opened");
        let next_seq = beyond(now.time_ns);
        let mut this = Self::empty(Dir::refused(path, error), config, naming, now, next_seq);
        // Whatever is stored cannot be sent, and nobody knows what there is.
        this.ledger.add(LossCause::Storage, None, &[(1, next_seq - 1)].into_iter().collect(), None);
        this.unexplained = true;
        (this.jumped_to, this.patience) = (next_seq, TRY_FIRST);
        this
    }

    /// No more numbers could be reserved: goes on with others.
    pub(super) fn jump(&mut self, error: &OutboxError) {
        tracing::error!("{error}; numbers cannot be reserved, and jump");
        let mut to = beyond(self.latest.time_ns);
        self.unreserved = true;
        if to <= self.next_seq {
            // It was there before: the clock was set back, or was never set.
            to = self.next_seq.saturating_add(BLOCK + fastrand::u64(..1 << 40));
        }
        if to > self.next_seq {
            // None of these was ever used.
            let skipped = [(self.next_seq, to - 1)].into_iter().collect();
            self.ledger.add(LossCause::Restart, None, &skipped, None);
            self.unexplained = true;
            (self.next_seq, self.jumped_to) = (to, to);
        }
    }

    /// When there was no disk at the start: tries again, now and then.
    pub(super) fn try_disk(&mut self) {
        if !self.dir.is_open() && self.tried.elapsed() >= self.patience {
            self.patience = (self.patience * 2).min(TRY_EVERY);
            self.open_again(false);
        }
    }

    /// Tries to open the directory, and moves there.
    pub(super) fn open_again(&mut self, closing: bool) {
        self.tried = Instant::now();
        let path = self.dir.path().to_owned();
        if !closing && !self.has_arrived() && self.is_under_another_name() {
            // What waits here goes first. Nothing is opened: each opening would reserve numbers, and explain them.
            return;
        }
        let give_up = self.patience >= GIVE_UP;
        let opened = Dir::lock(&path, true)
            .and_then(|dir| Self::recover(dir, self.config, self.naming.clone(), self.latest, give_up));
        match opened {
            Ok(found) => self.move_to(found),
            Err(error) => tracing::debug!("{error}"),
        }
    }

    /// Whether what is on the disk has another name than what waits here.
    fn is_under_another_name(&self) -> bool {
        let stored = Head::load(self.dir.path()).ok().flatten();
        self.naming.due(0).is_some() && stored.is_some_and(|head| head.name != self.head.name)
    }

    fn move_to(&mut self, mut found: Self) {
        tracing::info!("outbox {} can be opened now", self.dir.path().display());
        found.link_up = self.link_up;
        // What could not be stored at once there gets numbers anew behind ours.
        for class in Class::ALL {
            found.drop_pending(class, usize::MAX, LossCause::Restart);
        }
        // Under another name, none of ours is known to be used.
        let end = if found.identity == self.identity { self.jumped_to } else { self.next_seq };
        let unused: RangeSet = [(found.next_seq, end - 1)].into_iter().collect();
        found.ledger.add(LossCause::Restart, None, &unused, None);
        found.unexplained = true;
        found.next_seq = found.next_seq.max(self.next_seq);
        found.pending = std::mem::take(&mut self.pending);
        found.volatile = std::mem::take(&mut self.volatile);
        found.ledger.extend(std::mem::take(&mut self.ledger));
        found.owed.extend(std::mem::take(&mut self.owed));
        found.lost = found.lost.saturating_add(self.lost);
        found.latest = self.latest;
        found.head.fixes.extend(std::mem::take(&mut self.head.fixes));
        found.unreserved = true;
        // The next commit stores what was only in memory.
        found.failing = Some(self.tried);
        *self = found;
        if let Err(error) = self.write_head(None) {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
#[path = "without_disk_tests.rs"]
mod tests;

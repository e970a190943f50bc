//! Debounce: when a condition that flickers becomes one event, and when it is over.

use std::collections::VecDeque;

/// When to raise and clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DebounceSpec {
    /// Raise when it held at `k` of the last `n` grid points.
    pub k: usize,
    /// See `k`; 1 to [`MAX_N`].
    pub n: usize,
    /// And not before it has held for so long, with pauses that `n` bridges, nanoseconds.
    pub min_ns: u64,
    /// Clear when it has not held for so long, nanoseconds.
    pub clear_ns: u64,
    /// While raised, tell again at most this often, nanoseconds.
    pub update_ns: u64,
}

/// Longest history.
pub const MAX_N: usize = 1000;

/// What a grid point led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is the matter, or not for long enough.
    Quiet,
    /// Just raised; the condition first held at `since_ns` within the window.
    Raised {
        /// Nanoseconds since the Unix epoch.
        since_ns: u64,
    },
    /// Raised, and nothing to tell.
    Holding,
    /// Raised, and due to be told again.
    Ongoing,
    /// Over.
    Cleared,
}

/// The debounce of one condition.
#[derive(Debug)]
pub struct Debounce {
    spec: DebounceSpec,
    /// Times of the last grid points at which it held, `None` where it did not; at most `n`.
    recent: VecDeque<Option<u64>>,
    raised: bool,
    /// Not raised: since when it holds often enough.
    since_ns: Option<u64>,
    last_held_ns: u64,
    last_told_ns: u64,
}

impl Debounce {
    /// Quiet at first.
    pub fn new(spec: DebounceSpec) -> Self {
        let recent = VecDeque::with_capacity(spec.n);
        Self { spec, recent, raised: false, since_ns: None, last_held_ns: 0, last_told_ns: 0 }
    }

    /// It has been raised, and has not cleared.
    pub fn is_raised(&self) -> bool {
        self.raised
    }

    /// Ends what was raised; true when something was.
    pub fn end(&mut self) -> bool {
        self.recent.clear();
        self.since_ns = None;
        std::mem::take(&mut self.raised)
    }

    /// The clock jumped to `now_ns`: nothing lies in the future, and what held before is not counted together with
    /// what holds after. What was raised stays raised.
    pub fn time_jumped(&mut self, now_ns: u64) {
        self.recent.clear();
        self.since_ns = None;
        self.last_held_ns = self.last_held_ns.min(now_ns);
        self.last_told_ns = self.last_told_ns.min(now_ns);
    }

    /// One grid point: whether the condition holds at `now_ns`.
    pub fn step(&mut self, holds: bool, now_ns: u64) -> Step {
        if self.recent.len() == self.spec.n {
            self.recent.pop_front();
        }
        self.recent.push_back(holds.then_some(now_ns));
        if holds {
            self.last_held_ns = now_ns;
        }
        if self.raised {
            if now_ns.saturating_sub(self.last_held_ns) >= self.spec.clear_ns && !holds {
                self.raised = false;
                self.recent.clear();
                self.since_ns = None;
                return Step::Cleared;
            }
            if now_ns.saturating_sub(self.last_told_ns) >= self.spec.update_ns {
                self.last_told_ns = now_ns;
                return Step::Ongoing;
            }
            return Step::Holding;
        }
        let first_ns = self.recent.iter().flatten().next().copied();
        let Some(first_ns) = first_ns.filter(|_| self.recent.iter().flatten().count() >= self.spec.k) else {
            self.since_ns = None;
            return Step::Quiet;
        };
        let since_ns = *self.since_ns.get_or_insert(first_ns);
        if !holds || now_ns.saturating_sub(since_ns) < self.spec.min_ns {
            return Step::Quiet;
        }
        self.raised = true;
        self.last_told_ns = now_ns;
        Step::Raised { since_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: DebounceSpec = DebounceSpec { k: 2, n: 3, min_ns: 0, clear_ns: 20, update_ns: 30 };

    fn run(holds: &str) -> Vec<Step> {
        run_with(SPEC, holds)
    }

    fn run_with(spec: DebounceSpec, holds: &str) -> Vec<Step> {
        let mut debounce = Debounce::new(spec);
        holds.bytes().zip(0u64..).map(|(c, i)| debounce.step(c == b'x', 10 * i)).collect()
    }

    #[test]
    fn one_flicker_is_not_an_event() {
        assert!(run("..x...x..").iter().all(|s| *s == Step::Quiet));
    }

    #[test]
    fn raises_at_k_of_n_updates_at_a_bounded_rate_and_clears_once() {
        use Step::{Cleared, Holding, Ongoing, Quiet, Raised};
        let steps = run(".x.xxxx....");
        let expected =
            [Quiet, Quiet, Quiet, Raised { since_ns: 10 }, Holding, Holding, Ongoing, Holding, Cleared, Quiet, Quiet];
        assert_eq!(steps, expected);
    }

    #[test]
    fn what_does_not_last_is_not_an_event() {
        let spec = DebounceSpec { min_ns: 50, ..SPEC };
        assert!(run_with(spec, "xxxxx...xx.xx").iter().all(|s| *s == Step::Quiet));
        let steps = run_with(spec, "..x.xx.xx");
        assert_eq!(steps.iter().position(|s| *s != Step::Quiet), Some(7));
        assert_eq!(steps[7], Step::Raised { since_ns: 20 });
        // Also with a history of one; and flicker before does not count.
        let every = DebounceSpec { k: 1, n: 1, min_ns: 30, ..SPEC };
        assert_eq!(run_with(every, "x.xxxx")[5], Step::Raised { since_ns: 20 });
        let rare = DebounceSpec { k: 2, n: 3, ..SPEC };
        assert_eq!(run_with(rare, "x..x..x..xx")[10], Step::Raised { since_ns: 90 });
    }

    #[test]
    fn a_new_anomaly_after_clearing_needs_its_own_k() {
        let steps = run("xx..x..xx");
        assert_eq!(steps.iter().filter(|s| matches!(s, Step::Raised { .. })).count(), 2);
        assert_eq!(steps[8], Step::Raised { since_ns: 70 });
    }
}

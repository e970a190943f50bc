//! From an expression's outcome, again and again, to the moments at which a condition acts.
//!
//! ```text
//!             true for hold_ns                      until, or no longer true
//!   quiet ───────────────────▶ raised: acts, ─────────────────────────────▶ quiet: tells, if it has acted
//!     ▲                        and again each repeat_ns                        │
//!     └──────────── acts again only when it was not true in between ◀──────────┘
//! ```

use std::collections::VecDeque;

/// When a condition acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// It has to be true for so long, nanoseconds.
    pub hold_ns: u64,
    /// While it is raised, it acts again so often, nanoseconds; `None`: once.
    pub repeat_ns: Option<u64>,
    /// After it has acted it does not for so long, nanoseconds.
    pub cooldown_ns: u64,
    /// It acts at most so often in any hour.
    pub per_hour: Option<u16>,
}

const HOUR_NS: u64 = 3_600_000_000_000;

/// What a moment leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Quiet,
    /// Acts: it has just become true.
    Raised,
    /// Acts: it still is.
    Holding,
    /// Over.
    Cleared,
}

#[derive(Debug)]
pub(super) struct Machine {
    timing: Timing,
    /// Not raised: since when it is true.
    true_since_ns: Option<u64>,
    pub(super) raised: bool,
    /// It has acted since it was raised.
    told: bool,
    /// It was true all the time since it was raised last.
    spent: bool,
    /// Since when it is true, of what is or was raised.
    pub(super) since_ns: u64,
    next_ns: u64,
    acted_ns: Option<u64>,
    /// When it has acted in the last hour.
    acted: VecDeque<u64>,
    /// How often it was kept from acting since it acted last.
    pub(super) suppressed: u64,
}

impl Machine {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            true_since_ns: None,
            raised: false,
            told: false,
            spent: false,
            since_ns: 0,
            next_ns: 0,
            acted_ns: None,
            acted: VecDeque::with_capacity(timing.per_hour.unwrap_or(0).into()),
            suppressed: 0,
        }
    }

    /// The clock jumped to `now_ns`: nothing lies in the future, and what was true before does not count.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.true_since_ns = None;
        self.next_ns = self.next_ns.min(now_ns);
        self.acted_ns = self.acted_ns.map(|at| at.min(now_ns));
        self.acted.iter_mut().for_each(|at| *at = (*at).min(now_ns));
    }

    /// What the outcomes of its expressions (1, 0, NaN) lead to; `wake_ns` becomes the time at which it wants to be asked again,
    /// if that is earlier.
    pub(super) fn step(&mut self, when: f64, until: Option<f64>, now_ns: u64, wake_ns: &mut u64) -> Step {
        let is_true = when == 1.0;
        if self.raised {
            if until.map_or(!is_true, |until| until == 1.0) {
                (self.raised, self.spent, self.true_since_ns) = (false, is_true, None);
                return if std::mem::take(&mut self.told) { Step::Cleared } else { Step::Quiet };
            }
            let Some(repeat_ns) = self.timing.repeat_ns else { return Step::Quiet };
            if now_ns < self.next_ns {
                *wake_ns = (*wake_ns).min(self.next_ns);
                return Step::Quiet;
            }
            self.next_ns = now_ns.saturating_add(repeat_ns);
            *wake_ns = (*wake_ns).min(self.next_ns);
            // With an end of its own it may be raised and not be true.
            return if is_true && self.may_act(now_ns) { Step::Holding } else { Step::Quiet };
        }
        if !is_true {
            (self.true_since_ns, self.spent) = (None, false);
            return Step::Quiet;
        }
        if self.spent {
            return Step::Quiet;
        }
        let since_ns = *self.true_since_ns.get_or_insert(now_ns);
        let due_ns = since_ns.saturating_add(self.timing.hold_ns);
        if now_ns < due_ns {
            *wake_ns = (*wake_ns).min(due_ns);
            return Step::Quiet;
        }
        (self.raised, self.since_ns) = (true, since_ns);
        if let Some(repeat_ns) = self.timing.repeat_ns {
            self.next_ns = now_ns.saturating_add(repeat_ns);
            *wake_ns = (*wake_ns).min(self.next_ns);
        }
        self.told = self.may_act(now_ns);
        if self.told { Step::Raised } else { Step::Quiet }
    }

    fn may_act(&mut self, now_ns: u64) -> bool {
        while self.acted.front().is_some_and(|at| now_ns.saturating_sub(*at) >= HOUR_NS) {
            self.acted.pop_front();
        }
        let rests = self.acted_ns.is_some_and(|at| now_ns.saturating_sub(at) < self.timing.cooldown_ns);
        let often = self.timing.per_hour.is_some_and(|most| self.acted.len() >= usize::from(most));
        if rests || often {
            self.suppressed += 1;
            return false;
        }
        self.acted_ns = Some(now_ns);
        if self.timing.per_hour.is_some() {
            self.acted.push_back(now_ns);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments at which something happens when the expression is as in `when` at times 0, 10, 20, …: `x` true, `.` not, `?` not
    /// known; `until` likewise.
    fn run(timing: Timing, when: &str, until: Option<&str>) -> Vec<(u64, Step)> {
        let value = |c: u8| match c {
            b'x' => 1.0,
            b'?' => f64::NAN,
            _ => 0.0,
        };
        let mut machine = Machine::new(timing);
        let mut steps = Vec::new();
        for (i, c) in when.bytes().enumerate() {
            let now_ns = 1000 + 10 * i as u64;
            let until = until.map(|until| value(until.as_bytes()[i]));
            let step = machine.step(value(c), until, now_ns, &mut u64::MAX.clone());
            if step != Step::Quiet {
                steps.push((now_ns - 1000, step));
            }
        }
        steps
    }

    #[test]
    fn an_edge_acts_once_and_its_end_is_told() {
        let steps = run(Timing::default(), "?..xxx..x?x", None);
        use Step::{Cleared, Raised};
        assert_eq!(steps, [(30, Raised), (60, Cleared), (80, Raised), (90, Cleared), (100, Raised)]);
    }

    #[test]
    fn what_does_not_hold_does_not_act() {
        let timing = Timing { hold_ns: 20, ..Timing::default() };
        assert_eq!(run(timing, "xx.xx.x?xx.xxx", None), [(130, Step::Raised)]);
    }

    #[test]
    fn an_end_of_its_own_is_hysteresis() {
        let steps = run(Timing::default(), "x.x.xxxx.x", Some("...x...x.."));
        use Step::{Cleared, Raised};
        // At 70 both are true: over, and not raised again before it has been otherwise.
        assert_eq!(steps, [(0, Raised), (30, Cleared), (40, Raised), (70, Cleared), (90, Raised)]);
    }

    #[test]
    fn a_level_acts_again_and_again() {
        let timing = Timing { repeat_ns: Some(20), ..Timing::default() };
        use Step::{Cleared, Holding, Raised};
        assert_eq!(run(timing, ".xxxxxx.", None), [(10, Raised), (30, Holding), (50, Holding), (70, Cleared)]);
    }

    #[test]
    fn a_rest_and_a_limit_keep_it_from_acting_and_are_counted() {
        let timing = Timing { cooldown_ns: 30, ..Timing::default() };
        let steps = run(timing, "x.x.x.x.", None);
        // What has not been told does not end either.
        assert_eq!(steps, [(0, Step::Raised), (10, Step::Cleared), (40, Step::Raised), (50, Step::Cleared)]);

        let mut machine = Machine::new(Timing { per_hour: Some(2), ..Timing::default() });
        let mut acted = Vec::new();
        for minute in 0..150 {
            let now_ns = minute * 60_000_000_000;
            if machine.step(1.0, None, now_ns, &mut u64::MAX.clone()) == Step::Raised {
                acted.push((minute, std::mem::take(&mut machine.suppressed)));
            }
            machine.step(0.0, None, now_ns + 1, &mut u64::MAX.clone());
        }
        assert_eq!(acted, [(0, 0), (1, 0), (60, 58), (61, 0), (120, 58), (121, 0)]);
    }
}

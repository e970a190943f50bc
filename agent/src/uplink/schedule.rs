//! Which class is sent next.
//!
//! Strict priority, but for a share: of every [`SHARE`] messages sent while a less important class
//! waits, one goes to such a class, the lowest first and then upwards in rotation. So a backlog of
//! telemetry delays an alert by what is already in flight and one message of the share, and a
//! stream of alerts never starves telemetry.
//!
//! For each class there is a cursor: the last batch that this connection has taken. A new
//! connection starts again from the front, because the outbox still holds whatever was not
//! acknowledged.
//!
//! After a refusal a class rests, then one message goes out as a probe, alone and not before
//! everything is settled that was in flight with the refused one. Only when the gateway has taken
//! the probe does the class get its share of the window back:
//!
//! ```text
//!        refused             rest over, nothing in flight: one message
//!  Open ────────▶ Shut ─────────────────────────────────────────────▶ Probing ──taken──▶ Open
//!                  ▲                                                     │
//!                  └─────────────── refused, connection lost ────────────┘
//! ```

use std::time::Instant;

use crate::event::Class;

/// One of this many messages goes to a less important class while one waits.
pub(crate) const SHARE: u32 = 8;

/// How freely a class may send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    Shut,
    Probing,
}

/// What is known of one class.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// `first_seq` of the last batch taken; 0 before the first.
    after: u64,
    /// The network is not to carry it now.
    barred: bool,
    /// There was nothing beyond the cursor when it was last looked at, and nothing came since.
    idle: bool,
    /// It rests until then.
    held_until: Option<Instant>,
    /// Messages sent on this connection and not settled.
    in_flight: usize,
    gate: Gate,
}

impl Lane {
    fn ready(&self, now: Instant) -> bool {
        let free = self.gate == Gate::Open || self.in_flight == 0;
        free && !self.barred && !self.idle && self.held_until.is_none_or(|until| until <= now)
    }
}

/// The order of sending. Does no I/O: the caller says what it found and what it sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schedule {
    lanes: [Lane; 5],
    /// Messages sent past a waiting lower class since the last share.
    passed_over: u32,
    /// How far the rotation of the share has come: ranks are taken downwards from here.
    rotation: usize,
}

impl Schedule {
    /// Everything may be waiting.
    pub(crate) fn new() -> Self {
        Self { rotation: Class::ALL.len() - 1, ..Self::default() }
    }

    /// The class to look at now; `None` when all are idle, held or probing. Then call either [`Self::sent`] or [`Self::idle`].
    pub(crate) fn next(&self, now: Instant) -> Option<Class> {
        let ready = |rank: &usize| self.lanes[*rank].ready(now);
        let first = (0..Class::ALL.len()).find(ready)?;
        if self.passed_over + 1 >= SHARE {
            let lower = self.rotation_order().filter(|rank| *rank > first).find(ready);
            if let Some(rank) = lower {
                return Class::from_rank(rank);
            }
        }
        Class::from_rank(first)
    }

    /// Ranks in the order in which the share offers itself.
    fn rotation_order(&self) -> impl Iterator<Item = usize> + use<> {
        let (start, n) = (self.rotation, Class::ALL.len());
        (0..n).map(move |step| (start + n - step) % n)
    }

    /// A message of `class` was sent.
    pub(crate) fn sent(&mut self, class: Class, now: Instant) {
        let rank = class.rank();
        let lane = &mut self.lanes[rank];
        lane.in_flight += 1;
        if lane.gate == Gate::Shut {
            lane.gate = Gate::Probing;
        }
        let passed_higher = self.lanes[..rank].iter().any(|lane| lane.ready(now));
        let passes_lower = self.lanes[rank + 1..].iter().any(|lane| lane.ready(now));
        if passed_higher {
            self.passed_over = 0;
            self.rotation = rank.checked_sub(1).unwrap_or(Class::ALL.len() - 1);
        } else if passes_lower {
            self.passed_over = (self.passed_over + 1).min(SHARE);
        }
    }

    /// The gateway has taken a message of `class`. False when that says nothing about now: it was in flight together
    /// with one that was refused.
    pub(crate) fn taken(&mut self, class: Class) -> bool {
        let lane = &mut self.lanes[class.rank()];
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if lane.gate == Gate::Probing {
            lane.gate = Gate::Open;
        }
        lane.gate == Gate::Open
    }

    /// The gateway has refused a message of `class`. True when the class has to rest anew: what was in flight together
    /// counts as one refusal.
    pub(crate) fn refused(&mut self, class: Class) -> bool {
        let lane = &mut self.lanes[class.rank()];
        lane.in_flight = lane.in_flight.saturating_sub(1);
        std::mem::replace(&mut lane.gate, Gate::Shut) != Gate::Shut
    }

    /// There is nothing to send beyond the cursor of `class`.
    pub(crate) fn idle(&mut self, class: Class) {
        self.lanes[class.rank()].idle = true;
    }

    /// Something may be waiting in any class.
    pub(crate) fn wake(&mut self) {
        for lane in &mut self.lanes {
            lane.idle = false;
        }
    }

    /// The place in `class` beyond which the next batch is to be read.
    pub(crate) fn after(&self, class: Class) -> u64 {
        self.lanes[class.rank()].after
    }

    /// The batch `first_seq` of `class` was taken.
    pub(crate) fn advance(&mut self, class: Class, first_seq: u64) {
        let lane = &mut self.lanes[class.rank()];
        lane.after = lane.after.max(first_seq);
    }

    /// The batch `first_seq` of `class` has to be sent again.
    pub(crate) fn rewind(&mut self, class: Class, first_seq: u64) {
        let lane = &mut self.lanes[class.rank()];
        lane.after = lane.after.min(first_seq.saturating_sub(1));
        lane.idle = false;
    }

    /// Sends nothing of `class` before `until`, and then a probe.
    pub(crate) fn rest(&mut self, class: Class, until: Instant) {
        self.hold(class, until);
        self.lanes[class.rank()].gate = Gate::Shut;
    }

    /// Sends nothing of `class` before `until`.
    pub(crate) fn hold(&mut self, class: Class, until: Instant) {
        let lane = &mut self.lanes[class.rank()];
        lane.held_until = Some(lane.held_until.map_or(until, |old| old.max(until)));
    }

    /// When the first of the classes that are held at `now` and not idle may go on.
    pub(crate) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.lanes
            .iter()
            .filter(|lane| !lane.idle)
            .filter_map(|lane| lane.held_until)
            .filter(|until| *until > now)
            .min()
    }

    /// The network carries these classes now, by class rank, and no others.
    pub(crate) fn open(&mut self, open: [bool; 5]) {
        for (lane, open) in self.lanes.iter_mut().zip(open) {
            lane.barred = !open;
        }
    }

    /// Something may be waiting in a class that the network is not to carry now.
    pub(crate) fn is_barred(&self) -> bool {
        self.lanes.iter().any(|lane| lane.barred && !lane.idle)
    }

    /// A new connection: whatever the outbox still holds is to be sent. Rests stay, and a probe without an answer is repeated.
    pub(crate) fn restart(&mut self) {
        for lane in &mut self.lanes {
            lane.after = 0;
            lane.idle = false;
            lane.in_flight = 0;
            if lane.gate == Gate::Probing {
                lane.gate = Gate::Shut;
            }
        }
    }

    /// Until `deadline` nothing is left to be sent or settled in any class, as far as is known; `opens` is when the network
    /// may carry more.
    pub(crate) fn drained(&self, deadline: Instant, opens: Option<Instant>) -> bool {
        let stays_barred = opens.is_none_or(|at| at >= deadline);
        let rests = |lane: &Lane| lane.held_until.is_some_and(|until| until >= deadline);
        self.lanes.iter().all(|lane| lane.in_flight == 0 && (lane.idle || (lane.barred && stays_barred) || rests(lane)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Sends `n` messages with `waiting` classes always full; returns what went out.
    fn drive(schedule: &mut Schedule, waiting: &[Class], n: usize) -> Vec<Class> {
        let now = Instant::now();
        let mut out = Vec::new();
        while out.len() < n {
            let Some(class) = schedule.next(now) else { break };
            if waiting.contains(&class) {
                schedule.sent(class, now);
                out.push(class);
            } else {
                schedule.idle(class);
            }
        }
        out
    }

    fn count(sent: &[Class], class: Class) -> usize {
        sent.iter().filter(|c| **c == class).count()
    }

    #[test]
    fn alone_a_class_gets_everything() {
        for class in Class::ALL {
            assert_eq!(drive(&mut Schedule::new(), &[class], 20), vec![class; 20]);
        }
    }

    #[test]
    fn priority_with_one_in_eight_for_the_lowest() {
        let sent = drive(&mut Schedule::new(), &[Class::Alert, Class::Telemetry], 80);
        assert_eq!(count(&sent, Class::Telemetry), 10);
        assert_eq!(sent[0], Class::Alert);
        for window in sent.windows(8) {
            assert_eq!(count(window, Class::Telemetry), 1, "evenly spread: {window:?}");
        }
    }

    #[test]
    fn the_share_rotates_over_all_lower_classes() {
        let sent = drive(&mut Schedule::new(), &Class::ALL, 8 * 8);
        let share: Vec<_> = sent.iter().copied().filter(|c| *c != Class::Critical).collect();
        let turn = [Class::Bulk, Class::Telemetry, Class::Status, Class::Alert];
        assert_eq!(share, [turn, turn].concat());
    }

    #[test]
    fn an_alert_passes_a_backlog_at_once_or_after_one_share() {
        let now = Instant::now();
        for before in 0..20 {
            let mut schedule = Schedule::new();
            drive(&mut schedule, &[Class::Telemetry, Class::Bulk], before);
            schedule.wake();
            let position = (0..3).find(|_| {
                let class = schedule.next(now).unwrap();
                if class == Class::Critical {
                    schedule.idle(class);
                    let class = schedule.next(now).unwrap();
                    schedule.sent(class, now);
                    return class == Class::Alert;
                }
                schedule.sent(class, now);
                class == Class::Alert
            });
            assert!(position.is_some_and(|p| p <= 1), "after {before}: {position:?}");
        }
    }

    #[test]
    fn cursors_advance_rewind_and_restart() {
        let mut schedule = Schedule::new();
        schedule.advance(Class::Alert, 7);
        schedule.advance(Class::Alert, 12);
        assert_eq!((schedule.after(Class::Alert), schedule.after(Class::Bulk)), (12, 0));
        schedule.idle(Class::Alert);
        schedule.rewind(Class::Alert, 7);
        assert_eq!(schedule.after(Class::Alert), 6);
        schedule.restart();
        assert_eq!(schedule.after(Class::Alert), 0);
        assert!(!schedule.drained(Instant::now(), None));
    }

    #[test]
    fn a_held_class_waits_and_the_others_go_on() {
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let mut schedule = Schedule::new();
        schedule.hold(Class::Critical, until);
        assert_eq!(schedule.next(now), Some(Class::Alert));
        assert_eq!(schedule.next_release(now), Some(until));
        assert_eq!(schedule.next(until), Some(Class::Critical));
        assert_eq!(schedule.next_release(until), None);
        for class in Class::ALL {
            schedule.idle(class);
        }
        assert!(schedule.drained(until, None));
        assert_eq!(schedule.next_release(now), None);
    }

    #[test]
    fn after_a_refusal_one_message_probes_before_the_window_opens_again() {
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let mut schedule = Schedule::new();
        Class::ALL.into_iter().skip(1).for_each(|class| schedule.idle(class));
        for _ in 0..3 {
            assert_eq!(schedule.next(now), Some(Class::Critical));
            schedule.sent(Class::Critical, now);
        }
        assert!(schedule.refused(Class::Critical));
        schedule.rest(Class::Critical, until);
        assert!(!schedule.refused(Class::Critical), "in flight together counts once");
        assert_eq!(schedule.next(until), None, "something is still in flight");
        assert!(!schedule.taken(Class::Critical), "it says nothing about now");
        assert_eq!((schedule.next(now), schedule.next(until)), (None, Some(Class::Critical)));

        schedule.sent(Class::Critical, until);
        assert_eq!(schedule.next(until), None, "one probe");
        assert!(schedule.refused(Class::Critical), "a refused probe is a new refusal");
        let later = until + Duration::from_secs(1);
        schedule.rest(Class::Critical, later);
        schedule.sent(Class::Critical, later);
        schedule.restart();
        Class::ALL.into_iter().skip(1).for_each(|class| schedule.idle(class));
        schedule.sent(Class::Critical, later);
        assert_eq!(schedule.next(later), None, "a new connection probes too");
        assert!(schedule.taken(Class::Critical));
        for _ in 0..3 {
            assert_eq!(schedule.next(later), Some(Class::Critical), "open again");
            schedule.sent(Class::Critical, later);
        }
    }

    #[test]
    fn a_drain_waits_for_a_rest_that_ends_in_time_and_for_no_other() {
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let mut schedule = Schedule::new();
        schedule.rest(Class::Alert, until);
        Class::ALL.into_iter().filter(|class| *class != Class::Alert).for_each(|class| schedule.idle(class));
        assert!(!schedule.drained(until + Duration::from_millis(1), None));
        assert!(schedule.drained(until, None));
        schedule.sent(Class::Bulk, now);
        assert!(!schedule.drained(until, None), "in flight");
    }
}

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

use std::time::Instant;

use crate::event::Class;

/// One of this many messages goes to a less important class while one waits.
pub const SHARE: u32 = 8;

/// What is known of one class.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// `first_seq` of the last batch taken; 0 before the first.
    after: u64,
    /// There was nothing beyond the cursor when it was last looked at, and nothing came since.
    idle: bool,
    /// The gateway asked for patience.
    held_until: Option<Instant>,
}

impl Lane {
    fn ready(&self, now: Instant) -> bool {
        !self.idle && self.held_until.is_none_or(|until| until <= now)
    }
}

/// The order of sending. Does no I/O: the caller says what it found and what it sent.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    lanes: [Lane; 5],
    /// Messages sent past a waiting lower class since the last share.
    passed_over: u32,
    /// How far the rotation of the share has come: ranks are taken downwards from here.
    rotation: usize,
}

impl Schedule {
    /// Everything may be waiting.
    pub fn new() -> Self {
        Self { rotation: Class::ALL.len() - 1, ..Self::default() }
    }

    /// The class to look at now; `None` when all are idle or held. Then call either [`Self::sent`] or [`Self::idle`].
    pub fn next(&self, now: Instant) -> Option<Class> {
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
    pub fn sent(&mut self, class: Class, now: Instant) {
        let rank = class.rank();
        let passed_higher = self.lanes[..rank].iter().any(|lane| lane.ready(now));
        let passes_lower = self.lanes[rank + 1..].iter().any(|lane| lane.ready(now));
        if passed_higher {
            self.passed_over = 0;
            self.rotation = rank.checked_sub(1).unwrap_or(Class::ALL.len() - 1);
        } else if passes_lower {
            self.passed_over = (self.passed_over + 1).min(SHARE);
        }
    }

    /// There is nothing to send beyond the cursor of `class`.
    pub fn idle(&mut self, class: Class) {
        self.lanes[class.rank()].idle = true;
    }

    /// Something may be waiting in any class.
    pub fn wake(&mut self) {
        for lane in &mut self.lanes {
            lane.idle = false;
        }
    }

    /// The place in `class` beyond which the next batch is to be read.
    pub fn after(&self, class: Class) -> u64 {
        self.lanes[class.rank()].after
    }

    /// The batch `first_seq` of `class` was taken.
    pub fn advance(&mut self, class: Class, first_seq: u64) {
        let lane = &mut self.lanes[class.rank()];
        lane.after = lane.after.max(first_seq);
    }

    /// The batch `first_seq` of `class` has to be sent again.
    pub fn rewind(&mut self, class: Class, first_seq: u64) {
        let lane = &mut self.lanes[class.rank()];
        lane.after = lane.after.min(first_seq.saturating_sub(1));
        lane.idle = false;
    }

    /// Sends nothing of `class` before `until`.
    pub fn hold(&mut self, class: Class, until: Instant) {
        let lane = &mut self.lanes[class.rank()];
        lane.held_until = Some(lane.held_until.map_or(until, |old| old.max(until)));
    }

    /// Whether `class` is held at `now`.
    pub fn held(&self, class: Class, now: Instant) -> bool {
        self.lanes[class.rank()].held_until.is_some_and(|until| until > now)
    }

    /// When the first of the classes that are held at `now` and not idle may go on.
    pub fn next_release(&self, now: Instant) -> Option<Instant> {
        self.lanes
            .iter()
            .filter(|lane| !lane.idle)
            .filter_map(|lane| lane.held_until)
            .filter(|until| *until > now)
            .min()
    }

    /// A new connection: whatever the outbox still holds is to be sent. Holds stay.
    pub fn restart(&mut self) {
        for lane in &mut self.lanes {
            lane.after = 0;
            lane.idle = false;
        }
    }

    /// Nothing waits in any class, as far as is known.
    pub fn drained(&self) -> bool {
        self.lanes.iter().all(|lane| lane.idle)
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
        assert!(!schedule.drained());
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
        assert!(schedule.drained());
        assert_eq!(schedule.next_release(now), None);
    }
}

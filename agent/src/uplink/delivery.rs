//! Between the outbox and a connection: what to send next, and settling each batch exactly once.
//!
//! A batch may go out as several messages. It leaves the outbox when all of them are settled, and
//! how it leaves depends on the worst of them: a refusal for a while sends the batch again; a
//! refusal for good turns the refused events into a gap; else it is acknowledged. Refused parts
//! do not hold up the delivery of the others.
//!
//! After any refusal, by the gateway or because an event is too large for it, the class rests for a
//! while, the longer the more often it happens, and then sends one message as a probe. Without
//! that, a mistake on the gateway would turn the whole backlog of a class into gaps at the speed of
//! the link, and a refused gap event would make a new one for ever. What waits behind a message
//! refused for a while is sent after it again; only what was in flight with it overtakes it.
//!
//! A gateway that hangs up because a message is too large does not say which. The next messages go
//! out one at a time then, until the culprit is certain: an innocent event is never given up.
//!
//! Memory is bounded: per class at most the parts of one batch wait here; what is in flight is
//! bounded by the connection's window.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::PayloadFormat;
use super::backoff::Backoff;
use super::config::MIN_PAYLOAD_BYTES;
use super::custody::Outcome;
use super::hub::{Batched, Desk};
use super::link::LinkMonitor;
use super::payload::{self, Encoded, Part, Room};
use super::schedule::Schedule;
use crate::event::{Class, LossCause};
use crate::outbox::{Batch, Outbox};

/// How long to leave a class alone when the outbox could not read it.
const READ_RETRY: Duration = Duration::from_secs(5);
/// So many batches that this link does not carry are passed by, then others have their turn.
const PASS_AT_ONCE: u32 = 64;
const PASS_PAUSE: Duration = Duration::from_millis(5);
/// How often what this link does not carry is looked through again.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long a limit counts that was learnt from refusals: gateways get mended.
const LEARNT_FOR: Duration = Duration::from_secs(3600);

/// One message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Class of its events.
    pub(crate) class: Class,
    /// The batch that it belongs to, by the number of the batch's first event.
    pub(crate) batch: u64,
    /// The events.
    pub(crate) part: Part,
}

/// What the gateway said to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has it.
    Delivered,
    /// It will never take it.
    Refused(LossCause),
    /// Not now.
    Later,
}

/// What follows from a connection that ended because a message was too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooLarge {
    /// It may have been any of those in flight: the next ones go out one at a time.
    Unsure,
    /// It is certain which: smaller ones from now on.
    Learnt,
    /// It is certain which, and that one is so small that the gateway must be wrong: the class rests, the event stays.
    TooSmallALimit,
}

/// A batch of which messages are on their way.
#[derive(Debug)]
struct Open {
    batch: Batched,
    /// Messages not settled.
    left: usize,
    /// Events refused for good, `None` for all of them.
    refused: Option<Vec<u64>>,
    all_refused: bool,
    cause: Option<LossCause>,
    again: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Delivery {
    schedule: Schedule,
    format: PayloadFormat,
    /// By class rank: parts of a batch that is not completely handed over.
    waiting: [VecDeque<Message>; 5],
    open: BTreeMap<(usize, u64), Open>,
    /// By class rank: the highest number ever handed over, to tell what is sent again.
    high_water: [u64; 5],
    /// By class rank: for refusals for a while.
    patience: [Backoff; 5],
    /// Learnt from refusals, and when: nothing larger than this is taken.
    learnt: Option<(Room, Instant)>,
    /// So many messages go out one at a time, because one of them is too large.
    suspects: usize,
    /// By class rank: batches that other links carry were passed by since the class was last looked at from its start.
    passed_by: [bool; 5],
    /// By class rank: when that was.
    swept: [Option<Instant>; 5],
    /// When the network may carry again what it now may not.
    opens: Option<Instant>,
}

impl Delivery {
    /// Sends in `format`; waits between `backoff_min` and `backoff_max` before it repeats what was refused for a while.
    pub(crate) fn new(format: PayloadFormat, backoff_min: Duration, backoff_max: Duration) -> Self {
        Self {
            schedule: Schedule::new(),
            format,
            waiting: Default::default(),
            open: BTreeMap::new(),
            high_water: [0; 5],
            patience: std::array::from_fn(|_| Backoff::new(backoff_min, backoff_max)),
            learnt: None,
            suspects: 0,
            passed_by: [false; 5],
            swept: [None; 5],
            opens: None,
        }
    }

    /// A new connection, or other links carry other things now: everything that the outbox holds is to be looked at.
    pub(crate) fn restart(&mut self) {
        self.schedule.restart();
        self.waiting.iter_mut().for_each(VecDeque::clear);
        self.open.clear();
    }

    /// The outbox may have something new.
    pub(crate) fn wake(&mut self) {
        self.schedule.wake();
    }

    /// Nothing is left to send or to settle until `deadline`, as far as is known: a class that rests longer is not
    /// waited for. After [`Self::wake`] it is not known before the next [`Self::next`].
    pub(crate) fn drained(&self, deadline: Instant) -> bool {
        self.schedule.drained(deadline, self.opens)
    }

    /// How many messages may be in flight now where the connection allows `window`.
    pub(crate) fn window(&self, window: usize) -> usize {
        if self.suspects > 0 { window.min(1) } else { window }
    }

    /// When a class that now is held may go on.
    pub(crate) fn next_release(&self, now: Instant) -> Option<Instant> {
        let opens = self.opens.filter(|at| *at > now && self.schedule.is_barred());
        [self.schedule.next_release(now), opens].into_iter().flatten().min()
    }

    /// The next message, at most `room` bytes by class rank. `None`: nothing now.
    pub(crate) fn next<O: Outbox + ?Sized>(
        &mut self,
        desk: &Desk<O>,
        room: &[usize; 5],
        monitor: &LinkMonitor,
        now: Instant,
    ) -> Option<Message> {
        let permits = desk.permits(now);
        self.schedule.open(permits.open);
        self.opens = permits.again;
        let mut passed = 0;
        loop {
            let class = self.schedule.next(now)?;
            if let Some(message) = self.waiting[class.rank()].pop_front() {
                self.schedule.sent(class, now);
                desk.handed(message.part.payload.len());
                let high = &mut self.high_water[class.rank()];
                monitor.handed(&message, message.part.first_seq <= *high);
                *high = (*high).max(message.part.last_seq);
                return Some(message);
            }
            let after = self.schedule.after(class);
            match desk.read(class, after) {
                Ok(Some(batch)) if batch.first_seq > after => {
                    if desk.carries(&batch, now) {
                        self.take(desk, &batch, room[class.rank()], monitor, now);
                    } else {
                        self.schedule.advance(class, batch.first_seq);
                        self.passed_by[class.rank()] = true;
                        passed += 1;
                        if passed % PASS_AT_ONCE == 0 {
                            self.schedule.hold(class, now + PASS_PAUSE);
                        }
                    }
                }
                // With all settled, what has come behind the cursor meanwhile is looked for, too: a disk that came back
                // brings smaller numbers.
                Ok(_) if after > 0 && self.may_rewind(class, now) => self.schedule.rewind(class, 1),
                Ok(_) => self.schedule.idle(class),
                Err(error) => {
                    monitor.outbox_failed("read", class, &error);
                    self.schedule.hold(class, now + READ_RETRY);
                }
            }
        }
    }

    /// Divides a batch into messages.
    fn take<O: Outbox + ?Sized>(
        &mut self,
        desk: &Desk<O>,
        batch: &Batch,
        room: usize,
        monitor: &LinkMonitor,
        now: Instant,
    ) {
        let (class, first) = (batch.class, batch.first_seq);
        self.schedule.advance(class, first);
        let key = (class.rank(), first);
        if self.open.contains_key(&key) {
            // The cursor was set back past it, but it is still on its way.
            return;
        }
        let learnt = self.learnt(now);
        let hard = room.min(learnt.hard);
        let room = Room { hard, soft: hard.min(learnt.soft) };
        let mut open =
            Open { batch: batch.into(), left: 0, refused: None, all_refused: false, cause: None, again: false };
        match payload::encode(batch, self.format, room) {
            Ok(Encoded { parts, oversize }) => {
                open.left = parts.len();
                if !oversize.is_empty() {
                    monitor.oversize(class, &oversize, room.hard);
                    open.all_refused = parts.is_empty();
                    open.refused = Some(oversize);
                    open.cause = Some(LossCause::Oversize);
                    self.rest(class, now);
                }
                self.waiting[class.rank()].extend(parts.into_iter().map(|part| Message { class, batch: first, part }));
            }
            Err(error) => {
                monitor.undecodable(batch, &error);
                open.all_refused = true;
                open.cause = Some(LossCause::Corrupt);
            }
        }
        self.open.insert(key, open);
        self.close_if_settled(desk, class, first, monitor);
    }

    /// The gateway has answered to `message`. Returns for how long its class rests now, if it does.
    pub(crate) fn settle<O: Outbox + ?Sized>(
        &mut self,
        desk: &Desk<O>,
        message: &Message,
        verdict: Verdict,
        monitor: &LinkMonitor,
        now: Instant,
    ) -> Option<Duration> {
        let (class, first) = (message.class, message.batch);
        let open = self.open.get_mut(&(class.rank(), first))?;
        open.left = open.left.saturating_sub(1);
        self.suspects = self.suspects.saturating_sub(1);
        match verdict {
            Verdict::Delivered => {}
            Verdict::Refused(cause) => {
                open.cause.get_or_insert(cause);
                match &message.part.seqs {
                    None => open.all_refused = true,
                    Some(seqs) => open.refused.get_or_insert_default().extend(seqs),
                }
            }
            Verdict::Later => {
                open.again = true;
                self.put_back(desk, class, monitor);
            }
        }
        let rest = if verdict == Verdict::Delivered {
            if self.schedule.taken(class) {
                self.patience[class.rank()].reset();
            }
            None
        } else {
            self.schedule.refused(class).then(|| self.rest(class, now))
        };
        self.close_if_settled(desk, class, first, monitor);
        rest
    }

    /// Lets a class rest; for how long.
    fn rest(&mut self, class: Class, now: Instant) -> Duration {
        let wait = self.patience[class.rank()].next();
        self.schedule.rest(class, now + wait);
        wait
    }

    /// What waits of a class is read again later, so that it stays behind the message that was refused for a while.
    fn put_back<O: Outbox + ?Sized>(&mut self, desk: &Desk<O>, class: Class, monitor: &LinkMonitor) {
        let waiting = std::mem::take(&mut self.waiting[class.rank()]);
        let Some(batch) = waiting.front().map(|message| message.batch) else { return };
        if let Some(open) = self.open.get_mut(&(class.rank(), batch)) {
            open.left = open.left.saturating_sub(waiting.len());
            open.again = true;
        }
        self.close_if_settled(desk, class, batch, monitor);
    }

    fn close_if_settled<O: Outbox + ?Sized>(
        &mut self,
        desk: &Desk<O>,
        class: Class,
        first: u64,
        monitor: &LinkMonitor,
    ) {
        let key = (class.rank(), first);
        if self.open.get(&key).is_none_or(|open| open.left > 0) {
            return;
        }
        let Some(mut open) = self.open.remove(&key) else { return };
        if open.again {
            self.schedule.rewind(class, first);
            return;
        }
        let cause = open.cause.unwrap_or(LossCause::Rejected);
        let outcome = match open.refused.take() {
            _ if open.all_refused => Outcome::Refused(cause),
            Some(mut seqs) => {
                seqs.sort_unstable();
                Outcome::RefusedSome(seqs, cause)
            }
            None => Outcome::Taken,
        };
        match desk.settle(&open.batch, outcome) {
            Ok(false) => {}
            // The gap event that explains it waits in the outbox now.
            Ok(true) => self.schedule.wake(),
            // Nothing is lost: the outbox still has it and a later connection sends it once more.
            Err((doing, error)) => monitor.outbox_failed(doing, class, &error),
        }
    }

    /// Whether it is worth looking at a class from its start again: nothing of it is on its way, and what is not for this
    /// link has not just been passed by.
    fn may_rewind(&mut self, class: Class, now: Instant) -> bool {
        let rank = class.rank();
        if self.open.keys().any(|(open, _)| *open == rank) {
            return false;
        }
        let due = self.swept[rank].is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY);
        if self.passed_by[rank] && !due {
            return false;
        }
        self.swept[rank] = Some(now);
        self.passed_by[rank] = false;
        true
    }

    /// The connection ended because a message was too large while `in_flight` were, the oldest being `oldest`.
    ///
    /// Only a message that was alone is certain to be the one. If it holds several events they are divided; a single
    /// event tells the limit, unless it is so small that no limit can be meant.
    pub(crate) fn too_large(&mut self, oldest: &Message, in_flight: usize, now: Instant) -> TooLarge {
        if in_flight > 1 {
            self.suspects = in_flight;
            return TooLarge::Unsure;
        }
        let len = oldest.part.payload.len();
        let mut learnt = self.learnt(now);
        if oldest.part.count > 1 {
            learnt.soft = learnt.soft.min(len / 2);
        } else if len > MIN_PAYLOAD_BYTES {
            learnt.hard = learnt.hard.min(len - 1);
        } else {
            self.rest(oldest.class, now);
            return TooLarge::TooSmallALimit;
        }
        self.learnt = Some((learnt, now));
        TooLarge::Learnt
    }

    /// The limits learnt, unless that was too long ago.
    fn learnt(&self, now: Instant) -> Room {
        let fresh = |(_, at): &(Room, Instant)| now.saturating_duration_since(*at) < LEARNT_FOR;
        self.learnt.filter(fresh).map_or(Room { hard: usize::MAX, soft: usize::MAX }, |(room, _)| room)
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;

//! One configured bus: open, or lost and tried again.
//!
//! ```text
//!            ┌──────── opened: the blind time is told ────────┐
//!            ▼                                                │
//!          Open ──read fails, down, renamed, gone,─────────▶ Lost ─┐ looked at on each change of any
//!            │    no longer listen-only; what was             ▲    │ link, and five times a second
//!            │    pending is read first                       └────┘
//!            └─each second: state, counters, bitrate, drops
//! ```

use std::time::{Duration, Instant};

use can_decoders::{BusId, Frame};

use super::SocketCanError;
use super::chatter::Chatter;
use super::interface::Link;
use super::order::{ON_THE_WAY_NS, Read};
use super::passive::{Heard, Listening, PassiveBus, Taken};
use super::receive::Receiver;
use crate::engine::{Missed, Notice, Report};
use crate::event::{BlindCause, BusState};
use crate::runtime::clock::{boot_ns, wall_ns};

/// How often an open interface is asked how it is, and drops are told at most.
const LOOK: Duration = Duration::from_secs(1);
/// How often a lost one is looked for, beside each time when the kernel says that a link has changed.
const SEARCH: Duration = Duration::from_secs(1);
/// An interface that comes and goes is opened, and its blind times are told, no more often than this.
const REOPEN: Duration = Duration::from_millis(800);
/// Errors on end after which nothing more can be read. The kernel tells one for each thing that happened.
const ERRORS: u8 = 3;

/// A bus as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BusOptions {
    pub(super) interface: String,
    /// Open it also where it takes part: acknowledges, or could send.
    pub(super) allow_acknowledge: bool,
    pub(super) listening: Listening,
}

#[derive(Debug)]
enum State {
    Open(Open),
    /// Since this time of the computer's, see [`boot_ns`].
    Lost {
        since_ns: u64,
    },
}

#[derive(Debug)]
struct Open {
    socket: PassiveBus,
    index: u32,
    /// Until when all that came was heard, by [`boot_ns`].
    heard_ns: u64,
    /// Why this ends, once what is pending has been read.
    failed: Option<String>,
    errors: u8,
    /// When the interface was last asked, by [`boot_ns`], and its count of overflows then.
    looked_ns: u64,
    link_overflow: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LiveBus {
    id: BusId,
    options: BusOptions,
    state: State,
    /// How the interface was when it was last asked.
    link: Link,
    /// How it was last told to be lost; `None` while it is open.
    lost_as: Option<BusState>,
    next_look: Instant,
    /// Not opened again before this.
    reopen: Instant,
    chatter: Chatter,
    /// Frames dropped on all sockets so far, and those not told yet, with the time in which they were.
    dropped: u64,
    untold: Option<(u64, u64, u64)>,
    /// What interfaces lost while they were open.
    overflow: u64,
    xl: u64,
    unreadable: u64,
}

impl LiveBus {
    /// A bus that is still to be looked for.
    pub(super) fn new(id: BusId, options: BusOptions, now: Instant) -> Self {
        Self {
            id,
            options,
            state: State::Lost { since_ns: boot_ns() },
            link: Link::default(),
            lost_as: None,
            next_look: now,
            reopen: now,
            chatter: Chatter::new(now),
            dropped: 0,
            untold: None,
            overflow: 0,
            xl: 0,
            unreadable: 0,
        }
    }

    pub(super) fn socket(&self) -> Option<&PassiveBus> {
        if let State::Open(open) = &self.state { Some(&open.socket) } else { None }
    }

    /// The name of its interface.
    pub(super) fn interface(&self) -> &str {
        &self.options.interface
    }

    /// Whether it may be listened to in another way.
    ///
    /// # Errors
    /// [`SocketCanError::NotPassive`] when it would take part in the bus and may not.
    pub(super) fn check(&self, options: &BusOptions) -> Result<(), SocketCanError> {
        let refused = matches!(self.state, State::Open(_)) && !may_be_opened(&self.link, options);
        if refused { Err(SocketCanError::NotPassive { interface: options.interface.clone() }) } else { Ok(()) }
    }

    /// The same bus under another number, listened to in another way. What is open stays open. `old` and `new` are what is said
    /// under both numbers.
    pub(super) fn reconfigured(
        mut self,
        id: BusId,
        options: BusOptions,
        (now, now_ns): (Instant, u64),
        old: &mut Vec<Notice>,
        new: &mut Vec<Notice>,
    ) -> Self {
        self.ask_for_drops(now_ns);
        self.tell_drops(old);
        old.push(Notice::Report(self.report(self.lost_as.or(self.link.state), now_ns)));
        // Whoever counts with the new number begins anew.
        (self.dropped, self.overflow, self.xl, self.unreadable) = (0, 0, 0, 0);
        (self.id, self.options) = (id, options);
        let mut weaker = None;
        if let State::Open(open) = &mut self.state
            && let Err(error) = open.socket.relisten(id, &self.options.listening, |text| weaker = Some(text))
        {
            weaker = Some(format!("cannot be listened to as configured: {error}"));
        }
        if let Some(text) = weaker {
            self.warn(now, &text);
        }
        new.push(Notice::Report(self.report(self.lost_as.or(self.link.state), now_ns)));
        self.next_look = now;
        self
    }

    /// When [`Self::look`] is due.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Looks at the interface: opens it, reports on it, or finds that it is lost.
    ///
    /// # Errors
    /// [`SocketCanError::NotPassive`] when it may not be opened as it is.
    pub(super) fn look(&mut self, now: Instant, now_ns: u64, notices: &mut Vec<Notice>) -> Result<(), SocketCanError> {
        if let Some(text) = self.chatter.overdue(now) {
            tracing::warn!(interface = self.options.interface, "CAN interface {}: {text}", self.options.interface);
        }
        let result = match Link::look(&self.options.interface) {
            Err(error) => {
                self.warn(now, &format!("cannot be asked: {error}"));
                Ok(())
            }
            Ok(link) => match &mut self.state {
                State::Open(open) => {
                    let index = open.index;
                    let why = unusable(link.as_ref(), index, &self.options);
                    open.failed = open.failed.take().or(why.map(str::to_owned));
                    let usable = why.is_none();
                    if let Some(link) = link.filter(|link| link.index == index) {
                        self.told_of(link, now_ns, notices);
                    }
                    if usable {
                        notices.push(Notice::Report(self.report(self.link.state, now_ns)));
                    }
                    Ok(())
                }
                State::Lost { .. } => self.try_to_open(link, now, notices),
            },
        };
        self.next_look = now + if self.socket().is_some() { LOOK } else { SEARCH };
        if self.socket().is_none() && self.reopen > now {
            self.next_look = self.reopen.min(self.next_look);
        }
        result
    }

    fn try_to_open(
        &mut self,
        link: Option<Link>,
        now: Instant,
        notices: &mut Vec<Notice>,
    ) -> Result<(), SocketCanError> {
        let Some(link) = link else {
            self.stays_lost(BusState::Lost, now, "is not there; it is looked for", notices);
            return Ok(());
        };
        if !link.up {
            self.stays_lost(BusState::Lost, now, "is down; waiting for it", notices);
            return Ok(());
        }
        if !may_be_opened(&link, &self.options) {
            let why = "takes part in the bus and may not: see `allow_acknowledge`";
            self.stays_lost(BusState::Refused, now, why, notices);
            return Err(SocketCanError::NotPassive { interface: self.options.interface.clone() });
        }
        if now < self.reopen {
            return Ok(());
        }
        let (mut weaker, index) = (None, link.index);
        let opened = PassiveBus::open(index, self.id, &self.options.listening, |text| weaker = Some(text));
        // Asked again: it may have been switched over in between.
        let link = Link::look(&self.options.interface).ok().flatten().unwrap_or_default();
        let socket = match opened {
            Ok(socket) if unusable(Some(&link), index, &self.options).is_none() => socket,
            Ok(_) => return Ok(()),
            Err(error) => {
                self.stays_lost(BusState::Lost, now, &format!("cannot be opened: {error}"), notices);
                return Ok(());
            }
        };
        let bitrate = link.bitrate.map_or(String::new(), |rate| format!(", {rate} bit/s"));
        self.info(now, &format!("open, {}{bitrate}", link.kind));
        if let Some(text) = weaker {
            self.warn(now, &text);
        }
        let now_ns = wall_ns();
        if let (State::Lost { since_ns }, Some(_)) = (&self.state, self.lost_as) {
            notices.push(self.missed(BlindCause::Interface, wall_at(*since_ns, now_ns), now_ns, None));
        }
        self.state = State::Open(Open {
            socket,
            index,
            heard_ns: boot_ns(),
            failed: None,
            errors: 0,
            looked_ns: boot_ns(),
            link_overflow: link.overflow,
        });
        self.link = link;
        (self.lost_as, self.reopen) = (None, now + REOPEN);
        notices.push(Notice::Report(self.report(self.link.state, now_ns)));
        Ok(())
    }

    fn stays_lost(&mut self, state: BusState, now: Instant, why: &str, notices: &mut Vec<Notice>) {
        self.warn(now, why);
        if self.lost_as != Some(state) {
            self.lost_as = Some(state);
            notices.push(Notice::Report(self.report(self.lost_as, wall_ns())));
        }
    }

    /// Takes at most `limit` pending frames; says how far the bus has been read by that. `now_ns` is the time before this.
    pub(super) fn take(
        &mut self,
        receiver: &mut Receiver,
        limit: usize,
        (now, now_ns): (Instant, u64),
        notices: &mut Vec<Notice>,
        mut each: impl FnMut(Frame),
    ) -> Read {
        let State::Open(open) = &mut self.state else { return Read::Drained(now_ns) };
        let before_ns = boot_ns();
        let (taken, result) = open.socket.take(receiver, limit, now_ns, |heard| match heard {
            Heard::Frame(frame) => each(frame),
            Heard::Xl(xl) => notices.push(Notice::Xl(xl)),
        });
        let Taken { messages, dropped, dropped_between: (from, to), xl, unreadable } = taken;
        let last_ns = open.socket.last_ns();
        let drained = match result {
            Ok(()) => messages < limit,
            // What was pending before the interface failed comes after the error.
            Err(error) => {
                open.failed.get_or_insert(error.to_string());
                open.errors += 1;
                open.errors >= ERRORS
            }
        };
        // A silent bus that fails has been heard to its end before.
        let up_to_ns = last_ns.max(wall_at(open.heard_ns, now_ns).saturating_sub(ON_THE_WAY_NS));
        if open.failed.is_none() && drained {
            open.heard_ns = before_ns;
        }
        let failed = if drained { open.failed.take() } else { None };
        self.xl += xl;
        self.unreadable += unreadable;
        if dropped > 0 {
            self.count_drops(dropped, from, to);
        }
        if let Some(why) = failed {
            self.lose(&why, now, now_ns, notices);
        }
        if drained { Read::Drained(now_ns) } else { Read::UpTo(up_to_ns) }
    }

    /// The interface failed, and all that had come was heard.
    fn lose(&mut self, why: &str, now: Instant, now_ns: u64, notices: &mut Vec<Notice>) {
        self.ask_for_drops(now_ns);
        self.tell_drops(notices);
        let State::Open(Open { heard_ns, .. }) = self.state else { return };
        // Frames may have been heard after that, but it may have been down and up in between.
        self.state = State::Lost { since_ns: heard_ns };
        self.link = Link::default();
        self.next_look = now + SEARCH;
        self.stays_lost(BusState::Lost, now, &format!("lost: {why}; it is opened again when it is back"), notices);
    }

    /// The computer slept from `from_ns` to `to_ns`.
    pub(super) fn slept(&self, from_ns: u64, to_ns: u64, notices: &mut Vec<Notice>) {
        if self.socket().is_some() {
            notices.push(self.missed(BlindCause::Suspend, from_ns, to_ns, None));
        }
    }

    /// The end: what is not told yet.
    pub(super) fn finish(&mut self, now_ns: u64, notices: &mut Vec<Notice>) {
        let link = Link::look(&self.options.interface).ok().flatten();
        let since_ns = match &self.state {
            State::Lost { since_ns } => Some(*since_ns),
            State::Open(open) => {
                let index = open.index;
                let why = unusable(link.as_ref(), index, &self.options);
                let since_ns = (why.is_some() || open.failed.is_some()).then_some(open.heard_ns);
                match link.filter(|link| link.index == index) {
                    Some(link) => self.told_of(link, now_ns, notices),
                    None => {
                        self.ask_for_drops(now_ns);
                        self.tell_drops(notices);
                    }
                }
                since_ns
            }
        };
        let mut state = self.lost_as.or(self.link.state);
        if let Some(since_ns) = since_ns {
            notices.push(self.missed(BlindCause::Interface, wall_at(since_ns, now_ns), now_ns, None));
            state = state.filter(|state| *state == BusState::Refused).or(Some(BusState::Lost));
        }
        notices.push(Notice::Report(self.report(state, now_ns)));
    }

    /// What the interface says of itself: what was lost is told.
    fn told_of(&mut self, link: Link, now_ns: u64, notices: &mut Vec<Notice>) {
        let State::Open(open) = &mut self.state else { return };
        let from_ns = wall_at(std::mem::replace(&mut open.looked_ns, boot_ns()), now_ns);
        let lost = link.overflow.saturating_sub(std::mem::replace(&mut open.link_overflow, link.overflow));
        if lost > 0 {
            self.overflow += lost;
            notices.push(self.missed(BlindCause::Overflow, from_ns, now_ns, Some(lost)));
        }
        self.ask_for_drops(now_ns);
        self.tell_drops(notices);
        self.link = link;
    }

    fn ask_for_drops(&mut self, now_ns: u64) {
        let State::Open(Open { socket, .. }) = &mut self.state else { return };
        let (dropped, from) = (socket.take_untold_drops(), socket.last_ns());
        if dropped > 0 {
            self.count_drops(dropped, from, now_ns);
        }
    }

    fn count_drops(&mut self, dropped: u64, from: u64, to: u64) {
        self.dropped += dropped;
        let (first, _, before) = self.untold.unwrap_or((from, to, 0));
        self.untold = Some((first, to, before + dropped));
    }

    fn tell_drops(&mut self, notices: &mut Vec<Notice>) {
        if let Some((from, to, frames)) = self.untold.take() {
            notices.push(self.missed(BlindCause::Dropped, from, to, Some(frames)));
        }
    }

    /// The clock may have been set back in between.
    fn missed(&self, cause: BlindCause, from_ns: u64, to_ns: u64, frames: Option<u64>) -> Notice {
        Notice::Missed(Missed { bus: self.id, cause, from_ns: from_ns.min(to_ns), to_ns, frames })
    }

    fn report(&self, state: Option<BusState>, now_ns: u64) -> Report {
        Report {
            bus: self.id,
            time_ns: now_ns,
            state,
            counters: self.link.counters,
            bitrate: self.link.bitrate,
            data_bitrate: self.link.data_bitrate,
            dropped: self.dropped,
            overflow: self.overflow,
            xl: self.xl,
            unreadable: self.unreadable,
        }
    }

    pub(super) fn warn(&mut self, now: Instant, text: &str) {
        if let Some(left_out) = self.chatter.may_say(now, text) {
            tracing::warn!(
                interface = self.options.interface,
                "CAN interface {}: {text}{left_out}",
                self.options.interface
            );
        }
    }

    fn info(&mut self, now: Instant, text: &str) {
        if let Some(left_out) = self.chatter.may_say(now, text) {
            tracing::info!(
                interface = self.options.interface,
                "CAN interface {}: {text}{left_out}",
                self.options.interface
            );
        }
    }
}

/// The wall clock's time, as it is set now, at a time of [`boot_ns`] that is past.
fn wall_at(boot_time_ns: u64, wall_now_ns: u64) -> u64 {
    wall_now_ns.saturating_sub(boot_ns().saturating_sub(boot_time_ns)).max(1)
}

/// Why a socket that is bound to the interface with number `index` can no longer be used; `None` when it can.
fn unusable(link: Option<&Link>, index: u32, options: &BusOptions) -> Option<&'static str> {
    match link {
        None => Some("gone"),
        Some(link) if link.index != index => Some("replaced by another of that name"),
        Some(link) if !link.up => Some("down"),
        Some(link) if !may_be_opened(link, options) => Some("switched over, and would take part in the bus"),
        Some(_) => None,
    }
}

fn may_be_opened(link: &Link, options: &BusOptions) -> bool {
    options.allow_acknowledge || link.is_passive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_another_number_what_was_counted_is_told_under_the_old_one_and_counts_begin_anew() {
        let (now, options) = (Instant::now(), BusOptions { interface: "no-such-bus".into(), ..BusOptions::default() });
        let mut bus = LiveBus::new(BusId(0), options.clone(), now);
        bus.count_drops(3, 5, 6);
        (bus.overflow, bus.xl, bus.unreadable) = (4, 5, 6);
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let bus = bus.reconfigured(BusId(1), options, (now, 7), &mut old, &mut new);
        let [Notice::Missed(missed), Notice::Report(before)] = &old[..] else { panic!("{old:?}") };
        assert_eq!((missed.bus, missed.cause, missed.frames), (BusId(0), BlindCause::Dropped, Some(3)));
        let counts = |report: &Report| (report.bus, report.dropped, report.overflow, report.xl, report.unreadable);
        assert_eq!(counts(before), (BusId(0), 3, 4, 5, 6));
        let [Notice::Report(after)] = &new[..] else { panic!("{new:?}") };
        assert_eq!(counts(after), (BusId(1), 0, 0, 0, 0));
        assert_eq!(bus.interface(), "no-such-bus");
    }
}

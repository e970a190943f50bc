//! One configured bus: open, or lost and tried again.
//!
//! ```text
//!            ┌──────── opened: the blind time is told ────────┐
//!            ▼                                                │
//!          Open ──read fails, down, renamed, gone──────────▶ Lost ─┐ looked at on each change of any
//!            │                                                ▲    │ link, and five times a second
//!            └─each second: state, counters, bitrate, drops   └────┘
//! ```

use std::io;
use std::time::{Duration, Instant};

use can_decoders::{BusId, Frame};

use super::SocketCanError;
use super::interface::Link;
use super::passive::{Listening, PassiveBus, Taken};
use super::receive::Receiver;
use crate::engine::{Missed, Notice, Report};
use crate::event::{BlindCause, BusState};

/// How often an open interface is asked how it is, and drops are told at most.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How often a lost one is looked for.
pub(super) const SEARCH: Duration = Duration::from_millis(200);
/// A bus that stays lost, or that may not be opened, is written to the log again after this.
const LOG_EVERY: Duration = Duration::from_secs(600);

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
    Open { socket: PassiveBus, index: u32 },
    Lost { since_ns: u64 },
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LiveBus {
    id: BusId,
    options: BusOptions,
    state: State,
    next_look: Instant,
    last_log: Option<(String, Instant)>,
    /// Frames dropped on all sockets so far, and those not told yet, with the time in which they were.
    dropped: u64,
    untold: Option<(u64, u64, u64)>,
    /// What interfaces lost while they were open, and the count of the present one when it was last seen.
    overflow: u64,
    link_overflow: Option<u64>,
    xl: u64,
    unreadable: u64,
}

impl LiveBus {
    /// A bus that is still to be looked for.
    pub(super) fn new(id: BusId, options: BusOptions, now: Instant) -> Self {
        Self {
            id,
            options,
            state: State::Lost { since_ns: 0 },
            next_look: now,
            last_log: None,
            dropped: 0,
            untold: None,
            overflow: 0,
            link_overflow: None,
            xl: 0,
            unreadable: 0,
        }
    }

    pub(super) fn socket(&self) -> Option<&PassiveBus> {
        if let State::Open { socket, .. } = &self.state { Some(socket) } else { None }
    }

    pub(super) fn interface(&self) -> &str {
        &self.options.interface
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
        let link = Link::look(&self.options.interface);
        let result = match (&self.state, link) {
            (_, Err(error)) => {
                self.log(now, format!("cannot be asked: {error}"));
                Ok(())
            }
            (State::Open { index, .. }, Ok(Some(link))) if link.index == *index && link.up => {
                self.told_of(&link, now_ns, notices);
                Ok(())
            }
            (State::Open { .. }, Ok(link)) => {
                let why = match link {
                    None => "gone",
                    Some(link) if !link.up => "down",
                    Some(_) => "replaced by another of that name",
                };
                self.lose(why, now, now_ns, notices);
                Ok(())
            }
            (State::Lost { .. }, Ok(None)) => {
                self.log(now, "is not there; it is looked for".into());
                Ok(())
            }
            (State::Lost { .. }, Ok(Some(link))) if !link.up => {
                self.log(now, "is down; waiting for it".into());
                Ok(())
            }
            (State::Lost { since_ns }, Ok(Some(link))) => {
                let since_ns = *since_ns;
                self.open(&link, since_ns, now, now_ns, notices)
            }
        };
        self.next_look = now + if self.socket().is_some() { LOOK } else { SEARCH };
        result
    }

    fn open(
        &mut self,
        link: &Link,
        since_ns: u64,
        now: Instant,
        now_ns: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<(), SocketCanError> {
        if !link.is_passive() && !self.options.allow_acknowledge {
            let interface = self.options.interface.clone();
            self.log(now, "takes part in the bus and may not: see `allow_acknowledge`".into());
            return Err(SocketCanError::NotPassive { interface });
        }
        let mut weaker = None;
        match PassiveBus::open(link.index, self.id, &self.options.listening, |text| weaker = Some(text)) {
            Ok(socket) => self.state = State::Open { socket, index: link.index },
            Err(error) => {
                self.log(now, format!("cannot be opened: {error}"));
                return Ok(());
            }
        }
        if let Some(text) = weaker {
            tracing::warn!("CAN interface {}: {text}", self.options.interface);
        }
        let bitrate = link.bitrate.map_or(String::new(), |rate| format!(", {rate} bit/s"));
        tracing::info!("CAN interface {}: open, {}{bitrate}", self.options.interface, link.kind);
        self.last_log = None;
        self.link_overflow = Some(link.overflow);
        if since_ns != 0 {
            notices.push(self.missed(BlindCause::Interface, since_ns, now_ns, None));
        }
        notices.push(Notice::Report(self.report(link, now_ns)));
        Ok(())
    }

    /// The interface failed.
    pub(super) fn lose(&mut self, why: &str, now: Instant, now_ns: u64, notices: &mut Vec<Notice>) {
        self.tell_drops(notices);
        self.log(now, format!("lost: {why}; it is opened again when it is back"));
        self.state = State::Lost { since_ns: now_ns };
        self.link_overflow = None;
        self.next_look = now + SEARCH;
        let lost = Link::default();
        notices.push(Notice::Report(Report { state: Some(BusState::Lost), ..self.report(&lost, now_ns) }));
    }

    /// Takes at most `limit` pending frames. Returns whether there may be more.
    pub(super) fn take(
        &mut self,
        receiver: &mut Receiver,
        limit: usize,
        read_ns: u64,
        each: impl FnMut(Frame),
    ) -> io::Result<bool> {
        let State::Open { socket, .. } = &mut self.state else { return Ok(false) };
        let (taken, result) = socket.take(receiver, limit, read_ns, each);
        let Taken { messages, dropped, dropped_between: (from, to), xl, unreadable } = taken;
        self.xl += xl;
        self.unreadable += unreadable;
        if dropped > 0 {
            self.count_drops(dropped, from, to);
        }
        result.map(|()| messages >= limit)
    }

    /// The computer slept from `from_ns` to `to_ns`.
    pub(super) fn slept(&self, from_ns: u64, to_ns: u64, notices: &mut Vec<Notice>) {
        if self.socket().is_some() {
            notices.push(self.missed(BlindCause::Suspend, from_ns, to_ns, None));
        }
    }

    /// The end: drops that no frame has told of.
    pub(super) fn finish(&mut self, now_ns: u64, notices: &mut Vec<Notice>) {
        self.ask_for_drops(now_ns);
        self.tell_drops(notices);
    }

    fn told_of(&mut self, link: &Link, now_ns: u64, notices: &mut Vec<Notice>) {
        let before = self.link_overflow.replace(link.overflow).unwrap_or(link.overflow);
        let lost = link.overflow.saturating_sub(before);
        if lost > 0 {
            self.overflow += lost;
            let from_ns = now_ns.saturating_sub(1_000_000_000);
            notices.push(self.missed(BlindCause::Overflow, from_ns, now_ns, Some(lost)));
        }
        self.ask_for_drops(now_ns);
        self.tell_drops(notices);
        notices.push(Notice::Report(self.report(link, now_ns)));
    }

    fn ask_for_drops(&mut self, now_ns: u64) {
        let State::Open { socket, .. } = &mut self.state else { return };
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

    fn missed(&self, cause: BlindCause, from_ns: u64, to_ns: u64, frames: Option<u64>) -> Notice {
        Notice::Missed(Missed { bus: self.id, cause, from_ns, to_ns, frames })
    }

    fn report(&self, link: &Link, now_ns: u64) -> Report {
        Report {
            bus: self.id,
            time_ns: now_ns,
            state: link.state,
            counters: link.counters,
            bitrate: link.bitrate,
            data_bitrate: link.data_bitrate,
            dropped: self.dropped,
            overflow: self.overflow,
            xl: self.xl,
            unreadable: self.unreadable,
        }
    }

    /// The same thing again is written rarely.
    fn log(&mut self, now: Instant, text: String) {
        let again = self.last_log.as_ref().is_some_and(|(last, at)| *last == text && now < *at + LOG_EVERY);
        if !again {
            tracing::warn!("CAN interface {}: {text}", self.options.interface);
            self.last_log = Some((text, now));
        }
    }
}

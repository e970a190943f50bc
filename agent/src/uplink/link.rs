//! What the rest of the agent, and the journal, learn about a link.
//!
//! A link may be down for days or go up and down every few seconds. Counters tell all of it; the
//! journal gets the changes, at most twenty lines of each kind in an hour.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::delivery::Message;
use super::payload::PayloadError;
use crate::event::{Body, Certificate, Class, GatewayState, LossCause};
use crate::outbox::{Batch, OutboxError};

/// Lines of one kind that the journal gets in an hour.
const LINES_PER_HOUR: u32 = 20;
const HOUR: Duration = Duration::from_secs(3600);

/// What a link is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Trying to get a connection.
    Connecting,
    /// Connected: the gateway has accepted us.
    Up,
    /// Waiting before the next attempt, or not running.
    Down,
}

/// A link's counters since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSnapshot {
    /// Now.
    pub state: LinkState,
    /// Events go to this gateway now.
    pub carries: bool,
    /// Connections that the gateway accepted.
    pub connects: u64,
    /// Attempts and connections that failed.
    pub failures: u64,
    /// Messages sent, those sent again among them.
    pub published: u64,
    /// Messages that the gateway acknowledged: it has taken them.
    pub acked: u64,
    /// Messages among them for which the gateway said that nobody subscribes (reason code 0x10). A gateway whose rules
    /// pass messages on may say so as well; a plain broker has thrown them away.
    pub unclaimed: u64,
    /// Events (not messages) that were given up: refused for good, too large, damaged. Each is explained by a gap event.
    pub rejected: u64,
    /// Refusals for a while, by message; a message refused twice counts twice. Nothing of it is lost.
    pub deferred: u64,
    /// Messages sent again.
    pub resent: u64,
    /// Messages sent and not acknowledged, now.
    pub in_flight: u64,
    /// Bytes of payload sent.
    pub bytes: u64,
    /// Calls of the outbox that failed.
    pub outbox_errors: u64,
    /// The last failure of the link, in words.
    pub last_error: Option<String>,
}

impl LinkSnapshot {
    /// All links together: up when any is, and the last error of the first that has one.
    pub fn sum(monitors: &[std::sync::Arc<LinkMonitor>]) -> Self {
        let mut sum = LinkMonitor::new("").snapshot();
        for link in monitors.iter().map(|monitor| monitor.snapshot()) {
            sum.state = match (sum.state, link.state) {
                (LinkState::Up, _) | (_, LinkState::Up) => LinkState::Up,
                (LinkState::Connecting, _) | (_, LinkState::Connecting) => LinkState::Connecting,
                _ => LinkState::Down,
            };
            sum.carries |= link.carries;
            for (total, part) in [
                (&mut sum.connects, link.connects),
                (&mut sum.failures, link.failures),
                (&mut sum.published, link.published),
                (&mut sum.acked, link.acked),
                (&mut sum.unclaimed, link.unclaimed),
                (&mut sum.rejected, link.rejected),
                (&mut sum.deferred, link.deferred),
                (&mut sum.resent, link.resent),
                (&mut sum.in_flight, link.in_flight),
                (&mut sum.bytes, link.bytes),
                (&mut sum.outbox_errors, link.outbox_errors),
            ] {
                *total += part;
            }
            sum.last_error = sum.last_error.or(link.last_error);
        }
        sum
    }
}

/// Counts what happens on a link and writes it to the journal, bounded. Shared between threads.
#[derive(Debug)]
pub struct LinkMonitor {
    name: String,
    /// What is told upstream as events of class `status`.
    reports: Option<SyncSender<Body>>,
    state: AtomicU8,
    carries: AtomicBool,
    connects: AtomicU64,
    failures: AtomicU64,
    published: AtomicU64,
    acked: AtomicU64,
    unclaimed: AtomicU64,
    rejected: AtomicU64,
    deferred: AtomicU64,
    resent: AtomicU64,
    in_flight: AtomicU64,
    bytes: AtomicU64,
    outbox_errors: AtomicU64,
    last_error: Mutex<Option<String>>,
    journal: Mutex<Journal>,
}

/// Budgets of the journal, one for each kind of line.
#[derive(Debug, Default)]
struct Journal {
    state: Budget,
    outage: Outage,
    refused: Budget,
    deferred: Budget,
    unclaimed: Budget,
    outbox: Budget,
    vehicle_state: Budget,
    certificates: Budget,
    /// By class rank: when it was last told upstream that the gateway refuses the class.
    refusals: [Option<Instant>; 5],
}

/// The present outage, so that it is told once and then once an hour.
#[derive(Debug, Default)]
struct Outage {
    failures: u64,
    told: Option<Instant>,
}

/// At most [`LINES_PER_HOUR`] lines an hour; says how many were left out.
#[derive(Debug, Default)]
struct Budget {
    hour: Option<Instant>,
    used: u32,
    left_out: u64,
}

impl Budget {
    /// `Some(lines left out before this one)` when the line may be written.
    fn spend(&mut self, now: Instant) -> Option<u64> {
        if self.hour.is_none_or(|start| now.saturating_duration_since(start) >= HOUR) {
            self.hour = Some(now);
            self.used = 0;
        }
        if self.used >= LINES_PER_HOUR {
            self.left_out += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl LinkMonitor {
    /// A link that is down; `name` is how the journal calls it.
    pub fn new(name: impl Into<String>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            name: name.into(),
            reports: None,
            carries: AtomicBool::new(false),
            state: AtomicU8::new(LinkState::Down as u8),
            connects: zero(),
            failures: zero(),
            published: zero(),
            acked: zero(),
            unclaimed: zero(),
            rejected: zero(),
            deferred: zero(),
            resent: zero(),
            in_flight: zero(),
            bytes: zero(),
            outbox_errors: zero(),
            last_error: Mutex::new(None),
            journal: Mutex::new(Journal::default()),
        }
    }

    /// Tells the rest of the agent, for events, what backends should know of the link. What does not fit is left out.
    #[must_use]
    pub fn reporting(mut self, reports: SyncSender<Body>) -> Self {
        self.reports = Some(reports);
        self
    }

    fn report(&self, body: Body) {
        if let Some(reports) = &self.reports {
            // The journal has it as well.
            let _ = reports.try_send(body);
        }
    }

    fn report_state(&self, state: &'static str, class: Option<Class>, reason: String) {
        self.report(Body::Gateway(GatewayState { class, state, reason, gateway: self.name.as_str().into() }));
    }

    /// The counters now. Each is exact; together they may be a moment apart.
    pub fn snapshot(&self) -> LinkSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkSnapshot {
            state: self.state(),
            carries: self.carries.load(Ordering::Relaxed),
            connects: get(&self.connects),
            failures: get(&self.failures),
            published: get(&self.published),
            acked: get(&self.acked),
            unclaimed: get(&self.unclaimed),
            rejected: get(&self.rejected),
            deferred: get(&self.deferred),
            resent: get(&self.resent),
            in_flight: get(&self.in_flight),
            bytes: get(&self.bytes),
            outbox_errors: get(&self.outbox_errors),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// What the link does now.
    pub fn state(&self) -> LinkState {
        match self.state.load(Ordering::Relaxed) {
            x if x == LinkState::Connecting as u8 => LinkState::Connecting,
            x if x == LinkState::Up as u8 => LinkState::Up,
            _ => LinkState::Down,
        }
    }

    fn set_state(&self, state: LinkState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn journal<T>(&self, write: impl FnOnce(&mut Journal, Instant) -> T) -> T {
        write(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }

    pub(crate) fn connecting(&self) {
        self.set_state(LinkState::Connecting);
    }

    pub(crate) fn up(&self, window: usize, max_packet: usize) {
        self.set_state(LinkState::Up);
        add(&self.connects, 1);
        self.journal(|journal, now| {
            let failures = std::mem::take(&mut journal.outage).failures;
            if let Some(left_out) = journal.state.spend(now) {
                info!(gateway = self.name, window, max_packet, failures, left_out, "link up");
            }
        });
    }

    /// The attempt or the connection failed; the next attempt comes after `retry_in`.
    pub(crate) fn failed(&self, reason: &str, retry_in: Duration) {
        self.set_state(LinkState::Down);
        add(&self.failures, 1);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let new_reason = last.as_deref() != Some(reason);
        *last = Some(reason.to_owned());
        drop(last);
        self.journal(|journal, now| {
            let outage = &mut journal.outage;
            outage.failures += 1;
            let due = outage.told.is_none_or(|told| now.saturating_duration_since(told) >= HOUR);
            if !due && !new_reason {
                return;
            }
            if let Some(left_out) = journal.state.spend(now) {
                outage.told = Some(now);
                warn!(gateway = self.name, failures = outage.failures, ?retry_in, left_out, "link down: {reason}");
            }
        });
    }

    /// Whether events go to this gateway from now on.
    pub(crate) fn carries(&self, carries: bool) {
        self.carries.store(carries, Ordering::Relaxed);
    }

    /// Events go to this gateway and did not before, for that reason. Backends are told when it is a change.
    pub(crate) fn took_over(&self, reason: String, is_change: bool) {
        if let Some(left_out) = self.journal(|journal, now| journal.state.spend(now)) {
            info!(gateway = self.name, left_out, "events go to this gateway from now on");
        }
        if is_change {
            self.report_state("carries", None, reason);
        }
    }

    /// The connection was ended in good order, for that reason.
    pub(crate) fn left(&self, reason: &str) {
        self.set_state(LinkState::Down);
        self.journal(|journal, now| {
            if let Some(left_out) = journal.state.spend(now) {
                info!(gateway = self.name, left_out, "{reason}");
            }
        });
    }

    /// Something that the link needs ends in so many seconds.
    pub(crate) fn expires(&self, certificate: Certificate, seconds: i64) {
        if let Some(left_out) = self.journal(|journal, now| journal.certificates.spend(now)) {
            let (what, name) = (certificate.what, &certificate.name);
            warn!(
                gateway = self.name,
                left_out,
                "{what} ({name}) ends in {} days: renew it",
                seconds.div_euclid(86_400)
            );
        }
        self.report(Body::Certificate(certificate));
    }

    /// The gateway's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The last failure, in words; empty before the first.
    pub(crate) fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// The gateway has refused the message about the vehicle's state.
    pub(crate) fn state_refused(&self, reason: &str) {
        if let Some(left_out) = self.journal(|journal, now| journal.vehicle_state.spend(now)) {
            warn!(gateway = self.name, left_out, "the vehicle's state was refused by the gateway: {reason}");
        }
    }

    /// A message went to the topic for dead letters.
    pub(crate) fn dead_lettered(&self, message: &Message, reason: &str) {
        if let Some(left_out) = self.journal(|journal, now| journal.refused.spend(now)) {
            let (class, first, last) = (message.class, message.part.first_seq, message.part.last_seq);
            warn!(gateway = self.name, %class, first, last, left_out, "sent to the topic for dead letters: {reason}");
        }
    }

    /// Once an hour for each class.
    fn report_refusal(&self, class: Class, reason: &str) {
        let due = self.journal(|journal, now| {
            let told = &mut journal.refusals[class.rank()];
            let due = told.is_none_or(|told| now.saturating_duration_since(told) >= HOUR);
            if due {
                *told = Some(now);
            }
            due
        });
        if due {
            self.report_state("refuses", Some(class), reason.to_owned());
        }
    }

    /// The uplink ends in good order.
    pub(crate) fn ended(&self) {
        self.set_state(LinkState::Down);
        self.in_flight(0);
    }

    pub(crate) fn handed(&self, message: &Message, again: bool) {
        add(&self.published, 1);
        add(&self.resent, u64::from(again));
        add(&self.bytes, u64::try_from(message.part.payload.len()).unwrap_or(u64::MAX));
    }

    pub(crate) fn in_flight(&self, messages: usize) {
        self.in_flight.store(u64::try_from(messages).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn acked(&self) {
        add(&self.acked, 1);
    }

    pub(crate) fn unclaimed(&self, class: Class) {
        add(&self.unclaimed, 1);
        if let Some(left_out) = self.journal(|journal, now| journal.unclaimed.spend(now)) {
            warn!(
                gateway = self.name,
                %class,
                left_out,
                "the gateway took a message that nobody subscribes to; unless a rule of its own passes it on, it is gone"
            );
        }
    }

    pub(crate) fn refused(&self, message: &Message, reason: &str, cause: LossCause) {
        add(&self.rejected, u64::from(message.part.count));
        self.report_refusal(message.class, reason);
        if let Some(left_out) = self.journal(|journal, now| journal.refused.spend(now)) {
            let (class, first, last) = (message.class, message.part.first_seq, message.part.last_seq);
            warn!(gateway = self.name, %class, first, last, ?cause, left_out, "refused for good by the gateway: {reason}");
        }
    }

    pub(crate) fn deferred(&self, message: &Message, reason: &str, retry_in: Duration) {
        add(&self.deferred, 1);
        self.report_refusal(message.class, reason);
        if let Some(left_out) = self.journal(|journal, now| journal.deferred.spend(now)) {
            warn!(gateway = self.name, class = %message.class, ?retry_in, left_out, "refused for now by the gateway: {reason}");
        }
    }

    pub(crate) fn oversize(&self, class: Class, seqs: &[u64], limit: usize) {
        add(&self.rejected, u64::try_from(seqs.len()).unwrap_or(u64::MAX));
        if let Some(left_out) = self.journal(|journal, now| journal.refused.spend(now)) {
            let first = seqs.first();
            let events = seqs.len();
            warn!(gateway = self.name, %class, events, first, limit, left_out, "events larger than the gateway takes");
        }
    }

    pub(crate) fn undecodable(&self, batch: &Batch, error: &PayloadError) {
        add(&self.rejected, u64::from(batch.count));
        if let Some(left_out) = self.journal(|journal, now| journal.refused.spend(now)) {
            let (class, first, last) = (batch.class, batch.first_seq, batch.last_seq);
            error!(gateway = self.name, %class, first, last, left_out, "damaged batch given up: {error}");
        }
    }

    pub(crate) fn outbox_failed(&self, doing: &str, class: Class, error: &OutboxError) {
        add(&self.outbox_errors, 1);
        if let Some(left_out) = self.journal(|journal, now| journal.outbox.spend(now)) {
            error!(gateway = self.name, %class, left_out, "{doing}: {error}");
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_bounds_an_hour_and_tells_what_it_left_out() {
        let start = Instant::now();
        let mut budget = Budget::default();
        for _ in 0..LINES_PER_HOUR {
            assert_eq!(budget.spend(start), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(budget.spend(start + HOUR / 2), None);
        }
        assert_eq!(budget.spend(start + HOUR), Some(1000));
        assert_eq!(budget.spend(start + HOUR), Some(0));
    }

    #[test]
    fn states_and_failures_are_counted() {
        let monitor = LinkMonitor::new("test");
        assert_eq!(monitor.state(), LinkState::Down);
        monitor.connecting();
        assert_eq!(monitor.state(), LinkState::Connecting);
        monitor.failed("no route", Duration::from_secs(1));
        monitor.connecting();
        monitor.up(20, 1000);
        let snapshot = monitor.snapshot();
        assert_eq!((snapshot.state, snapshot.connects, snapshot.failures), (LinkState::Up, 1, 1));
        assert_eq!(snapshot.last_error.as_deref(), Some("no route"));
    }
}

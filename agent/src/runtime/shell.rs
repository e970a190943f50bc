//! The engine's side of the queue: what is told beside the engine's own events, and what becomes of all of them on the way
//! into the queue.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::accounts::Accounts;
use super::clock::Clocks;
use super::links::Links;
use super::service::{self, Pulse};
use super::timeline::Timeline;
use super::writer::Queue;
use crate::event::{AgentState, Body, Class, Event, Identity, ModelStats, NameMap};
use crate::model::Meter;
use crate::outbox::Outbox;
use crate::privacy::Privacy;
use crate::recorder::Recorder;
use crate::uplink::Waker;

/// Counters that changed are told at most this often, nanoseconds of the engine's time.
const COUNTERS_NS: u64 = 60_000_000_000;
/// What networks with a budget carry is told at least so often.
const NETWORKS_NS: u64 = 3_600_000_000_000;
/// Population stability index from which an input has drifted away from the training data.
const DRIFT: f64 = 0.25;
/// The source was told to wait no longer than a second. If it took so long, the computer slept or the process was stopped.
const STOPPED_NS: u64 = 2_000_000_000;
/// Place of `disk_written_kib` among the counters.
const WRITTEN: usize = 2;

/// See the module's documentation.
pub(super) struct Shell {
    timeline: Timeline,
    clocks: Clocks,
    /// The clocks are those by which frames are stamped.
    is_live: bool,
    waker: Waker,
    pub(super) queue: Queue,
    pub(super) links: Links,
    pub(super) pulse: Pulse,
    pub(super) privacy: Option<Privacy>,
    outbox: Arc<Mutex<dyn Outbox>>,
    listeners_dropped: Arc<AtomicU64>,
    pub(super) recorder: Option<Recorder>,
    pub(super) accounts: Accounts,
    identity: Identity,
    /// Whether the disk refuses, and KiB written, when last looked at.
    disk: [u64; 2],
    pub(super) meters: Vec<(Arc<str>, Arc<Meter>)>,
    pub(super) events: u64,
    pub(super) frames: u64,
    /// Time of the first frame; 0 before it.
    pub(super) first_ns: u64,
    /// The counters in the last event, and when that was.
    told: [u64; 11],
    told_ns: u64,
    /// When the counters were told, be they the same.
    told_all_ns: u64,
}

/// What a [`Shell`] works with.
pub(super) struct Outside {
    /// The clocks are those by which frames are stamped.
    pub(super) is_live: bool,
    pub(super) waker: Waker,
    pub(super) queue: Queue,
    pub(super) links: Links,
    pub(super) pulse: Pulse,
    pub(super) outbox: Arc<Mutex<dyn Outbox>>,
    /// See [`super::notify::Notifier::dropped`].
    pub(super) listeners_dropped: Arc<AtomicU64>,
    pub(super) recorder: Option<Recorder>,
}

impl Shell {
    pub(super) fn new(
        outside: Outside,
        privacy: Option<Privacy>,
        meters: Vec<(Arc<str>, Arc<Meter>)>,
        (accounts, identity): (Accounts, Identity),
    ) -> Self {
        let Outside { is_live, waker, queue, links, pulse, outbox, listeners_dropped, recorder } = outside;
        let mut clocks = Clocks::default();
        Self {
            timeline: Timeline::new(clocks.read()),
            clocks,
            is_live,
            waker,
            queue,
            links,
            pulse,
            privacy,
            outbox,
            listeners_dropped,
            recorder,
            accounts,
            identity,
            disk: [0; 2],
            meters,
            events: 0,
            frames: 0,
            first_ns: 0,
            told: [0; 11],
            told_ns: 0,
            told_all_ns: 0,
        }
    }

    /// An event of the agent itself, with its counters.
    pub(super) fn tell(&mut self, state: &'static str, bad_lines: u64, now_ns: u64) -> Event {
        const NAMES: [&str; 11] = [
            "bad_lines",
            "disk_refuses",
            "disk_written_kib",
            "link_deferred",
            "link_rejected",
            "link_unclaimed",
            "listeners_dropped",
            "queue_overflow",
            "recorder_closed",
            "recorder_missed",
            "recorder_refused",
        ];
        (self.told, self.told_ns, self.told_all_ns) = (self.counters(bad_lines), now_ns, now_ns);
        self.show();
        let mut counters: Vec<(Arc<str>, u64)> = NAMES.map(Arc::from).into_iter().zip(self.told).collect();
        // That alone is no news.
        for (name, meter) in &self.meters {
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            counters.push((format!("model.{name}.us_max").into(), micros(meter.longest())));
            counters.push((format!("model.{name}.us_p99").into(), micros(meter.p99())));
        }
        for network in self.links.networks() {
            let name = &network.interface;
            counters.push((format!("network.{name}.kib").into(), network.used() >> 10));
            if let Some(left) = network.left() {
                counters.push((format!("network.{name}.left_kib").into(), u64::try_from(left >> 10).unwrap_or(0)));
            }
        }
        let counters = NameMap::new(counters);
        let body = Body::Agent(AgentState { state, reason: None, version: env!("CARGO_PKG_VERSION"), counters });
        Event::new(now_ns, Class::Status, body)
    }

    fn counters(&mut self, bad_lines: u64) -> [u64; 11] {
        // The engine does not wait for the disk: while that is busy, it is told as it was.
        if let Ok(outbox) = self.outbox.try_lock() {
            let stat = outbox.stat();
            self.disk = [u64::from(stat.refused), stat.written >> 10];
        }
        let ([deferred, rejected, unclaimed], [refuses, written]) = (self.links.refused(), self.disk);
        let listeners = self.listeners_dropped.load(Ordering::Relaxed);
        let overflowed = self.queue.overflowed();
        let [missed, not_made] = self.recorder.as_ref().map(Recorder::dropped).unwrap_or_default();
        let closed = u64::from(self.recorder.as_ref().is_some_and(Recorder::is_closed));
        [bad_lines, refuses, written, deferred, rejected, unclaimed, listeners, overflowed, closed, missed, not_made]
    }

    fn show(&self) {
        service::status(&format!("{} frames, {} events", self.frames, self.events));
    }

    /// True when the counters have changed and it is time to say so.
    pub(super) fn has_news(&mut self, bad_lines: u64, now_ns: u64) -> bool {
        // The clock may have been set back.
        (self.told_ns, self.told_all_ns) = (self.told_ns.min(now_ns), self.told_all_ns.min(now_ns));
        if !self.links.networks().is_empty() && now_ns - self.told_all_ns >= NETWORKS_NS {
            return true;
        }
        now_ns - self.told_ns >= COUNTERS_NS && {
            // Looked at once in a while only.
            self.told_ns = now_ns;
            self.show();
            let mut now = self.counters(bad_lines);
            // That alone is no news: it grows all the time.
            now[WRITTEN] = self.told[WRITTEN];
            now != self.told
        }
    }

    /// Has noted what campaigns have brought; `now`: however long ago that was done.
    pub(super) fn note_accounts(&mut self, now: bool) {
        if let Some(note) = self.accounts.note(now) {
            self.queue.note(note);
        }
    }

    /// Looks at the clocks. The source was asked for frames at `asked_ns` of the time since the computer was started.
    pub(super) fn look_at_clocks(&mut self, asked_ns: u64) {
        let reading = self.clocks.read();
        let news = self.timeline.look(reading);
        let stopped = reading.boot_ns.saturating_sub(asked_ns) >= STOPPED_NS;
        if news.slept || stopped {
            tracing::info!("the computer slept, or the agent was stopped");
            self.waker.resume();
        }
        if let Some(fix) = news.fix.filter(|_| self.is_live) {
            self.queue.clock_was_set(fix);
        }
        if let Some(change) = news.change.filter(|_| self.is_live) {
            tracing::info!(state = change.state.name(), step_ns = change.step, "clock");
            self.send(Event::new(reading.wall_ns, Class::Status, Body::Clock(change)));
        }
    }

    pub(super) fn send(&mut self, mut event: Event) {
        if self.is_live {
            event.clock = Some(self.timeline.clock(event.time_ns));
        }
        let Self { queue, events, accounts, identity, .. } = self;
        let mut send = |mut event: Event| {
            accounts.count(&mut event, identity);
            if let Body::ModelStats(stats) = &event.body {
                log_stats(stats);
            }
            *events += 1;
            queue.send(event);
        };
        match &mut self.privacy {
            Some(privacy) => privacy.apply(event, send),
            None => send(event),
        }
    }
}

/// A model that sees other things than it was trained on is worth a warning.
fn log_stats(stats: &ModelStats) {
    let found: u64 = stats.scores[5..].iter().sum();
    let worst = stats.inputs.first().and_then(|input| Some((input, input.psi?)));
    let (model, points) = (&stats.name, stats.points);
    match worst.filter(|(_, psi)| *psi >= DRIFT) {
        None => tracing::info!(model = &**model, "model {model}: {points} scores, {found} from the threshold on"),
        Some((input, psi)) => tracing::warn!(
            model = &**model,
            "model {model}: {points} scores, {found} from the threshold on; {} is not as it was in training: PSI {psi}, {} of it outside of its range",
            input.name,
            input.outside
        ),
    }
}

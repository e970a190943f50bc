//! The running agent: the engine between its source and its outbox, and the uplink behind that.
//!
//! ```text
//!   engine thread           writer thread            uplink thread (tokio, current thread)
//!   source ─▶ engine ─▶ bounded queue ─▶ outbox.append, commit ─wake▶ outbox.read ─▶ gateway
//!                                             ▲                          │ PUBACK
//!                                             └───────── outbox.ack ◀────┘
//!
//!   start ─▶ running ─(signal, end of the recording, failed source)─▶ last events queued
//!         ─▶ writer commits and ends ─▶ uplink drains until its deadline ─▶ outbox closed
//! ```
//!
//! The engine never waits for the disk or the network. When the queue is full, a recording waits;
//! a live bus cannot, so the event is dropped, counted by class, and explained by a gap event.

pub mod clock;
pub mod panics;
pub mod timeline;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use can_decoders::Frame;
use thiserror::Error;

use crate::engine::{Engine, Sink};
use crate::event::{AgentState, Body, Class, Event, Identity, ModelState, ModelStats, NameMap};
use crate::model::Meter;
use crate::outbox::{Outbox, OutboxError, OutboxStat};
use crate::privacy::Privacy;
use crate::source::{Source, SourceError};
use crate::uplink::{GatewayError, LinkMonitor, LinkSnapshot, NetworkMonitor, UplinkConfig, Uplinks, Waker};
use clock::Clocks;
use timeline::Timeline;
use writer::{Queue, Writer};

/// Frames taken from the source at once.
const BATCH: usize = 256;
/// Counters that changed are told at most this often, nanoseconds of the engine's time.
const COUNTERS_NS: u64 = 60_000_000_000;
/// What networks with a budget carry is told at least so often.
const NETWORKS_NS: u64 = 3_600_000_000_000;
/// Population stability index from which an input has drifted away from the training data.
const DRIFT: f64 = 0.25;
/// How long the source may wait for frames: also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(50);

/// The source was told to wait no longer than [`POLL`]. If it took so long, the computer slept or the process was stopped.
const STOPPED_NS: u64 = 2_000_000_000;

/// Looks on: called by the engine thread after each batch of frames, with the events that it led to.
pub type Observer = Box<dyn FnMut(&Engine, &[Event]) + Send>;

/// What an agent is made of.
pub struct Parts {
    /// Who it is.
    pub identity: Identity,
    /// Where frames come from.
    pub source: Box<dyn Source>,
    /// The engine.
    pub engine: Engine,
    /// Models that the engine goes without; told once at the start.
    pub refused: Vec<ModelState>,
    /// How long the models take, by name.
    pub meters: Vec<(Arc<str>, Arc<Meter>)>,
    /// What of the events may leave the vehicle; `None`: all.
    pub privacy: Option<Privacy>,
    /// Where events are kept.
    pub outbox: Arc<Mutex<dyn Outbox>>,
    /// Where they go; without gateways they stay in the outbox.
    pub uplink: UplinkConfig,
    /// The links' states by gateway, for whoever wants to look; see [`Uplinks::monitors`].
    pub monitors: Vec<Arc<LinkMonitor>>,
    /// What the links have to tell, for events.
    pub reports: Receiver<Body>,
    /// Looks on.
    pub observer: Option<Observer>,
}

/// What a finished run did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Time of the first frame, nanoseconds since the Unix epoch; 0 when there was none.
    pub first_ns: u64,
    /// Frames taken.
    pub frames: u64,
    /// Events that the engine and the agent made.
    pub events: u64,
    /// Events dropped because the queue was full.
    pub overflowed: u64,
    /// Lines of the recording that were skipped.
    pub bad_lines: u64,
    /// The outbox at the end.
    pub outbox: OutboxStat,
    /// All links together at the end.
    pub link: LinkSnapshot,
}

/// Why a run ended before its time. What had happened until then is in the outbox.
#[derive(Debug, Error)]
pub enum RunError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The outbox could not be closed in good order.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The uplink cannot work as configured.
    #[error(transparent)]
    Uplink(#[from] GatewayError),
    /// A thread could not be started.
    #[error("cannot start the {name} thread: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Runs until the source ends or `stop` is set, then drains.
///
/// # Errors
/// When the source fails or the parts cannot be started. Everything is drained and closed before it returns.
pub fn run(mut parts: Parts, stop: &AtomicBool) -> Result<Outcome, RunError> {
    let (shutdown, shut) = tokio::sync::oneshot::channel::<()>();
    let Threads { queue, writer, uplink, waker, networks } = match start(&mut parts, shut) {
        Ok(threads) => threads,
        Err(error) => {
            // No event was taken. Left open, the outbox would report the numbers that it has reserved as a loss.
            if let Err(error) = crate::outbox::lock(&parts.outbox).close() {
                tracing::error!("{error}");
            }
            return Err(error);
        }
    };

    let mut clocks = Clocks::default();
    let mut shell = Shell {
        timeline: Timeline::new(clocks.read()),
        clocks,
        is_live: parts.source.is_live(),
        waker,
        queue,
        privacy: parts.privacy.take(),
        outbox: parts.outbox.clone(),
        disk: [0; 2],
        monitors: parts.monitors.clone(),
        networks,
        meters: std::mem::take(&mut parts.meters),
        events: 0,
        frames: 0,
        first_ns: 0,
        told: [0; 7],
        told_ns: 0,
        told_all_ns: 0,
    };
    let driven = drive(&mut parts, &mut shell, stop);
    let Shell { queue, events, frames, first_ns, .. } = shell;
    let overflowed = queue.overflowed();

    // In order: no more events; all of them stored; the gateway has what it takes in time; the outbox is closed.
    drop(queue);
    join("writer", writer);
    let _ = shutdown.send(());
    if let Some(uplink) = uplink {
        join("uplink", uplink);
    }
    let mut outbox = crate::outbox::lock(&parts.outbox);
    let closed = outbox.close();
    let outcome = Outcome {
        first_ns,
        frames,
        events,
        overflowed,
        bad_lines: parts.source.bad_lines(),
        outbox: outbox.stat(),
        link: LinkSnapshot::sum(&parts.monitors),
    };
    driven?;
    closed?;
    Ok(outcome)
}

/// What runs beside the engine.
struct Threads {
    queue: Queue,
    writer: JoinHandle<()>,
    uplink: Option<JoinHandle<()>>,
    waker: Waker,
    networks: Vec<Arc<NetworkMonitor>>,
}

fn start(parts: &mut Parts, shut: tokio::sync::oneshot::Receiver<()>) -> Result<Threads, RunError> {
    let waker = Waker::new();
    let config = std::mem::take(&mut parts.uplink);
    let mut networks = Vec::new();
    let uplink = if config.gateways.is_empty() {
        None
    } else {
        let uplinks = Uplinks::new(config, &parts.identity)?;
        networks.extend_from_slice(uplinks.networks());
        let (outbox, waker, monitors) = (parts.outbox.clone(), waker.clone(), parts.monitors.clone());
        Some(spawn("uplink", move || send(uplinks, outbox, waker, monitors, shut))?)
    };
    let (queue, writer) = Writer::new(parts.outbox.clone(), waker.clone(), parts.source.is_live());
    let writer = spawn("writer", move || writer.run())?;
    Ok(Threads { queue, writer, uplink, waker, networks })
}

/// The uplink's thread.
fn send(
    uplinks: Uplinks,
    outbox: Arc<Mutex<dyn Outbox>>,
    waker: Waker,
    monitors: Vec<Arc<LinkMonitor>>,
    shut: tokio::sync::oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("the uplink cannot start: {error}; events stay in the outbox"),
    };
    let shutdown = async {
        // An error means that the other side is gone: shut down as well.
        let _ = shut.await;
    };
    runtime.block_on(uplinks.run(outbox, waker, monitors, shutdown));
    // Dropped, it would wait for a name that is still being looked up: half a minute where there is no network.
    runtime.shutdown_background();
}

/// Place of `disk_written_kib` among the counters.
const WRITTEN: usize = 2;

/// The engine's side of the queue.
struct Shell {
    timeline: Timeline,
    clocks: Clocks,
    /// The clocks are those by which frames are stamped.
    is_live: bool,
    waker: Waker,
    queue: Queue,
    privacy: Option<Privacy>,
    outbox: Arc<Mutex<dyn Outbox>>,
    /// Whether the disk refuses, and KiB written, when last looked at.
    disk: [u64; 2],
    monitors: Vec<Arc<LinkMonitor>>,
    networks: Vec<Arc<NetworkMonitor>>,
    meters: Vec<(Arc<str>, Arc<Meter>)>,
    events: u64,
    frames: u64,
    first_ns: u64,
    /// The counters in the last event, and when that was.
    told: [u64; 7],
    told_ns: u64,
    /// When the counters were told, be they the same.
    told_all_ns: u64,
}

impl Shell {
    /// An event of the agent itself, with its counters.
    fn tell(&mut self, state: &'static str, bad_lines: u64, now_ns: u64) -> Event {
        const NAMES: [&str; 7] = [
            "bad_lines",
            "disk_refuses",
            "disk_written_kib",
            "link_deferred",
            "link_rejected",
            "link_unclaimed",
            "queue_overflow",
        ];
        (self.told, self.told_ns, self.told_all_ns) = (self.counters(bad_lines), now_ns, now_ns);
        let mut counters: Vec<(Arc<str>, u64)> = NAMES.map(Arc::from).into_iter().zip(self.told).collect();
        // That alone is no news.
        for (name, meter) in &self.meters {
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            counters.push((format!("model.{name}.us_max").into(), micros(meter.longest())));
            counters.push((format!("model.{name}.us_p99").into(), micros(meter.p99())));
        }
        for network in &self.networks {
            let name = &network.interface;
            counters.push((format!("network.{name}.kib").into(), network.used() >> 10));
            if let Some(left) = network.left() {
                counters.push((format!("network.{name}.left_kib").into(), u64::try_from(left >> 10).unwrap_or(0)));
            }
        }
        let counters = NameMap::new(counters);
        let body = Body::Agent(AgentState { state, version: env!("CARGO_PKG_VERSION"), counters });
        Event::new(now_ns, Class::Status, body)
    }

    fn counters(&mut self, bad_lines: u64) -> [u64; 7] {
        // The engine does not wait for the disk: while that is busy, it is told as it was.
        if let Ok(outbox) = self.outbox.try_lock() {
            let stat = outbox.stat();
            self.disk = [u64::from(stat.refused), stat.written >> 10];
        }
        let (link, [refuses, written]) = (LinkSnapshot::sum(&self.monitors), self.disk);
        [bad_lines, refuses, written, link.deferred, link.rejected, link.unclaimed, self.queue.overflowed()]
    }

    /// True when the counters have changed and it is time to say so.
    fn has_news(&mut self, bad_lines: u64, now_ns: u64) -> bool {
        // The clock may have been set back.
        (self.told_ns, self.told_all_ns) = (self.told_ns.min(now_ns), self.told_all_ns.min(now_ns));
        if !self.networks.is_empty() && now_ns - self.told_all_ns >= NETWORKS_NS {
            return true;
        }
        now_ns - self.told_ns >= COUNTERS_NS && {
            // Looked at once in a while only.
            self.told_ns = now_ns;
            let mut now = self.counters(bad_lines);
            // That alone is no news: it grows all the time.
            now[WRITTEN] = self.told[WRITTEN];
            now != self.told
        }
    }

    /// Looks at the clocks. The source was asked for frames at `asked_ns` of the time since the computer was started.
    fn look_at_clocks(&mut self, asked_ns: u64) {
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

    fn send(&mut self, mut event: Event) {
        if self.is_live {
            event.clock = Some(self.timeline.clock(event.time_ns));
        }
        let Self { queue, events, .. } = self;
        let mut send = |event: Event| {
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
        None => tracing::info!("model {model}: {points} scores, {found} from the threshold on"),
        Some((input, psi)) => tracing::warn!(
            "model {model}: {points} scores, {found} from the threshold on; {} is not as it was in training: PSI {psi}, {} of it outside of its range",
            input.name,
            input.outside
        ),
    }
}

fn drive(parts: &mut Parts, shell: &mut Shell, stop: &AtomicBool) -> Result<(), RunError> {
    let mut batch: Vec<Frame> = Vec::with_capacity(BATCH);
    let mut events: Vec<Event> = Vec::new();
    let mut notices = Vec::new();
    let result = loop {
        if stop.load(Ordering::Relaxed) {
            break Ok(());
        }
        batch.clear();
        let asked_ns = clock::boot_ns();
        let read = parts.source.read(&mut batch, POLL);
        // Frames that came before a failure are good.
        let now_ns = read.as_ref().map_or(0, |progress| progress.now_ns);
        if shell.first_ns == 0 {
            shell.first_ns = batch.first().map_or(now_ns, |frame| frame.time_ns);
            if shell.first_ns > 0 {
                let started = shell.tell("started", parts.source.bad_lines(), shell.first_ns);
                shell.send(started);
                for model in parts.refused.drain(..) {
                    shell.send(Event::new(shell.first_ns, Class::Status, Body::Model(model)));
                }
            }
        }
        if shell.first_ns > 0 {
            shell.look_at_clocks(asked_ns);
        }
        for frame in &batch {
            parts.engine.frame(frame, &mut events);
        }
        if shell.frames == 0 && !batch.is_empty() {
            tracing::info!("the first frame is through the engine");
        }
        shell.frames += batch.len() as u64;
        parts.source.notices(&mut notices);
        for notice in notices.drain(..) {
            parts.engine.notice(notice, &mut events);
        }
        parts.engine.advance(now_ns, &mut events);
        let (bad_lines, engine_ns) = (parts.source.bad_lines(), parts.engine.now_ns());
        if shell.has_news(bad_lines, engine_ns) {
            events.event(shell.tell("running", bad_lines, engine_ns));
        }
        // A recording has no time at which a link could have done something.
        let reports = parts.reports.try_iter().filter(|_| shell.first_ns > 0);
        events.extend(reports.map(|body| Event::new(now_ns.max(engine_ns), Class::Status, body)));
        if let Some(observer) = &mut parts.observer {
            observer(&parts.engine, &events);
        }
        events.drain(..).for_each(|event| shell.send(event));
        match read {
            Ok(progress) if !progress.ended => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    batch.clear();
    parts.source.finish(&mut batch, &mut notices);
    for frame in &batch {
        parts.engine.frame(frame, &mut events);
    }
    shell.frames += batch.len() as u64;
    for notice in notices.drain(..) {
        parts.engine.notice(notice, &mut events);
    }
    parts.engine.finish(&mut events);
    if shell.first_ns > 0 {
        events.event(shell.tell("stopping", parts.source.bad_lines(), parts.engine.now_ns()));
    }
    if let Some(observer) = &mut parts.observer {
        observer(&parts.engine, &events);
    }
    events.drain(..).for_each(|event| shell.send(event));
    result
}

fn spawn(name: &'static str, job: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RunError> {
    std::thread::Builder::new().name(name.into()).spawn(job).map_err(|source| RunError::Thread { name, source })
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("the {name} thread failed; what it had not done is still in the outbox");
    }
}

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
//! With a flight recorder there are two threads more, which get each frame as the engine does ([`crate::recorder`]).
//!
//! The engine never waits for the disk or the network. When the queue is full, a recording waits;
//! a live bus cannot, so the event is dropped, counted by class, and explained by a gap event.
//!
//! A [`Change`] of the configuration is taken between two batches of frames: the sockets stay, and so does the queue.

mod accounts;
mod change;
pub mod clock;
mod drive;
mod links;
pub mod notify;
pub mod panics;
pub mod service;
mod shell;
pub mod timeline;
mod writer;

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use crate::config::Live;
use crate::engine::Engine;
use crate::event::{Event, Identity};
use crate::outbox::{Outbox, OutboxError, OutboxStat};
use crate::privacy::Privacy;
use crate::recorder::{Recorder, RecorderConfig, RecorderError, Settings};
use crate::source::{Source, SourceError};
use crate::uplink::{GatewayError, LinkSnapshot, Monitors, UplinkConfig, Waker};
pub use accounts::Accounts;
pub use change::{Change, News, Refusal};
use links::Links;
use notify::Notifier;
use service::{Pulse, Watchdog};
use shell::{Outside, Shell};
use writer::Writer;

/// A worn flash card may take a minute for a write.
const DISK: Duration = Duration::from_secs(120);
/// A part that has not moved for so long hangs. An uplink that is stuck loses nothing; but frames are lost as soon as the kernel's
/// buffers are full.
const PATIENCE: [(&str, Duration); 3] =
    [("engine", Duration::from_secs(20)), ("outbox", DISK), ("uplink", Duration::from_secs(120))];

/// Looks on: called by the engine thread after each batch of frames, with the events that it led to.
pub type Observer = Box<dyn FnMut(&Engine, &[Event]) + Send>;

/// What an agent is made of.
pub struct Parts {
    /// Who it is.
    pub identity: Identity,
    /// Where frames come from.
    pub source: Box<dyn Source>,
    /// The engine, and the models that it goes without; those are told once at the start.
    pub live: Live,
    /// What of the events may leave the vehicle; `None`: all.
    pub privacy: Option<Privacy>,
    /// Where events are kept.
    pub outbox: Arc<Mutex<dyn Outbox>>,
    /// Where they go; without gateways they stay in the outbox.
    pub uplink: UplinkConfig,
    /// The links' states, for whoever wants to look.
    pub monitors: Monitors,
    /// New configurations, as they come.
    pub changes: Option<Receiver<News>>,
    /// Tells listeners in the vehicle.
    pub notifier: Option<Notifier>,
    /// Records raw frames: where, and what goes with the engine.
    pub recorder: Option<(RecorderConfig, Settings)>,
    /// What campaigns have brought.
    pub accounts: Accounts,
    /// Looks on.
    pub observer: Option<Observer>,
}

impl Parts {
    fn observe(&mut self, events: &[Event]) {
        if let Some(observer) = &mut self.observer {
            observer(&self.live.engine, events);
        }
    }
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
    /// There is no place for recordings.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
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
    let outbox = parts.outbox.clone();
    let Started { writer, watchdog, mut shell } = match start(&mut parts) {
        Ok(started) => started,
        Err(error) => {
            // No event was taken. Left open, the outbox would report the numbers that it has reserved as a loss.
            if let Err(error) = crate::outbox::lock(&outbox).close() {
                tracing::error!("{error}");
            }
            return Err(error);
        }
    };
    service::ready();
    let driven = drive::drive(&mut parts, &mut shell, stop);
    service::stopping();
    // From here on the manager's patience with a service that ends holds.
    drop(watchdog);
    // It writes what is still to be recorded, and what it has to tell goes with the rest.
    if let Some(recorder) = shell.recorder.take() {
        let now_ns = parts.live.engine.now_ns().max(clock::wall_ns());
        let timed = |event: Event| if event.time_ns == 0 { Event { time_ns: now_ns, ..event } } else { event };
        recorder.finish().into_iter().map(timed).for_each(|event| shell.send(event));
    }
    shell.note_accounts(true);
    let Shell { queue, links, events, frames, first_ns, .. } = shell;
    let overflowed = queue.overflowed();

    // In order: no more events; all of them stored; the gateway has what it takes in time; the outbox is closed.
    drop(queue);
    join("writer", writer);
    let link = links.stop();
    let mut outbox = crate::outbox::lock(&outbox);
    let closed = outbox.close();
    let outcome = Outcome {
        first_ns,
        frames,
        events,
        overflowed,
        bad_lines: parts.source.bad_lines(),
        outbox: outbox.stat(),
        link,
    };
    driven?;
    closed?;
    Ok(outcome)
}

/// What runs beside the engine, and its side of that.
struct Started {
    writer: JoinHandle<()>,
    watchdog: Option<Watchdog>,
    shell: Shell,
}

fn start(parts: &mut Parts) -> Result<Started, RunError> {
    let (waker, is_live) = (Waker::new(), parts.source.is_live());
    let [engine, outbox, uplink] = pulses(is_live);
    let felt = vec![engine.clone(), outbox.clone(), uplink.clone()];
    let config = std::mem::take(&mut parts.uplink);
    let monitors = std::mem::take(&mut parts.monitors);
    let links = Links::start(config, &parts.identity, parts.outbox.clone(), waker.clone(), monitors, uplink)?;
    let (queue, writer) = Writer::new(parts.outbox.clone(), waker.clone(), is_live, outbox);
    let writer = spawn("writer", move || writer.run())?;
    let watchdog = Watchdog::start(felt)?;
    let meters = std::mem::take(&mut parts.live.meters);
    let recorder = match parts.recorder.take() {
        None => None,
        Some((config, settings)) => {
            let outside = Some((parts.outbox.clone(), waker.clone()));
            Some(Recorder::start(&config, settings, parts.identity.clone(), outside, is_live)?)
        }
    };
    let listeners_dropped = parts.notifier.as_ref().map(Notifier::dropped).unwrap_or_default();
    let outbox = parts.outbox.clone();
    let outside = Outside { is_live, waker, queue, links, pulse: engine, outbox, listeners_dropped, recorder };
    let mut accounts = std::mem::take(&mut parts.accounts);
    accounts.begin(&mut parts.live.engine);
    let shell = Shell::new(outside, parts.privacy.take(), meters, (accounts, parts.identity.clone()));
    Ok(Started { writer, watchdog, shell })
}

/// Of the engine, the outbox's writer and the uplink.
fn pulses(is_live: bool) -> [Pulse; 3] {
    // A recording waits for the disk.
    let at_least = if is_live { Duration::ZERO } else { DISK };
    PATIENCE.map(|(part, patience)| Pulse::new(part, patience.max(at_least)))
}

fn spawn(name: &'static str, job: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RunError> {
    std::thread::Builder::new().name(name.into()).spawn(job).map_err(|source| RunError::Thread { name, source })
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("the {name} thread failed; what it had not done is still in the outbox");
    }
}

#[cfg(test)]
mod tests {
    use super::service::{EVERY, Watch};
    use super::*;

    /// A recording's engine waits while a worn card takes its minute; on a live bus, where frames would be lost, that hangs.
    #[test]
    fn only_the_engine_of_a_recording_waits_for_the_disk() {
        for (is_live, hangs) in [(true, true), (false, false)] {
            let [engine, ..] = pulses(is_live);
            engine.beat();
            let mut watch = Watch::new(engine);
            let minute = 60 / EVERY.as_secs();
            assert_eq!((0..=minute).any(|_| watch.feel(EVERY).is_some()), hangs, "live: {is_live}");
        }
    }
}

//! A new configuration for a running agent.
//!
//! Whoever makes a [`Change`] has loaded and checked all of it, on a thread of its own: models take a while. The engine's
//! thread takes it between two batches of frames:
//!
//! ```text
//!   source: sockets that are still wanted stay open ─▶ what it has read already goes through the old engine
//!   old engine: its last events ─▶ new engine, new rules ─▶ outbox: new bounds ─▶ uplink: new links, when they differ
//! ```
//!
//! Nothing waits for that but the frames, and those wait in the kernel's buffers, as they do while any batch is worked on. So
//! neither a frame nor an event is lost. The new engine begins as after a start: it has no values, windows and counters yet,
//! those of the buses included, and what was raised before is not cleared. An `agent` event with state `reloaded` stands between both.

use std::sync::mpsc::{Receiver, SyncSender};

use can_decoders::Frame;
use thiserror::Error;

use super::Parts;
use super::drive::Outputs;
use super::shell::Shell;
use crate::config::Live;
use crate::event::{Body, Event};
use crate::outbox::OutboxConfig;
use crate::privacy::Privacy;
use crate::recorder::Settings;
use crate::source::SourceError;
use crate::source::socketcan::Listen;
use crate::uplink::{GatewayError, UplinkConfig};

/// What whoever loads configurations has to say.
pub enum News {
    /// A new one is in force as soon as this is taken.
    Change(Box<Change>),
    /// A new one is refused, for this reason.
    Kept(String),
}

/// What a new configuration replaces.
pub struct Change {
    /// The engine; no model of it is refused.
    pub live: Live,
    /// How each of its buses is listened to.
    pub listen: Vec<Listen>,
    /// What of the events may leave the vehicle; `None`: all.
    pub privacy: Option<Privacy>,
    /// What goes with the engine for recordings, if there is a recorder.
    pub recorder: Option<Settings>,
    /// The outbox's bounds.
    pub outbox: OutboxConfig,
    /// Where events go.
    pub uplink: UplinkConfig,
    /// Told what became of it; has room for that.
    pub done: SyncSender<Result<(), Refusal>>,
}

/// Why a change was not taken: all is as it was.
#[derive(Debug, Error)]
pub enum Refusal {
    /// A bus cannot be listened to as asked.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A gateway could never work as it is.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

/// Takes the change that waits, if there is one. `batch` is empty.
pub(super) fn take(parts: &mut Parts, shell: &mut Shell, batch: &mut Vec<Frame>, events: &mut Vec<Event>) {
    match parts.changes.as_ref().map(Receiver::try_recv) {
        Some(Ok(News::Change(change))) => {
            let done = change.done.clone();
            let outcome = make(*change, parts, shell, batch, events);
            // Who does not listen does not want to know.
            let _ = done.try_send(outcome);
        }
        Some(Ok(News::Kept(reason))) if shell.first_ns > 0 => {
            let now_ns = parts.live.engine.now_ns().max(shell.first_ns);
            let mut told = shell.tell("kept", parts.source.bad_lines(), now_ns);
            if let Body::Agent(agent) = &mut told.body {
                agent.reason = Some(reason);
            }
            shell.send(told);
        }
        Some(Ok(News::Kept(_)) | Err(_)) | None => {}
    }
}

fn make(
    change: Change,
    parts: &mut Parts,
    shell: &mut Shell,
    batch: &mut Vec<Frame>,
    events: &mut Vec<Event>,
) -> Result<(), Refusal> {
    let Change { live, listen, privacy, recorder, outbox, uplink, done: _ } = change;
    // What can be refused comes first.
    shell.links.check(&uplink)?;
    let mut notices = Vec::new();
    parts.source.reconfigure(live.engine.catalog(), &listen, batch, &mut notices)?;

    let old = &mut parts.live.engine;
    let mut sink = Outputs::new(&mut *events, parts.notifier.as_mut(), shell.recorder.as_mut());
    for frame in batch.iter() {
        sink.frame(old, frame);
    }
    shell.frames += batch.len() as u64;
    batch.clear();
    notices.into_iter().for_each(|notice| sink.notice(old, notice));
    old.finish(&mut sink);
    let now_ns = old.now_ns();
    parts.observe(events);
    events.drain(..).for_each(|event| shell.send(event));

    parts.live = live;
    shell.privacy = privacy;
    if let (Some(recorder), Some(settings)) = (&mut shell.recorder, recorder) {
        recorder.change(settings);
    }
    shell.accounts.begin(&mut parts.live.engine);
    shell.meters = std::mem::take(&mut parts.live.meters);
    shell.queue.bounds_changed(outbox);
    if let Err(error) = shell.links.change(uplink) {
        // Checked above: only a thread can be missing.
        tracing::error!("{error}; events stay in the outbox");
    }
    if shell.first_ns > 0 {
        let now_ns = now_ns.max(shell.first_ns);
        let told = shell.tell("reloaded", parts.source.bad_lines(), now_ns);
        shell.send(told);
    }
    Ok(())
}

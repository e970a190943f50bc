//! What the service manager is told (`sd_notify(3)`), and what feeds its watchdog.
//!
//! A timer that feeds a watchdog proves that a timer runs. Here each part of the agent has a pulse that it beats when it
//! has got round once: the engine when a batch of frames is through, the outbox's writer when what it took is stored, the
//! uplink when its tasks get their turn. The watchdog is fed while all of them beat, and as soon as one has stopped for too
//! long the manager is told to act. Without a service manager there is no watchdog, and nothing is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use super::RunError;

/// How often pulses are felt, at most; the watchdog's time is four of these, at least.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// The agent takes frames.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A new configuration is being loaded; [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The agent drains and ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// What `systemctl status` shows.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Nobody listens where there is no service manager, and one that does not listen is no reason to do anything else.
fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}

/// Shows that a part of the agent gets on with its work.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    part: &'static str,
    patience: Duration,
    /// 0: at rest.
    beats: Arc<AtomicU64>,
}

impl Pulse {
    /// Of the part with this name, which hangs when it has not beaten for `patience`. At rest until its first beat.
    pub(super) fn new(part: &'static str, patience: Duration) -> Self {
        Self { part, patience, beats: Arc::default() }
    }

    /// Work goes on.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// There is no work any more.
    pub(super) fn rest(&self) {
        self.beats.store(0, Ordering::Relaxed);
    }
}

/// Feeds the service manager's watchdog while all parts move. Ends when dropped.
#[derive(Debug)]
pub(super) struct Watchdog(#[expect(dead_code, reason = "its end is what is told")] SyncSender<()>);

impl Watchdog {
    /// Starts it, if the service manager wants to be fed.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn start(pulses: Vec<Pulse>) -> Result<Option<Self>, RunError> {
        let Some(time) = sd_notify::watchdog_enabled() else { return Ok(None) };
        let every = EVERY.min(time / 4);
        let mut watch: Vec<Watch> = pulses.into_iter().map(Watch::new).collect();
        let (sender, ended) = sync_channel(0);
        super::spawn("watchdog", move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let hung: Vec<&str> = watch.iter_mut().filter_map(|watch| watch.feel(every)).collect();
                for part in &hung {
                    tracing::error!("the {part} does not move: the service manager is asked to start the agent anew");
                }
                tell(&[if hung.is_empty() { NotifyState::Watchdog } else { NotifyState::WatchdogTrigger }]);
            }
        })?;
        Ok(Some(Self(sender)))
    }
}

/// One pulse, watched.
#[derive(Debug)]
pub(super) struct Watch {
    pulse: Pulse,
    felt: u64,
    /// For how long it has not moved. Summed up from look to look: while the whole process is stopped, or the computer sleeps,
    /// nobody looks, and nothing hangs.
    still: Duration,
}

impl Watch {
    pub(super) fn new(pulse: Pulse) -> Self {
        Self { pulse, felt: 0, still: Duration::ZERO }
    }

    /// Looks, `every` after the last time. The part's name, if it hangs.
    pub(super) fn feel(&mut self, every: Duration) -> Option<&'static str> {
        let beats = self.pulse.beats.load(Ordering::Relaxed);
        let moved = beats == 0 || beats != self.felt;
        self.felt = beats;
        self.still = if moved { Duration::ZERO } else { self.still + every };
        (self.still >= self.pulse.patience).then_some(self.pulse.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_hangs_when_it_has_not_beaten_for_its_patience() {
        let every = Duration::from_secs(5);
        let pulse = Pulse::new("engine", Duration::from_secs(20));
        let mut watch = Watch::new(pulse.clone());
        assert_eq!((0..100).find_map(|_| watch.feel(every)), None, "it has not begun");
        for _ in 0..3 {
            pulse.beat();
            assert_eq!((0..4).find_map(|_| watch.feel(every)), None);
        }
        assert_eq!(watch.feel(every), Some("engine"));
        pulse.beat();
        assert_eq!(watch.feel(every), None, "it was slow, and goes on");
        pulse.rest();
        assert_eq!((0..100).find_map(|_| watch.feel(every)), None, "it is not wanted any more");
    }
}

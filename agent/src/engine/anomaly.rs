//! An anomaly from when it is raised until it clears: when it is told, and as how important.

use std::sync::Arc;

use super::debounce::{Debounce, DebounceSpec, Step};
use crate::event::{Anomaly, AnomalyPhase, Body, Class, Contribution, Event};

/// Who found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finder {
    /// Name of the model or profile.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// The first digits of the SHA-256 over all of its files.
    pub hash: Arc<str>,
}

/// A grid point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// Frames that the engine has taken so far.
    pub frames: u64,
}

/// One condition that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    /// What it is called in events.
    what: Arc<str>,
    threshold: f64,
    debounce: Debounce,
    peak: f64,
    since_ns: u64,
    class: Class,
}

impl Watched {
    pub(super) fn new(what: Arc<str>, threshold: f64, debounce: DebounceSpec) -> Self {
        Self { what, threshold, debounce: Debounce::new(debounce), peak: 0.0, since_ns: 0, class: Class::Alert }
    }

    pub(super) fn is_raised(&self) -> bool {
        self.debounce.is_raised()
    }

    /// Nobody looks any more: what was raised is over, as far as anyone knows.
    pub(super) fn end(&mut self, tick: Tick, finder: &Finder) -> Option<Event> {
        self.debounce.end().then(|| self.event(tick, AnomalyPhase::Cleared, self.peak, finder, Vec::new()))
    }

    /// See [`Debounce::time_jumped`].
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.debounce.time_jumped(now_ns);
    }

    /// Takes the score of a grid point, rounded, and makes an event of it when one is due.
    ///
    /// `worst` is the class that it has now, `None` while the condition does not hold; `top` is asked for what contributes,
    /// the most first.
    pub(super) fn step(
        &mut self,
        tick: Tick,
        score: f64,
        worst: Option<Class>,
        finder: &Finder,
        top: impl FnOnce() -> Vec<Contribution>,
    ) -> Option<Event> {
        let phase = match self.debounce.step(score >= self.threshold, tick.now_ns) {
            Step::Quiet => return None,
            Step::Raised { since_ns } => {
                self.since_ns = since_ns;
                self.peak = score;
                self.class = worst.unwrap_or(Class::Alert);
                AnomalyPhase::Raised
            }
            step @ (Step::Holding | Step::Ongoing) => {
                self.peak = self.peak.max(score);
                let worst = worst.unwrap_or(self.class);
                // What gets worse is told at once: a crash must not wait behind the alert that it began as.
                if step == Step::Holding && worst >= self.class {
                    return None;
                }
                self.class = self.class.min(worst);
                AnomalyPhase::Ongoing
            }
            Step::Cleared => AnomalyPhase::Cleared,
        };
        Some(match phase {
            AnomalyPhase::Cleared => self.event(tick, phase, self.peak, finder, Vec::new()),
            _ => self.event(tick, phase, score, finder, top()),
        })
    }

    fn event(&self, tick: Tick, phase: AnomalyPhase, score: f64, finder: &Finder, top: Vec<Contribution>) -> Event {
        let anomaly = Anomaly {
            top,
            hash: finder.hash.clone(),
            what: self.what.clone(),
            frame: tick.frames,
            model: finder.name.clone(),
            phase,
            score,
            since: self.since_ns,
            version: finder.version.clone(),
            threshold: self.threshold,
        };
        Event::new(tick.now_ns, self.class, Body::Anomaly(anomaly))
    }
}

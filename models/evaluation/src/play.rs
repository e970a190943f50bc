//! A recording through the engine, in memory.

use can_decoders::Frame;
use outrider::engine::{Engine, Sink};
use outrider::event::{AnomalyPhase, Body, Event};

use crate::metrics::Scored;

/// What the engine made of a recording.
#[derive(Debug, Default)]
pub struct Played {
    /// The score at each grid point; of several finders the one that is nearest to its threshold, or furthest beyond.
    pub scores: Vec<Scored>,
    /// Alerts: when they were raised, what for, and which signal contributed most.
    pub raised: Vec<(u64, String)>,
}

impl Sink for Played {
    fn event(&mut self, event: Event) {
        if let Body::Anomaly(anomaly) = event.body
            && anomaly.phase == AnomalyPhase::Raised
        {
            let top = anomaly.top.first().map_or_else(String::new, |top| format!(" of {}", top.name));
            self.raised.push((event.time_ns, format!("{}{top}", anomaly.what)));
        }
    }

    fn score(&mut self, _: usize, now_ns: u64, score: f64, _: &mut dyn Iterator<Item = f64>) {
        self.scores.push((now_ns, score));
    }
}

/// Takes all frames through.
pub fn play(mut engine: Engine, frames: &[Frame]) -> Played {
    let mut played = Played::default();
    for frame in frames {
        engine.frame(frame, &mut played);
    }
    engine.finish(&mut played);
    played
}

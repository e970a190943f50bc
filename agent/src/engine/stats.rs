//! How a model fares: its scores, and whether what it sees is what it was trained on.
//!
//! Told every hour and at the end, then counted anew. Drift is the population stability index (PSI) of each input over that
//! time, against the shares that its training data had between a few edges: the sum of (p - q) ln(p / q). Below 0.1 nothing
//! has changed to speak of, above 0.25 a model should not be trusted blindly (Siddiqi, "Credit Risk Scorecards", 2006). A
//! drive of an hour is never all of what a model was trained on, so it is the trend over many that counts.

use std::sync::Arc;

use super::anomaly::Finder;
use crate::event::{Body, Class, Event, InputStats, ModelStats, round_score};

/// How long is counted, nanoseconds.
const PERIOD_NS: u64 = 3_600_000_000_000;
/// Edges between the counts of scores, as shares of the threshold.
pub const SCORE_EDGES: [f64; 7] = [0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 5.0];
/// Inputs that are told: those that are furthest from the training data.
const TOP: usize = 5;
/// No share counts as less: an empty bin would make the index infinite.
const LEAST: f64 = 1e-3;
/// An index needs so many samples to mean anything: a minute at 10 Hz.
const MIN_SAMPLES: u64 = 600;

/// What the training data had of an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Ascending edges between bins: at most [`MAX_EDGES`].
    pub edges: Vec<f64>,
    /// The share of values in each bin, one more than edges; a value on an edge is in the bin above it.
    pub shares: Vec<f64>,
}

/// Most edges of an input.
pub const MAX_EDGES: usize = 32;

/// Counts of one input.
#[derive(Debug, Clone)]
struct Input {
    missing: u64,
    outside: u64,
    bins: Box<[u64]>,
}

/// The counts of a model.
#[derive(Debug)]
pub(super) struct Stats {
    since_ns: u64,
    points: u64,
    scores: [u64; SCORE_EDGES.len() + 1],
    inputs: Vec<Input>,
}

impl Stats {
    pub(super) fn new<'a>(seen: impl Iterator<Item = Option<&'a Seen>>) -> Self {
        let bins = |seen: Option<&Seen>| vec![0; seen.map_or(0, |seen| seen.shares.len())].into();
        Self {
            since_ns: 0,
            points: 0,
            scores: [0; SCORE_EDGES.len() + 1],
            inputs: seen.map(|seen| Input { missing: 0, outside: 0, bins: bins(seen) }).collect(),
        }
    }

    /// The inputs of a grid point.
    pub(super) fn look<'a>(&mut self, now_ns: u64, values: &[f64], seen: impl Iterator<Item = Option<&'a Seen>>) {
        if self.since_ns == 0 {
            self.since_ns = now_ns;
        }
        self.points += 1;
        for ((input, value), seen) in self.inputs.iter_mut().zip(values).zip(seen) {
            if value.is_nan() {
                input.missing += 1;
            } else if let Some(seen) = seen {
                input.outside += u64::from(*value < seen.min || *value > seen.max);
                input.bins[seen.edges.partition_point(|edge| edge <= value)] += 1;
            }
        }
    }

    /// Its score, as a share of the threshold.
    pub(super) fn score(&mut self, share: f64) {
        self.scores[SCORE_EDGES.partition_point(|edge| *edge <= share)] += 1;
    }

    /// The clock jumped: nothing lies in the future.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.since_ns = self.since_ns.min(now_ns);
    }

    /// Whether it is time to tell.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.since_ns != 0 && now_ns / PERIOD_NS != self.since_ns / PERIOD_NS
    }

    /// Tells what was counted, and begins anew; `None` when there was nothing.
    pub(super) fn tell<'a>(
        &mut self,
        now_ns: u64,
        finder: &Finder,
        features: impl Iterator<Item = (&'a Arc<str>, Option<&'a Seen>)>,
    ) -> Option<Event> {
        if self.points == 0 {
            return None;
        }
        let share = |count: u64| round_score(ratio(count, self.points));
        let mut inputs: Vec<InputStats> = features
            .zip(&self.inputs)
            .map(|((name, seen), input)| InputStats {
                psi: seen.and_then(|seen| index(&input.bins, &seen.shares)).map(round_score),
                name: name.clone(),
                missing: share(input.missing),
                outside: share(input.outside),
            })
            .collect();
        // Stable: ties by position, so that the order never depends on chance.
        inputs.sort_by(|a, b| {
            let key = |input: &InputStats| (input.psi.unwrap_or(0.0), input.outside, input.missing);
            let ((a, b, c), (d, e, f)) = (key(b), key(a));
            a.total_cmp(&d).then(b.total_cmp(&e)).then(c.total_cmp(&f))
        });
        inputs.truncate(TOP);
        let body = ModelStats {
            hash: finder.hash.clone(),
            name: finder.name.clone(),
            since: self.since_ns,
            inputs,
            points: self.points,
            scores: self.scores,
            version: finder.version.clone(),
        };
        self.begin();
        Some(Event::new(now_ns, Class::Status, Body::ModelStats(body)))
    }

    fn begin(&mut self) {
        (self.since_ns, self.points, self.scores) = (0, 0, [0; SCORE_EDGES.len() + 1]);
        for input in &mut self.inputs {
            (input.missing, input.outside) = (0, 0);
            input.bins.fill(0);
        }
    }
}

/// The population stability index.
fn index(bins: &[u64], shares: &[f64]) -> Option<f64> {
    let samples: u64 = bins.iter().sum();
    let term = |(count, share): (&u64, &f64)| {
        let (p, q) = (ratio(*count, samples).max(LEAST), share.max(LEAST));
        (p - q) * (p / q).ln()
    };
    (samples >= MIN_SAMPLES).then(|| bins.iter().zip(shares).map(term).sum())
}

#[expect(clippy::cast_precision_loss, reason = "counts; the last bits do not matter")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen { min: 0.0, max: 10.0, edges: vec![2.0, 5.0], shares: vec![0.2, 0.3, 0.5] }
    }

    /// What is told of `count` values, one a tenth of a second.
    fn told(count: u64, value: impl Fn(u64) -> f64) -> ModelStats {
        let (seen, name) = (seen(), Arc::from("x"));
        let mut stats = Stats::new(std::iter::once(Some(&seen)));
        for i in 0..count {
            stats.look(i + 1, &[value(i)], std::iter::once(Some(&seen)));
            stats.score(if i % 10 == 0 { 1.0 } else { 0.3 });
        }
        let finder = Finder { name: "m".into(), version: "1".into(), hash: "00".into() };
        let event = stats.tell(count, &finder, std::iter::once((&name, Some(&seen)))).unwrap();
        assert_eq!(stats.tell(count, &finder, std::iter::once((&name, Some(&seen)))), None, "told once");
        let Body::ModelStats(body) = event.body else { panic!() };
        body
    }

    #[test]
    fn what_was_trained_on_does_not_drift_and_other_things_do() {
        let ten = |i: u64| [0.0, 1.9, 2.0, 4.0, 4.9, 5.0, 6.0, 7.0, 10.0, 9.0][usize::try_from(i % 10).unwrap()];
        let same = told(1000, ten);
        assert_eq!((same.inputs[0].psi, same.inputs[0].outside, same.inputs[0].missing), (Some(0.0), 0.0, 0.0));
        assert_eq!((same.points, same.scores), (1000, [0, 0, 900, 0, 0, 100, 0, 0]));
        let other = told(1000, |i| if i % 10 == 0 { 11.0 } else { 1.0 });
        let expected =
            0.7 * (0.9_f64 / 0.2).ln() + (0.001_f64 - 0.3) * (0.001_f64 / 0.3).ln() - 0.4 * (0.1_f64 / 0.5).ln();
        assert_eq!(other.inputs[0].psi, Some(round_score(expected)));
        assert_eq!(other.inputs[0].outside, 0.1);
        let gone = told(1000, |i| if i < 500 { f64::NAN } else { 1.0 });
        assert_eq!((gone.inputs[0].psi, gone.inputs[0].missing), (None, 0.5), "too few to tell");
    }

    #[test]
    fn it_is_told_by_the_hour() {
        let mut stats = Stats::new(std::iter::once(None));
        assert!(!stats.is_due(5 * PERIOD_NS));
        stats.look(5 * PERIOD_NS + 7, &[1.0], std::iter::once(None));
        assert!(!stats.is_due(6 * PERIOD_NS - 1));
        assert!(stats.is_due(6 * PERIOD_NS));
    }
}

//! The detector: one model on its grid of time, from features to anomaly events.
//!
//! The network predicts each target feature from the others and from their past. How far the observed value is from the
//! expected one is the target's part in the score, so the explanation of a score is the score's own make-up: the targets
//! with the largest parts. There are two ways from the one to the other, and the manifest says which:
//!
//! * outside of the graph ([`Score::Residual`]): a target's part is the distance in units of its normal spread, smoothed
//!   with a time constant of its own; the score is the largest part, or their root mean square;
//! * inside ([`Score::Network`]): the graph gives the parts and the score, and may keep a state for that.

use std::sync::Arc;

use super::Sink;
use super::anomaly::{Finder, Tick, Watched};
use super::catalog::{Catalog, NameError};
use super::debounce::DebounceSpec;
use super::features::{FeatureSet, FeatureSpec};
use super::state::State;
use super::stats::{Seen, Stats};
use crate::event::{Body, Class, Contribution, Event, ModelState, round_score};

/// A trained network, loaded and checked. The one thing that the engine does not compute itself.
pub trait Network: Send {
    /// Fills `verdict` from `x`, one normalised value per feature.
    ///
    /// # Errors
    /// What went wrong; the model is then taken out of service.
    fn run(&mut self, x: &[f32], verdict: &mut Verdict) -> Result<(), String>;

    /// Forgets the past, where it has a state.
    fn reset(&mut self) {}
}

/// What a network computes at a grid point.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Per target what it expects, normalised as the inputs are.
    pub expected: Vec<f32>,
    /// Per target its part in the score; empty when that is made of residuals.
    pub parts: Vec<f32>,
    /// The score; used with `parts` only.
    pub score: f32,
}

impl Verdict {
    /// Room for what a network says of `targets` targets; with their parts if it scores them.
    pub fn new(targets: usize, scores: bool) -> Self {
        Self { expected: vec![0.0; targets], parts: vec![0.0; if scores { targets } else { 0 }], score: 0.0 }
    }
}

/// A feature as a model uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFeature {
    /// What to compute.
    pub spec: FeatureSpec,
    /// Mean over the training data, in the feature's unit.
    pub mean: f64,
    /// Spread over the training data, above zero: the network sees `(value - mean) / std`.
    pub std: f64,
    /// Set when the network predicts this feature.
    pub target: Option<Target>,
    /// What the training data had of it.
    pub seen: Option<Seen>,
}

/// How a predicted feature counts in the score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Normal spread of the residual, in the feature's unit, above zero.
    pub scale: f64,
    /// Time constant of the smoothing of its part, nanoseconds.
    pub smooth_ns: u64,
    /// Class of an anomaly in which this target is above the threshold; of several the most important.
    pub class: Class,
}

/// How the score comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// Of the targets' residuals.
    Residual(Fuse),
    /// By the network itself.
    Network,
}

/// How parts become a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fuse {
    /// The largest.
    Max,
    /// The root of the mean of their squares: many small ones count, too.
    Rms,
}

/// Everything about a model but its network.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Name, version, hash.
    pub finder: Finder,
    /// What its anomalies are called.
    pub what: Arc<str>,
    /// Grid period, nanoseconds.
    pub period_ns: u64,
    /// No score before the model has seen so much time, nanoseconds.
    pub warmup_ns: u64,
    /// Features in the order of the network's input.
    pub features: Vec<ModelFeature>,
    /// How the score comes about.
    pub score: Score,
    /// From this score on it is an anomaly.
    pub threshold: f64,
    /// When a score above the threshold becomes an event.
    pub debounce: DebounceSpec,
}

/// Normalised inputs are clipped to this: far outside of the training range a network extrapolates wildly.
pub const CLIP: f64 = 8.0;
/// A target's part is held to this: one wild sample must not keep the smoothed part up for minutes.
const MAX_PART: f64 = 1e4;
/// Contributions named in an event.
const TOP: usize = 3;

/// A model at work.
pub struct Detector {
    spec: Arc<ModelSpec>,
    network: Box<dyn Network>,
    features: FeatureSet,
    targets: Vec<(usize, Target)>,
    x: Vec<f32>,
    verdict: Verdict,
    /// Per target.
    parts: Vec<Part>,
    watched: Watched,
    stats: Stats,
    started_ns: Option<u64>,
    benched: bool,
    last_score: Option<f64>,
}

/// Of the last grid point.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    size: f64,
    expected: f64,
    observed: f64,
}

impl Detector {
    /// Puts a model to work on the signals of `catalog`.
    ///
    /// # Errors
    /// When a feature names a signal or message that does not exist or is ambiguous.
    pub fn new(
        spec: Arc<ModelSpec>,
        network: Box<dyn Network>,
        catalog: &Catalog,
    ) -> Result<Self, (Arc<str>, NameError)> {
        let specs: Vec<FeatureSpec> = spec.features.iter().map(|f| f.spec.clone()).collect();
        let features = FeatureSet::new(&specs, spec.period_ns, catalog)?;
        let targets: Vec<_> = (0..).zip(&spec.features).filter_map(|(i, feature)| Some((i, feature.target?))).collect();
        Ok(Self {
            network,
            features,
            x: vec![0.0; specs.len()],
            verdict: Verdict::new(targets.len(), spec.score == Score::Network),
            parts: vec![Part::default(); targets.len()],
            targets,
            stats: Stats::new(spec.features.iter().map(|feature| feature.seen.as_ref())),
            watched: Watched::new(spec.what.clone(), spec.threshold, spec.debounce),
            spec,
            started_ns: None,
            benched: false,
            last_score: None,
        })
    }

    /// The model's description.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Names of the targets, in the order in which [`Sink::score`] gets their parts.
    pub fn target_names(&self) -> Vec<Arc<str>> {
        self.targets.iter().map(|&(i, _)| self.features.names()[i].clone()).collect()
    }

    /// The features of the last grid point, NaN where one could not be computed.
    pub fn last_features(&self) -> &[f64] {
        self.features.values()
    }

    /// An anomaly of it has been raised, and has not cleared.
    pub fn is_raised(&self) -> bool {
        self.watched.is_raised()
    }

    /// The score of the last grid point; `None` while there is none.
    pub fn last_score(&self) -> Option<f64> {
        self.last_score
    }

    /// The clock jumped: history and smoothing start anew. An anomaly that was raised stays raised until it clears.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.watched.time_jumped(now_ns);
        self.stats.time_jumped(now_ns);
        self.features.reset();
        self.network.reset();
        self.parts.fill(Part::default());
        self.started_ns = None;
        self.last_score = None;
    }

    /// One grid point.
    pub(super) fn tick(&mut self, index: usize, state: &State, tick: Tick, sink: &mut impl Sink) {
        if self.stats.is_due(tick.now_ns) {
            self.finish(tick.now_ns, sink);
        }
        let values = self.features.tick(state, tick.now_ns);
        sink.features(index, tick.now_ns, values);
        let started = *self.started_ns.get_or_insert(tick.now_ns);
        if self.benched {
            return;
        }
        for ((x, feature), value) in self.x.iter_mut().zip(&self.spec.features).zip(values) {
            // A missing value is replaced by the mean, which is 0 once normalised.
            let normal = (value - feature.mean) / feature.std;
            *x = narrow(if normal.is_nan() { 0.0 } else { normal.clamp(-CLIP, CLIP) });
        }
        let warm = tick.now_ns - started >= self.spec.warmup_ns;
        // A network with a state has to see the time of warming up.
        if !warm && self.spec.score != Score::Network {
            return;
        }
        if let Err(reason) = self.network.run(&self.x, &mut self.verdict) {
            return self.bench(reason, tick, sink);
        }
        if !warm {
            return;
        }
        self.stats.look(tick.now_ns, values, self.spec.features.iter().map(|feature| feature.seen.as_ref()));
        for (j, (&(i, target), part)) in self.targets.iter().zip(&mut self.parts).enumerate() {
            let feature = &self.spec.features[i];
            part.observed = values[i];
            part.expected = f64::from(self.verdict.expected[j]) * feature.std + feature.mean;
            part.size = match self.spec.score {
                Score::Network => f64::from(self.verdict.parts[j]),
                Score::Residual(_) => {
                    // A missing target says nothing: its part decays.
                    let distance = (part.observed - part.expected).abs() / target.scale;
                    let raw = if part.observed.is_nan() { 0.0 } else { distance.min(MAX_PART) };
                    let alpha = ratio(self.spec.period_ns, target.smooth_ns + self.spec.period_ns);
                    part.size + alpha * (raw - part.size)
                }
            };
        }
        let score = self.fuse();
        if !score.is_finite() || self.parts.iter().any(|part| !part.size.is_finite() || !part.expected.is_finite()) {
            return self.bench("its score is not a finite number".into(), tick, sink);
        }
        let score = round_score(score);
        self.last_score = Some(score);
        self.stats.score(score / self.spec.threshold);
        sink.score(index, tick.now_ns, score, &mut self.parts.iter().map(|p| round_score(p.size)));
        let worst = self.worst_class();
        let (parts, targets, names) = (&self.parts, &self.targets, self.features.names());
        let event = self.watched.step(tick, score, worst, &self.spec.finder, || top(parts, targets, names));
        event.into_iter().for_each(|event| sink.event(event));
    }

    /// Tells how it fared since it was told last.
    pub(super) fn finish(&mut self, now_ns: u64, sink: &mut impl Sink) {
        let seen = self.spec.features.iter().map(|feature| (&feature.spec.name, feature.seen.as_ref()));
        self.stats.tell(now_ns, &self.spec.finder, seen).into_iter().for_each(|event| sink.event(event));
    }

    fn fuse(&self) -> f64 {
        let sizes = self.parts.iter().map(|part| part.size);
        match self.spec.score {
            Score::Network => f64::from(self.verdict.score),
            Score::Residual(Fuse::Max) => sizes.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a }),
            Score::Residual(Fuse::Rms) => {
                (sizes.map(|size| size * size).sum::<f64>() / ratio(self.parts.len() as u64, 1)).sqrt()
            }
        }
    }

    /// The most important class among the targets that are above the threshold by themselves, or that of the largest part
    /// when they are so only together. Rounded as the score is, so that both agree; `None` while the condition holds off.
    fn worst_class(&self) -> Option<Class> {
        let above = |size: f64| round_score(size) >= self.spec.threshold;
        if !self.last_score.is_some_and(above) {
            return None;
        }
        let pairs = || self.targets.iter().zip(&self.parts);
        let worst = pairs().filter(|(_, part)| above(part.size)).map(|((_, target), _)| target.class).min();
        worst.or_else(|| {
            let largest = pairs().max_by(|(_, a), (_, b)| a.size.total_cmp(&b.size));
            largest.map(|((_, target), _)| target.class)
        })
    }

    fn bench(&mut self, reason: String, tick: Tick, sink: &mut impl Sink) {
        self.benched = true;
        self.last_score = None;
        let Finder { name, version, .. } = self.spec.finder.clone();
        let body = Body::Model(ModelState { name, state: "benched", reason, version });
        self.watched.end(tick, &self.spec.finder).into_iter().for_each(|event| sink.event(event));
        sink.event(Event::new(tick.now_ns, Class::Status, body));
    }
}

/// The targets with the largest parts; ties by position, so that the order never depends on chance.
fn top(parts: &[Part], targets: &[(usize, Target)], names: &[Arc<str>]) -> Vec<Contribution> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|&a, &b| parts[b].size.total_cmp(&parts[a].size).then(a.cmp(&b)));
    let contribution = |j: usize| Contribution {
        name: names[targets[j].0].clone(),
        part: round_score(parts[j].size),
        expected: Some(round_score(parts[j].expected)),
        // JSON has no NaN; CBOR has, but one schema serves both.
        observed: (!parts[j].observed.is_nan()).then_some(parts[j].observed),
    };
    order.into_iter().take(TOP).map(contribution).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the network computes in f32")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[expect(clippy::cast_precision_loss, reason = "durations in nanoseconds; the last bits do not matter")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

//! The detector: one model on its grid of time, from features to anomaly events.
//!
//! The network predicts each target feature from the others. A target's part of the score is the
//! distance between what was observed and what was predicted, in units of that target's normal
//! spread, smoothed; the score is the largest part. So the explanation of a score is the score's
//! own make-up: the targets with the largest parts.

use std::sync::Arc;

use super::Sink;
use super::catalog::{Catalog, NameError};
use super::debounce::{Debounce, DebounceSpec, Step};
use super::features::{FeatureSet, FeatureSpec};
use super::state::State;
use crate::event::{Anomaly, AnomalyPhase, Body, Class, Contribution, Event, ModelState, round_score};

/// A trained network, loaded and checked. The one thing that the engine does not compute itself.
pub trait Network: Send {
    /// Fills `y` (one prediction per target) from `x` (one normalised value per feature).
    ///
    /// # Errors
    /// What went wrong; the model is then taken out of service.
    fn run(&mut self, x: &[f32], y: &mut [f32]) -> Result<(), String>;
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
}

/// How a predicted feature counts in the score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Normal spread of the residual, in the feature's unit, above zero.
    pub scale: f64,
    /// Class of an anomaly in which this target is above the threshold; of several the most important.
    pub class: Class,
}

/// Everything about a model but its network.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Name.
    pub name: Arc<str>,
    /// Version.
    pub version: Arc<str>,
    /// Grid period, nanoseconds.
    pub period_ns: u64,
    /// No score before the model has seen so much time, nanoseconds.
    pub warmup_ns: u64,
    /// Features in the order of the network's input.
    pub features: Vec<ModelFeature>,
    /// Time constant of the smoothing of each part, nanoseconds.
    pub smooth_ns: u64,
    /// From this score on it is an anomaly.
    pub threshold: f64,
    /// When a score above the threshold becomes an event.
    pub debounce: DebounceSpec,
}

/// Normalised inputs are clipped to this: far outside of the training range a network extrapolates wildly.
const CLIP: f64 = 8.0;
/// A target's part is held to this: one wild sample must not keep the smoothed part up for minutes.
const MAX_PART: f64 = 1e4;
/// Contributions named in an event.
const TOP: usize = 3;

/// A model at work.
pub struct Detector {
    spec: Arc<ModelSpec>,
    network: Box<dyn Network>,
    features: FeatureSet,
    targets: Vec<usize>,
    x: Vec<f32>,
    y: Vec<f32>,
    /// Per target: smoothed part, and what was expected and observed at the last tick.
    parts: Vec<Part>,
    debounce: Debounce,
    started_ns: Option<u64>,
    peak: f64,
    since_ns: u64,
    class: Class,
    benched: bool,
    last_score: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    smoothed: f64,
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
        let targets: Vec<usize> = (0..specs.len()).filter(|&i| spec.features[i].target.is_some()).collect();
        Ok(Self {
            network,
            features,
            x: vec![0.0; specs.len()],
            y: vec![0.0; targets.len()],
            parts: vec![Part::default(); targets.len()],
            targets,
            debounce: Debounce::new(spec.debounce),
            spec,
            started_ns: None,
            peak: 0.0,
            since_ns: 0,
            class: Class::Alert,
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
        self.targets.iter().map(|&i| self.features.names()[i].clone()).collect()
    }

    /// The score of the last grid point; `None` while there is none.
    pub fn last_score(&self) -> Option<f64> {
        self.last_score
    }

    /// The clock jumped: history and smoothing start anew. An anomaly that was raised stays raised until it clears.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.debounce.time_jumped(now_ns);
        self.features.reset();
        self.parts.fill(Part::default());
        self.started_ns = None;
        self.last_score = None;
    }

    /// One grid point.
    pub(super) fn tick(&mut self, index: usize, state: &State, now_ns: u64, sink: &mut impl Sink) {
        let values = self.features.tick(state, now_ns);
        sink.features(index, now_ns, values);
        let started = *self.started_ns.get_or_insert(now_ns);
        if self.benched || now_ns - started < self.spec.warmup_ns {
            return;
        }
        for ((x, feature), value) in self.x.iter_mut().zip(&self.spec.features).zip(values) {
            // A missing value is replaced by the mean, which is 0 once normalised.
            let normal = (value - feature.mean) / feature.std;
            *x = narrow(if normal.is_nan() { 0.0 } else { normal.clamp(-CLIP, CLIP) });
        }
        if let Err(reason) = self.network.run(&self.x, &mut self.y) {
            return self.bench(reason, now_ns, sink);
        }
        let alpha = ratio(self.spec.period_ns, self.spec.smooth_ns + self.spec.period_ns);
        for ((&i, y), part) in self.targets.iter().zip(&self.y).zip(&mut self.parts) {
            let (feature, observed) = (&self.spec.features[i], values[i]);
            let Some(target) = feature.target else { continue };
            let expected = f64::from(*y) * feature.std + feature.mean;
            // A missing target says nothing: its part decays.
            let raw = if observed.is_nan() { 0.0 } else { ((observed - expected).abs() / target.scale).min(MAX_PART) };
            *part = Part { smoothed: part.smoothed + alpha * (raw - part.smoothed), expected, observed };
        }
        let score =
            self.parts.iter().fold(0.0, |a: f64, p| if p.smoothed > a || p.smoothed.is_nan() { p.smoothed } else { a });
        if !score.is_finite() {
            return self.bench("its score is not a finite number".into(), now_ns, sink);
        }
        let score = round_score(score);
        self.last_score = Some(score);
        sink.score(index, now_ns, score, &mut self.parts.iter().map(|p| round_score(p.smoothed)));
        self.judge(score, now_ns, sink);
    }

    fn judge(&mut self, score: f64, now_ns: u64, sink: &mut impl Sink) {
        let step = self.debounce.step(score >= self.spec.threshold, now_ns);
        let phase = match step {
            Step::Quiet => return,
            Step::Raised { since_ns } => {
                self.since_ns = since_ns;
                self.peak = score;
                self.class = self.worst_class().unwrap_or(Class::Alert);
                AnomalyPhase::Raised
            }
            Step::Holding | Step::Ongoing => {
                self.peak = self.peak.max(score);
                let worst = self.worst_class().unwrap_or(self.class);
                // What gets worse is told at once: a crash must not wait behind the alert that it began as.
                if step == Step::Holding && worst >= self.class {
                    return;
                }
                self.class = self.class.min(worst);
                AnomalyPhase::Ongoing
            }
            Step::Cleared => AnomalyPhase::Cleared,
        };
        let anomaly = Anomaly {
            top: if phase == AnomalyPhase::Cleared { Vec::new() } else { self.top() },
            model: self.spec.name.clone(),
            phase,
            score: if phase == AnomalyPhase::Cleared { self.peak } else { score },
            since: self.since_ns,
            version: self.spec.version.clone(),
            threshold: self.spec.threshold,
        };
        sink.event(Event::new(now_ns, self.class, Body::Anomaly(anomaly)));
    }

    /// Targets by their part, largest first; ties by position, so that the order never depends on chance.
    fn ranking(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        order.sort_by(|&a, &b| self.parts[b].smoothed.total_cmp(&self.parts[a].smoothed).then(a.cmp(&b)));
        order
    }

    /// The most important class among the targets that are above the threshold by themselves. Rounded as the score is,
    /// so that both agree; `None` while the condition holds off.
    fn worst_class(&self) -> Option<Class> {
        let parts = self.targets.iter().zip(&self.parts);
        let above = parts.filter(|(_, part)| round_score(part.smoothed) >= self.spec.threshold);
        above.filter_map(|(&i, _)| self.spec.features[i].target).map(|target| target.class).min()
    }

    fn top(&self) -> Vec<Contribution> {
        let contribution = |j: usize| {
            let part = self.parts[j];
            Contribution {
                name: self.features.names()[self.targets[j]].clone(),
                part: round_score(part.smoothed),
                expected: Some(round_score(part.expected)),
                // JSON has no NaN; CBOR has, but one schema serves both.
                observed: (!part.observed.is_nan()).then_some(part.observed),
            }
        };
        self.ranking().into_iter().take(TOP).map(contribution).collect()
    }

    fn bench(&mut self, reason: String, now_ns: u64, sink: &mut impl Sink) {
        self.benched = true;
        self.last_score = None;
        let body = Body::Model(ModelState {
            name: self.spec.name.clone(),
            state: "benched",
            reason,
            version: self.spec.version.clone(),
        });
        sink.event(Event::new(now_ns, Class::Status, body));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the network computes in f32")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[expect(clippy::cast_precision_loss, reason = "durations in nanoseconds; the last bits do not matter")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

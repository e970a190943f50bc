//! What events say of models, and models of the vehicle.

use std::sync::Arc;

use serde::Serialize;

/// Where an anomaly is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnomalyPhase {
    /// It was just raised.
    Raised,
    /// It goes on.
    Ongoing,
    /// It is over.
    Cleared,
}

/// Body of kind `anomaly`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Anomaly {
    /// The signals that contributed most, the largest first.
    pub top: Vec<Contribution>,
    /// The first 16 hexadecimal digits of the SHA-256 over the model's files.
    pub hash: Arc<str>,
    /// What kind of anomaly it is, by the model's own words.
    pub what: Arc<str>,
    /// How many frames the engine had taken by then: the place in a recording.
    pub frame: u64,
    /// The model's name.
    pub model: Arc<str>,
    /// Phase.
    pub phase: AnomalyPhase,
    /// Score now, rounded (see [`super::round_score`]); for `cleared` the highest that was reached.
    pub score: f64,
    /// Since when, nanoseconds since the Unix epoch.
    pub since: u64,
    /// The model's version.
    pub version: Arc<str>,
    /// The score from which it counts as an anomaly.
    pub threshold: f64,
}

/// One feature's part in a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contribution {
    /// The feature's name.
    pub name: Arc<str>,
    /// Its part of the score, in the score's own unit.
    pub part: f64,
    /// What the model expected, in the feature's unit; null when the model has no expectation.
    pub expected: Option<f64>,
    /// What was observed, in the feature's unit; null when it was missing at that moment.
    pub observed: Option<f64>,
}

/// Body of kind `model`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelState {
    /// The model's name; of a refused one, or a refused profile, that of its directory or file.
    pub name: Arc<str>,
    /// `refused` at the start, or `benched` later.
    pub state: &'static str,
    /// Why.
    pub reason: String,
    /// The model's version; empty for a refused one.
    pub version: Arc<str>,
}

/// Body of kind `model_stats`: counts over an hour, or what there was of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelStats {
    /// See [`Anomaly::hash`].
    pub hash: Arc<str>,
    /// The model's name.
    pub name: Arc<str>,
    /// Since when, nanoseconds since the Unix epoch.
    pub since: u64,
    /// The inputs that are furthest from what it was trained on, the furthest first; at most five.
    pub inputs: Vec<InputStats>,
    /// Grid points.
    pub points: u64,
    /// Scores below 0.1, 0.25, 0.5, 0.75, 1, 2, 5 times the threshold, and above.
    pub scores: [u64; 8],
    /// The model's version.
    pub version: Arc<str>,
}

/// What a model saw of one input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputStats {
    /// Population stability index against the training data; null when that is not known, or samples were few.
    pub psi: Option<f64>,
    /// The feature's name.
    pub name: Arc<str>,
    /// The share of grid points at which it could not be computed.
    pub missing: f64,
    /// The share of grid points at which it was outside of the training data's range.
    pub outside: f64,
}

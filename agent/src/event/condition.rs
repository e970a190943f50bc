//! Bodies of conditions.

use std::sync::Arc;

use serde::Serialize;

use super::NameMap;

/// Body of kind `condition`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Frames of the configured buses up to then, the one that led to it among them.
    pub frame: u64,
    /// What has happened.
    pub phase: ConditionPhase,
    /// Since when it is true, nanoseconds since the Unix epoch.
    pub since: u64,
    /// Signals at this moment; not when it has cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<NameMap<Snapshot>>,
    /// How often it would have acted since it was told last, but for its rest or limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

/// What has happened to a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionPhase {
    /// It has become true.
    Raised,
    /// It still is.
    Holding,
    /// It is over.
    Cleared,
}

/// A signal in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Snapshot {
    /// Its last value, valid or not; null when there was none, or it is no number.
    pub v: Option<f64>,
    /// Milliseconds since then; null when it never came.
    pub age: Option<u64>,
    /// Why it cannot be used; left out when it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

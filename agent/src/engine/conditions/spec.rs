//! Conditions as configured, and what they ask for.

use std::sync::Arc;

use super::{Operation, Program, Schedule, Timing};
use crate::engine::SignalId;
use crate::event::Class;

/// The priority of a condition for which none is given.
const USUAL_PRIORITY: u8 = 50;

/// A condition as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionSpec {
    /// Its name in events.
    pub name: Arc<str>,
    /// What its programs call models, by their number.
    pub models: Arc<[Arc<str>]>,
    /// What has to be true.
    pub when: Program,
    /// What has to be true for it to end; `None`: `when` is no longer.
    pub until: Option<Program>,
    /// When it acts.
    pub timing: Timing,
    /// When it is looked at.
    pub schedule: Schedule,
    /// The grid on which it is looked at, nanoseconds; `None`: when something changes.
    pub period_ns: Option<u64>,
    /// A signal older than this has no value, nanoseconds.
    pub max_age_ns: u64,
    /// Of several that act at one moment, the lowest is first.
    pub priority: u8,
    /// The class of its events.
    pub class: Class,
    /// Signals in its events.
    pub snapshot: Vec<SignalId>,
    /// Has a collection look more often when it acts.
    pub hurry: Option<Hurry>,
    /// The campaign that it belongs to.
    pub campaign: Option<u16>,
    /// Has the raw frames recorded when it acts.
    pub record: Option<Record>,
    /// Listeners in the vehicle are told at once.
    pub notify: bool,
}

impl ConditionSpec {
    /// A condition of class alert that acts when it becomes true, and tells the signals that it asks for. `period_ns` and
    /// `max_age_ns` are those that it was compiled with.
    pub fn new(name: impl Into<Arc<str>>, when: Program, period_ns: Option<u64>, max_age_ns: u64) -> Self {
        Self {
            name: name.into(),
            models: Arc::new([]),
            snapshot: when.signals.clone(),
            when,
            until: None,
            timing: Timing::default(),
            schedule: Schedule::default(),
            period_ns,
            max_age_ns,
            priority: USUAL_PRIORITY,
            class: Class::Alert,
            hurry: None,
            campaign: None,
            record: None,
            notify: false,
        }
    }

    /// How much of the time before matters for whether it acts, nanoseconds; without its rest and its limit. `warmups_ns`: of the
    /// models, by their number.
    pub fn looks_back_ns(&self, warmups_ns: &[u64]) -> u64 {
        let windows = |program: &Program| {
            let grid = self.period_ns.unwrap_or(0);
            let features =
                program.features.iter().map(|feature| feature.window as u64 * grid + feature.max_age_ns).max();
            let operations = program.operations.iter().map(|operation| match operation {
                Operation::Within(_, ns) | Operation::Lasting(_, ns) => *ns,
                _ => 0,
            });
            let models = program.models.iter().filter_map(|model| warmups_ns.get(usize::from(*model)).copied());
            let inputs_ns = features.unwrap_or(0).max(models.max().unwrap_or(0));
            operations.sum::<u64>().saturating_add(inputs_ns)
        };
        let programs = std::iter::once(&self.when).chain(&self.until).map(windows).max().unwrap_or(0);
        programs.saturating_add(self.timing.hold_ns)
    }
}

/// A recording that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What of the time before is in it, nanoseconds.
    pub before_ns: u64,
    /// And of the time after.
    pub after_ns: u64,
}

/// Why a recording begins, or goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordTrigger<'a> {
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The condition.
    pub name: &'a Arc<str>,
    /// The class of its events.
    pub class: Class,
    /// What is asked for.
    pub record: Record,
    /// Frames of the configured buses up to then, the one that led to it among them.
    pub frame: u64,
    /// The campaign that it belongs to.
    pub campaign: Option<Arc<str>>,
    /// The models' last scores, by name.
    pub scores: Vec<(Arc<str>, f64)>,
}

/// A collection that looks more often for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hurry {
    /// Number of the collection.
    pub collector: usize,
    /// Its grid meanwhile, nanoseconds.
    pub period_ns: u64,
    /// For how long, nanoseconds.
    pub for_ns: u64,
}

/// Models that conditions speak of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Models {
    /// How many there are for conditions: those that were refused, too.
    pub names: usize,
    /// By the number that [`crate::engine::Sink::score`] gives a model: its number for conditions.
    pub places: Vec<Option<usize>>,
}

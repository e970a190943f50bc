//! What is believed of a DBC's ranges and patterns, and what a configuration adds.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::integrity::{ChecksumRule, CounterRule};

/// Which of the DBC's ranges are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Those that the signal's bits can express, give or take a tenth of it: see the [module](super).
    #[default]
    Plausible,
    /// All in which the maximum is above the minimum.
    All,
    /// None.
    None,
}

/// Which messages are parameter groups of J1939: their raw values follow its conventions for "no value", and frames are
/// theirs whoever sends them ([`crate::Message::is_j1939`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum J1939 {
    /// Those of which the DBC says so: an extended identifier, and the attribute `VFrameFormat` at `J1939PG`.
    #[default]
    Auto,
    /// All with an extended identifier.
    Always,
    /// None.
    Never,
}

/// How values are judged; see [`crate::Plan::compile_with`].
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Which ranges are believed.
    pub ranges: Trust,
    /// Which messages are J1939's.
    pub j1939: J1939,
    /// Labels that say "not available": these, or such that end with one of these (`ALC_SNA`), whatever their case, `_` and
    /// other signs like a blank; not with a "no", "not" or the like before. Of signals of 2 bits and more. A table that says so
    /// of more than 16 separate runs of raw values is not believed.
    pub not_available_labels: Vec<String>,
    /// Labels that say "error", in the same way, where they are at one of the two topmost raw values: elsewhere a label
    /// like this is a state like others.
    pub error_labels: Vec<String>,
    /// What is said of single signals; the last word on each.
    pub signals: Vec<SignalRule>,
    /// Checksums, beside those that the DBC names.
    pub checksums: Vec<ChecksumRule>,
    /// Counters, beside those that the DBC names.
    pub counters: Vec<CounterRule>,
}

impl Default for Rules {
    fn default() -> Self {
        let own = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        Self {
            ranges: Trust::default(),
            j1939: J1939::default(),
            not_available_labels: own(&["SNA", "not available", "no data exists"]),
            error_labels: own(&["error", "error indicator", "invalid", "fault", "faulty", "fehler", "init"]),
            signals: Vec::new(),
            checksums: Vec::new(),
            counters: Vec::new(),
        }
    }
}

/// What is said of one signal. What is `None` or empty leaves to the signal what the DBC says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SignalRule {
    /// Its message's name.
    pub message: String,
    /// Its name.
    pub signal: String,
    /// Smallest valid physical value; minus infinity for none.
    pub min: Option<f64>,
    /// Largest valid physical value; infinity for none.
    pub max: Option<f64>,
    /// Raw values that say "not available". When these or `error` are given, the DBC's labels and J1939's conventions
    /// do not hold for the signal. Negative ones for signed signals.
    pub not_available: Vec<RangeInclusive<i64>>,
    /// Raw values that say "error".
    pub error: Vec<RangeInclusive<i64>>,
}

/// A rule that does not fit the DBC files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The message is not there.
    #[error("there is no message {message} in the DBC files")]
    NoMessage {
        /// Its name.
        message: String,
    },
    /// The signal is not there.
    #[error("there is no signal {signal} in message {message}")]
    NoSignal {
        /// The message's name.
        message: Arc<str>,
        /// The signal's name.
        signal: String,
    },
    /// The signal cannot hold what the rule asks of it.
    #[error("signal {signal} of message {message} cannot be used like this: {reason}")]
    Unfit {
        /// The message's name.
        message: Arc<str>,
        /// The signal's name.
        signal: Arc<str>,
        /// Why.
        reason: &'static str,
    },
}

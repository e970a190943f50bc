//! The language of conditions: CEL, the Common Expression Language (<https://cel.dev>), over what the engine knows.
//!
//! ```text
//!   EngineSpeed > 4000.0 && Gear in ['N', 'P'] || within(BrakePressure > 80.0, duration('500ms'))
//!   text ─▶ parse (the crate `cel`) ─▶ tree ─▶ check: names, types ─▶ Program: operations on a stack, for the engine
//! ```
//!
//! Types are CEL's: signals, features and scores are doubles, and a double is not added to an integer. What is not known is an
//! error in CEL, and here: see [`crate::engine::conditions::Program`]. Names are signals, as everywhere in a configuration, with
//! points: `Signal`, `Message.Signal`, `bus.Message.Signal`. A text beside a signal is one of the labels that the DBC file gives to
//! its values.
//!
//! | | |
//! |---|---|
//! | `signal('can-a:Message.Signal')` | a signal whose name is no identifier |
//! | `valid(S)`, `has(Message.Signal)` | whether it has a value that can be used; itself always known |
//! | `step(S)`, `slope(S)` | how it differs from its sample before; the same per second |
//! | `gap(S)`, `run(S)` | seconds between its last two samples; how many samples before the last had its value |
//! | `age(S)`, `age(Message)` | seconds since the last sample or frame |
//! | `mean`, `min`, `max`, `std`, `delta`, `lag`: `(S, duration('5s'))` | features over a window, as models see them ([`crate::engine::features`]) |
//! | `count`, `rate`: `(S, duration('5s'))`, also of messages | samples or frames in a window, and the same per second |
//! | `score('model')`, `anomaly('model')` | a model's or the profile's last score; whether it finds something |
//! | `silent(Message)` | whether it has stopped coming |
//! | `within(truth, duration('2s'))` | whether it was true at some time in the last two seconds |
//! | `lasting(truth, duration('2s'))` | whether it has been true for two seconds |
//! | `math.abs`, `math.least`, `math.greatest`, `int`, `double` | as in CEL |
//!
//! What changes with time alone (`age`, and all with a window but `within` and `lasting`) is looked at on a grid and needs a period.

mod check;
mod functions;
mod names;
mod parse;

use std::sync::Arc;

use crate::engine::Catalog;
use crate::engine::conditions::Program;

/// What an expression may speak of.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Signals and messages.
    pub catalog: &'a Catalog,
    /// Models by the numbers of their scores; the profile after them.
    pub models: &'a [Arc<str>],
    /// The grid, nanoseconds; `None`: looked at when something changes.
    pub period_ns: Option<u64>,
    /// A signal older than this has no value, nanoseconds.
    pub max_age_ns: u64,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Bytes before it.
    pub at: usize,
    /// What is wrong, and the remedy.
    pub message: String,
}

impl Fault {
    fn new(at: usize, message: String) -> Self {
        Self { at, message }
    }
}

/// Compiles an expression that is true or false.
///
/// # Errors
/// What is wrong with it, and where.
pub fn compile(text: &str, scope: Scope<'_>) -> Result<Program, Fault> {
    check::check(&parse::parse(text)?, scope)
}

#[cfg(test)]
mod tests;

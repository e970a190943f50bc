//! Features: named functions over signals and messages, computed on a grid of time.
//!
//! Training and driving share this code: `outrider features` prints what is computed here, and a
//! model sees nothing else. All windows are over grid points, not over frames: that bounds memory
//! by the window's length, whatever a bus does, and makes a feature independent of how frames are
//! batched. A feature that cannot be computed (never received, too old, not valid, not finite) is NaN.

use std::sync::Arc;

use super::catalog::{Catalog, MessageId, NameError, SignalId};
use super::state::State;

/// What to compute of a signal or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The signal's last value.
    Value,
    /// The value some grid points ago.
    Lag,
    /// The value now minus the value at the start of the window.
    Delta,
    /// Mean over the window.
    Mean,
    /// Smallest value in the window.
    Min,
    /// Largest value in the window.
    Max,
    /// Standard deviation over the window (population).
    Std,
    /// How many samples before the last, one after the other, had the same value: a frozen sensor's grows.
    Run,
    /// 1 when the signal has a value that may be used, else 0.
    Valid,
    /// Seconds since the last sample of the signal, or the last frame of the message.
    Age,
    /// Seconds between the last two samples of the signal, or frames of the message.
    Gap,
    /// Samples of the signal, or frames of the message, in the window.
    Count,
    /// The same per second over the window.
    Rate,
}

impl Function {
    /// True when it is of times, not of values: of a message as well as of a signal. Multiplexed signals come at times of
    /// their own.
    pub const fn of_times(self) -> bool {
        matches!(self, Self::Age | Self::Gap | Self::Count | Self::Rate)
    }

    /// True when it needs a window (or a lag).
    pub const fn has_window(self) -> bool {
        !matches!(self, Self::Value | Self::Age | Self::Gap | Self::Run | Self::Valid)
    }
}

/// One feature as a manifest asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSpec {
    /// Its name, unique in the model.
    pub name: Arc<str>,
    /// The function.
    pub function: Function,
    /// The signal or message it is computed of.
    pub of: String,
    /// Length of the window or lag in grid points; 0 when the function has none.
    pub window: usize,
    /// A signal older than this counts as missing, nanoseconds.
    pub max_age_ns: u64,
    /// The signal counts as missing unless this one has that value: what a receiver says while it has no fix.
    pub only_if: Option<(String, f64)>,
}

/// Longest window, in grid points: bounds the memory a manifest can ask for.
pub const MAX_WINDOW: usize = 36_000;

#[derive(Debug)]
enum Input {
    Signal(SignalId),
    Message(MessageId),
}

#[derive(Debug)]
struct Feature {
    function: Function,
    input: Input,
    max_age_ns: u64,
    only_if: Option<(SignalId, f64)>,
    window: usize,
    /// Values (or message counts) at the last `window + 1` grid points, a ring that `FeatureSet::at` indexes.
    history: Vec<f64>,
}

/// The features of one model with their history.
#[derive(Debug)]
pub struct FeatureSet {
    features: Vec<Feature>,
    names: Vec<Arc<str>>,
    period_ns: u64,
    ticks: usize,
    values: Vec<f64>,
}

impl FeatureSet {
    /// Resolves the names of `specs`. `period_ns` is the grid's.
    ///
    /// # Errors
    /// When a signal or message is unknown or ambiguous: the feature's name and why.
    pub fn new(specs: &[FeatureSpec], period_ns: u64, catalog: &Catalog) -> Result<Self, (Arc<str>, NameError)> {
        let mut features = Vec::with_capacity(specs.len());
        for spec in specs {
            let named = |error| (spec.name.clone(), error);
            let signal = |name: &str| catalog.find_signal(name);
            let input = match spec.function.of_times().then(|| catalog.find_message(&spec.of)) {
                Some(Ok(message)) => Ok(Input::Message(message)),
                // A name with a point is a signal's, and what is wrong with it is said as such.
                Some(Err(error)) if !spec.of.contains('.') => signal(&spec.of).map(Input::Signal).map_err(|_| error),
                _ => signal(&spec.of).map(Input::Signal),
            };
            let only_if = spec.only_if.as_ref().map(|(name, value)| signal(name).map(|id| (id, *value))).transpose();
            features.push(Feature {
                function: spec.function,
                input: input.map_err(named)?,
                only_if: only_if.map_err(named)?,
                max_age_ns: spec.max_age_ns,
                window: spec.window,
                history: vec![f64::NAN; spec.window + 1],
            });
        }
        Ok(Self {
            values: vec![f64::NAN; features.len()],
            features,
            names: specs.iter().map(|s| s.name.clone()).collect(),
            period_ns,
            ticks: 0,
        })
    }

    /// Names in order.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Forgets the past, for instance after the clock jumped.
    pub fn reset(&mut self) {
        self.ticks = 0;
        for feature in &mut self.features {
            feature.history.fill(f64::NAN);
        }
    }

    /// What [`FeatureSet::tick`] returned last.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Takes the state at grid point `now_ns` and returns all features, NaN where one cannot be computed.
    pub fn tick(&mut self, state: &State, now_ns: u64) -> &[f64] {
        for (feature, value) in self.features.iter_mut().zip(&mut self.values) {
            let computed = feature.compute(state, now_ns, self.ticks, self.period_ns);
            // Values near the end of the range overflow: nothing to train on or to judge.
            *value = if computed.is_finite() { computed } else { f64::NAN };
        }
        self.ticks += 1;
        &self.values
    }
}

impl Feature {
    fn compute(&mut self, state: &State, now_ns: u64, ticks: usize, period_ns: u64) -> f64 {
        let now = match (&self.input, self.function) {
            (Input::Message(id), Function::Age) => return age(state.message(*id).last_ns, now_ns),
            (Input::Message(id), Function::Gap) => return gap(state.message(*id).gap_ns),
            (Input::Message(id), _) => count(state.message(*id).frames),
            (Input::Signal(id), Function::Age) => return age(state.signal(*id).time_ns, now_ns),
            (Input::Signal(id), Function::Gap) => return gap(state.signal(*id).gap_ns),
            (Input::Signal(id), Function::Count | Function::Rate) => f64::from(state.signal(*id).samples),
            (Input::Signal(id), function) => {
                let slot = state.signal(*id);
                let usable = slot.usable(now_ns, self.max_age_ns).filter(|_| self.is_meant(state));
                match function {
                    Function::Valid => return if usable.is_some() { 1.0 } else { 0.0 },
                    Function::Run => return usable.map_or(f64::NAN, |_| f64::from(slot.run)),
                    _ => usable.unwrap_or(f64::NAN),
                }
            }
        };
        let length = self.history.len();
        let slot = ticks % length;
        // With a full ring, the slot after this one holds the oldest value: `window` grid points ago.
        self.history[slot] = now;
        let full = ticks >= self.window;
        let oldest = if full { self.history[(slot + 1) % length] } else { f64::NAN };
        // The window of an aggregate is the last `window` grid points, this one included.
        let recent = || (0..self.window.max(1)).map(|back| self.history[(slot + length - back) % length]);
        match self.function {
            Function::Value | Function::Age | Function::Gap | Function::Run | Function::Valid => now,
            Function::Lag => oldest,
            Function::Delta => now - oldest,
            Function::Count => counted(now, oldest),
            Function::Rate => counted(now, oldest) / (count(self.window as u64) * seconds(period_ns)),
            Function::Mean | Function::Std | Function::Min | Function::Max if !full => f64::NAN,
            Function::Mean => mean(recent()),
            Function::Std => {
                let middle = mean(recent());
                mean(recent().map(|x| (x - middle) * (x - middle))).sqrt()
            }
            // NaN in the window must come through: f64::min would swallow it.
            Function::Min => recent().fold(f64::INFINITY, |a, b| if b < a || b.is_nan() { b } else { a }),
            Function::Max => recent().fold(f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a }),
        }
    }
}

impl Feature {
    /// Whether the sender means what it sends.
    fn is_meant(&self, state: &State) -> bool {
        self.only_if.is_none_or(|(id, value)| state.signal(id).usable(0, u64::MAX) == Some(value))
    }
}

/// Seconds since `last_ns`, NaN when that never was.
fn age(last_ns: u64, now_ns: u64) -> f64 {
    if last_ns == 0 { f64::NAN } else { seconds(now_ns.saturating_sub(last_ns)) }
}

fn gap(ns: u64) -> f64 {
    if ns == 0 { f64::NAN } else { seconds(ns) }
}

/// How many came between two counts; a signal's count begins again after 2^32.
fn counted(now: f64, before: f64) -> f64 {
    let many = now - before;
    if many < 0.0 { many + 4_294_967_296.0 } else { many }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), x| (sum + x, n + 1));
    sum / count(n)
}

fn seconds(ns: u64) -> f64 {
    count(ns) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "counts and durations stay far below 2^53 where the last unit matters")]
fn count(n: u64) -> f64 {
    n as f64
}

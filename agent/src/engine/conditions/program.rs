//! A condition's expression, compiled: a list of operations on a small stack.
//!
//! Everything on the stack is a double. A truth is 1 or 0, and NaN stands for "not known": a signal that never came, is too
//! old or not valid, a score that is not there yet. That is CEL's error, and it goes the same way: what is computed from it is
//! not known either, but `false && x` is false and `true || x` is true whatever x is. Operations are all done, none is skipped,
//! so that those that remember see every step; a program has no jumps and takes the same time always.

use super::super::catalog::{MessageId, SignalId};
use super::super::features::FeatureSpec;

/// Operations of a program, at most.
pub const MAX_OPERATIONS: usize = 512;
/// Values that wait for the rest of the expression, at most.
pub const MAX_DEPTH: usize = 32;
/// Integers below this are exact; what lies beyond is not known.
const INTEGERS: f64 = 9_007_199_254_740_992.0;

/// One operation. Those on two values take the upper one as the right side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// A number, or a truth.
    Constant(f64),
    /// The last value of [`Program::signals`] at this place.
    Signal(u16),
    /// 1 while that can be used, else 0.
    Valid(u16),
    /// How that differs from the sample before it.
    Step(u16),
    /// The same per second between both.
    Slope(u16),
    /// Seconds between both.
    Gap(u16),
    /// How many samples before the last had its value.
    Run(u16),
    /// [`Program::features`] at this place.
    Feature(u16),
    /// The score of a model, by the number that [`super::super::Sink::score`] gives it.
    Score(u16),
    /// 1 while an anomaly of that model is raised, else 0.
    Raised(u16),
    /// 1 while the message of [`Program::messages`] at this place is silent, else 0.
    Silent(u16),
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient of doubles.
    Divide,
    /// Quotient of integers, towards zero.
    DivideWhole,
    /// What that leaves.
    Remainder,
    /// The other sign.
    Negate,
    /// Without the sign.
    Absolute,
    /// A double as an integer, towards zero.
    Truncate,
    /// What has come out has to be an integer that is exact.
    Whole,
    /// The smaller of two.
    Least,
    /// The larger of two.
    Greatest,
    /// Left is below right.
    Less,
    /// Left is at most right.
    AtMost,
    /// Both are the same.
    Equal,
    /// Not.
    Not,
    /// And.
    And,
    /// Or.
    Or,
    /// The second of three if the first is true, the third if it is false.
    Choose,
    /// Whether a truth was so at some time in the last nanoseconds; [`Memory`] at this place.
    Within(u16, u64),
    /// Whether a truth has been so for these nanoseconds without a break; [`Memory`] at this place.
    Lasting(u16, u64),
}

/// A compiled expression.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Program {
    /// In order.
    pub operations: Vec<Operation>,
    /// Signals that it uses.
    pub signals: Vec<SignalId>,
    /// Messages whose silence it asks for.
    pub messages: Vec<MessageId>,
    /// Features over windows.
    pub features: Vec<FeatureSpec>,
    /// Models whose scores or anomalies it asks for.
    pub models: Vec<u16>,
    /// What has to happen to a signal for the outcome to change.
    pub triggers: Vec<(SignalId, Trigger)>,
    /// How many operations remember.
    pub memories: usize,
}

/// When the value of a signal can change the outcome. What is valid no longer, or again, always can.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trigger {
    /// Then only.
    Validity,
    /// When it passes this number, reaches it, or leaves it.
    Passes(f64),
    /// When it changes.
    Changes,
    /// At each sample.
    Samples,
}

/// What an operation remembers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// `Within`: when it was last so. `Lasting`: since when it is.
    at_ns: Option<u64>,
    /// It was so when last looked at.
    held: bool,
}

/// Where a program finds its inputs; `u16`s are those of the [`Operation`]s.
pub trait Inputs {
    /// The last value of a signal, NaN when it cannot be used.
    fn signal(&self, id: SignalId) -> f64;
    /// Its difference to the sample before, seconds between both, and how many samples before it had its value.
    fn samples(&self, id: SignalId) -> Samples;
    /// A feature's value.
    fn feature(&self, place: u16) -> f64;
    /// A model's score.
    fn score(&self, model: u16) -> f64;
    /// Whether an anomaly of a model is raised.
    fn raised(&self, model: u16) -> bool;
    /// Whether a message is silent.
    fn silent(&self, id: MessageId) -> bool;
}

/// What the last two samples of a signal tell; NaN where there are no two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Samples {
    /// Difference of the values.
    pub step: f64,
    /// Seconds between them.
    pub gap: f64,
    /// How many before the last had its value.
    pub run: f64,
}

impl Program {
    /// The outcome at `now_ns`: 1, 0, or NaN. `wake_ns` becomes the time at which it may change by itself, if that is earlier.
    pub fn run(&self, inputs: &impl Inputs, now_ns: u64, memories: &mut [Memory], wake_ns: &mut u64) -> f64 {
        let mut stack = Stack { values: [f64::NAN; MAX_DEPTH], depth: 0 };
        for operation in &self.operations {
            self.step(*operation, &mut stack, inputs, now_ns, memories, wake_ns);
        }
        stack.pop()
    }

    fn step(
        &self,
        operation: Operation,
        stack: &mut Stack,
        inputs: &impl Inputs,
        now_ns: u64,
        memories: &mut [Memory],
        wake_ns: &mut u64,
    ) {
        use Operation as O;
        let signal = |place: u16| self.signals[usize::from(place)];
        let value = match operation {
            O::Constant(value) => value,
            O::Signal(place) => inputs.signal(signal(place)),
            O::Valid(place) => truth(!inputs.signal(signal(place)).is_nan()),
            O::Step(place) => inputs.samples(signal(place)).step,
            O::Slope(place) => {
                let samples = inputs.samples(signal(place));
                samples.step / samples.gap
            }
            O::Gap(place) => inputs.samples(signal(place)).gap,
            O::Run(place) => inputs.samples(signal(place)).run,
            O::Feature(place) => inputs.feature(place),
            O::Score(model) => inputs.score(model),
            O::Raised(model) => truth(inputs.raised(model)),
            O::Silent(place) => truth(inputs.silent(self.messages[usize::from(place)])),
            O::Add => stack.two(|a, b| a + b),
            O::Subtract => stack.two(|a, b| a - b),
            O::Multiply => stack.two(|a, b| a * b),
            O::Divide => stack.two(|a, b| a / b),
            O::DivideWhole => stack.two(|a, b| if b == 0.0 { f64::NAN } else { (a / b).trunc() }),
            O::Remainder => stack.two(|a, b| a % b),
            O::Negate => -stack.pop(),
            O::Absolute => stack.pop().abs(),
            O::Truncate => exact(stack.pop().trunc()),
            O::Whole => exact(stack.pop()),
            O::Least => stack.two(|a, b| if a.is_nan() || a < b { a } else { b }),
            O::Greatest => stack.two(|a, b| if a.is_nan() || a > b { a } else { b }),
            O::Less => stack.two(|a, b| known(a, b, a < b)),
            O::AtMost => stack.two(|a, b| known(a, b, a <= b)),
            #[expect(clippy::float_cmp, reason = "what CEL calls equal is exactly that")]
            O::Equal => stack.two(|a, b| known(a, b, a == b)),
            O::Not => 1.0 - stack.pop(),
            O::And => stack.two(|a, b| if a == 0.0 || b == 0.0 { 0.0 } else { a * b }),
            O::Or => stack.two(|a, b| if a == 1.0 || b == 1.0 { 1.0 } else { a + b }),
            O::Choose => {
                let (no, yes, which) = (stack.pop(), stack.pop(), stack.pop());
                if which.is_nan() {
                    which
                } else if which == 0.0 {
                    no
                } else {
                    yes
                }
            }
            O::Within(place, ns) => memories[usize::from(place)].within(stack.pop(), now_ns, ns, wake_ns),
            O::Lasting(place, ns) => memories[usize::from(place)].lasting(stack.pop(), now_ns, ns, wake_ns),
        };
        stack.push(value);
    }
}

impl Memory {
    fn within(&mut self, value: f64, now_ns: u64, ns: u64, wake_ns: &mut u64) -> f64 {
        let holds = value == 1.0;
        if holds || self.held {
            // It was so until just now.
            self.at_ns = Some(now_ns);
        }
        self.held = holds;
        let ends_ns = self.at_ns.map_or(0, |at| at.saturating_add(ns));
        match self.at_ns {
            _ if holds => 1.0,
            Some(_) if now_ns <= ends_ns => {
                *wake_ns = (*wake_ns).min(ends_ns + 1);
                1.0
            }
            // Not known whether it would be so now: not known whether it was in the window, which ends now.
            _ if value.is_nan() => f64::NAN,
            _ => 0.0,
        }
    }

    fn lasting(&mut self, value: f64, now_ns: u64, ns: u64, wake_ns: &mut u64) -> f64 {
        if value != 1.0 {
            self.at_ns = None;
            return value;
        }
        let due_ns = self.at_ns.get_or_insert(now_ns).saturating_add(ns);
        if now_ns < due_ns {
            *wake_ns = (*wake_ns).min(due_ns);
        }
        truth(now_ns >= due_ns)
    }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn known(a: f64, b: f64, is: bool) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { truth(is) }
}

fn exact(value: f64) -> f64 {
    if value.abs() < INTEGERS { value } else { f64::NAN }
}

struct Stack {
    values: [f64; MAX_DEPTH],
    depth: usize,
}

impl Stack {
    fn push(&mut self, value: f64) {
        // The compiler bounds the depth.
        self.values[self.depth % MAX_DEPTH] = value;
        self.depth += 1;
    }

    fn pop(&mut self) -> f64 {
        self.depth = self.depth.saturating_sub(1);
        self.values[self.depth % MAX_DEPTH]
    }

    fn two(&mut self, f: impl Fn(f64, f64) -> f64) -> f64 {
        let right = self.pop();
        f(self.pop(), right)
    }
}

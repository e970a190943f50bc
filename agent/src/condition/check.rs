//! A tree to a program: names are resolved, types checked, operations put in order.

use std::cell::RefCell;
use std::sync::Arc;

use super::parse::{Node, What};
use super::{Fault, Scope};
use crate::engine::conditions::{MAX_DEPTH, MAX_OPERATIONS, Operation as O, Program, Trigger};
use crate::engine::features::MAX_WINDOW;
use crate::engine::{Catalog, FeatureSpec, Function, NameError, SignalId};

/// What CEL calls the operator before a number.
const NEGATE: &str = "-_";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Double,
    Integer,
    Truth,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Double => "a double",
            Self::Integer => "an integer",
            Self::Truth => "true or false",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Double | Self::Integer)
    }
}

pub(super) fn check(tree: &Node, scope: Scope<'_>) -> Result<Program, Fault> {
    let mut checker = Checker { scope, program: Program::default(), depth: 0, found: RefCell::default() };
    let is = checker.node(tree)?;
    if is != Type::Truth {
        return fault(tree, format!("a condition is true or false; this is {}: compare it with something", is.name()));
    }
    let Program { signals, triggers, .. } = &mut checker.program;
    signals.shrink_to_fit();
    triggers.shrink_to_fit();
    Ok(checker.program)
}

fn fault<T>(node: &Node, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(node.at, message.into()))
}

struct Checker<'a> {
    scope: Scope<'a>,
    program: Program,
    /// Of the stack, at this point of the program.
    depth: usize,
    /// Names that were looked for.
    found: RefCell<Vec<(String, SignalId)>>,
}

impl Checker<'_> {
    /// Adds what computes `node`.
    fn node(&mut self, node: &Node) -> Result<Type, Fault> {
        match &node.what {
            What::Double(value) => self.value(node, O::Constant(*value), Type::Double),
            What::Integer(value) => self.value(node, O::Constant(*value), Type::Integer),
            What::Truth(value) => self.value(node, O::Constant(f64::from(u8::from(*value))), Type::Truth),
            What::Text(text) => fault(
                node,
                format!("'{text}': a text stands only beside a signal, as a label of its values, with == != or in"),
            ),
            What::List(_) => fault(node, "a list stands only behind `in`"),
            What::Name(_) => self.signal(node, Trigger::Changes, O::Signal, Type::Double),
            What::Has(name) => {
                let name = Node { at: node.at, what: What::Name(name.clone()) };
                self.signal(&name, Trigger::Validity, O::Valid, Type::Truth)
            }
            What::Call(name, arguments) => self.call(node, name, arguments),
        }
    }

    /// Adds an operation that takes nothing.
    fn value(&mut self, node: &Node, operation: O, is: Type) -> Result<Type, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(node, format!("more than {MAX_DEPTH} values wait for the rest here: use fewer brackets"));
        }
        self.add(node, operation, is)
    }

    /// Adds an operation that makes one of `takes` values.
    fn reduce(&mut self, node: &Node, takes: usize, operation: O, is: Type) -> Result<Type, Fault> {
        self.depth -= takes - 1;
        self.add(node, operation, is)
    }

    fn add(&mut self, node: &Node, operation: O, is: Type) -> Result<Type, Fault> {
        if self.program.operations.len() == MAX_OPERATIONS {
            return fault(node, format!("more than {MAX_OPERATIONS} operations: divide the condition"));
        }
        self.program.operations.push(operation);
        Ok(is)
    }

    fn call(&mut self, node: &Node, name: &str, arguments: &[Node]) -> Result<Type, Fault> {
        match (name, arguments) {
            ("_&&_", [a, b]) => self.logic(node, "&&", O::And, a, b),
            ("_||_", [a, b]) => self.logic(node, "||", O::Or, a, b),
            ("!_", [a]) => {
                self.truth(a, "!")?;
                self.reduce(node, 1, O::Not, Type::Truth)
            }
            (NEGATE, [a]) => {
                let is = self.number(a, "-")?;
                self.reduce(node, 1, O::Negate, is)
            }
            ("_+_", [a, b]) => self.arithmetic(node, "+", (O::Add, O::Add), a, b),
            ("_-_", [a, b]) => self.arithmetic(node, "-", (O::Subtract, O::Subtract), a, b),
            ("_*_", [a, b]) => self.arithmetic(node, "*", (O::Multiply, O::Multiply), a, b),
            ("_/_", [a, b]) => self.arithmetic(node, "/", (O::Divide, O::DivideWhole), a, b),
            ("_%_", [a, b]) => {
                let both = (self.node(a)?, self.node(b)?);
                if both != (Type::Integer, Type::Integer) {
                    return fault(node, "`%` takes two integers: write int(…) around a double");
                }
                self.reduce(node, 2, O::Remainder, Type::Integer)
            }
            ("_<_", [a, b]) => self.comparison(node, "<", (O::Less, false), a, b),
            ("_<=_", [a, b]) => self.comparison(node, "<=", (O::AtMost, false), a, b),
            ("_>_", [a, b]) => self.comparison(node, ">", (O::AtMost, true), a, b),
            ("_>=_", [a, b]) => self.comparison(node, ">=", (O::Less, true), a, b),
            ("_==_", [a, b]) => self.equality(node, "==", false, a, b),
            ("_!=_", [a, b]) => self.equality(node, "!=", true, a, b),
            ("@in", [a, b]) => self.one_of(node, a, b),
            ("_?_:_", [which, yes, no]) => {
                self.truth(which, "?")?;
                let (a, b) = (self.node(yes)?, self.node(no)?);
                if a != b {
                    return fault(no, format!("both sides of `:` have to be alike: {} and {}", a.name(), b.name()));
                }
                self.reduce(node, 3, O::Choose, a)
            }
            _ if name.contains(['_', '@']) && !name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                fault(node, format!("the operator {} has no use in a condition", name.replace('_', "")))
            }
            _ => self.function(node, name, arguments),
        }
    }

    fn logic(&mut self, node: &Node, sign: &str, operation: O, a: &Node, b: &Node) -> Result<Type, Fault> {
        self.truth(a, sign)?;
        self.truth(b, sign)?;
        self.reduce(node, 2, operation, Type::Truth)
    }

    fn truth(&mut self, node: &Node, sign: &str) -> Result<(), Fault> {
        match self.node(node)? {
            Type::Truth => Ok(()),
            other => fault(
                node,
                format!("`{sign}` takes what is true or false; this is {}: compare it with something", other.name()),
            ),
        }
    }

    fn number(&mut self, node: &Node, sign: &str) -> Result<Type, Fault> {
        match self.node(node)? {
            Type::Truth => fault(node, format!("`{sign}` takes numbers; this is true or false")),
            number => Ok(number),
        }
    }

    fn arithmetic(
        &mut self,
        node: &Node,
        sign: &str,
        (doubles, integers): (O, O),
        a: &Node,
        b: &Node,
    ) -> Result<Type, Fault> {
        let both = (self.number(a, sign)?, self.number(b, sign)?);
        match both {
            (Type::Integer, Type::Integer) => {
                self.reduce(node, 2, integers, Type::Integer)?;
                self.add(node, O::Whole, Type::Integer)
            }
            (Type::Double, Type::Double) => self.reduce(node, 2, doubles, Type::Double),
            (left, _) => {
                let whole = if left == Type::Integer { a } else { b };
                let remedy = match whole.what {
                    What::Integer(value) => format!("write {value:.1}"),
                    _ => "write double(…) around the integer".into(),
                };
                fault(whole, format!("`{sign}` takes two doubles or two integers, not one of each: {remedy}"))
            }
        }
    }

    /// `a` and `b`, compared by an operation that may be negated.
    fn comparison(
        &mut self,
        node: &Node,
        sign: &str,
        (operation, negated): (O, bool),
        a: &Node,
        b: &Node,
    ) -> Result<Type, Fault> {
        for (side, other) in [(a, b), (b, a)] {
            if let Some(limit) = constant(other).filter(|_| is_signal(side)) {
                self.passes(side, limit)?;
            }
        }
        for side in [a, b] {
            if constant(side).is_some() || !is_signal(side) || !is_pair(a, b) {
                self.number(side, sign)?;
            } else {
                self.quiet_signal(side)?;
            }
        }
        self.reduce(node, 2, operation, Type::Truth)?;
        if negated { self.add(node, O::Not, Type::Truth) } else { Ok(Type::Truth) }
    }

    fn equality(&mut self, node: &Node, sign: &str, negated: bool, a: &Node, b: &Node) -> Result<Type, Fault> {
        let labelled = match (&a.what, &b.what) {
            (What::Text(_), _) => Some((b, a)),
            (_, What::Text(_)) => Some((a, b)),
            _ => None,
        };
        if let Some((signal, text)) = labelled {
            self.labelled(node, signal, std::slice::from_ref(text))?;
            return if negated { self.add(node, O::Not, Type::Truth) } else { Ok(Type::Truth) };
        }
        if is_pair(a, b) {
            return self.comparison(node, sign, (O::Equal, negated), a, b);
        }
        let (left, right) = (self.node(a)?, self.node(b)?);
        if left != right && !(left.is_number() && right.is_number()) {
            return fault(node, format!("`{sign}` compares like with like: {} and {}", left.name(), right.name()));
        }
        self.reduce(node, 2, O::Equal, Type::Truth)?;
        if negated { self.add(node, O::Not, Type::Truth) } else { Ok(Type::Truth) }
    }

    fn one_of(&mut self, node: &Node, a: &Node, b: &Node) -> Result<Type, Fault> {
        let What::List(elements) = &b.what else {
            return fault(b, "`in` needs a list in square brackets behind it");
        };
        if elements.is_empty() {
            return fault(b, "nothing is in an empty list");
        }
        if elements.iter().all(|element| matches!(element.what, What::Text(_))) {
            return self.labelled(node, a, elements);
        }
        for (i, element) in elements.iter().enumerate() {
            self.equality(node, "in", false, a, element)?;
            if i > 0 {
                self.reduce(node, 2, O::Or, Type::Truth)?;
            }
        }
        Ok(Type::Truth)
    }

    /// Whether a signal's value has one of these labels.
    fn labelled(&mut self, node: &Node, signal: &Node, texts: &[Node]) -> Result<Type, Fault> {
        if !is_signal(signal) {
            return fault(signal, "a text is compared with a signal only: with the labels of its values");
        }
        let id = self.find(signal)?;
        let mut values = Vec::new();
        for text in texts {
            let What::Text(label) = &text.what else { continue };
            let found = self.values_of(id, label);
            if found.is_empty() {
                return fault(text, self.no_label(id, label));
            }
            values.extend(found);
        }
        for (i, value) in values.into_iter().enumerate() {
            self.passes(signal, value)?;
            self.quiet_signal(signal)?;
            self.value(node, O::Constant(value), Type::Double)?;
            self.reduce(node, 2, O::Equal, Type::Truth)?;
            if i > 0 {
                self.reduce(node, 2, O::Or, Type::Truth)?;
            }
        }
        Ok(Type::Truth)
    }

    fn labels(&self, id: SignalId) -> Vec<(f64, Arc<str>)> {
        let Some((bus, index)) = self.scope.catalog.place(id) else { return Vec::new() };
        let signal = self.scope.catalog.buses()[bus].plan.signal(index);
        #[expect(clippy::cast_precision_loss, reason = "as values are decoded")]
        let value = |raw: i64| raw as f64 * signal.factor + signal.offset;
        signal.labels.iter().map(|(raw, label)| (value(*raw), label.as_ref().into())).collect()
    }

    fn values_of(&self, id: SignalId, wanted: &str) -> Vec<f64> {
        self.labels(id).into_iter().filter(|(_, label)| **label == *wanted).map(|(value, _)| value).collect()
    }

    fn no_label(&self, id: SignalId, wanted: &str) -> String {
        let labels = self.labels(id);
        let name = self.scope.catalog.signal(id).name;
        if labels.is_empty() {
            return format!("'{wanted}': the DBC file has no labels for {name}: compare it with a number");
        }
        let some: Vec<String> = labels.iter().take(12).map(|(_, label)| format!("'{label}'")).collect();
        let more = if labels.len() > some.len() { ", …" } else { "" };
        format!("'{wanted}' is no label of {name}; there are {}{more}", some.join(", "))
    }

    fn function(&mut self, node: &Node, name: &str, arguments: &[Node]) -> Result<Type, Fault> {
        match (name, arguments) {
            ("signal", [_]) => self.signal(node, Trigger::Changes, O::Signal, Type::Double),
            ("valid", [signal]) => self.signal(signal, Trigger::Validity, O::Valid, Type::Truth),
            ("step", [signal]) => self.signal(signal, Trigger::Samples, O::Step, Type::Double),
            ("slope", [signal]) => self.signal(signal, Trigger::Samples, O::Slope, Type::Double),
            ("gap", [signal]) => self.signal(signal, Trigger::Samples, O::Gap, Type::Double),
            ("run", [signal]) => self.signal(signal, Trigger::Samples, O::Run, Type::Double),
            ("age", [of]) => self.feature(node, Function::Age, of, None),
            ("mean", [of, window]) => self.feature(node, Function::Mean, of, Some(window)),
            ("min", [of, window]) => self.feature(node, Function::Min, of, Some(window)),
            ("max", [of, window]) => self.feature(node, Function::Max, of, Some(window)),
            ("std", [of, window]) => self.feature(node, Function::Std, of, Some(window)),
            ("delta", [of, window]) => self.feature(node, Function::Delta, of, Some(window)),
            ("lag", [of, window]) => self.feature(node, Function::Lag, of, Some(window)),
            ("count", [of, window]) => self.feature(node, Function::Count, of, Some(window)),
            ("rate", [of, window]) => self.feature(node, Function::Rate, of, Some(window)),
            ("score", [model]) => {
                let model = self.model(model)?;
                self.value(node, O::Score(model), Type::Double)
            }
            ("anomaly", [model]) => {
                let model = self.model(model)?;
                self.value(node, O::Raised(model), Type::Truth)
            }
            ("silent", [message]) => {
                let What::Name(name) = &message.what else { return fault(message, "`silent` takes a message's name") };
                let catalog = self.scope.catalog;
                let found = find(catalog, name, |name| catalog.find_message(name));
                let id = found.map_err(|message_| Fault::new(message.at, message_))?;
                let place = place_of(&mut self.program.messages, id);
                self.value(node, O::Silent(place), Type::Truth)
            }
            ("within", [truth, time]) => self.remember(node, name, truth, time, O::Within),
            ("lasting", [truth, time]) => self.remember(node, name, truth, time, O::Lasting),
            ("math.abs", [a]) => {
                let is = self.number(a, name)?;
                self.reduce(node, 1, O::Absolute, is)
            }
            ("math.least" | "math.greatest", [first, rest @ ..]) => {
                let operation = if name == "math.least" { O::Least } else { O::Greatest };
                let mut is = self.number(first, name)?;
                for other in rest {
                    if self.number(other, name)? != is {
                        is = Type::Double;
                    }
                    self.reduce(node, 2, operation, is)?;
                }
                Ok(is)
            }
            ("int", [a]) => {
                self.number(a, name)?;
                self.reduce(node, 1, O::Truncate, Type::Integer)
            }
            ("double", [a]) => {
                self.number(a, name)?;
                Ok(Type::Double)
            }
            ("duration", _) => fault(node, "a duration is the second argument of within, lasting, mean, …"),
            _ => fault(node, unknown(name, arguments.len())),
        }
    }

    fn remember(
        &mut self,
        node: &Node,
        name: &str,
        truth: &Node,
        time: &Node,
        operation: fn(u16, u64) -> O,
    ) -> Result<Type, Fault> {
        self.truth(truth, name)?;
        let ns = duration(time)?;
        let place = u16::try_from(self.program.memories).unwrap_or(u16::MAX);
        self.program.memories += 1;
        self.reduce(node, 1, operation(place, ns), Type::Truth)
    }

    fn feature(&mut self, node: &Node, function: Function, of: &Node, window: Option<&Node>) -> Result<Type, Fault> {
        let What::Name(name) = &of.what else { return fault(of, "takes the name of a signal or message here") };
        let Some(period_ns) = self.scope.period_ns else {
            return fault(node, "changes with time alone: give the condition a period_ms at which it is looked at");
        };
        let ns = window.map(duration).transpose()?.unwrap_or(0);
        let points = ns / period_ns;
        if let Some(window) = window
            && (points == 0 || points > MAX_WINDOW as u64)
        {
            return fault(window, format!("a window has 1 to {MAX_WINDOW} periods; this has {points}"));
        }
        let catalog = self.scope.catalog;
        let message =
            function.of_times().then(|| find(catalog, name, |name| catalog.find_message(name)).ok()).flatten();
        let of_name = match message {
            Some(id) => {
                let (bus, message) = catalog.message(id);
                format!("{}:{}", bus.name, message.name)
            }
            None => catalog.full_signal_name(self.find(of)?),
        };
        let place = u16::try_from(self.program.features.len()).unwrap_or(u16::MAX);
        let window = usize::try_from(points).unwrap_or(MAX_WINDOW);
        let name = format!("f{place}").into();
        let max_age_ns = self.scope.max_age_ns;
        self.program.features.push(FeatureSpec { name, function, of: of_name, window, max_age_ns, only_if: None });
        self.value(node, O::Feature(place), Type::Double)
    }

    fn model(&mut self, node: &Node) -> Result<u16, Fault> {
        let name = text_of(node, "the name of a model or profile")?;
        let models = self.scope.models;
        let Some(place) = models.iter().position(|model| **model == *name) else {
            let there = match models {
                [] => "the configuration has none".into(),
                models => {
                    format!("there are {}", models.iter().map(|m| format!("'{m}'")).collect::<Vec<_>>().join(", "))
                }
            };
            return fault(node, format!("no model or profile '{name}'; {there}"));
        };
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        place_of(&mut self.program.models, place);
        Ok(place)
    }

    /// Adds an operation on the signal that `node` names.
    fn signal(&mut self, node: &Node, trigger: Trigger, operation: fn(u16) -> O, is: Type) -> Result<Type, Fault> {
        let id = self.find(node)?;
        self.triggers(id, trigger);
        let place = self.signal_place(id);
        self.value(node, operation(place), is)
    }

    /// A signal whose triggers are there already.
    fn quiet_signal(&mut self, node: &Node) -> Result<Type, Fault> {
        let id = self.find(node)?;
        let place = self.signal_place(id);
        self.value(node, O::Signal(place), Type::Double)
    }

    fn passes(&mut self, node: &Node, limit: f64) -> Result<(), Fault> {
        let id = self.find(node)?;
        self.triggers(id, Trigger::Passes(limit));
        Ok(())
    }

    fn triggers(&mut self, id: SignalId, trigger: Trigger) {
        if !self.program.triggers.contains(&(id, trigger)) {
            self.program.triggers.push((id, trigger));
        }
    }

    fn signal_place(&mut self, id: SignalId) -> u16 {
        place_of(&mut self.program.signals, id)
    }

    fn find(&self, node: &Node) -> Result<SignalId, Fault> {
        if let What::Call(function, arguments) = &node.what
            && let ("signal", [text]) = (function.as_str(), &arguments[..])
        {
            let name = text_of(text, "a signal's name, as in signal('can-a:Message.Signal')")?;
            return self.scope.catalog.find_signal(name).map_err(|error| Fault::new(text.at, error.to_string()));
        }
        let What::Name(name) = &node.what else { return fault(node, "takes a signal's name here") };
        if let Some((_, id)) = self.found.borrow().iter().find(|(known, _)| known == name) {
            return Ok(*id);
        }
        let catalog = self.scope.catalog;
        let id =
            find(catalog, name, |name| catalog.find_signal(name)).map_err(|message| Fault::new(node.at, message))?;
        self.found.borrow_mut().push((name.clone(), id));
        Ok(id)
    }
}

/// A name with points: the first part may be a bus.
fn find<T>(catalog: &Catalog, name: &str, look: impl Fn(&str) -> Result<T, NameError>) -> Result<T, String> {
    let points = |text: String| text.replace(':', ".");
    // What begins with a bus is of that bus, unless a message is called as the bus is and has it.
    let mut error = None;
    if let Some((bus, rest)) = name.split_once('.')
        && catalog.buses().iter().any(|other| *other.name == *bus)
    {
        match look(&format!("{bus}:{rest}")) {
            Ok(found) => return Ok(found),
            Err(of_bus) => error = Some(of_bus),
        }
    }
    let error = match look(name) {
        Ok(found) => return Ok(found),
        Err(plain) => error.unwrap_or(plain),
    };
    Err(match error {
        NameError::Unknown { what, similar, .. } => {
            let similar = similar.into_iter().map(points).collect();
            NameError::Unknown { what, name: name.into(), similar }.to_string()
        }
        NameError::Ambiguous { candidates, .. } => {
            let candidates = candidates.into_iter().map(points).collect();
            NameError::Ambiguous { name: name.into(), candidates }.to_string()
        }
    })
}

/// A name compared with a number, either way round.
fn is_pair(a: &Node, b: &Node) -> bool {
    is_signal(a) && constant(b).is_some() || is_signal(b) && constant(a).is_some()
}

/// A name, or `signal('…')`.
fn is_signal(node: &Node) -> bool {
    match &node.what {
        What::Name(_) => true,
        What::Call(function, arguments) => function == "signal" && arguments.len() == 1,
        _ => false,
    }
}

/// The number that a node is.
fn constant(node: &Node) -> Option<f64> {
    match &node.what {
        What::Double(value) | What::Integer(value) => Some(*value),
        What::Call(name, arguments) if name == NEGATE => Some(-constant(arguments.first()?)?),
        _ => None,
    }
}

fn text_of<'a>(node: &'a Node, what: &str) -> Result<&'a str, Fault> {
    match &node.what {
        What::Text(text) => Ok(text),
        _ => fault(node, format!("takes {what}: a text in quotes")),
    }
}

/// Nanoseconds of `duration('1.5s')`: hours, minutes, seconds, milliseconds, as in CEL.
fn duration(node: &Node) -> Result<u64, Fault> {
    let (text, at) = match &node.what {
        What::Call(name, arguments) if name == "duration" => match arguments.as_slice() {
            [Node { what: What::Text(text), at }] => (text, *at),
            _ => return fault(node, "`duration` takes a text, as in duration('1.5s')"),
        },
        _ => return fault(node, "takes a duration here, as in duration('1.5s')"),
    };
    let wrong =
        || Fault::new(at, format!("'{text}' is no duration of 1 ms to 24 h; write it as '500ms', '1.5s' or '2m'"));
    let mut rest = text.as_str();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err(wrong());
    }
    u64::try_from(std::time::Duration::from_secs_f64(seconds).as_nanos()).map_err(|_| wrong())
}

fn place_of<T: PartialEq>(all: &mut Vec<T>, wanted: T) -> u16 {
    let place = all.iter().position(|one| *one == wanted).unwrap_or_else(|| {
        all.push(wanted);
        all.len() - 1
    });
    // There are no more than operations.
    u16::try_from(place).unwrap_or(u16::MAX)
}

fn unknown(name: &str, arguments: usize) -> String {
    const FUNCTIONS: [(&str, &str); 23] = [
        ("age", "age(Signal)"),
        ("anomaly", "anomaly('model')"),
        ("count", "count(Message, duration('5s'))"),
        ("delta", "delta(Signal, duration('5s'))"),
        ("double", "double(integer)"),
        ("gap", "gap(Signal)"),
        ("int", "int(double)"),
        ("lag", "lag(Signal, duration('5s'))"),
        ("lasting", "lasting(condition, duration('5s'))"),
        ("math.abs", "math.abs(number)"),
        ("math.greatest", "math.greatest(number, number)"),
        ("math.least", "math.least(number, number)"),
        ("max", "max(Signal, duration('5s'))"),
        ("mean", "mean(Signal, duration('5s'))"),
        ("min", "min(Signal, duration('5s'))"),
        ("rate", "rate(Message, duration('5s'))"),
        ("run", "run(Signal)"),
        ("score", "score('model')"),
        ("silent", "silent(Message)"),
        ("slope", "slope(Signal)"),
        ("std", "std(Signal, duration('5s'))"),
        ("step", "step(Signal)"),
        ("within", "within(condition, duration('5s'))"),
    ];
    match FUNCTIONS.iter().find(|(known, _)| *known == name) {
        Some((_, usage)) => format!("`{name}` with {arguments} arguments: write {usage}"),
        None => {
            let names: Vec<&str> = FUNCTIONS.iter().map(|(known, _)| *known).collect();
            format!("no function `{name}`; there are {}, valid, signal", names.join(", "))
        }
    }
}

//! A tree to a program: names are resolved, types checked, operations put in order.

use std::cell::RefCell;

use super::parse::{Node, What};
use super::{Fault, Scope};
use crate::engine::SignalId;
use crate::engine::conditions::{MAX_DEPTH, MAX_OPERATIONS, Operation as O, Program, Trigger};

/// What CEL calls the operator before a number.
const NEGATE: &str = "-_";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
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

pub(super) fn fault<T>(node: &Node, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(node.at, message.into()))
}

pub(super) struct Checker<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) program: Program,
    /// Of the stack, at this point of the program.
    depth: usize,
    /// Names that were looked for.
    pub(super) found: RefCell<Vec<(String, SignalId)>>,
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
    pub(super) fn value(&mut self, node: &Node, operation: O, is: Type) -> Result<Type, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(node, format!("more than {MAX_DEPTH} values wait for the rest here: use fewer brackets"));
        }
        self.add(node, operation, is)
    }

    /// Adds an operation that makes one of `takes` values.
    pub(super) fn reduce(&mut self, node: &Node, takes: usize, operation: O, is: Type) -> Result<Type, Fault> {
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

    pub(super) fn truth(&mut self, node: &Node, sign: &str) -> Result<(), Fault> {
        match self.node(node)? {
            Type::Truth => Ok(()),
            other => fault(
                node,
                format!("`{sign}` takes what is true or false; this is {}: compare it with something", other.name()),
            ),
        }
    }

    pub(super) fn number(&mut self, node: &Node, sign: &str) -> Result<Type, Fault> {
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

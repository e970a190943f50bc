//! The functions of conditions.

use super::Fault;
use super::check::{Checker, Type, fault};
use super::names::{find, place_of};
use super::parse::{Node, What};
use crate::engine::conditions::{Operation as O, Trigger};
use crate::engine::features::MAX_WINDOW;
use crate::engine::{FeatureSpec, Function};

impl Checker<'_> {
    pub(super) fn function(&mut self, node: &Node, name: &str, arguments: &[Node]) -> Result<Type, Fault> {
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

    pub(super) fn remember(
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

    pub(super) fn feature(
        &mut self,
        node: &Node,
        function: Function,
        of: &Node,
        window: Option<&Node>,
    ) -> Result<Type, Fault> {
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

    pub(super) fn model(&mut self, node: &Node) -> Result<u16, Fault> {
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
}

pub(super) fn text_of<'a>(node: &'a Node, what: &str) -> Result<&'a str, Fault> {
    match &node.what {
        What::Text(text) => Ok(text),
        _ => fault(node, format!("takes {what}: a text in quotes")),
    }
}

/// Nanoseconds of `duration('1.5s')`: hours, minutes, seconds, milliseconds, as in CEL.
pub(super) fn duration(node: &Node) -> Result<u64, Fault> {
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

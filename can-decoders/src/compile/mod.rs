//! Databases to a [`Plan`].

mod checks;

use std::collections::{HashMap, HashSet};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use self::checks::Checks;
use crate::choice::{Choices, Gates};
use crate::dbc::{Code, Database, MessageDef, Multiplexing, SignalDef, Warnings};
use crate::index::{IdIndex, fixed_bits};
use crate::names::Names;
use crate::op::Op;
use crate::plan::{Form, Gate, Head, Message, MessageIndex, OPEN, Plan, Signal, SignalIndex, UNCHECKED};
use crate::step::Step;
use crate::validity::{J1939, Judge, RuleError, Rules, SignalRule, Vocabulary};

/// Where ranges that several signals share are in `Plan::ranges`, by their address in the databases.
type SharedRanges = HashMap<*const RangeInclusive<u64>, Range<u32>>;

impl Plan {
    /// Compiles the databases of one bus, and judges values by the default [`Rules`]. When several describe the same
    /// identifier the first is used, and when several messages have the same name the later ones get their identifier
    /// as suffix (`Name_1A0`, `Name_18FEF1FE`); warnings tell.
    pub fn compile(databases: &[Database]) -> Self {
        let (mut plan, checks) = Compiler::new(databases, &Rules::default()).compile(databases);
        checks.put(&mut plan);
        plan
    }

    /// As [`Plan::compile`], with rules of one's own.
    ///
    /// # Errors
    /// When a rule names a message or a signal that is not there, or asks of a signal what it cannot be.
    pub fn compile_with(databases: &[Database], rules: &Rules) -> Result<Self, RuleError> {
        let (mut plan, mut checks) = Compiler::new(databases, rules).compile(databases);
        checks.add(&plan, rules)?;
        checks.put(&mut plan);
        let mut seen = HashSet::new();
        rules.signals.iter().try_for_each(|rule| check(&plan, rule, &mut seen))?;
        Ok(plan)
    }
}

/// Finds out whether the rule says something about a signal that there is, and something that can be.
fn check(plan: &Plan, rule: &SignalRule, seen: &mut HashSet<SignalIndex>) -> Result<(), RuleError> {
    let (_, signal) = checks::find(plan, &rule.message, &rule.signal)?;
    let limits = &plan.limits[signal.0 as usize];
    let bits = plan.signal(signal).bits;
    let mut ranges = rule.not_available.iter().chain(&rule.error);
    let reason = if !seen.insert(signal) {
        "there are two rules for it"
    } else if rule.min.is_some_and(f64::is_nan) || rule.max.is_some_and(f64::is_nan) {
        "a bound is not a number"
    } else if plan.op(signal.0).is_float() && ranges.clone().next().is_some() {
        "a float has no raw values; use min and max"
    } else if !ranges.all(|range| limits.has(bits, range)) {
        "its bits cannot have such raw values; a signed signal's are negative from the middle on"
    } else if limits.is_empty() {
        "no value would be valid: its range is empty, or not one that its bits can express"
    } else {
        return Ok(());
    };
    Err(checks::unfit(plan, signal, reason))
}

struct Compiler<'a> {
    plan: Plan,
    rules: &'a Rules,
    /// By message and signal.
    own: HashMap<(&'a str, &'a str), &'a SignalRule>,
    shared: SharedRanges,
    vocabulary: Vocabulary,
    checks: Checks,
    /// By database.
    warnings: Vec<Warnings>,
}

impl<'a> Compiler<'a> {
    fn new(databases: &[Database], rules: &'a Rules) -> Self {
        let plan = Plan {
            messages: Vec::new(),
            heads: Vec::new(),
            signals: Vec::new(),
            steps: Vec::new(),
            ops: Vec::new(),
            gate_of: Vec::new(),
            gates: Vec::new(),
            ranges: Vec::new(),
            choices: Choices::default(),
            limits: Vec::new(),
            patterns: Vec::new(),
            unchecked: Vec::new(),
            checks: Vec::new(),
            index: IdIndex::default(),
            names: HashMap::new(),
            warnings: databases.iter().flat_map(|d| d.warnings().iter().cloned()).collect(),
        };
        let own = rules.signals.iter().map(|rule| ((rule.message.as_str(), rule.signal.as_str()), rule)).collect();
        Self {
            plan,
            rules,
            own,
            shared: SharedRanges::new(),
            vocabulary: Vocabulary::new(rules),
            checks: Checks::default(),
            warnings: databases.iter().map(|database| Warnings::new(database.name.clone())).collect(),
        }
    }

    fn compile(mut self, databases: &[Database]) -> (Plan, Checks) {
        let mut owners: HashMap<u32, &str> = HashMap::new();
        let mut used: Vec<(usize, &MessageDef)> = Vec::new();
        for (file, database) in databases.iter().enumerate() {
            for message in database.messages() {
                if let Some(owner) = owners.get(&message.id.to_bits()) {
                    self.warnings[file].add(
                        Code::DuplicateIdentifier,
                        message.place,
                        format_args!("message {} ({}): {owner} describes it too and is used", message.name, message.id),
                    );
                    continue;
                }
                owners.insert(message.id.to_bits(), database.name());
                used.push((file, message));
            }
        }
        let mut names = Names::new(used.iter().map(|(_, message)| &message.name));
        for (file, message) in used {
            let mut name = message.name.clone();
            if !names.give(&name) {
                name = names.make(&message.name, message.id);
                let text = format_args!("message {} has the name of another: it is called {name}", message.name);
                self.warnings[file].add(Code::DuplicateMessage, message.place, text);
            }
            self.message(name, file, message);
        }
        self.plan.warnings.extend(self.warnings.into_iter().flat_map(Warnings::finish));
        self.plan.index = IdIndex::new(self.plan.messages.iter().map(|m| (m.id, m.is_j1939)));
        (self.plan, self.checks)
    }

    fn message(&mut self, name: Arc<str>, file: usize, message: &MessageDef) {
        let index = MessageIndex(number(self.plan.messages.len()));
        let first = number(self.plan.signals.len());
        let by_anybody = self.is_j1939(message) && fixed_bits(message.id, true) & 0xFF == 0;
        for signal in &message.signals {
            self.signal(&name, signal, message, index, first);
            if let Err(reason) = self.checks.signal(index.0, signal, by_anybody) {
                let text = format_args!("signal {} of message {name} is not checked: {reason}", signal.name);
                self.warnings[file].add(Code::Integrity, signal.place, text);
            }
        }
        let plan = &mut self.plan;
        let steps = &plan.steps[first as usize..];
        let of = &plan.gate_of[first as usize..];
        let listed = plan.choices.add(&Gates { first, of, gates: &plan.gates, ranges: &plan.ranges });
        plan.heads.push(Head {
            first,
            // A message has 4096 signals and 65,535 bytes at most.
            count: u16::try_from(steps.len()).unwrap_or(u16::MAX),
            size: u16::try_from(message.size).unwrap_or(u16::MAX),
            check: UNCHECKED,
            needed: steps.iter().map(Step::end).max().unwrap_or(0),
            form: if steps.iter().any(Step::is_odd) {
                Form::Any
            } else if listed {
                Form::Listed
            } else if !steps.iter().all(Step::is_open) {
                Form::Any
            } else if steps.iter().all(Step::is_near) {
                Form::Near
            } else {
                Form::Far
            },
        });
        self.plan.names.insert(name.clone(), index);
        self.plan.messages.push(Message {
            name,
            id: message.id,
            size: message.size,
            cycle_time_ms: message.cycle_time_ms,
            is_j1939: self.is_j1939(message),
            senders: message.senders.clone(),
            signals: first..number(self.plan.signals.len()),
        });
    }

    fn signal(&mut self, of: &str, signal: &SignalDef, message: &MessageDef, index: MessageIndex, first: u32) {
        let gate = match &signal.multiplexing {
            Multiplexing::Always => OPEN,
            Multiplexing::Selected { selector, ranges } => {
                let plan = &mut self.plan;
                let places = self.shared.entry(ranges.as_ptr()).or_insert_with(|| {
                    let start = number(plan.ranges.len());
                    plan.ranges.extend(ranges.iter().map(|range| (*range.start(), *range.end())));
                    start..number(plan.ranges.len())
                });
                let places = places.clone();
                self.gate(first + number(*selector), places)
            }
            // A gate that admits nothing; its selector is of no matter.
            Multiplexing::Never => self.gate(number(self.plan.steps.len()), 0..0),
        };
        let none = SignalRule::default();
        let own = self.own.get(&(of, &*signal.name)).copied().unwrap_or(&none);
        let mut judge = Judge::new(signal, self.is_j1939(message), self.rules, own, &mut self.vocabulary);
        let op = Op::compile(signal);
        let plan = &mut self.plan;
        plan.steps.push(Step::compile(signal, &op, &judge, gate != OPEN));
        plan.ops.push(op);
        plan.gate_of.push(gate);
        if judge.doubted {
            plan.unchecked.push(SignalIndex(number(plan.signals.len())));
        }
        let start = number(plan.patterns.len());
        plan.patterns.append(&mut judge.patterns);
        judge.limits.patterns = start..number(plan.patterns.len());
        plan.limits.push(judge.limits);
        plan.signals.push(Signal {
            name: signal.name.clone(),
            message: index,
            unit: signal.unit.clone(),
            min: signal.min,
            max: signal.max,
            factor: signal.factor,
            offset: signal.offset,
            bits: signal.bits,
            is_multiplexor: signal.is_multiplexor,
            is_multiplexed: signal.multiplexing != Multiplexing::Always,
            labels: signal.labels.clone(),
        });
    }

    fn is_j1939(&self, message: &MessageDef) -> bool {
        match self.rules.j1939 {
            J1939::Auto => message.is_j1939,
            J1939::Always => message.id.is_extended(),
            J1939::Never => false,
        }
    }

    fn gate(&mut self, selector: u32, ranges: Range<u32>) -> u32 {
        self.plan.gates.push(Gate { selector, ranges });
        number(self.plan.gates.len() - 1)
    }
}

/// A count as an index. Databases are bounded in bytes, so that counts stay far below 2^32.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

//! DBC databases of one bus compiled to a decode plan.
//!
//! The plan keeps what decoding touches apart from what people read: [`Signal`] holds names, units and
//! labels, a parallel table the steps that take the value out of a payload, and a third, used by
//! multiplexed signals only, which values of which multiplexor select them. All signals of all
//! messages are numbered through, those of one message in a row, so that a [`SignalIndex`] alone
//! identifies a signal and callers can keep state per signal in a plain vector.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use crate::dbc::{Code, Database, Labels, MessageDef, Multiplexing, SignalDef, Warning};
use crate::decode::Decoded;
use crate::frame::CanId;
use crate::index::IdIndex;
use crate::names::Names;
use crate::op::Op;

/// Number of a message within its [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageIndex(pub u32);

/// Number of a signal within its [`Plan`], over all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignalIndex(pub u32);

/// A message of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Name, unique within its plan.
    pub name: Arc<str>,
    /// Identifier.
    pub id: CanId,
    /// Length in bytes that the DBC states.
    pub size: usize,
    /// Milliseconds between two frames when it is sent cyclically and the DBC tells.
    pub cycle_time_ms: Option<u32>,
    /// Nodes that send it.
    pub senders: Vec<Arc<str>>,
    /// The numbers of its signals; see [`SignalIndex`].
    pub signals: Range<u32>,
}

impl Message {
    /// Its signals' indices.
    pub fn signal_indices(&self) -> impl ExactSizeIterator<Item = SignalIndex> + use<> {
        self.signals.clone().map(SignalIndex)
    }
}

/// A signal of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Name, unique within its message.
    pub name: Arc<str>,
    /// The message it is in.
    pub message: MessageIndex,
    /// Unit; empty when there is none.
    pub unit: Arc<str>,
    /// Smallest physical value that makes sense; `None` when the DBC says `[0|0]`.
    pub min: Option<f64>,
    /// Largest physical value that makes sense; `None` when the DBC says `[0|0]`.
    pub max: Option<f64>,
    /// Physical value = raw · `factor` + `offset`.
    pub factor: f64,
    /// See `factor`.
    pub offset: f64,
    /// Width in bits, 1 to 64.
    pub bits: u32,
    /// True when it selects other signals.
    pub is_multiplexor: bool,
    /// True when it is in some frames of its message only.
    pub is_multiplexed: bool,
    /// Labels of raw values.
    pub labels: Labels,
}

impl Signal {
    /// The label of a raw value.
    pub fn label(&self, raw: i64) -> Option<&str> {
        let place = self.labels.binary_search_by_key(&raw, |label| label.0).ok()?;
        Some(&self.labels[place].1)
    }
}

/// Which raw values of which multiplexor select a signal.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) selector: u32,
    /// Where in `Plan::ranges` the raw values are; several gates may share them.
    ranges: Range<u32>,
}

/// What decoding needs of one signal.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) op: Op,
    /// Place in `Plan::gates`, or [`OPEN`].
    gate: u32,
}

impl Step {
    /// True when the signal is in all frames of its message.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.gate == OPEN
    }
}

/// Where ranges that several signals share are in `Plan::ranges`, by their address in the databases.
type SharedRanges = HashMap<*const RangeInclusive<u64>, Range<u32>>;

/// The gate of signals that are always in the frame.
const OPEN: u32 = u32::MAX;

/// Messages and signals of one bus, ready to decode; see [`Plan::compile`].
#[derive(Debug, Clone)]
pub struct Plan {
    messages: Vec<Message>,
    signals: Vec<Signal>,
    steps: Vec<Step>,
    gates: Vec<Gate>,
    ranges: Vec<(u64, u64)>,
    index: IdIndex,
    names: HashMap<Arc<str>, MessageIndex>,
    warnings: Vec<Warning>,
}

impl Plan {
    /// Compiles the databases of one bus. When several describe the same identifier the first is used,
    /// and when several messages have the same name the later ones get their identifier as suffix
    /// (`Name_1A0`, `Name_18FEF1FE`); warnings tell.
    pub fn compile(databases: &[Database]) -> Self {
        let mut plan = Self {
            messages: Vec::new(),
            signals: Vec::new(),
            steps: Vec::new(),
            gates: Vec::new(),
            ranges: Vec::new(),
            index: IdIndex::default(),
            names: HashMap::new(),
            warnings: databases.iter().flat_map(|d| d.warnings().iter().cloned()).collect(),
        };
        let mut owners: HashMap<u32, &str> = HashMap::new();
        let mut used: Vec<(&Database, &MessageDef)> = Vec::new();
        for database in databases {
            for message in database.messages() {
                if let Some(owner) = owners.get(&message.id.to_bits()) {
                    let text =
                        format!("message {} ({}): {owner} describes it too and is used", message.name, message.id);
                    plan.warnings.push(Warning {
                        code: Code::DuplicateIdentifier,
                        file: database.name.clone(),
                        place: message.place,
                        text,
                    });
                    continue;
                }
                owners.insert(message.id.to_bits(), database.name());
                used.push((database, message));
            }
        }
        let mut names = Names::new(used.iter().map(|(_, message)| &message.name));
        let mut shared = SharedRanges::new();
        for (database, message) in used {
            let mut name = message.name.clone();
            if !names.give(&name) {
                name = names.make(&message.name, message.id);
                let text = format!("message {} has the name of another: it is called {name}", message.name);
                plan.warnings.push(Warning {
                    code: Code::DuplicateMessage,
                    file: database.name.clone(),
                    place: message.place,
                    text,
                });
            }
            plan.add_message(name, message, &mut shared);
        }
        plan.index = IdIndex::new(plan.messages.iter().map(|m| m.id));
        plan
    }

    fn add_message(&mut self, name: Arc<str>, message: &MessageDef, shared: &mut SharedRanges) {
        let index = MessageIndex(number(self.messages.len()));
        let start = number(self.signals.len());
        for signal in &message.signals {
            self.add_signal(signal, index, start, shared);
        }
        self.names.insert(name.clone(), index);
        self.messages.push(Message {
            name,
            id: message.id,
            size: message.size,
            cycle_time_ms: message.cycle_time_ms,
            senders: message.senders.clone(),
            signals: start..number(self.signals.len()),
        });
    }

    fn add_signal(&mut self, signal: &SignalDef, message: MessageIndex, first: u32, shared: &mut SharedRanges) {
        let gate = match &signal.multiplexing {
            Multiplexing::Always => OPEN,
            Multiplexing::Selected { selector, ranges } => {
                let places = shared.entry(ranges.as_ptr()).or_insert_with(|| {
                    let start = number(self.ranges.len());
                    self.ranges.extend(ranges.iter().map(|range| (*range.start(), *range.end())));
                    start..number(self.ranges.len())
                });
                self.add_gate(first + number(*selector), places.clone())
            }
            // A gate that admits nothing; its selector is of no matter.
            Multiplexing::Never => self.add_gate(number(self.steps.len()), 0..0),
        };
        self.steps.push(Step { op: Op::compile(signal), gate });
        self.signals.push(Signal {
            name: signal.name.clone(),
            message,
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

    fn add_gate(&mut self, selector: u32, ranges: Range<u32>) -> u32 {
        self.gates.push(Gate { selector, ranges });
        number(self.gates.len() - 1)
    }

    /// All messages; a [`MessageIndex`] is a place in this slice.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// All signals; a [`SignalIndex`] is a place in this slice.
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// The message. Panics when the index is from another plan and out of range.
    pub fn message(&self, message: MessageIndex) -> &Message {
        &self.messages[message.0 as usize]
    }

    /// The signal. Panics when the index is from another plan and out of range.
    pub fn signal(&self, signal: SignalIndex) -> &Signal {
        &self.signals[signal.0 as usize]
    }

    /// The message with this identifier.
    #[inline]
    pub fn find(&self, id: CanId) -> Option<MessageIndex> {
        self.index.get(id).map(MessageIndex)
    }

    /// The message with this name.
    pub fn find_message(&self, name: &str) -> Option<MessageIndex> {
        self.names.get(name).copied()
    }

    /// The signal of a message with this name.
    pub fn find_signal(&self, message: MessageIndex, name: &str) -> Option<SignalIndex> {
        self.message(message).signal_indices().find(|index| *self.signal(*index).name == *name)
    }

    /// Which bits of a message belong to signals, whatever selects them: a payload with those set. As long as the message,
    /// or as its signals reach. Panics when the index is from another plan and out of range.
    pub fn mask(&self, message: MessageIndex) -> Vec<u8> {
        let message = self.message(message);
        let ops = || message.signals.clone().map(|signal| self.op(signal));
        let mut mask = vec![0; ops().map(Op::end).fold(message.size, usize::max)];
        for op in ops() {
            op.store(u64::MAX, &mut mask);
        }
        mask
    }

    /// What is odd in the databases, alone and together.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Looks at a payload as a message. Nothing is computed or allocated before the signals are
    /// iterated over. Panics when the index is from another plan and out of range.
    #[inline]
    pub fn decode<'a>(&'a self, message: MessageIndex, payload: &'a [u8]) -> Decoded<'a> {
        Decoded::new(self, self.message(message), payload)
    }

    /// What decoding needs of a message's signals, in order.
    #[inline]
    pub(crate) fn steps(&self, message: &Message) -> &[Step] {
        &self.steps[message.signals.start as usize..message.signals.end as usize]
    }

    #[inline]
    pub(crate) fn op(&self, signal: u32) -> &Op {
        &self.steps[signal as usize].op
    }

    /// What selects the signal; `None` when it is always in the frame.
    #[inline]
    pub(crate) fn gate(&self, signal: u32) -> Option<&Gate> {
        let gate = self.steps[signal as usize].gate;
        if gate == OPEN { None } else { self.gates.get(gate as usize) }
    }

    /// True when `raw` is one of the values that open the gate.
    #[inline]
    pub(crate) fn admits(&self, gate: &Gate, raw: u64) -> bool {
        let ranges = &self.ranges[gate.ranges.start as usize..gate.ranges.end as usize];
        if let [(low, high)] = ranges {
            return (*low..=*high).contains(&raw);
        }
        // Sorted, with gaps between them: only the last that starts at or before `raw` can have it.
        let after = ranges.partition_point(|(low, _)| *low <= raw);
        after > 0 && raw <= ranges[after - 1].1
    }
}

/// A count as an index. Databases are bounded in bytes, so that counts stay far below 2^32.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

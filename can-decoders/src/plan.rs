//! DBC databases of one bus compiled to a decode plan.
//!
//! The plan keeps what decoding touches apart from what people read: [`Signal`] holds names, units and
//! labels; of the parallel tables, `heads` and `steps` are all that decoding a usual frame reads, and the others are
//! for what is rarer (multiplexing, values that are not plainly valid, odd forms). All signals of all
//! messages are numbered through, those of one message in a row, so that a [`SignalIndex`] alone
//! identifies a signal and callers can keep state per signal in a plain vector.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::choice::{Choices, admits};
use crate::dbc::{Labels, Warning};
use crate::decode::Decoded;
use crate::frame::{CanId, Frame};
use crate::index::{IdIndex, fixed_bits};
use crate::integrity::Check;
use crate::op::Op;
use crate::step::{Step, Words};
use crate::validity::{Limits, Pattern, Validity};

/// Number of a message within its [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MessageIndex(pub u32);

/// Number of a signal within its [`Plan`], over all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SignalIndex(pub u32);

/// A message of a plan.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Message {
    /// Name, unique within its plan.
    pub name: Arc<str>,
    /// Identifier.
    pub id: CanId,
    /// Length in bytes that the DBC states.
    pub size: usize,
    /// Milliseconds between two frames when it is sent cyclically and the DBC tells.
    pub cycle_time_ms: Option<u32>,
    /// It is a parameter group of J1939: found whatever priority, destination and, where the DBC's source address is
    /// 0xFE or not there, source address a frame has. Its raw values follow J1939's conventions.
    pub is_j1939: bool,
    /// Nodes that send it.
    pub senders: Vec<Arc<str>>,
    /// The numbers of its signals; see [`SignalIndex`].
    pub signals: Range<u32>,
}

impl Message {
    /// The bits of [`Message::id`] that all its frames have, for filters in hardware or in the kernel: all, but for J1939
    /// neither priority nor destination, nor a source address of 0xFE.
    pub fn fixed_bits(&self) -> u32 {
        fixed_bits(self.id, self.is_j1939)
    }

    /// Its signals' indices.
    pub fn signal_indices(&self) -> impl ExactSizeIterator<Item = SignalIndex> + use<> {
        self.signals.clone().map(SignalIndex)
    }
}

/// A signal of a plan.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
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
    pub(crate) ranges: Range<u32>,
}

/// What decoding needs of a message. The rest of it is in [`Message`], which only people read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// The first of its signals.
    pub(crate) first: u32,
    pub(crate) count: u16,
    /// Length that the DBC states.
    pub(crate) size: u16,
    /// Bytes that all its signals need.
    pub(crate) needed: u16,
    pub(crate) form: Form,
    /// Place of its checks in `Plan::checks`, or [`UNCHECKED`].
    pub(crate) check: u32,
}

/// What is known of all signals of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// They are in all frames, none is odd, and they are within the first 8 bytes.
    Near,
    /// As `Near`, but some are further back.
    Far,
    /// As `Far` but for multiplexing: [`Choices`] has a list of those that are there.
    Listed,
    /// Nothing.
    Any,
}

/// The check of messages that have neither checksum nor counter.
pub(crate) const UNCHECKED: u32 = u32::MAX;

/// The gate of signals that are always in the frame.
pub(crate) const OPEN: u32 = u32::MAX;

/// Messages and signals of one bus, ready to decode; see [`Plan::compile`].
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) messages: Vec<Message>,
    pub(crate) heads: Vec<Head>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) steps: Vec<Step>,
    pub(crate) ops: Vec<Op>,
    /// By signal: its place in `gates`, or [`OPEN`].
    pub(crate) gate_of: Vec<u32>,
    pub(crate) gates: Vec<Gate>,
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) choices: Choices,
    pub(crate) limits: Vec<Limits>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) unchecked: Vec<SignalIndex>,
    pub(crate) checks: Vec<Check>,
    pub(crate) index: IdIndex,
    pub(crate) names: HashMap<Arc<str>, MessageIndex>,
    pub(crate) warnings: Vec<Warning>,
}

impl Plan {
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

    /// The message with this identifier; for J1939 the one of its parameter group, see [`Message::is_j1939`].
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

    /// Signals whose range in the DBC is not believed, so that it is not checked; see [`crate::validity`].
    pub fn unchecked_ranges(&self) -> &[SignalIndex] {
        &self.unchecked
    }

    /// The most signals that a message has: a buffer of so many samples holds any frame's.
    pub fn most_signals(&self) -> usize {
        self.heads.iter().map(|head| usize::from(head.count)).max().unwrap_or(0)
    }

    /// Looks at a payload as a message. Nothing is computed or allocated before the signals are
    /// iterated over. Panics when the index is from another plan and out of range.
    #[inline]
    pub fn decode<'a>(&'a self, message: MessageIndex, payload: &'a [u8]) -> Decoded<'a> {
        Decoded::new(self, message, self.heads[message.0 as usize], payload, Words::new(payload))
    }

    /// As [`Plan::decode`], of a frame's payload. A little faster for short ones, as a frame keeps zeros behind them.
    #[inline]
    pub fn decode_frame<'a>(&'a self, message: MessageIndex, frame: &'a Frame) -> Decoded<'a> {
        let (payload, words) = (frame.payload(), Words::of(frame.first_bytes()));
        Decoded::new(self, message, self.heads[message.0 as usize], payload, words)
    }

    /// Checksum and counter of a message that has one.
    #[inline]
    pub(crate) fn check(&self, head: &Head) -> Option<&Check> {
        if head.check == UNCHECKED { None } else { self.checks.get(head.check as usize) }
    }

    /// The bits of a signal, whatever selects it; `None` when the payload does not hold it.
    pub(crate) fn raw(&self, signal: u32, payload: &[u8]) -> Option<u64> {
        let op = self.op(signal);
        op.fits(payload.len()).then(|| op.bits(&Words::new(payload), payload))
    }

    #[inline]
    pub(crate) fn op(&self, signal: u32) -> &Op {
        &self.ops[signal as usize]
    }

    /// What selects the signal; `None` when it is always in the frame.
    #[inline]
    pub(crate) fn gate(&self, signal: u32) -> Option<&Gate> {
        let gate = self.gate_of[signal as usize];
        if gate == OPEN { None } else { self.gates.get(gate as usize) }
    }

    /// True when `raw` is one of the values that open the gate.
    #[inline]
    pub(crate) fn admits(&self, gate: &Gate, raw: u64) -> bool {
        admits(&self.ranges[gate.ranges.start as usize..gate.ranges.end as usize], raw)
    }

    /// Judges a value that is not plainly valid.
    #[cold]
    pub(crate) fn judge(&self, signal: u32, raw: i64, value: f64) -> Validity {
        self.limits[signal as usize].judge(&self.patterns, raw, value)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

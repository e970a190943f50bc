//! What can be done only when all statements are known: value tables, multiplexing, long names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Database;
use super::build::Builder;
use super::code::Code;
use super::model::{ByteOrder, Encoding, MessageDef, Multiplexing, Place, SignalDef, Warning};
use super::multiplex;
use super::warnings::Warnings;
use crate::names::Names;

impl Builder {
    pub(super) fn finish(mut self, notes: Vec<(Code, Place, String)>) -> Database {
        for (message, signal, table, place) in std::mem::take(&mut self.table_uses) {
            let Some(labels) = self.tables.get(&table).cloned() else {
                self.warnings.add(
                    Code::UnknownTable,
                    place,
                    format_args!("refers to value table {table}, which the file does not have"),
                );
                continue;
            };
            if let Some(index) = self.signal_named(message, &signal, place) {
                self.messages[message].signals[index].labels = labels;
            }
        }
        for index in 0..self.messages.len() {
            let time = self.cycles.get(&index).copied().or(self.default_cycle);
            let selections = self.selections.remove(&index).unwrap_or_default();
            let message = &mut self.messages[index];
            message.cycle_time_ms = time.filter(|ms| *ms > 0);
            message.is_j1939 = message.id.is_extended() && self.frame_formats.is_j1939(index);
            // BO_TX_BU_ repeats the sender that BO_ names.
            let mut senders = HashSet::new();
            message.senders.retain(|node| senders.insert(node.clone()));
            multiplex::resolve(message, &self.indicators[index], &selections, &mut self.warnings);
            if let Some(name) = self.long_messages.get(&index) {
                message.name = name.as_str().into();
            }
            self.share(index);
            let message = &mut self.messages[index];
            name_signals(message, &mut self.warnings);
            check_layout(message, &mut self.warnings);
        }
        let file = self.name.clone();
        let note = |(code, place, text)| Warning { code, file: file.clone(), place, text };
        let notes = notes.into_iter().map(note).collect();
        Database { name: self.name, messages: self.messages, warnings: self.warnings.finish(), notes }
    }

    /// Gives all signals of a name what was said of the first. Not statement by statement: a hostile
    /// file has half a million of those, and thousands of signals of one name.
    fn share(&mut self, message: usize) {
        let (signals, warnings) = (&mut self.messages[message].signals, &mut self.warnings);
        for index in 0..signals.len() {
            let Some(first) = self.firsts[message].get(&signals[index].name).copied() else { continue };
            if first != index {
                let (labels, comment) = (signals[first].labels.clone(), signals[first].comment.clone());
                (signals[index].labels, signals[index].comment) = (labels, comment);
            }
            let signal = &mut signals[index];
            if let Some((bits, place)) = self.floats.get(&(message, first)) {
                set_float(signal, *bits, *place, warnings);
            }
            if let Some(name) = self.long_signals.get(&(message, first)) {
                signal.name = name.clone();
            }
        }
    }
}

/// The width decides: a 64-bit "float" and a 32-bit "double" are slips of the pen.
fn set_float(signal: &mut SignalDef, said: u32, place: Place, warnings: &mut Warnings) {
    let used = match signal.bits {
        32 => {
            signal.encoding = Encoding::Float32;
            "a float"
        }
        64 => {
            signal.encoding = Encoding::Float64;
            "a float"
        }
        _ => "an integer",
    };
    if said != signal.bits {
        let (name, bits) = (&signal.name, signal.bits);
        let text = format_args!(
            "signal {name} is a float of {said} bits in SIG_VALTYPE_ and has {bits} bits: read as {used} of {bits} bits"
        );
        warnings.add(Code::FloatWidth, place, text);
    }
}

/// Gives signals of one name different ones.
fn name_signals(message: &mut MessageDef, warnings: &mut Warnings) {
    let mut names = Names::new(message.signals.iter().map(|signal| &signal.name));
    let mut lines: HashMap<Arc<str>, usize> = HashMap::new();
    for signal in &mut message.signals {
        if names.give(&signal.name) {
            lines.insert(signal.name.clone(), signal.place.line);
            continue;
        }
        let (message, made) = (&message.name, names.number(&signal.name));
        let (name, first) = (&signal.name, lines.get(&signal.name).copied().unwrap_or_default());
        let text =
            format_args!("message {message} has another signal {name} in line {first}: this one is called {made}");
        warnings.add(Code::DuplicateSignal, signal.place, text);
        signal.name = made;
    }
}

/// Tells of signals that share bits in the same frame: of those that are always there, of one multiplexor's value, or one
/// of each kind. Signals of several values are held against those that are always there only: there may be thousands of
/// values.
fn check_layout(message: &MessageDef, warnings: &mut Warnings) {
    // The first of the signals that have a bit, by the bit and what selects them.
    let mut owners: HashMap<(u32, Option<(usize, u64)>), usize> = HashMap::new();
    let is_always = |signal: &SignalDef| signal.multiplexing == Multiplexing::Always;
    let always = message.signals.iter().enumerate().filter(|(_, signal)| is_always(signal));
    let others = message.signals.iter().enumerate().filter(|(_, signal)| !is_always(signal));
    for (index, signal) in always.chain(others) {
        let of_one = match &signal.multiplexing {
            Multiplexing::Selected { selector, ranges } => match &**ranges {
                [range] if range.start() == range.end() => Some((*selector, *range.start())),
                _ => None,
            },
            Multiplexing::Always | Multiplexing::Never => None,
        };
        let mut overlapped = None;
        for position in signal.span() {
            // One numbering for both orders: byte, then bit from the least significant one.
            let bit = match signal.order {
                ByteOrder::Little => position,
                ByteOrder::Big => position / 8 * 8 + 7 - position % 8,
            };
            let owner = owners.get(&(bit, None)).or_else(|| owners.get(&(bit, of_one))).copied();
            overlapped = overlapped.or(owner);
            if is_always(signal) || of_one.is_some() {
                owners.entry((bit, of_one)).or_insert(index);
            }
        }
        if let Some(owner) = overlapped {
            let (name, owner) = (&signal.name, &message.signals[owner].name);
            warnings.add(Code::SharedBits, signal.place, format_args!("signal {name} shares bits with {owner}"));
        }
    }
}

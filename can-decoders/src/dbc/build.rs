//! Statements to [`Database`]: parses each with can-dbc and joins what belongs together.

use std::collections::HashMap;
use std::sync::Arc;

use can_dbc::{Dbc, MultiplexIndicator, NumericValue, ValueType};

use super::model::{ByteOrder, Encoding, MessageDef, Multiplexing, SignalDef, Warning};
use super::multiplex::{self, Indicator, Selection};
use super::statement::{Keyword, Preamble, Statement, split, words};
use super::{Database, DbcError, MAX_WARNINGS};
use crate::frame::{CanId, MAX_PAYLOAD};

/// Vector's pseudo-message that keeps signals which are in no message.
const INDEPENDENT_SIGNALS: &str = "VECTOR__INDEPENDENT_SIG_MSG";
/// Messages above this are not from a bus, whatever transport protocol carries them.
const MAX_MESSAGE_BYTES: u64 = 65_535;
/// Longest statement, in bytes. Parsing takes some thirty times as much memory.
const MAX_STATEMENT: usize = 1024 * 1024;
/// Signals of one message; beyond, looking them up by name would take too long on hostile files.
const MAX_SIGNALS: usize = 4096;

/// Parses `text`, which has `\n` line ends.
pub(super) fn build(name: &str, text: &str) -> Result<Database, DbcError> {
    let mut builder = Builder::new(name);
    let statements = split(text).map_err(|Preamble { line, column }| DbcError::Syntax {
        file: name.to_owned(),
        line,
        column,
        what: "this is not a DBC keyword".to_owned(),
        remedy: "check that this is a DBC file: it starts with VERSION, NS_, BU_ or BO_",
    })?;
    if statements.is_empty() {
        builder.warn(0, "the file is empty".to_owned());
    }
    // Messages first: the other statements refer to them and may stand before them.
    for statement in statements.iter().filter(|s| s.keyword == Keyword::Message) {
        builder.message(statement)?;
    }
    for statement in &statements {
        builder.detail(statement)?;
    }
    Ok(builder.finish())
}

pub(super) struct Builder {
    pub(super) name: Arc<str>,
    pub(super) messages: Vec<MessageDef>,
    /// `M`, `m5` and so on, in parallel to the messages and their signals.
    pub(super) indicators: Vec<Vec<Indicator>>,
    /// By [`CanId::to_bits`].
    pub(super) by_id: HashMap<u32, usize>,
    /// `SG_MUL_VAL_` by message.
    pub(super) selections: HashMap<usize, Vec<Selection>>,
    pub(super) tables: HashMap<String, Vec<(i64, Arc<str>)>>,
    /// (message, signal's name, table's name, line) of `VAL_` statements that name a table.
    pub(super) table_uses: Vec<(usize, String, String, usize)>,
    pub(super) default_cycle: Option<u32>,
    pub(super) cycles: HashMap<usize, u32>,
    /// Names above 32 characters, which are in attributes and cut in `BO_` and `SG_`. Applied last:
    /// the other statements use the short ones.
    pub(super) long_messages: HashMap<usize, String>,
    pub(super) long_signals: HashMap<(usize, usize), String>,
    /// Units and senders repeat thousands of times: each text is kept once.
    pub(super) texts: HashMap<String, Arc<str>>,
    pub(super) warnings: Vec<Warning>,
    pub(super) suppressed: usize,
}

impl Builder {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            messages: Vec::new(),
            indicators: Vec::new(),
            by_id: HashMap::new(),
            selections: HashMap::new(),
            tables: HashMap::new(),
            table_uses: Vec::new(),
            default_cycle: None,
            cycles: HashMap::new(),
            long_messages: HashMap::new(),
            long_signals: HashMap::new(),
            texts: HashMap::new(),
            warnings: Vec::new(),
            suppressed: 0,
        }
    }

    pub(super) fn warn(&mut self, line: usize, text: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(Warning { file: self.name.clone(), line, text });
        } else {
            self.suppressed += 1;
        }
    }

    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(text.to_owned(), shared.clone());
        shared
    }

    fn message(&mut self, statement: &Statement<'_>) -> Result<(), DbcError> {
        let dbc = self.parse(statement)?;
        let Some(parsed) = dbc.messages.into_iter().next() else {
            return Err(self.syntax(statement, "BO_ without a message".to_owned()));
        };
        if parsed.name == INDEPENDENT_SIGNALS {
            return Ok(());
        }
        let number = words(statement.text).next().unwrap_or_default();
        let Some(id) = self.identifier(number, &parsed.name, statement.line) else { return Ok(()) };
        if let Some(first) = self.by_id.get(&id.to_bits()) {
            let text = format!(
                "message {} has identifier {id} as {} in line {} has: the first is used",
                parsed.name, self.messages[*first].name, self.messages[*first].line
            );
            self.warn(statement.line, text);
            return Ok(());
        }
        if parsed.size > MAX_MESSAGE_BYTES {
            self.warn(statement.line, format!("message {} is {} bytes long: left out", parsed.name, parsed.size));
            return Ok(());
        }
        let size = usize::try_from(parsed.size).unwrap_or(usize::MAX);
        if size > MAX_PAYLOAD {
            let text = format!("message {} is {size} bytes long, more than a frame can hold", parsed.name);
            self.warn(statement.line, text);
        }
        let lines = signal_lines(statement);
        let mut signals = Vec::new();
        let mut indicators = Vec::new();
        if parsed.signals.len() > MAX_SIGNALS {
            let text = format!("message {} has more than {MAX_SIGNALS} signals: the rest is left out", parsed.name);
            self.warn(statement.line, text);
        }
        for (index, signal) in parsed.signals.into_iter().take(MAX_SIGNALS).enumerate() {
            let (line, bare) = lines.get(index).copied().unwrap_or((statement.line, false));
            let indicator = match signal.multiplexer_indicator {
                MultiplexIndicator::Plain if bare => Indicator::Bare,
                MultiplexIndicator::Plain => Indicator::Plain,
                MultiplexIndicator::Multiplexor => Indicator::Multiplexor,
                MultiplexIndicator::MultiplexedSignal(value) => Indicator::Multiplexed(value),
                MultiplexIndicator::MultiplexorAndMultiplexedSignal(value) => Indicator::Both(value),
            };
            if let Some(signal) = self.signal(signal, size, line) {
                signals.push(signal);
                indicators.push(indicator);
            }
        }
        let senders = parsed.transmitter.iter().map(|node| self.text(node)).collect();
        self.by_id.insert(id.to_bits(), self.messages.len());
        self.indicators.push(indicators);
        self.messages.push(MessageDef {
            name: parsed.name.into(),
            id,
            size,
            cycle_time_ms: None,
            senders,
            comment: String::new(),
            line: statement.line,
            signals,
        });
        Ok(())
    }

    /// The identifier that `number` stands for; `None`, with a warning, when it stands for none.
    fn identifier(&mut self, number: &str, message: &str, line: usize) -> Option<CanId> {
        let id = number.parse::<u32>().ok().and_then(can_id);
        match id {
            None => {
                let text = format!("message {message} has identifier {number}, beyond 29 bits: left out");
                self.warn(line, text);
            }
            Some((id, true)) => {
                let text = format!(
                    "message {message} has identifier {number}, beyond 11 bits, without the extended flag (bit 31): \
                     taken as extended identifier {id}"
                );
                self.warn(line, text);
            }
            Some((_, false)) => {}
        }
        id.map(|(id, _)| id)
    }

    fn signal(&mut self, parsed: can_dbc::Signal, size: usize, line: usize) -> Option<SignalDef> {
        // Start bits within the largest message keep the arithmetic that follows far from overflow.
        let start = u32::try_from(parsed.start_bit).ok().filter(|s| u64::from(*s) < MAX_MESSAGE_BYTES * 8);
        let bits = u32::try_from(parsed.size).ok().filter(|bits| (1..=64).contains(bits));
        let (Some(start), Some(bits)) = (start, bits) else {
            let text = format!(
                "signal {} has {} bits from bit {}; 1 to 64 can be decoded: left out",
                parsed.name, parsed.size, parsed.start_bit
            );
            self.warn(line, text);
            return None;
        };
        if !parsed.factor.is_finite() || !parsed.offset.is_finite() || parsed.factor == 0.0 {
            let text = format!(
                "signal {} has factor {} and offset {}: its values say nothing",
                parsed.name, parsed.factor, parsed.offset
            );
            self.warn(line, text);
        }
        let (min, max) = (number(parsed.min), number(parsed.max));
        let bounded = !(min == 0.0 && max == 0.0);
        let signal = SignalDef {
            name: parsed.name.into(),
            start,
            bits,
            order: match parsed.byte_order {
                can_dbc::ByteOrder::LittleEndian => ByteOrder::Little,
                can_dbc::ByteOrder::BigEndian => ByteOrder::Big,
            },
            encoding: match parsed.value_type {
                ValueType::Signed => Encoding::Signed,
                ValueType::Unsigned => Encoding::Unsigned,
            },
            factor: parsed.factor,
            offset: parsed.offset,
            min: bounded.then_some(min),
            max: bounded.then_some(max),
            unit: self.text(&parsed.unit),
            labels: Vec::new(),
            multiplexing: Multiplexing::Always,
            is_multiplexor: false,
            comment: String::new(),
            line,
        };
        if signal.bytes_needed() > size {
            let text = format!(
                "signal {} reaches byte {} of a message of {size}: it is decoded from longer frames only",
                signal.name,
                signal.bytes_needed()
            );
            self.warn(line, text);
        }
        Some(signal)
    }

    /// The message whose identifier is the statement's word number `place` (from 0, after the keyword).
    pub(super) fn referred(&mut self, statement: &Statement<'_>, place: usize) -> Option<usize> {
        let number = words(statement.text).nth(place).unwrap_or_default();
        let id = number.parse::<u32>().ok();
        if let Some((id, _)) = id.and_then(can_id)
            && let Some(message) = self.by_id.get(&id.to_bits())
        {
            return Some(*message);
        }
        // Statements about the pseudo-message are as common as they are void.
        if id != Some(0xC000_0000) {
            self.warn(statement.line, format!("refers to message {number}, which the file does not have: left out"));
        }
        None
    }

    pub(super) fn signals_named(&mut self, message: usize, name: &str, line: usize) -> Vec<usize> {
        let signals = &self.messages[message].signals;
        let found: Vec<usize> = signals.iter().enumerate().filter(|(_, s)| *s.name == *name).map(|(i, _)| i).collect();
        if found.is_empty() {
            let text = format!("refers to signal {name}, which message {} does not have", self.messages[message].name);
            self.warn(line, text);
        }
        found
    }

    fn finish(mut self) -> Database {
        for (message, signal, table, line) in std::mem::take(&mut self.table_uses) {
            let Some(labels) = self.tables.get(&table).cloned() else {
                self.warn(line, format!("refers to value table {table}, which the file does not have"));
                continue;
            };
            for index in self.signals_named(message, &signal, line) {
                self.messages[message].signals[index].labels.clone_from(&labels);
            }
        }
        for index in 0..self.messages.len() {
            let time = self.cycles.get(&index).copied().or(self.default_cycle);
            let selections = self.selections.remove(&index).unwrap_or_default();
            let message = &mut self.messages[index];
            message.cycle_time_ms = time.filter(|ms| *ms > 0);
            let mut found = Vec::new();
            multiplex::resolve(message, &self.indicators[index], &selections, &mut found);
            if let Some(name) = self.long_messages.get(&index) {
                message.name = name.as_str().into();
            }
            for (signal, definition) in message.signals.iter_mut().enumerate() {
                if let Some(name) = self.long_signals.get(&(index, signal)) {
                    definition.name = name.as_str().into();
                }
            }
            check_layout(message, &mut found);
            for (line, text) in found {
                self.warn(line, text);
            }
        }
        if self.suppressed > 0 {
            let text = format!("{} more warnings", self.suppressed);
            self.warnings.push(Warning { file: self.name.clone(), line: 0, text });
        }
        self.warnings.sort_by_key(|w| if w.line == 0 { usize::MAX } else { w.line });
        Database { name: self.name, messages: self.messages, warnings: self.warnings }
    }

    pub(super) fn parse(&self, statement: &Statement<'_>) -> Result<Dbc, DbcError> {
        let text = statement.text.trim_end();
        if text.len() > MAX_STATEMENT {
            return Err(self.syntax(statement, format!("the statement is longer than {MAX_STATEMENT} bytes")));
        }
        Dbc::try_from(text).map_err(|error| self.place(statement, &error))
    }

    fn place(&self, statement: &Statement<'_>, error: &can_dbc::DbcError) -> DbcError {
        let can_dbc::DbcError::Pest(error) = error else { return self.syntax(statement, error.to_string()) };
        let (pest::error::LineColLocation::Pos((line, column)) | pest::error::LineColLocation::Span((line, column), _)) =
            error.line_col;
        let column = if line == 1 { statement.column() + column - 1 } else { column };
        DbcError::Syntax {
            file: self.name.to_string(),
            line: statement.line + line - 1,
            column,
            what: format!("DBC syntax error, {}", error.variant.message()),
            remedy: REMEDY,
        }
    }

    fn syntax(&self, statement: &Statement<'_>, what: String) -> DbcError {
        DbcError::Syntax {
            file: self.name.to_string(),
            line: statement.line,
            column: statement.column(),
            what,
            remedy: REMEDY,
        }
    }
}

const REMEDY: &str = "correct the statement, or remove the message if it is not needed";

/// The identifier for a number as DBC files have it, and whether it had to be guessed to be extended.
fn can_id(number: u32) -> Option<(CanId, bool)> {
    if number & CanId::EXTENDED_FLAG != 0 {
        Some((CanId::extended(number & !CanId::EXTENDED_FLAG)?, false))
    } else if let Some(id) = CanId::standard(number) {
        Some((id, false))
    } else {
        Some((CanId::extended(number)?, true))
    }
}

/// For each signal of a message its line, and whether it has a bare `m`.
fn signal_lines(statement: &Statement<'_>) -> Vec<(usize, bool)> {
    let lines = statement.text.lines().enumerate();
    let signals = lines.filter(|(_, text)| text.trim_start().starts_with("SG_"));
    signals.map(|(n, text)| (statement.line + n, words(text.trim_start()).nth(1) == Some("m"))).collect()
}

/// Tells of names that stand twice, and of signals that are always there and share bits.
fn check_layout(message: &MessageDef, found: &mut Vec<(usize, String)>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut owners: HashMap<u32, usize> = HashMap::new();
    for (index, signal) in message.signals.iter().enumerate() {
        if let Some(first) = names.insert(&signal.name, signal.line) {
            let text = format!("message {} has another signal {} in line {first}", message.name, signal.name);
            found.push((signal.line, text));
        }
        if signal.multiplexing != Multiplexing::Always {
            continue;
        }
        let overlapped = signal.span().find_map(|position| {
            // One numbering for both orders: byte, then bit from the least significant one.
            let bit = match signal.order {
                ByteOrder::Little => position,
                ByteOrder::Big => position / 8 * 8 + 7 - position % 8,
            };
            owners.insert(bit, index).filter(|owner| *owner != index)
        });
        if let Some(owner) = overlapped {
            let text = format!("signal {} shares bits with {}", signal.name, message.signals[owner].name);
            found.push((signal.line, text));
        }
    }
}

fn number(value: NumericValue) -> f64 {
    match value {
        // Bounds are for display and plausibility: the nearest double will do.
        NumericValue::Uint(v) => v as f64,
        NumericValue::Int(v) => v as f64,
        NumericValue::Double(v) => v,
    }
}

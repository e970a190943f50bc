//! Statements to [`Database`]: parses each with can-dbc and joins what belongs together.

use std::collections::HashMap;
use std::sync::Arc;

use can_dbc::{Dbc, MultiplexIndicator, NumericValue, ValueType};

use super::code::Code;
use super::j1939::FrameFormats;
use super::model::{ByteOrder, Encoding, Labels, MessageDef, Multiplexing, Place, SignalDef};
use super::multiplex::{Indicator, Selection};
use super::statement::{Keyword, Preamble, Statement, split, words};
use super::text::Text;
use super::warnings::Warnings;
use super::{Database, DbcError};
use crate::frame::{CanId, MAX_PAYLOAD};

/// Vector's pseudo-message that keeps signals which are in no message.
const INDEPENDENT_SIGNALS: &str = "VECTOR__INDEPENDENT_SIG_MSG";
/// Messages above this are not from a bus, whatever transport protocol carries them.
const MAX_MESSAGE_BYTES: u64 = 65_535;
/// Longest statement, in bytes. Parsing takes some thirty times as much memory.
const MAX_STATEMENT: usize = 1024 * 1024;
/// Signals of one message; beyond, looking them up by name would take too long on hostile files.
const MAX_SIGNALS: usize = 4096;

/// Parses a file's text.
pub(super) fn build(name: &str, text: &Text<'_>) -> Result<Database, DbcError> {
    let mut builder = Builder::new(name);
    let statements = split(&text.text).map_err(|Preamble { line, column }| DbcError::Syntax {
        file: name.to_owned(),
        line,
        column,
        what: "this is not a DBC keyword".to_owned(),
        remedy: "check that this is a DBC file: it starts with VERSION, NS_, BU_ or BO_",
    })?;
    if statements.is_empty() {
        builder.warnings.add(Code::EmptyFile, Place::default(), format_args!("the file is empty"));
    }
    // Messages first: the other statements refer to them and may stand before them.
    for statement in statements.iter().filter(|s| s.keyword == Keyword::Message) {
        builder.message(statement)?;
    }
    for statement in &statements {
        builder.detail(statement)?;
    }
    Ok(builder.finish(text.notes(&statements)))
}

pub(super) struct Builder {
    pub(super) name: Arc<str>,
    pub(super) messages: Vec<MessageDef>,
    /// `M`, `m5` and so on, in parallel to the messages and their signals.
    pub(super) indicators: Vec<Vec<Indicator>>,
    /// By [`CanId::to_bits`].
    pub(super) by_id: HashMap<u32, usize>,
    /// By message, the first signal of each name.
    pub(super) firsts: Vec<HashMap<Arc<str>, usize>>,
    /// (bits, place) of `SIG_VALTYPE_` by message and signal.
    pub(super) floats: HashMap<(usize, usize), (u32, Place)>,
    /// `SG_MUL_VAL_` by message.
    pub(super) selections: HashMap<usize, Vec<Selection>>,
    pub(super) tables: HashMap<String, Labels>,
    /// (message, signal's name, table's name, place) of `VAL_` statements that name a table.
    pub(super) table_uses: Vec<(usize, String, String, Place)>,
    pub(super) default_cycle: Option<u32>,
    pub(super) cycles: HashMap<usize, u32>,
    pub(super) frame_formats: FrameFormats,
    /// Names above 32 characters, which are in attributes and cut in `BO_` and `SG_`. Applied last:
    /// the other statements use the short ones.
    pub(super) long_messages: HashMap<usize, String>,
    pub(super) long_signals: HashMap<(usize, usize), Arc<str>>,
    /// Units and senders repeat thousands of times: each text is kept once.
    pub(super) texts: HashMap<String, Arc<str>>,
    pub(super) warnings: Warnings,
}

impl Builder {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            messages: Vec::new(),
            indicators: Vec::new(),
            by_id: HashMap::new(),
            firsts: Vec::new(),
            floats: HashMap::new(),
            selections: HashMap::new(),
            tables: HashMap::new(),
            table_uses: Vec::new(),
            default_cycle: None,
            cycles: HashMap::new(),
            frame_formats: FrameFormats::default(),
            long_messages: HashMap::new(),
            long_signals: HashMap::new(),
            texts: HashMap::new(),
            warnings: Warnings::new(name.into()),
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
        let dbc = parse(statement).map_err(|fault| self.refused(fault))?;
        let Some(parsed) = dbc.messages.into_iter().next() else {
            return Err(self.refused(Fault::at(statement, "BO_ without a message".to_owned())));
        };
        if parsed.name == INDEPENDENT_SIGNALS {
            return Ok(());
        }
        let number = words(statement.text).next().unwrap_or_default();
        let Some(id) = self.identifier(number, &parsed.name, statement.place()) else { return Ok(()) };
        if let Some(first) = self.by_id.get(&id.to_bits()) {
            self.warnings.add(
                Code::DuplicateIdentifier,
                statement.place(),
                format_args!(
                    "message {} has identifier {id} as {} in line {} has: the first is used",
                    parsed.name, self.messages[*first].name, self.messages[*first].place.line
                ),
            );
            return Ok(());
        }
        if parsed.size > MAX_MESSAGE_BYTES {
            self.warnings.add(
                Code::LongMessage,
                statement.place(),
                format_args!("message {} is {} bytes long: left out", parsed.name, parsed.size),
            );
            return Ok(());
        }
        let size = usize::try_from(parsed.size).unwrap_or(usize::MAX);
        if size > MAX_PAYLOAD {
            self.warnings.add(
                Code::LongMessage,
                statement.place(),
                format_args!("message {} is {size} bytes long, more than a frame can hold", parsed.name),
            );
        }
        let places = signal_places(statement);
        let mut signals = Vec::new();
        let mut indicators = Vec::new();
        let mut firsts: HashMap<Arc<str>, usize> = HashMap::new();
        if parsed.signals.len() > MAX_SIGNALS {
            self.warnings.add(
                Code::ManySignals,
                statement.place(),
                format_args!("message {} has more than {MAX_SIGNALS} signals: the rest is left out", parsed.name),
            );
        }
        for (index, signal) in parsed.signals.into_iter().take(MAX_SIGNALS).enumerate() {
            let (place, bare) = places.get(index).copied().unwrap_or((statement.place(), false));
            let indicator = match signal.multiplexer_indicator {
                MultiplexIndicator::Plain if bare => Indicator::Bare,
                MultiplexIndicator::Plain => Indicator::Plain,
                MultiplexIndicator::Multiplexor => Indicator::Multiplexor,
                MultiplexIndicator::MultiplexedSignal(value) => Indicator::Multiplexed(value),
                MultiplexIndicator::MultiplexorAndMultiplexedSignal(value) => Indicator::Both(value),
            };
            if let Some(signal) = self.signal(signal, size, place) {
                firsts.entry(signal.name.clone()).or_insert(signals.len());
                signals.push(signal);
                indicators.push(indicator);
            }
        }
        let senders = parsed.transmitter.iter().map(|node| self.text(node)).collect();
        self.by_id.insert(id.to_bits(), self.messages.len());
        self.indicators.push(indicators);
        self.firsts.push(firsts);
        self.messages.push(MessageDef {
            name: parsed.name.into(),
            id,
            size,
            cycle_time_ms: None,
            is_j1939: false,
            senders,
            comment: Arc::default(),
            place: statement.place(),
            signals,
        });
        Ok(())
    }

    /// The identifier that `number` stands for; `None`, with a warning, when it stands for none.
    fn identifier(&mut self, number: &str, message: &str, place: Place) -> Option<CanId> {
        let id = number.parse::<u32>().ok().and_then(can_id);
        match id {
            None => {
                self.warnings.add(
                    Code::IdentifierRange,
                    place,
                    format_args!("message {message} has identifier {number}, beyond 29 bits: left out"),
                );
            }
            Some((id, true)) => {
                self.warnings.add(Code::NotExtended, place, format_args!(
                    "message {message} has identifier {number}, beyond 11 bits, without the extended flag (bit 31): \
                     taken as extended identifier {id}"
                ));
            }
            Some((_, false)) => {}
        }
        id.map(|(id, _)| id)
    }

    fn signal(&mut self, parsed: can_dbc::Signal, size: usize, place: Place) -> Option<SignalDef> {
        // Start bits within the largest message keep the arithmetic that follows far from overflow.
        let start = u32::try_from(parsed.start_bit).ok().filter(|s| u64::from(*s) < MAX_MESSAGE_BYTES * 8);
        let bits = u32::try_from(parsed.size).ok().filter(|bits| (1..=64).contains(bits));
        let (Some(start), Some(bits)) = (start, bits) else {
            self.warnings.add(
                Code::SignalWidth,
                place,
                format_args!(
                    "signal {} has {} bits from bit {}; 1 to 64 can be decoded: left out",
                    parsed.name, parsed.size, parsed.start_bit
                ),
            );
            return None;
        };
        if !parsed.factor.is_finite() || !parsed.offset.is_finite() || parsed.factor == 0.0 {
            self.warnings.add(
                Code::Scaling,
                place,
                format_args!(
                    "signal {} has factor {} and offset {}: its values say nothing",
                    parsed.name, parsed.factor, parsed.offset
                ),
            );
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
            labels: Labels::default(),
            multiplexing: Multiplexing::Always,
            is_multiplexor: false,
            checksum: None,
            counter: None,
            comment: Arc::default(),
            place,
        };
        if signal.bytes_needed() > size {
            self.warnings.add(
                Code::BeyondMessage,
                place,
                format_args!(
                    "signal {} reaches byte {} of a message of {size}: it is decoded from longer frames only",
                    signal.name,
                    signal.bytes_needed()
                ),
            );
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
            self.warnings.add(
                Code::UnknownMessage,
                statement.place(),
                format_args!("refers to message {number}, which the file does not have: left out"),
            );
        }
        None
    }

    /// The first signal of this name; what a statement says of it is shared with the others at the end.
    pub(super) fn signal_named(&mut self, message: usize, name: &str, place: Place) -> Option<usize> {
        let found = self.firsts[message].get(name).copied();
        if found.is_none() {
            let message = &self.messages[message].name;
            self.warnings.add(
                Code::UnknownSignal,
                place,
                format_args!("refers to signal {name}, which message {message} does not have"),
            );
        }
        found
    }

    /// The error for a statement without which frames cannot be decoded.
    pub(super) fn refused(&self, fault: Fault) -> DbcError {
        let Fault { line, column, what } = fault;
        DbcError::Syntax { file: self.name.to_string(), line, column, what, remedy: REMEDY }
    }
}

/// Why a statement does not parse, and where.
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) what: String,
}

impl Fault {
    fn at(statement: &Statement<'_>, what: String) -> Self {
        Self { line: statement.line, column: statement.column, what }
    }
}

pub(super) fn parse(statement: &Statement<'_>) -> Result<Dbc, Fault> {
    let text = statement.text.trim_end();
    if text.len() > MAX_STATEMENT {
        return Err(Fault::at(statement, format!("the statement is longer than {MAX_STATEMENT} bytes")));
    }
    Dbc::try_from(text).map_err(|error| {
        let can_dbc::DbcError::Pest(error) = error else { return Fault::at(statement, error.to_string()) };
        let (pest::error::LineColLocation::Pos((line, column)) | pest::error::LineColLocation::Span((line, column), _)) =
            error.line_col;
        Fault {
            line: statement.line + line - 1,
            column: if line == 1 { statement.column + column - 1 } else { column },
            what: format!("DBC syntax error, {}", error.variant.message()),
        }
    })
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

/// For each signal of a message its place, and whether it has a bare `m`.
fn signal_places(statement: &Statement<'_>) -> Vec<(Place, bool)> {
    let place = |(n, text): (usize, &str)| {
        let signal = text.trim_start();
        // The first line begins with the statement, in the middle of the file's.
        let before = if n == 0 { statement.column } else { 1 };
        let column = before + text[..text.len() - signal.len()].chars().count();
        let bare = words(signal).nth(1) == Some("m");
        signal.starts_with("SG_").then_some((Place { line: statement.line + n, column }, bare))
    };
    statement.text.lines().enumerate().filter_map(place).collect()
}

fn number(value: NumericValue) -> f64 {
    match value {
        // Bounds are for display and plausibility: the nearest double will do.
        NumericValue::Uint(v) => v as f64,
        NumericValue::Int(v) => v as f64,
        NumericValue::Double(v) => v,
    }
}

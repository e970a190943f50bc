//! What statements other than `BO_` add to the messages: multiplexing, floats, labels, attributes, comments.

use can_dbc::{AttributeValue, Dbc, SignalExtendedValueType};

use super::DbcError;
use super::build::{Builder, Fault, parse};
use super::code::Code;
use super::j1939;
use super::model::{Labels, Place};
use super::multiplex::Selection;
use super::statement::{Keyword, Statement, words};

/// Longest name from an attribute, in bytes. Signals of one name share it, but each adds a number of
/// its own, and with that a copy.
const MAX_LONG_NAME: usize = 256;

impl Builder {
    /// Everything but messages.
    pub(super) fn detail(&mut self, statement: &Statement<'_>) -> Result<(), DbcError> {
        match statement.keyword {
            Keyword::Message | Keyword::Symbols | Keyword::Other => return Ok(()),
            Keyword::Unknown => {
                let word = statement.text.split([' ', '\t', '\n', ':', ';']).next().unwrap_or_default();
                self.warnings.add(
                    Code::UnknownKeyword,
                    statement.place(),
                    format_args!("{word} is no keyword of DBC: left out"),
                );
            }
            Keyword::Multiplexing | Keyword::ValueType => {
                let dbc = parse(statement).map_err(|fault| self.refused(fault))?;
                self.multiplexing(statement, dbc);
            }
            Keyword::Labels if self.names_table(statement) => {}
            // More than half of a large file, and none of it needed.
            Keyword::Attribute if is_unused(statement) => {}
            // The other definitions say nothing that is needed, and editors write unusual ones.
            Keyword::AttributeDefinition if !statement.text.contains(j1939::ATTRIBUTE) => {}
            _ => match parse(statement) {
                Ok(dbc) => self.description(statement, dbc),
                Err(Fault { line, column, what }) => {
                    let keyword = statement.text.split_whitespace().next().unwrap_or_default();
                    let text = format_args!("{keyword} statement not understood and left out: {what}");
                    self.warnings.add(Code::NotUnderstood, Place { line, column }, text);
                }
            },
        }
        Ok(())
    }

    fn multiplexing(&mut self, statement: &Statement<'_>, dbc: Dbc) {
        let Some(message) = self.referred(statement, 0) else { return };
        for found in dbc.extended_multiplex {
            self.selections.entry(message).or_default().push(Selection {
                signal: found.signal_name,
                selector: found.multiplexor_signal_name,
                ranges: found.mappings.iter().map(|m| m.min_value..=m.max_value).collect(),
                place: statement.place(),
            });
        }
        for found in dbc.signal_extended_value_type_list {
            if found.signal_extended_value_type == SignalExtendedValueType::SignedOrUnsignedInteger {
                continue;
            }
            let bits = match found.signal_extended_value_type {
                SignalExtendedValueType::IEEEfloat32Bit => 32,
                _ => 64,
            };
            if let Some(index) = self.signal_named(message, &found.signal_name, statement.place()) {
                self.floats.insert((message, index), (bits, statement.place()));
            }
        }
    }

    fn description(&mut self, statement: &Statement<'_>, dbc: Dbc) {
        for table in dbc.value_tables {
            let labels = self.labels(table.descriptions);
            self.tables.insert(table.name, labels);
        }
        for definition in dbc.attribute_definitions {
            self.frame_formats.define(definition);
        }
        for default in dbc.attribute_defaults {
            match default.name.as_str() {
                "GenMsgCycleTime" => self.default_cycle = whole(&default.value),
                j1939::ATTRIBUTE => self.frame_formats.default = Some(default.value),
                _ => {}
            }
        }
        for found in &dbc.attribute_values_message {
            if found.name == "GenMsgCycleTime"
                && let Some(message) = self.referred(statement, 2)
                && let Some(time) = whole(&found.value)
            {
                self.cycles.insert(message, time);
            }
            if found.name == j1939::ATTRIBUTE
                && let Some(message) = self.referred(statement, 2)
            {
                self.frame_formats.of.insert(message, found.value.clone());
            }
        }
        self.integrity(statement, &dbc.attribute_values_signal);
        self.long_names(statement, dbc.attribute_values_message, dbc.attribute_values_signal);
        for found in dbc.message_transmitters {
            let Some(message) = self.referred(statement, 0) else { continue };
            for node in found.transmitter {
                let node = self.text(&node);
                self.messages[message].senders.push(node);
            }
        }
        for found in dbc.value_descriptions {
            let can_dbc::ValueDescription::Signal { name, value_descriptions, .. } = found else { continue };
            let Some(message) = self.referred(statement, 0) else { continue };
            let labels = self.labels(value_descriptions);
            if let Some(index) = self.signal_named(message, &name, statement.place()) {
                self.messages[message].signals[index].labels = labels;
            }
        }
        for found in dbc.comments {
            match found {
                can_dbc::Comment::Message { comment, .. } => {
                    // `CM_ 12 "..."` without BO_ is accepted by can-dbc, and here.
                    let place = usize::from(words(statement.text).next().is_some_and(|w| w.ends_with('_')));
                    if let Some(message) = self.referred(statement, place) {
                        self.messages[message].comment = comment.into();
                    }
                }
                can_dbc::Comment::Signal { name, comment, .. } => {
                    let Some(message) = self.referred(statement, 1) else { continue };
                    if let Some(index) = self.signal_named(message, &name, statement.place()) {
                        self.messages[message].signals[index].comment = comment.into();
                    }
                }
                _ => {}
            }
        }
    }

    /// Checksums and counters, see [`crate::integrity`].
    fn integrity(&mut self, statement: &Statement<'_>, found: &[can_dbc::AttributeValueForSignal]) {
        for found in found {
            let is_checksum = found.name == "OutriderChecksum";
            if !is_checksum && found.name != "OutriderCounter" {
                continue;
            }
            let place = statement.place();
            let Some(message) = self.referred(statement, 2) else { continue };
            let Some(index) = self.signal_named(message, &found.signal_name, place) else { continue };
            let signal = &mut self.messages[message].signals[index];
            let understood = match &found.value {
                AttributeValue::String(name) if is_checksum => {
                    signal.checksum = name.parse().ok();
                    signal.checksum.is_some()
                }
                value if !is_checksum => {
                    signal.counter = whole(value);
                    signal.counter.is_some()
                }
                _ => false,
            };
            if !understood {
                let text = format_args!("{} of signal {} is not understood: left out", found.name, found.signal_name);
                self.warnings.add(Code::Integrity, place, text);
            }
        }
    }

    /// Vector's way around its own bound of 32 characters.
    fn long_names(
        &mut self,
        statement: &Statement<'_>,
        messages: Vec<can_dbc::AttributeValueForMessage>,
        signals: Vec<can_dbc::AttributeValueForSignal>,
    ) {
        for found in messages {
            if found.name == "SystemMessageLongSymbol"
                && let AttributeValue::String(name) = found.value
                && !name.is_empty()
                && let Some(message) = self.referred(statement, 2)
            {
                self.long_messages.insert(message, name);
            }
        }
        for found in signals {
            if found.name == "SystemSignalLongSymbol"
                && let AttributeValue::String(name) = found.value
                && !name.is_empty()
                && let Some(message) = self.referred(statement, 2)
            {
                if name.len() > MAX_LONG_NAME {
                    let text = format_args!(
                        "the name of signal {} is longer than {MAX_LONG_NAME} bytes: left out",
                        found.signal_name
                    );
                    self.warnings.add(Code::LongName, statement.place(), text);
                    continue;
                }
                if let Some(index) = self.signal_named(message, &found.signal_name, statement.place()) {
                    self.long_signals.insert((message, index), name.into());
                }
            }
        }
    }

    /// `VAL_ 12 Signal Table ;`: the form of older editors, which can-dbc does not know.
    fn names_table(&mut self, statement: &Statement<'_>) -> bool {
        let found: Vec<&str> = words(statement.text).take(4).collect();
        let [_, signal, table, rest @ ..] = found.as_slice() else { return false };
        let is_name = table.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !is_name || !(rest.is_empty() || rest == [";"]) {
            return false;
        }
        if let Some(message) = self.referred(statement, 0) {
            self.table_uses.push((message, (*signal).to_owned(), (*table).to_owned(), statement.place()));
        }
        true
    }

    fn labels(&mut self, descriptions: Vec<can_dbc::ValDescription>) -> Labels {
        let mut labels: Vec<_> = descriptions.into_iter().map(|d| (d.id, self.text(&d.description))).collect();
        labels.sort_by_key(|label| label.0);
        labels.dedup_by_key(|label| label.0);
        labels.into()
    }
}

/// Attributes that are used here.
const USED: [&str; 6] = [
    "\"GenMsgCycleTime\"",
    "\"SystemMessageLongSymbol\"",
    "\"SystemSignalLongSymbol\"",
    "\"VFrameFormat\"",
    "\"OutriderChecksum\"",
    "\"OutriderCounter\"",
];

/// True for the value of another attribute, when it looks as it should: `BA_ "Name" SG_ 12 Signal 3;`. What does not is
/// parsed, for the warning.
fn is_unused(statement: &Statement<'_>) -> bool {
    let mut words = words(statement.text);
    let name = words.next().unwrap_or_default();
    if !name.starts_with('"') || name.len() < 3 || USED.contains(&name) {
        return false;
    }
    let is_name =
        |word: Option<&str>| word.is_some_and(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_'));
    let is_number = |word: Option<&str>| word.is_some_and(|word| word.bytes().all(|b| b.is_ascii_digit()));
    let mut value = words.next();
    let of = match value {
        Some("BO_") => is_number(words.next()),
        Some("SG_") => is_number(words.next()) && is_name(words.next()),
        Some("BU_" | "EV_") => is_name(words.next()),
        _ => true,
    };
    if matches!(value, Some("BO_" | "SG_" | "BU_" | "EV_")) {
        value = words.next();
    }
    // A text or a plain number; numbers with signs, points and exponents are left to the grammar.
    let is_value = is_number(value)
        || value.is_some_and(|value| value.len() > 1 && value.starts_with('"') && value.ends_with('"'));
    of && is_value && words.next() == Some(";") && words.next().is_none()
}

fn whole(value: &AttributeValue) -> Option<u32> {
    match value {
        AttributeValue::Uint(v) => u32::try_from(*v).ok(),
        AttributeValue::Int(v) => u32::try_from(*v).ok(),
        AttributeValue::Double(v) if (0.0..4e9).contains(v) =>
        {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
            Some(v.round() as u32)
        }
        AttributeValue::Double(_) | AttributeValue::String(_) => None,
    }
}

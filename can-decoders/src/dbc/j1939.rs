//! Which messages are parameter groups of J1939: the attribute `VFrameFormat`.

use std::collections::HashMap;

use can_dbc::{AttributeDefinition, AttributeValue, AttributeValueType};

/// The attribute's name.
pub(super) const ATTRIBUTE: &str = "VFrameFormat";

/// Its value for J1939.
const NAME: &str = "J1939PG";
/// And the number of that value where the file does not list the names: Vector's order.
const NUMBER: usize = 3;

/// What the file says about the format of frames.
#[derive(Debug, Default)]
pub(super) struct FrameFormats {
    /// The names of the attribute's values, in order.
    names: Vec<String>,
    pub(super) default: Option<AttributeValue>,
    /// By message.
    pub(super) of: HashMap<usize, AttributeValue>,
}

impl FrameFormats {
    pub(super) fn define(&mut self, definition: AttributeDefinition) {
        if let AttributeDefinition::Message(name, AttributeValueType::Enum(names)) = definition
            && name == ATTRIBUTE
        {
            self.names = names;
        }
    }

    /// True when the message, or the default, has J1939's format.
    pub(super) fn is_j1939(&self, message: usize) -> bool {
        let number = match self.of.get(&message).or(self.default.as_ref()) {
            Some(AttributeValue::String(name)) => return name == NAME,
            Some(AttributeValue::Uint(number)) => usize::try_from(*number).ok(),
            Some(AttributeValue::Int(number)) => usize::try_from(*number).ok(),
            Some(AttributeValue::Double(_)) | None => None,
        };
        number.is_some_and(|number| match self.names.get(number) {
            Some(name) => name == NAME,
            None => self.names.is_empty() && number == NUMBER,
        })
    }
}

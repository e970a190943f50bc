//! Topics with placeholders.

use thiserror::Error;

/// A topic like `outrider/{vehicle}/{class}`, checked when it is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Vehicle,
    Class,
}

/// What is wrong with a topic template, or with a name to put into it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Nothing there.
    #[error("the topic is empty; write for example \"outrider/{{vehicle}}/{{class}}\"")]
    Empty,
    /// `{name}` with a name that is not known.
    #[error("unknown placeholder {{{0}}} in the topic; known are {{vehicle}} and {{class}}")]
    UnknownPlaceholder(String),
    /// A brace without its partner.
    #[error("unbalanced brace at byte {0} of the topic; placeholders are {{vehicle}} and {{class}}")]
    UnbalancedBrace(usize),
    /// `+` and `#` are for subscribers.
    #[error("wildcard '{0}' in the topic; a publisher must name one topic")]
    Wildcard(char),
    /// Two slashes in a row, or one at the start or end.
    #[error("empty level in the topic; remove the leading, trailing or double '/'")]
    EmptyLevel,
    /// `$` topics belong to the broker.
    #[error("the topic starts with '$', which is reserved for the broker")]
    Reserved,
    /// Control characters, NUL among them.
    #[error("control character U+{0:04X} in the topic")]
    Control(u32),
    /// A vehicle's name that would change the structure of the topic.
    #[error("the vehicle's name {name:?} cannot stand in a topic: it {problem}")]
    Vehicle {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What Kafka does not take as a name.
    #[error("the topic {0:?} is not one for Kafka: use 1 to 249 letters, digits, '.', '_' and '-'")]
    Kafka(String),
    /// MQTT's limit.
    #[error("the topic has {0} bytes; MQTT allows 65535")]
    TooLong(usize),
}

impl TopicTemplate {
    /// Parses `text`; placeholders are `{vehicle}` and `{class}`.
    ///
    /// # Errors
    /// When a rendered topic could not be published to.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.starts_with('$') {
            return Err(TopicError::Reserved);
        }
        if text.split('/').any(str::is_empty) {
            return Err(TopicError::EmptyLevel);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            if let Some(tail) = rest.strip_prefix('{') {
                let (name, tail) = tail.split_once('}').ok_or(TopicError::UnbalancedBrace(at))?;
                parts.push(match name {
                    "vehicle" => Part::Vehicle,
                    "class" => Part::Class,
                    _ => return Err(TopicError::UnknownPlaceholder(name.to_owned())),
                });
                rest = tail;
                continue;
            }
            let end = rest.find('{').unwrap_or(rest.len());
            let (literal, tail) = rest.split_at(end);
            check_literal(literal, at)?;
            parts.push(Part::Text(literal.to_owned()));
            rest = tail;
        }
        Ok(Self { parts })
    }

    /// The topic of `class` (or what stands in its place) of `vehicle`.
    ///
    /// # Errors
    /// When the vehicle's name contains what would change the structure of the topic, or the result is too long.
    pub fn render(&self, vehicle: &str, class: &str) -> Result<String, TopicError> {
        let mut topic = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Class => topic.push_str(class),
                Part::Vehicle => {
                    check_vehicle(vehicle)?;
                    topic.push_str(vehicle);
                }
            }
        }
        if topic.starts_with('$') {
            return Err(TopicError::Reserved);
        }
        if topic.len() > usize::from(u16::MAX) {
            return Err(TopicError::TooLong(topic.len()));
        }
        Ok(topic)
    }
}

fn check_literal(text: &str, at: usize) -> Result<(), TopicError> {
    for (i, c) in text.char_indices() {
        match c {
            '+' | '#' => return Err(TopicError::Wildcard(c)),
            '}' => return Err(TopicError::UnbalancedBrace(at + i)),
            c if c.is_control() => return Err(TopicError::Control(u32::from(c))),
            _ => {}
        }
    }
    Ok(())
}

fn check_vehicle(name: &str) -> Result<(), TopicError> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.contains(['+', '#']) {
        "contains a wildcard, '+' or '#'"
    } else if name.contains('/') {
        "contains '/', which separates levels"
    } else if name.contains(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(TopicError::Vehicle { name: name.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_both_placeholders() {
        let topic = TopicTemplate::parse("outrider/{vehicle}/{class}").unwrap();
        assert_eq!(topic.render("WDB-1", "alert").unwrap(), "outrider/WDB-1/alert");
        let topic = TopicTemplate::parse("fleet/v{vehicle}-{class}/events").unwrap();
        assert_eq!(topic.render("7", "bulk").unwrap(), "fleet/v7-bulk/events");
        let topic = TopicTemplate::parse("all").unwrap();
        assert_eq!(topic.render("7", "bulk").unwrap(), "all");
    }

    #[test]
    fn refuses_what_cannot_be_published_to() {
        for (text, error) in [
            ("", TopicError::Empty),
            ("a/{vin}", TopicError::UnknownPlaceholder("vin".into())),
            ("a/{}", TopicError::UnknownPlaceholder(String::new())),
            ("a/{class", TopicError::UnbalancedBrace(2)),
            ("a/class}", TopicError::UnbalancedBrace(7)),
            ("a/+/b", TopicError::Wildcard('+')),
            ("a/#", TopicError::Wildcard('#')),
            ("/a", TopicError::EmptyLevel),
            ("a/", TopicError::EmptyLevel),
            ("a//b", TopicError::EmptyLevel),
            ("$SYS/a", TopicError::Reserved),
            ("a\0b", TopicError::Control(0)),
        ] {
            assert_eq!(TopicTemplate::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn refuses_names_that_would_change_the_topic() {
        let topic = TopicTemplate::parse("{vehicle}/{class}").unwrap();
        for name in ["", "a/b", "a+", "#", "a\0", "a\n"] {
            assert!(matches!(topic.render(name, "alert"), Err(TopicError::Vehicle { .. })), "{name:?}");
        }
        assert_eq!(topic.render("$SYS", "alert"), Err(TopicError::Reserved));
        assert!(matches!(topic.render(&"x".repeat(65_535), "alert"), Err(TopicError::TooLong(_))));
        let fixed = TopicTemplate::parse("x/{class}").unwrap();
        assert_eq!(fixed.render("a/b", "status").unwrap(), "x/status", "a name that is not used is not judged");
    }
}

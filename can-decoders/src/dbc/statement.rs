//! Cuts DBC text into statements, so that each is parsed, and blamed, on its own.
//!
//! can-dbc parses a whole file in one go: one odd byte in a comment refuses everything, and errors
//! from after the grammar carry no line. A DBC file is a flat list of statements, each opened by a
//! keyword at the start of a line (or after a `;`), so cutting is simple: follow strings and `//`
//! comments, and start a new statement at each such keyword. Only the `NS_` section repeats keywords
//! without opening statements; there they stand alone on their lines.

use super::model::Place;

/// The statements that DBC files are made of (`SG_` lines belong to their `BO_`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    /// `BO_`: a message with its signals.
    Message,
    /// `SG_MUL_VAL_`: extended multiplexing.
    Multiplexing,
    /// `SIG_VALTYPE_`: a signal holds an IEEE float.
    ValueType,
    /// `VAL_`: labels of a signal's values.
    Labels,
    /// `VAL_TABLE_`: a named table of labels.
    LabelTable,
    /// `CM_`: a comment.
    Comment,
    /// `BA_`: an attribute's value.
    Attribute,
    /// `BA_DEF_`: an attribute's definition.
    AttributeDefinition,
    /// `BA_DEF_DEF_`: an attribute's default.
    AttributeDefault,
    /// `BO_TX_BU_`: further senders of a message.
    Senders,
    /// `NS_`: the list of keywords, of no meaning.
    Symbols,
    /// Statements that say nothing about how frames are decoded.
    Other,
    /// What looks like a statement, with a keyword that DBC does not have.
    Unknown,
}

/// One statement: its text and where in the file it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub keyword: Keyword,
    /// The text from the keyword to the next statement.
    pub text: &'a str,
    /// Line of the keyword, from 1.
    pub line: usize,
    /// Column of the keyword in characters, from 1.
    pub column: usize,
}

impl<'a> Statement<'a> {
    pub(crate) fn place(&self) -> Place {
        Place { line: self.line, column: self.column }
    }

    /// Its keyword as it is written.
    pub(crate) fn word(&self) -> &'a str {
        &self.text[..word_end(self.text.as_bytes(), 0)]
    }
}

fn keyword(word: &str) -> Option<Keyword> {
    Some(match word {
        "BO_" => Keyword::Message,
        "SG_MUL_VAL_" => Keyword::Multiplexing,
        "SIG_VALTYPE_" => Keyword::ValueType,
        "VAL_" => Keyword::Labels,
        "VAL_TABLE_" => Keyword::LabelTable,
        "CM_" => Keyword::Comment,
        "BA_" => Keyword::Attribute,
        "BA_DEF_" => Keyword::AttributeDefinition,
        "BA_DEF_DEF_" => Keyword::AttributeDefault,
        "BO_TX_BU_" => Keyword::Senders,
        "NS_" => Keyword::Symbols,
        "VERSION" | "BS_" | "BU_" | "BA_DEF_REL_" | "BA_REL_" | "BA_DEF_DEF_REL_" | "BA_SGTYPE_" | "BA_DEF_SGTYPE_"
        | "BU_SG_REL_" | "BU_EV_REL_" | "BU_BO_REL_" | "CAT_" | "CAT_DEF_" | "EV_" | "EV_DATA_" | "ENVVAR_DATA_"
        | "FILTER" | "SGTYPE_" | "SGTYPE_VAL_" | "SIG_GROUP_" | "SIG_TYPE_REF_" | "SIGTYPE_VALTYPE_" => Keyword::Other,
        _ => return None,
    })
}

/// Upper case and an underscore at the end, as keywords have it.
fn like_keyword(word: &str) -> bool {
    word.len() > 2 && word.ends_with('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// What stands before the first statement and is neither blank nor a comment: not DBC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preamble {
    /// Line from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Cuts `text` (with `\n` line ends) into its statements.
pub(crate) fn split(text: &str) -> Result<Vec<Statement<'_>>, Preamble> {
    let bytes = text.as_bytes();
    let mut statements: Vec<Statement<'_>> = Vec::new();
    let mut start = 0;
    let mut opened: Option<(Keyword, usize, usize)> = None;
    let (mut line, mut line_start) = (1, 0);
    // Where the last statement opened, and its column: the next one on the line counts on from there.
    // A hostile file can have a million statements on one line.
    let (mut counted, mut column) = (0, 1);
    // True where a statement may open: only blanks since the line's start or a `;`.
    let mut fresh = true;
    // True when the statement has ended with its `;`: whatever comes now opens another.
    let mut ended = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => {
                line += 1;
                line_start = at + 1;
                fresh = true;
                at += 1;
            }
            b' ' | b'\t' => at += 1,
            b';' => {
                (fresh, ended) = (true, true);
                at += 1;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'"' if opened.is_some() => {
                let end = string_end(bytes, at);
                for (offset, byte) in bytes[at..end].iter().enumerate() {
                    if *byte == b'\n' {
                        line += 1;
                        line_start = at + offset + 1;
                    }
                }
                fresh = false;
                at = end;
            }
            byte if fresh && (byte.is_ascii_alphabetic() || byte == b'_') => {
                let end = word_end(bytes, at);
                let word = &text[at..end];
                let found = keyword(word).or_else(|| {
                    let in_message = matches!(opened, Some((Keyword::Message, ..)));
                    (ended || in_message && word != "SG_" && like_keyword(word)).then_some(Keyword::Unknown)
                });
                let in_symbols = matches!(opened, Some((Keyword::Symbols, ..)));
                if let Some(found) = found.filter(|_| !(in_symbols && alone(bytes, end))) {
                    if let Some((keyword, line, column)) = opened {
                        statements.push(Statement { keyword, text: &text[start..at], line, column });
                    }
                    (start, ended) = (at, false);
                    if counted < line_start {
                        (counted, column) = (line_start, 1);
                    }
                    column += text[counted..at].chars().count();
                    counted = at;
                    opened = Some((found, line, column));
                } else if opened.is_none() {
                    return Err(Preamble { line, column: text[line_start..at].chars().count() + 1 });
                }
                fresh = false;
                at = end;
            }
            _ if opened.is_none() => {
                return Err(Preamble { line, column: text[line_start..at].chars().count() + 1 });
            }
            _ => {
                fresh = false;
                at += 1;
            }
        }
    }
    if let Some((keyword, line, column)) = opened {
        statements.push(Statement { keyword, text: &text[start..], line, column });
    }
    Ok(statements)
}

/// Index after the string that opens at `at`; the end of the text when nothing closes it.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            // The grammar knows one escape: a quote after a backslash.
            b'\\' if bytes.get(at + 1) == Some(&b'"') => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).map_or(bytes.len(), |n| at + n)
}

/// True when nothing but blanks or a comment follows on the line.
fn alone(bytes: &[u8], at: usize) -> bool {
    let rest = &bytes[at..];
    let blanks = rest.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(rest.len());
    matches!(rest.get(blanks), None | Some(b'\n')) || rest[blanks..].starts_with(b"//")
}

/// The statement's words after its keyword, strings counting as one word each.
///
/// Only what is needed to find identifiers: can-dbc cuts those above 16 bits short.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = word_end(bytes, 0);
    std::iter::from_fn(move || {
        while bytes.get(at).is_some_and(|b| b.is_ascii_whitespace()) {
            at += 1;
        }
        let first = *bytes.get(at)?;
        let start = at;
        if first == b'"' {
            at = string_end(bytes, at);
        } else if first.is_ascii_alphanumeric() || first == b'_' {
            at = word_end(bytes, at);
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        Some(&text[start..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(Keyword, &str, usize)> {
        split(text).unwrap().into_iter().map(|s| (s.keyword, s.text.trim_end(), s.line)).collect()
    }

    #[test]
    fn keywords_open_statements_at_line_starts_only() {
        let text = "VERSION \"BO_ 1\"\n\nNS_ :\n\tCM_\n\tBO_TX_BU_\nBS_:\nBO_ 1 A: 8 X\n SG_ BO_ : 0|8@1+ (1,0) [0|0] \"\" X\nCM_ \"two\nBO_ lines\"; CM_ BO_ 1 \"x\";";
        let found = cut(text);
        let expected = [
            (Keyword::Other, 1),
            (Keyword::Symbols, 3),
            (Keyword::Other, 6),
            (Keyword::Message, 7),
            (Keyword::Comment, 9),
            (Keyword::Comment, 10),
        ];
        assert_eq!(found.iter().map(|s| (s.0, s.2)).collect::<Vec<_>>(), expected);
        assert_eq!(found[4].1, "CM_ \"two\nBO_ lines\";");
    }

    #[test]
    fn columns_count_characters_from_the_start_of_the_line() {
        let text = "  VERSION \"é\"; CM_ \"°\n°\"; BS_: ;BU_: é\n\tCM_ x; BS_:";
        let found: Vec<_> = split(text).unwrap().into_iter().map(|s| (s.line, s.column)).collect();
        assert_eq!(found, [(1, 3), (1, 16), (2, 5), (2, 11), (3, 2), (3, 9)]);
    }

    #[test]
    fn quotes_in_line_comments_do_not_open_strings() {
        let text = "VERSION \"\"\n// don't \"do this\nBO_ 1 A: 8 X";
        assert_eq!(cut(text).len(), 2);
    }

    #[test]
    fn text_before_the_first_keyword_is_refused_with_its_place() {
        assert_eq!(split("\n  <html>").unwrap_err(), Preamble { line: 2, column: 3 });
        assert_eq!(split("\n hello").unwrap_err(), Preamble { line: 2, column: 2 });
        assert!(split("  \n// only a comment\n").unwrap().is_empty());
    }

    #[test]
    fn an_open_string_runs_to_the_end() {
        assert_eq!(cut("CM_ \"open\nBO_ 1 A: 8 X").len(), 1);
    }

    #[test]
    fn words_keep_strings_whole() {
        let found: Vec<_> = words("BA_ \"a b\" SG_ 12 N-°x;").collect();
        assert_eq!(found, ["\"a b\"", "SG_", "12", "N", "-", "°", "x", ";"]);
    }
}

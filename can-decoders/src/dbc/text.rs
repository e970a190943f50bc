//! Bytes of a DBC file to text.

use std::borrow::Cow;

use super::code::Code;
use super::model::Place;
use super::statement::Statement;

/// What Windows code page 1252 has in 0x80..0xA0; the other bytes are Latin-1. The five unassigned
/// bytes become the replacement character: they can only be in comments and units.
const CP1252_HIGH: [char; 32] = [
    '€', '\u{FFFD}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{FFFD}', 'Ž', '\u{FFFD}', '\u{FFFD}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{FFFD}', 'ž', 'Ÿ',
];

/// A file's text, and how it was written.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    /// Without a byte order mark, and with `\n` as the only line end.
    pub(crate) text: Cow<'a, str>,
    /// It began with UTF-8's byte order mark.
    pub(crate) has_mark: bool,
    /// The first carriage return.
    pub(crate) carriage_return: Option<Place>,
    /// The first character that is not UTF-8, so that all was taken for code page 1252.
    pub(crate) code_page: Option<Place>,
}

/// Decodes UTF-8, or else cp1252 (the encoding DBC editors on Windows write).
pub(crate) fn decode(bytes: &[u8]) -> Text<'_> {
    let rest = bytes.strip_prefix(b"\xEF\xBB\xBF");
    let (has_mark, bytes) = (rest.is_some(), rest.unwrap_or(bytes));
    let (text, code_page) = match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(error) => {
            let text: String = bytes.iter().map(|byte| cp1252(*byte)).collect();
            (Cow::Owned(text), Some(place(&bytes[..error.valid_up_to()])))
        }
    };
    let carriage_return = memchr::memchr(b'\r', bytes).map(|at| place(&bytes[..at]));
    let text = match carriage_return {
        None => text,
        Some(_) => Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")),
    };
    Text { text, has_mark, carriage_return, code_page }
}

/// Where the byte after these is.
fn place(before: &[u8]) -> Place {
    let mut place = Place { line: 1, column: 1 };
    let mut start = 0;
    for at in memchr::memchr2_iter(b'\n', b'\r', before) {
        // Of a carriage return and a line feed, the second ends the line.
        if before[at] == b'\n' || before.get(at + 1).is_some_and(|next| *next != b'\n') {
            place.line += 1;
            start = at + 1;
        }
    }
    place.column += String::from_utf8_lossy(&before[start..]).chars().count();
    place
}

impl Text<'_> {
    /// How the file is written, as far as it is not how most are.
    pub(super) fn notes(&self, statements: &[Statement<'_>]) -> Vec<(Code, Place, String)> {
        let mut notes = Vec::new();
        let mut note = |code, place, text: &str| notes.push((code, place, text.to_owned()));
        if self.has_mark {
            note(Code::ByteOrderMark, Place { line: 1, column: 1 }, "the file begins with a byte order mark");
        }
        if let Some(place) = self.carriage_return {
            note(Code::CarriageReturns, place, "lines end with a carriage return");
        }
        if let Some(place) = self.code_page {
            note(Code::CodePage, place, "not UTF-8: taken for Windows code page 1252");
        }
        let there = |section: &&str| statements.iter().any(|statement| statement.word() == *section);
        let missing: Vec<&str> =
            ["VERSION", "NS_", "BS_", "BU_"].into_iter().filter(|section| !there(section)).collect();
        if !missing.is_empty() && !statements.is_empty() {
            note(Code::MissingSection, Place::default(), &format!("the file has no {}", missing.join(", no ")));
        }
        notes
    }
}

fn cp1252(byte: u8) -> char {
    match byte {
        0x80..=0x9F => CP1252_HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_wins_when_valid_and_cp1252_otherwise() {
        assert_eq!(decode("°C €".as_bytes()).text, "°C €");
        assert_eq!(decode(b"\xB0C \x80 \x93x\x94").text, "°C € “x”");
    }

    #[test]
    fn mark_and_carriage_returns_go() {
        assert_eq!(decode(b"\xEF\xBB\xBFa\r\nb\rc\n").text, "a\nb\nc\n");
    }

    #[test]
    fn places_whatever_ends_the_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let bytes = ["°C", "", "x"].join(end);
            let before = [bytes.as_bytes(), b"\xB0"].concat();
            assert_eq!(decode(&before).code_page, Some(Place { line: 3, column: 2 }), "{end:?}");
        }
        assert_eq!(decode(b"ab\r\nc\r\n").carriage_return, Some(Place { line: 1, column: 3 }));
    }

    #[test]
    fn every_byte_has_a_character() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&all).text.chars().count(), 256);
    }
}

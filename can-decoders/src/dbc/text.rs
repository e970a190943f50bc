//! Bytes of a DBC file to text.

use std::borrow::Cow;

/// What Windows code page 1252 has in 0x80..0xA0; the other bytes are Latin-1. The five unassigned
/// bytes become the replacement character: they can only be in comments and units.
const CP1252_HIGH: [char; 32] = [
    '€', '\u{FFFD}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{FFFD}', 'Ž', '\u{FFFD}', '\u{FFFD}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{FFFD}', 'ž', 'Ÿ',
];

/// Decodes UTF-8, or else cp1252 (the encoding DBC editors on Windows write), without a byte order
/// mark and with `\n` as the only line end.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| cp1252(*byte)).collect()),
    };
    if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")) } else { text }
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
        assert_eq!(decode("°C €".as_bytes()), "°C €");
        assert_eq!(decode(b"\xB0C \x80 \x93x\x94"), "°C € “x”");
    }

    #[test]
    fn mark_and_carriage_returns_go() {
        assert_eq!(decode(b"\xEF\xBB\xBFa\r\nb\rc\n"), "a\nb\nc\n");
    }

    #[test]
    fn every_byte_has_a_character() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&all).chars().count(), 256);
    }
}

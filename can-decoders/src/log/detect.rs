//! The format of a recording, by its first bytes.

use std::io::{self, Cursor, Read};

use super::{Format, blf};

/// Bytes that are looked at to find the first line that is not a comment.
const LOOK: usize = 16 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// First words of an ASC file.
const ASC_WORDS: [&[u8]; 8] =
    [b"date", b"base", b"timestamps", b"internal", b"no", b"begin", b"measurement", b"version"];

/// Reads as little as tells the format, and gives it back in front of the rest.
pub(super) fn detect(mut source: impl Read + Send + 'static) -> io::Result<(Format, Box<dyn Read + Send>)> {
    let mut head = Vec::with_capacity(256);
    let mut ended = false;
    let format = loop {
        let start = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        match guess(&head[start..], ended || head.len() >= LOOK) {
            Some(format) => {
                head.drain(..start);
                break format;
            }
            None => ended = read_some(&mut source, &mut head)? == 0,
        }
    };
    Ok((format, Box::new(Cursor::new(head).chain(source))))
}

fn read_some(source: &mut impl Read, head: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; 256];
    loop {
        match source.read(&mut piece) {
            Ok(count) => {
                head.extend_from_slice(&piece[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// `None` when more bytes are needed. There are no more when `last`.
fn guess(head: &[u8], last: bool) -> Option<Format> {
    if head.starts_with(blf::FILE_MAGIC) {
        return Some(Format::Blf);
    }
    // What a comment at the start makes likely; the first line that is none decides.
    let mut likely = None;
    let mut rest = head;
    loop {
        rest = rest.trim_ascii_start();
        let end = memchr::memchr(b'\n', rest);
        let line = rest[..end.unwrap_or(rest.len())].trim_ascii();
        match line.first() {
            // A live candump is not waited for longer than its first byte.
            Some(b'(' | b'#') => return Some(Format::Candump),
            _ if end.is_none() && !last => return None,
            None => return Some(likely.unwrap_or(Format::Candump)),
            Some(b';') if line.starts_with(b";$") => return Some(Format::Trc),
            Some(b';') => likely = likely.or(Some(Format::Trc)),
            Some(b'/') if line.starts_with(b"//") => likely = likely.or(Some(Format::Asc)),
            Some(_) if likely.is_some() => return likely,
            Some(_) => return Some(if is_asc(line) { Format::Asc } else { Format::Candump }),
        }
        match end {
            Some(end) => rest = &rest[end..],
            None => return Some(likely.unwrap_or(Format::Candump)),
        }
    }
}

/// A header, or an event: a time with a fraction and something behind it.
fn is_asc(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let is_time = first
        .iter()
        .position(|byte| *byte == b'.')
        .is_some_and(|dot| number(&first[..dot]) && number(&first[dot + 1..]));
    words.next().is_some() && (is_time || ASC_WORDS.iter().any(|word| first.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Format {
        let (format, mut rest) = detect(Cursor::new(bytes.to_vec())).unwrap();
        let mut again = Vec::new();
        rest.read_to_end(&mut again).unwrap();
        assert!(bytes.ends_with(&again) && bytes.len() - again.len() <= 3, "all is given back but a byte order mark");
        format
    }

    #[test]
    fn each_format_by_its_first_bytes() {
        for (text, format) in [
            ("(1.5) can0 123#11\n", Format::Candump),
            ("\u{FEFF}(1.5) can0 123#11\n", Format::Candump),
            ("# date 2026-11-23\n(1.5) can0 123#11\n", Format::Candump),
            ("\r\n\n  (1.5) can0 123#11", Format::Candump),
            ("LOGG\u{0}", Format::Blf),
            (";$FILEVERSION=1.1\n", Format::Trc),
            ("\u{FEFF}\n;$FILEVERSION=2.1\n", Format::Trc),
            (";####\n;  C:\\a.trc\n;\n     1)      1841      0001  8  00\n", Format::Trc),
            (";####\n", Format::Trc),
            ("date Sat Sep 30 15:06:13.191 2017\r\nbase hex\r\n", Format::Asc),
            ("DATE Sat Sep 30 15:06:13.191 2017", Format::Asc),
            ("base hex  timestamps absolute\n", Format::Asc),
            ("// version 9\n0.5 1 123 Rx d 0\n", Format::Asc),
            ("// version 9\n", Format::Asc),
            ("no internal events logged\n", Format::Asc),
            ("   0.019968 1  64  Rx   d 1 64\n", Format::Asc),
            ("", Format::Candump),
            ("\n\n", Format::Candump),
        ] {
            assert_eq!(told(text.as_bytes()), format, "{text}");
        }
    }

    #[test]
    fn a_damaged_beginning_does_not_make_a_candump_log_something_else() {
        let rest = "(1.5) can0 123#11\n";
        for start in [
            "249713) vcan0 044#2A\n",
            "09052.249713) vcan0 044#2A\n",
            "rubbish\n",
            "; rubbish\n",
            "// rubbish\n; more\n",
            "LOG\n",
            "date\n",
            "1.5\n",
            "\u{0}\u{1}\u{2}",
        ] {
            assert_eq!(told(format!("{start}{rest}").as_bytes()), Format::Candump, "{start}");
        }
        // Comments without an end are looked at only so far.
        assert_eq!(told("; x\n".repeat(LOOK).as_bytes()), Format::Trc);
        assert_eq!(told(&vec![b' '; 3 * LOOK]), Format::Candump);
    }
}

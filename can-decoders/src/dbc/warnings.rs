//! What is odd in one file, bounded in number and length whatever is in it.

use std::fmt::{self, Write};
use std::sync::Arc;

use super::code::Code;
use super::model::{Place, Warning};

/// Warnings kept for one file; the rest is counted in a last one.
pub(super) const MAX_WARNINGS: usize = 1000;

/// Longest text, in bytes: names come from the file and can be a megabyte long.
const MAX_TEXT: usize = 500;

/// The first [`MAX_WARNINGS`]; the rest is only counted, and its texts are never made.
pub(crate) struct Warnings {
    file: Arc<str>,
    kept: Vec<Warning>,
    suppressed: usize,
}

impl Warnings {
    pub(crate) fn new(file: Arc<str>) -> Self {
        Self { file, kept: Vec::new(), suppressed: 0 }
    }

    pub(crate) fn add(&mut self, code: Code, place: Place, text: fmt::Arguments<'_>) {
        if self.kept.len() >= MAX_WARNINGS {
            self.suppressed += 1;
            return;
        }
        let mut short = Short(String::new());
        if short.write_fmt(text).is_err() {
            short.0.push('…');
        }
        self.kept.push(Warning { code, file: self.file.clone(), place, text: short.0 });
    }

    /// In the order of the file, those about the whole of it last.
    pub(crate) fn finish(mut self) -> Vec<Warning> {
        if self.suppressed > 0 {
            let text = format!("{} more warnings", self.suppressed);
            self.kept.push(Warning { code: Code::More, file: self.file, place: Place::default(), text });
        }
        self.kept.sort_by_key(|w| (w.place.line == 0, w.place));
        self.kept
    }
}

/// Takes [`MAX_TEXT`] bytes; what comes then is an error, which ends the formatting.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut warnings = Warnings::new("f".into());
        warnings.add(Code::More, Place { line: 1, column: 1 }, format_args!("x{}{}", "°".repeat(200), "°".repeat(200)));
        warnings.add(Code::More, Place { line: 2, column: 1 }, format_args!("{}", "x".repeat(MAX_TEXT)));
        let [cut, whole] = &warnings.finish()[..] else { panic!() };
        assert_eq!(cut.text, format!("x{}…", "°".repeat(249)));
        assert_eq!(whole.text.len(), MAX_TEXT);
    }
}

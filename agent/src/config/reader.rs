//! The file's text, and what is wrong in it: where.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::Spanned;

/// Largest configuration file, bytes.
const MAX_BYTES: u64 = 4 << 20;

/// What is wrong with a configuration, where, and what to do. The file has to be mended.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{path}:{line}:{} {message}", column.map(|column| format!("{column}:")).unwrap_or_default())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Bytes of the line up to it, from 1, where it is a place in a text.
        column: Option<usize>,
        /// Key, what is wrong, and the remedy.
        message: String,
    },
}

/// Text of the file with what is needed to say where something is.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Reader<'_> {
    pub(super) fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..at.span().start).unwrap_or_default();
        self.error_at_line(before.matches('\n').count() + 1, message)
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = self.text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            self.error_at_line(line, error.message())
        })
    }

    pub(super) fn error_at_line(&self, line: usize, message: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { path: self.path.into(), line, column: None, message: message.into() }
    }

    /// Something is wrong so many bytes into a text of the file.
    pub(super) fn error_inside(&self, text: &Spanned<String>, at: usize, message: impl Into<String>) -> ConfigError {
        let written = self.text.get(text.span()).unwrap_or_default();
        // With escapes in it, the text is not in the file as it is: then its beginning is what can be told.
        let inside = written.find(text.get_ref().as_str()).map_or(0, |start| start + at);
        let before = self.text.get(..text.span().start + inside).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
        ConfigError::Invalid { path: self.path.into(), line, column: Some(column), message: message.into() }
    }

    pub(super) fn resolve(&self, file: &str) -> PathBuf {
        if file == "-" { file.into() } else { self.path.parent().unwrap_or(Path::new(".")).join(file) }
    }

    /// As [`Self::resolve`]; `credential:NAME` is what systemd hands over under that name (`LoadCredential=`).
    pub(super) fn secret_path(&self, file: &str) -> PathBuf {
        match (file.strip_prefix("credential:"), std::env::var_os("CREDENTIALS_DIRECTORY")) {
            (Some(name), Some(dir)) => PathBuf::from(dir).join(name),
            // The error names the file that is not there.
            (Some(name), None) => PathBuf::from("$CREDENTIALS_DIRECTORY").join(name),
            (None, _) => self.resolve(file),
        }
    }

    pub(super) fn in_range<T: PartialOrd + Copy + std::fmt::Display>(
        &self,
        key: &str,
        value: &Spanned<T>,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let v = *value.get_ref();
        if range.contains(&v) {
            return Ok(v);
        }
        Err(self.error(value, format!("{key} = {v}: it must be from {} to {}", range.start(), range.end())))
    }
}

pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let failed = |source| ConfigError::Read { path: path.into(), source };
    let mut text = String::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

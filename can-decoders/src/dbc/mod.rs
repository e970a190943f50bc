//! DBC files to [`Database`].
//!
//! Real DBC files are full of small faults: identifiers above 11 bits without the extended flag,
//! signals past the end of their frame, attributes that no parser knows, units in Windows' code page.
//! The rule here: what decides how a frame is decoded (`BO_`, `SG_`, `SG_MUL_VAL_`, `SIG_VALTYPE_`)
//! must parse or the file is refused with the place and the remedy; everything else that does not
//! parse, and everything that parses but is odd, becomes a [`Warning`] and the rest is used.
//!
//! can-dbc parses each statement. Three things are read from the text instead, because can-dbc 10
//! loses them: identifiers (it cuts those without the extended flag to 16 bits), a bare `m` (it reads
//! it as "not multiplexed") and the place of errors that come after the grammar.

mod build;
mod code;
mod details;
mod error;
mod finish;
mod j1939;
mod model;
mod multiplex;
mod statement;
mod text;
mod warnings;

pub use code::Code;
pub use error::DbcError;
pub(crate) use warnings::Warnings;

pub use model::{ByteOrder, Encoding, Labels, MessageDef, Multiplexing, Place, Ranges, SignalDef, Warning};

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Largest DBC file that is accepted, in bytes. The largest real ones seen are below 1 MiB; the worst
/// that can be made of this many bytes takes about thirty times as much memory.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The messages that a DBC file describes.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Database {
    pub(crate) name: Arc<str>,
    pub(crate) messages: Vec<MessageDef>,
    pub(crate) warnings: Vec<Warning>,
    /// About the file as a whole.
    notes: Vec<Warning>,
}

impl Database {
    /// Reads a file. Its name in errors and warnings is `path` as given.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than [`MAX_BYTES`], or is refused as by [`Database::parse`].
    pub fn load(path: &Path) -> Result<Self, DbcError> {
        let read = |source| DbcError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        // One byte more than allowed tells too large from just right, whatever the metadata says.
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(read)?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Parses the bytes of a DBC file, UTF-8 or else Windows code page 1252. `name` is for errors and warnings.
    ///
    /// # Errors
    /// [`DbcError::TooLarge`] and [`DbcError::Syntax`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, DbcError> {
        if bytes.len() > MAX_BYTES {
            return Err(DbcError::TooLarge { file: name.to_owned(), limit: MAX_BYTES });
        }
        build::build(name, &text::decode(bytes))
    }

    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Messages in the order of the file; each identifier once.
    pub fn messages(&self) -> &[MessageDef] {
        &self.messages
    }

    /// What is good to know and nothing is wrong with: how the file is written (byte order mark, carriage returns, code
    /// page, missing sections), and ranges that are not believed ([`crate::validity`]). Found anew at each call.
    pub fn notes(&self) -> Vec<Warning> {
        let mut doubts = Warnings::new(self.name.clone());
        for message in &self.messages {
            for signal in &message.signals {
                let Some((min, max)) = signal.doubted_range() else { continue };
                let why = if min < max { "which its bits cannot express" } else { "which leaves no choice" };
                doubts.add(
                    Code::UncheckedRange,
                    signal.place,
                    format_args!(
                        "signal {} of message {} has the range [{min}|{max}], {why}: it is not checked",
                        signal.name, message.name
                    ),
                );
            }
        }
        [self.notes.clone(), doubts.finish()].concat()
    }

    /// What is odd in the file but does not keep it from being used.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

#[cfg(test)]
#[path = "dbc_tests.rs"]
mod tests;

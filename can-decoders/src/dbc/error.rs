//! Why a DBC file was refused.

use std::io;
use std::path::PathBuf;

/// A DBC file was refused. Its author has to act, except for [`DbcError::Read`]; trying again
/// without a change helps in no case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbcError {
    /// The file could not be read.
    #[error("{}: cannot read the DBC file: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is larger than [`super::MAX_BYTES`].
    #[error("{file}: larger than {limit} bytes, the bound for DBC files; split it by bus and load the parts together")]
    TooLarge {
        /// The file.
        file: String,
        /// The bound in bytes.
        limit: usize,
    },
    /// Not DBC, or not a DBC statement that can be parsed.
    #[error("{file}:{line}:{column}: {what}; {remedy}")]
    Syntax {
        /// The file.
        file: String,
        /// Line from 1.
        line: usize,
        /// Column in characters from 1.
        column: usize,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
}

//! What can go wrong with a profile.

use std::path::PathBuf;

use thiserror::Error;

/// Why a profile is refused. The file has to be mended or learned anew; trying again does not help.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// It could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is no profile that can be used.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where, what is wrong, and the remedy.
        message: String,
    },
    /// It is of other buses.
    #[error(
        "{path}: it knows bus `{bus}`, which the configuration does not have: add it, or learn the profile from recordings with the configuration's names"
    )]
    Bus {
        /// The file.
        path: PathBuf,
        /// The bus.
        bus: String,
    },
}

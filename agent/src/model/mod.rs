//! Models: a directory with a network, a manifest and a parity vector, loaded and checked.
//!
//! ```text
//! models/demo-vehicle/
//!   model.toml    manifest: features, normalisation, score, threshold, debounce, hashes, provenance
//!   model.onnx    the network, float32
//!   parity.json   inputs, and the outputs that training got for the last of them
//! ```
//!
//! A model is put to work only when its files have the hashes that the manifest names, the network
//! has the shape that the manifest says, and it computes the parity vector's output.
//!
//! The network has one input `x[1, features]` and one output `expected[1, targets]`. One that scores by itself has two more
//! outputs, `parts[1, targets]` and `score[1, 1]`; one with a state one more input and one more output, both `[1, state]`:
//! what it gives out it is given at the next grid point, zeros at first. Order counts, names do not.

mod budget;
mod manifest;
#[cfg(feature = "onnx")]
mod onnx;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

pub(crate) use budget::Budgeted;
pub use budget::Meter;
pub use manifest::{MANIFEST, Manifest, load_feature_spec};

use crate::engine::{Network, Score, Verdict};

/// Largest network file that is read, bytes.
pub const MAX_NETWORK_BYTES: u64 = 64 << 20;
/// Largest manifest or parity file that is read, bytes.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Why a model is refused. Its directory has to be mended; trying again does not help.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is larger than a model may be.
    #[error("{path}: larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes that it may have.
        limit: u64,
    },
    /// The manifest is not well formed.
    #[error("{path}: {message}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Line, key and remedy.
        message: String,
    },
    /// A file is not the one that the manifest was made for.
    #[error(
        "{path}: SHA-256 is {found}, the manifest says {expected}: the model was changed after training; copy it again"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash of the file.
        found: String,
        /// Hash in the manifest.
        expected: String,
    },
    /// The network cannot be used.
    #[error("{path}: {message}")]
    Network {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The network computes something else than it did when it was trained.
    #[error("{path}: output {index} of the parity vector is {found}, expected {expected} within {tolerance}")]
    Parity {
        /// The parity file.
        path: PathBuf,
        /// Which output.
        index: usize,
        /// What the network computes here.
        found: f32,
        /// What it computed when it was trained.
        expected: f32,
        /// Allowed difference.
        tolerance: f32,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParityVector {
    /// One grid point after the other, normalised.
    inputs: Vec<Vec<f32>>,
    expected: Vec<f32>,
    #[serde(default)]
    parts: Vec<f32>,
    #[serde(default)]
    score: f32,
}

/// What the model in `dir` is called, and how much of the time before matters for its score, nanoseconds; what its directory is called
/// when its manifest cannot be read.
pub fn outline(dir: &Path) -> (Arc<str>, u64) {
    let Ok(Manifest { spec, .. }) = Manifest::load(dir) else {
        return (dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into(), 0);
    };
    let features = || spec.features.iter();
    let windows = features().map(|one| one.spec.window as u64 * spec.period_ns + one.spec.max_age_ns).max();
    // What was before has faded to some 1/20,000 after ten time constants.
    let fades = features().filter_map(|one| one.target.as_ref()).map(|target| 10 * target.smooth_ns).max();
    (spec.finder.name.clone(), windows.unwrap_or(0).max(spec.warmup_ns) + fades.unwrap_or(0))
}

/// Loads the model in `dir` and checks it.
///
/// # Errors
/// When any file is missing, damaged, too large, or not what the manifest says.
pub fn load(dir: &Path) -> Result<(Manifest, Box<dyn Network>), ModelError> {
    let manifest = Manifest::load(dir)?;
    let network_path = dir.join(&manifest.network.file);
    let bytes = read(&network_path, MAX_NETWORK_BYTES)?;
    check_hash(&network_path, &bytes, &manifest.network.sha256)?;
    let shape = Shape {
        inputs: manifest.spec.features.len(),
        targets: manifest.spec.features.iter().filter(|f| f.target.is_some()).count(),
        scores: manifest.spec.score == Score::Network,
        state: manifest.network.state,
    };
    let mut network = open_network(&network_path, &bytes, shape)?;

    let parity_path = dir.join(&manifest.parity.file);
    let text = read(&parity_path, MAX_TEXT_BYTES)?;
    check_hash(&parity_path, &text, &manifest.parity.sha256)?;
    check_parity(&parity_path, &text, manifest.parity.tolerance, shape, &mut *network)?;
    Ok((manifest, network))
}

/// What goes into a network and what comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) inputs: usize,
    pub(crate) targets: usize,
    /// It gives parts and a score.
    pub(crate) scores: bool,
    pub(crate) state: usize,
}

fn check_parity(
    path: &Path,
    text: &[u8],
    tolerance: f32,
    shape: Shape,
    network: &mut dyn Network,
) -> Result<(), ModelError> {
    let bad = |message| ModelError::Network { path: path.into(), message };
    let vector: ParityVector = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
    let mut verdict = Verdict::new(shape.targets, shape.scores);
    let fits = !vector.inputs.is_empty()
        && vector.inputs.iter().all(|input| input.len() == shape.inputs)
        && vector.expected.len() == verdict.expected.len()
        && vector.parts.len() == verdict.parts.len();
    if !fits {
        return Err(bad(format!("its inputs and outputs are not as many as the manifest says: {shape:?}")));
    }
    network.reset();
    for input in &vector.inputs {
        network.run(input, &mut verdict).map_err(bad)?;
    }
    network.reset();
    let score = |score| shape.scores.then_some(score);
    let found = verdict.expected.iter().chain(&verdict.parts).copied().chain(score(verdict.score));
    let expected = vector.expected.iter().chain(&vector.parts).copied().chain(score(vector.score));
    for (index, (found, expected)) in found.zip(expected).enumerate() {
        let difference = (found - expected).abs();
        if difference.is_nan() || difference > tolerance {
            return Err(ModelError::Parity { path: path.into(), index, found, expected, tolerance });
        }
    }
    Ok(())
}

#[cfg(feature = "onnx")]
fn open_network(path: &Path, bytes: &[u8], shape: Shape) -> Result<Box<dyn Network>, ModelError> {
    let network = onnx::OnnxNetwork::new(bytes, shape);
    Ok(Box::new(network.map_err(|message| ModelError::Network { path: path.into(), message })?))
}

#[cfg(not(feature = "onnx"))]
fn open_network(path: &Path, _: &[u8], _: Shape) -> Result<Box<dyn Network>, ModelError> {
    let message = "this program was built without the feature `onnx`; remove the model from the configuration or install the full build";
    Err(ModelError::Network { path: path.into(), message: message.into() })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    use std::io::Read;
    let failed = |source| ModelError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ModelError::TooLarge { path: path.into(), limit });
    }
    Ok(bytes)
}

/// SHA-256, hexadecimal.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn check_hash(path: &Path, bytes: &[u8], expected: &str) -> Result<(), ModelError> {
    let found = digest(bytes);
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(ModelError::Hash { path: path.into(), found, expected: expected.into() })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

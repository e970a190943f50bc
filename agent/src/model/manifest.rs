//! The manifest `model.toml`, in two stages: what the file says, and what it means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{MAX_TEXT_BYTES, ModelError, read};
use crate::engine::debounce::{DebounceSpec, MAX_N};
use crate::engine::features::MAX_WINDOW;
use crate::engine::{FeatureSpec, Function, ModelFeature, ModelSpec, Target};
use crate::event::Class;

/// The name of the manifest in a model's directory.
pub const MANIFEST: &str = "model.toml";
/// Most features: bounds memory and time of an inference.
const MAX_FEATURES: usize = 4096;
/// Bounds what all features of a model may remember, in values.
const MAX_HISTORY: usize = 4 << 20;

/// A validated manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file it was read from.
    pub path: PathBuf,
    /// The model, but for its network.
    pub spec: Arc<ModelSpec>,
    /// The network's file.
    pub network: NetworkFile,
    /// The parity vector's file.
    pub parity: ParityFile,
}

/// The network's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// Name in the model's directory.
    pub file: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// The parity vector's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParityFile {
    /// Name in the model's directory.
    pub file: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Largest difference of an output.
    pub tolerance: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: u32,
    name: String,
    version: String,
    period_ms: u64,
    #[serde(default = "default_warmup_ms")]
    warmup_ms: u64,
    network: NetworkFile,
    parity: ParityFile,
    score: RawScore,
    debounce: RawDebounce,
    #[serde(default)]
    #[expect(dead_code, reason = "for people; any keys")]
    provenance: toml::Table,
    #[serde(rename = "feature")]
    features: Vec<RawFeature>,
}

/// The part of a manifest that `outrider features` needs: a model that is yet to be trained has no more.
#[derive(Deserialize)]
struct RawFeatureFile {
    period_ms: u64,
    #[serde(rename = "feature")]
    features: Vec<RawFeature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScore {
    smooth_ms: u64,
    threshold: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDebounce {
    k: usize,
    n: usize,
    clear_ms: u64,
    #[serde(default = "default_update_ms")]
    update_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFeature {
    name: String,
    #[serde(rename = "fn")]
    function: RawFunction,
    of: String,
    #[serde(default)]
    window_ms: u64,
    #[serde(default = "default_max_age_ms")]
    max_age_ms: u64,
    #[serde(default)]
    mean: f64,
    #[serde(default = "one")]
    std: f64,
    target: Option<RawTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    #[serde(default = "one")]
    scale: f64,
    severity: Option<Class>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawFunction {
    Value,
    Lag,
    Delta,
    Mean,
    Min,
    Max,
    Std,
    Age,
    Count,
    Rate,
}

const fn default_warmup_ms() -> u64 {
    2000
}
const fn default_update_ms() -> u64 {
    10_000
}
const fn default_max_age_ms() -> u64 {
    1000
}
const fn one() -> f64 {
    1.0
}

impl Manifest {
    /// Reads and validates `model.toml` in `dir`.
    ///
    /// # Errors
    /// When it cannot be read or is not a manifest: file, line or key, and what to do.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join(MANIFEST);
        let raw: Raw = parse(&path)?;
        let refuse = |message: String| ModelError::Manifest { path: path.clone(), message };
        if raw.format != 1 {
            return Err(refuse(format!("format = {}: this program reads format 1", raw.format)));
        }
        for file in [&raw.network.file, &raw.parity.file] {
            if Path::new(file).components().count() != 1 || file.starts_with('.') {
                return Err(refuse(format!("`{file}` is not the name of a file in the model's directory")));
            }
        }
        let tolerance = raw.parity.tolerance;
        if !(tolerance.is_finite() && tolerance > 0.0) {
            return Err(refuse(format!("parity.tolerance = {tolerance}: it must be above zero")));
        }
        let spec = spec(&raw).map_err(refuse)?;
        Ok(Self { spec: Arc::new(spec), network: raw.network, parity: raw.parity, path })
    }
}

/// A model without a network, of which only the features count: from a manifest, or from a file with no more than
/// `period_ms` and `[[feature]]` tables.
///
/// # Errors
/// When it cannot be read, or a feature is not well formed.
pub fn load_feature_spec(path: &Path) -> Result<ModelSpec, ModelError> {
    let raw: RawFeatureFile = parse(path)?;
    let refuse = |message: String| ModelError::Manifest { path: path.into(), message };
    // Checks the period, too: only then may it be multiplied.
    let features = features(&raw.features, raw.period_ms).map_err(refuse)?;
    Ok(ModelSpec {
        name: "features".into(),
        version: "".into(),
        period_ns: raw.period_ms * 1_000_000,
        warmup_ns: u64::MAX,
        features,
        smooth_ns: 0,
        threshold: f64::INFINITY,
        debounce: DebounceSpec { k: 1, n: 1, clear_ns: 0, update_ns: 0 },
    })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let refuse = |message: String| ModelError::Manifest { path: path.into(), message };
    let text = String::from_utf8(read(path, MAX_TEXT_BYTES)?).map_err(|e| refuse(format!("not UTF-8: {e}")))?;
    toml::from_str(&text).map_err(|e| refuse(e.to_string()))
}

fn spec(raw: &Raw) -> Result<ModelSpec, String> {
    let features = features(&raw.features, raw.period_ms)?;
    if !features.iter().any(|f| f.target.is_some()) {
        return Err("no feature has a `target`: nothing to score".into());
    }
    let (k, n) = (raw.debounce.k, raw.debounce.n);
    if k == 0 || k > n || n > MAX_N {
        return Err(format!("debounce: k = {k}, n = {n}; it must be 1 ≤ k ≤ n ≤ {MAX_N}"));
    }
    if !(raw.score.threshold.is_finite() && raw.score.threshold > 0.0) {
        return Err(format!("score.threshold = {}: it must be above zero", raw.score.threshold));
    }
    Ok(ModelSpec {
        name: raw.name.as_str().into(),
        version: raw.version.as_str().into(),
        period_ns: raw.period_ms * 1_000_000,
        warmup_ns: millis("warmup_ms", raw.warmup_ms)?,
        features,
        smooth_ns: millis("score.smooth_ms", raw.score.smooth_ms)?,
        threshold: raw.score.threshold,
        debounce: DebounceSpec {
            k,
            n,
            clear_ns: millis("debounce.clear_ms", raw.debounce.clear_ms)?,
            update_ns: millis("debounce.update_ms", raw.debounce.update_ms)?,
        },
    })
}

fn features(raw: &[RawFeature], period_ms: u64) -> Result<Vec<ModelFeature>, String> {
    if !(10..=3_600_000).contains(&period_ms) {
        return Err(format!("period_ms = {period_ms}: it must be from 10 to 3600000"));
    }
    if raw.is_empty() || raw.len() > MAX_FEATURES {
        return Err(format!("{} features: it must be from 1 to {MAX_FEATURES}", raw.len()));
    }
    let features: Vec<ModelFeature> = raw
        .iter()
        .map(|f| feature(f, period_ms).map_err(|e| format!("feature `{}`: {e}", f.name)))
        .collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = features.iter().map(|f| &*f.spec.name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two features are named `{}`", twice[0]));
    }
    let history: usize = features.iter().map(|f| f.spec.window + 1).sum();
    if history > MAX_HISTORY {
        return Err(format!("the windows hold {history} values together, most is {MAX_HISTORY}: shorten them"));
    }
    Ok(features)
}

fn feature(raw: &RawFeature, period_ms: u64) -> Result<ModelFeature, String> {
    let function = match raw.function {
        RawFunction::Value => Function::Value,
        RawFunction::Lag => Function::Lag,
        RawFunction::Delta => Function::Delta,
        RawFunction::Mean => Function::Mean,
        RawFunction::Min => Function::Min,
        RawFunction::Max => Function::Max,
        RawFunction::Std => Function::Std,
        RawFunction::Age => Function::Age,
        RawFunction::Count => Function::Count,
        RawFunction::Rate => Function::Rate,
    };
    if function.has_window() != (raw.window_ms > 0) {
        let advice = if function.has_window() { "needs `window_ms`" } else { "takes no `window_ms`" };
        return Err(format!("its function {advice}"));
    }
    if !raw.window_ms.is_multiple_of(period_ms) {
        return Err(format!("window_ms = {}: it must be a multiple of period_ms = {period_ms}", raw.window_ms));
    }
    let window = usize::try_from(raw.window_ms / period_ms).unwrap_or(usize::MAX);
    if window > MAX_WINDOW {
        return Err(format!("window_ms = {}: at most {MAX_WINDOW} periods", raw.window_ms));
    }
    if raw.name.is_empty() || raw.name.contains([',', '"', '\n', '\r']) {
        return Err("its name is empty or has a comma, a quote or a line break in it".into());
    }
    let positive = |name: &str, x: f64| {
        if x.is_finite() && x > 0.0 { Ok(x) } else { Err(format!("{name} = {x}: it must be above zero")) }
    };
    if !raw.mean.is_finite() {
        return Err(format!("mean = {}: it must be a finite number", raw.mean));
    }
    let target = match &raw.target {
        None => None,
        Some(target) => {
            let class = target.severity.unwrap_or(Class::Alert);
            if !matches!(class, Class::Critical | Class::Alert | Class::Status) {
                return Err(format!("target.severity = \"{class}\": one of critical, alert, status"));
            }
            Some(Target { scale: positive("target.scale", target.scale)?, class })
        }
    };
    Ok(ModelFeature {
        spec: FeatureSpec {
            name: raw.name.as_str().into(),
            function,
            of: raw.of.clone(),
            window,
            max_age_ns: millis("max_age_ms", raw.max_age_ms)?,
        },
        mean: raw.mean,
        std: positive("std", raw.std)?,
        target,
    })
}

fn millis(key: &str, ms: u64) -> Result<u64, String> {
    // A day is longer than any of these times can sensibly be; the bound keeps sums of times from overflowing.
    if ms > 86_400_000 { Err(format!("{key} = {ms}: at most 86400000 (a day)")) } else { Ok(ms * 1_000_000) }
}

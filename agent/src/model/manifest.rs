//! The manifest `model.toml`, in two stages: what the file says, and what it means.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{MAX_TEXT_BYTES, ModelError, digest, read};
use crate::engine::debounce::{DebounceSpec, MAX_N};
use crate::engine::features::MAX_WINDOW;
use crate::engine::{FeatureSpec, Finder, Function, Fuse, MAX_EDGES, ModelFeature, ModelSpec, Score, Seen, Target};
use crate::event::Class;

/// The name of the manifest in a model's directory.
pub const MANIFEST: &str = "model.toml";
/// Most features: bounds memory and time of an inference.
const MAX_FEATURES: usize = 4096;
/// Bounds what all features of a model may remember, in values.
const MAX_HISTORY: usize = 4 << 20;
/// Largest state of a network, in values.
const MAX_STATE: usize = 65_536;
/// Longest text that becomes part of events, bytes.
const MAX_NAME: usize = 64;
/// The manifest's format that this program reads.
const FORMAT: u32 = 2;
/// A small network takes a tenth of this on a slow vehicle computer.
const DEFAULT_BUDGET: Duration = Duration::from_millis(2);
/// Meanwhile no frame is looked at.
const MOST_BUDGET: Duration = Duration::from_millis(500);

/// A validated manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file it was read from.
    pub path: PathBuf,
    /// The model, but for its network.
    pub spec: Arc<ModelSpec>,
    /// Processor time that one inference may take.
    pub budget: Duration,
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
    /// Values that it hands to itself from one grid point to the next; 0 for none.
    #[serde(default)]
    pub state: usize,
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
    #[serde(default = "default_what")]
    what: String,
    budget_us: Option<u64>,
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
    from: RawFrom,
    fuse: Option<RawFuse>,
    smooth_ms: Option<u64>,
    threshold: f64,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawFrom {
    Residual,
    Network,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawFuse {
    Max,
    Rms,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDebounce {
    k: usize,
    n: usize,
    #[serde(default)]
    min_ms: u64,
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
    only_if: Option<RawOnlyIf>,
    #[serde(default)]
    mean: f64,
    #[serde(default = "one")]
    std: f64,
    target: Option<RawTarget>,
    seen: Option<RawSeen>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeen {
    min: f64,
    max: f64,
    edges: Vec<f64>,
    shares: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOnlyIf {
    signal: String,
    is: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    #[serde(default = "one")]
    scale: f64,
    smooth_ms: Option<u64>,
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
    Run,
    Valid,
    Age,
    Gap,
    Count,
    Rate,
}

const fn default_warmup_ms() -> u64 {
    2000
}
fn default_what() -> String {
    "deviation".into()
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
        let (raw, hash): (Raw, _) = parse(&path)?;
        let refuse = |message: String| ModelError::Manifest { path: path.clone(), message };
        if raw.format != FORMAT {
            return Err(refuse(format!(
                "format = {}: this program reads format {FORMAT}; train the model again, or convert its manifest by hand as models/README.md says",
                raw.format
            )));
        }
        for file in [&raw.network.file, &raw.parity.file] {
            if Path::new(file).components().count() != 1 || file.starts_with('.') {
                return Err(refuse(format!("`{file}` is not the name of a file in the model's directory")));
            }
        }
        let tolerance = raw.parity.tolerance;
        if !(tolerance > 0.0 && tolerance <= 0.1) {
            return Err(refuse(format!("parity.tolerance = {tolerance}: it must be above zero, and at most 0.1")));
        }
        for (key, text) in [("name", &raw.name), ("version", &raw.version), ("what", &raw.what)] {
            if text.is_empty() || text.len() > MAX_NAME || text.contains(char::is_control) {
                return Err(refuse(format!("{key}: 1 to {MAX_NAME} bytes on one line, as it is in every event")));
            }
        }
        let spec = spec(&raw, &hash).map_err(refuse)?;
        let budget = raw.budget_us.map_or(DEFAULT_BUDGET, Duration::from_micros);
        if budget.is_zero() || budget > MOST_BUDGET {
            let path = path.clone();
            let message = format!("budget_us: it must be from 1 to {}", MOST_BUDGET.as_micros());
            return Err(ModelError::Manifest { path, message });
        }
        Ok(Self { spec: Arc::new(spec), budget, network: raw.network, parity: raw.parity, path })
    }
}

/// A model without a network, of which only the features count: from a manifest, or from a file with no more than
/// `period_ms` and `[[feature]]` tables.
///
/// # Errors
/// When it cannot be read, or a feature is not well formed.
pub fn load_feature_spec(path: &Path) -> Result<ModelSpec, ModelError> {
    let (raw, _): (RawFeatureFile, _) = parse(path)?;
    let refuse = |message: String| ModelError::Manifest { path: path.into(), message };
    // Checks the period, too: only then may it be multiplied.
    let features = features(&raw.features, raw.period_ms, 0).map_err(refuse)?;
    Ok(ModelSpec {
        finder: Finder { name: "features".into(), version: "".into(), hash: "".into() },
        what: "".into(),
        period_ns: raw.period_ms * 1_000_000,
        warmup_ns: u64::MAX,
        features,
        score: Score::Residual(Fuse::Max),
        threshold: f64::INFINITY,
        debounce: DebounceSpec { k: 1, n: 1, min_ns: 0, clear_ns: 0, update_ns: 0 },
    })
}

/// What a file says, and its hash.
fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<(T, String), ModelError> {
    let refuse = |message: String| ModelError::Manifest { path: path.into(), message };
    let bytes = read(path, MAX_TEXT_BYTES)?;
    let hash = digest(&bytes);
    let text = String::from_utf8(bytes).map_err(|e| refuse(format!("not UTF-8: {e}")))?;
    Ok((toml::from_str(&text).map_err(|e| refuse(e.to_string()))?, hash))
}

fn spec(raw: &Raw, hash: &str) -> Result<ModelSpec, String> {
    let smooth_ms = raw.score.smooth_ms.unwrap_or(0);
    let features = features(&raw.features, raw.period_ms, smooth_ms)?;
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
    let score = match (raw.score.from, raw.score.fuse) {
        (RawFrom::Residual, None | Some(RawFuse::Max)) => Score::Residual(Fuse::Max),
        (RawFrom::Residual, Some(RawFuse::Rms)) => Score::Residual(Fuse::Rms),
        (RawFrom::Network, None) => Score::Network,
        (RawFrom::Network, Some(_)) => {
            return Err("score.fuse: a network that scores by itself fuses by itself; leave it out".into());
        }
    };
    let targets = || raw.features.iter().filter_map(|feature| feature.target.as_ref());
    if score == Score::Network && (raw.score.smooth_ms.is_some() || targets().any(|t| t.smooth_ms.is_some())) {
        return Err("smooth_ms: a network that scores by itself smooths by itself; leave it out".into());
    }
    if raw.network.state > MAX_STATE || (raw.network.state > 0 && score != Score::Network) {
        return Err(format!(
            "network.state = {}: at most {MAX_STATE}, and 0 unless score.from is \"network\"",
            raw.network.state
        ));
    }
    Ok(ModelSpec {
        finder: Finder {
            name: raw.name.as_str().into(),
            version: raw.version.as_str().into(),
            // It names the hashes of the other files, so it stands for all.
            hash: hash.get(..16).unwrap_or(hash).into(),
        },
        what: raw.what.as_str().into(),
        score,
        period_ns: raw.period_ms * 1_000_000,
        warmup_ns: millis("warmup_ms", raw.warmup_ms)?,
        features,
        threshold: raw.score.threshold,
        debounce: DebounceSpec {
            k,
            n,
            min_ns: millis("debounce.min_ms", raw.debounce.min_ms)?,
            clear_ns: millis("debounce.clear_ms", raw.debounce.clear_ms)?,
            update_ns: millis("debounce.update_ms", raw.debounce.update_ms)?,
        },
    })
}

fn features(raw: &[RawFeature], period_ms: u64, smooth_ms: u64) -> Result<Vec<ModelFeature>, String> {
    if !(10..=3_600_000).contains(&period_ms) {
        return Err(format!("period_ms = {period_ms}: it must be from 10 to 3600000"));
    }
    if raw.is_empty() || raw.len() > MAX_FEATURES {
        return Err(format!("{} features: it must be from 1 to {MAX_FEATURES}", raw.len()));
    }
    let features: Vec<ModelFeature> = raw
        .iter()
        .map(|f| feature(f, period_ms, smooth_ms).map_err(|e| format!("feature `{}`: {e}", f.name)))
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

fn feature(raw: &RawFeature, period_ms: u64, smooth_ms: u64) -> Result<ModelFeature, String> {
    let function = match raw.function {
        RawFunction::Value => Function::Value,
        RawFunction::Lag => Function::Lag,
        RawFunction::Delta => Function::Delta,
        RawFunction::Mean => Function::Mean,
        RawFunction::Min => Function::Min,
        RawFunction::Max => Function::Max,
        RawFunction::Std => Function::Std,
        RawFunction::Run => Function::Run,
        RawFunction::Valid => Function::Valid,
        RawFunction::Age => Function::Age,
        RawFunction::Gap => Function::Gap,
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
    if raw.name.is_empty()
        || raw.name.len() > MAX_NAME
        || raw.name.contains(|c: char| c.is_control() || ",\"".contains(c))
    {
        return Err(format!(
            "its name is empty, has more than {MAX_NAME} bytes, or a comma, a quote or a line break in it"
        ));
    }
    if raw.only_if.as_ref().is_some_and(|only_if| function.of_times() || !only_if.is.is_finite()) {
        return Err("only_if: of values only, not of the times at which they come; and `is` is a number".into());
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
            let smooth_ms = target.smooth_ms.unwrap_or(smooth_ms);
            let smooth_ns = millis("smooth_ms", smooth_ms)?;
            Some(Target { scale: positive("target.scale", target.scale)?, smooth_ns, class })
        }
    };
    Ok(ModelFeature {
        spec: FeatureSpec {
            name: raw.name.as_str().into(),
            function,
            of: raw.of.clone(),
            window,
            max_age_ns: millis("max_age_ms", raw.max_age_ms)?,
            only_if: raw.only_if.as_ref().map(|only_if| (only_if.signal.clone(), only_if.is)),
        },
        mean: raw.mean,
        std: positive("std", raw.std)?,
        target,
        seen: raw.seen.as_ref().map(seen).transpose()?,
    })
}

fn seen(raw: &RawSeen) -> Result<Seen, String> {
    let RawSeen { min, max, edges, shares } = raw;
    let finite = [min, max].into_iter().chain(edges).all(|x| x.is_finite()) && min <= max;
    if !finite || edges.len() > MAX_EDGES || !edges.is_sorted_by(|a, b| a < b) {
        return Err(format!("seen: numbers must be finite, min at most max, and `edges` ascend, at most {MAX_EDGES}"));
    }
    let sum: f64 = shares.iter().sum();
    if shares.len() != edges.len() + 1
        || !shares.iter().all(|share| (0.0..=1.0).contains(share))
        || (sum - 1.0).abs() > 0.01
    {
        return Err("seen.shares: one more than `edges`, from 0 to 1, and together 1".into());
    }
    Ok(Seen { min: *min, max: *max, edges: edges.clone(), shares: shares.clone() })
}

fn millis(key: &str, ms: u64) -> Result<u64, String> {
    // A day is longer than any of these times can sensibly be; the bound keeps sums of times from overflowing.
    if ms > 86_400_000 { Err(format!("{key} = {ms}: at most 86400000 (a day)")) } else { Ok(ms * 1_000_000) }
}

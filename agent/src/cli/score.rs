//! `outrider features` and `outrider score`: what models see in a recording, and what they make of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::inputs::{Description, Recording};
use super::number::{write_number, write_seconds};
use super::replay::{Out, Output, output, play};
use super::{CliError, inputs};
use crate::config::{Config, EngineConfig};
use crate::engine::guard::Kind;
use crate::engine::{Catalog, Detector, Engine, HealthSpec, Network, Sink, Verdict};
use crate::event::Event;
use crate::model;
use crate::profile::Profile;

#[derive(Args)]
pub(super) struct FeaturesArgs {
    #[command(flatten)]
    recording: Recording,
    /// The configuration, for its buses and models.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A file with `period_ms` and `[[feature]]` tables, for a model that is yet to be trained. Without it, the features
    /// of the configuration's model.
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Which of the configuration's models, by directory name, where it has several.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

#[derive(Args)]
pub(super) struct ScoreArgs {
    #[command(flatten)]
    recording: Recording,
    /// The model's directory.
    #[arg(long, value_name = "DIR", required_unless_present = "profile")]
    model: Option<PathBuf>,
    /// A profile instead: its score, and the part of each kind of oddness. It needs no DBC file.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    profile: Option<PathBuf>,
    #[command(flatten)]
    description: Description,
}

/// Its events are not looked at.
const QUIET: HealthSpec = HealthSpec { period_ns: 60_000_000_000, silent_factor: 5, silent_min_ns: 500_000_000 };

/// One line a grid point: time, then one column a number.
struct CsvPrinter {
    out: Out,
    result: io::Result<()>,
    want: Want,
}

#[derive(PartialEq)]
enum Want {
    Features,
    Score,
}

impl CsvPrinter {
    fn new(want: Want, columns: &[Arc<str>]) -> io::Result<Self> {
        let mut out = output();
        write!(out, "t")?;
        for column in columns {
            write!(out, ",{column}")?;
        }
        writeln!(out)?;
        Ok(Self { out, result: Ok(()), want })
    }

    fn line(&mut self, now_ns: u64, values: impl Iterator<Item = f64>) -> io::Result<()> {
        write_seconds(&mut self.out, now_ns)?;
        for value in values {
            self.out.write_all(b",")?;
            write_number(&mut self.out, value)?;
        }
        self.out.write_all(b"\n")
    }
}

impl Sink for CsvPrinter {
    fn event(&mut self, _: Event) {}

    fn features(&mut self, _: usize, now_ns: u64, values: &[f64]) {
        if self.want == Want::Features && self.result.is_ok() {
            self.result = self.line(now_ns, values.iter().copied());
        }
    }

    fn score(&mut self, _: usize, now_ns: u64, score: f64, parts: &mut dyn Iterator<Item = f64>) {
        if self.want == Want::Score && self.result.is_ok() {
            self.result = self.line(now_ns, std::iter::once(score).chain(parts));
        }
    }
}

impl Output for CsvPrinter {
    fn failed(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.result, Ok(()))
    }
    fn finish(&mut self) -> io::Result<()> {
        self.failed()?;
        self.out.flush()
    }
}

/// Stands for the network where only features are wanted.
struct NoNetwork;

impl Network for NoNetwork {
    fn run(&mut self, _: &[f32], _: &mut Verdict) -> Result<(), String> {
        Ok(())
    }
}

pub(super) fn features(args: &FeaturesArgs) -> Result<(), CliError> {
    let config = Config::load(&args.config)?;
    inputs::warn_all(&config.warnings);
    let path = match &args.features {
        Some(path) => path.clone(),
        None => pick_model(&config.engine, args.model.as_deref())?.join(model::MANIFEST),
    };
    let spec = Arc::new(model::load_feature_spec(&path)?);
    let names: Vec<Arc<str>> = spec.features.iter().map(|f| f.spec.name.clone()).collect();
    let mut engine = single_model(spec, Box::new(NoNetwork), config.engine.catalog, &path)?;
    play(&args.recording, &mut engine, &mut CsvPrinter::new(Want::Features, &names)?)
}

fn pick_model(engine: &EngineConfig, name: Option<&str>) -> Result<PathBuf, CliError> {
    let named = |dir: &&PathBuf| name.is_none_or(|name| dir.file_name().is_some_and(|n| n == name));
    match engine.models.iter().filter(named).collect::<Vec<_>>()[..] {
        [one] => Ok(one.clone()),
        [] => Err(CliError::Usage("no such model in the configuration; name a file with --features".into())),
        _ => Err(CliError::Usage("the configuration has several models: pick one with --model".into())),
    }
}

pub(super) fn score(args: &ScoreArgs) -> Result<(), CliError> {
    let Some(dir) = &args.model else {
        let path = args.profile.as_ref().ok_or_else(|| CliError::Usage("name a --model or a --profile".into()))?;
        return score_profile(args, path);
    };
    let catalog = args.description.catalog()?;
    let (manifest, network) = model::load(dir)?;
    let mut engine = single_model(manifest.spec.clone(), network, catalog, &manifest.path)?;
    let mut columns = vec!["score".into()];
    columns.extend(engine.detectors().iter().flat_map(Detector::target_names));
    play(&args.recording, &mut engine, &mut CsvPrinter::new(Want::Score, &columns)?)
}

fn score_profile(args: &ScoreArgs, path: &Path) -> Result<(), CliError> {
    let profile = Profile::load(path)?;
    let catalog = profile.catalog(args.description.catalog_if_any()?);
    let guard = profile.guard(path, &catalog)?;
    let mut engine = Engine::new(catalog, QUIET, Vec::new(), Vec::new()).with_guard(guard);
    let mut columns: Vec<Arc<str>> = vec!["score".into()];
    columns.extend(Kind::ALL.map(|kind| Arc::from(kind.name())));
    play(&args.recording, &mut engine, &mut CsvPrinter::new(Want::Score, &columns)?)
}

fn single_model(
    spec: Arc<crate::engine::ModelSpec>,
    network: Box<dyn Network>,
    catalog: Catalog,
    path: &Path,
) -> Result<Engine, CliError> {
    let detector = Detector::new(spec, network, &catalog).map_err(|(feature, error)| CliError::Name {
        place: format!("{}: feature `{feature}`", path.display()),
        error,
    })?;
    Ok(Engine::new(catalog, QUIET, Vec::new(), vec![detector]))
}

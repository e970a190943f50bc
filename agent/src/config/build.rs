//! From a configuration to an engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::engine::{
    CampaignSpec, Catalog, CollectSpec, Collector, ConditionSpec, Detector, Engine, Guard, HealthSpec, Models, Network,
};
use crate::event::ModelState;
use crate::model::{self, Budgeted, Manifest, Meter, ModelError};
use crate::profile::{Profile, ProfileError};

/// What an [`Engine`] is made of.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Buses with their plans.
    pub catalog: Catalog,
    /// Collections.
    pub collections: Vec<CollectSpec>,
    /// Directories of models.
    pub models: Vec<PathBuf>,
    /// The profile's file.
    pub profile: Option<PathBuf>,
    /// Conditions.
    pub conditions: Vec<ConditionSpec>,
    /// Campaigns.
    pub campaigns: Vec<CampaignSpec>,
    /// What conditions call the models, in their order, and then the profile.
    pub model_names: Vec<Arc<str>>,
    /// What of the time before models have to have seen, nanoseconds; of the profile it is not known.
    pub warmups_ns: Vec<u64>,
    /// Health.
    pub health: HealthSpec,
}

/// Why an engine could not be made.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A model is refused.
    #[error("model {0}")]
    Model(#[from] ModelError),
    /// The profile is refused.
    #[error("profile {0}")]
    Profile(#[from] ProfileError),
    /// Two models have one name.
    #[error("model {path}: another model is called `{name}`, too; name one of them otherwise")]
    Twice {
        /// The manifest of the second.
        path: PathBuf,
        /// The name.
        name: Arc<str>,
    },
    /// A model asks for a signal or message that the DBC files do not have.
    #[error("model {path}: feature `{feature}`: {error}")]
    Feature {
        /// The model's manifest.
        path: PathBuf,
        /// The feature.
        feature: Arc<str>,
        /// Why.
        error: crate::engine::NameError,
    },
}

/// An engine for a vehicle.
pub struct Live {
    /// The engine.
    pub engine: Engine,
    /// Models, and the profile, that it goes without.
    pub refused: Vec<ModelState>,
    /// How long the others take, by name.
    pub meters: Vec<(Arc<str>, Arc<Meter>)>,
}

impl EngineConfig {
    /// Loads the models and the profile, and makes the engine.
    ///
    /// # Errors
    /// When one of them is refused or does not fit the buses.
    pub fn build(&self) -> Result<Engine, EngineError> {
        let mut detectors = Vec::new();
        for dir in &self.models {
            let (manifest, network) = model::load(dir)?;
            detectors.push(self.detector(&manifest, network, &detectors)?);
        }
        let guard = self.profile.as_deref().map(|path| self.guard(path)).transpose()?;
        Ok(self.engine(detectors, guard))
    }

    /// Makes the engine for a vehicle: what is refused is left out, and models that take too long are benched later.
    pub fn build_live(&self) -> Live {
        let (mut detectors, mut refused, mut meters) = (Vec::new(), Vec::new(), Vec::new());
        for dir in &self.models {
            let detector = model::load(dir).map_err(EngineError::from).and_then(|(manifest, network)| {
                let network = Budgeted::new(network, manifest.budget);
                let meter = (manifest.spec.finder.name.clone(), network.meter());
                Ok((self.detector(&manifest, Box::new(network), &detectors)?, meter))
            });
            match detector {
                Ok((detector, meter)) => {
                    detectors.push(detector);
                    meters.push(meter);
                }
                Err(error) => refused.push(refusal(dir, &error)),
            }
        }
        let mut guard = None;
        if let Some(path) = &self.profile {
            match self.guard(path) {
                Ok(good) => guard = Some(good),
                Err(error) => refused.push(refusal(path, &error.into())),
            }
        }
        Live { engine: self.engine(detectors, guard), refused, meters }
    }

    /// Beside those that are there already.
    fn detector(
        &self,
        manifest: &Manifest,
        network: Box<dyn Network>,
        others: &[Detector],
    ) -> Result<Detector, EngineError> {
        let name = &manifest.spec.finder.name;
        if others.iter().any(|other| other.spec().finder.name == *name) {
            return Err(EngineError::Twice { path: manifest.path.clone(), name: name.clone() });
        }
        Detector::new(manifest.spec.clone(), network, &self.catalog).map_err(|(feature, error)| EngineError::Feature {
            path: manifest.path.clone(),
            feature,
            error,
        })
    }

    fn guard(&self, path: &Path) -> Result<Guard, ProfileError> {
        Profile::load(path)?.guard(path, &self.catalog)
    }

    fn engine(&self, detectors: Vec<Detector>, guard: Option<Guard>) -> Engine {
        let collectors = self.collections.iter().map(|spec| Collector::new(spec.clone(), &self.catalog)).collect();
        let engine = Engine::new(self.catalog.clone(), self.health, collectors, detectors);
        let names: Vec<Arc<str>> =
            engine.detectors().iter().map(|detector| detector.spec().finder.name.clone()).collect();
        let guarded = guard.is_some();
        let engine = match guard {
            Some(guard) => engine.with_guard(guard),
            None => engine,
        };
        // Some may have been refused: what conditions ask of those is not known.
        let place = |name: &Arc<str>| self.model_names.iter().position(|other| other == name);
        let mut models: Vec<Option<usize>> = names.iter().map(place).collect();
        models.extend(guarded.then(|| self.model_names.len().checked_sub(1)));
        let engine = engine.with_campaigns(self.campaigns.clone());
        engine.with_conditions(self.conditions.clone(), Models { names: self.model_names.len(), places: models })
    }
}

fn refusal(path: &Path, error: &EngineError) -> ModelState {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into();
    ModelState { name, state: "refused", reason: error.to_string(), version: "".into() }
}

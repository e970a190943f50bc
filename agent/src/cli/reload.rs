//! A new configuration for the running agent, at each SIGHUP.
//!
//! It is loaded and checked here, on a thread of its own, while the agent goes on; then the engine's thread takes it
//! ([`Change`]). What is wrong with it is in the log, in an `agent` event with state `kept`, and the configuration that the
//! agent has stays in force.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use signal_hook::iterator::Signals;
use thiserror::Error;

use super::run::privacy;
use super::{CliError, inputs};
use crate::config::{Config, ConfigError, SourceConfig};
use crate::event::Identity;
use crate::outbox::OutboxConfig;
use crate::privacy::PrivacyError;
use crate::runtime::{Change, News, Refusal, clock, service};
use crate::uplink::{GatewayError, Uplinks};

/// Why a new configuration is not taken.
#[derive(Debug, Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    #[error("{path}: {source}")]
    Gateway { path: PathBuf, source: GatewayError },
    #[error("{0}")]
    Model(String),
    #[error("{path}: {what} cannot change while the agent runs; restart it")]
    Fixed { path: PathBuf, what: &'static str },
    #[error("{path}: {source}")]
    Refused { path: PathBuf, source: Refusal },
    #[error("the agent ends")]
    Ending,
}

/// What stays as it is for as long as the agent runs.
struct Fixed {
    path: PathBuf,
    vehicle: String,
    /// The names that the vehicle has at some times: they depend on the key and on the period.
    names: Vec<Option<String>>,
    outbox: Option<PathBuf>,
    notify: Option<PathBuf>,
    recorder: Option<(PathBuf, usize)>,
    source: String,
}

impl Fixed {
    fn of(path: &Path, config: &Config) -> Self {
        const YEAR_NS: u64 = 366 * 86_400_000_000_000;
        let naming = config.privacy.naming(Identity { vehicle: config.vehicle.clone(), boot: "".into() });
        let source = match &config.source {
            // Interfaces come and go.
            Some(SourceConfig::SocketCan { .. }) => "socketcan".to_owned(),
            other => {
                let buses: Vec<&str> = config.engine.catalog.buses().iter().map(|bus| &*bus.name).collect();
                format!("{other:?} {buses:?}")
            }
        };
        Self {
            path: path.into(),
            vehicle: config.vehicle.to_string(),
            names: (0..64).map(|year| naming.due(year * YEAR_NS).map(|name| name.to_string())).collect(),
            outbox: config.outbox.as_ref().map(|place| place.dir.clone()),
            notify: config.notify.clone(),
            recorder: config.recorder.as_ref().map(|place| (place.config.dir.clone(), place.config.memory_bytes)),
            source,
        }
    }

    fn check(&self, new: &Self) -> Result<(), ReloadError> {
        let same = [
            ("vehicle.id", self.vehicle == new.vehicle),
            ("the vehicle's pseudonym ([privacy] vehicle, key_file, rotate_days)", self.names == new.names),
            ("outbox.dir", self.outbox == new.outbox),
            ("[notify] socket", self.notify == new.notify),
            ("[recorder] dir and memory_kib", self.recorder == new.recorder),
            ("[source]", self.source == new.source),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(ReloadError::Fixed { path: self.path.clone(), what }),
            None => Ok(()),
        }
    }
}

/// Has the configuration at `path` loaded anew at each of `signals`.
///
/// # Errors
/// When there is no thread for it.
pub(super) fn start(path: &Path, config: &Config, mut signals: Signals) -> Result<Receiver<News>, CliError> {
    let fixed = Fixed::of(path, config);
    let (sender, changes) = sync_channel(1);
    let reload = move || {
        // Several at once are one: what counts is the file as it is now.
        for _ in signals.forever() {
            service::reloading();
            match take(&fixed, &sender) {
                Ok(()) => tracing::info!("{} is in force", fixed.path.display()),
                Err(ReloadError::Ending) => return,
                Err(error) => {
                    tracing::error!("the configuration stays as it is: {error}");
                    // What is wrong may quote the vehicle's own name.
                    let hidden = fixed.names.iter().any(Option::is_some);
                    let reason = if hidden { "told in the log".to_owned() } else { error.to_string() };
                    let _ = sender.send(News::Kept(reason));
                }
            }
            service::ready();
        }
    };
    let thread = std::thread::Builder::new().name("reload".into()).spawn(reload);
    thread.map_err(|source| CliError::File { path: "thread for reloading".into(), source })?;
    Ok(changes)
}

/// Loads it, and waits until the engine has taken it.
fn take(fixed: &Fixed, changes: &SyncSender<News>) -> Result<(), ReloadError> {
    let config = Config::load(&fixed.path)?;
    inputs::warn_all(&config.warnings);
    fixed.check(&Fixed::of(&fixed.path, &config))?;
    let live = config.engine.build_live();
    let privacy = privacy(&config.privacy, &live.engine)?;
    let at_fault = |source| ReloadError::Gateway { path: fixed.path.clone(), source };
    // What topics make of the name was checked with the one that it has; certificates that cannot be read are an error now.
    let identity = Identity { vehicle: config.vehicle.clone(), boot: clock::boot_id() };
    Uplinks::new(config.uplink.clone(), &identity).and_then(|links| links.check_files()).map_err(at_fault)?;
    if let Some(model) = live.refused.first() {
        return Err(ReloadError::Model(model.reason.clone()));
    }
    let recorder = config.recorder.as_ref().map(|place| place.settings(&live.engine, privacy.as_ref()));
    let listen = match config.source {
        Some(SourceConfig::SocketCan { listen }) => listen,
        _ => Vec::new(),
    };
    let outbox = config.outbox.map_or(OutboxConfig::new(0), |place| place.config);
    let (done, taken) = sync_channel(1);
    let change = Change { live, listen, privacy, recorder, outbox, uplink: config.uplink, done };
    changes.send(News::Change(Box::new(change))).map_err(|_| ReloadError::Ending)?;
    match taken.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(ReloadError::Refused { path: fixed.path.clone(), source }),
        Err(_) => Err(ReloadError::Ending),
    }
}

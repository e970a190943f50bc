//! `outrider run` and `outrider check`.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{CliError, inputs, reload};
use crate::config::Config;
use crate::engine::Engine;
use crate::event::Identity;
use crate::outbox::{CAMPAIGNS, SledOutbox};
use crate::privacy::{Privacy, PrivacyError, PrivacySpec};
use crate::runtime::notify::Notifier;
use crate::runtime::{self, Accounts, Parts, clock};
use crate::source;
use crate::uplink::{Monitors, Uplinks};

pub(super) fn run(path: &Path) -> Result<(), CliError> {
    let signal_error = |source| CliError::File { path: "signal handler".into(), source };
    // From the first moment on: until it is taken, this signal would end the process.
    let reloads = Signals::new([SIGHUP]).map_err(signal_error)?;
    let config = Config::load(path)?;
    inputs::warn_all(&config.warnings);
    // Where the kernel gives huge pages to all, a thread's first bytes of heap or stack would take 2 MiB. It is no fault when it
    // cannot be told.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let missing = |table: &str| CliError::Usage(format!("{}: `run` needs the table [{table}]", path.display()));
    let source_config = config.source.as_ref().ok_or_else(|| missing("source"))?;
    let outbox_place = config.outbox.as_ref().ok_or_else(|| missing("outbox"))?;

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The first one stops in good order; a second one ends at once, which loses nothing that was committed.
        signal_hook::flag::register_conditional_shutdown(signal, 1, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(signal_error)?;
    }
    let identity = Identity { vehicle: config.vehicle.clone(), boot: clock::boot_id() };
    let live = config.engine.build_live();
    let privacy = privacy(&config.privacy, &live.engine)?;
    for model in &live.refused {
        tracing::error!("goes on without {}: {}", model.name, model.reason);
    }
    // The outbox comes last: what fails before it leaves it alone, however often a supervisor tries again.
    let source = source::open(source_config, live.engine.catalog())?;
    let recorder =
        config.recorder.as_ref().map(|place| (place.config.clone(), place.settings(&live.engine, privacy.as_ref())));
    let notifier = config.notify.as_deref().map(Notifier::open).transpose()?;
    let now = if source.is_live() { clock::moment() } else { clock::wall_ns().into() };
    let naming = config.privacy.naming(identity);
    let outbox = SledOutbox::open(&outbox_place.dir, outbox_place.config, naming, now)?;
    let identity = outbox.current().clone();
    tracing::info!("outrider {} runs for vehicle {}", env!("CARGO_PKG_VERSION"), identity.vehicle);
    if config.uplink.gateways.is_empty() {
        tracing::warn!("no [[gateway]]: events stay in the outbox");
    }
    let changes = reload::start(path, &config, reloads)?;
    let parts = Parts {
        source,
        identity,
        live,
        privacy,
        outbox: Arc::new(Mutex::new(outbox)),
        monitors: Monitors::new(&config.uplink),
        uplink: config.uplink,
        changes: Some(changes),
        notifier,
        recorder,
        accounts: Accounts::open(Some(outbox_place.dir.join(CAMPAIGNS))),
        observer: None,
    };
    let outcome = runtime::run(parts, &stop)?;
    tracing::info!(
        "stopped: {} frames, {} events, {} acknowledged batches, {} events left in the outbox, {} lost and explained",
        outcome.frames,
        outcome.events,
        outcome.link.acked,
        outcome.outbox.depth(),
        outcome.outbox.lost
    );
    Ok(())
}

/// The rules at work, if there are any.
pub(super) fn privacy(spec: &PrivacySpec, engine: &Engine) -> Result<Option<Privacy>, PrivacyError> {
    if spec.rules.is_empty() { Ok(None) } else { Privacy::new(spec, engine).map(Some) }
}

pub(super) fn check(path: &Path) -> Result<(), CliError> {
    let config = Config::load(path)?;
    inputs::warn_all(&config.warnings);
    let engine = config.engine.build()?;
    let rules = config.privacy.rules.len();
    privacy(&config.privacy, &engine)?;
    let gateways = config.uplink.gateways.len();
    let identity = Identity { vehicle: config.vehicle, boot: String::new().into() };
    Uplinks::new(config.uplink, &identity)
        .and_then(|uplinks| uplinks.check_files())
        .map_err(|source| CliError::Uplink { path: path.into(), source })?;
    tracing::info!(
        "{} is good: {} buses, {} messages, {} signals, {} collections, {} models, {} profile, {rules} privacy rules, {gateways} gateways",
        path.display(),
        engine.catalog().buses().len(),
        engine.catalog().message_count(),
        engine.catalog().signal_count(),
        config.engine.collections.len(),
        engine.detectors().len(),
        if engine.guard().is_some() { "a" } else { "no" }
    );
    Ok(())
}

//! The main job in one command: a simulated vehicle, the real agent, an embedded MQTT broker.
//!
//! ```text
//! cargo run --release --example demo
//! ```
//!
//! A car drives on two simulated buses. Faults are injected into it, it crashes, the link to the
//! broker is cut and comes back. An independent subscriber at the broker counts what arrives, and
//! the end is a comparison: what was produced against what arrived, what was injected against what
//! was found. The exit code is 1 when anything is missing. Nothing else has to be installed; no
//! network beyond loopback and no privilege is needed.

mod broker;
mod options;
#[path = "../../../tests/support/proxy.rs"]
#[expect(clippy::unwrap_used, reason = "a helper of the tests: it may fail loudly")]
mod proxy;
mod scenario;
mod subscriber;
mod summary;
mod view;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use outrider::config::{Config, Live};
use outrider::event::Identity;
use outrider::outbox::SledOutbox;
use outrider::runtime::{self, Parts, clock};
use outrider::source;
use outrider::uplink::{LinkSnapshot, Monitors};

use options::Options;
use scenario::Scenario;

#[expect(clippy::print_stderr, reason = "there is no log in the demo: what goes wrong is said here")]
fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True when all arrived and all was found.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let broker_port = broker::start()?;
    let subscriber = subscriber::start(broker_port)?;
    let link = proxy::Proxy::start(broker_port);
    let scenario = Scenario::new(options)?;
    let config = Config::parse(&dir.path().join("demo.toml"), &scenario.config(dir.path(), link.port)?)?;

    let live = Live { engine: config.engine.build()?, refused: Vec::new(), meters: Vec::new() };
    let identity = Identity { vehicle: config.vehicle.clone(), boot: clock::boot_id() };
    let place = config.outbox.as_ref().ok_or("the demo's configuration has no outbox")?;
    let outbox = Arc::new(Mutex::new(SledOutbox::open(&place.dir, place.config, identity.clone(), clock::wall_ns())?));
    let source_config = config.source.as_ref().ok_or("the demo's configuration has no source")?;
    let source = source::open(source_config, live.engine.catalog())?;
    let monitors = Monitors::new(&config.uplink);
    let links = monitors.links.clone();
    let view = Arc::new(view::Shared::default());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }

    let parts = Parts {
        identity,
        source,
        live,
        privacy: None,
        outbox: outbox.clone(),
        uplink: config.uplink,
        monitors,
        changes: None,
        notifier: None,
        recorder: None,
        accounts: outrider::runtime::Accounts::default(),
        observer: Some(view.observer(&scenario)),
    };
    let started = Instant::now();
    let agent = {
        let stop = stop.clone();
        std::thread::Builder::new().name("agent".into()).spawn(move || runtime::run(parts, &stop))?
    };

    // This thread plays the world around the agent: the network, the person who looks on, the clock.
    let mut screen = view::Screen::new(scenario.length());
    while !agent.is_finished() {
        let passed = started.elapsed();
        let cut = scenario.link_is_cut(passed);
        link.refuse(cut);
        if cut {
            link.cut();
        }
        // A recording ends by itself.
        if scenario.is_simulated() && passed >= scenario.length() {
            stop.store(true, Ordering::Relaxed);
        }
        let stat = outrider::outbox::Outbox::stat(&*outrider::outbox::lock(&outbox));
        screen.draw(&view, &stat, &LinkSnapshot::sum(&links), &subscriber.progress(), passed)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    screen.close()?;
    let outcome = agent.join().map_err(|_| "the agent's thread failed")??;
    let produced = outcome.outbox.next_seq - 1;
    let received = subscriber.finish(produced, Duration::from_secs(10));
    Ok(summary::print(&scenario, &outcome, &received, started.elapsed())?)
}

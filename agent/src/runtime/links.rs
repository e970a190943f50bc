//! The uplink's thread, and the next one's when the configuration of gateways changes.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::service::Pulse;
use super::{RunError, join, spawn};
use crate::event::{Body, Identity};
use crate::outbox::Outbox;
use crate::uplink::{GatewayError, LinkMonitor, LinkSnapshot, Monitors, NetworkMonitor, UplinkConfig, Uplinks, Waker};

/// How often the uplink's thread shows that it runs.
const BEAT: Duration = Duration::from_secs(10);

/// The links to all gateways, as configured now.
pub(super) struct Links {
    config: UplinkConfig,
    identity: Identity,
    outbox: Arc<Mutex<dyn Outbox>>,
    waker: Waker,
    pulse: Pulse,
    monitors: Monitors,
    networks: Vec<Arc<NetworkMonitor>>,
    running: Option<Running>,
    /// What gateways that are no longer there had refused and put off: deferred, rejected, unclaimed.
    gone: [u64; 3],
}

/// Dropped, it ends in good order by itself.
struct Running {
    thread: JoinHandle<()>,
    shutdown: oneshot::Sender<()>,
}

impl Running {
    fn stop(self) {
        let _ = self.shutdown.send(());
        join("uplink", self.thread);
    }
}

impl Links {
    /// # Errors
    /// When a gateway could never work as it is, or there is no thread.
    pub(super) fn start(
        config: UplinkConfig,
        identity: &Identity,
        outbox: Arc<Mutex<dyn Outbox>>,
        waker: Waker,
        monitors: Monitors,
        pulse: Pulse,
    ) -> Result<Self, RunError> {
        let uplinks = Uplinks::new(config.clone(), identity)?;
        let mut links = Self {
            config,
            identity: identity.clone(),
            outbox,
            waker,
            pulse,
            monitors,
            networks: Vec::new(),
            running: None,
            gone: [0; 3],
        };
        links.run(uplinks)?;
        Ok(links)
    }

    /// Makes the links that `config` asks for; nothing is done for what is already so. Those that are there end first, which
    /// nobody waits for: what they have on the way is acknowledged, or read from the outbox again.
    ///
    /// # Errors
    /// As for [`Self::start`]: when a gateway could never work all is as it was; without a thread there are no links until the
    /// next change.
    pub(super) fn change(&mut self, config: UplinkConfig) -> Result<(), RunError> {
        if config == self.config {
            return Ok(());
        }
        let uplinks = self.check(&config)?;
        let gone = LinkSnapshot::sum(&self.monitors.change(&config));
        for (sum, more) in self.gone.iter_mut().zip([gone.deferred, gone.rejected, gone.unclaimed]) {
            *sum += more;
        }
        self.config = config;
        self.run(uplinks)
    }

    /// The links of `config`, not yet at work.
    ///
    /// # Errors
    /// When a gateway could never work as it is.
    pub(super) fn check(&self, config: &UplinkConfig) -> Result<Uplinks, GatewayError> {
        // The engine does not wait for the disk. Under a name that is no longer the right one, links take the right one
        // before they connect.
        let now = self.outbox.try_lock().ok().and_then(|outbox| outbox.identity().cloned());
        Uplinks::new(config.clone(), now.as_ref().unwrap_or(&self.identity))
    }

    fn run(&mut self, uplinks: Uplinks) -> Result<(), RunError> {
        let before = self.running.take();
        self.networks = uplinks.networks().to_vec();
        if self.config.gateways.is_empty() && before.is_none() {
            return Ok(());
        }
        let (shutdown, shut) = oneshot::channel();
        let (outbox, waker, pulse) = (self.outbox.clone(), self.waker.clone(), self.pulse.clone());
        let (monitors, wanted) = (self.monitors.links.clone(), !self.config.gateways.is_empty());
        let thread = spawn("uplink", move || {
            before.into_iter().for_each(Running::stop);
            if wanted {
                send(uplinks, outbox, waker, monitors, shut, &pulse);
            } else {
                pulse.rest();
            }
        })?;
        self.running = Some(Running { thread, shutdown });
        Ok(())
    }

    /// What the links have to tell.
    pub(super) fn reports(&self) -> impl Iterator<Item = Body> {
        self.monitors.reports.try_iter()
    }

    /// What networks with a budget carry.
    pub(super) fn networks(&self) -> &[Arc<NetworkMonitor>] {
        &self.networks
    }

    /// Batches deferred, rejected and unclaimed so far.
    pub(super) fn refused(&self) -> [u64; 3] {
        let link = LinkSnapshot::sum(&self.monitors.links);
        let [deferred, rejected, unclaimed] = self.gone;
        [deferred + link.deferred, rejected + link.rejected, unclaimed + link.unclaimed]
    }

    /// Sends what can be sent in time; all links together at the end.
    pub(super) fn stop(self) -> LinkSnapshot {
        self.running.into_iter().for_each(Running::stop);
        LinkSnapshot::sum(&self.monitors.links)
    }
}

/// The uplink's thread.
fn send(
    uplinks: Uplinks,
    outbox: Arc<Mutex<dyn Outbox>>,
    waker: Waker,
    monitors: Vec<Arc<LinkMonitor>>,
    shut: oneshot::Receiver<()>,
    pulse: &Pulse,
) {
    // From here on it is missed when it does not beat: also when it cannot start.
    pulse.beat();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("the uplink cannot start: {error}; events stay in the outbox"),
    };
    let shutdown = async {
        // An error means that the other side is gone: shut down as well.
        let _ = shut.await;
    };
    let beating = async {
        loop {
            pulse.beat();
            tokio::time::sleep(BEAT).await;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            () = uplinks.run(outbox, waker, monitors, shutdown) => {}
            () = beating => {}
        }
    });
    pulse.rest();
    // Dropped, it would wait for a name that is still being looked up: half a minute where there is no network.
    runtime.shutdown_background();
}

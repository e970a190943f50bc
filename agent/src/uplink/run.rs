//! Runs the links to all gateways, on one thread: each connects when it is wanted, sends what is its own, and waits after
//! a failure.

use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::backoff::{Backoff, up_to};
use super::config::{ConfigError, GatewayConfig, GatewayError, Protocol, UplinkConfig};
use super::delivery::Delivery;
use super::dispatch::{Dispatch, Terms};
use super::hub::{Desk, Hub};
use super::kafka::KafkaGateway;
use super::link::LinkMonitor;
use super::lookout::{DAY_S, Roam, Watch};
use super::mqtt::MqttGateway;
use super::network::{NetworkMonitor, Networks};
use super::tls::Credentials;
use super::{Bell, Listener, Waker};
use crate::event::{Body, Identity};
use crate::outbox::Outbox;

/// For so long after the computer has slept the gateway is tried again soon.
const EAGER: Duration = Duration::from_secs(30);
const EAGER_WAIT: Duration = Duration::from_millis(500);
/// Reports that wait to become events, at most.
const REPORTS: usize = 64;
/// Nothing changes by itself: look again after this long.
const IDLE: Duration = Duration::from_secs(3600);

/// What is known of the links from outside.
#[derive(Debug)]
pub struct Monitors {
    /// One for each gateway, in their order.
    pub links: Vec<Arc<LinkMonitor>>,
    /// What they have to tell, for events.
    pub reports: Receiver<Body>,
    reporter: SyncSender<Body>,
}

impl Default for Monitors {
    fn default() -> Self {
        let (reporter, reports) = sync_channel(REPORTS);
        Self { links: Vec::new(), reports, reporter }
    }
}

impl Monitors {
    /// For the gateways of a configuration.
    pub fn new(config: &UplinkConfig) -> Self {
        let mut monitors = Self::default();
        monitors.change(config);
        monitors
    }

    /// For those of another one. A gateway that keeps its name keeps its monitor. Returns those that are gone.
    pub fn change(&mut self, config: &UplinkConfig) -> Vec<Arc<LinkMonitor>> {
        let mut before = std::mem::take(&mut self.links);
        for gateway in &config.gateways {
            let known = before.iter().position(|link| link.name() == &*gateway.name);
            let new = || Arc::new(LinkMonitor::new(&*gateway.name).reporting(self.reporter.clone()));
            self.links.push(known.map_or_else(new, |i| before.remove(i)));
        }
        before
    }
}

/// Checked gateways, ready to run.
#[derive(Debug)]
pub struct Uplinks {
    config: UplinkConfig,
    gateways: Vec<Gateway>,
    identity: Identity,
    networks: Vec<Arc<NetworkMonitor>>,
}

#[derive(Debug)]
enum Gateway {
    Mqtt(Box<MqttGateway>),
    Kafka(Box<KafkaGateway>),
}

/// What a connection works with.
pub(crate) struct Ctx<'a, O: ?Sized> {
    pub(crate) desk: Desk<O>,
    pub(crate) delivery: Delivery,
    pub(crate) monitor: &'a LinkMonitor,
    pub(crate) listener: Listener,
    pub(crate) shutdown: Shutdown,
    /// Certificates or keys have changed and can be used, or another network leads to the gateway.
    pub(crate) renewed: Bell,
    pub(crate) drain_timeout: Duration,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Shutdown was asked for.
    Shutdown,
    /// It was not wanted any more.
    Released,
    /// Certificates have changed, or there is another network.
    Renewed,
    /// By itself.
    Lost(Loss),
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) reason: String,
    /// Something was acknowledged on it.
    pub(crate) useful: bool,
    pub(crate) by: By,
}

/// Who ended a connection: that decides when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The gateway hung up, on all of its vehicles perhaps, or is overloaded.
    Gateway,
    /// Anything between, or something that somebody has to mend.
    Network,
    /// The computer was asleep.
    Sleep,
    /// The gateway sends us to another server.
    Redirect,
}

/// Told when the links have to end.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Waits until shutdown is asked for. Returns at once from then on.
    pub(crate) async fn asked(&mut self) {
        // An error means that the other side is gone: shut down as well.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}

impl Gateway {
    fn new(config: &GatewayConfig, identity: &Identity) -> Result<Self, ConfigError> {
        Ok(match &config.protocol {
            Protocol::Mqtt(mqtt) => Self::Mqtt(MqttGateway::new((**mqtt).clone(), identity)?.into()),
            Protocol::Kafka(kafka) => Self::Kafka(KafkaGateway::new((**kafka).clone(), identity)?.into()),
        })
    }

    async fn session<O: Outbox + ?Sized>(&mut self, ctx: &mut Ctx<'_, O>) -> End {
        match self {
            Self::Mqtt(gateway) => gateway.session(ctx).await,
            Self::Kafka(gateway) => gateway.session(ctx).await,
        }
    }

    /// For another vehicle's name, with the credentials that are in use.
    fn renamed(&self, config: &GatewayConfig, identity: &Identity) -> Result<Self, ConfigError> {
        let credentials = self.credentials().map(|(_, credentials)| credentials);
        Ok(match Self::new(config, identity)? {
            Self::Mqtt(gateway) => Self::Mqtt(gateway.with_credentials(credentials).into()),
            Self::Kafka(gateway) => Self::Kafka(gateway.with_credentials(credentials).into()),
        })
    }

    /// The host that is connected to first.
    fn host(&self) -> &str {
        match self {
            Self::Mqtt(gateway) => gateway.host(),
            Self::Kafka(gateway) => gateway.host(),
        }
    }

    /// That host, and what it is connected to with; `None` without TLS.
    fn credentials(&self) -> Option<(String, Arc<Credentials>)> {
        let credentials = match self {
            Self::Mqtt(gateway) => gateway.credentials(),
            Self::Kafka(gateway) => gateway.credentials(),
        };
        Some((self.host().to_owned(), credentials?))
    }
}

impl Uplinks {
    /// Checks `config`, also that the topics suit the vehicle's name.
    ///
    /// # Errors
    /// The gateway's name, and why it could never work as it is.
    pub fn new(config: UplinkConfig, identity: &Identity) -> Result<Self, GatewayError> {
        config.check()?;
        let gateway =
            |gateway: &GatewayConfig| Gateway::new(gateway, identity).map_err(|error| GatewayError::of(gateway, error));
        let gateways = config.gateways.iter().map(gateway).collect::<Result<_, _>>()?;
        let networks = config.networks.iter().map(|network| Arc::new(NetworkMonitor::new(network))).collect();
        Ok(Self { config, gateways, identity: identity.clone(), networks })
    }

    /// What each network carries, in the order of the configuration.
    pub fn networks(&self) -> &[Arc<NetworkMonitor>] {
        &self.networks
    }

    /// Checks that certificates and keys can be read and used now. They are read again for each connection: a file
    /// that is missing for a while keeps the link down, but nothing else.
    ///
    /// # Errors
    /// The gateway's name, which file, and why.
    pub fn check_files(&self) -> Result<(), GatewayError> {
        for (gateway, config) in self.gateways.iter().zip(&self.config.gateways) {
            if let Some((host, credentials)) = gateway.credentials() {
                let made = credentials.client_config(&host);
                made.map_err(|error| GatewayError::of(config, error.into()))?;
            }
        }
        Ok(())
    }

    /// Sends what is in `outbox` until `shutdown` resolves, then what still waits, at most for the
    /// configured time and only over links that are up, and disconnects.
    ///
    /// Never fails: trouble with a link is counted in its monitor and tried again. `outbox` is
    /// locked for single calls only. Call `waker` after each commit of the outbox.
    pub async fn run<O: Outbox + ?Sized + 'static>(
        self,
        outbox: Arc<Mutex<O>>,
        waker: Waker,
        monitors: Vec<Arc<LinkMonitor>>,
        shutdown: impl Future<Output = ()>,
    ) {
        let UplinkConfig {
            gateways: configs,
            copies,
            audiences,
            failover_after,
            failback_after,
            drain_timeout,
            certificate_warning_days,
            networks,
            network_note,
            roam_check,
            hide_subject,
            credentials_check,
        } = self.config;
        let terms = configs.iter().map(|c| Terms { classes: c.classes, region: c.region.clone() }).collect();
        let times = (failover_after, failback_after);
        let dispatch = Dispatch::new(terms, copies, times, &audiences, Instant::now());
        let networks = Networks::new(networks, self.networks, network_note);
        let hub = Hub::new(outbox, dispatch, monitors.clone(), self.identity, Rc::clone(&networks));
        let (ask, asked) = watch::channel(false);
        let links = tokio::task::LocalSet::new();
        if !networks.is_empty() {
            links.spawn_local(Rc::clone(&networks).watch(Shutdown(asked.clone())));
        }
        for (i, ((gateway, config), monitor)) in self.gateways.into_iter().zip(configs).zip(monitors).enumerate() {
            let (hub, listener, shutdown) = (Rc::clone(&hub), waker.listen(), Shutdown(asked.clone()));
            let (renewal, renewed) = watch::channel(());
            let renewed = Bell(renewed);
            if let Some((host, credentials)) = gateway.credentials() {
                let watch = Watch {
                    host,
                    credentials,
                    monitor: monitor.clone(),
                    renewal: renewal.clone(),
                    every: credentials_check,
                    hide_subject,
                    warning: i64::from(certificate_warning_days) * DAY_S,
                };
                links.spawn_local(watch.run(shutdown.clone()));
            }
            let desk = hub.desk(i);
            let roam = (!networks.is_empty()).then(|| {
                let (networks, host, way) = (Rc::clone(&networks), gateway.host().to_owned(), Rc::clone(desk.way()));
                Rc::new(Roam { networks, host, way, renewal, every: roam_check })
            });
            if let Some(roam) = roam.clone() {
                links.spawn_local(roam.run(shutdown.clone()));
            }
            links.spawn_local(async move {
                let delivery = Delivery::new(config.payload(), config.backoff_min, config.backoff_max);
                drop(hub);
                let ctx = Ctx { desk, delivery, monitor: &monitor, listener, shutdown, renewed, drain_timeout };
                drive(gateway, &config, ctx, roam).await;
            });
        }
        let stop = async {
            shutdown.await;
            ask.send_replace(true);
            // The links end by themselves now.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = links => {}
            () = stop => {}
        }
    }
}

/// One link, until shutdown.
async fn drive<O: Outbox + ?Sized>(
    mut gateway: Gateway,
    config: &GatewayConfig,
    mut ctx: Ctx<'_, O>,
    roam: Option<Rc<Roam>>,
) {
    let mut backoff = Backoff::new(config.backoff_min, config.backoff_max);
    let mut resumed: Option<Instant> = None;
    while wanted(&mut ctx).await {
        if ctx.desk.is_renamed() {
            match gateway.renamed(config, &ctx.desk.identity()) {
                Ok(renamed) => gateway = renamed,
                // A pseudonym can stand wherever the name could that was checked at the start.
                Err(error) => tracing::error!("gateway {}: {error}; goes on under the old name", config.name),
            }
        }
        // What rang before concerns connections that are gone: this one is made with what is there now.
        ctx.listener.resumed.silence();
        ctx.renewed.silence();
        ctx.monitor.connecting();
        if let Some(roam) = &roam {
            tokio::select! {
                _ = roam.look() => {}
                () = ctx.shutdown.asked() => break,
            }
        }
        let started = Instant::now();
        let end = gateway.session(&mut ctx).await;
        ctx.monitor.in_flight(0);
        ctx.desk.down(Instant::now());
        let loss = match end {
            End::Shutdown => break,
            End::Released | End::Renewed => {
                ctx.monitor.left(if matches!(end, End::Released) {
                    "link not needed"
                } else {
                    "certificates or network changed"
                });
                backoff.reset();
                continue;
            }
            End::Lost(loss) => loss,
        };
        // A gateway that accepts and then hangs up is not to be asked in a tight loop.
        if loss.useful || started.elapsed() >= config.backoff_max {
            backoff.reset();
        }
        let mut wait = backoff.next();
        match loss.by {
            By::Sleep => (wait, resumed) = (Duration::ZERO, Some(Instant::now())),
            By::Gateway => wait = wait.max(backoff.hung_up(config.reconnect_spread)),
            By::Redirect => wait = up_to(config.reconnect_spread.min(EAGER_WAIT)),
            By::Network => {}
        }
        if loss.by != By::Sleep && resumed.is_some_and(|at| at.elapsed() < EAGER) {
            // The network comes back within seconds, each vehicle's at a time of its own.
            backoff.reset();
            wait = wait.min(EAGER_WAIT);
        }
        ctx.monitor.failed(&loss.reason, wait);
        // Only what becomes urgent from now on; what was, was tried on the connection that has just ended.
        ctx.listener.urgent.silence();
        let until = Instant::now() + wait;
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            () = ctx.listener.resumed.rung() => resumed = Some(Instant::now()),
            // Not at once: the failure may be a matter of moments.
            () = ctx.listener.urgent.rung() => {
                tokio::time::sleep(until.saturating_duration_since(Instant::now()).min(up_to(EAGER_WAIT))).await;
            }
            () = ctx.shutdown.asked() => break,
        }
    }
    ctx.monitor.ended();
    ctx.desk.down(Instant::now());
}

/// Waits until there ought to be a connection. False: shutdown came first.
async fn wanted<O: Outbox + ?Sized>(ctx: &mut Ctx<'_, O>) -> bool {
    loop {
        let now = Instant::now();
        if ctx.desk.is_renamed() || ctx.desk.wanted(now) {
            return true;
        }
        let change = ctx.desk.next_change(now).unwrap_or(now + IDLE);
        tokio::select! {
            () = ctx.desk.changed() => {}
            () = tokio::time::sleep_until(change.into()) => {}
            () = ctx.shutdown.asked() => return false,
        }
    }
}

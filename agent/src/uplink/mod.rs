//! Uplinks: how events get to the regional gateways.
//!
//! ```text
//!            read / ack / reject                                         PUBLISH, produce
//!  Outbox ◀──────────────────────▶ Desk ◀──▶ Delivery ──▶ session ─────────────────────▶ gateway
//!                                    ▲        schedule     MQTT, Kafka ◀───────────────── PUBACK, acks=all
//!                                    │        payload
//!                     Hub: who carries what (dispatch), what has to get to several places (custody)
//! ```
//!
//! * `dispatch` decides which gateways are connected to and carry what; pure.
//! * `custody` knows what has to get to several gateways and where it is already; pure.
//! * `hub` is what the links share; each works at its desk of it.
//! * `schedule` decides which class is next on a link; pure.
//! * `payload` turns a batch into messages that fit; pure.
//! * `delivery` joins both to the desk and settles each batch once; no network.
//! * `mqtt` and `kafka` carry messages; only they name the client libraries.
//! * `network` knows what a metered network may carry today, and what it has carried.
//! * `tls` says whom to trust and proves who we are, for both.
//! * `run` drives the links; `lookout` says when one is better made anew; `link` tells the rest of the agent how each does.
//!
//! The outbox is the only truth about what is delivered: a batch leaves it when its gateway, or its gateways, have
//! acknowledged all of it, and never before. What a connection had in flight when it ended is
//! read from the outbox and sent again, so a gateway may see an event twice, but never none.

mod backoff;
mod config;
mod custody;
mod delivery;
mod dispatch;
mod hub;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(not(feature = "kafka"))]
#[path = "kafka/without.rs"]
mod kafka;
mod link;
mod lookout;
mod mqtt;
pub mod network;
mod payload;
mod run;
mod schedule;
pub mod tls;
mod topic;

use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use config::is_loopback;
pub use config::{ConfigError, GatewayConfig, GatewayError, PayloadFormat, Protocol, ReadError, Secret, UplinkConfig};
pub(crate) use kafka::consume;
pub use kafka::{Compression, KafkaConfig, Sasl, SaslMechanism};
pub use link::{LinkMonitor, LinkSnapshot, LinkState};
pub(crate) use mqtt::subscribe;
pub use mqtt::{MqttConfig, MqttVersion};
pub use network::{NetworkConfig, NetworkMonitor};
pub use run::{Monitors, Uplinks};
pub use tls::{TlsConfig, TlsError};
pub use topic::{TopicError, TopicTemplate};

/// Tells the links that something happened elsewhere in the agent. Cheap, never blocks, may be called from any thread.
///
/// Only hints that save waiting: the links also go on by themselves while there is a backlog.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Bells>);

#[derive(Debug)]
struct Bells {
    news: watch::Sender<()>,
    urgent: watch::Sender<()>,
    resumed: watch::Sender<()>,
}

impl Default for Waker {
    fn default() -> Self {
        let bell = || watch::Sender::new(());
        Self(Arc::new(Bells { news: bell(), urgent: bell(), resumed: bell() }))
    }
}

impl Waker {
    /// A waker that nobody has called.
    pub fn new() -> Self {
        Self::default()
    }

    /// The outbox has something new. Calls before a link looks are merged into one.
    pub fn notify(&self) {
        self.0.news.send_replace(());
    }

    /// Something critical is in the outbox: no wait that only spares the gateway is worth it.
    pub fn urgent(&self) {
        self.0.urgent.send_replace(());
    }

    /// The computer has slept: connections may be dead and nobody has said so, and what waits for a better time has
    /// waited long enough.
    pub fn resume(&self) {
        self.0.resumed.send_replace(());
    }

    /// Somebody to be told of all later calls.
    pub fn listen(&self) -> Listener {
        let Bells { news, urgent, resumed } = &*self.0;
        Listener { news: Bell(news.subscribe()), urgent: Bell(urgent.subscribe()), resumed: Bell(resumed.subscribe()) }
    }
}

/// One who is told by a [`Waker`].
#[derive(Debug)]
pub struct Listener {
    /// [`Waker::notify`].
    pub(crate) news: Bell,
    /// [`Waker::urgent`].
    pub(crate) urgent: Bell,
    /// [`Waker::resume`].
    pub(crate) resumed: Bell,
}

/// One kind of news.
#[derive(Debug)]
pub(crate) struct Bell(watch::Receiver<()>);

impl Bell {
    /// Forgets calls so far.
    pub(crate) fn silence(&mut self) {
        self.0.borrow_and_update();
    }

    /// Whether there was a call since this was last asked, or [`Self::rung`] returned.
    pub(crate) fn has_rung(&mut self) -> bool {
        let has = self.0.has_changed().unwrap_or(false);
        self.0.borrow_and_update();
        has
    }

    /// Waits for a call; returns at once if there was one since this last returned.
    pub(crate) async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could call.
            std::future::pending().await
        }
    }
}

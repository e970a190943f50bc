//! Uplinks: how events get to the regional gateway.
//!
//! ```text
//!            read / ack / reject                      messages            PUBLISH
//!  Outbox ◀───────────────────────▶ Delivery ───────────────────▶ Session ────────▶ gateway
//!                                   Schedule  ◀─────────────────  Correlator ◀──── PUBACK
//!                                   payload    what became of it
//! ```
//!
//! * [`schedule`] decides which class is next; pure.
//! * [`payload`] turns a batch into messages that fit; pure.
//! * [`delivery`] joins both to the outbox and settles each batch once; no network.
//! * [`mqtt`] carries messages over MQTT 5, the only module that names the client library.
//! * [`link`] tells the rest of the agent how the link does.
//!
//! The outbox is the only truth about what is delivered: a batch leaves it when the gateway has
//! acknowledged all of it, and never before. What a connection had in flight when it ended is
//! read from the outbox and sent again, so the gateway may see an event twice, but never none.

mod backoff;
mod config;
mod correlate;
pub mod delivery;
pub mod link;
pub mod mqtt;
pub mod payload;
pub mod schedule;
mod tls;
mod topic;

use std::sync::Arc;

use tokio::sync::Notify;

pub use config::{ConfigError, MqttConfig, PayloadFormat, Secret, TlsConfig};
pub use link::{LinkMonitor, LinkSnapshot, LinkState};
pub use mqtt::MqttUplink;
pub use tls::TlsError;
pub use topic::{TopicError, TopicTemplate};

/// Tells the uplink that the outbox has something new. Cheap, never blocks, may be called from any thread.
///
/// Only a hint that saves waiting: the uplink also goes on by itself while there is a backlog.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<Bells>);

#[derive(Debug, Default)]
struct Bells {
    news: Notify,
    resumed: Notify,
}

impl Waker {
    /// A waker that nobody has called.
    pub fn new() -> Self {
        Self::default()
    }

    /// Call it after each commit of the outbox. Calls before the uplink looks are merged into one.
    pub fn notify(&self) {
        self.0.news.notify_one();
    }

    /// Waits for the next call; returns at once if there was one since the last return.
    pub async fn notified(&self) {
        self.0.news.notified().await;
    }

    /// Call it when the computer has slept: connections may be dead and nobody has said so, and what waits for a better
    /// time has waited long enough.
    pub fn resume(&self) {
        self.0.resumed.notify_one();
    }

    /// Waits for the next call of [`Waker::resume`]; returns at once if there was one since the last return.
    pub async fn resumed(&self) {
        self.0.resumed.notified().await;
    }
}

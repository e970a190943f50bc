//! MQTT 5 by rumqttc, so that nothing is lost.
//!
//! # The constraint
//! The client library keeps a queue of its own that loses messages when a connection ends, and
//! does not say which packet identifier a message got. Measured and read in version 0.25:
//! * on a new session it forgets also what was never sent;
//! * with a resumed session 48 of 100,000 messages were lost over 4 cuts;
//! * a packet that is too large is accepted by `publish()` and then fails every `poll()`;
//! * a gateway that stops acknowledging is never noticed;
//! * an unknown reason code in an acknowledgement ends the connection without saying whose it was;
//! * a CONNACK that turns keep-alive off makes it send pings without a pause, and fail.
//!
//! # What this does about it
//! * A fresh client and event loop for each connection, always with `clean_start`: the library's
//!   queue never outlives a connection. What was not acknowledged is read from the outbox again.
//! * At most `window` messages are handed over and not acknowledged, and the channel is larger:
//!   handing over never waits. One task does all: it polls the library, and between two of its
//!   events hands over more.
//! * `poll()` is never cancelled while the connection is wanted, because a packet that it is just
//!   writing would be lost; one future lives through all rounds of `select!`. Only calls of the
//!   outbox come between two polls.
//! * When a connection ends, what the library had already received is still taken into account.
//! * Sizes are checked before; time without an acknowledgement is bounded.
//!
//! ```text
//!            ┌───────────── back-off, jitter ─────────────┐
//!            ▼                                            │
//!       Connecting ──CONNACK──▶ Up ──failure, timeout──▶ Down
//!            │                  │
//!         shutdown           shutdown
//!            ▼                  ▼
//!           end  ◀─DISCONNECT─ Draining: until the outbox is empty, the deadline, or a failure
//! ```

mod fault;
mod session;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};

use self::fault::Fault;
use self::session::{End, Session};
use super::backoff::Backoff;
use super::config::{ConfigError, MIN_PACKET_BYTES, MIN_PAYLOAD_BYTES, MqttConfig};
use super::delivery::{Delivery, Message};
use super::link::LinkMonitor;
use super::{PayloadFormat, Waker, tls};
use crate::event::{Class, Identity, SCHEMA_VERSION};
use crate::outbox::Outbox;

/// For so long after the computer has slept the gateway is tried again soon.
const EAGER: Duration = Duration::from_secs(30);
const EAGER_WAIT: Duration = Duration::from_millis(500);

/// A checked MQTT uplink, ready to run.
#[derive(Debug)]
pub struct MqttUplink {
    config: MqttConfig,
    wire: Wire,
}

impl MqttUplink {
    /// Checks `config`, also that the topics suit the vehicle's name.
    ///
    /// # Errors
    /// When it could never work as it is.
    pub fn new(config: MqttConfig, identity: &Identity) -> Result<Self, ConfigError> {
        config.check()?;
        let wire = Wire::new(&config, identity)?;
        let (field, least) = ("max_packet_bytes", wire.least_packet());
        if usize::try_from(config.max_packet_bytes).is_ok_and(|bytes| bytes < least) {
            let problem = format!("must be at least {least} with this topic and vehicle name");
            return Err(ConfigError::Value { field, problem });
        }
        Ok(Self { config, wire })
    }

    /// Checks that certificates and keys can be read and used now. They are read again for each connection: a file
    /// that is missing for a while keeps the link down, but nothing else.
    ///
    /// # Errors
    /// Which file, and why.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        if let Some(tls) = &self.config.tls {
            tls::client_config(tls, self.config.bare_host())?;
        }
        Ok(())
    }

    /// Sends what is in `outbox` until `shutdown` resolves, then what still waits, at most for the
    /// configured time and only while the link is up, and disconnects.
    ///
    /// Never fails: trouble with the link is counted in `monitor` and tried again. `outbox` is
    /// locked for single calls only. Call `waker` after each commit of the outbox.
    pub async fn run<O: Outbox + ?Sized>(
        self,
        outbox: Arc<Mutex<O>>,
        waker: Waker,
        monitor: Arc<LinkMonitor>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let config = &self.config;
        let mut delivery = Delivery::new(config.payload, config.backoff_min, config.backoff_max);
        let mut backoff = Backoff::new(config.backoff_min, config.backoff_max);
        let mut resumed: Option<Instant> = None;
        loop {
            monitor.connecting();
            let (started, mut slept) = (Instant::now(), false);
            let reason = match options(config) {
                Ok(options) => {
                    let session = Session::new(config, &self.wire, &mut delivery, &*outbox, &monitor, options);
                    match session.run(&waker, shutdown.as_mut()).await {
                        End::Shutdown => break,
                        End::Lost { fault, useful } => {
                            slept = matches!(fault, Fault::Slept);
                            // A gateway that accepts and then hangs up is not to be asked in a tight loop.
                            if useful || started.elapsed() >= config.backoff_max {
                                backoff.reset();
                            }
                            fault.to_string()
                        }
                    }
                }
                Err(error) => error.to_string(),
            };
            let mut wait = backoff.next();
            if slept {
                (wait, resumed) = (Duration::ZERO, Some(Instant::now()));
            } else if resumed.is_some_and(|at| at.elapsed() < EAGER) {
                // The network comes back within seconds, each vehicle's at a time of its own.
                backoff.reset();
                wait = wait.min(EAGER_WAIT);
            }
            monitor.in_flight(0);
            monitor.failed(&reason, wait);
            tell(&*outbox, false);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = waker.resumed() => resumed = Some(Instant::now()),
                () = shutdown.as_mut() => break,
            }
        }
        monitor.ended();
        tell(&*outbox, false);
    }
}

/// Tells the outbox whether the gateway is there.
fn tell<O: Outbox + ?Sized>(outbox: &Mutex<O>, up: bool) {
    if let Err(error) = crate::outbox::lock(outbox).link(up) {
        tracing::error!("{error}; events wait in memory as far as there is room");
    }
}

/// The library's options for one connection. Certificates are read here, so renewed ones are taken.
fn options(config: &MqttConfig) -> Result<MqttOptions, tls::TlsError> {
    let host = config.bare_host();
    let mut options = MqttOptions::new(config.client_id.clone(), host, config.port);
    options.set_clean_start(true);
    options.set_keep_alive(Duration::from_secs(config.keep_alive.as_secs()));
    options.set_connection_timeout(whole_seconds(config.connect_timeout));
    // Without a limit the library allocates for 65,535 messages.
    options.set_outgoing_inflight_upper_limit(config.window);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(username) = &config.username {
        let password = config.password.as_ref().map_or("", |secret| secret.reveal());
        options.set_credentials(username.clone(), password);
    }
    if let Some(tls) = &config.tls {
        let tls = tls::client_config(tls, host)?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    Ok(options)
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// What messages look like on the wire.
#[derive(Debug)]
struct Wire {
    /// By class rank.
    topics: [String; 5],
    vehicle: String,
    format: PayloadFormat,
}

impl Wire {
    fn new(config: &MqttConfig, identity: &Identity) -> Result<Self, ConfigError> {
        let mut topics: [String; 5] = Default::default();
        for class in Class::ALL {
            topics[class.rank()] = config.topic.render(&identity.vehicle, class)?;
        }
        Ok(Self { topics, vehicle: identity.vehicle.as_ref().to_owned(), format: config.payload })
    }

    fn properties(&self, class: Class, first_seq: u64, last_seq: u64) -> PublishProperties {
        let user = |key: &str, value: String| (key.to_owned(), value);
        PublishProperties {
            payload_format_indicator: (self.format == PayloadFormat::Json).then_some(1),
            content_type: Some(self.format.content_type().to_owned()),
            user_properties: vec![
                user("schema", SCHEMA_VERSION.to_string()),
                user("class", class.name().to_owned()),
                user("vehicle", self.vehicle.clone()),
                user("seq", format!("{first_seq}-{last_seq}")),
            ],
            ..PublishProperties::default()
        }
    }

    fn topic(&self, class: Class) -> &str {
        &self.topics[class.rank()]
    }

    fn message_properties(&self, message: &Message) -> PublishProperties {
        self.properties(message.class, message.part.first_seq, message.part.last_seq)
    }

    /// Bytes of payload that fit into packets of at most `packet` bytes, by class rank.
    fn room(&self, packet: usize) -> [usize; 5] {
        std::array::from_fn(|rank| packet.saturating_sub(self.overhead(rank)))
    }

    /// The smallest packet limit to work with: below it, events would be given up that every gateway should take.
    fn least_packet(&self) -> usize {
        let overhead = (0..Class::ALL.len()).map(|rank| self.overhead(rank)).max().unwrap_or_default();
        (overhead + MIN_PAYLOAD_BYTES).max(usize::try_from(MIN_PACKET_BYTES).unwrap_or(usize::MAX))
    }

    /// Bytes of a packet that are not payload, for the class of this rank.
    fn overhead(&self, rank: usize) -> usize {
        // The length field of an empty packet has at least one byte, of a full one at most four.
        const LENGTH_GROWS: usize = 3;
        let class = Class::ALL[rank];
        let properties = self.properties(class, u64::MAX, u64::MAX);
        let mut empty = Publish::new(self.topic(class), QoS::AtLeastOnce, Vec::new(), Some(properties));
        // The size counts the identifier only once there is one.
        empty.pkid = 1;
        empty.size() + LENGTH_GROWS
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

//! What the configurations of all kinds of gateways have in common.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::dispatch::MAX_GATEWAYS;
use super::kafka::KafkaConfig;
use super::mqtt::MqttConfig;
use super::network::NetworkConfig;
use super::topic::TopicError;
use crate::event::Regions;

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of logs.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How events are written on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PayloadFormat {
    /// A CBOR sequence (RFC 8742), `application/cbor-seq`.
    #[default]
    Cbor,
    /// One JSON object a line, `application/x-ndjson`.
    Json,
}

impl PayloadFormat {
    /// The content type of several events.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor-seq",
            Self::Json => "application/x-ndjson",
        }
    }

    /// The content type of one event.
    pub const fn content_type_of_one(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor",
            Self::Json => "application/json",
        }
    }
}

/// A regional gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// How logs and events call it.
    pub name: Arc<str>,
    /// Where it is; events restricted to regions go only to gateways of these.
    pub region: Option<Arc<str>>,
    /// By class rank: whether it gets events of the class.
    pub classes: [bool; 5],
    /// Shortest wait before a new attempt.
    pub backoff_min: Duration,
    /// Longest wait before a new attempt.
    pub backoff_max: Duration,
    /// After the gateway has hung up, the first attempt comes within this time, evenly distributed.
    pub reconnect_spread: Duration,
    /// What it speaks.
    pub protocol: Protocol,
}

/// What a gateway speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Protocol {
    /// MQTT 5 or 3.1.1.
    Mqtt(Box<MqttConfig>),
    /// Kafka.
    Kafka(Box<KafkaConfig>),
}

impl GatewayConfig {
    /// A gateway for everything, with default waits.
    pub fn new(name: impl Into<Arc<str>>, protocol: Protocol) -> Self {
        Self {
            name: name.into(),
            region: None,
            classes: [true; 5],
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            reconnect_spread: Duration::from_secs(10),
            protocol,
        }
    }

    /// How it takes events.
    pub(crate) fn payload(&self) -> PayloadFormat {
        match &self.protocol {
            Protocol::Mqtt(mqtt) => mqtt.payload,
            Protocol::Kafka(kafka) => kafka.payload,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let fail = |field, problem: &str| Err(ConfigError::Value { field, problem: problem.to_owned() });
        if self.backoff_min.is_zero() {
            return fail("backoff_min", "must not be 0");
        }
        if self.backoff_max < self.backoff_min {
            return fail("backoff_max", "must not be below backoff_min");
        }
        if self.classes == [false; 5] {
            return fail("classes", "is empty; leave it out for all classes");
        }
        match &self.protocol {
            Protocol::Mqtt(mqtt) => mqtt.check(),
            Protocol::Kafka(kafka) => kafka.check(),
        }
    }
}

impl From<MqttConfig> for GatewayConfig {
    fn from(mqtt: MqttConfig) -> Self {
        Self::new("mqtt", Protocol::Mqtt(Box::new(mqtt)))
    }
}

impl From<KafkaConfig> for GatewayConfig {
    fn from(kafka: KafkaConfig) -> Self {
        Self::new("kafka", Protocol::Kafka(Box::new(kafka)))
    }
}

/// All gateways.
#[derive(Debug, Clone, PartialEq)]
pub struct UplinkConfig {
    /// The preferred first. Empty: events stay in the outbox.
    pub gateways: Vec<GatewayConfig>,
    /// By class rank: to how many gateways an event has to get before it leaves the outbox; from 1.
    pub copies: [usize; 5],
    /// The sets of regions that events are restricted to.
    pub audiences: Vec<Regions>,
    /// A gateway may be down for so long before the next one is tried; half to one and a half of it.
    pub failover_after: Duration,
    /// A better gateway has to be up for so long before it carries again; half to one and a half of it.
    pub failback_after: Duration,
    /// At the end: how long to go on sending what waits.
    pub drain_timeout: Duration,
    /// So many days before a certificate or a revocation list ends, `certificate` events begin to say so; 0: never.
    pub certificate_warning_days: u32,
    /// Networks with budgets; over others there is no bound.
    pub networks: Vec<NetworkConfig>,
    /// Where it is noted what is left of their budgets.
    pub network_note: Option<PathBuf>,
    /// How often it is looked which way leads to a gateway.
    pub roam_check: Duration,
    /// The vehicle goes by a pseudonym: events do not say whose its certificate is.
    pub hide_subject: bool,
    /// How often it is looked whether certificates and keys have changed.
    pub credentials_check: Duration,
}

impl Default for UplinkConfig {
    fn default() -> Self {
        Self {
            gateways: Vec::new(),
            copies: [1; 5],
            audiences: Vec::new(),
            failover_after: Duration::from_secs(30),
            failback_after: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(5),
            certificate_warning_days: 30,
            networks: Vec::new(),
            network_note: None,
            roam_check: Duration::from_secs(15),
            hide_subject: false,
            credentials_check: Duration::from_secs(60),
        }
    }
}

impl UplinkConfig {
    /// Checks all ranges; certificates and topics are checked where they are used.
    pub(crate) fn check(&self) -> Result<(), GatewayError> {
        for (i, gateway) in self.gateways.iter().enumerate() {
            if i >= MAX_GATEWAYS {
                let problem = format!("there can be {MAX_GATEWAYS}; leave this one out");
                return Err(GatewayError::of(gateway, ConfigError::Value { field: "gateways", problem }));
            }
            gateway.check().map_err(|error| GatewayError::of(gateway, error))?;
        }
        Ok(())
    }
}

/// Whether a host is this computer.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Payload that must fit into a message whatever the topic's length: the agent's own small events, gaps among them.
pub(crate) const MIN_PAYLOAD_BYTES: usize = 256;

/// What a gateway has got cannot be read back, in words that say what to do.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ReadError(pub(crate) String);

/// Why a gateway cannot be used.
#[derive(Debug, Error)]
#[error("gateway {gateway}: {source}")]
pub struct GatewayError {
    /// Its name.
    pub gateway: Arc<str>,
    /// What is wrong.
    pub source: Box<ConfigError>,
}

impl GatewayError {
    pub(crate) fn of(gateway: &GatewayConfig, source: ConfigError) -> Self {
        Self { gateway: gateway.name.clone(), source: Box::new(source) }
    }
}

/// Why a configuration cannot be used. `field` is the name in the configuration's type.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A value outside its range.
    #[error("{field}: {problem}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// The topic cannot be rendered for this vehicle.
    #[error("topic: {0}")]
    Topic(#[from] TopicError),
    /// Certificates or keys cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] super::tls::TlsError),
}

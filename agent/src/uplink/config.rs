//! The MQTT uplink's validated configuration.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::topic::{TopicError, TopicTemplate};

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
    /// The MQTT content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor-seq",
            Self::Json => "application/x-ndjson",
        }
    }
}

/// Whom to trust, and how to prove who we are. Files are PEM and are read at each connection, so
/// that renewed certificates need no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates of the authorities that may sign the gateway's certificate.
    pub ca_file: PathBuf,
    /// Our certificate with its intermediates; goes together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Our private key.
    pub key_file: Option<PathBuf>,
    /// The name that the gateway's certificate must carry, when it is not `host`. The name that is
    /// asked for in the handshake (SNI) stays `host`.
    pub server_name: Option<String>,
}

/// Where and how to send. [`MqttConfig::new`] has defaults for all but the necessary.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttConfig {
    /// Name or address of the gateway; IPv6 with or without brackets.
    pub host: String,
    /// TCP port: 1883, with TLS 8883.
    pub port: u16,
    /// `None`: no encryption.
    pub tls: Option<TlsConfig>,
    /// MQTT client identifier: must differ between vehicles.
    pub client_id: String,
    /// User name, if the gateway wants one.
    pub username: Option<String>,
    /// Password, if the gateway wants one.
    pub password: Option<Secret>,
    /// Topic of each class.
    pub topic: TopicTemplate,
    /// Silence after which the link is probed: 5 s to 65535 s, whole seconds.
    pub keep_alive: Duration,
    /// Bound on name lookup, TCP, TLS and MQTT handshakes together; rounded up to whole seconds.
    pub connect_timeout: Duration,
    /// Messages sent and not acknowledged, at most; the gateway may lower it.
    pub window: u16,
    /// The oldest message in flight may be the oldest for this long, then the connection is given up.
    pub ack_timeout: Duration,
    /// Shortest wait before a new attempt.
    pub backoff_min: Duration,
    /// Longest wait before a new attempt.
    pub backoff_max: Duration,
    /// Largest MQTT packet to send; the gateway may lower it.
    pub max_packet_bytes: u32,
    /// How events are written.
    pub payload: PayloadFormat,
    /// At shutdown: how long to go on sending what is waiting.
    pub drain_timeout: Duration,
}

/// Smallest useful packet: topic and properties take 200 bytes and more.
pub(crate) const MIN_PACKET_BYTES: u32 = 512;
/// Payload that must fit into a packet whatever the topic's length: the agent's own small events, gaps among them.
pub(crate) const MIN_PAYLOAD_BYTES: usize = 256;
/// MQTT's own limit.
const MAX_PACKET_BYTES: u32 = 268_435_455;

/// Why a configuration cannot be used. `field` is the name in [`MqttConfig`].
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

impl MqttConfig {
    /// A configuration with defaults: no TLS, no credentials, window 64.
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>, topic: TopicTemplate) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            client_id: client_id.into(),
            username: None,
            password: None,
            topic,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(20),
            window: 64,
            ack_timeout: Duration::from_secs(30),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            max_packet_bytes: 256 * 1024,
            payload: PayloadFormat::Cbor,
            drain_timeout: Duration::from_secs(5),
        }
    }

    /// The host as the resolver and TLS want it: an IPv6 address without brackets.
    pub(crate) fn bare_host(&self) -> &str {
        let inner = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.filter(|host| host.parse::<Ipv6Addr>().is_ok()).unwrap_or(&self.host)
    }

    /// Checks all ranges; certificates and topic are checked where they are used.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fail = |field, problem: &str| Err(ConfigError::Value { field, problem: problem.to_owned() });
        if self.host.is_empty() {
            return fail("host", "is empty; name the gateway");
        }
        if self.port == 0 {
            return fail("port", "is 0; usual are 1883, and 8883 with TLS");
        }
        if self.client_id.is_empty() {
            return fail("client_id", "is empty; the vehicle's name does well");
        }
        if self.client_id.len() > usize::from(u16::MAX) {
            return fail("client_id", "has more than 65535 bytes");
        }
        if self.password.is_some() && self.username.is_none() {
            return fail("password", "needs a username");
        }
        if self.keep_alive < Duration::from_secs(5) || self.keep_alive > Duration::from_secs(65_535) {
            return fail("keep_alive", "must be from 5 s to 65535 s");
        }
        if self.window == 0 {
            return fail("window", "must be at least 1");
        }
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("ack_timeout", self.ack_timeout),
            ("backoff_min", self.backoff_min),
        ] {
            if value.is_zero() {
                return fail(field, "must not be 0");
            }
        }
        if self.backoff_max < self.backoff_min {
            return fail("backoff_max", "must not be below backoff_min");
        }
        if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&self.max_packet_bytes) {
            return fail("max_packet_bytes", "must be from 512 to 268435455");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MqttConfig {
        MqttConfig::new("gateway", 1883, "v1", TopicTemplate::parse("a/{class}").unwrap())
    }

    #[test]
    fn defaults_are_valid() {
        config().check().unwrap();
    }

    type Change = fn(&mut MqttConfig);

    #[test]
    fn each_range_is_checked() {
        let changes: [(&str, Change); 12] = [
            ("host", |c| c.host.clear()),
            ("port", |c| c.port = 0),
            ("client_id", |c| c.client_id.clear()),
            ("client_id", |c| c.client_id = "x".repeat(65_536)),
            ("password", |c| c.password = Some(Secret::new("p"))),
            ("keep_alive", |c| c.keep_alive = Duration::from_secs(4)),
            ("keep_alive", |c| c.keep_alive = Duration::from_secs(65_536)),
            ("window", |c| c.window = 0),
            ("ack_timeout", |c| c.ack_timeout = Duration::ZERO),
            ("backoff_max", |c| c.backoff_max = Duration::from_millis(1)),
            ("max_packet_bytes", |c| c.max_packet_bytes = 511),
            ("max_packet_bytes", |c| c.max_packet_bytes = u32::MAX),
        ];
        for (name, change) in changes {
            let mut config = config();
            change(&mut config);
            let Err(ConfigError::Value { field, .. }) = config.check() else { panic!("{name} was accepted") };
            assert_eq!(field, name);
        }
    }

    #[test]
    fn secrets_stay_out_of_logs() {
        let mut config = config();
        config.password = Some(Secret::new("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn brackets_of_ipv6_are_taken_off() {
        let mut config = config();
        assert_eq!(config.bare_host(), "gateway");
        config.host = "[::1]".into();
        assert_eq!(config.bare_host(), "::1");
        config.host = "[name]".into();
        assert_eq!(config.bare_host(), "[name]");
    }
}

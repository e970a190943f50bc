//! The validated configuration of an MQTT gateway.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::uplink::config::{ConfigError, PayloadFormat, Secret};
use crate::uplink::tls::TlsConfig;
use crate::uplink::topic::TopicTemplate;

/// Which MQTT the gateway speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 5.0 (OASIS, 2019).
    #[default]
    V5,
    /// MQTT 3.1.1 (OASIS, 2014): no reasons for refusals, no properties, no expiry. What an access list forbids is
    /// acknowledged all the same, and gone.
    V311,
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
    /// Without TLS: it may be another computer than this one, also when the gateway sends us to another server.
    pub allow_plaintext: bool,
    /// Which MQTT.
    pub version: MqttVersion,
    /// MQTT client identifier: must differ between vehicles.
    pub client_id: String,
    /// User name, if the gateway wants one.
    pub username: Option<String>,
    /// Password, if the gateway wants one.
    pub password: Option<Secret>,
    /// Topic of each class.
    pub topic: TopicTemplate,
    /// Topic of the vehicle's state: retained when it comes and goes, and the last will. `None`: no such messages.
    pub state_topic: Option<TopicTemplate>,
    /// A link that is silent for one and a half of this is dead: 5 s to 65535 s, whole seconds.
    pub keep_alive: Duration,
    /// How long the gateway keeps the session after the connection, whole seconds. It has no use but to let the last will
    /// wait.
    pub session_expiry: Duration,
    /// For how long the gateway keeps the last will back after the connection is lost, at most until the session expires.
    pub will_delay: Duration,
    /// By class rank: how long the gateway keeps a message for those who do not take it, whole seconds.
    pub message_expiry: [Option<Duration>; 5],
    /// Bound on name lookup, TCP, TLS and MQTT handshakes together; rounded up to whole seconds.
    pub connect_timeout: Duration,
    /// Messages sent and not acknowledged, at most; the gateway may lower it.
    pub window: u16,
    /// The oldest message in flight may be the oldest for this long, then the connection is given up.
    pub ack_timeout: Duration,
    /// Largest MQTT packet to send; the gateway may lower it.
    pub max_packet_bytes: u32,
    /// How events are written.
    pub payload: PayloadFormat,
}

/// Smallest useful packet: topic and properties take 200 bytes and more.
pub(crate) const MIN_PACKET_BYTES: u32 = 512;
/// MQTT's own limit.
const MAX_PACKET_BYTES: u32 = 268_435_455;

impl MqttConfig {
    /// A configuration with defaults: no TLS, no credentials, window 64.
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>, topic: TopicTemplate) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            allow_plaintext: false,
            version: MqttVersion::V5,
            client_id: client_id.into(),
            username: None,
            password: None,
            topic,
            state_topic: None,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::ZERO,
            will_delay: Duration::ZERO,
            message_expiry: [None; 5],
            connect_timeout: Duration::from_secs(20),
            window: 64,
            ack_timeout: Duration::from_secs(30),
            max_packet_bytes: 256 * 1024,
            payload: PayloadFormat::Cbor,
        }
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
        for (field, value) in [("connect_timeout", self.connect_timeout), ("ack_timeout", self.ack_timeout)] {
            if value.is_zero() {
                return fail(field, "must not be 0");
            }
        }
        if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&self.max_packet_bytes) {
            return fail("max_packet_bytes", "must be from 512 to 268435455");
        }
        Ok(())
    }
}

/// A host as the resolver and TLS want it: an IPv6 address without brackets.
pub(crate) fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.filter(|host| host.parse::<Ipv6Addr>().is_ok()).unwrap_or(host)
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
        let changes: [(&str, Change); 11] = [
            ("host", |c| c.host.clear()),
            ("port", |c| c.port = 0),
            ("client_id", |c| c.client_id.clear()),
            ("client_id", |c| c.client_id = "x".repeat(65_536)),
            ("password", |c| c.password = Some(Secret::new("p"))),
            ("keep_alive", |c| c.keep_alive = Duration::from_secs(4)),
            ("keep_alive", |c| c.keep_alive = Duration::from_secs(65_536)),
            ("window", |c| c.window = 0),
            ("ack_timeout", |c| c.ack_timeout = Duration::ZERO),
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
        assert_eq!(bare("gateway"), "gateway");
        assert_eq!(bare("[::1]"), "::1");
        assert_eq!(bare("[name]"), "[name]");
    }
}

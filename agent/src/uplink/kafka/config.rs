//! The validated configuration of a Kafka cluster.

use std::time::Duration;

use crate::uplink::config::{ConfigError, PayloadFormat, Secret};
use crate::uplink::tls::TlsConfig;
use crate::uplink::topic::TopicTemplate;

/// How records are compressed, a whole request at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952: smallest.
    Gzip,
    /// Snappy, in Java's framing: cheapest.
    #[default]
    Snappy,
}

/// SASL mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// RFC 4616: the password as it is, so with TLS only.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// As SCRAM-SHA-256 with SHA-512.
    ScramSha512,
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Where and how to send. [`KafkaConfig::new`] has defaults for all but the necessary.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaConfig {
    /// Brokers to begin with, `host:port`; the others are learnt from them.
    pub brokers: Vec<String>,
    /// `None`: no encryption.
    pub tls: Option<TlsConfig>,
    /// `None`: no login.
    pub sasl: Option<Sasl>,
    /// The client's name in the brokers' logs and quotas.
    pub client_id: String,
    /// Topic of each class.
    pub topic: TopicTemplate,
    /// Topic for events that their own topic refuses for good; `None`: such events are given up, with a gap event.
    pub dead_letter_topic: Option<TopicTemplate>,
    /// How records are compressed.
    pub compression: Compression,
    /// A request holds at most so many bytes of events before compression, from 16 KiB; one event may be larger.
    pub batch_bytes: usize,
    /// How long less important events may wait for a request to become full.
    pub linger: Duration,
    /// Bound on making the connection: names, TCP, TLS, login, metadata.
    pub connect_timeout: Duration,
    /// Bound on each request.
    pub request_timeout: Duration,
    /// Attempts of a request before the connection is given up, from 1.
    pub attempts: u32,
    /// Silence after which the partition's leader is asked for a sign of life.
    pub keep_alive: Duration,
    /// How often it is looked whether partitions have been added.
    pub metadata_refresh: Duration,
    /// How events are written.
    pub payload: PayloadFormat,
}

/// Smallest useful request.
const MIN_BATCH_BYTES: usize = 16 * 1024;

impl KafkaConfig {
    /// A configuration with defaults: no TLS, no login, snappy.
    pub fn new(brokers: Vec<String>, client_id: impl Into<String>, topic: TopicTemplate) -> Self {
        Self {
            brokers,
            tls: None,
            sasl: None,
            client_id: client_id.into(),
            topic,
            dead_letter_topic: None,
            compression: Compression::default(),
            batch_bytes: 256 * 1024,
            linger: Duration::ZERO,
            connect_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(30),
            attempts: 5,
            keep_alive: Duration::from_secs(60),
            metadata_refresh: Duration::from_secs(300),
            payload: PayloadFormat::Cbor,
        }
    }

    /// Checks all ranges; certificates and topics are checked where they are used.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fail = |field, problem: &str| Err(ConfigError::Value { field, problem: problem.to_owned() });
        if self.brokers.is_empty() {
            return fail("brokers", "is empty; name at least one broker");
        }
        if self.attempts == 0 {
            return fail("attempts", "must be at least 1");
        }
        if self.batch_bytes < MIN_BATCH_BYTES {
            return fail("batch_bytes", "must be at least 16384");
        }
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("keep_alive", self.keep_alive),
            ("metadata_refresh", self.metadata_refresh),
        ] {
            if value.is_zero() {
                return fail(field, "must not be 0");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut KafkaConfig);

    #[test]
    fn each_range_is_checked() {
        let config =
            || KafkaConfig::new(vec!["kafka:9092".into()], "v1", TopicTemplate::parse("outrider-{class}").unwrap());
        config().check().unwrap();
        let changes: [(&str, Change); 6] = [
            ("brokers", |c| c.brokers.clear()),
            ("attempts", |c| c.attempts = 0),
            ("batch_bytes", |c| c.batch_bytes = 1000),
            ("connect_timeout", |c| c.connect_timeout = Duration::ZERO),
            ("keep_alive", |c| c.keep_alive = Duration::ZERO),
            ("metadata_refresh", |c| c.metadata_refresh = Duration::ZERO),
        ];
        for (name, change) in changes {
            let mut config = config();
            change(&mut config);
            let Err(ConfigError::Value { field, .. }) = config.check() else { panic!("{name} was accepted") };
            assert_eq!(field, name);
        }
    }
}

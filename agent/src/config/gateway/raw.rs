//! `[[gateway]]` and `[uplink]` as written.

use serde::Deserialize;
use toml::Spanned;

use crate::event::Class;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Uplink {
    #[serde(default)]
    pub(super) copies: PerClass,
    pub(super) failover_after_s: Option<Spanned<u64>>,
    pub(super) failback_after_s: Option<Spanned<u64>>,
    pub(super) drain_timeout_s: Option<Spanned<u64>>,
    pub(super) certificate_warning_days: Option<Spanned<u32>>,
}

/// A number for each class that is named.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PerClass {
    critical: Option<Spanned<u64>>,
    alert: Option<Spanned<u64>>,
    status: Option<Spanned<u64>>,
    telemetry: Option<Spanned<u64>>,
    bulk: Option<Spanned<u64>>,
}

impl PerClass {
    /// By class rank.
    pub(super) fn all(&self) -> [Option<&Spanned<u64>>; 5] {
        [&self.critical, &self.alert, &self.status, &self.telemetry, &self.bulk].map(Option::as_ref)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Gateway {
    pub(super) url: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) region: Option<Spanned<String>>,
    pub(super) classes: Option<Vec<Class>>,
    #[serde(default)]
    pub(super) allow_plaintext: bool,
    pub(super) topic: Option<Spanned<String>>,
    pub(super) client_id: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) crl_file: Option<String>,
    pub(super) pins: Option<Vec<Spanned<String>>>,
    pub(super) min_tls: Option<MinTls>,
    pub(super) keep_alive_s: Option<Spanned<u64>>,
    pub(super) connect_timeout_s: Option<Spanned<u64>>,
    pub(super) backoff_min_ms: Option<Spanned<u64>>,
    pub(super) backoff_max_ms: Option<Spanned<u64>>,
    pub(super) reconnect_spread_ms: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) payload: Payload,

    // MQTT.
    pub(super) mqtt_version: Option<MqttVersion>,
    pub(super) state_topic: Option<Spanned<String>>,
    pub(super) session_expiry_s: Option<Spanned<u64>>,
    pub(super) will_delay_s: Option<Spanned<u64>>,
    pub(super) message_expiry_s: Option<PerClass>,
    pub(super) window: Option<Spanned<u16>>,
    pub(super) ack_timeout_s: Option<Spanned<u64>>,
    pub(super) max_packet_bytes: Option<Spanned<u32>>,

    // Kafka.
    pub(super) sasl: Option<SaslMechanism>,
    pub(super) dead_letter_topic: Option<Spanned<String>>,
    pub(super) compression: Option<Compression>,
    pub(super) batch_kib: Option<Spanned<usize>>,
    pub(super) linger_ms: Option<Spanned<u64>>,
    pub(super) request_timeout_s: Option<Spanned<u64>>,
    pub(super) attempts: Option<Spanned<u32>>,
    pub(super) metadata_refresh_s: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Network {
    pub(super) interface: Spanned<String>,
    pub(super) mib_per_day: Option<Spanned<u64>>,
    pub(super) kbit_per_s: Option<Spanned<u64>>,
    pub(super) classes: Option<Vec<Class>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Payload {
    #[default]
    Cbor,
    Json,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum MqttVersion {
    #[serde(rename = "5")]
    V5,
    #[serde(rename = "3.1.1")]
    V311,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum MinTls {
    #[serde(rename = "1.2")]
    V12,
    #[serde(rename = "1.3")]
    V13,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Compression {
    None,
    Gzip,
    Snappy,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum SaslMechanism {
    #[serde(rename = "plain")]
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

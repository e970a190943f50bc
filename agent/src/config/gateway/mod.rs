//! `[[gateway]]` and `[uplink]`: from the raw tables to what the uplinks take.

mod raw;
mod tls;
pub(crate) mod url;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

pub(super) use raw::{Gateway as RawGateway, Network as RawNetwork, Uplink as RawUplink};

use self::url::Url;
use super::{ConfigError, Reader};
use crate::event::Class;
use crate::uplink::tls::TlsError;
use crate::uplink::{
    Compression, GatewayConfig, KafkaConfig, MqttConfig, MqttVersion, NetworkConfig, PayloadFormat, Protocol, Sasl,
    SaslMechanism, Secret, TopicTemplate, UplinkConfig, is_loopback,
};

/// Secrets are a line of text.
const MAX_SECRET_BYTES: u64 = 4096;

/// All gateways and how they work together.
pub(super) fn uplink(reader: &Reader, raw: &RawUplink, gateways: &[RawGateway]) -> Result<UplinkConfig, ConfigError> {
    let mut config = UplinkConfig::default();
    let seconds = |key: &str, value: &Option<Spanned<u64>>, default: Duration| match value {
        Some(value) => reader.in_range(&format!("uplink.{key}"), value, 0..=86_400).map(Duration::from_secs),
        None => Ok(default),
    };
    config.failover_after = seconds("failover_after_s", &raw.failover_after_s, config.failover_after)?;
    config.failback_after = seconds("failback_after_s", &raw.failback_after_s, config.failback_after)?;
    config.drain_timeout = seconds("drain_timeout_s", &raw.drain_timeout_s, config.drain_timeout)?;
    if let Some(days) = &raw.certificate_warning_days {
        config.certificate_warning_days = reader.in_range("uplink.certificate_warning_days", days, 0..=3650)?;
    }
    for gateway in gateways {
        let made = self::gateway(reader, gateway)?;
        if config.gateways.iter().any(|other| other.name == made.name) {
            let place = gateway.name.as_ref().unwrap_or(&gateway.url);
            return Err(
                reader.error(place, format!("gateway.name = \"{}\" is there twice; give each its own", made.name))
            );
        }
        config.gateways.push(made);
    }
    for (class, copies) in Class::ALL.into_iter().zip(raw.copies.all()) {
        let Some(copies) = copies else { continue };
        let there = config.gateways.iter().filter(|gateway| gateway.classes[class.rank()]).count().max(1);
        let key = format!("uplink.copies.{class}");
        let number = reader.in_range(&key, copies, 1..=there as u64)?;
        config.copies[class.rank()] = usize::try_from(number).unwrap_or(1);
    }
    Ok(config)
}

/// Networks with budgets.
pub(super) fn networks(reader: &Reader, raw: &[RawNetwork]) -> Result<Vec<NetworkConfig>, ConfigError> {
    let network = |raw: &RawNetwork| {
        let name = raw.interface.get_ref();
        let stem = name.strip_suffix('*').unwrap_or(name);
        // 15 characters is what a Linux interface's name may have.
        if name.is_empty() || name.len() > 15 || stem.contains(['*', '/', ':', ' ']) {
            let message = format!("network.interface = \"{name}\": write wwan0, or wwan* for all that begin so");
            return Err(reader.error(&raw.interface, message));
        }
        let classes = match &raw.classes {
            Some(classes) if classes.is_empty() => {
                let message = "network.classes = []: name at least one, or leave it out for all";
                return Err(reader.error(&raw.interface, message));
            }
            Some(classes) => std::array::from_fn(|rank| classes.iter().any(|class| class.rank() == rank)),
            None => [true; 5],
        };
        let number = |key: &str, value: &Option<Spanned<u64>>, range| match value {
            Some(value) => reader.in_range(&format!("network.{key}"), value, range).map(Some),
            None => Ok(None),
        };
        Ok(NetworkConfig {
            interface: name.as_str().into(),
            bytes_per_day: number("mib_per_day", &raw.mib_per_day, 1..=16 << 20)?.map(|mib| mib << 20),
            bytes_per_s: number("kbit_per_s", &raw.kbit_per_s, 1..=10_000_000)?.map(|kbit| kbit * 125),
            classes,
        })
    };
    raw.iter().map(network).collect()
}

/// Reads the keys of one gateway.
struct Keys<'a> {
    reader: &'a Reader<'a>,
    raw: &'a RawGateway,
}

impl Keys<'_> {
    fn error(&self, message: impl std::fmt::Display) -> ConfigError {
        self.reader.error(&self.raw.url, format!("gateway: {message}"))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.reader.secret_path(file)
    }

    fn number<T: PartialOrd + Copy + std::fmt::Display>(
        &self,
        key: &str,
        value: &Option<Spanned<T>>,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        match value {
            Some(value) => self.reader.in_range(&format!("gateway.{key}"), value, range),
            None => Ok(default),
        }
    }

    fn seconds(&self, key: &str, value: &Option<Spanned<u64>>, default: u64) -> Result<Duration, ConfigError> {
        self.number(key, value, default, 1..=86_400).map(Duration::from_secs)
    }

    fn millis(&self, key: &str, value: &Option<Spanned<u64>>, default: u64) -> Result<Duration, ConfigError> {
        self.number(key, value, default, 0..=86_400_000).map(Duration::from_millis)
    }

    fn topic(&self, key: &str, text: Option<&Spanned<String>>, default: &str) -> Result<TopicTemplate, ConfigError> {
        match text {
            Some(text) => TopicTemplate::parse(text.get_ref())
                .map_err(|error| self.reader.error(text, format!("gateway.{key}: {error}"))),
            None => TopicTemplate::parse(default).map_err(|error| self.error(error)),
        }
    }

    fn password(&self) -> Result<Option<Secret>, ConfigError> {
        self.raw.password_file.as_ref().map(|file| secret(self.reader, "gateway.password_file", file)).transpose()
    }

    /// Refuses keys of the other protocol.
    fn only(&self, protocol: &str, others: &[(&str, bool)]) -> Result<(), ConfigError> {
        match others.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(self.error(format!("{key} is not for {protocol}; leave it out"))),
            None => Ok(()),
        }
    }
}

fn gateway(reader: &Reader, raw: &RawGateway) -> Result<GatewayConfig, ConfigError> {
    let keys = Keys { reader, raw };
    let url = url::parse(raw.url.get_ref()).ok_or_else(|| {
        let text = raw.url.get_ref();
        keys.error(format!(
            "url = \"{text}\": write mqtts://host:8883, mqtt://, kafkas://host:9093,host2:9093 or kafka://"
        ))
    })?;
    let first = url.hosts.first().map_or("", |(host, _)| host.as_str());
    if let Some((host, _)) = url.hosts.iter().find(|(host, _)| !is_loopback(host))
        && !url.secure
        && !raw.allow_plaintext
    {
        let scheme = if url.kafka { "kafkas" } else { "mqtts" };
        return Err(keys.error(format!(
            "url: {host} would be sent to in plain text; use {scheme}:// with ca_file, or say allow_plaintext = true"
        )));
    }
    let protocol = match url.kafka {
        true => Protocol::Kafka(Box::new(kafka(&keys, &url)?)),
        false => Protocol::Mqtt(Box::new(mqtt(&keys, &url)?)),
    };
    let mut config = GatewayConfig::new(raw.name.as_ref().map_or(first, |name| name.get_ref()), protocol);
    if let Some(region) = &raw.region {
        config.region = Some(region_name(reader, "gateway.region", region)?);
    }
    if let Some(classes) = &raw.classes {
        if classes.is_empty() {
            return Err(keys.error("classes = []: name at least one, or leave it out for all"));
        }
        config.classes = std::array::from_fn(|rank| classes.iter().any(|class| class.rank() == rank));
    }
    config.backoff_min = keys.millis("backoff_min_ms", &raw.backoff_min_ms, 500)?.max(Duration::from_millis(1));
    config.backoff_max = keys.millis("backoff_max_ms", &raw.backoff_max_ms, 60_000)?;
    config.reconnect_spread = keys.millis("reconnect_spread_ms", &raw.reconnect_spread_ms, 10_000)?;
    if config.backoff_min > config.backoff_max {
        return Err(keys.error("backoff_min_ms is above backoff_max_ms"));
    }
    Ok(config)
}

/// A region's name.
pub(super) fn region_name(reader: &Reader, key: &str, text: &Spanned<String>) -> Result<Arc<str>, ConfigError> {
    let name = text.get_ref();
    let good = (1..=32).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if good {
        Ok(name.as_str().into())
    } else {
        Err(reader.error(text, format!("{key} = \"{name}\": use 1 to 32 letters, digits, '-' or '_'")))
    }
}

fn mqtt(keys: &Keys, url: &Url) -> Result<MqttConfig, ConfigError> {
    let raw = keys.raw;
    keys.only(
        "MQTT",
        &[
            ("sasl", raw.sasl.is_some()),
            ("dead_letter_topic", raw.dead_letter_topic.is_some()),
            ("compression", raw.compression.is_some()),
            ("batch_kib", raw.batch_kib.is_some()),
            ("linger_ms", raw.linger_ms.is_some()),
            ("request_timeout_s", raw.request_timeout_s.is_some()),
            ("attempts", raw.attempts.is_some()),
            ("metadata_refresh_s", raw.metadata_refresh_s.is_some()),
        ],
    )?;
    let (host, port) = url.hosts.first().cloned().unwrap_or_default();
    let topic = keys.topic("topic", raw.topic.as_ref(), "outrider/{vehicle}/{class}")?;
    let client_id = raw.client_id.as_deref().unwrap_or("outrider-{vehicle}");
    let mut config = MqttConfig::new(host, port, client_id, topic);
    config.tls = tls::config(keys, url.secure)?;
    config.allow_plaintext = raw.allow_plaintext;
    config.version = match raw.mqtt_version {
        None | Some(raw::MqttVersion::V5) => MqttVersion::V5,
        Some(raw::MqttVersion::V311) => MqttVersion::V311,
    };
    config.username.clone_from(&raw.username);
    config.password = keys.password()?;
    config.state_topic = match &raw.state_topic {
        Some(text) if text.get_ref().is_empty() => None,
        text => Some(keys.topic("state_topic", text.as_ref(), "outrider-state/{vehicle}")?),
    };
    config.keep_alive = Duration::from_secs(keys.number("keep_alive_s", &raw.keep_alive_s, 30, 5..=65_535)?);
    let interval = |key, value| keys.number(key, value, 0, 0..=u64::from(u32::MAX)).map(Duration::from_secs);
    config.session_expiry = interval("session_expiry_s", &raw.session_expiry_s)?;
    config.will_delay = interval("will_delay_s", &raw.will_delay_s)?;
    for (rank, expiry) in raw.message_expiry_s.iter().flat_map(|per_class| per_class.all()).enumerate() {
        let Some(expiry) = expiry else { continue };
        let seconds = keys.reader.in_range("gateway.message_expiry_s", expiry, 1..=u64::from(u32::MAX))?;
        config.message_expiry[rank] = Some(Duration::from_secs(seconds));
    }
    config.connect_timeout = keys.seconds("connect_timeout_s", &raw.connect_timeout_s, 20)?;
    config.ack_timeout = keys.seconds("ack_timeout_s", &raw.ack_timeout_s, 20)?;
    config.window = keys.number("window", &raw.window, 64, 1..=1024)?;
    config.max_packet_bytes = keys.number("max_packet_bytes", &raw.max_packet_bytes, 256 << 10, 1024..=16 << 20)?;
    config.payload = payload(raw.payload);
    if config.password.is_some() && config.username.is_none() {
        return Err(keys.error("password_file needs username"));
    }
    Ok(config)
}

fn kafka(keys: &Keys, url: &Url) -> Result<KafkaConfig, ConfigError> {
    let raw = keys.raw;
    keys.only(
        "Kafka",
        &[
            ("mqtt_version", raw.mqtt_version.is_some()),
            ("state_topic", raw.state_topic.is_some()),
            ("session_expiry_s", raw.session_expiry_s.is_some()),
            ("will_delay_s", raw.will_delay_s.is_some()),
            ("message_expiry_s", raw.message_expiry_s.is_some()),
            ("window", raw.window.is_some()),
            ("ack_timeout_s", raw.ack_timeout_s.is_some()),
            ("max_packet_bytes", raw.max_packet_bytes.is_some()),
        ],
    )?;
    if let Some((host, _)) = url.hosts.iter().find(|(host, _)| url.secure && host.contains(':')) {
        return Err(
            keys.error(format!("url: [{host}]: the Kafka client does not take IPv6 addresses with TLS; give a name"))
        );
    }
    let brackets = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let brokers = url.hosts.iter().map(|(host, port)| format!("{}:{port}", brackets(host))).collect();
    let topic = keys.topic("topic", raw.topic.as_ref(), "outrider-{class}")?;
    let client_id = raw.client_id.as_deref().unwrap_or("outrider-{vehicle}");
    let mut config = KafkaConfig::new(brokers, client_id, topic);
    config.tls = tls::config(keys, url.secure)?;
    config.sasl = match (raw.sasl, &raw.username, keys.password()?) {
        (None, None, None) => None,
        (Some(mechanism), Some(username), Some(password)) => {
            let mechanism = match mechanism {
                raw::SaslMechanism::Plain => SaslMechanism::Plain,
                raw::SaslMechanism::ScramSha256 => SaslMechanism::ScramSha256,
                raw::SaslMechanism::ScramSha512 => SaslMechanism::ScramSha512,
            };
            Some(Sasl { mechanism, username: username.clone(), password })
        }
        _ => return Err(keys.error("sasl, username and password_file go together")),
    };
    if let Some(text) = &raw.dead_letter_topic {
        config.dead_letter_topic = Some(keys.topic("dead_letter_topic", Some(text), "")?);
    }
    config.compression = match raw.compression {
        None | Some(raw::Compression::Snappy) => Compression::Snappy,
        Some(raw::Compression::Gzip) => Compression::Gzip,
        Some(raw::Compression::None) => Compression::None,
    };
    config.batch_bytes = keys.number("batch_kib", &raw.batch_kib, 256, 16..=8192)? * 1024;
    config.linger = keys.millis("linger_ms", &raw.linger_ms, 0)?;
    config.keep_alive = keys.seconds("keep_alive_s", &raw.keep_alive_s, 60)?;
    config.connect_timeout = keys.seconds("connect_timeout_s", &raw.connect_timeout_s, 20)?;
    config.request_timeout = keys.seconds("request_timeout_s", &raw.request_timeout_s, 30)?;
    config.metadata_refresh = keys.seconds("metadata_refresh_s", &raw.metadata_refresh_s, 300)?;
    config.attempts = keys.number("attempts", &raw.attempts, 5, 1..=100)?;
    config.payload = payload(raw.payload);
    Ok(config)
}

fn payload(raw: raw::Payload) -> PayloadFormat {
    match raw {
        raw::Payload::Cbor => PayloadFormat::Cbor,
        raw::Payload::Json => PayloadFormat::Json,
    }
}

/// The line in a file that nobody else may read.
pub(super) fn secret(reader: &Reader, key: &str, file: &Spanned<String>) -> Result<Secret, ConfigError> {
    use std::io::Read;
    let path = reader.secret_path(file.get_ref());
    crate::uplink::tls::check_permissions(&path)
        .map_err(|error: TlsError| reader.error(file, format!("{key}: {error}")))?;
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|f| f.take(MAX_SECRET_BYTES).read_to_string(&mut text))
        .map_err(|error| reader.error(file, format!("{key}: {}: {error}", path.display())))?;
    Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
}

#[cfg(test)]
mod tests;

//! `[uplink.mqtt]`: from the raw table to what the uplink takes.

use std::time::Duration;

use toml::Spanned;

use super::{ConfigError, Reader, raw};
use crate::uplink::{MqttConfig, PayloadFormat, Secret, TlsConfig, TopicTemplate};

/// Secrets are a line of text.
const MAX_SECRET_BYTES: u64 = 4096;

pub(super) fn mqtt(reader: &Reader, raw: raw::Mqtt, vehicle: &str) -> Result<MqttConfig, ConfigError> {
    let (secure, host, port) = parse_url(raw.url.get_ref()).ok_or_else(|| {
        reader.error(
            &raw.url,
            format!("uplink.mqtt.url = \"{}\": write mqtts://host:8883 or mqtt://host:1883", raw.url.get_ref()),
        )
    })?;
    if !secure && !is_loopback(&host) && !raw.allow_plaintext {
        return Err(reader.error(
            &raw.url,
            format!("uplink.mqtt.url: {host} would be sent to in plain text; use mqtts:// with ca_file, or say allow_plaintext = true"),
        ));
    }
    let tls = if secure {
        if raw.cert_file.is_some() != raw.key_file.is_some() {
            return Err(reader.error(&raw.url, "uplink.mqtt: cert_file and key_file go together"));
        }
        let Some(ca_file) = &raw.ca_file else {
            return Err(reader.error(
                &raw.url,
                "uplink.mqtt: mqtts:// needs ca_file, the PEM file of the CA that signed the broker's certificate",
            ));
        };
        let path = |f: &String| reader.resolve(f);
        Some(TlsConfig {
            ca_file: path(ca_file),
            cert_file: raw.cert_file.as_ref().map(path),
            key_file: raw.key_file.as_ref().map(path),
            server_name: raw.server_name,
        })
    } else {
        if raw.ca_file.is_some() || raw.cert_file.is_some() || raw.key_file.is_some() {
            return Err(reader
                .error(&raw.url, "uplink.mqtt: ca_file, cert_file and key_file need a url that starts with mqtts://"));
        }
        None
    };
    let topic = TopicTemplate::parse(raw.topic.get_ref())
        .map_err(|error| reader.error(&raw.topic, format!("uplink.mqtt.topic: {error}")))?;
    let seconds = |key: &str, value: &Spanned<u64>| {
        reader.in_range(&format!("uplink.mqtt.{key}"), value, 1..=3600).map(Duration::from_secs)
    };
    let millis = |key: &str, value: &Spanned<u64>| {
        reader.in_range(&format!("uplink.mqtt.{key}"), value, 10..=86_400_000).map(Duration::from_millis)
    };
    let backoff_min = millis("backoff_min_ms", &raw.backoff_min_ms)?;
    let backoff_max = millis("backoff_max_ms", &raw.backoff_max_ms)?;
    if backoff_min > backoff_max {
        return Err(reader.error(&raw.backoff_min_ms, "uplink.mqtt.backoff_min_ms is above backoff_max_ms"));
    }
    let keep_alive = reader.in_range("uplink.mqtt.keep_alive_s", &raw.keep_alive_s, 5..=3600)?;
    Ok(MqttConfig {
        host,
        port,
        tls,
        client_id: raw.client_id.unwrap_or_else(|| format!("outrider-{vehicle}")),
        username: raw.username,
        password: raw.password_file.map(|f| secret(reader, &f)).transpose()?,
        topic,
        keep_alive: Duration::from_secs(u64::from(keep_alive)),
        connect_timeout: seconds("connect_timeout_s", &raw.connect_timeout_s)?,
        window: reader.in_range("uplink.mqtt.window", &raw.window, 1..=1024)?,
        ack_timeout: seconds("ack_timeout_s", &raw.ack_timeout_s)?,
        backoff_min,
        backoff_max,
        drain_timeout: seconds("drain_timeout_s", &raw.drain_timeout_s)?,
        max_packet_bytes: reader.in_range("uplink.mqtt.max_packet_bytes", &raw.max_packet_bytes, 1024..=16 << 20)?,
        payload: match raw.payload {
            raw::Payload::Cbor => PayloadFormat::Cbor,
            raw::Payload::Json => PayloadFormat::Json,
        },
    })
}

/// `mqtt://host[:port]` or `mqtts://host[:port]`; an IPv6 address stands in brackets.
fn parse_url(url: &str) -> Option<(bool, String, u16)> {
    let (secure, rest) = match url.split_once("://")? {
        ("mqtt", rest) => (false, rest),
        ("mqtts", rest) => (true, rest),
        _ => return None,
    };
    let default = if secure { 8883 } else { 1883 };
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            (host, after.strip_prefix(':').map_or(after.is_empty().then_some(default), |p| p.parse().ok())?)
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (rest, default),
        },
    };
    let clean = !host.is_empty() && port != 0 && !host.contains(['/', '@', ' ', '?', '#']);
    clean.then(|| (secure, host.to_string(), port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn secret(reader: &Reader, file: &Spanned<String>) -> Result<Secret, ConfigError> {
    use std::io::Read;
    let path = reader.resolve(file.get_ref());
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|f| f.take(MAX_SECRET_BYTES).read_to_string(&mut text))
        .map_err(|error| reader.error(file, format!("uplink.mqtt.password_file: {}: {error}", path.display())))?;
    Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(parse_url("mqtt://a"), Some((false, "a".into(), 1883)));
        assert_eq!(parse_url("mqtts://a.b:1"), Some((true, "a.b".into(), 1)));
        assert_eq!(parse_url("mqtt://[::1]:1884"), Some((false, "::1".into(), 1884)));
        assert_eq!(parse_url("mqtts://[::1]"), Some((true, "::1".into(), 8883)));
        for bad in
            ["a", "http://a", "mqtt://", "mqtt://a:x", "mqtt://a:0", "mqtt://[::1", "mqtt://u@a", "mqtt://[::1]x"]
        {
            assert_eq!(parse_url(bad), None, "{bad}");
        }
    }
}

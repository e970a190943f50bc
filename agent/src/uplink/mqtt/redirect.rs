//! A gateway that sends its vehicles to another server (MQTT 5, section 4.11).
//!
//! The other server is trusted no more than the first: its certificate must be signed by the same authority, for the name
//! that was given; without TLS it must be this computer, unless the configuration allows plain text. After a chain of
//! redirects, or when the other server cannot be reached, the configured one is asked again.

use std::sync::Arc;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{Connect, Login, Packet};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::connect_properties;
use super::config::{MqttConfig, bare};
use crate::uplink::config::is_loopback;

/// More redirects in a row are a circle.
const MAX_HOPS: u8 = 3;
/// A CONNACK is far smaller.
const MAX_CONNACK: usize = 16 * 1024;

/// Where to connect.
#[derive(Debug, Default)]
pub(super) struct Redirect {
    /// Instead of the configured server.
    elsewhere: Option<(String, u16)>,
    hops: u8,
}

impl Redirect {
    pub(super) fn target<'a>(&'a self, config: &'a MqttConfig) -> (&'a str, u16) {
        match &self.elsewhere {
            Some((host, port)) => (host, *port),
            None => (bare(&config.host), config.port),
        }
    }

    /// The server has accepted us.
    pub(super) fn accepted(&mut self) {
        self.hops = 0;
    }

    /// The server could not be reached, or does not take us.
    pub(super) fn failed(&mut self) {
        *self = Self::default();
    }

    /// The server names another one: some, with spaces between, the first is taken.
    ///
    /// # Errors
    /// Why it cannot be followed, with the remedy.
    pub(super) fn follow(&mut self, reference: &str, config: &MqttConfig) -> Result<(), &'static str> {
        let result = self.try_follow(reference, config);
        if result.is_err() {
            self.failed();
        }
        result
    }

    fn try_follow(&mut self, reference: &str, config: &MqttConfig) -> Result<(), &'static str> {
        if self.hops >= MAX_HOPS {
            return Err("that is a circle; mend the gateways' server references");
        }
        let first = reference.split_whitespace().next().unwrap_or_default();
        let default_port = if config.tls.is_some() { 8883 } else { 1883 };
        let (host, port) = parse(first, default_port).ok_or("that is not a host, or host:port")?;
        if config.tls.is_none() && !is_loopback(host) && !config.allow_plaintext {
            return Err("that would be in plain text to another computer; use mqtts://, or say allow_plaintext = true");
        }
        self.elsewhere = Some((host.to_owned(), port));
        self.hops += 1;
        Ok(())
    }
}

/// `host`, `host:port`, `address`, `[address]:port`.
fn parse(reference: &str, default_port: u16) -> Option<(&str, u16)> {
    let is_name = |host: &str| ServerName::try_from(host).is_ok();
    if is_name(bare(reference)) {
        return Some((bare(reference), default_port));
    }
    let (host, port) = reference.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    is_name(bare(host)).then_some((bare(host), port))
}

/// Asks once more, to read what the library does not tell: to which server a CONNACK refers.
pub(super) async fn ask(config: &MqttConfig, target: (&str, u16), tls: Option<Arc<ClientConfig>>) -> Option<String> {
    let answer = async {
        let stream = TcpStream::connect(target).await.ok()?;
        match tls {
            None => connack(config, stream).await,
            Some(tls) => {
                let name = ServerName::try_from(target.0.to_owned()).ok()?;
                connack(config, TlsConnector::from(tls).connect(name, stream).await.ok()?).await
            }
        }
    };
    tokio::time::timeout(config.connect_timeout, answer).await.ok()?
}

async fn connack(config: &MqttConfig, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<String> {
    let connect = Connect {
        keep_alive: u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX),
        client_id: config.client_id.clone(),
        clean_start: true,
        properties: Some(connect_properties(config)),
    };
    let login = config.username.clone().map(|username| {
        let password = config.password.as_ref().map_or("", |secret| secret.reveal());
        Login { username, password: password.to_owned() }
    });
    let mut bytes = BytesMut::new();
    connect.write(&None, &login, &mut bytes).ok()?;
    stream.write_all(&bytes).await.ok()?;
    stream.flush().await.ok()?;
    bytes.clear();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 || bytes.len() > MAX_CONNACK {
            return None;
        }
        // The library's parser takes the packet out of the buffer only once it is complete.
        if let Ok(Packet::ConnAck(connack)) = Packet::read(&mut bytes, u32::try_from(MAX_CONNACK).ok()) {
            return connack.properties?.server_reference;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::topic::TopicTemplate;

    fn config() -> MqttConfig {
        MqttConfig::new("127.0.0.1", 1883, "v", TopicTemplate::parse("a").unwrap())
    }

    #[test]
    fn references_are_hosts_with_or_without_a_port() {
        assert_eq!(parse("b.example", 1), Some(("b.example", 1)));
        assert_eq!(parse("b.example:8884", 1), Some(("b.example", 8884)));
        assert_eq!(parse("::1", 1), Some(("::1", 1)));
        assert_eq!(parse("[::1]:5", 1), Some(("::1", 5)));
        for bad in ["", ":5", "b.example:0", "b.example:x", "a b", "[::1", "b.example:99999", "a/b"] {
            assert_eq!(parse(bad, 1), None, "{bad}");
        }
    }

    #[test]
    fn circles_end_at_the_configured_server() {
        let (config, mut redirect) = (config(), Redirect::default());
        for port in ["127.0.0.1:1", "localhost:2 localhost:9", "127.0.0.1:3"] {
            redirect.follow(port, &config).unwrap();
        }
        assert_eq!(redirect.target(&config), ("127.0.0.1", 3));
        assert!(redirect.follow("127.0.0.1:4", &config).unwrap_err().contains("circle"));
        assert_eq!(redirect.target(&config), ("127.0.0.1", 1883));
        redirect.follow("127.0.0.1:5", &config).unwrap();
        redirect.accepted();
        (0..3).for_each(|_| redirect.follow("127.0.0.1:6", &config).unwrap());
        redirect.failed();
        assert_eq!(redirect.target(&config), ("127.0.0.1", 1883));
    }

    #[test]
    fn plain_text_does_not_leave_the_computer() {
        let (mut config, mut redirect) = (config(), Redirect::default());
        assert!(redirect.follow("evil.example", &config).unwrap_err().contains("allow_plaintext"));
        config.allow_plaintext = true;
        redirect.follow("other.example", &config).unwrap();
        assert_eq!(redirect.target(&config), ("other.example", 1883));
    }
}

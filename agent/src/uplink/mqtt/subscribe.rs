//! Reading back what a gateway passes on, for the audit.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Filter, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, Incoming, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};

use super::config::{MqttConfig, bare};
use super::fault::{Failure, Fault};
use crate::uplink::config::ReadError;
use crate::uplink::tls::Credentials;

/// Messages are bounded by the sender's `max_packet_bytes`.
const MAX_PACKET: u32 = 64 << 20;
/// Connections in a row that fail.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// The broker keeps what comes meanwhile.
const SESSION_S: u32 = 60;

/// Gives each message that comes on topics of `filter` to `take`, until nothing has come for `idle`. `ready` is called once
/// the broker has confirmed: what is published from then on is not missed, also when the connection breaks.
pub(crate) async fn subscribe(
    config: &MqttConfig,
    filter: &str,
    idle: Duration,
    mut ready: impl FnMut(),
    mut take: impl FnMut(&[u8]),
) -> Result<(), ReadError> {
    let host = bare(&config.host);
    let mut options = MqttOptions::new(config.client_id.clone(), host, config.port);
    options.set_clean_start(false).set_session_expiry_interval(Some(SESSION_S)).set_max_packet_size(Some(MAX_PACKET));
    if let Some(username) = &config.username {
        let password = config.password.as_ref().map_or("", |secret| secret.reveal());
        options.set_credentials(username.clone(), password);
    }
    if let Some(tls) = &config.tls {
        let tls = Credentials::new(tls.clone()).client_config(host).map_err(|error| ReadError(error.to_string()))?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    let (client, mut eventloop) = AsyncClient::new(options, 8);
    let filter_of = || Filter::new(filter, QoS::AtLeastOnce);
    client.try_subscribe_many([filter_of()]).map_err(|error| ReadError(error.to_string()))?;
    let (mut failures, mut since) = (0, Instant::now());
    loop {
        // Pings come and go meanwhile.
        match tokio::time::timeout_at((since + idle).into(), eventloop.poll()).await {
            Err(_) => return Ok(()),
            Ok(Ok(Event::Incoming(Incoming::Publish(publish)))) => {
                since = Instant::now();
                take(&publish.payload);
            }
            Ok(Ok(Event::Incoming(Incoming::SubAck(suback)))) => {
                let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                if !suback.return_codes.iter().all(granted) {
                    return Err(ReadError(format!(
                        "the broker refuses a subscription to {filter}; check its access list"
                    )));
                }
                since = Instant::now();
                ready();
            }
            Ok(Ok(Event::Incoming(Incoming::ConnAck(connack)))) if connack.code == ConnectReturnCode::Success => {
                failures = 0;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                failures += 1;
                let fatal = matches!(error, ConnectionError::ConnectionRefused(_) | ConnectionError::Tls(_));
                if fatal || failures >= ATTEMPTS {
                    return Err(ReadError(Fault::from(Failure::V5(error)).to_string()));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

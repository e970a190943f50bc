//! Why a connection ended, in words that say what to do.

use std::time::Duration;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use thiserror::Error;

use crate::uplink::config::MIN_PAYLOAD_BYTES;
use crate::uplink::correlate::CorrelateError;

/// MQTT's reason code "packet too large".
const PACKET_TOO_LARGE: u8 = 0x95;

/// Why a connection could not be made or ended. All are tried again, with back-off.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// The gateway's CONNACK says no.
    #[error("the gateway refused the connection: {0:?}; {hint}", hint = connect_hint(*.0))]
    Refused(ConnectReturnCode),
    /// Nothing answered in time.
    #[error("no connection within connect_timeout; is the network up and the gateway's address right?")]
    ConnectTimeout,
    /// The handshake failed, on our side or the gateway's.
    #[error("TLS: {text}; {hint}", hint = tls_hint(.text))]
    Tls {
        /// rustls' words.
        text: String,
    },
    /// Name lookup, TCP.
    #[error("network: {0}")]
    Network(String),
    /// The gateway says good-bye.
    #[error("the gateway disconnected: {reason:?}{text}; {hint}", hint = disconnect_hint(*.reason))]
    Disconnected {
        /// Why.
        reason: DisconnectReasonCode,
        /// Its own words, with a separator, or empty.
        text: String,
    },
    /// No PUBACK.
    #[error("no acknowledgement for {0:?} although messages are in flight; ack_timeout gives up the connection")]
    AckTimeout(Duration),
    /// The computer was asleep: what is left of the connection would be found out only by waiting.
    #[error("the computer slept; the connection is made anew")]
    Slept,
    /// No PINGRESP.
    #[error("the gateway does not answer within keep_alive")]
    KeepAlive,
    /// A message was larger than the gateway takes, though it announced no limit. It does not say which.
    #[error("the gateway says that one of {in_flight} messages in flight is too large; one at a time from now on")]
    OneTooLarge {
        /// Messages not acknowledged.
        in_flight: usize,
    },
    /// The same, and only one was in flight.
    #[error("the gateway says a message of {bytes} bytes is too large; smaller ones from now on")]
    TooLarge {
        /// Its payload.
        bytes: usize,
    },
    /// The same, of one that every gateway must take.
    #[error(
        "the gateway says an event of {bytes} bytes is too large; it must take {MIN_PAYLOAD_BYTES}, raise its limit"
    )]
    TooSmallALimit {
        /// Its payload.
        bytes: usize,
    },
    /// Hardly any event would fit.
    #[error("the gateway announced a maximum packet size of {announced} bytes; {needed} are needed, raise its limit")]
    SmallPackets {
        /// What its CONNACK says.
        announced: usize,
        /// The least that works.
        needed: usize,
    },
    /// It cannot do what we need.
    #[error("the gateway takes QoS 0 only; QoS 1 is needed to know what arrived")]
    NoQos1,
    /// A gateway that takes nothing at a time.
    #[error("the gateway announced a receive maximum of 0, which MQTT forbids")]
    ZeroWindow,
    /// Acknowledgements that do not fit.
    #[error("acknowledgements out of step: {0}")]
    Correlation(#[from] CorrelateError),
    /// rumqttc never sends a parked message after a refusal of the one before it.
    #[error("a message waited for a packet identifier whose message was refused")]
    StuckBehindRefusal,
    /// Anything else that the library reports.
    #[error("MQTT: {0}")]
    Protocol(String),
}

impl Fault {
    /// Whether the gateway found a message too large.
    pub(super) fn too_large(error: &ConnectionError) -> bool {
        let ConnectionError::MqttState(state) = error else { return false };
        match state {
            StateError::ServerDisconnect { reason_code, .. } => *reason_code == DisconnectReasonCode::PacketTooLarge,
            // As a PUBACK (mosquitto's message_size_limit) it is a code that the library does not know there.
            StateError::Deserialization(PacketError::InvalidConnectReturnCode(code)) => *code == PACKET_TOO_LARGE,
            _ => false,
        }
    }
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Timeout(_) => Self::ConnectTimeout,
            ConnectionError::ConnectionRefused(code) => Self::Refused(code),
            ConnectionError::Tls(TlsError::Io(error)) => from_io(&error),
            ConnectionError::Tls(error) => Self::Tls { text: error.to_string() },
            ConnectionError::Io(error) => from_io(&error),
            ConnectionError::MqttState(state) => from_state(state),
            other => Self::Protocol(other.to_string()),
        }
    }
}

fn from_state(state: StateError) -> Fault {
    match state {
        StateError::ServerDisconnect { reason_code, reason_string } => Fault::Disconnected {
            reason: reason_code,
            text: reason_string.map_or_else(String::new, |text| format!(" ({text})")),
        },
        StateError::AwaitPingResp => Fault::KeepAlive,
        StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)) => from_io(&error),
        StateError::ConnectionAborted => Fault::Network("the gateway closed the connection".to_owned()),
        other => Fault::Protocol(other.to_string()),
    }
}

/// TLS trouble comes as an I/O error around rustls' own, at any time: an alert of the gateway only after the handshake.
fn from_io(error: &std::io::Error) -> Fault {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Fault::Tls { text: tls.to_string() };
    }
    Fault::Network(error.to_string())
}

fn connect_hint(code: ConnectReturnCode) -> &'static str {
    use ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword => "check username and password",
        Code::NotAuthorized | Code::Banned => "check the credentials and the gateway's access list for this client_id",
        Code::BadClientId | Code::ClientIdentifierNotValid => "check client_id",
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => "the gateway must speak MQTT 5",
        Code::UseAnotherServer | Code::ServerMoved => "configure the gateway's new address",
        _ => "the gateway's log may tell more",
    }
}

fn disconnect_hint(reason: DisconnectReasonCode) -> &'static str {
    use DisconnectReasonCode as Code;
    match reason {
        Code::SessionTakenOver => "another client uses the same client_id; each vehicle needs its own",
        Code::NotAuthorized => "check the gateway's access list for this client_id and topic",
        Code::ServerShuttingDown | Code::ServerBusy => "it should come back by itself",
        Code::UseAnotherServer | Code::ServerMoved => "configure the gateway's new address",
        _ => "the gateway's log may tell more",
    }
}

fn tls_hint(text: &str) -> &'static str {
    if text.contains("UnknownIssuer") {
        "the gateway's certificate is not signed by an authority in ca_file"
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        "the gateway's certificate is for another name; set host or server_name to one that it carries"
    } else if text.contains("Expired")
        || text.contains("expired")
        || text.contains("not valid yet")
        || text.contains("NotValidYet")
    {
        "check this computer's clock, then the certificate's dates"
    } else if text.contains("alert") {
        "the gateway refused the handshake; check cert_file and key_file and which authority it trusts"
    } else {
        "check that the gateway speaks TLS on this port"
    }
}

//! Why a connection ended, in words that say what to do.

use std::time::Duration;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rumqttc::{ConnectionError as OldError, StateError as OldState};
use thiserror::Error;

use super::client::return_code;
use super::correlate::CorrelateError;
use crate::uplink::config::MIN_PAYLOAD_BYTES;
use crate::uplink::run::By;
use crate::uplink::tls::{TlsError as ConfigError, hint as tls_hint};

/// What the library says.
#[derive(Debug)]
pub(super) enum Failure {
    V5(ConnectionError),
    V311(OldError),
}

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
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Files(#[from] ConfigError),
    /// The handshake failed, on our side or the gateway's.
    #[error("TLS: {text}; {hint}", hint = tls_hint(.text))]
    Tls {
        /// rustls' words.
        text: String,
    },
    /// Name lookup, TCP.
    #[error("network: {text}")]
    Network {
        /// The system's words.
        text: String,
        /// The gateway, or what stands before it, has ended the connection.
        by_gateway: bool,
    },
    /// The gateway sends us to another server.
    #[error("the gateway sends its vehicles to {}", .to.as_deref().unwrap_or("another server, and does not say which"))]
    Redirected {
        /// Where, in its own words.
        to: Option<String>,
        /// For good, not only for now.
        moved: bool,
    },
    /// The gateway sends us where we must not go.
    #[error("the gateway sends its vehicles to {to:?}; {problem}")]
    BadRedirect {
        /// Where, in its own words.
        to: String,
        /// Why not.
        problem: &'static str,
    },
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
    /// Not a word.
    #[error("the gateway has been silent for one and a half of keep_alive; the link is dead")]
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

impl Failure {
    /// Whether the gateway found a message too large.
    pub(super) fn is_too_large(&self) -> bool {
        let Self::V5(ConnectionError::MqttState(state)) = self else { return false };
        match state {
            StateError::ServerDisconnect { reason_code, .. } => *reason_code == DisconnectReasonCode::PacketTooLarge,
            // As a PUBACK (mosquitto's message_size_limit) it is a code that the library does not know there.
            StateError::Deserialization(PacketError::InvalidConnectReturnCode(code)) => *code == PACKET_TOO_LARGE,
            _ => false,
        }
    }
}

impl Fault {
    /// Who has ended the connection, as far as can be told.
    pub(super) fn by(&self) -> By {
        match self {
            Self::Slept => By::Sleep,
            Self::Redirected { .. } => By::Redirect,
            Self::Disconnected { .. } | Self::Network { by_gateway: true, .. } => By::Gateway,
            Self::Refused(code) if asks_for_rest(*code) => By::Gateway,
            _ => By::Network,
        }
    }
}

/// The gateway has too much to do.
fn asks_for_rest(code: ConnectReturnCode) -> bool {
    use ConnectReturnCode as Code;
    matches!(code, Code::ServerBusy | Code::ServerUnavailable | Code::QuotaExceeded | Code::ConnectionRateExceeded)
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::V5(error) => from_v5(error),
            Failure::V311(error) => from_v311(error),
        }
    }
}

fn from_v5(error: ConnectionError) -> Fault {
    use ConnectReturnCode::{ServerMoved, UseAnotherServer};
    match error {
        ConnectionError::Timeout(_) => Fault::ConnectTimeout,
        ConnectionError::ConnectionRefused(code @ (UseAnotherServer | ServerMoved)) => {
            Fault::Redirected { to: None, moved: code == ServerMoved }
        }
        ConnectionError::ConnectionRefused(code) => Fault::Refused(code),
        ConnectionError::Tls(TlsError::Io(error)) | ConnectionError::Io(error) => from_io(&error),
        ConnectionError::Tls(error) => Fault::Tls { text: error.to_string() },
        ConnectionError::MqttState(state) => match state {
            StateError::ServerDisconnect { reason_code, reason_string } => dismissed(reason_code, reason_string),
            StateError::AwaitPingResp => Fault::KeepAlive,
            StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)) => from_io(&error),
            StateError::ConnectionAborted => hung_up(),
            other => Fault::Protocol(other.to_string()),
        },
        other => Fault::Protocol(other.to_string()),
    }
}

fn from_v311(error: OldError) -> Fault {
    match error {
        OldError::NetworkTimeout => Fault::ConnectTimeout,
        OldError::FlushTimeout => {
            let text = "a write took longer than connect_timeout; the link is dead or too slow".to_owned();
            Fault::Network { text, by_gateway: false }
        }
        OldError::ConnectionRefused(code) => Fault::Refused(return_code(code)),
        OldError::Tls(TlsError::Io(error)) | OldError::Io(error) => from_io(&error),
        OldError::Tls(error) => Fault::Tls { text: error.to_string() },
        OldError::MqttState(state) => match state {
            OldState::AwaitPingResp => Fault::KeepAlive,
            OldState::Io(error) | OldState::Deserialization(rumqttc::mqttbytes::Error::Io(error)) => from_io(&error),
            OldState::ConnectionAborted => hung_up(),
            other => Fault::Protocol(other.to_string()),
        },
        other => Fault::Protocol(other.to_string()),
    }
}

fn dismissed(reason: DisconnectReasonCode, text: Option<String>) -> Fault {
    use DisconnectReasonCode::{ServerMoved, UseAnotherServer};
    match reason {
        UseAnotherServer | ServerMoved => Fault::Redirected { to: None, moved: reason == ServerMoved },
        _ => Fault::Disconnected { reason, text: text.map_or_else(String::new, |text| format!(" ({text})")) },
    }
}

fn hung_up() -> Fault {
    Fault::Network { text: "the gateway closed the connection".to_owned(), by_gateway: true }
}

/// TLS trouble comes as an I/O error around rustls' own, at any time: an alert of the gateway only after the handshake.
pub(super) fn from_io(error: &std::io::Error) -> Fault {
    use std::io::ErrorKind as Kind;
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Fault::Tls { text: tls.to_string() };
    }
    let by_gateway = matches!(
        error.kind(),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof
    );
    Fault::Network { text: error.to_string(), by_gateway }
}

fn connect_hint(code: ConnectReturnCode) -> &'static str {
    use ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword => "check username and password",
        Code::NotAuthorized | Code::Banned => "check the credentials and the gateway's access list for this client_id",
        Code::BadClientId | Code::ClientIdentifierNotValid => "check client_id",
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => {
            "the gateway speaks another version; set mqtt_version"
        }
        Code::RetainNotSupported => "the gateway keeps nothing; set state_topic = \"\"",
        _ => "the gateway's log may tell more",
    }
}

fn disconnect_hint(reason: DisconnectReasonCode) -> &'static str {
    use DisconnectReasonCode as Code;
    match reason {
        Code::SessionTakenOver => "another client uses the same client_id; each vehicle needs its own",
        Code::NotAuthorized => "check the gateway's access list for this client_id and topic",
        Code::ServerShuttingDown | Code::ServerBusy => "it should come back by itself",
        _ => "the gateway's log may tell more",
    }
}

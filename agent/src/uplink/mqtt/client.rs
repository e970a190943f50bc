//! The client library, in either version of the protocol: one connection's options, what goes in, what comes out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Disconnect, LastWill, LastWillProperties, PubAckReason, PublishProperties,
};
use rumqttc::v5::{self, Incoming};
use rumqttc::{NetworkOptions, Outgoing, Packet, TlsConfiguration, Transport, mqttbytes};
use rustls::ClientConfig;

use super::config::{MqttConfig, MqttVersion};
use super::fault::{Failure, Fault};
use super::wire::State;

/// What the gateway allows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) max_qos: Option<u8>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) max_packet: Option<u32>,
    /// In whole seconds; 0 turns it off.
    pub(super) keep_alive: Option<u16>,
}

/// What came of a poll.
#[derive(Debug)]
pub(super) enum Heard {
    /// The gateway has accepted us.
    Accepted(Limits),
    /// It has answered to the packet of this identifier, in its own words if it has any.
    Answered(u16, PubAckReason, Option<String>),
    /// A message was sent as the packet of this identifier.
    Sent(u16),
    /// A message waits until this identifier is free.
    Parked(u16),
    /// The gateway says good-bye; the connection ends with that.
    Dismissed(Option<String>),
    /// Our DISCONNECT is out.
    Left,
    /// Something else came in.
    Alive,
    /// Something else went out.
    Nothing,
}

/// Hands messages over.
pub(super) enum Client {
    V5(v5::AsyncClient),
    V311(rumqttc::AsyncClient),
}

/// Drives the connection.
pub(super) enum EventLoop {
    V5(Box<v5::EventLoop>),
    V311(Box<rumqttc::EventLoop>),
}

/// A connection that is not yet made: to `host` and `port`, with room for so many messages.
pub(super) fn connect(
    config: &MqttConfig,
    (host, port): (&str, u16),
    tls: Option<Arc<ClientConfig>>,
    will: Option<&State>,
    capacity: usize,
) -> (Client, EventLoop) {
    let transport = tls.map_or(Transport::Tcp, |tls| Transport::Tls(TlsConfiguration::Rustls(tls)));
    let login = config.username.clone().map(|username| {
        let password = config.password.as_ref().map_or("", |secret| secret.reveal());
        (username, password.to_owned())
    });
    let keep_alive = Duration::from_secs(config.keep_alive.as_secs());
    let connect_timeout = config.connect_timeout.as_secs() + u64::from(config.connect_timeout.subsec_nanos() > 0);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    match config.version {
        MqttVersion::V5 => {
            let mut options = v5::MqttOptions::new(config.client_id.clone(), host, port);
            options.set_clean_start(true).set_keep_alive(keep_alive).set_transport(transport);
            options.set_connection_timeout(connect_timeout);
            // Without a limit the library allocates for 65,535 messages.
            options.set_outgoing_inflight_upper_limit(config.window);
            options.set_connect_properties(connect_properties(config));
            options.set_network_options(network);
            if let Some((username, password)) = login {
                options.set_credentials(username, password);
            }
            if let Some(will) = will {
                options.set_last_will(last_will(config, will));
            }
            let (client, eventloop) = v5::AsyncClient::new(options, capacity);
            (Client::V5(client), EventLoop::V5(Box::new(eventloop)))
        }
        MqttVersion::V311 => {
            let mut options = rumqttc::MqttOptions::new(config.client_id.clone(), host, port);
            let largest = usize::try_from(config.max_packet_bytes).unwrap_or(usize::MAX);
            options.set_clean_session(true).set_keep_alive(keep_alive).set_transport(transport);
            options.set_inflight(config.window).set_max_packet_size(MAX_INCOMING, largest);
            if let Some((username, password)) = login {
                options.set_credentials(username, password);
            }
            if let Some(State { topic, payload }) = will {
                let qos = mqttbytes::QoS::AtLeastOnce;
                options.set_last_will(rumqttc::LastWill::new(topic, payload.to_vec(), qos, true));
            }
            let (client, mut eventloop) = rumqttc::AsyncClient::new(options, capacity);
            network.set_connection_timeout(connect_timeout);
            eventloop.set_network_options(network);
            (Client::V311(client), EventLoop::V311(Box::new(eventloop)))
        }
    }
}

/// A publisher gets acknowledgements only.
const MAX_INCOMING: usize = 10 * 1024;

pub(super) fn connect_properties(config: &MqttConfig) -> ConnectProperties {
    ConnectProperties {
        session_expiry_interval: seconds(config.session_expiry),
        receive_maximum: None,
        max_packet_size: u32::try_from(MAX_INCOMING).ok(),
        topic_alias_max: None,
        request_response_info: None,
        request_problem_info: None,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    }
}

fn last_will(config: &MqttConfig, State { topic, payload }: &State) -> LastWill {
    let properties = LastWillProperties {
        delay_interval: seconds(config.will_delay),
        payload_format_indicator: Some(1),
        message_expiry_interval: None,
        content_type: Some(State::CONTENT_TYPE.to_owned()),
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    LastWill::new(topic, payload.to_vec(), QoS::AtLeastOnce, true, Some(properties))
}

/// `None` for nothing: that is the default of all intervals.
fn seconds(duration: Duration) -> Option<u32> {
    (!duration.is_zero()).then(|| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
}

impl Client {
    /// Hands a message over. `properties` are left out where the protocol has none.
    pub(super) fn publish(
        &self,
        topic: &str,
        retain: bool,
        payload: Bytes,
        properties: impl FnOnce() -> PublishProperties,
    ) -> Result<(), Fault> {
        match self {
            Self::V5(client) => client
                .try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties())
                .map_err(|error| Fault::Protocol(error.to_string())),
            Self::V311(client) => client
                .try_publish(topic, mqttbytes::QoS::AtLeastOnce, retain, payload)
                .map_err(|error| Fault::Protocol(error.to_string())),
        }
    }

    /// Ends the connection after what was handed over.
    pub(super) fn disconnect(&self) {
        // It cannot fail: the channel has room for more than the window.
        match self {
            Self::V5(client) => drop(client.try_disconnect()),
            Self::V311(client) => drop(client.try_disconnect()),
        }
    }
}

impl EventLoop {
    /// Makes the connection, if there is none, and waits for the next that happens on it. Must not be dropped before it
    /// is done while the connection is wanted: a packet that is just being written would be lost.
    pub(super) async fn poll(&mut self) -> Result<Heard, Failure> {
        match self {
            Self::V5(eventloop) => eventloop.poll().await.map(of_v5).map_err(Failure::V5),
            Self::V311(eventloop) => eventloop.poll().await.map(of_v311).map_err(Failure::V311),
        }
    }

    /// What was received before the connection ended, and is not yet reported.
    pub(super) fn received(&mut self) -> Option<Heard> {
        match self {
            Self::V5(eventloop) => eventloop.state.events.pop_front().map(of_v5),
            Self::V311(eventloop) => eventloop.state.events.pop_front().map(of_v311),
        }
    }

    /// Sends a ping each `interval`, whole seconds, or as often as the library can where that is more often: each 5 s.
    pub(super) fn ping_every(&mut self, interval: Duration) {
        let interval = Duration::from_secs(interval.as_secs().max(5));
        match self {
            Self::V5(eventloop) => drop(eventloop.options.set_keep_alive(interval)),
            Self::V311(eventloop) => drop(eventloop.mqtt_options.set_keep_alive(interval)),
        }
    }
}

fn of_v5(event: v5::Event) -> Heard {
    match event {
        v5::Event::Incoming(Incoming::ConnAck(connack)) => {
            Heard::Accepted(connack.properties.map_or_else(Limits::default, |p| Limits {
                max_qos: p.max_qos,
                receive_maximum: p.receive_max,
                max_packet: p.max_packet_size,
                keep_alive: p.server_keep_alive,
            }))
        }
        v5::Event::Incoming(Incoming::PubAck(puback)) => {
            Heard::Answered(puback.pkid, puback.reason, puback.properties.and_then(|p| p.reason_string))
        }
        v5::Event::Incoming(Incoming::Disconnect(Disconnect { properties, .. })) => {
            Heard::Dismissed(properties.and_then(|p| p.server_reference))
        }
        v5::Event::Incoming(_) => Heard::Alive,
        v5::Event::Outgoing(outgoing) => of_outgoing(&outgoing),
    }
}

fn of_v311(event: rumqttc::Event) -> Heard {
    match event {
        rumqttc::Event::Incoming(Packet::ConnAck(_)) => Heard::Accepted(Limits::default()),
        rumqttc::Event::Incoming(Packet::PubAck(puback)) => Heard::Answered(puback.pkid, PubAckReason::Success, None),
        rumqttc::Event::Incoming(_) => Heard::Alive,
        rumqttc::Event::Outgoing(outgoing) => of_outgoing(&outgoing),
    }
}

fn of_outgoing(outgoing: &Outgoing) -> Heard {
    match outgoing {
        Outgoing::Publish(id) => Heard::Sent(*id),
        Outgoing::AwaitAck(id) => Heard::Parked(*id),
        Outgoing::Disconnect => Heard::Left,
        _ => Heard::Nothing,
    }
}

/// The words of MQTT 5 for what MQTT 3.1.1 says.
pub(super) fn return_code(code: mqttbytes::v4::ConnectReturnCode) -> ConnectReturnCode {
    use mqttbytes::v4::ConnectReturnCode as Old;
    match code {
        Old::Success => ConnectReturnCode::Success,
        Old::RefusedProtocolVersion => ConnectReturnCode::UnsupportedProtocolVersion,
        Old::BadClientId => ConnectReturnCode::ClientIdentifierNotValid,
        Old::ServiceUnavailable => ConnectReturnCode::ServerUnavailable,
        Old::BadUserNamePassword => ConnectReturnCode::BadUserNamePassword,
        Old::NotAuthorized => ConnectReturnCode::NotAuthorized,
    }
}

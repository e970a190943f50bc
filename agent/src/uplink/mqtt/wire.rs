//! What messages look like on the wire.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde::Serialize;

use super::config::{MIN_PACKET_BYTES, MqttConfig, MqttVersion};
use crate::event::{Class, Identity, SCHEMA_VERSION};
use crate::uplink::config::{ConfigError, MIN_PAYLOAD_BYTES, PayloadFormat};
use crate::uplink::delivery::Message;

/// A message about the vehicle itself, retained by the gateway.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

impl State {
    pub(super) const CONTENT_TYPE: &'static str = "application/json";

    pub(super) fn properties() -> PublishProperties {
        PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some(Self::CONTENT_TYPE.to_owned()),
            ..PublishProperties::default()
        }
    }
}

/// What the state's message says, as JSON.
#[derive(Serialize)]
struct StateBody<'a> {
    vehicle: &'a str,
    boot: &'a str,
    version: &'a str,
    /// `online`; `offline`: it has ended in good order; `moved`: another gateway has it now; `lost`: the last will.
    state: &'a str,
}

#[derive(Debug)]
pub(super) struct Wire {
    /// By class rank.
    topics: [String; 5],
    state_topic: Option<String>,
    identity: Identity,
    format: PayloadFormat,
    version: MqttVersion,
    /// By class rank, seconds.
    expiry: [Option<u32>; 5],
}

impl Wire {
    pub(super) fn new(config: &MqttConfig, identity: &Identity) -> Result<Self, ConfigError> {
        let mut topics: [String; 5] = Default::default();
        for class in Class::ALL {
            topics[class.rank()] = config.topic.render(&identity.vehicle, class.name())?;
        }
        let state_topic =
            config.state_topic.as_ref().map(|topic| topic.render(&identity.vehicle, "state")).transpose()?;
        let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Ok(Self {
            topics,
            state_topic,
            identity: identity.clone(),
            format: config.payload,
            version: config.version,
            expiry: config.message_expiry.map(|expiry| expiry.map(seconds)),
        })
    }

    /// The message that tells the vehicle's state, if one is wanted.
    pub(super) fn state(&self, state: &str) -> Option<State> {
        let Identity { vehicle, boot } = &self.identity;
        let body = StateBody { vehicle, boot, version: env!("CARGO_PKG_VERSION"), state };
        // Texts always encode.
        let payload = serde_json::to_vec(&body).unwrap_or_default().into();
        self.state_topic.clone().map(|topic| State { topic, payload })
    }

    fn properties(&self, class: Class, first_seq: u64, last_seq: u64) -> PublishProperties {
        let user = |key: &str, value: String| (key.to_owned(), value);
        PublishProperties {
            payload_format_indicator: (self.format == PayloadFormat::Json).then_some(1),
            message_expiry_interval: self.expiry[class.rank()],
            content_type: Some(self.format.content_type().to_owned()),
            user_properties: vec![
                user("schema", SCHEMA_VERSION.to_string()),
                user("class", class.name().to_owned()),
                user("vehicle", self.identity.vehicle.to_string()),
                user("seq", format!("{first_seq}-{last_seq}")),
            ],
            ..PublishProperties::default()
        }
    }

    pub(super) fn topic(&self, class: Class) -> &str {
        &self.topics[class.rank()]
    }

    pub(super) fn message_properties(&self, message: &Message) -> PublishProperties {
        self.properties(message.class, message.part.first_seq, message.part.last_seq)
    }

    /// Bytes of payload that fit into packets of at most `packet` bytes, by class rank.
    pub(super) fn room(&self, packet: usize) -> [usize; 5] {
        std::array::from_fn(|rank| packet.saturating_sub(self.overhead(rank)))
    }

    /// The smallest packet limit to work with: below it, events would be given up that every gateway should take.
    pub(super) fn least_packet(&self) -> usize {
        let overhead = (0..Class::ALL.len()).map(|rank| self.overhead(rank)).max().unwrap_or_default();
        (overhead + MIN_PAYLOAD_BYTES).max(usize::try_from(MIN_PACKET_BYTES).unwrap_or(usize::MAX))
    }

    /// Bytes of a packet that are not payload, for the class of this rank.
    pub(super) fn overhead(&self, rank: usize) -> usize {
        // The length field of an empty packet has at least one byte, of a full one at most four.
        const LENGTH_GROWS: usize = 3;
        let class = Class::ALL[rank];
        if self.version == MqttVersion::V311 {
            // First byte, length, topic with its length, identifier.
            return 1 + 1 + 2 + self.topic(class).len() + 2 + LENGTH_GROWS;
        }
        let properties = self.properties(class, u64::MAX, u64::MAX);
        let mut empty = Publish::new(self.topic(class), QoS::AtLeastOnce, Vec::new(), Some(properties));
        // The size counts the identifier only once there is one.
        empty.pkid = 1;
        empty.size() + LENGTH_GROWS
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

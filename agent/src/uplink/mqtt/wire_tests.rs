use bytes::BytesMut;

use super::*;
use crate::uplink::TopicTemplate;
use crate::uplink::mqtt::MqttGateway;
use crate::uplink::payload::Part;

fn wire(format: PayloadFormat, version: MqttVersion) -> Wire {
    let topic = TopicTemplate::parse("outrider/{vehicle}/{class}").unwrap();
    let mut config = MqttConfig::new("h", 1, "id", topic);
    config.payload = format;
    config.version = version;
    config.message_expiry[0] = Some(std::time::Duration::from_secs(60));
    let identity = Identity { vehicle: "vehicle-1".into(), boot: "b".into() };
    Wire::new(&config, &identity).unwrap()
}

#[test]
fn a_payload_that_has_room_makes_a_packet_that_fits() {
    for format in [PayloadFormat::Cbor, PayloadFormat::Json] {
        let wire = wire(format, MqttVersion::V5);
        for packet in [300, 512, 2_000, 16_384, 20_000, 3_000_000] {
            for class in Class::ALL {
                let room = wire.room(packet)[class.rank()];
                let seq = u64::MAX;
                let part = Part { first_seq: seq, last_seq: seq, seqs: None, count: 1, payload: vec![0; room].into() };
                let message = Message { class, batch: seq, part };
                let properties = wire.message_properties(&message);
                let mut publish =
                    Publish::new(wire.topic(class), QoS::AtLeastOnce, message.part.payload, Some(properties));
                publish.pkid = u16::MAX;
                let mut bytes = BytesMut::new();
                publish.write(&mut bytes).unwrap();
                assert!(bytes.len() <= packet, "{} bytes into {packet}", bytes.len());
                assert!(bytes.len() + 4 > packet, "no room is wasted: {} of {packet}", bytes.len());
            }
        }
        assert_eq!(wire.room(10), [0; 5]);
    }
}

#[test]
fn a_vehicle_that_cannot_stand_in_a_topic_is_refused_at_the_start() {
    let topic = TopicTemplate::parse("outrider/{vehicle}").unwrap();
    let identity = Identity { vehicle: "a/b".into(), boot: "b".into() };
    let error = MqttGateway::new(MqttConfig::new("h", 1, "id", topic), &identity).unwrap_err();
    assert!(matches!(error, ConfigError::Topic(_)), "{error}");
}

#[test]
fn a_topic_that_leaves_no_room_for_an_event_is_refused_at_the_start() {
    let topic = TopicTemplate::parse(&format!("{}/{{class}}", "x".repeat(400))).unwrap();
    let identity = Identity { vehicle: "v1".into(), boot: "b".into() };
    let mut config = MqttConfig::new("h", 1, "id", topic);
    config.max_packet_bytes = 512;
    let ConfigError::Value { field, problem } = MqttGateway::new(config.clone(), &identity).unwrap_err() else {
        panic!("not a matter of a value")
    };
    assert_eq!(field, "max_packet_bytes");
    let least = Wire::new(&config, &identity).unwrap().least_packet();
    assert!(problem.contains(&least.to_string()), "{problem}");
    config.max_packet_bytes = u32::try_from(least).unwrap();
    MqttGateway::new(config, &identity).unwrap();
    assert_eq!(wire(PayloadFormat::Cbor, MqttVersion::V5).least_packet(), 512);
}

#[test]
fn in_the_old_protocol_too_what_has_room_fits() {
    use rumqttc::mqttbytes::{self, v4};
    let wire = wire(PayloadFormat::Json, MqttVersion::V311);
    for packet in [300, 20_000, 3_000_000] {
        let room = wire.room(packet)[4];
        let mut publish = v4::Publish::new(wire.topic(Class::Bulk), mqttbytes::QoS::AtLeastOnce, vec![0; room]);
        publish.pkid = u16::MAX;
        let mut bytes = BytesMut::new();
        publish.write(&mut bytes).unwrap();
        assert!(bytes.len() <= packet && bytes.len() + 4 > packet, "{} bytes into {packet}", bytes.len());
    }
}

#[test]
fn the_vehicles_state_is_json_and_may_be_left_out() {
    let topic = TopicTemplate::parse("outrider/{vehicle}").unwrap();
    let identity = Identity { vehicle: "v-1".into(), boot: "b".into() };
    let mut config = MqttConfig::new("h", 1, "id", topic);
    assert!(Wire::new(&config, &identity).unwrap().state("online").is_none());
    config.state_topic = Some(TopicTemplate::parse("{vehicle}/{class}").unwrap());
    let state = Wire::new(&config, &identity).unwrap().state("lost").unwrap();
    let body: serde_json::Value = serde_json::from_slice(&state.payload).unwrap();
    assert_eq!((state.topic.as_str(), &body["state"], &body["boot"]), ("v-1/state", &"lost".into(), &"b".into()));
}

//! What may not leave the vehicle is in no byte that a Kafka cluster gets.

use crate::agent::stat;
use crate::kafka::{Broker, Observer};
use crate::proxy::Proxy;
use crate::ruled_vehicle::{RULES, VIN, Vehicle, boot_id, count, gateway, has, ruled};
use crate::{InsertAt, TOPIC};

#[test]
fn no_forbidden_value_is_in_any_request() {
    let mut captures = Vec::new();
    for rules in ["", RULES] {
        let mut proxy = None;
        let broker = Broker::start(|port| proxy.insert_at(port), &[]);
        let proxy: Proxy = proxy.unwrap();
        Observer::connect(broker.port).create(TOPIC, 1);
        proxy.capture();
        // Compressed, nothing could be found anyway.
        let more = format!("topic = \"{TOPIC}\"\ncompression = \"none\"\n");
        let vehicle = Vehicle::make(rules, 1, &[gateway("us", &format!("kafka://127.0.0.1:{}", proxy.port), &more)]);
        vehicle.drive(20);
        let held = stat(&vehicle.outbox()).depth;
        assert_eq!(held > 0, !rules.is_empty(), "{held}: what is for eu alone stays");
        captures.push((proxy.captured(), vehicle));
    }
    let [(plain, vehicle), (ruled_bytes, _)] = &captures[..] else { panic!("two") };
    for (signal, values) in ruled(vehicle) {
        assert!(count(plain, &values) >= values.len() * 9 / 10, "{signal} is found where it is");
        assert_eq!(count(ruled_bytes, &values), 0, "{signal}");
    }
    for name in [VIN, &boot_id(), "Car.Heart", "Cabin.Weight"] {
        assert!(has(plain, name.as_bytes()) && !has(ruled_bytes, name.as_bytes()), "{name}");
    }
    assert!(has(ruled_bytes, b"Gps.Lat") && has(ruled_bytes, b"outrider-p-"), "it is there");
}

//! What MQTT 5 offers beside publishing, and MQTT 3.1.1: state, expiry, keep-alive, redirects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outrider::event::Class;
use outrider::outbox::Outbox;
use outrider::uplink::{LinkState, MqttVersion, TopicTemplate};

use crate::fixture::{self, Running, config, fill, outbox, telemetry};
use crate::mosquitto::{Mosquitto, Subscriber, wait_until};
use crate::proxy::Proxy;
use crate::scripted_gateway::{ScriptedGateway, connack, disconnect, puback, text_property};

const SERVER_REFERENCE: u8 = 0x1C;

fn states(subscriber: &Subscriber) -> Vec<String> {
    let of_state = subscriber.received().into_iter().filter(|message| message.topic == "state/v1");
    of_state
        .map(|message| {
            assert_eq!(message.content_type, "application/json");
            let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!((&body["vehicle"], &body["boot"]), (&"v1".into(), &"boot".into()));
            body["state"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn the_gateway_knows_whether_the_vehicle_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(1);
    let mut config = config(proxy.port);
    config.state_topic = Some(TopicTemplate::parse("state/{vehicle}").unwrap());
    let mut uplink = Running::start(config, &outbox);
    wait_until("birth", || states(&subscriber) == ["online"]);
    proxy.refuse(true);
    wait_until("the last will", || states(&subscriber) == ["online", "lost"]);
    proxy.refuse(false);
    wait_until("birth again", || states(&subscriber) == ["online", "lost", "online"]);
    // Whoever comes later finds it: it is retained.
    let late = Subscriber::named(&broker, "late");
    wait_until("the retained state", || states(&late) == ["online"]);
    uplink.stop();
    wait_until("good-bye", || states(&subscriber) == ["online", "lost", "online", "offline"]);
    assert!(outbox.lock().unwrap().is_empty());
}

#[test]
fn intervals_are_what_the_configuration_says() {
    let gateway = ScriptedGateway::start(&[], |publish| vec![(publish.id, 0)]);
    let outbox = outbox(1);
    let mut config = config(gateway.port);
    config.session_expiry = Duration::from_secs(0x0102);
    config.will_delay = Duration::from_secs(0x0304);
    config.state_topic = Some(TopicTemplate::parse("state").unwrap());
    config.message_expiry[Class::Telemetry.rank()] = Some(Duration::from_secs(0x0506));
    fill(&outbox, Class::Telemetry, 0..1);
    fill(&outbox, Class::Alert, 0..1);
    let _uplink = Running::start(config, &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let connect = gateway.connects().remove(0);
    assert!(has(&connect, &[0x11, 0, 0, 1, 2]), "session expiry: {connect:x?}");
    assert!(has(&connect, &[0x18, 0, 0, 3, 4]), "will delay: {connect:x?}");
    for publish in gateway.published().iter().filter(|publish| publish.topic != "state") {
        let expires = has(&publish.properties, &[0x02, 0, 0, 5, 6]);
        assert_eq!(expires, publish.topic.ends_with("telemetry"), "{publish:x?}");
        let class = publish.topic.rsplit('/').next().unwrap();
        assert!(
            has(&publish.properties, &[&[0x26, 0, 5][..], b"class"].concat())
                && has(&publish.properties, class.as_bytes())
        );
    }
}

/// A gateway that takes three messages at a time, and answers when there are three.
#[test]
fn no_more_are_in_flight_than_the_gateway_takes() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..90);
    let most = Arc::new(Mutex::new((0, Vec::new())));
    let seen = Arc::clone(&most);
    let gateway = ScriptedGateway::start(&[0x21, 0, 3], move |publish| {
        let (most, open) = &mut *seen.lock().unwrap();
        open.push((publish.id, 0));
        *most = (*most).max(open.len());
        if open.len() == 3 { std::mem::take(open) } else { Vec::new() }
    });
    let uplink = Running::start(config(gateway.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    assert_eq!(most.lock().unwrap().0, 3);
    assert_eq!(uplink.monitor.snapshot().failures, 0);
}

/// Nothing is in flight: only silence tells.
#[test]
fn a_black_hole_is_noticed_within_one_and_a_half_keep_alives() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(1);
    let mut config = config(proxy.port);
    config.keep_alive = Duration::from_secs(5);
    config.connect_timeout = crate::mosquitto::PATIENCE * 10;
    let uplink = Running::start(config, &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    // Pings go to and fro for a while: the hole opens in the middle of it.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(uplink.monitor.snapshot().failures, 0);
    proxy.swallow(true);
    let since = Instant::now();
    wait_until("the watchdog", || uplink.monitor.snapshot().failures == 1);
    // The bound, and what a busy machine may add to it.
    assert!(since.elapsed() < Duration::from_millis(7_500 + 2_000), "{:?}", since.elapsed());
    let error = uplink.monitor.snapshot().last_error.unwrap();
    assert!(error.contains("silent"), "{error}");
}

/// More is written than the network takes: the library is stuck in a write, and only the watchdog still runs.
#[test]
fn a_write_that_is_stuck_does_not_hide_a_dead_link() {
    let outbox = outbox(1);
    for _ in 0..400 {
        outbox.lock().unwrap().append(&fixture::large(Class::Bulk, 60_000)).unwrap();
    }
    outbox.lock().unwrap().commit().unwrap();
    let stuck = Arc::new(AtomicBool::new(true));
    let its_stuck = Arc::clone(&stuck);
    // Reads nothing more after the first message.
    let gateway = ScriptedGateway::start(&[], move |publish| {
        while its_stuck.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        vec![(publish.id, 0)]
    });
    let mut config = config(gateway.port);
    config.keep_alive = Duration::from_secs(5);
    config.window = 400;
    config.ack_timeout = crate::mosquitto::PATIENCE * 10;
    let uplink = Running::start(config, &outbox);
    wait_until("the watchdog", || uplink.monitor.snapshot().failures >= 1);
    let error = uplink.monitor.snapshot().last_error.unwrap();
    assert!(error.contains("silent"), "{error}");
    stuck.store(false, Ordering::SeqCst);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
}

#[test]
fn a_gateway_may_send_its_vehicles_to_another_one() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..20);
    let second = ScriptedGateway::start(&[], |publish| vec![(publish.id, 0)]);
    let reference = text_property(SERVER_REFERENCE, &format!("localhost:{}", second.port));
    // In the midst of it, then at the door; each time after the fifth message.
    let at_the_door = reference.clone();
    let mut n = 0;
    let first = ScriptedGateway::raw(
        move |connection| if connection == 1 { connack(0, &[]) } else { connack(0x9D, &at_the_door) },
        move |publish| {
            n += 1;
            if n > 5 { disconnect(0x9C, &reference) } else { puback(publish.id, 0) }
        },
    );
    let uplink = Running::start(config(first.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    assert!(!second.published().is_empty());
    let mut acked = outbox.lock().unwrap().acked.clone();
    acked.sort_unstable();
    assert_eq!(acked, (1..=20).collect::<Vec<_>>());
    let error = uplink.monitor.snapshot().last_error.unwrap();
    assert!(error.contains(&format!("to localhost:{}", second.port)), "{error}");
}

#[test]
fn at_the_door_the_other_gateway_is_asked_for() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..3);
    let second = ScriptedGateway::start(&[], |publish| vec![(publish.id, 0)]);
    let reference = text_property(SERVER_REFERENCE, &format!("127.0.0.1:{} elsewhere.example", second.port));
    let first = ScriptedGateway::raw(move |_| connack(0x9C, &reference), |_| Vec::new());
    let _uplink = Running::start(config(first.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    assert_eq!(first.connects().len(), 2, "the library does not tell where to: it is asked once more");
}

#[test]
fn nobody_is_sent_to_strangers_in_plain_text_or_in_circles() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..1);
    let stranger = text_property(SERVER_REFERENCE, "stranger.example:1883");
    let gateway = ScriptedGateway::raw(move |_| connack(0x9C, &stranger), |_| Vec::new());
    let uplink = Running::start(config(gateway.port), &outbox);
    let error = || uplink.monitor.snapshot().last_error.unwrap_or_default();
    wait_until("the refusal", || error().contains("allow_plaintext"));
    drop(uplink);

    let ports = Arc::new(Mutex::new(Vec::new()));
    let its_ports = Arc::clone(&ports);
    // Each sends to the other one.
    let other = move |own: usize| {
        let ports = its_ports.clone();
        move |_| {
            let ports: Vec<u16> = ports.lock().unwrap().clone();
            connack(0x9C, &text_property(SERVER_REFERENCE, &format!("127.0.0.1:{}", ports[1 - own])))
        }
    };
    let gateways = [0, 1].map(|own| ScriptedGateway::raw(other(own), |_| Vec::new()));
    ports.lock().unwrap().extend(gateways.iter().map(|gateway| gateway.port));
    let uplink = Running::start(config(gateways[0].port), &outbox);
    let error = || uplink.monitor.snapshot().last_error.unwrap_or_default();
    wait_until("the circle to be found", || error().contains("circle"));
    assert_eq!(outbox.lock().unwrap().held(), [1]);
}

#[test]
fn a_gateway_that_speaks_only_the_old_protocol_gets_everything() {
    const EVENTS: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(4);
    fill(&outbox, Class::Telemetry, 0..EVENTS);
    let mut config = config(proxy.port);
    config.version = MqttVersion::V311;
    config.state_topic = Some(TopicTemplate::parse("state/{vehicle}").unwrap());
    let mut uplink = Running::start(config, &outbox);
    for cut in 1..=2 {
        wait_until("progress", || uplink.monitor.snapshot().acked >= cut * EVENTS / 16);
        proxy.cut();
        wait_until("a new connection", || uplink.monitor.snapshot().connects > cut);
    }
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    // A large event, to the full size of a packet.
    outbox.lock().unwrap().append(&fixture::large(Class::Bulk, 200_000)).unwrap();
    outbox.lock().unwrap().append(&telemetry(Class::Bulk, 1)).unwrap();
    outbox.lock().unwrap().commit().unwrap();
    uplink.stop();
    assert!(outbox.lock().unwrap().is_empty());
    let arrived = || -> std::collections::BTreeSet<u64> {
        let events = subscriber.received().into_iter().filter(|message| message.topic.starts_with("outrider/"));
        events.flat_map(|message| fixture::seqs(&message.payload)).collect()
    };
    wait_until("all of it", || arrived().len() == usize::try_from(EVENTS).unwrap() + 2);
    let log = std::fs::read_to_string(dir.path().join("mosquitto.log")).unwrap();
    assert!(log.contains("as v1 (p2,"), "MQTT 3.1.1: {log}");
    let told: Vec<_> = subscriber.received().into_iter().filter(|message| message.topic == "state/v1").collect();
    let last: serde_json::Value = serde_json::from_slice(&told[told.len() - 1].payload).unwrap();
    assert_eq!(last["state"], "offline");
}

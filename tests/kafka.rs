//! The Kafka uplink against a real broker, through networks that fail, and with answers of every kind.
//!
//! Needs the broker's program: `tests/run kafka` fetches it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "kafka_answers.rs"]
mod answers;
#[path = "support/uplink_fixture.rs"]
mod fixture;
#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/memory_outbox.rs"]
mod memory_outbox;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/pki.rs"]
mod pki;
#[path = "kafka_privacy.rs"]
mod privacy;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/ruled_vehicle.rs"]
mod ruled_vehicle;
#[path = "support/sasl.rs"]
mod sasl;
#[path = "kafka_security.rs"]
mod security;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixture::{Running, fill, hasty, large, outbox, telemetry};
use kafka::{Broker, Consumed, Observer, Produce, Scripted};
use memory_outbox::MemoryOutbox;
use mosquitto::{Mosquitto, Subscriber, wait_until};
use outrider::event::{Body, Class, LossCause};
use outrider::outbox::Outbox;
use outrider::uplink::{
    Compression, GatewayConfig, KafkaConfig, LinkState, PayloadFormat, Sasl, SaslMechanism, Secret, TlsConfig,
    TopicTemplate, UplinkConfig, Waker,
};
use proxy::Proxy;
use sasl::Login;

const TOPIC: &str = "outrider";

fn config(port: u16) -> KafkaConfig {
    let mut config = KafkaConfig::new(vec![format!("127.0.0.1:{port}")], "v1", TopicTemplate::parse(TOPIC).unwrap());
    config.request_timeout = Duration::from_secs(20);
    config
}

/// A broker with the topic.
fn broker(partitions: i32) -> (Broker, Observer) {
    let broker = Broker::start(|port| port, &[]);
    let observer = Observer::connect(broker.port);
    observer.create(TOPIC, partitions);
    (broker, observer)
}

/// A broker that is reached through a proxy, and what the proxy answers in its place.
fn scripted(answer: impl FnMut(&Produce) -> Option<i16> + Send + 'static) -> (Broker, Scripted, Observer) {
    let mut broker = None;
    let scripted = Scripted::start(|port| broker.insert(Broker::start(|_| port, &[])).port, answer);
    let observer = Observer::connect(scripted.port);
    observer.create(TOPIC, 1);
    (broker.unwrap(), scripted, observer)
}

fn seqs(consumed: &[Consumed]) -> Vec<u64> {
    consumed.iter().map(|record| record.headers["seq"].parse().unwrap()).collect()
}

fn emptied(outbox: &Mutex<MemoryOutbox>) {
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
}

#[test]
fn each_event_is_a_record_of_its_vehicle() {
    let (broker, observer) = broker(7);
    for (compression, payload) in [
        (Compression::None, PayloadFormat::Cbor),
        (Compression::Gzip, PayloadFormat::Json),
        (Compression::Snappy, PayloadFormat::Cbor),
    ] {
        let before = observer.consume(TOPIC).len();
        let outbox = outbox(4);
        fill(&outbox, Class::Alert, 0..10);
        let config = KafkaConfig { compression, payload, ..config(broker.port) };
        let mut uplink = Running::start(config, &outbox);
        emptied(&outbox);
        uplink.stop();
        let records = observer.consume(TOPIC).split_off(before);
        assert_eq!(seqs(&records), (1..=10).collect::<Vec<_>>(), "{compression:?}");
        for record in &records {
            assert_eq!(record.key, "v1");
            assert_eq!(record.partition, records[0].partition);
            let header = |name: &str| record.headers[name].as_str();
            assert_eq!((header("schema"), header("class"), header("boot")), ("1", "alert", "boot"));
            let seq = match payload {
                PayloadFormat::Cbor => {
                    assert_eq!(header("content-type"), "application/cbor");
                    fixture::seqs(&record.value)[0]
                }
                PayloadFormat::Json => {
                    assert_eq!(header("content-type"), "application/json");
                    serde_json::from_slice::<serde_json::Value>(&record.value).unwrap()["seq"].as_u64().unwrap()
                }
            };
            assert_eq!(seq.to_string(), header("seq"));
            let now_ms = outrider::runtime::clock::wall_ns() / 1_000_000;
            assert!(now_ms.abs_diff(record.timestamp_ms.try_into().unwrap()) < 600_000, "the time of sending");
        }
    }
}

#[test]
fn a_topic_for_each_class_and_the_order_of_each() {
    let broker = Broker::start(|port| port, &[]);
    let observer = Observer::connect(broker.port);
    for class in Class::ALL {
        observer.create(&format!("fleet.{class}"), 3);
    }
    let outbox = outbox(3);
    for i in 0..500 {
        let class = Class::ALL[usize::try_from(i * 7 % 5).unwrap()];
        outbox.lock().unwrap().append(&telemetry(class, i)).unwrap();
    }
    outbox.lock().unwrap().commit().unwrap();
    let topic = TopicTemplate::parse("fleet.{class}").unwrap();
    let _uplink = Running::start(KafkaConfig { topic, ..config(broker.port) }, &outbox);
    emptied(&outbox);
    let mut all = BTreeSet::new();
    for class in Class::ALL {
        let records = observer.consume(&format!("fleet.{class}"));
        assert!(seqs(&records).is_sorted() && records.len() == 100);
        assert!(records.iter().all(|record| record.headers["class"] == class.name()));
        all.extend(seqs(&records));
    }
    assert_eq!(all, (1..=500).collect());
}

#[test]
fn cuts_lose_nothing_and_copies_are_all_that_is_out_of_order() {
    const EVENTS: u64 = 30_000;
    const CUTS: u64 = 5;
    let mut proxy = None;
    let broker = Broker::start(|port| proxy.insert_at(port), &[]);
    let proxy = proxy.unwrap();
    let observer = Observer::connect(broker.port);
    observer.create(TOPIC, 1);
    let outbox = outbox(16);
    fill(&outbox, Class::Telemetry, 0..EVENTS);
    let mut config = config(proxy.port);
    config.batch_bytes = 64 * 1024;
    let uplink = Running::start(config, &outbox);
    for cut in 1..=CUTS {
        wait_until("progress", || uplink.monitor.snapshot().acked >= EVENTS / 16 / (CUTS + 1) * cut);
        proxy.cut();
    }
    emptied(&outbox);
    let records = observer.consume(TOPIC);
    let mut seen = BTreeSet::new();
    let firsts: Vec<u64> = seqs(&records).into_iter().filter(|seq| seen.insert(*seq)).collect();
    assert_eq!(firsts, (1..=EVENTS).collect::<Vec<_>>(), "in order, none missing");
    let duplicates = records.len() - firsts.len();
    println!("{duplicates} copies of {EVENTS} after {CUTS} cuts");
    // What a cut can leave in doubt is a request.
    assert!(duplicates <= usize::try_from(CUTS).unwrap() * 64 * 1024 / 50, "{duplicates} copies");
}

/// The proxy is made once the broker's port is known.
trait InsertAt {
    fn insert_at(&mut self, target: u16) -> u16;
}

impl InsertAt for Option<Proxy> {
    fn insert_at(&mut self, target: u16) -> u16 {
        self.insert(Proxy::start(target)).port
    }
}

#[test]
fn events_wait_for_company_and_alerts_do_not() {
    let (_broker, scripted, observer) = scripted(|_| None);
    let outbox = outbox(1);
    let mut config = config(scripted.port);
    config.linger = Duration::from_millis(1500);
    let uplink = Running::start(config, &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    for i in 0..10 {
        fill(&outbox, Class::Telemetry, i..i + 1);
        uplink.waker.notify();
        std::thread::sleep(Duration::from_millis(20));
    }
    emptied(&outbox);
    let requests: Vec<i32> = scripted.seen().iter().map(|produce| produce.records).collect();
    assert!(requests.len() <= 3 && requests.iter().sum::<i32>() == 10, "{requests:?}");
    let before = std::time::Instant::now();
    fill(&outbox, Class::Alert, 0..1);
    uplink.waker.notify();
    emptied(&outbox);
    assert!(before.elapsed() < Duration::from_millis(1500), "an alert waits for nobody");
    assert_eq!(observer.consume(TOPIC).len(), 11);
}

#[test]
fn a_dead_link_is_noticed_with_and_without_something_in_flight() {
    for idle in [false, true] {
        let mut proxy: Option<Proxy> = None;
        let broker = Broker::start(|port| proxy.insert_at(port), &[]);
        let proxy = proxy.unwrap();
        let observer = Observer::connect(broker.port);
        observer.create(TOPIC, 1);
        let outbox = outbox(1);
        let mut config = config(proxy.port);
        (config.request_timeout, config.keep_alive) = (Duration::from_millis(500), Duration::from_millis(500));
        let uplink = Running::start(config, &outbox);
        fill(&outbox, Class::Alert, 0..1);
        uplink.waker.notify();
        emptied(&outbox);
        assert_eq!(uplink.monitor.snapshot().failures, 0);
        proxy.abandon();
        if !idle {
            fill(&outbox, Class::Alert, 1..2);
            uplink.waker.notify();
        }
        wait_until("the watchdog", || uplink.monitor.snapshot().failures >= 1);
        let error = uplink.monitor.snapshot().last_error.unwrap();
        assert!(error.contains("request_timeout"), "{error}");
        wait_until("a new connection", || uplink.monitor.state() == LinkState::Up);
        fill(&outbox, Class::Alert, 2..3);
        uplink.waker.notify();
        emptied(&outbox);
        let expected = if idle { 2 } else { 3 };
        let arrived: BTreeSet<u64> = seqs(&observer.consume(TOPIC)).into_iter().collect();
        assert_eq!(arrived, (1..=expected).collect());
    }
}

/// A request that was given up arrives after it was sent again: copies at the end, and the order of first arrivals holds.
#[test]
fn what_arrives_late_is_a_copy_at_most() {
    let mut proxy: Option<Proxy> = None;
    let broker = Broker::start(|port| proxy.insert_at(port), &[]);
    let proxy = proxy.unwrap();
    let observer = Observer::connect(broker.port);
    observer.create(TOPIC, 1);
    let outbox = outbox(4);
    let mut config = config(proxy.port);
    config.request_timeout = Duration::from_millis(300);
    config.connect_timeout = Duration::from_secs(1);
    let uplink = Running::start(config, &outbox);
    fill(&outbox, Class::Alert, 0..8);
    uplink.waker.notify();
    emptied(&outbox);
    proxy.hold(true);
    fill(&outbox, Class::Alert, 8..16);
    uplink.waker.notify();
    wait_until("the request to be given up", || uplink.monitor.snapshot().failures >= 1);
    proxy.hold(false);
    fill(&outbox, Class::Alert, 16..24);
    uplink.waker.notify();
    emptied(&outbox);
    let mut seen = BTreeSet::new();
    let firsts: Vec<u64> = seqs(&observer.consume(TOPIC)).into_iter().filter(|seq| seen.insert(*seq)).collect();
    assert_eq!(firsts, (1..=24).collect::<Vec<_>>());
}

#[test]
fn a_shutdown_sends_what_waits() {
    let (broker, observer) = broker(1);
    let outbox = outbox(4);
    let mut uplink = Running::start(config(broker.port), &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    fill(&outbox, Class::Bulk, 0..5_000);
    // Nobody called the waker: the shutdown itself has to look.
    uplink.stop();
    assert!(outbox.lock().unwrap().is_empty());
    assert_eq!(observer.consume(TOPIC).len(), 5_000);
    // With nothing to send it does not wait: neither for the deadline nor for the next sign of life.
    let mut uplink =
        Running::start(KafkaConfig { keep_alive: mosquitto::PATIENCE * 10, ..config(broker.port) }, &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    let before = std::time::Instant::now();
    uplink.stop();
    assert!(before.elapsed() < mosquitto::PATIENCE / 2);
    assert_eq!((uplink.monitor.state(), uplink.monitor.snapshot().failures), (LinkState::Down, 0));
}

#[test]
fn without_a_broker_nothing_is_lost_and_a_shutdown_does_not_wait() {
    let port = mosquitto::free_port();
    let outbox = outbox(1);
    fill(&outbox, Class::Critical, 0..3);
    let mut uplink = Running::start(config(port), &outbox);
    wait_until("some failures", || uplink.monitor.snapshot().failures >= 3);
    let error = uplink.monitor.snapshot().last_error.unwrap();
    assert!(error.contains("refused") && error.contains("are the brokers up"), "{error}");
    uplink.stop();
    assert_eq!(outbox.lock().unwrap().held(), [1, 2, 3]);
}

/// From Kafka to MQTT and back; and what is critical to both.
#[test]
fn kafka_and_mqtt_stand_in_for_each_other() {
    let mut proxy: Option<Proxy> = None;
    let broker = Broker::start(|port| proxy.insert_at(port), &[]);
    let proxy = proxy.unwrap();
    let observer = Observer::connect(broker.port);
    observer.create(TOPIC, 1);
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&mosquitto);
    let outbox = outbox(2);
    let config = UplinkConfig {
        copies: [2, 1, 1, 1, 1],
        failover_after: Duration::from_millis(100),
        failback_after: Duration::from_millis(300),
        ..fixture::uplink(vec![hasty(config(proxy.port)), hasty(fixture::config(mosquitto.port))])
    };
    let uplink = Running::all(config, &outbox);
    let telemetry_of = |class: Class, numbers: std::ops::Range<u64>| {
        fill(&outbox, class, numbers);
        uplink.waker.notify();
        emptied(&outbox);
    };
    telemetry_of(Class::Telemetry, 0..10);
    telemetry_of(Class::Critical, 10..20);
    proxy.refuse(true);
    telemetry_of(Class::Telemetry, 20..30);
    proxy.refuse(false);
    // On trial, it carries what goes to two places; then everything.
    let mut next = 30;
    wait_until("Kafka to carry again", || {
        telemetry_of(Class::Telemetry, next..next + 1);
        next += 1;
        seqs(&observer.consume(TOPIC)).contains(&next)
    });
    let in_kafka: BTreeSet<u64> = seqs(&observer.consume(TOPIC)).into_iter().collect();
    let in_mqtt = || -> BTreeSet<u64> { fixture::arrivals(&subscriber).iter().map(|arrival| arrival.seq).collect() };
    wait_until("MQTT's part", || in_mqtt().len() >= 20);
    assert!((11..=20).all(|seq| in_kafka.contains(&seq) && in_mqtt().contains(&seq)), "critical in both");
    let both: BTreeSet<u64> = in_kafka.union(&in_mqtt()).copied().collect();
    assert_eq!(both, (1..=next).collect());
}

/// What came before goes out first, by importance.
#[test]
fn alerts_pass_a_backlog() {
    let (_broker, scripted, observer) = scripted(|_| None);
    let outbox = outbox(64);
    fill(&outbox, Class::Telemetry, 0..20_000);
    fill(&outbox, Class::Alert, 0..64);
    let mut config: GatewayConfig = config(scripted.port).into();
    config.backoff_min = Duration::from_millis(5);
    let _uplink = Running::start(config, &outbox);
    emptied(&outbox);
    let order: Vec<u64> = seqs(&observer.consume(TOPIC));
    let last_alert = order.iter().rposition(|seq| *seq > 20_000).unwrap();
    assert!(last_alert < 2 * 64, "{last_alert}");
    let mut by_class: BTreeMap<bool, Vec<u64>> = BTreeMap::new();
    order.iter().for_each(|seq| by_class.entry(*seq > 20_000).or_default().push(*seq));
    assert!(by_class.values().all(|seqs| seqs.is_sorted()));
}

/// What comes while a backlog is sent, with no idle moment, does not wait for its end.
#[test]
fn alerts_that_come_during_a_backlog_pass_it() {
    let outbox = outbox(64);
    let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
    let (mut requests, alarm) = (0, (outbox.clone(), waker.clone()));
    let (_broker, scripted, observer) = scripted(move |_| {
        requests += 1;
        if requests == 5 {
            fill(&alarm.0, Class::Alert, 0..1);
            alarm.1.lock().unwrap().as_ref().unwrap().notify();
        }
        None
    });
    fill(&outbox, Class::Telemetry, 0..20_000);
    let mut config = config(scripted.port);
    config.batch_bytes = 16 << 10;
    let mut held = waker.lock().unwrap();
    let uplink = Running::start(config, &outbox);
    *held = Some(uplink.waker.clone());
    drop(held);
    emptied(&outbox);
    let order: Vec<u64> = seqs(&observer.consume(TOPIC));
    let alert = order.iter().position(|seq| *seq > 20_000).unwrap();
    assert!(order.len() == 20_001 && alert < 20_000 / 10, "{alert} of {}", order.len());
}

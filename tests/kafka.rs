//! The Kafka uplink against a real broker, through networks that fail, and with answers of every kind.
//!
//! Needs the broker's program: `tests/run kafka` fetches it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

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
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/sasl.rs"]
mod sasl;

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
fn what_may_get_better_is_tried_again_in_order() {
    // A leader has moved, replicas are missing, the broker was slow, its disk had an error: each once.
    let mut codes = vec![6, 5, 19, 20, 7, 13, 56];
    let (_broker, scripted, observer) = scripted(move |_| codes.pop());
    let outbox = outbox(4);
    fill(&outbox, Class::Alert, 0..100);
    let mut config = config(scripted.port);
    config.attempts = 10;
    let uplink = Running::start(config, &outbox);
    emptied(&outbox);
    assert_eq!(seqs(&observer.consume(TOPIC)), (1..=100).collect::<Vec<_>>());
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures, link.deferred, link.rejected), (1, 0, 0, 0), "{link:?}");
}

#[test]
fn retries_are_bounded_and_then_the_connection_is_made_anew() {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let (_broker, scripted, observer) = scripted(move |_| (!is_mended.load(Ordering::SeqCst)).then_some(6));
    let outbox = outbox(4);
    fill(&outbox, Class::Alert, 0..8);
    let mut config = config(scripted.port);
    config.attempts = 2;
    let uplink = Running::start(config, &outbox);
    wait_until("some connections", || uplink.monitor.snapshot().failures >= 2);
    let per_connection = scripted.seen().len() / usize::try_from(uplink.monitor.snapshot().connects).unwrap();
    assert!(per_connection <= 2, "{per_connection} attempts");
    let error = uplink.monitor.snapshot().last_error.unwrap();
    assert!(error.contains("NotLeaderOrFollower"), "{error}");
    assert_eq!(outbox.lock().unwrap().held().len(), 8);
    mended.store(true, Ordering::SeqCst);
    emptied(&outbox);
    assert_eq!(seqs(&observer.consume(TOPIC)), (1..=8).collect::<Vec<_>>());
}

#[test]
fn what_somebody_has_to_mend_rests_and_is_told() {
    // Not authorised, then an unknown topic, then it is mended.
    let code = Arc::new(AtomicI16::new(29));
    let its_code = Arc::clone(&code);
    let forbidden = move |produce: &Produce| {
        let code = its_code.load(Ordering::SeqCst);
        (produce.topic.ends_with("telemetry") && code != 0).then_some(code)
    };
    let (_broker, scripted, observer) = scripted(forbidden);
    for class in ["telemetry", "alert"] {
        observer.create(&format!("t.{class}"), 1);
    }
    let outbox = outbox(4);
    fill(&outbox, Class::Telemetry, 0..40);
    fill(&outbox, Class::Alert, 0..40);
    let mut config = config(scripted.port);
    config.topic = TopicTemplate::parse("t.{class}").unwrap();
    let uplink = Running::start(config, &outbox);
    let held = |class: Class| outbox.lock().unwrap().stat().events[class.rank()];
    wait_until("the alerts", || held(Class::Alert) == 0);
    wait_until("some probes", || uplink.monitor.snapshot().deferred >= 15);
    code.store(3, Ordering::SeqCst);
    let before = uplink.monitor.snapshot().deferred;
    wait_until("more probes", || uplink.monitor.snapshot().deferred >= before + 3);
    assert_eq!(held(Class::Telemetry), 40);
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures, link.rejected), (1, 0, 0), "{link:?}");
    let told: Vec<Body> = uplink.reports.try_iter().collect();
    let [Body::Gateway(state)] = &told[..] else { panic!("once an hour: {told:?}") };
    assert_eq!((state.state, state.class), ("refuses", Some(Class::Telemetry)));
    assert!(state.reason.contains("t.telemetry") && state.reason.contains("allow this vehicle"), "{}", state.reason);
    code.store(0, Ordering::SeqCst);
    emptied(&outbox);
    assert_eq!(seqs(&observer.consume("t.telemetry")), (1..=40).collect::<Vec<_>>(), "in order");
}

#[test]
fn what_is_too_large_is_divided_and_a_single_event_is_given_up() {
    let (_broker, scripted, observer) = scripted(|produce| (produce.bytes > 3_000).then_some(10));
    let outbox = outbox(64);
    for i in 0..200 {
        // Event 100 of the batch in the middle does not fit even alone.
        let event = if i == 100 { large(Class::Alert, 4_000) } else { telemetry(Class::Alert, i) };
        outbox.lock().unwrap().append(&event).unwrap();
    }
    outbox.lock().unwrap().commit().unwrap();
    let mut config = config(scripted.port);
    config.compression = Compression::None;
    let uplink = Running::start(config, &outbox);
    emptied(&outbox);
    let arrived: BTreeSet<u64> = seqs(&observer.consume(TOPIC)).into_iter().collect();
    assert_eq!(arrived, (1..=200).filter(|seq| *seq != 101).collect());
    assert_eq!(outbox.lock().unwrap().rejected, [(101, LossCause::Oversize)]);
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures, link.rejected), (1, 0, 1), "{link:?}");
}

#[test]
fn what_a_topic_never_takes_goes_to_the_dead_letters_or_becomes_a_gap() {
    for dead_letters in [true, false] {
        // Records of class bulk are invalid.
        let (_broker, scripted, observer) = scripted(|produce| produce.topic.ends_with("bulk").then_some(87));
        for topic in ["t.bulk", "t.alert", "t.dead"] {
            observer.create(topic, 1);
        }
        let outbox = outbox(2);
        fill(&outbox, Class::Alert, 0..10);
        fill(&outbox, Class::Bulk, 10..20);
        let mut config = config(scripted.port);
        config.topic = TopicTemplate::parse("t.{class}").unwrap();
        config.dead_letter_topic = dead_letters.then(|| TopicTemplate::parse("t.dead").unwrap());
        let _uplink = Running::start(config, &outbox);
        emptied(&outbox);
        assert_eq!(seqs(&observer.consume("t.alert")), (1..=10).collect::<Vec<_>>());
        let dead = observer.consume("t.dead");
        let expected: Vec<u64> = if dead_letters { (11..=20).collect() } else { Vec::new() };
        assert_eq!(seqs(&dead), expected);
        assert!(dead.iter().all(|record| record.headers["reason"].contains("InvalidRecord")));
        let lost: Vec<u64> = outbox.lock().unwrap().rejected.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(lost.len(), if dead_letters { 0 } else { 10 });
    }
}

#[test]
fn a_broker_that_cannot_read_the_compression_gets_none() {
    let (_broker, scripted, observer) = scripted(|produce| (produce.number == 1).then_some(76));
    let outbox = outbox(4);
    fill(&outbox, Class::Alert, 0..8);
    let _uplink = Running::start(config(scripted.port), &outbox);
    emptied(&outbox);
    assert_eq!(seqs(&observer.consume(TOPIC)), (1..=8).collect::<Vec<_>>());
    let sizes: Vec<usize> = scripted.seen().iter().map(|produce| produce.bytes).collect();
    assert!(sizes[1] > sizes[0], "the same without compression: {sizes:?}");
}

#[test]
fn a_topic_with_other_partitions_is_noticed() {
    let (broker, observer) = broker(1);
    let outbox = outbox(1);
    let mut config = config(broker.port);
    config.metadata_refresh = Duration::from_millis(100);
    let uplink = Running::start(config, &outbox);
    fill(&outbox, Class::Alert, 0..5);
    uplink.waker.notify();
    emptied(&outbox);
    observer.delete(TOPIC);
    observer.create(TOPIC, 16);
    // The client knows the old number for a moment; what came with it is in the old place.
    let mut round = 5;
    wait_until("the new partition", || {
        fill(&outbox, Class::Alert, round..round + 1);
        round += 1;
        uplink.waker.notify();
        emptied(&outbox);
        observer.consume(TOPIC).iter().any(|record| record.partition > 0)
    });
    let partition = observer.consume(TOPIC).iter().map(|record| record.partition).max().unwrap();
    // Kafka's own: murmur2("v1") & 0x7fffffff % 16.
    assert_eq!(partition, PARTITION_OF_V1_AMONG_16);
}

/// As confluent-kafka's `murmur2_random` has it.
const PARTITION_OF_V1_AMONG_16: i32 = 11;

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

/// A certificate for each side; who may connect to whom is decided by the same code as for MQTT.
#[test]
fn tls_with_a_private_authority_and_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki::Pki::make(dir.path());
    let mut broker = None;
    let port = kafka::tls_front(dir.path(), |port| broker.insert(Broker::start(|_| port, &[])).port);
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..5);
    let mut config = config(port);
    config.brokers = vec![format!("localhost:{port}")];
    // The broker advertises its address, which is not in its certificate.
    let tls = TlsConfig { server_name: Some("localhost".into()), ..pki.client(true) };
    for (refused, words) in [
        (TlsConfig { ca_file: pki.foreign_ca(), ..tls.clone() }, "not signed by an authority in ca_file"),
        (TlsConfig { server_name: None, ..tls.clone() }, "is for another name"),
        (TlsConfig { cert_file: None, key_file: None, ..tls.clone() }, "check cert_file and key_file"),
    ] {
        config.tls = Some(refused);
        let uplink = Running::start(config.clone(), &outbox);
        let error = || uplink.monitor.snapshot().last_error.unwrap_or_default();
        wait_until(words, || error().contains(words));
    }
    config.tls = Some(tls);
    let uplink = Running::start(config, &outbox);
    wait_until("an empty outbox", || {
        assert_eq!(uplink.monitor.snapshot().last_error, None);
        outbox.lock().unwrap().is_empty()
    });
}

#[test]
fn logins_of_each_kind() {
    for (mechanism, name) in [
        (SaslMechanism::Plain, "PLAIN"),
        (SaslMechanism::ScramSha256, "SCRAM-SHA-256"),
        (SaslMechanism::ScramSha512, "SCRAM-SHA-512"),
    ] {
        let login = Login { mechanism: name, user: "truck", password: "hunter2" };
        let mut broker = None;
        let guard = Scripted::guarded(|port| broker.insert(Broker::start(|_| port, &[])).port, |_| None, Some(login));
        let outbox = outbox(1);
        fill(&outbox, Class::Alert, 0..5);
        let mut config = config(guard.port);
        let sasl = |password: &str| Sasl { mechanism, username: "truck".into(), password: Secret::new(password) };
        let other = if name == "PLAIN" { SaslMechanism::ScramSha256 } else { SaslMechanism::Plain };
        for wrong in [sasl("hunter3"), Sasl { mechanism: other, ..sasl("hunter2") }] {
            config.sasl = Some(wrong);
            let uplink = Running::start(config.clone(), &outbox);
            let error = || uplink.monitor.snapshot().last_error.unwrap_or_default();
            wait_until("the refusal", || error().contains("check sasl, username and password_file"));
            assert_eq!(uplink.monitor.snapshot().connects, 0);
        }
        config.sasl = Some(sasl("hunter2"));
        let uplink = Running::start(config, &outbox);
        wait_until("an empty outbox", || {
            assert_eq!(uplink.monitor.snapshot().last_error, None, "{name}");
            outbox.lock().unwrap().is_empty()
        });
    }
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

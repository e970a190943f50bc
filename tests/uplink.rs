//! The MQTT uplink against a real mosquitto, through networks that fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "uplink_answers.rs"]
mod answers;
#[path = "support/uplink_fixture.rs"]
mod fixture;
#[path = "uplink_gateways.rs"]
mod gateways;
#[path = "support/memory_outbox.rs"]
mod memory_outbox;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "uplink_mqtt5.rs"]
mod mqtt5;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/scripted_gateway.rs"]
mod scripted_gateway;
#[path = "uplink_tls.rs"]
mod security;
#[path = "uplink_weather.rs"]
mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fixture::{Arrival, Running, arrivals, config, fill, first_arrivals, outbox, telemetry};
use mosquitto::{Mosquitto, Subscriber, wait_until};
use outrider::event::{Class, LossCause};
use outrider::outbox::Outbox;
use outrider::uplink::{GatewayConfig, LinkState, PayloadFormat};
use proxy::Proxy;

#[test]
fn cuts_lose_nothing_and_keep_the_order_of_each_class() {
    const EVENTS: u64 = 20_000;
    const CUTS: u64 = 6;
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(4);
    for i in 0..EVENTS {
        let class = Class::ALL[usize::try_from(i * 7 % 5).unwrap()];
        outbox.lock().unwrap().append(&telemetry(class, i)).unwrap();
    }
    outbox.lock().unwrap().commit().unwrap();
    let sent = outbox.lock().unwrap().held();
    assert_eq!(sent.len(), 20_000);

    let uplink = Running::start(config(proxy.port), &outbox);
    for cut in 1..=CUTS {
        let target = EVENTS / 4 / (CUTS + 1) * cut;
        wait_until("progress", || uplink.monitor.snapshot().acked >= target);
        proxy.cut();
        // On a slow machine two cuts would else hit the same connection.
        wait_until("a new connection", || uplink.monitor.snapshot().connects > cut);
    }
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let seen = || arrivals(&subscriber).iter().map(|a| a.seq).collect::<BTreeSet<_>>();
    wait_until("the subscriber to have all", || subscriber.count() >= 5_000 && seen().len() == sent.len());

    let arrivals = arrivals(&subscriber);
    assert_eq!(seen().into_iter().collect::<Vec<_>>(), sent, "none missing, none invented");
    for (class, seqs) in by_class(&first_arrivals(&arrivals)) {
        assert!(seqs.is_sorted(), "{class} out of order");
    }
    let link = uplink.monitor.snapshot();
    assert!(link.connects > CUTS, "{link:?}");
    let duplicates = arrivals.len() - sent.len();
    assert!(u64::try_from(duplicates).unwrap() <= link.resent * 4, "{duplicates} duplicates, {link:?}");
    // What a cut can leave in doubt is the window.
    assert!(duplicates <= usize::try_from(CUTS).unwrap() * 64 * 4, "{duplicates} duplicates");
    assert_eq!((link.rejected, link.unclaimed, link.outbox_errors), (0, 0, 0));
}

fn by_class(arrivals: &[Arrival]) -> BTreeMap<String, Vec<u64>> {
    let mut classes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for arrival in arrivals {
        classes.entry(arrival.class.clone()).or_default().push(arrival.seq);
    }
    classes
}

#[test]
fn a_backlog_drains_without_a_new_event_and_new_events_go_out_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let outbox = outbox(1);
    fill(&outbox, Class::Telemetry, 0..2_000);
    // The waker is never called for these.
    let uplink = Running::start(config(broker.port), &outbox);
    wait_until("the backlog to drain", || outbox.lock().unwrap().is_empty());
    wait_until("its arrival", || subscriber.count() >= 2_000);

    // Now the uplink sleeps; the waker is all that tells it.
    outbox.lock().unwrap().append(&telemetry(Class::Critical, 1)).unwrap();
    outbox.lock().unwrap().commit().unwrap();
    uplink.waker.notify();
    wait_until("the new event", || subscriber.count() >= 2_001);
    let last = subscriber.received().pop().unwrap();
    assert_eq!((last.topic.as_str(), last.content_type.as_str()), ("outrider/v1/critical", "application/cbor-seq"));
    assert_eq!(last.properties, "schema:1 class:critical vehicle:v1 seq:2001-2001");
}

#[test]
fn a_broker_that_restarts_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(1);
    let append = |events: std::ops::Range<u64>| {
        for i in events {
            outbox.lock().unwrap().append(&telemetry(Class::Status, i)).unwrap();
        }
        outbox.lock().unwrap().commit().unwrap();
    };
    append(0..1_000);
    let uplink = Running::start(config(proxy.port), &outbox);
    wait_until("progress", || outbox.lock().unwrap().is_empty());
    // From here no acknowledgement comes back, so that the broker stops while messages are in flight.
    proxy.swallow(true);
    append(1_000..6_000);
    uplink.waker.notify();
    wait_until("messages in flight", || uplink.monitor.snapshot().in_flight > 0);
    broker.stop();
    wait_until("the uplink to notice", || uplink.monitor.snapshot().failures > 0);
    assert_eq!(outbox.lock().unwrap().held().len(), 5_000);
    proxy.swallow(false);
    broker.start_again();
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    wait_until("the subscriber to have all", || first_arrivals(&arrivals(&subscriber)).len() == 6_000);
    assert!(first_arrivals(&arrivals(&subscriber)).is_sorted_by_key(|a| a.seq));
}

#[test]
fn a_black_hole_is_noticed_by_missing_acknowledgements() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(1);
    let mut config = config(proxy.port);
    config.ack_timeout = Duration::from_millis(300);
    // The next attempt hangs in the hole until it is cut, so that the reason of the first failure stays to be seen.
    config.connect_timeout = mosquitto::PATIENCE * 10;
    let uplink = Running::start(config, &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    proxy.swallow(true);
    let seq = outbox.lock().unwrap().append(&telemetry(Class::Alert, 0)).unwrap();
    outbox.lock().unwrap().commit().unwrap();
    uplink.waker.notify();
    wait_until("the watchdog", || uplink.monitor.snapshot().failures == 1);
    let error = uplink.monitor.snapshot().last_error.unwrap();
    assert!(error.contains("no acknowledgement"), "{error}");
    assert_eq!(outbox.lock().unwrap().held(), [seq], "what is not acknowledged stays");
    proxy.swallow(false);
    proxy.cut();
    wait_until("recovery", || outbox.lock().unwrap().is_empty());
    wait_until("arrival", || subscriber.count() >= 1);
    assert!(arrivals(&subscriber).iter().all(|a| a.seq == seq));
}

#[test]
fn what_is_too_large_is_divided_and_a_single_event_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::with_config(dir.path(), "max_packet_size 2000", "allow_anonymous true");
    let subscriber = Subscriber::start(&broker);
    let outbox = outbox(64);
    let mut expected = BTreeSet::new();
    for i in 0..200 {
        // Event 100 of the batch in the middle does not fit even alone.
        let event = if i == 100 { fixture::large(Class::Alert, 4_000) } else { telemetry(Class::Alert, i) };
        let seq = outbox.lock().unwrap().append(&event).unwrap();
        if i != 100 {
            expected.insert(seq);
        }
    }
    outbox.lock().unwrap().commit().unwrap();
    let uplink = Running::start(config(broker.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    wait_until("all that fit", || first_arrivals(&arrivals(&subscriber)).len() == expected.len());
    let arrived: BTreeSet<u64> = arrivals(&subscriber).iter().map(|a| a.seq).collect();
    assert_eq!(arrived, expected);
    assert!(subscriber.received().iter().all(|m| m.payload.len() < 2_000));
    for message in subscriber.received() {
        let seqs = fixture::seqs(&message.payload);
        let range = format!("seq:{}-{}", seqs[0], seqs[seqs.len() - 1]);
        assert!(message.properties.ends_with(&range), "{} but {range}", message.properties);
    }
    assert_eq!(outbox.lock().unwrap().rejected, [(101, LossCause::Oversize)]);
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures, link.rejected), (1, 0, 1), "{link:?}");
}

#[test]
fn a_class_that_is_not_authorised_waits_until_the_access_list_is_mended() {
    const FORBIDDEN: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let acl = dir.path().join("acl");
    let allow = |classes: &[&str]| {
        let lines: String = classes.iter().map(|class| format!("topic write outrider/v1/{class}\n")).collect();
        std::fs::write(&acl, lines).unwrap();
    };
    allow(&["alert", "status"]);
    let listener = format!("allow_anonymous true\nacl_file {}", acl.display());
    let broker = Mosquitto::with_config(dir.path(), "", &listener);
    let subscriber = Subscriber::start(&broker);
    let outbox = outbox(1);
    let append = |class: Class, events: usize| {
        for i in 0..events {
            outbox.lock().unwrap().append(&telemetry(class, i.try_into().unwrap())).unwrap();
        }
        outbox.lock().unwrap().commit().unwrap();
    };
    let held = |class: Class| outbox.lock().unwrap().stat().events[class.rank()];
    append(Class::Telemetry, FORBIDDEN);
    append(Class::Alert, 10);
    let uplink = Running::start(config(broker.port), &outbox);
    wait_until("the alerts", || held(Class::Alert) == 0);
    let window = u64::from(config(0).window);
    wait_until("some probes", || uplink.monitor.snapshot().deferred >= window + 3);
    append(Class::Alert, 10);
    uplink.waker.notify();
    wait_until("the later alerts", || held(Class::Alert) == 0);
    assert_eq!(held(Class::Telemetry), u64::try_from(FORBIDDEN).unwrap(), "all of them wait");
    // mosquitto 2.0.11 often hangs up after it has refused, so there may be several connections and duplicates.
    let link = uplink.monitor.snapshot();
    assert!((link.rejected, link.outbox_errors) == (0, 0) && link.acked >= 20, "{link:?}");

    allow(&["alert", "status", "telemetry"]);
    broker.reload();
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    wait_until("all events", || first_arrivals(&arrivals(&subscriber)).len() == FORBIDDEN + 20);
    for (class, seqs) in by_class(&first_arrivals(&arrivals(&subscriber))) {
        assert!(seqs.is_sorted(), "{class} out of order");
    }
    assert!(outbox.lock().unwrap().rejected.is_empty());
}

#[test]
fn tls_with_a_private_authority_and_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki::Pki::make(dir.path());
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let subscriber = Subscriber::start(&broker);
    let outbox = outbox(1);
    let seq = outbox.lock().unwrap().append(&telemetry(Class::Alert, 0)).unwrap();
    outbox.lock().unwrap().commit().unwrap();

    let mut config = config(broker.port);
    config.host = "localhost".into();
    config.tls = Some(pki.client(true));
    let mut uplink = Running::start(config.clone(), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    wait_until("arrival", || subscriber.count() >= 1);
    assert_eq!(arrivals(&subscriber)[0].seq, seq);
    uplink.stop();

    // By its address: only with the name that the certificate carries.
    config.host = "127.0.0.1".into();
    fails_with(config.clone(), "another name");
    config.tls.as_mut().unwrap().server_name = Some("localhost".into());
    let uplink = Running::start(config.clone(), &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    drop(uplink);

    // Without a client certificate the gateway refuses.
    config.tls = Some(pki.client(false));
    config.host = "localhost".into();
    fails_with(config, "check cert_file and key_file");
}

#[test]
fn a_gateway_of_a_foreign_authority_is_refused_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki::Pki::make(dir.path());
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let mut config = config(broker.port);
    config.host = "localhost".into();
    let mut tls = pki.client(true);
    tls.ca_file = pki.foreign_ca();
    config.tls = Some(tls);
    fails_with(config, "not signed by an authority in ca_file");
}

/// The link does not come up, says why, and keeps trying; nothing is lost.
fn fails_with(config: outrider::uplink::MqttConfig, words: &str) {
    let outbox = outbox(1);
    let seq = outbox.lock().unwrap().append(&telemetry(Class::Alert, 0)).unwrap();
    outbox.lock().unwrap().commit().unwrap();
    let uplink = Running::start(config, &outbox);
    wait_until("three attempts", || uplink.monitor.snapshot().failures >= 3);
    let link = uplink.monitor.snapshot();
    let error = link.last_error.unwrap();
    assert!(error.contains(words), "{error}");
    assert_eq!(outbox.lock().unwrap().held(), [seq]);
    assert_eq!((link.acked, link.rejected), (0, 0));
}

#[test]
fn json_lines_keep_every_digit() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let outbox = outbox(3);
    for i in 0..3 {
        let mut event = telemetry(Class::Telemetry, i);
        event.time_ns = u64::MAX - i;
        outbox.lock().unwrap().append(&event).unwrap();
    }
    outbox.lock().unwrap().commit().unwrap();
    let mut config = config(broker.port);
    config.payload = PayloadFormat::Json;
    let _uplink = Running::start(config, &outbox);
    wait_until("arrival", || subscriber.count() >= 1);
    let message = subscriber.received().remove(0);
    assert_eq!(message.content_type, "application/x-ndjson");
    let text = String::from_utf8(message.payload).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (i, line) in (0u64..).zip(&lines) {
        assert_eq!(line["t"].as_u64(), Some(u64::MAX - i));
        assert_eq!(line["seq"].as_u64(), Some(i + 1));
        assert_eq!(line["kind"], "signals");
        assert_eq!(line["body"]["values"]["value"].as_f64(), Some(f64::from(u32::try_from(i).unwrap()) + 0.5));
    }
}

#[test]
fn shutdown_sends_what_waits_and_says_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let outbox = outbox(1);
    let mut uplink = Running::start(config(broker.port), &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    fill(&outbox, Class::Bulk, 0..3_000);
    // Nobody called the waker: the shutdown itself has to look.
    uplink.stop();
    assert!(outbox.lock().unwrap().is_empty());
    assert_eq!(uplink.monitor.state(), LinkState::Down);
    wait_until("arrival", || subscriber.count() >= 3_000);
    assert_eq!(uplink.monitor.snapshot().failures, 0);
    let log = || std::fs::read_to_string(dir.path().join("mosquitto.log")).unwrap();
    wait_until("the broker to see the end", || log().contains("Client v1 "));
    assert!(log().contains("Client v1 disconnected."), "a DISCONNECT, not a broken connection: {}", log());
}

#[test]
fn shutdown_without_a_link_ends_at_once_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let proxy = Proxy::start(broker.port);
    proxy.refuse(true);
    let outbox = outbox(1);
    let seq = outbox.lock().unwrap().append(&telemetry(Class::Critical, 0)).unwrap();
    outbox.lock().unwrap().commit().unwrap();
    let mut gateway = GatewayConfig::from(config(proxy.port));
    // Neither the drain nor a back-off may hold it up: both are longer than a test waits.
    gateway.backoff_min = mosquitto::PATIENCE * 10;
    gateway.backoff_max = gateway.backoff_min;
    let mut all = fixture::uplink(vec![gateway]);
    all.drain_timeout = mosquitto::PATIENCE * 10;
    let mut uplink = Running::all(all, &outbox);
    wait_until("a failure", || uplink.monitor.snapshot().failures == 1);
    assert_eq!(proxy.accepted(), 1);
    uplink.stop();
    assert_eq!(outbox.lock().unwrap().held(), [seq]);
}

#[test]
fn a_link_that_was_refused_comes_up_when_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    proxy.refuse(true);
    let outbox = outbox(1);
    outbox.lock().unwrap().append(&telemetry(Class::Alert, 0)).unwrap();
    outbox.lock().unwrap().commit().unwrap();
    let uplink = Running::start(config(proxy.port), &outbox);
    wait_until("some failures", || uplink.monitor.snapshot().failures >= 3);
    proxy.refuse(false);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    wait_until("arrival", || subscriber.count() >= 1);
    assert_eq!(uplink.monitor.snapshot().connects, 1);
}

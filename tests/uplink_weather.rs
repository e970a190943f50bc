//! Bad networks of every kind, between the uplink and a real mosquitto.

use std::collections::BTreeSet;
use std::time::Duration;

use outrider::event::Class;
use outrider::uplink::LinkState;

use crate::fixture::{Running, arrivals, config, fill, first_arrivals, outbox};
use crate::mosquitto::{Mosquitto, Subscriber, wait_until};
use crate::pki::Pki;
use crate::proxy::Proxy;

const EVENTS: u64 = 400;

/// All arrive, whole and in order, and the outbox is empty.
fn all_arrive(subscriber: &Subscriber) {
    let all: Vec<u64> = (1..=EVENTS).collect();
    let seqs = || -> Vec<u64> { first_arrivals(&arrivals(subscriber)).iter().map(|arrival| arrival.seq).collect() };
    wait_until("all to arrive", || seqs().len() == all.len());
    assert_eq!(seqs(), all);
}

#[test]
fn a_slow_answer_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    // As over a satellite: 600 ms to and fro.
    proxy.delay(Duration::from_millis(300));
    let outbox = outbox(8);
    fill(&outbox, Class::Alert, 0..EVENTS);
    let uplink = Running::start(config(proxy.port), &outbox);
    all_arrive(&subscriber);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures, link.resent), (1, 0, 0), "{link:?}");
}

/// One byte a second, for longer than an acknowledgement may take; then it is well again.
#[test]
fn a_trickle_is_given_up_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(8);
    let mut config = config(proxy.port);
    config.ack_timeout = Duration::from_secs(2);
    config.connect_timeout = Duration::from_secs(2);
    let uplink = Running::start(config, &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
    proxy.trickle(1);
    fill(&outbox, Class::Alert, 0..EVENTS);
    uplink.waker.notify();
    wait_until("two failures: of the connection, and of the next attempt", || uplink.monitor.snapshot().failures >= 2);
    assert_eq!(outbox.lock().unwrap().held().len(), usize::try_from(EVENTS).unwrap());
    proxy.trickle(0);
    all_arrive(&subscriber);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
}

/// With TLS a flipped bit ends the connection; what arrives is what was sent.
#[test]
fn a_network_that_corrupts_costs_connections_and_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(2);
    fill(&outbox, Class::Alert, 0..EVENTS);
    let mut config = config(proxy.port);
    config.host = "localhost".into();
    config.tls = Some(pki.client(true));
    // A handshake gets through, and some messages.
    proxy.corrupt(20_000);
    let uplink = Running::start(config, &outbox);
    all_arrive(&subscriber);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let link = uplink.monitor.snapshot();
    assert!(link.failures >= 1, "{link:?}");
    assert_eq!((link.rejected, link.outbox_errors), (0, 0), "{link:?}");
}

/// What was sent on a connection that was given up arrives after it was sent again on the next one.
#[test]
fn what_arrives_late_is_a_copy_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let subscriber = Subscriber::start(&broker);
    let proxy = Proxy::start(broker.port);
    let outbox = outbox(8);
    let mut config = config(proxy.port);
    config.ack_timeout = Duration::from_millis(300);
    config.connect_timeout = Duration::from_secs(1);
    let uplink = Running::start(config, &outbox);
    for round in 0..4 {
        wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
        proxy.hold(true);
        fill(&outbox, Class::Alert, round * EVENTS / 4..(round + 1) * EVENTS / 4);
        uplink.waker.notify();
        let before = uplink.monitor.snapshot().failures;
        wait_until("the connection to be given up", || uplink.monitor.snapshot().failures > before);
        proxy.hold(false);
        wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    }
    all_arrive(&subscriber);
    let copies: BTreeSet<u64> = arrivals(&subscriber).iter().map(|arrival| arrival.seq).collect();
    assert_eq!(copies.len(), usize::try_from(EVENTS).unwrap());
}

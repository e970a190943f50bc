//! Several gateways: failover and back, two places for what is critical, a part of the classes for each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use outrider::event::{Body, Class, Identity};
use outrider::outbox::Outbox;
use outrider::uplink::{GatewayConfig, LinkState, MqttConfig, NetworkConfig, TopicTemplate, UplinkConfig};
use tempfile::TempDir;

use crate::fixture::{self, Running, arrivals, config, fill, first_arrivals, hasty, outbox, telemetry};
use crate::mosquitto::{Mosquitto, Subscriber, wait_until};
use crate::proxy::Proxy;

/// A broker behind a proxy, and what it gets.
struct Place {
    broker: Mosquitto,
    subscriber: Subscriber,
    proxy: Proxy,
    _dir: TempDir,
}

impl Place {
    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start(dir.path());
        let subscriber = Subscriber::start(&broker);
        let proxy = Proxy::start(broker.port);
        Self { broker, subscriber, proxy, _dir: dir }
    }

    fn gateway(&self, name: &str) -> GatewayConfig {
        GatewayConfig { name: name.into(), ..hasty(config(self.proxy.port)) }
    }

    fn log(dir: &Path) -> String {
        std::fs::read_to_string(dir.join("mosquitto.log")).unwrap()
    }

    fn seqs(&self) -> Vec<u64> {
        arrivals(&self.subscriber).iter().map(|arrival| arrival.seq).collect()
    }
}

/// Quick to change over and back.
fn quick(gateways: Vec<GatewayConfig>) -> UplinkConfig {
    UplinkConfig {
        failover_after: Duration::from_millis(200),
        failback_after: Duration::from_millis(400),
        ..fixture::uplink(gateways)
    }
}

#[test]
fn the_next_gateway_takes_over_and_the_first_one_comes_back() {
    const EACH: u64 = 300;
    let (first, second) = (Place::make(), Place::make());
    let outbox = outbox(2);
    let append = |round: u64| {
        let mut outbox = outbox.lock().unwrap();
        for i in round * EACH..(round + 1) * EACH {
            let class = Class::ALL[usize::try_from(i % 5).unwrap()];
            outbox.append(&telemetry(class, i)).unwrap();
        }
        outbox.commit().unwrap();
    };
    append(0);
    let uplink = Running::all(quick(vec![first.gateway("first"), second.gateway("second")]), &outbox);
    let carries = || uplink.monitors.iter().map(|monitor| monitor.snapshot().carries).collect::<Vec<_>>();
    let emptied = |what: &str| wait_until(what, || outbox.lock().unwrap().is_empty());
    emptied("the first round");
    assert_eq!(second.proxy.accepted(), 0, "a reserve is not connected to");
    assert_eq!(carries(), [true, false]);

    first.proxy.refuse(true);
    append(1);
    uplink.waker.notify();
    emptied("the second round, by the second gateway");
    assert_eq!(carries(), [false, true]);
    assert!(!second.seqs().is_empty());

    // Back, while events flow.
    first.proxy.refuse(false);
    append(2);
    uplink.waker.notify();
    wait_until("the first to carry again", || carries() == [true, false]);
    wait_until("the second to be left", || uplink.monitors[1].state() == LinkState::Down);
    append(3);
    uplink.waker.notify();
    emptied("the last round");
    assert_eq!(uplink.monitors[0].snapshot().outbox_errors, 0);

    let all: BTreeSet<u64> = (1..=EACH * 4).collect();
    let together = || first.seqs().into_iter().chain(second.seqs()).collect::<BTreeSet<u64>>();
    wait_until("everything at one of both", || together() == all);
    let last_round = |seq: &&u64| **seq > EACH * 3;
    assert_eq!(second.seqs().iter().filter(last_round).count(), 0);
    for place in [&first, &second] {
        let mut by_class: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for arrival in first_arrivals(&arrivals(&place.subscriber)) {
            by_class.entry(arrival.class).or_default().push(arrival.seq);
        }
        for (class, seqs) in by_class {
            assert!(seqs.is_sorted(), "{class} out of order");
        }
    }
    // Backends are told, with the reason.
    let told: Vec<(String, String)> = uplink
        .reports
        .try_iter()
        .filter_map(|body| match body {
            Body::Gateway(state) if state.state == "carries" => Some((state.gateway.to_string(), state.reason)),
            _ => None,
        })
        .collect();
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["second", "first"]);
    assert!(told[0].1.starts_with("first: network"), "{told:?}");
    drop(uplink);
    assert!(Place::log(second._dir.path()).contains("Client v1 disconnected."), "left with a DISCONNECT");
    assert!(first.broker.port != second.broker.port);
}

#[test]
fn what_is_critical_gets_to_two_places_and_stays_until_both_have_it() {
    let (first, second) = (Place::make(), Place::make());
    let outbox = outbox(1);
    second.proxy.refuse(true);
    fill(&outbox, Class::Critical, 0..10);
    fill(&outbox, Class::Telemetry, 0..50);
    let config = UplinkConfig { copies: [2, 1, 1, 1, 1], ..quick(vec![first.gateway("a"), second.gateway("b")]) };
    let uplink = Running::all(config, &outbox);
    let held = |class: Class| outbox.lock().unwrap().stat().events[class.rank()];
    wait_until("the telemetry", || held(Class::Telemetry) == 0);
    wait_until("the first place", || first_arrivals(&arrivals(&first.subscriber)).len() == 60);
    assert_eq!(held(Class::Critical), 10, "one place is not enough");
    assert_eq!(uplink.monitors[0].snapshot().in_flight, 0, "and the first one is not asked again");

    // A new connection of the first place sends nothing that it has.
    first.proxy.cut();
    wait_until("a new connection", || uplink.monitors[0].snapshot().connects == 2);
    second.proxy.refuse(false);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    wait_until("the second place", || second.seqs().len() == 10);
    assert_eq!(second.seqs(), (1..=10).collect::<Vec<_>>(), "critical events alone");
    assert_eq!(first.seqs().len(), 60, "none twice");
    assert_eq!(outbox.lock().unwrap().acked.len(), 60);
}

#[test]
fn each_gateway_gets_the_classes_that_are_for_it() {
    let (first, second) = (Place::make(), Place::make());
    let outbox = outbox(1);
    for class in Class::ALL {
        fill(&outbox, class, 0..20);
    }
    let only = |classes: &[Class]| std::array::from_fn(|rank| classes.iter().any(|class| class.rank() == rank));
    let important =
        GatewayConfig { classes: only(&[Class::Critical, Class::Alert, Class::Status]), ..first.gateway("important") };
    let rest = GatewayConfig { classes: only(&[Class::Telemetry, Class::Bulk]), ..second.gateway("rest") };
    let _uplink = Running::all(quick(vec![important, rest]), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let classes = |place: &Place| -> BTreeSet<String> {
        arrivals(&place.subscriber).into_iter().map(|arrival| arrival.class).collect()
    };
    wait_until("all", || (first.seqs().len(), second.seqs().len()) == (60, 40));
    assert_eq!(classes(&first), ["alert", "critical", "status"].map(str::to_owned).into());
    assert_eq!(classes(&second), ["bulk", "telemetry"].map(str::to_owned).into());
}

/// Flapping: a gateway that is up for a moment now and then does not get the events back.
#[test]
fn a_gateway_that_does_not_last_is_not_gone_back_to() {
    let (first, second) = (Place::make(), Place::make());
    first.proxy.refuse(true);
    let outbox = outbox(1);
    let mut config = quick(vec![first.gateway("first"), second.gateway("second")]);
    config.failback_after = Duration::from_secs(3600);
    let uplink = Running::all(config, &outbox);
    wait_until("the second", || uplink.monitors[1].snapshot().carries);
    for round in 0..5 {
        first.proxy.refuse(false);
        wait_until("the first to be up", || uplink.monitors[0].state() == LinkState::Up);
        fill(&outbox, Class::Alert, round * 10..(round + 1) * 10);
        uplink.waker.notify();
        wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
        first.proxy.refuse(true);
        wait_until("the first to be lost", || uplink.monitors[0].state() != LinkState::Up);
    }
    wait_until("all of it", || second.seqs().len() == 50);
    assert!(first.seqs().is_empty());
    assert_eq!(uplink.monitors[1].snapshot().connects, 1, "the second is left in peace");
    assert_eq!(uplink.reports.try_iter().count(), 0, "no news");
}

#[test]
fn a_shutdown_ends_all_links() {
    let (first, second) = (Place::make(), Place::make());
    let outbox = outbox(1);
    let config = UplinkConfig { copies: [2; 5], ..quick(vec![first.gateway("a"), second.gateway("b")]) };
    let mut uplink = Running::all(config, &outbox);
    wait_until("both", || uplink.monitors.iter().all(|monitor| monitor.state() == LinkState::Up));
    fill(&outbox, Class::Status, 0..500);
    uplink.stop();
    assert!(outbox.lock().unwrap().is_empty());
    wait_until("both places", || (first.seqs().len(), second.seqs().len()) == (500, 500));
}

#[test]
fn under_a_new_name_everything_is_said_anew_and_nothing_goes_under_the_old_one() {
    const EACH: u64 = 500;
    let place = Place::make();
    let outbox = outbox(4);
    let mqtt = fixture::config(place.proxy.port);
    let state_topic = Some(TopicTemplate::parse("state/{vehicle}").unwrap());
    let mqtt = MqttConfig { client_id: "agent-{vehicle}".into(), state_topic, ..mqtt };
    let uplink = Running::all(fixture::uplink(vec![hasty(mqtt)]), &outbox);
    for name in ["v1", "p-2", "p-3"] {
        {
            let mut outbox = outbox.lock().unwrap();
            outbox.identity = Identity { vehicle: name.into(), boot: format!("boot-{name}").into() };
        }
        fill(&outbox, Class::Telemetry, 0..EACH);
        uplink.waker.notify();
        wait_until("all under this name", || outbox.lock().unwrap().is_empty());
    }
    wait_until("all to be seen", || place.subscriber.count() >= 3 * usize::try_from(EACH / 4).unwrap() + 5);
    let mut seen = BTreeMap::<String, BTreeSet<String>>::new();
    for message in place.subscriber.received() {
        let of = ["v1", "p-2", "p-3"].into_iter().find(|name| message.topic.contains(name)).unwrap();
        for other in ["v1", "p-2", "p-3"].into_iter().filter(|other| *other != of) {
            let named = memchr::memmem::find(&message.payload, other.as_bytes()).is_some();
            assert!(!named && !message.properties.contains(other), "{message:?}");
        }
        let (kind, _) = message.topic.split_once('/').unwrap();
        seen.entry(of.to_owned()).or_default().insert(kind.to_owned());
    }
    let both: BTreeSet<String> = ["outrider", "state"].map(str::to_owned).into();
    assert!(seen.len() == 3 && seen.values().all(|kinds| *kinds == both), "{seen:?}");
    let log = Place::log(place._dir.path());
    for name in ["v1", "p-2", "p-3"] {
        assert!(log.contains(&format!("as agent-{name} ")), "{log}");
    }
}

#[test]
fn a_network_that_is_not_for_a_class_leaves_it_in_the_outbox() {
    let place = Place::make();
    let outbox = outbox(4);
    for class in Class::ALL {
        fill(&outbox, class, 0..40);
    }
    let classes = [true, true, false, false, false];
    let network = |interface: &str| NetworkConfig {
        interface: interface.into(),
        bytes_per_day: None,
        bytes_per_s: None,
        classes,
    };
    let networks = vec![network("none*"), network("lo")];
    let mut uplink = Running::all(UplinkConfig { networks, ..quick(vec![place.gateway("first")]) }, &outbox);
    wait_until("what may go", || outbox.lock().unwrap().held().len() == 3 * 40);
    // At the end nothing waits for it either, though there would be a lot of time.
    uplink.stop();
    assert_eq!(arrivals(&place.subscriber).iter().filter(|arrival| arrival.class == "alert").count(), 40);
    assert_eq!(outbox.lock().unwrap().held().len(), 3 * 40);
    let _rest = Running::all(quick(vec![place.gateway("first")]), &outbox);
    wait_until("the rest, over a free network", || outbox.lock().unwrap().is_empty());
}

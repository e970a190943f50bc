//! The MQTT uplink and what a gateway may answer: scripted, for what mosquitto never or hardly does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrider::event::{Class, LossCause};
use outrider::outbox::Outbox;
use outrider::uplink::GatewayConfig;

use crate::fixture::{self, Running, config, fill, outbox, telemetry};
use crate::mosquitto::{self, wait_until};
use crate::scripted_gateway::ScriptedGateway;

#[test]
fn an_alert_overtakes_a_backlog_of_telemetry() {
    const WINDOW: u16 = 8;
    let outbox = outbox(1);
    fill(&outbox, Class::Telemetry, 0..500);
    // The gateway acknowledges the 100th message only once the alert waits: everything else is decided by the schedule.
    let alert_waits = Arc::new(AtomicBool::new(false));
    let (seen, waits) = (Arc::new(Mutex::new(0)), Arc::clone(&alert_waits));
    let count = Arc::clone(&seen);
    let gateway = ScriptedGateway::start(&[], move |publish| {
        *count.lock().unwrap() += 1;
        if *count.lock().unwrap() == 100 {
            wait_until("the alert", || waits.load(Ordering::SeqCst));
        }
        vec![(publish.id, 0)]
    });
    let mut config = config(gateway.port);
    config.window = WINDOW;
    let uplink = Running::start(config, &outbox);
    wait_until("100 messages", || *seen.lock().unwrap() >= 100);
    fill(&outbox, Class::Alert, 0..40);
    uplink.waker.notify();
    alert_waits.store(true, Ordering::SeqCst);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());

    let topics: Vec<_> = gateway.published().into_iter().map(|p| p.topic).collect();
    let first = topics.iter().position(|topic| topic.ends_with("/alert")).unwrap();
    // At most a window was handed over while the 100th waited, another while the waker's call was not yet taken, and
    // one more goes to the share.
    let bound = 100 + 2 * usize::from(WINDOW) + 1;
    assert!(first <= bound, "first alert is message {first}, bound {bound}");
    let last = topics.iter().rposition(|topic| topic.ends_with("/alert")).unwrap();
    let telemetry_between = topics[first..last].iter().filter(|topic| topic.ends_with("/telemetry")).count();
    assert!((4..=6).contains(&telemetry_between), "one in eight: {telemetry_between} among 40 alerts");
}

#[test]
fn a_gateway_that_forgets_one_message_is_asked_again() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..50);
    // The first connection never acknowledges packet 3: the identifier comes up again and the message is parked.
    let gateway = ScriptedGateway::start(&[], |publish| match (publish.connection, publish.id) {
        (1, 3) => vec![],
        (_, id) => vec![(id, 0)],
    });
    let mut config = config(gateway.port);
    config.window = 8;
    config.ack_timeout = Duration::from_millis(300);
    let uplink = Running::start(config, &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let mut acked = outbox.lock().unwrap().acked.clone();
    acked.sort_unstable();
    assert_eq!(acked, (1..=50).collect::<Vec<_>>());
    assert!(uplink.monitor.snapshot().failures >= 1);
}

#[test]
fn acknowledgements_out_of_order_go_to_the_right_messages() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..400);
    // Receive maximum 5; acknowledged two by two, the later one first, so that identifiers collide. Every
    // 80th event is refused. What comes again is answered at once, or the last one would wait for ever.
    let mut waiting: Option<(u16, u8)> = None;
    let (mut connection, mut seen) = (0, BTreeSet::new());
    let gateway = ScriptedGateway::start(&[0x21, 0, 5], move |publish| {
        if publish.connection != connection {
            (connection, waiting) = (publish.connection, None);
        }
        let seq = fixture::seqs(&publish.payload)[0];
        let answer = (publish.id, if seq.is_multiple_of(80) { 0x99 } else { 0 });
        match waiting.take() {
            Some(earlier) => vec![answer, earlier],
            None if !seen.insert(seq) => vec![answer],
            None => {
                waiting = Some(answer);
                vec![]
            }
        }
    });
    let mut config = config(gateway.port);
    config.ack_timeout = Duration::from_millis(300);
    let _uplink = Running::start(config, &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let outbox = outbox.lock().unwrap();
    let mut refused: Vec<u64> = outbox.rejected.iter().map(|(seq, _)| *seq).collect();
    let mut acked = outbox.acked.clone();
    refused.sort_unstable();
    acked.sort_unstable();
    let (expected, others): (Vec<u64>, Vec<u64>) = (1..=400).partition(|seq: &u64| seq.is_multiple_of(80));
    assert_eq!((refused, acked), (expected, others));
}

#[test]
fn a_gateway_without_room_is_left_in_peace_and_asked_again() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..30);
    let mut n = 0;
    let gateway = ScriptedGateway::start(&[], move |publish| {
        n += 1;
        // Quota exceeded, then an unspecified error, then all is well.
        vec![(
            publish.id,
            if n <= 10 {
                0x97
            } else if n == 11 {
                0x80
            } else {
                0
            },
        )]
    });
    let uplink = Running::start(config(gateway.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let outbox = outbox.lock().unwrap();
    let acked: BTreeSet<u64> = outbox.acked.iter().copied().collect();
    assert_eq!(acked, (1..=30).collect());
    assert!(outbox.rejected.is_empty());
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures, link.deferred, link.rejected), (1, 0, 11, 0), "{link:?}");
}

#[test]
fn too_large_said_only_afterwards_is_learnt() {
    let outbox = outbox(8);
    for i in 0..64 {
        outbox.lock().unwrap().append(&telemetry(Class::Telemetry, i)).unwrap();
    }
    outbox.lock().unwrap().append(&fixture::large(Class::Bulk, 5_000)).unwrap();
    outbox.lock().unwrap().commit().unwrap();
    // As mosquitto's message_size_limit does: nothing in the CONNACK, "packet too large" in the PUBACK.
    let gateway =
        ScriptedGateway::start(&[], |publish| vec![(publish.id, if publish.payload.len() > 400 { 0x95 } else { 0 })]);
    let _uplink = Running::start(config(gateway.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let outbox = outbox.lock().unwrap();
    let acked: BTreeSet<u64> = outbox.acked.iter().copied().collect();
    assert_eq!(acked, (1..=64).collect());
    assert_eq!(outbox.rejected, [(65, LossCause::Oversize)]);
}

/// A gateway that acknowledges late says "too large" while an innocent event is the oldest in flight.
#[test]
fn an_innocent_event_is_not_taken_for_the_one_that_is_too_large() {
    let outbox = outbox(1);
    for bytes in [300, 600, 5_000] {
        outbox.lock().unwrap().append(&fixture::large(Class::Bulk, bytes)).unwrap();
    }
    outbox.lock().unwrap().commit().unwrap();
    let gateway = ScriptedGateway::start(&[], |publish| match (publish.connection, publish.payload.len()) {
        (_, 4_000..) => vec![(publish.id, 0x95)],
        (1, _) => vec![],
        _ => vec![(publish.id, 0)],
    });
    let uplink = Running::start(config(gateway.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    assert_eq!(outbox.lock().unwrap().acked, [1, 2]);
    assert_eq!(outbox.lock().unwrap().rejected, [(3, LossCause::Oversize)]);
    assert_eq!(uplink.monitor.snapshot().connects, 3, "too large, alone, and the end");
}

/// 0 is what a broken CONNACK says. No event fits into 100 bytes either, so that all would be given up.
#[test]
fn a_gateway_whose_packets_are_too_small_gets_nothing_and_costs_nothing() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..100);
    let mended = Arc::new(AtomicBool::new(false));
    let its_mended = Arc::clone(&mended);
    let connack = move |connection: usize| match (its_mended.load(Ordering::SeqCst), connection % 2) {
        (true, _) => vec![],
        (_, 0) => vec![0x27, 0, 0, 0, 0],
        _ => vec![0x27, 0, 0, 0, 100],
    };
    let gateway = ScriptedGateway::changing(connack, |publish| vec![(publish.id, 0)]);
    let uplink = Running::start(config(gateway.port), &outbox);
    for words in ["packet size of 0 bytes; 512 are needed", "packet size of 100 bytes; 512 are needed"] {
        let error = || uplink.monitor.snapshot().last_error.unwrap_or_default();
        wait_until(words, || error().contains(words));
    }
    assert_eq!(outbox.lock().unwrap().held().len(), 100);
    assert!(gateway.published().is_empty());
    assert_eq!((uplink.monitor.snapshot().rejected, uplink.monitor.snapshot().connects), (0, 0));
    mended.store(true, Ordering::SeqCst);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    assert!(outbox.lock().unwrap().rejected.is_empty());
}

/// MQTT: a keep-alive of 0 in the CONNACK turns it off.
#[test]
fn a_gateway_that_turns_keep_alive_off_is_not_flooded_with_pings() {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..2_000);
    let gateway = ScriptedGateway::start(&[0x13, 0, 0], |publish| vec![(publish.id, 0)]);
    let mut uplink = Running::start(config(gateway.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    uplink.stop();
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures, link.acked, link.resent), (1, 0, 2_000, 0), "{link:?}");
}

/// Brokers with rules answer so although a rule took the message; plain ones have thrown it away.
#[test]
fn what_nobody_subscribes_to_is_delivered_and_counted() {
    let outbox = outbox(3);
    fill(&outbox, Class::Alert, 0..30);
    let mut n = 0;
    // Two of ten messages; three events that are refused for good.
    let gateway = ScriptedGateway::start(&[], move |publish| {
        n += 1;
        vec![(publish.id, [0x10, 0, 0x10, 0x90].get(n - 1).copied().unwrap_or(0))]
    });
    let uplink = Running::start(config(gateway.port), &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let link = uplink.monitor.snapshot();
    assert_eq!((link.acked, link.unclaimed, link.rejected, link.deferred), (9, 2, 3, 0), "{link:?}");
    let outbox = outbox.lock().unwrap();
    assert_eq!((outbox.acked.len(), outbox.rejected.len()), (27, 3));
}

/// What was in flight with a message refused for a while overtakes it, and nothing else does.
#[test]
fn a_refusal_for_a_while_disturbs_the_order_by_one_window_at_most() {
    const WINDOW: u16 = 8;
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..100);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&taken);
    // Events 20 and 60 come too early once, 20 as the first probe once more.
    let mut early = vec![20, 20, 60];
    let gateway = ScriptedGateway::start(&[], move |publish| {
        let seq = fixture::seqs(&publish.payload)[0];
        if let Some(at) = early.iter().position(|e| *e == seq) {
            early.remove(at);
            return vec![(publish.id, 0x97)];
        }
        sink.lock().unwrap().push(seq);
        vec![(publish.id, 0)]
    });
    let mut config = config(gateway.port);
    config.window = WINDOW;
    let _uplink = Running::start(config, &outbox);
    wait_until("an empty outbox", || outbox.lock().unwrap().is_empty());
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), 100, "none twice");
    let without: Vec<u64> = taken.iter().copied().filter(|seq| ![20, 60].contains(seq)).collect();
    assert!(without.is_sorted(), "{taken:?}");
    for refused in [20, 60] {
        let at = taken.iter().position(|seq| *seq == refused).unwrap();
        let overtaken_by = taken[..at].iter().filter(|seq| **seq > refused).count();
        assert!(overtaken_by < usize::from(WINDOW), "{refused}: {taken:?}");
    }
}

#[test]
fn after_a_refusal_the_class_rests_and_the_others_do_not() {
    let outbox = outbox(1);
    outbox.lock().unwrap().explains = true;
    for class in [Class::Telemetry, Class::Alert] {
        for i in 0..100 {
            outbox.lock().unwrap().append(&telemetry(class, i)).unwrap();
        }
    }
    outbox.lock().unwrap().commit().unwrap();
    // Payload format invalid.
    let gateway = ScriptedGateway::start(&[], |publish| {
        vec![(publish.id, if publish.topic.ends_with("telemetry") { 0x99 } else { 0 })]
    });
    let mut config = config(gateway.port);
    config.window = 4;
    let mut config = GatewayConfig::from(config);
    // The rest outlasts the test, and so would a drain that waited for its end.
    config.backoff_min = mosquitto::PATIENCE * 20;
    config.backoff_max = config.backoff_min;
    let mut all = fixture::uplink(vec![config]);
    all.drain_timeout = mosquitto::PATIENCE * 10;
    let mut uplink = Running::all(all, &outbox);
    wait_until("all alerts and gaps", || {
        let held = outbox.lock().unwrap().stat().events;
        held[Class::Alert.rank()] == 0 && held[Class::Status.rank()] == 0
    });
    let given_up = || outbox.lock().unwrap().rejected.len();
    // Between the refusal and its answer the gap may not be there yet; then nothing else can be either.
    wait_until("the refusals", || given_up() > 0);
    uplink.stop();
    let given_up = given_up();
    assert!((1..=4).contains(&given_up), "what was in flight together, not the backlog: {given_up}");
    let held = outbox.lock().unwrap().stat().events;
    assert_eq!(held[Class::Telemetry.rank()], 100 - u64::try_from(given_up).unwrap());
    let link = uplink.monitor.snapshot();
    assert_eq!((link.connects, link.failures), (1, 0), "{link:?}");
}

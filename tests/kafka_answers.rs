//! Answers of every kind: what is tried again, what rests, what is divided, what is given up.

use super::*;

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

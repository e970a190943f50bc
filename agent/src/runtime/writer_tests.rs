use super::*;
use crate::event::{AgentState, Body, Gap, Identity};
use crate::memory_outbox::MemoryOutbox;
use crate::outbox::{OutboxConfig, SledOutbox};
use crate::privacy::{Naming, Pseudonyms};

fn event(class: Class) -> Event {
    let counters = crate::event::NameMap::new(Vec::new());
    Event::new(1, class, Body::Agent(AgentState { state: "started", reason: None, version: "0", counters }))
}

fn pulse() -> Pulse {
    Pulse::new("outbox", Duration::MAX)
}

fn outbox() -> Arc<Mutex<MemoryOutbox>> {
    let mut outbox = MemoryOutbox::new(1);
    outbox.explains = true;
    Arc::new(Mutex::new(outbox))
}

/// Gap events in the outbox: class, cause, count and ranges.
fn gaps(outbox: &Mutex<MemoryOutbox>) -> Vec<Gap> {
    #[derive(serde::Deserialize)]
    struct Stored {
        kind: String,
        body: serde_cbor::Value,
    }
    let mut gaps = Vec::new();
    let mut after = 0;
    while let Some(batch) = lock(outbox).read(Class::Status, after).unwrap() {
        after = batch.first_seq;
        let stored: Stored = serde_cbor::from_slice(&batch.payload).unwrap();
        if stored.kind == "gap" {
            gaps.push(serde_cbor::value::from_value(stored.body).unwrap());
        }
    }
    gaps
}

#[test]
fn a_full_queue_of_a_live_bus_drops_and_every_dropped_event_is_explained() {
    let outbox = outbox();
    let (queue, writer) = Writer::new(outbox.clone(), Waker::new(), true, pulse());
    // The writer does not run yet, as when the disk holds it up.
    for _ in 0..QUEUE {
        queue.send(event(Class::Telemetry));
    }
    assert_eq!(queue.overflowed(), 0);
    let dropped =
        [(Class::Critical, 1), (Class::Alert, 2), (Class::Status, 3), (Class::Telemetry, 70), (Class::Bulk, 5)];
    for (class, count) in dropped {
        for _ in 0..count {
            queue.send(event(class));
        }
    }
    assert_eq!(queue.overflowed(), 81);
    drop(queue);
    writer.run();

    let stat = lock(&outbox).stat();
    assert_eq!(stat.events[Class::Telemetry.rank()], QUEUE as u64, "what was in the queue is stored");
    let gaps = gaps(&outbox);
    let told: Vec<(Option<Class>, u64)> = gaps.iter().map(|gap| (gap.lost, gap.count)).collect();
    assert_eq!(told, dropped.map(|(class, count)| (Some(class), count)));
    assert!(gaps.iter().all(|gap| gap.cause == LossCause::Overflow));
    // Each number is stored or explained, none is both.
    let mut numbers = lock(&outbox).held();
    numbers.extend(gaps.iter().flat_map(|gap| &gap.ranges).flat_map(|&(first, last)| first..=last));
    numbers.sort_unstable();
    assert_eq!(numbers, (1..stat.next_seq).collect::<Vec<_>>());
    assert_eq!(numbers.len(), QUEUE + 81 + dropped.len(), "events, dropped events, gap events");
}

#[test]
fn a_full_queue_holds_a_recording_up_and_nothing_is_dropped() {
    let outbox = outbox();
    let (queue, writer) = Writer::new(outbox.clone(), Waker::new(), false, pulse());
    let events = QUEUE + 1000;
    let feeder = std::thread::spawn(move || {
        for _ in 0..events {
            queue.send(event(Class::Bulk));
        }
        queue.overflowed()
    });
    writer.run();
    assert_eq!(feeder.join().unwrap(), 0);
    assert_eq!(lock(&outbox).held(), (1..=events as u64).collect::<Vec<_>>());
}

/// A writer that is gone takes nothing more: what comes is counted, and nobody waits for ever.
#[test]
fn a_queue_without_a_writer_counts_what_it_cannot_pass_on() {
    for live in [true, false] {
        let (queue, writer) = Writer::new(outbox(), Waker::new(), live, pulse());
        drop(writer);
        queue.send(event(Class::Alert));
        assert_eq!(queue.overflowed(), 1);
    }
}

/// What comes frame by frame fills its own share of the queue, and no more.
#[test]
fn bulk_does_not_take_the_room_of_alerts() {
    let outbox = outbox();
    let (queue, writer) = Writer::new(outbox.clone(), Waker::new(), true, pulse());
    for _ in 0..2 * QUEUE {
        queue.send(event(Class::Bulk));
    }
    assert_eq!(queue.overflowed(), (2 * QUEUE - BULK) as u64);
    for _ in 0..QUEUE - BULK {
        queue.send(event(Class::Alert));
    }
    assert_eq!(queue.overflowed(), (2 * QUEUE - BULK) as u64, "no alert");
    drop(queue);
    let bulk = writer.bulk.clone();
    writer.run();
    assert_eq!(bulk.load(Ordering::Relaxed), 0, "there is room again");
    let stat = lock(&outbox).stat();
    assert_eq!(
        (stat.events[Class::Alert.rank()], stat.events[Class::Bulk.rank()]),
        ((QUEUE - BULK) as u64, BULK as u64)
    );
}

#[test]
fn a_clock_is_trusted_when_it_has_not_been_set_for_ten_minutes() {
    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_800_000_000 * SECOND;
    let start = Instant::now();
    let mut clock = SteadyClock::default();
    let mut at =
        |seconds: u64, wall: u64| clock.is_steady(wall, seconds * SECOND, false, start + Duration::from_secs(seconds));
    assert!(!at(10, NOW + 10 * SECOND));
    assert!(!at(500, NOW + 500 * SECOND));
    assert!(at(611, NOW + 611 * SECOND), "ten minutes");
    assert!(at(700, NOW + 702 * SECOND), "slewed a little");
    assert!(!at(800, NOW + 1_000_000 * SECOND), "set");
    assert!(!at(900, NOW + 1_000_100 * SECOND));
    assert!(at(1500, NOW + 1_000_700 * SECOND));
    for seconds in [2000, 3000] {
        assert!(!at(seconds, seconds * SECOND), "1970");
    }
    let mut clock = SteadyClock::default();
    let mut synced =
        |seconds: u64, wall: u64| clock.is_steady(wall, seconds * SECOND, true, start + Duration::from_secs(seconds));
    assert!(!synced(10, NOW));
    assert!(synced(71, NOW + 61 * SECOND), "a minute, if it is synchronised");
}

#[test]
fn the_name_changes_between_two_events_when_what_is_before_has_arrived() {
    const DAY_NS: u64 = 86_400_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let pseudonyms = Pseudonyms::new(&[7; 32], Some(Duration::from_secs(86_400))).unwrap();
    let plain = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    let naming = Naming::pseudonymous(plain, pseudonyms.into());
    let outbox = SledOutbox::open(dir.path(), OutboxConfig::new(64 << 20), naming, 21_000 * DAY_NS).unwrap();
    let first = outbox.current().vehicle.clone();
    let outbox = Arc::new(Mutex::new(outbox));
    let (queue, mut writer) = Writer::new(outbox.clone(), Waker::new(), true, pulse());
    lock(&outbox).append(&event(Class::Alert)).unwrap();
    // Not now: nobody takes what waits. Then not for a while.
    writer.rename(21_001 * DAY_NS);
    assert_eq!(lock(&outbox).current().vehicle, first);
    assert!(writer.rename.0 > Instant::now() && writer.rename.1 == 2 * RENAME_AGAIN.0);

    writer.rename.0 = Instant::now();
    let gateway = {
        let outbox = outbox.clone();
        std::thread::spawn(move || {
            std::thread::sleep(RENAME_PAUSE / 5);
            let batch = lock(&outbox).read(Class::Alert, 0).unwrap().unwrap();
            lock(&outbox).ack(Class::Alert, batch.first_seq).unwrap();
            batch.last_seq
        })
    };
    writer.rename(21_001 * DAY_NS);
    let last = gateway.join().unwrap();
    assert_ne!(lock(&outbox).current().vehicle, first);
    queue.send(event(Class::Alert));
    drop(queue);
    writer.run();
    let batch = lock(&outbox).read(Class::Alert, 0).unwrap().unwrap();
    assert!(batch.first_seq > last + 1_000_000 && memchr::memmem::find(&batch.payload, first.as_bytes()).is_none());
}

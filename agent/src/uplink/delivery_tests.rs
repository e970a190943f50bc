use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::event::{Body, Event, Identity, NameMap, Signals};
use crate::memory_outbox::MemoryOutbox;
use crate::uplink::dispatch::{Dispatch, Terms};
use crate::uplink::hub::Hub;
use crate::uplink::network::Networks;

const ROOMY: [usize; 5] = [1_000_000; 5];

struct Fixture {
    outbox: Arc<Mutex<MemoryOutbox>>,
    desk: Desk<MemoryOutbox>,
    delivery: Delivery,
    monitor: LinkMonitor,
    now: Instant,
}

fn identity() -> Identity {
    Identity { vehicle: "v1".into(), boot: "boot".into() }
}

/// The desk of the only link, which is up.
fn alone(outbox: &Arc<Mutex<MemoryOutbox>>) -> Desk<MemoryOutbox> {
    carrying(outbox, [true; 5])
}

fn carrying(outbox: &Arc<Mutex<MemoryOutbox>>, classes: [bool; 5]) -> Desk<MemoryOutbox> {
    let now = Instant::now();
    let terms = Terms { classes, region: None };
    let networks = Networks::new(Vec::new(), Vec::new(), None);
    let dispatch = Dispatch::new(vec![terms], [1; 5], (Duration::ZERO, Duration::ZERO), &[], now);
    let desk =
        Hub::new(Arc::clone(outbox), dispatch, vec![Arc::new(LinkMonitor::new("test"))], identity(), networks).desk(0);
    desk.up(now);
    desk
}

impl Fixture {
    fn new(events_per_batch: usize) -> Self {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        let outbox = Arc::new(Mutex::new(MemoryOutbox::new(events_per_batch)));
        let desk = alone(&outbox);
        Self {
            outbox,
            desk,
            delivery: Delivery::new(PayloadFormat::Cbor, min, max),
            monitor: LinkMonitor::new("test"),
            now: Instant::now(),
        }
    }

    fn append(&mut self, class: Class, names: &[usize]) {
        let mut outbox = self.outbox.lock().unwrap();
        for len in names {
            let values = NameMap::new(vec![("x".repeat(*len).into(), None)]);
            let body = Body::Signals(Signals { group: "g".into(), values });
            outbox.append(&Event::new(1, class, body)).unwrap();
        }
        outbox.commit().unwrap();
    }

    fn next(&mut self, room: usize) -> Option<Message> {
        self.delivery.next(&self.desk, &[room; 5], &self.monitor, self.now)
    }

    fn settle(&mut self, message: &Message, verdict: Verdict) -> Option<Duration> {
        self.delivery.settle(&self.desk, message, verdict, &self.monitor, self.now)
    }

    /// Nothing is left to do, however long one waits.
    fn drained(&self) -> bool {
        self.delivery.drained(self.now + Duration::from_secs(86_400))
    }

    fn outbox(&self) -> MutexGuard<'_, MemoryOutbox> {
        self.outbox.lock().unwrap()
    }
}

#[test]
fn nothing_leaves_before_it_is_acknowledged() {
    let mut f = Fixture::new(1);
    f.append(Class::Alert, &[1, 1]);
    let (first, second) = (f.next(1000).unwrap(), f.next(1000).unwrap());
    assert_eq!((first.batch, second.batch), (1, 2));
    assert_eq!(f.next(1000), None);
    assert_eq!(f.outbox().held(), [1, 2]);
    f.settle(&second, Verdict::Delivered);
    assert_eq!(f.outbox().held(), [1]);
    // A new connection sends what was not acknowledged, and only that.
    f.delivery.restart();
    assert_eq!(f.next(1000).unwrap().batch, 1);
    assert_eq!(f.next(1000), None);
    assert_eq!(f.monitor.snapshot().resent, 1);
}

#[test]
fn a_late_answer_of_an_earlier_connection_changes_nothing() {
    let mut f = Fixture::new(1);
    f.append(Class::Alert, &[1]);
    let message = f.next(1000).unwrap();
    f.delivery.restart();
    assert_eq!(f.settle(&message, Verdict::Refused(LossCause::Rejected)), None);
    assert_eq!(f.outbox().held(), [1]);
}

#[test]
fn a_divided_batch_leaves_when_all_parts_are_settled() {
    let mut f = Fixture::new(4);
    f.append(Class::Status, &[100, 100, 100, 100]);
    let parts: Vec<_> = std::iter::from_fn(|| f.next(450)).collect();
    assert_eq!(parts.iter().map(|m| m.part.count).collect::<Vec<_>>(), [2, 2]);
    f.settle(&parts[1], Verdict::Delivered);
    assert_eq!(f.outbox().held(), [1, 2, 3, 4]);
    f.settle(&parts[0], Verdict::Delivered);
    assert!(f.outbox().is_empty());
    assert_eq!(f.outbox().acked, [1, 2, 3, 4]);
}

#[test]
fn refused_parts_and_oversize_events_alone_become_a_gap() {
    let mut f = Fixture::new(5);
    f.append(Class::Status, &[100, 100, 900, 100, 100]);
    assert_eq!(f.next(450), None, "the class rests because of the one that is too large");
    f.now = f.delivery.next_release(f.now).unwrap();
    let first = f.next(450).unwrap();
    f.settle(&first, Verdict::Delivered);
    let second = f.next(450).unwrap();
    f.settle(&second, Verdict::Refused(LossCause::Rejected));
    let rejected: Vec<u64> = f.outbox().rejected.iter().map(|(seq, _)| *seq).collect();
    assert_eq!((rejected, f.outbox().acked.clone()), (vec![3, 4, 5], vec![1, 2]));
    assert!(f.outbox().is_empty());
    assert_eq!(f.monitor.snapshot().rejected, 1, "the gateway's refusal is counted where it is received");
}

#[test]
fn an_event_that_never_fits_is_given_up_and_the_class_rests() {
    let mut f = Fixture::new(1);
    f.append(Class::Bulk, &[900, 1, 1]);
    assert_eq!(f.next(450), None);
    assert_eq!(f.outbox().rejected, [(1, LossCause::Oversize)]);
    assert_eq!(f.monitor.snapshot().rejected, 1);
    f.now = f.delivery.next_release(f.now).unwrap();
    assert_eq!(f.next(450).unwrap().batch, 2);
    assert_eq!(f.next(450), None, "a probe");
}

/// Gap events that are themselves too large make new ones, and a wrong limit makes everything too large.
#[test]
fn a_backlog_of_oversize_events_is_not_given_up_in_one_go() {
    let mut f = Fixture::new(1);
    f.outbox().explains = true;
    f.append(Class::Status, &[900; 50]);
    f.append(Class::Alert, &[900; 50]);
    for round in 1..=5 {
        assert_eq!(f.next(10), None);
        assert_eq!(f.outbox().rejected.len(), 2 * round, "one of each class");
        while let Some(at) = f.delivery.next_release(f.now) {
            f.now = at;
        }
    }
    assert_eq!(f.monitor.snapshot().rejected, 10);
}

#[test]
fn a_damaged_batch_is_given_up_and_the_next_goes_on() {
    let mut f = Fixture::new(1);
    f.outbox().store_raw(Class::Alert, vec![0xff; 2000]);
    f.append(Class::Alert, &[1]);
    assert_eq!(f.next(450).unwrap().batch, 2);
    assert_eq!(f.outbox().rejected, [(1, LossCause::Corrupt)]);
}

#[test]
fn later_means_the_same_batch_after_a_rest_and_no_other_twice() {
    let mut f = Fixture::new(1);
    f.append(Class::Alert, &[1, 1, 1]);
    f.append(Class::Bulk, &[1]);
    let messages: Vec<_> = std::iter::from_fn(|| f.next(1000)).collect();
    assert_eq!(messages.len(), 4);
    let rest = f.settle(&messages[1], Verdict::Later).unwrap();
    assert!(rest >= Duration::from_secs(1));
    f.settle(&messages[0], Verdict::Delivered);
    // Message 3 is still on its way, message 2 rests.
    assert_eq!(f.next(1000), None);
    assert_eq!(f.delivery.next_release(f.now), Some(f.now + rest));
    assert!(!f.drained());
    f.now += rest;
    assert_eq!(f.next(1000), None, "the probe waits for what is on its way");
    f.settle(&messages[2], Verdict::Delivered);
    let again = f.next(1000).unwrap();
    assert_eq!(again.batch, messages[1].batch);
    assert_eq!(f.next(1000), None);
    f.settle(&again, Verdict::Delivered);
    f.settle(&messages[3], Verdict::Delivered);
    assert!(f.outbox().is_empty() && f.outbox().rejected.is_empty());
    assert_eq!(f.next(1000), None);
    assert!(f.drained());
}

/// Only what was in flight together with the refused message overtakes it.
#[test]
fn what_waits_behind_a_refused_message_stays_behind_it() {
    let mut f = Fixture::new(4);
    f.append(Class::Alert, &[100; 16]);
    // Batches of four in parts of two. In flight: batch 1 whole and the first half of batch 5, whose other half waits.
    let first: Vec<_> = (0..3).map(|_| f.next(450).unwrap()).collect();
    assert_eq!(first.iter().map(|m| (m.batch, m.part.count)).collect::<Vec<_>>(), [(1, 2), (1, 2), (5, 2)]);
    let rest = f.settle(&first[0], Verdict::Later).unwrap();
    f.settle(&first[1], Verdict::Delivered);
    f.settle(&first[2], Verdict::Delivered);
    f.now += rest;
    let mut order = Vec::new();
    while let Some(message) = f.next(450) {
        order.push(message.part.first_seq);
        f.settle(&message, Verdict::Delivered);
    }
    assert_eq!(order, [1, 3, 5, 7, 9, 11, 13, 15]);
    assert!(f.outbox().is_empty() && f.outbox().rejected.is_empty());
}

#[test]
fn after_any_refusal_one_message_probes() {
    for verdict in [Verdict::Later, Verdict::Refused(LossCause::Rejected)] {
        let mut f = Fixture::new(1);
        f.append(Class::Alert, &[1; 20]);
        let window: Vec<_> = (0..4).map(|_| f.next(1000).unwrap()).collect();
        let mut rest = f.settle(&window[0], verdict);
        for message in &window[1..] {
            assert_eq!(f.settle(message, Verdict::Delivered), None);
        }
        for _ in 0..3 {
            f.now += rest.expect("each refused probe is followed by a rest");
            let probe = f.next(1000).unwrap();
            assert_eq!(f.next(1000), None, "{verdict:?}: one probe");
            rest = f.settle(&probe, verdict);
        }
        f.now += rest.unwrap();
        let probe = f.next(1000).unwrap();
        f.settle(&probe, Verdict::Delivered);
        assert!(f.next(1000).is_some() && f.next(1000).is_some(), "{verdict:?}: the window is open again");
    }
}

#[test]
fn a_drain_does_not_wait_for_a_class_that_rests_longer() {
    let mut f = Fixture::new(1);
    f.append(Class::Alert, &[1, 1]);
    let message = f.next(1000).unwrap();
    let deadline = f.now + Duration::from_millis(999);
    assert!(!f.delivery.drained(deadline));
    f.settle(&message, Verdict::Later).unwrap();
    f.delivery.wake();
    assert_eq!(f.next(1000), None);
    assert!(f.delivery.drained(deadline), "the rest takes a second at least");
    assert!(!f.drained());
}

#[test]
fn an_outbox_that_cannot_be_read_is_asked_again_later() {
    let mut f = Fixture::new(1);
    f.append(Class::Alert, &[1]);
    f.outbox().broken = true;
    assert_eq!(f.next(1000), None);
    assert_eq!(f.outbox().reads, 5, "each class once, no spinning");
    assert_eq!(f.next(1000), None);
    assert_eq!(f.outbox().reads, 5);
    assert_eq!(f.monitor.snapshot().outbox_errors, 5);
    f.outbox().broken = false;
    f.now = f.delivery.next_release(f.now).unwrap();
    assert_eq!(f.next(1000).unwrap().batch, 1);
}

#[test]
fn idle_classes_are_not_read_again_before_somebody_wakes_it() {
    let mut f = Fixture::new(1);
    assert_eq!(f.next(1000), None);
    assert!(f.drained());
    let reads = f.outbox().reads;
    f.append(Class::Alert, &[1]);
    assert_eq!(f.next(1000), None);
    assert_eq!(f.outbox().reads, reads);
    f.delivery.wake();
    assert!(f.next(1000).is_some());
}

#[test]
fn a_refused_size_is_learnt() {
    let mut f = Fixture::new(4);
    f.append(Class::Status, &[300, 300, 300, 300]);
    let whole = f.next(1_000_000).unwrap();
    assert_eq!(whole.part.count, 4);
    assert_eq!(f.delivery.too_large(&whole, 1, f.now), TooLarge::Learnt);
    f.delivery.restart();
    let half = f.next(1_000_000).unwrap();
    assert!(half.part.count < 4 && half.part.payload.len() <= whole.part.payload.len() / 2);
    let mut alone = half.clone();
    alone.part.count = 1;
    assert_eq!(f.delivery.too_large(&alone, 1, f.now), TooLarge::Learnt);
    f.delivery.restart();
    while let Some(message) = f.delivery.next(&f.desk, &ROOMY, &f.monitor, f.now) {
        assert!(message.part.payload.len() < alone.part.payload.len());
    }
    // Gateways get mended.
    f.delivery.restart();
    f.now += LEARNT_FOR;
    assert_eq!(f.next(1_000_000).unwrap().part.count, 4);
}

/// A gateway that acknowledges late hangs up because of a large event while a small one is the oldest in flight.
#[test]
fn an_innocent_event_is_not_taken_for_the_one_that_is_too_large() {
    let mut f = Fixture::new(1);
    f.append(Class::Alert, &[300]);
    f.append(Class::Bulk, &[5000, 1]);
    let messages: Vec<_> = std::iter::from_fn(|| f.next(1_000_000)).collect();
    assert_eq!(f.delivery.too_large(&messages[0], messages.len(), f.now), TooLarge::Unsure);
    f.delivery.restart();
    assert_eq!(f.delivery.window(64), 1);
    let small = f.next(1_000_000).unwrap();
    assert_eq!(small.class, Class::Alert);
    f.settle(&small, Verdict::Delivered);
    assert_eq!(f.delivery.window(64), 1);
    let large = f.next(1_000_000).unwrap();
    assert_eq!(large.part.first_seq, 2);
    assert_eq!(f.delivery.too_large(&large, 1, f.now), TooLarge::Learnt);
    f.delivery.restart();
    assert_eq!(f.next(1_000_000), None);
    assert_eq!(f.outbox().rejected, [(2, LossCause::Oversize)]);
    assert_eq!(f.outbox().acked, [1]);
    f.now = f.delivery.next_release(f.now).unwrap();
    for _ in 0..2 {
        f.append(Class::Bulk, &[1]);
        f.delivery.wake();
        let message = f.next(1_000_000).unwrap();
        f.settle(&message, Verdict::Delivered);
    }
    assert_eq!(f.delivery.window(64), 64, "as many as were in flight have gone out");
}

#[test]
fn a_limit_that_nothing_fits_is_not_believed() {
    let mut f = Fixture::new(1);
    f.append(Class::Critical, &[1]);
    f.append(Class::Alert, &[1]);
    let message = f.next(1_000_000).unwrap();
    assert!(message.part.payload.len() <= MIN_PAYLOAD_BYTES);
    assert_eq!(f.delivery.too_large(&message, 1, f.now), TooLarge::TooSmallALimit);
    f.delivery.restart();
    let next = f.next(1_000_000).unwrap();
    assert_eq!(next.class, Class::Alert, "the class rests, others go on");
    f.settle(&next, Verdict::Delivered);
    assert_eq!(f.next(1_000_000), None);
    f.now = f.delivery.next_release(f.now).unwrap();
    assert_eq!(f.next(1_000_000), Some(message), "the event stays");
    assert!(f.outbox().rejected.is_empty());
}

/// A disk that was away comes back with smaller numbers than those that were sent meanwhile.
#[test]
fn what_appears_behind_the_cursor_is_sent_once_all_is_settled() {
    let mut f = Fixture::new(1);
    f.outbox().next_seq = 1000;
    f.append(Class::Alert, &[1]);
    let first = f.next(1000).unwrap();
    f.outbox().next_seq = 5;
    f.append(Class::Alert, &[1]);
    f.delivery.wake();
    assert_eq!(f.next(1000), None, "the first one is not settled: it would be sent again");
    f.settle(&first, Verdict::Delivered);
    f.delivery.wake();
    let behind = f.next(1000).unwrap();
    assert_eq!(behind.batch, 5);
    f.settle(&behind, Verdict::Delivered);
    f.delivery.wake();
    assert_eq!(f.next(1000), None);
    assert!(f.drained());
}

#[test]
fn what_is_for_others_is_passed_by_in_parts() {
    let mut f = Fixture::new(1);
    f.desk = carrying(&f.outbox, [true, true, true, false, true]);
    let many = usize::try_from(3 * PASS_AT_ONCE).unwrap();
    f.append(Class::Telemetry, &vec![10; many]);
    f.delivery.wake();
    let before = f.outbox.lock().unwrap().reads;
    assert!(f.next(1_000_000).is_none());
    let reads = f.outbox.lock().unwrap().reads - before;
    assert!(reads < u64::from(PASS_AT_ONCE) + 10, "{reads}");
    let again = f.delivery.next_release(f.now).unwrap();
    assert!(again <= f.now + PASS_PAUSE);
    // An alert that comes meanwhile need not wait for the rest.
    f.append(Class::Alert, &[10]);
    f.delivery.wake();
    assert_eq!(f.next(1_000_000).map(|message| message.class), Some(Class::Alert));
}

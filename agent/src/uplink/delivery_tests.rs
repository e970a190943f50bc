use super::*;
use crate::event::{Body, Event, NameMap, Signals};
use crate::memory_outbox::MemoryOutbox;

const ROOMY: [usize; 5] = [1_000_000; 5];

struct Fixture {
    outbox: Mutex<MemoryOutbox>,
    delivery: Delivery,
    monitor: LinkMonitor,
    now: Instant,
}

impl Fixture {
    fn new(events_per_batch: usize) -> Self {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        Self {
            outbox: Mutex::new(MemoryOutbox::new(events_per_batch)),
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
            outbox.append(&Event { time_ns: 1, class, body }).unwrap();
        }
        outbox.commit().unwrap();
    }

    fn next(&mut self, room: usize) -> Option<Message> {
        self.delivery.next(&self.outbox, &[room; 5], &self.monitor, self.now)
    }

    fn settle(&mut self, message: &Message, verdict: Verdict) -> Option<Duration> {
        self.delivery.settle(&self.outbox, message, verdict, &self.monitor, self.now)
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
    let parts: Vec<_> = std::iter::from_fn(|| f.next(450)).collect();
    assert_eq!(parts.len(), 2);
    f.settle(&parts[0], Verdict::Delivered);
    f.settle(&parts[1], Verdict::Refused(LossCause::Rejected));
    let rejected: Vec<u64> = f.outbox().rejected.iter().map(|(seq, _)| *seq).collect();
    assert_eq!((rejected, f.outbox().acked.clone()), (vec![3, 4, 5], vec![1, 2]));
    assert!(f.outbox().is_empty());
}

#[test]
fn an_event_that_never_fits_is_given_up_at_once() {
    let mut f = Fixture::new(1);
    f.append(Class::Bulk, &[900, 1]);
    assert_eq!(f.next(450).unwrap().batch, 2);
    assert_eq!(f.outbox().rejected, [(1, LossCause::Oversize)]);
    assert_eq!(f.monitor.snapshot().rejected, 1);
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
    assert!(!f.delivery.drained());
    f.now += rest;
    let again = f.next(1000).unwrap();
    assert_eq!(again.batch, messages[1].batch);
    assert_eq!(f.next(1000), None, "the one on its way is not sent twice");
    f.settle(&again, Verdict::Delivered);
    f.settle(&messages[2], Verdict::Delivered);
    f.settle(&messages[3], Verdict::Delivered);
    assert!(f.outbox().is_empty() && f.outbox().rejected.is_empty());
    assert_eq!(f.next(1000), None);
    assert!(f.delivery.drained());
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
    assert!(f.delivery.drained());
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
    f.append(Class::Status, &[100, 100, 100, 100]);
    let whole = f.next(1_000_000).unwrap();
    assert_eq!(whole.part.count, 4);
    f.delivery.too_large(&whole);
    f.delivery.restart();
    let half = f.next(1_000_000).unwrap();
    assert!(half.part.count < 4 && half.part.payload.len() <= whole.part.payload.len() / 2);
    let mut alone = half.clone();
    alone.part.count = 1;
    f.delivery.too_large(&alone);
    f.delivery.restart();
    while let Some(message) = f.delivery.next(&f.outbox, &ROOMY, &f.monitor, f.now) {
        assert!(message.part.payload.len() < alone.part.payload.len());
    }
}

//! What the outbox's tests share: events, and the audit that every number is accounted for.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::ranges::RangeSet;
use super::{Batch, Outbox, OutboxConfig, SledOutbox};
use crate::event::{Body, Class, Event, Gap, Identity, LossCause, ModelState};

pub(super) const QUOTA: u64 = 64 << 20;
pub(super) const NOW: u64 = 1_700_000_000_000_000_000;

pub(super) fn open(dir: &Path) -> SledOutbox {
    open_with(dir, QUOTA)
}

pub(super) fn open_with(dir: &Path, quota: u64) -> SledOutbox {
    open_as(dir, config(quota))
}

/// With which everything is stored at once.
pub(super) fn config(quota: u64) -> OutboxConfig {
    OutboxConfig { linger: Duration::ZERO, ..OutboxConfig::new(quota) }
}

pub(super) fn open_as(dir: &Path, config: OutboxConfig) -> SledOutbox {
    let identity = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    SledOutbox::open(dir, config, identity, NOW).unwrap()
}

/// An event of about `bytes` bytes.
pub(super) fn event(class: Class, bytes: usize) -> Event {
    let reason = "x".repeat(bytes.saturating_sub(150));
    let body = Body::Model(ModelState { name: "m".into(), state: "benched", reason, version: "1".into() });
    Event::new(NOW, class, body)
}

/// An event as a backend sees it.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) seq: u64,
    pub(super) class: Class,
    pub(super) kind: String,
    body: serde_cbor::Value,
}

impl Seen {
    pub(super) fn gap(&self) -> Option<Gap> {
        (self.kind == "gap").then(|| serde_cbor::value::from_value(self.body.clone()).unwrap())
    }
}

pub(super) fn seen(payload: &[u8]) -> Vec<Seen> {
    serde_cbor::Deserializer::from_slice(payload).into_iter().collect::<Result<_, _>>().unwrap()
}

/// All batches of a class, checked for order.
pub(super) fn batches(outbox: &mut SledOutbox, class: Class) -> Vec<Batch> {
    let (mut after, mut all) = (0, Vec::new());
    while let Some(batch) = outbox.read(class, after).unwrap() {
        let events = seen(&batch.payload);
        assert_eq!(events.len(), usize::try_from(batch.count).unwrap());
        assert_eq!((events[0].seq, events[events.len() - 1].seq), (batch.first_seq, batch.last_seq));
        assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        assert!(events.iter().all(|e| e.class == class));
        assert!(batch.first_seq > after, "out of order");
        after = batch.first_seq;
        all.push(batch);
    }
    all
}

/// What a backend has after receiving everything.
#[derive(Debug, Default)]
pub(super) struct Audit {
    pub(super) numbers: BTreeSet<u64>,
    pub(super) gaps: Vec<Gap>,
    pub(super) explained: RangeSet,
}

impl Audit {
    /// Receives what is stored, without acknowledging.
    pub(super) fn receive(&mut self, outbox: &mut SledOutbox) {
        for class in Class::ALL {
            for batch in batches(outbox, class) {
                self.take(&batch);
            }
        }
    }

    pub(super) fn take(&mut self, batch: &Batch) {
        for event in seen(&batch.payload) {
            self.numbers.insert(event.seq);
            if let Some(gap) = event.gap() {
                self.explained.extend(&gap.ranges.iter().copied().collect());
                let set: RangeSet = gap.ranges.iter().copied().collect();
                assert_eq!(gap.count, set.count());
                self.gaps.push(gap);
            }
        }
    }

    /// Panics when a number below `next` was neither received nor explained.
    pub(super) fn prove(&self, next: u64) {
        let mut missing: RangeSet = [(1, next - 1)].into_iter().collect();
        missing.subtract(&self.explained);
        self.numbers.iter().for_each(|&n| missing.remove(n, n));
        assert!(missing.is_empty(), "unexplained: {:?}, gaps {:?}", missing, self.gaps);
    }

    pub(super) fn of(outbox: &mut SledOutbox) -> Self {
        let mut audit = Self::default();
        audit.receive(outbox);
        audit.prove(outbox.stat().next_seq);
        audit
    }

    /// Numbers explained by gaps with this cause.
    pub(super) fn lost_to(&self, cause: LossCause) -> RangeSet {
        let mut all = RangeSet::default();
        for gap in self.gaps.iter().filter(|g| g.cause == cause) {
            all.extend(&gap.ranges.iter().copied().collect());
        }
        all
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

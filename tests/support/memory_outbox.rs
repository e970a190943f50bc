//! An outbox in memory, for tests of what reads from one. Keeps a ledger of what left it, and how.

#![allow(dead_code, reason = "unit tests and scenario tests each use a part of it")]

use std::collections::BTreeMap;

use outrider::event::{Body, Class, Event, Gap, Identity, LossCause};
use outrider::outbox::{Batch, Outbox, OutboxError, OutboxStat};

/// Batches of a fixed number of events.
pub(crate) struct MemoryOutbox {
    /// Who sends; may be changed while nothing is stored.
    pub(crate) identity: Identity,
    events_per_batch: usize,
    /// The number of the next event.
    pub(crate) next_seq: u64,
    /// By class rank: appended, not committed.
    pending: [Vec<(u64, Vec<u8>)>; 5],
    stored: BTreeMap<(usize, u64), (Batch, Vec<u64>)>,
    /// Numbers of the events that were acknowledged, in the order of the acknowledgements.
    pub(crate) acked: Vec<u64>,
    /// Numbers of the events that were refused, and why.
    pub(crate) rejected: Vec<(u64, LossCause)>,
    /// Whether a refusal appends a gap event, as the real outbox does.
    pub(crate) explains: bool,
    /// While set, `read` fails.
    pub(crate) broken: bool,
    /// Calls of `read`.
    pub(crate) reads: u64,
}

impl MemoryOutbox {
    pub(crate) fn new(events_per_batch: usize) -> Self {
        Self {
            identity: Identity { vehicle: "v1".into(), boot: "boot".into() },
            events_per_batch,
            next_seq: 1,
            pending: Default::default(),
            stored: BTreeMap::new(),
            acked: Vec::new(),
            rejected: Vec::new(),
            explains: false,
            broken: false,
            reads: 0,
        }
    }

    /// Numbers of the events that it holds, committed ones only.
    pub(crate) fn held(&self) -> Vec<u64> {
        let mut seqs: Vec<u64> = self.stored.values().flat_map(|(_, seqs)| seqs).copied().collect();
        seqs.sort_unstable();
        seqs
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    fn store(&mut self, class: Class, events: &[(u64, Vec<u8>)]) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        let batch = Batch {
            class,
            first_seq: first.0,
            last_seq: last.0,
            count: u32::try_from(events.len()).unwrap(),
            regions: None,
            payload: events.iter().flat_map(|(_, bytes)| bytes).copied().collect(),
        };
        let seqs = events.iter().map(|(seq, _)| *seq).collect();
        self.stored.insert((class.rank(), batch.first_seq), (batch, seqs));
    }

    /// Stores bytes that need not be events.
    pub(crate) fn store_raw(&mut self, class: Class, payload: Vec<u8>) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.store(class, &[(seq, payload)]);
        seq
    }

    fn explain(&mut self, lost: Class, seqs: &[u64], cause: LossCause) {
        self.rejected.extend(seqs.iter().map(|seq| (*seq, cause)));
        if self.explains {
            let ranges = seqs.iter().map(|seq| (*seq, *seq)).collect();
            let count = u64::try_from(seqs.len()).unwrap();
            let body = Body::Gap(Gap { lost: Some(lost), span: None, cause, count, ranges });
            self.append(&Event::new(1, Class::Status, body)).unwrap();
            self.commit().unwrap();
        }
    }
}

impl Outbox for MemoryOutbox {
    fn append(&mut self, event: &Event) -> Result<u64, OutboxError> {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut bytes = Vec::new();
        event.encode(&self.identity, seq, &mut bytes).unwrap();
        self.pending[event.class.rank()].push((seq, bytes));
        Ok(seq)
    }

    fn identity(&self) -> Option<&Identity> {
        Some(&self.identity)
    }

    fn commit(&mut self) -> Result<(), OutboxError> {
        for class in Class::ALL {
            let events = std::mem::take(&mut self.pending[class.rank()]);
            for batch in events.chunks(self.events_per_batch) {
                self.store(class, batch);
            }
        }
        Ok(())
    }

    fn read(&mut self, class: Class, after: u64) -> Result<Option<Batch>, OutboxError> {
        self.reads += 1;
        if self.broken {
            let source = std::io::Error::other("test");
            return Err(OutboxError::Io { path: "memory".into(), doing: "read", source });
        }
        let range = (class.rank(), after.saturating_add(1))..=(class.rank(), u64::MAX);
        Ok(self.stored.range(range).next().map(|(_, (batch, _))| batch.clone()))
    }

    fn ack(&mut self, class: Class, first_seq: u64) -> Result<(), OutboxError> {
        if let Some((_, seqs)) = self.stored.remove(&(class.rank(), first_seq)) {
            self.acked.extend(seqs);
        }
        Ok(())
    }

    fn reject(&mut self, class: Class, first_seq: u64, cause: LossCause) -> Result<(), OutboxError> {
        if let Some((_, seqs)) = self.stored.remove(&(class.rank(), first_seq)) {
            self.explain(class, &seqs, cause);
        }
        Ok(())
    }

    fn reject_events(
        &mut self,
        class: Class,
        first_seq: u64,
        refused: &[u64],
        cause: LossCause,
    ) -> Result<(), OutboxError> {
        if let Some((_, seqs)) = self.stored.remove(&(class.rank(), first_seq)) {
            self.acked.extend(seqs.iter().filter(|seq| !refused.contains(seq)));
            self.explain(class, refused, cause);
        }
        Ok(())
    }

    fn lost(&mut self, class: Class, count: u64, cause: LossCause) -> Result<(), OutboxError> {
        let seqs: Vec<u64> = (self.next_seq..self.next_seq + count).collect();
        self.next_seq += count;
        self.explain(class, &seqs, cause);
        Ok(())
    }

    fn stat(&self) -> OutboxStat {
        let pending = self.pending.each_ref().map(|events| events.len() as u64);
        let mut stat = OutboxStat { pending, next_seq: self.next_seq, ..OutboxStat::default() };
        for ((rank, _), (batch, _)) in &self.stored {
            stat.events[*rank] += u64::from(batch.count);
        }
        stat
    }

    fn close(&mut self) -> Result<(), OutboxError> {
        self.commit()
    }
}

//! Events of one class that are appended and not committed.

use std::collections::VecDeque;

use super::record::Record;
use crate::event::{Class, Event, Identity, Regions};

/// Payload of a record, unless a single event is larger.
const RECORD_PAYLOAD: usize = 12 * 1024;

#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Encodings, from `start` on; what is before was dropped.
    bytes: Vec<u8>,
    start: usize,
    events: VecDeque<Waiting>,
}

#[derive(Debug, Clone)]
struct Waiting {
    seq: u64,
    len: u32,
    time_ns: u64,
    /// It has to be stored before it is sent.
    durable: bool,
    regions: Option<Regions>,
}

impl Waiting {
    fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }
}

/// What [`Pending::push`] did.
pub(super) enum Pushed {
    Taken,
    Oversize,
}

impl Pending {
    /// Encodes an event, unless that takes more than `max` bytes.
    pub(super) fn push(&mut self, event: &Event, identity: &Identity, seq: u64, durable: bool, max: usize) -> Pushed {
        let before = self.bytes.len();
        let encoded = event.encode(identity, seq, &mut self.bytes);
        let len = self.bytes.len() - before;
        match u32::try_from(len) {
            Ok(narrow) if encoded.is_ok() && len <= max => {
                let regions = event.regions.clone();
                self.events.push_back(Waiting { seq, len: narrow, time_ns: event.time_ns, durable, regions });
                Pushed::Taken
            }
            _ => {
                self.bytes.truncate(before);
                Pushed::Oversize
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes of the encodings.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The events cut into records, each of events that all have to be stored or all need not, which is said with it, and
    /// that may all go to the same places.
    pub(super) fn records(&self, class: Class) -> Vec<(bool, Record)> {
        let mut records: Vec<(bool, Record)> = Vec::new();
        let mut from = self.start;
        for event in &self.events {
            let bytes = &self.bytes[from..from + event.len()];
            from += event.len();
            match records.last_mut() {
                Some((durable, record))
                    if *durable == event.durable
                        && record.regions == event.regions
                        && record.payload.len() + bytes.len() <= RECORD_PAYLOAD =>
                {
                    record.events.push((event.seq, event.len));
                    record.times = (record.times.0.min(event.time_ns), record.times.1.max(event.time_ns));
                    record.payload.extend_from_slice(bytes);
                }
                _ => {
                    let (events, times) = (vec![(event.seq, event.len)], (event.time_ns, event.time_ns));
                    let regions = event.regions.clone();
                    let record = Record { class, ordinal: 0, events, times, regions, payload: bytes.to_vec() };
                    records.push((event.durable, record));
                }
            }
        }
        records
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.events.iter().map(|event| event.seq)
    }

    /// Forgets those that need not be stored.
    pub(super) fn keep_durable(&mut self) {
        self.retain_others(|| false);
    }

    /// Whether any has to be stored.
    pub(super) fn has_durable(&self) -> bool {
        self.events.iter().any(|event| event.durable)
    }

    /// Of those that need not be stored, keeps what `keep` says. Returns numbers and times of the rest.
    pub(super) fn retain_others(&mut self, mut keep: impl FnMut() -> bool) -> Vec<(u64, u64)> {
        let (mut kept, mut gone) = (Self::default(), Vec::new());
        let mut from = self.start;
        for event in &self.events {
            let to = from + event.len();
            if event.durable || keep() {
                kept.bytes.extend_from_slice(&self.bytes[from..to]);
                kept.events.push_back(event.clone());
            } else {
                gone.push((event.seq, event.time_ns));
            }
            from = to;
        }
        *self = kept;
        gone
    }

    /// Takes the oldest event out: number, time, encoding.
    pub(super) fn pop(&mut self) -> Option<(u64, u64, &[u8])> {
        let event = self.events.pop_front()?;
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let from = self.start;
        self.start += event.len();
        Some((event.seq, event.time_ns, &self.bytes[from..self.start]))
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.events.clear();
    }
}

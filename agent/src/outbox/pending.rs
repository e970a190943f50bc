//! Events of one class that are appended and not committed.

use std::collections::VecDeque;

use crate::event::{Event, Identity};

/// Payload of a record, unless a single event is larger.
const RECORD_PAYLOAD: usize = 12 * 1024;

#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Encodings, from `start` on; what is before was dropped.
    bytes: Vec<u8>,
    start: usize,
    events: VecDeque<(u64, u32)>,
}

/// Numbers with lengths, and the encodings.
pub(super) type Cut<'a> = (Vec<(u64, u32)>, &'a [u8]);

/// What [`Pending::push`] did.
pub(super) enum Pushed {
    Taken,
    Oversize,
}

impl Pending {
    /// Encodes an event, unless that takes more than `max` bytes.
    pub(super) fn push(&mut self, event: &Event, identity: &Identity, seq: u64, max: usize) -> Pushed {
        let before = self.bytes.len();
        let encoded = event.encode(identity, seq, &mut self.bytes);
        let len = self.bytes.len() - before;
        match u32::try_from(len) {
            Ok(narrow) if encoded.is_ok() && len <= max => {
                self.events.push_back((seq, narrow));
                Pushed::Taken
            }
            _ => {
                self.bytes.truncate(before);
                Pushed::Oversize
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes of the encodings.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The events cut into records: numbers with lengths, and payload.
    pub(super) fn records(&self) -> Vec<Cut<'_>> {
        let mut records = Vec::new();
        let (mut events, mut from, mut to) = (Vec::new(), self.start, self.start);
        for &(seq, len) in &self.events {
            let bytes = usize::try_from(len).unwrap_or(usize::MAX);
            if !events.is_empty() && to - from + bytes > RECORD_PAYLOAD {
                records.push((std::mem::take(&mut events), &self.bytes[from..to]));
                from = to;
            }
            to += bytes;
            events.push((seq, len));
        }
        if !events.is_empty() {
            records.push((events, &self.bytes[from..to]));
        }
        records
    }

    /// Takes the oldest event out.
    pub(super) fn pop(&mut self) -> Option<(u64, &[u8])> {
        let (seq, len) = self.events.pop_front()?;
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let from = self.start;
        self.start += usize::try_from(len).unwrap_or(usize::MAX);
        Some((seq, &self.bytes[from..self.start]))
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.events.clear();
    }
}

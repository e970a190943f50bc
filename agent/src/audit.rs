//! The audit: proves from the received events alone that all arrived.
//!
//! Events are numbered per vehicle from 1 without a hole. So every number up to the highest seen
//! must have arrived or lie in a range of a `gap` event. Within a class, events arrive in the order
//! of their numbers; copies (at-least-once delivery) are counted and otherwise ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read};

use serde::Deserialize;
use thiserror::Error;

use crate::event::Class;

/// Why the input could not be audited.
#[derive(Debug, Error)]
pub enum AuditError {
    /// It could not be read.
    #[error("{name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A JSON line is not an event.
    #[error("{name}:{line}: not an event: {message}")]
    Json {
        /// The file.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// An item of the CBOR sequence is not an event.
    #[error("{name}: item {item}, near byte {offset}: not an event: {message}")]
    Cbor {
        /// The file.
        name: String,
        /// Item, from 1.
        item: usize,
        /// Byte, from 0.
        offset: u64,
        /// What is wrong.
        message: String,
    },
}

/// What the audit needs of an envelope.
#[derive(Debug, Deserialize)]
struct Received {
    seq: u64,
    class: Class,
    kind: String,
    vehicle: String,
    body: GapBody,
}

#[derive(Debug, Deserialize)]
struct GapBody {
    /// A text: other kinds have causes of their own, and later versions more of them.
    cause: Option<String>,
    ranges: Option<Vec<(u64, u64)>>,
}

/// A set of numbers, kept as ranges: first → last, inclusive, apart from each other.
#[derive(Debug, Default, Clone)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `first..=last`; returns how many of them were new.
    fn add(&mut self, mut first: u64, mut last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let mut new = (last - first).saturating_add(1);
        // Every range that overlaps or touches goes into the new one.
        while let Some((&f, &l)) = self.0.range(..=last.saturating_add(1)).next_back() {
            if l.saturating_add(1) < first {
                break;
            }
            self.0.remove(&f);
            let (overlap_first, overlap_last) = (f.max(first), l.min(last));
            if overlap_first <= overlap_last {
                new -= overlap_last - overlap_first + 1;
            }
            (first, last) = (first.min(f), last.max(l));
        }
        self.0.insert(first, last);
        new
    }

    fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, &l)| l)
    }

    fn contains(&self, n: u64) -> bool {
        self.0.range(..=n).next_back().is_some_and(|(_, &l)| l >= n)
    }

    /// Ranges of `first..=last` that are not in the set.
    fn holes(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut next = first;
        for (&f, &l) in &self.0 {
            if f > last {
                break;
            }
            if f > next {
                holes.push((next, f - 1));
            }
            next = next.max(l.saturating_add(1));
        }
        if next <= last {
            holes.push((next, last));
        }
        holes
    }
}

/// What was received of one vehicle.
#[derive(Debug, Default)]
pub struct VehicleAudit {
    received: Ranges,
    explained: Ranges,
    /// Different events that arrived.
    pub events: u64,
    /// Copies of events that had arrived before.
    pub duplicates: u64,
    /// Events that arrived after a later one of their class.
    pub out_of_order: u64,
    /// Numbers in gap events, by cause, as the gap events count them.
    pub lost: BTreeMap<String, u64>,
    /// Different events by kind.
    pub kinds: BTreeMap<String, u64>,
    last_of_class: [u64; 5],
}

impl VehicleAudit {
    /// Ranges of numbers from `first` on that neither arrived nor are explained.
    pub fn holes(&self, first: u64) -> Vec<(u64, u64)> {
        let mut known = self.received.clone();
        for (&f, &l) in &self.explained.0 {
            known.add(f, l);
        }
        let last = known.last();
        known.holes(first, last)
    }

    /// Numbers that did not arrive and are explained.
    pub fn explained(&self) -> u64 {
        let mut received = self.received.clone();
        self.explained.0.iter().map(|(&f, &l)| received.add(f, l)).sum()
    }

    /// The highest number seen.
    pub fn highest(&self) -> u64 {
        self.received.last().max(self.explained.last())
    }
}

/// An audit under way: feed it, then look at the vehicles.
#[derive(Debug, Default)]
pub struct Audit {
    /// By vehicle.
    pub vehicles: BTreeMap<String, VehicleAudit>,
}

impl Audit {
    /// Takes all events of a CBOR sequence or of JSON lines; the first byte tells which.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is not an event. What came before is counted.
    pub fn read(&mut self, name: &str, mut input: impl BufRead) -> Result<(), AuditError> {
        let failed = |source| AuditError::Read { name: name.into(), source };
        let json = match input.fill_buf().map_err(failed)?.first() {
            None => return Ok(()),
            Some(first) => *first == b'{' || first.is_ascii_whitespace(),
        };
        if json { self.read_json(name, input) } else { self.read_cbor(name, input) }
    }

    fn read_json(&mut self, name: &str, input: impl BufRead) -> Result<(), AuditError> {
        // An event is far smaller than this; a line without end must not fill the memory.
        const MAX_LINE: u64 = 16 << 20;
        let mut input = input;
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let n = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut text);
            let n = n.map_err(|source| AuditError::Read { name: name.into(), source })?;
            if n == 0 {
                break;
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let event = serde_json::from_slice(&text);
            self.take(&event.map_err(|e| AuditError::Json { name: name.into(), line, message: e.to_string() })?);
        }
        Ok(())
    }

    fn read_cbor(&mut self, name: &str, input: impl BufRead) -> Result<(), AuditError> {
        let mut items = serde_cbor::Deserializer::from_reader(input).into_iter::<Received>();
        for item in 1.. {
            match items.next() {
                None => break,
                Some(Ok(event)) => self.take(&event),
                Some(Err(error)) => {
                    let offset = items.byte_offset() as u64;
                    return Err(AuditError::Cbor { name: name.into(), item, offset, message: error.to_string() });
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Received) {
        if !self.vehicles.contains_key(&event.vehicle) {
            self.vehicles.insert(event.vehicle.clone(), VehicleAudit::default());
        }
        let Some(vehicle) = self.vehicles.get_mut(&event.vehicle) else { return };
        if vehicle.received.contains(event.seq) {
            vehicle.duplicates += 1;
            return;
        }
        vehicle.received.add(event.seq, event.seq);
        vehicle.events += 1;
        *vehicle.kinds.entry(event.kind.clone()).or_default() += 1;
        let last = &mut vehicle.last_of_class[event.class.rank()];
        if event.seq < *last {
            vehicle.out_of_order += 1;
        }
        *last = event.seq.max(*last);
        if event.kind == "gap" {
            for &(first, last) in event.body.ranges.iter().flatten() {
                let new = vehicle.explained.add(first, last);
                if let Some(cause) = event.body.cause.clone() {
                    *vehicle.lost.entry(cause).or_default() += new;
                }
            }
        }
    }

    /// True when, from number `first` on, nothing is missing without explanation and the order was kept.
    pub fn is_complete(&self, first: u64) -> bool {
        !self.vehicles.is_empty() && self.vehicles.values().all(|v| v.holes(first).is_empty() && v.out_of_order == 0)
    }

    /// The result, a paragraph a vehicle.
    pub fn report(&self, first: u64) -> Report<'_> {
        Report { audit: self, first }
    }
}

/// Prints an [`Audit`].
#[derive(Debug)]
pub struct Report<'a> {
    audit: &'a Audit,
    first: u64,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        if self.audit.vehicles.is_empty() {
            return writeln!(f, "no events");
        }
        for (name, vehicle) in &self.audit.vehicles {
            let holes = vehicle.holes(self.first);
            let missing: u64 = holes.iter().map(|(a, b)| b - a + 1).sum();
            writeln!(
                f,
                "{name}: numbers {} to {}: {} events arrived, {} duplicates, {} lost and explained, {missing} missing, {} out of order",
                self.first,
                vehicle.highest(),
                vehicle.events,
                vehicle.duplicates,
                vehicle.explained(),
                vehicle.out_of_order,
            )?;
            for (kind, count) in &vehicle.kinds {
                writeln!(f, "  {kind}: {count}")?;
            }
            for (cause, count) in &vehicle.lost {
                writeln!(f, "  in gap events, cause {cause}: {count}")?;
            }
            for (first, last) in holes.iter().take(SHOWN) {
                writeln!(f, "  missing: {first} to {last}")?;
            }
            if holes.len() > SHOWN {
                writeln!(f, "  and {} more holes", holes.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;

//! The audit: proves from the received events alone that all arrived.
//!
//! Events are numbered per vehicle from 1 without a hole. So every number up to the highest seen
//! must have arrived or lie in a range of a `gap` event. Within a class, events arrive in the order
//! of their numbers; copies (at-least-once delivery) are counted and otherwise ignored. Numbers count for all classes
//! together, so that of a hole nobody knows the class; a gap event says it.

mod delay;
mod ranges;
pub(crate) mod read;
mod report;

use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Deserialize;
use thiserror::Error;

use self::delay::Delays;
use self::ranges::Ranges;
pub use self::report::Report;
use crate::event::Class;
use crate::privacy::{LATER_NAMES_FROM, PSEUDONYM};

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
    t: u64,
    seq: u64,
    class: Class,
    kind: String,
    vehicle: String,
    body: GapBody,
}

#[derive(Debug, Deserialize)]
struct GapBody {
    /// The class that was lost.
    lost: Option<Class>,
    count: Option<u64>,
    /// A text: other kinds have causes of their own, and later versions more of them.
    cause: Option<String>,
    ranges: Option<Vec<(u64, u64)>>,
}

/// What was received of one vehicle.
#[derive(Debug, Default)]
pub struct VehicleAudit {
    received: Ranges,
    explained: Ranges,
    /// By class rank.
    pub classes: [ClassAudit; 5],
    /// Numbers in gap events, by cause, as the gap events count them.
    pub lost: BTreeMap<String, u64>,
    /// Different events by kind.
    pub kinds: BTreeMap<String, u64>,
}

/// What was received of one class of one vehicle.
#[derive(Debug, Default)]
pub struct ClassAudit {
    /// Different events that arrived.
    pub events: u64,
    /// Copies of events that had arrived before.
    pub duplicates: u64,
    /// Events that arrived after a later one.
    pub out_of_order: u64,
    /// Events that gap events name as lost.
    pub lost: u64,
    /// How long events took, where it is known when they arrived.
    pub delays: Delays,
    last: u64,
}

impl VehicleAudit {
    fn sum(&self, of: impl Fn(&ClassAudit) -> u64) -> u64 {
        self.classes.iter().map(of).sum()
    }

    /// Different events that arrived.
    pub fn events(&self) -> u64 {
        self.sum(|class| class.events)
    }

    /// Copies of events that had arrived before.
    pub fn duplicates(&self) -> u64 {
        self.sum(|class| class.duplicates)
    }

    /// Events that arrived after a later one of their class.
    pub fn out_of_order(&self) -> u64 {
        self.sum(|class| class.out_of_order)
    }

    /// The lowest number that arrived.
    pub fn lowest(&self) -> u64 {
        self.received.first()
    }

    /// Where its numbers begin, when they are asked for from `first` on.
    fn start(&self, name: &str, first: Option<u64>) -> u64 {
        let is_later_name = name.starts_with(PSEUDONYM) && self.lowest() >= LATER_NAMES_FROM;
        first.filter(|first| *first != 1 || !is_later_name).unwrap_or_else(|| self.lowest())
    }

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
    pub fn read(&mut self, name: &str, input: impl BufRead) -> Result<(), AuditError> {
        self.read_with(name, input, || None)
    }

    /// As [`Audit::read`]; `clock` says when the event that was just read arrived, nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Audit::read`].
    pub fn read_with(
        &mut self,
        name: &str,
        input: impl BufRead,
        clock: impl Fn() -> Option<u64>,
    ) -> Result<(), AuditError> {
        read::events(name, input, |event| self.take(&event, clock()))
    }

    fn take(&mut self, event: &Received, arrived_ns: Option<u64>) {
        if !self.vehicles.contains_key(&event.vehicle) {
            self.vehicles.insert(event.vehicle.clone(), VehicleAudit::default());
        }
        let Some(vehicle) = self.vehicles.get_mut(&event.vehicle) else { return };
        let class = &mut vehicle.classes[event.class.rank()];
        if vehicle.received.contains(event.seq) {
            class.duplicates += 1;
            return;
        }
        vehicle.received.add(event.seq, event.seq);
        class.events += 1;
        class.out_of_order += u64::from(event.seq < class.last);
        class.last = event.seq.max(class.last);
        if let Some(arrived_ns) = arrived_ns {
            class.delays.add(arrived_ns.saturating_sub(event.t));
        }
        *vehicle.kinds.entry(event.kind.clone()).or_default() += 1;
        if event.kind == "gap" {
            let mut new = 0;
            for &(first, last) in event.body.ranges.iter().flatten() {
                new += vehicle.explained.add(first, last);
            }
            if let Some(cause) = event.body.cause.clone() {
                *vehicle.lost.entry(cause).or_default() += new;
            }
            if let Some(class) = event.body.lost {
                vehicle.classes[class.rank()].lost += event.body.count.unwrap_or_default();
            }
        }
    }

    /// True when, from number `first` on (`None`: from the lowest that arrived), nothing is missing without explanation and
    /// the order was kept. Of a pseudonym that is not its vehicle's first one, 1 stands for the lowest, too.
    pub fn is_complete(&self, first: Option<u64>) -> bool {
        let complete = |(name, vehicle): (&String, &VehicleAudit)| {
            vehicle.holes(vehicle.start(name, first)).is_empty() && vehicle.out_of_order() == 0
        };
        !self.vehicles.is_empty() && self.vehicles.iter().all(complete)
    }

    /// What comes from now on comes from another place: order holds within each.
    pub fn next_source(&mut self) {
        for vehicle in self.vehicles.values_mut() {
            vehicle.classes.iter_mut().for_each(|class| class.last = 0);
        }
    }

    /// The result, a paragraph a vehicle; `first` as for [`Audit::is_complete`].
    pub fn report(&self, first: Option<u64>) -> Report<'_> {
        Report { audit: self, first }
    }
}

#[cfg(test)]
mod tests;

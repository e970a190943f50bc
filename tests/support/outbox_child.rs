//! A process that uses an outbox until it is killed, and the backend that judges it by what it said.

#![allow(dead_code, reason = "the tests each use a part of it")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use outrider::event::{Body, Class, Event, Gap, Identity, ModelState};
use outrider::outbox::{Batch, Outbox, OutboxConfig, SledOutbox};

/// With which every commit stores everything.
pub(crate) fn open(dir: &Path, quota: u64) -> SledOutbox {
    let identity = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    let config = OutboxConfig { linger: Duration::ZERO, ..OutboxConfig::new(quota) };
    SledOutbox::open(dir, config, identity, 1).unwrap()
}

/// Numbers and gap ranges of a payload.
pub(crate) fn contents(payload: &[u8]) -> (Vec<u64>, Vec<(u64, u64)>) {
    #[derive(serde::Deserialize)]
    struct Seen {
        seq: u64,
        kind: String,
        body: serde_cbor::Value,
    }
    let (mut numbers, mut ranges) = (Vec::new(), Vec::new());
    for event in serde_cbor::Deserializer::from_slice(payload).into_iter::<Seen>() {
        let event = event.unwrap();
        numbers.push(event.seq);
        if event.kind == "gap" {
            ranges.extend(serde_cbor::value::from_value::<Gap>(event.body).unwrap().ranges);
        }
    }
    (numbers, ranges)
}

/// Lines about a payload: `MARK number`, and `g first last` for what its gap events explain.
pub(crate) fn tell(out: &mut impl Write, mark: &str, payload: &[u8]) -> std::io::Result<()> {
    let (numbers, ranges) = contents(payload);
    for number in numbers {
        writeln!(out, "{mark} {number}")?;
    }
    for (first, last) in ranges {
        writeln!(out, "g {first} {last}")?;
    }
    Ok(())
}

/// All batches of an outbox.
pub(crate) fn batches(outbox: &mut SledOutbox) -> Vec<Batch> {
    let mut all = Vec::new();
    for class in Class::ALL {
        let mut after = 0;
        while let Some(batch) = outbox.read(class, after).unwrap() {
            after = batch.first_seq;
            all.push(batch);
        }
    }
    all
}

/// Appends, commits and acknowledges for ever, and says so line by line: `a` before acknowledging, `c` after committing.
pub(crate) fn use_until_killed(outbox: &mut SledOutbox, out: &mut impl Write) {
    for round in 0_usize.. {
        let mut numbers = Vec::new();
        for n in 0..=round % 23 {
            let class = Class::ALL[(round + n * n) % 5];
            let reason = "x".repeat((round * 131 + n * 977) % 2500);
            let body = Body::Model(ModelState { name: "m".into(), state: "benched", reason, version: "1".into() });
            numbers.push(outbox.append(&Event::new(1, class, body)).unwrap());
        }
        outbox.commit().unwrap();
        for number in numbers {
            writeln!(out, "c {number}").unwrap();
        }
        out.flush().unwrap();
        if round % 3 == 0 {
            acknowledge(outbox, Class::ALL[round % 5], out);
        }
        // Over hundreds of lives the quota must not be reached: what it costs is not to be lost here.
        let class = Class::ALL[(round / 3) % 5];
        while outbox.stat().events[class.rank()] > MOST && acknowledge(outbox, class, out) {}
    }
}

/// Events of a class that are left waiting.
const MOST: u64 = 800;

/// Takes the oldest batch of a class. False: there is none.
fn acknowledge(outbox: &mut SledOutbox, class: Class, out: &mut impl Write) -> bool {
    let Some(batch) = outbox.read(class, 0).unwrap() else { return false };
    tell(out, "a", &batch.payload).unwrap();
    out.flush().unwrap();
    outbox.ack(class, batch.first_seq).unwrap();
    true
}

/// What was said, and what follows.
#[derive(Debug, Default)]
pub(crate) struct Backend {
    pub(crate) committed: BTreeSet<u64>,
    pub(crate) acked: BTreeSet<u64>,
    pub(crate) explained: Vec<(u64, u64)>,
}

impl Backend {
    /// Takes a line; false when it is none of ours.
    pub(crate) fn hear(&mut self, line: &str) -> bool {
        let mut words = line.split_ascii_whitespace();
        let mark = words.next();
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        match (mark, numbers.as_slice()) {
            (Some("c"), [number]) => drop(self.committed.insert(*number)),
            (Some("a"), [number]) => drop(self.acked.insert(*number)),
            (Some("g"), [first, last]) => self.explained.push((*first, *last)),
            _ => return false,
        }
        true
    }

    /// Judges: what was committed is in the outbox or was acknowledged; every number below `next` is that, or explained.
    pub(crate) fn audit(&self, stored: &[Batch], next: u64, what: &str) {
        let (mut there, mut explained) = (self.acked.clone(), self.explained.clone());
        for batch in stored {
            let (numbers, ranges) = contents(&batch.payload);
            there.extend(numbers);
            explained.extend(ranges);
        }
        let is_explained = |number: u64| explained.iter().any(|&(first, last)| (first..=last).contains(&number));
        for number in &self.committed {
            assert!(
                there.contains(number),
                "{what}: {number} was committed and is gone; explained: {}",
                is_explained(*number)
            );
            assert!(
                self.acked.contains(number) || !is_explained(*number),
                "{what}: {number} was committed and is declared lost"
            );
        }
        for number in 1..next {
            assert!(
                there.contains(&number) || is_explained(number),
                "{what}: {number} is a hole that nothing explains"
            );
        }
    }
}

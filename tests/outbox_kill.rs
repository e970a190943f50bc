//! kill -9 at any moment: what was committed is there or was acknowledged, all else is explained.
//!
//! The child is this very test program, started again with an environment variable.

#![expect(clippy::unwrap_used, reason = "a test: a panic is the report")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use outrider::event::{Body, Class, Event, Gap, Identity, ModelState};
use outrider::outbox::{Batch, Outbox, OutboxConfig, SledOutbox};

const CHILD: &str = "OUTRIDER_OUTBOX_KILL_DIR";
const ROUNDS: u64 = 24;

fn open(dir: &Path) -> SledOutbox {
    let identity = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    SledOutbox::open(dir, OutboxConfig::new(64 << 20), identity, 1).unwrap()
}

/// Numbers and gap ranges of a batch.
fn contents(batch: &Batch) -> (Vec<u64>, Vec<(u64, u64)>) {
    #[derive(serde::Deserialize)]
    struct Seen {
        seq: u64,
        kind: String,
        body: serde_cbor::Value,
    }
    let (mut numbers, mut ranges) = (Vec::new(), Vec::new());
    for event in serde_cbor::Deserializer::from_slice(&batch.payload).into_iter::<Seen>() {
        let event = event.unwrap();
        numbers.push(event.seq);
        if event.kind == "gap" {
            ranges.extend(serde_cbor::value::from_value::<Gap>(event.body).unwrap().ranges);
        }
    }
    (numbers, ranges)
}

/// Appends, commits and acknowledges for ever, and says so line by line: `a` before acknowledging, `c` after committing.
fn child(dir: &Path) {
    let mut outbox = open(dir);
    let mut out = std::io::stdout().lock();
    for round in 0_usize.. {
        let mut numbers = Vec::new();
        for n in 0..=round % 23 {
            let class = Class::ALL[(round + n * n) % 5];
            let reason = "x".repeat((round * 131 + n * 977) % 2500);
            let body = Body::Model(ModelState { name: "m".into(), state: "benched", reason, version: "1".into() });
            numbers.push(outbox.append(&Event { time_ns: 1, class, body }).unwrap());
        }
        outbox.commit().unwrap();
        for number in numbers {
            writeln!(out, "c {number}").unwrap();
        }
        let class = Class::ALL[round % 5];
        if round % 3 == 0
            && let Some(batch) = outbox.read(class, 0).unwrap()
        {
            let (numbers, ranges) = contents(&batch);
            for number in numbers {
                writeln!(out, "a {number}").unwrap();
            }
            for (first, last) in ranges {
                writeln!(out, "g {first} {last}").unwrap();
            }
            out.flush().unwrap();
            outbox.ack(class, batch.first_seq).unwrap();
        }
    }
}

#[derive(Default)]
struct Backend {
    committed: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    explained: Vec<(u64, u64)>,
}

impl Backend {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "c" => drop(self.committed.insert(number(1))),
            "a" => drop(self.acked.insert(number(1))),
            "g" => self.explained.push((number(1), number(2))),
            // The test harness's own lines.
            _ => {}
        }
    }

    fn audit(&self, outbox: &mut SledOutbox, round: u64) {
        let (mut there, mut explained) = (self.acked.clone(), self.explained.clone());
        for class in Class::ALL {
            let mut after = 0;
            while let Some(batch) = outbox.read(class, after).unwrap() {
                after = batch.first_seq;
                let (numbers, ranges) = contents(&batch);
                there.extend(numbers);
                explained.extend(ranges);
            }
        }
        for number in &self.committed {
            assert!(there.contains(number), "round {round}: {number} was committed and is gone");
            assert!(
                !explained.iter().any(|(first, last)| (first..=last).contains(&number)),
                "round {round}: {number} was committed and is declared lost"
            );
        }
        for number in 1..outbox.stat().next_seq {
            let ok = there.contains(&number) || explained.iter().any(|&(f, l)| (f..=l).contains(&number));
            assert!(ok, "round {round}: {number} is a hole that nothing explains");
        }
    }
}

#[test]
fn kill_dash_nine_loses_nothing_that_was_committed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        child(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut backend = Backend::default();
    for round in 0..ROUNDS {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill_dash_nine_loses_nothing_that_was_committed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // Killed after a number of lines that differs each time; when exactly it dies, the scheduler decides.
        let until = 1 + (round * 7919) % 1500;
        for line in lines.by_ref().take(usize::try_from(until).unwrap()) {
            backend.hear(&line.unwrap());
        }
        process.kill().unwrap();
        process.wait().unwrap();
        // A torn last line says nothing.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        rest.iter().rev().skip(1).for_each(|line| backend.hear(line));
        let mut outbox = open(dir.path());
        backend.audit(&mut outbox, round);
        // Every other round the child goes on after a crash of this process's outbox, else after a clean close.
        if round % 2 == 0 {
            outbox.close().unwrap();
        }
    }
    assert!(backend.committed.len() > 5000, "the children did too little: {}", backend.committed.len());
    assert!(backend.acked.len() > 500);
}

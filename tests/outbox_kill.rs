//! kill -9 at any moment: what was committed is there or was acknowledged, all else is explained.
//!
//! The child is this very test program, started again with an environment variable.

#![expect(clippy::unwrap_used, reason = "a test: a panic is the report")]

#[path = "support/outbox_child.rs"]
mod outbox_child;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use outbox_child::{Backend, batches, open, use_until_killed};
use outrider::outbox::Outbox;

const CHILD: &str = "OUTRIDER_OUTBOX_KILL_DIR";
const QUOTA: u64 = 64 << 20;

/// Kills. With `OUTRIDER_SOAK` set, hundreds.
fn rounds() -> u64 {
    if std::env::var_os("OUTRIDER_SOAK").is_some() { 500 } else { 60 }
}

#[test]
fn kill_dash_nine_loses_nothing_that_was_committed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let mut outbox = open(Path::new(&dir), QUOTA);
        return use_until_killed(&mut outbox, &mut std::io::stdout().lock());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut backend = Backend::default();
    for round in 0..rounds() {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill_dash_nine_loses_nothing_that_was_committed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        // Killed after a number of lines that differs each time; when exactly it dies, the scheduler decides.
        let until = 1 + (round * 7919) % 1500;
        for line in output.by_ref().lines().take(usize::try_from(until).unwrap()) {
            // Others are the test harness's own.
            backend.hear(&line.unwrap());
        }
        process.kill().unwrap();
        process.wait().unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        // A last line without an end is torn, and says nothing.
        rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).for_each(|line| {
            backend.hear(line);
        });
        let mut outbox = open(dir.path(), QUOTA);
        let stored = batches(&mut outbox);
        backend.audit(&stored, outbox.stat().next_seq, &format!("round {round}"));
        // Every other round the child goes on after a crash of this process's outbox, else after a clean close.
        if round % 2 == 0 {
            outbox.close().unwrap();
        }
    }
    assert!(backend.committed.len() > 5000, "the children did too little: {}", backend.committed.len());
    assert!(backend.acked.len() > 500);
}

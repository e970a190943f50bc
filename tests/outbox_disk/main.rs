//! The outbox on a disk that loses power at any moment, or refuses.
//!
//! The disk is the real one, watched: every change that the outbox makes is noted by the C library's calls (`shim.rs`), and
//! what a power cut may leave at any point of them is put together from the notes (`disk.rs`). Each such state is opened and
//! held against what was promised until then (`driver.rs`): what was committed is there, no number is given out twice, and
//! every hole is explained.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]
#![allow(clippy::print_stderr, reason = "where the remains of a failure are")]

mod disk;
mod driver;
mod shim;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use disk::{Disk, Fate, Random};
use driver::{Driver, Use, any_use};
use outrider::event::{Class, LossCause};
use outrider::outbox::Outbox as _;
use proptest::prelude::*;
use shim::{Fault, Watching};

/// Where files are fast: a state is made for every cut.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// With `OUTRIDER_SOAK` set every call and every cut is tried, which takes hours; else a part of them.
fn is_soak() -> bool {
    std::env::var_os("OUTRIDER_SOAK").is_some()
}

/// Cuts the power after every `step`-th operation.
fn cut_everywhere(uses: &[Use], seed: u64, step: usize) {
    let dir = scratch();
    let root = dir.path().join("outbox");
    std::fs::create_dir(&root).unwrap();
    let watching = Watching::start(&root);
    let mut driver = Driver::new(&root, &watching);
    driver.run(uses).unwrap();
    let Driver { notes, .. } = driver;
    let ops = watching.ops();
    drop(watching);
    let mut random = Random(seed);
    let mut running = Disk::default();
    let start = random.below(step);
    for at in 0..=ops.len() {
        if at % step == start {
            for fate in [Fate::Kept, Fate::Lost, Fate::Mixed] {
                let (left, mut again) = (dir.path().join("left"), random.clone());
                running.cut(fate, &mut random, &left);
                let what = format!("seed {seed}, cut at {at} of {}, {fate:?}", ops.len());
                let checked = catch_unwind(AssertUnwindSafe(|| notes.check(&left, at, &[LossCause::Quota], &what)));
                if let Err(failure) = checked {
                    let kept = tempfile::tempdir().unwrap().keep();
                    running.cut(fate, &mut again, &kept.join("outbox"));
                    let last = ops[at.saturating_sub(40)..at].iter().map(|op| format!("{:.160}\n", format!("{op:?}")));
                    std::fs::write(kept.join("operations"), last.collect::<String>()).unwrap();
                    eprintln!("what the cut left is in {}", kept.display());
                    resume_unwind(failure);
                }
                std::fs::remove_dir_all(&left).unwrap();
            }
        }
        if let Some(op) = ops.get(at) {
            running.apply(op);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if is_soak() { 1000 } else { 8 }, ..ProptestConfig::default() })]
    #[test]
    fn a_power_cut_at_any_moment_loses_nothing_that_was_committed(
        uses in prop::collection::vec(any_use(), 1..60),
        seed in any::<u64>(),
    ) {
        cut_everywhere(&uses, seed, if is_soak() { 1 } else { 5 });
    }
}

/// Some of everything, over the ends of generations.
fn some_of_everything() -> Vec<Use> {
    let mut uses = Vec::new();
    for round in 0..12 {
        uses.push(Use::Link(round % 3 != 0));
        uses.extend([Use::Append(Class::Alert, 400), Use::Append(Class::Telemetry, 60_000), Use::Commit]);
        uses.extend([Use::Append(Class::Status, 300), Use::Lost(Class::Bulk, 3), Use::Append(Class::Bulk, 50_000)]);
        uses.push(match round % 4 {
            0 => Use::Ack(Class::Telemetry, 0),
            1 => Use::Reject(Class::Bulk),
            2 => Use::Close,
            _ => Use::Crash,
        });
    }
    uses.push(Use::Commit);
    uses
}

/// The disk refuses from a call on, once or until it is mended; then everything goes on.
fn refuse(uses: &[Use], fault: Fault) {
    let dir = scratch();
    let watching = Watching::start(dir.path());
    let mut driver = Driver::new(dir.path(), &watching);
    watching.set_fault(Some(fault));
    let mut refusals = 0;
    for it in uses {
        while let Err(error) = driver.step(it) {
            refusals += 1;
            assert!(refusals < 1000, "{fault:?}: {error}");
            // A while with a broken disk, then a good one.
            if refusals > 5 {
                watching.set_fault(None);
                // A directory that did not open is tried again after a while.
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
    let (notes, at) = (std::mem::take(&mut driver.notes), watching.count());
    drop(driver);
    drop(watching);
    notes.check(dir.path(), at, &[LossCause::Quota, LossCause::Storage], &format!("{fault:?}"));
}

/// Writes to another disk until told to end: sled's databases share locks and threads.
fn neighbour(is_done: &AtomicBool) {
    let dir = scratch();
    let mut outbox = driver::open(dir.path()).unwrap();
    while !is_done.load(Ordering::Relaxed) {
        outbox.append(&driver::event(Class::Alert, 400)).unwrap();
        outbox.commit().unwrap();
    }
}

#[test]
fn a_disk_that_refuses_stops_no_other() {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| neighbour(&is_done));
        let result = catch_unwind(|| refuse_at_any_call(29));
        is_done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|failure| resume_unwind(failure));
    });
}

#[test]
fn a_disk_that_refuses_at_any_call_loses_nothing_that_was_committed() {
    refuse_at_any_call(if is_soak() { 1 } else { 13 });
}

/// Or at every `step`-th.
fn refuse_at_any_call(step: usize) {
    let uses = some_of_everything();
    let (changes, reads) = {
        let dir = scratch();
        let watching = Watching::start(dir.path());
        Driver::new(dir.path(), &watching).run(&uses).unwrap();
        watching.calls()
    };
    for (calls, reads) in [(changes, false), (reads, true)] {
        for from in (0..calls).step_by(step) {
            for count in [1, u64::MAX] {
                let errno = if reads || from % 2 == 0 { libc::EIO } else { libc::ENOSPC };
                refuse(&uses, Fault { from, count: count.min(u64::MAX - from), errno, reads });
            }
        }
    }
}

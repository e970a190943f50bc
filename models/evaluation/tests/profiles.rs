//! Profiles of real vehicles, learned from the first half of a recording without a DBC file, on its second half.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::path::{Path, PathBuf};
use std::process::Command;

use outrider::config::load_databases;
use outrider::profile::learn::Learner;
use outrider::source::{Frames, Log};

/// The recordings whose names begin so, in order; none without the data at hand, which is not part of the project.
fn recordings(name: &str) -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let logs = std::env::var_os("OUTRIDER_SHARED").map_or(beside, PathBuf::from).join("data/logs");
    let Ok(logs) = std::fs::read_dir(logs) else { return Vec::new() };
    let mut logs: Vec<PathBuf> = logs.map(|entry| entry.unwrap().path()).collect();
    let is_of = |name: &str, file: &str| file.starts_with(name) && file.ends_with(".log.zst");
    logs.retain(|path| is_of(name, &path.file_name().unwrap().to_string_lossy()));
    logs.sort();
    logs
}

fn learn(logs: &[PathBuf], out: &Path) {
    let mut learner = Learner::new(load_databases(&[]).unwrap());
    let times = |log: &PathBuf| {
        let mut log = Log::open(log, Default::default()).unwrap();
        let (mut first, mut last) = (u64::MAX, 0);
        while let Some(frame) = log.next_frame().unwrap() {
            (first, last) = (first.min(frame.time_ns), last.max(frame.time_ns));
        }
        (first, last)
    };
    let times: Vec<(u64, u64)> = logs.iter().map(times).collect();
    let middle = u64::midpoint(times.iter().map(|t| t.0).min().unwrap(), times.iter().map(|t| t.1).max().unwrap());
    loop {
        let mut buses = Vec::new();
        for log in logs {
            let options = can_decoders::log::Options { buses, ..Default::default() };
            let mut log = Log::open(log, options).unwrap();
            while let Some(frame) = log.next_frame().unwrap() {
                if frame.time_ns <= middle {
                    learner.frame(&frame);
                }
            }
            buses = log.reader().buses().to_vec();
        }
        if !learner.again(&buses) {
            break;
        }
    }
    let profile = learner.finish("half", "1", Vec::new()).unwrap();
    std::fs::write(out, profile.to_text().unwrap()).unwrap();
}

/// Alerts in the second half as it is, and the share of attacks found, by kind.
fn measure(logs: &[PathBuf], pause: &str) -> (f64, Vec<(String, f64, f64)>) {
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("half.toml");
    learn(logs, &profile);
    let mut command = Command::new(env!("CARGO_BIN_EXE_evaluation"));
    command.arg("measure").args(logs).args(["--from", "0.5", "--profile"]).arg(profile);
    command.args(["--kinds", "unknown,fuzzing,suppress,flooding", "--ids", "all", "--pause", pause]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let alerts = text.split(" hours, ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let row = |kind: &str| {
        let row = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        let numbers: Vec<f64> = row.split_whitespace().map_while(|word| word.parse().ok()).collect();
        (kind.to_owned(), numbers[0], numbers[2])
    };
    (alerts, ["unknown ", "fuzzing ", "suppress ", "flooding "].map(row).into())
}

#[test]
fn of_a_cars_own_buses() {
    let logs = recordings("comma2k19_rav4");
    if logs.is_empty() {
        return;
    }
    let (alerts, kinds) = measure(&logs, "3:6");
    assert_eq!(alerts, 0.0);
    assert!(kinds.iter().all(|(_, attacks, found)| *attacks >= 2.0 && *found >= 1.0), "{kinds:?}");
}

#[test]
fn of_a_diagnostic_bus_and_a_module_with_pauses_of_seconds() {
    let logs = recordings("3BA199E2_00000164");
    if logs.is_empty() {
        return;
    }
    let (alerts, kinds) = measure(&logs, "8:20");
    assert_eq!(alerts, 0.0, "in twenty minutes");
    assert!(kinds.iter().all(|(_, attacks, found)| *attacks >= 100.0 && *found >= 0.95), "{kinds:?}");
}

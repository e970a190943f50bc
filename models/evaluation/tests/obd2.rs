//! The model for a real car, on the drive that it was trained on. What it does on a drive that it has not seen is in
//! `models/README.md`; here is held that the engine makes of it what training did.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn is_quiet_on_its_own_drive_and_finds_what_is_put_into_it() {
    // Only with the recordings at hand, which are not part of the project.
    let shared = std::env::var_os("OUTRIDER_SHARED").map_or_else(|| repository("../shared"), PathBuf::from);
    let data = shared.join("data");
    let Ok(logs) = std::fs::read_dir(data.join("logs")) else { return };
    let mut logs: Vec<PathBuf> = logs.map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("3BA199E2_00000164"));
    logs.sort();
    let signals = "OBD2Response.EngineSpeed,OBD2Response.VehicleSpeed,OBD2Response.IntakeManifoldPressure,\
                   OBD2Response.ThrottlePosition,OBD2Response.ActualEngineTorque,gnss_speed.Speed,gnss_imu.AngularRateX";
    let mut command = Command::new(env!("CARGO_BIN_EXE_evaluation"));
    command.arg("measure").args(logs);
    command.arg("--dbc").arg(repository("can-decoders/dbc/obd2.dbc"));
    command.arg("--dbc").arg(data.join("dbc/other/canmod-gps.dbc"));
    command.arg("--model").arg(repository("models/obd2"));
    command.args(["--signals", signals, "--above", "VehicleSpeed=10", "--rounds", "1", "--seed", "4242"]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    let numbers = |name: &str| -> Vec<f64> {
        let row = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        row.split_whitespace().map(|word| word.parse().unwrap()).collect()
    };
    let alerts: f64 = text.split(" hours, ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(alerts <= 1.0, "on the drive as it was");
    // Attacks, area, share found.
    let mean = numbers("mean or all");
    assert!(mean[0] > 300.0 && mean[1] > 0.93 && mean[2] > 0.6, "{text}");
    for kind in ["suppress", "flooding"] {
        let row = numbers(kind);
        assert!(row[1] > 0.96 && row[2] > 0.97, "{text}");
    }
}

//! Real DBC files and logs, when the shared data folder is at hand (it is not part of the project).
//!
//! Found through the environment variable `OUTRIDER_SHARED`, else as `../shared` beside the workspace.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is a test's report, and so is its output")]

mod reference;
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use can_decoders::dbc::{ByteOrder, Encoding, MessageDef, Multiplexing};
use can_decoders::log::Options;
use can_decoders::{Database, LogReader, Plan, Raw, Validity};
use reference::{Layout, reference_active, reference_bits, reference_value};
use shared::corpus;

fn dbc_files(data: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["opendbc", "cantools_tests", "other"] {
        for entry in data.join("dbc").join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("dbc")) {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "{} files", files.len());
    files
}

/// Files that are refused, and why. Empty is the goal.
const REFUSED: [(&str, &str); 0] = [];

#[test]
fn all_dbc_files_load() {
    let Some(data) = corpus() else { return };
    let mut refused = BTreeMap::new();
    let (mut files, mut messages, mut signals, mut warnings) = (0, 0, 0, 0);
    for path in dbc_files(&data) {
        files += 1;
        match Database::load(&path) {
            Ok(database) => {
                messages += database.messages().len();
                signals += database.messages().iter().map(|m| m.signals.len()).sum::<usize>();
                warnings += database.warnings().len();
                if std::env::var_os("CORPUS_WARNINGS").is_some() {
                    database.warnings().iter().for_each(|w| println!("{w}"));
                }
            }
            Err(error) => {
                refused.insert(path.file_name().unwrap().to_string_lossy().into_owned(), error.to_string());
            }
        }
    }
    println!("{files} files, {messages} messages, {signals} signals, {warnings} warnings, refused: {refused:#?}");
    let expected: Vec<&str> = REFUSED.iter().map(|(file, _)| *file).collect();
    assert_eq!(refused.keys().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// The layouts of a message; a signal that is never reported is selected by no value of itself.
fn layouts(message: &MessageDef) -> Vec<Layout> {
    let layout = |(index, signal): (usize, &can_decoders::dbc::SignalDef)| Layout {
        start: signal.start,
        bits: signal.bits,
        little: signal.order == ByteOrder::Little,
        signed: signal.encoding == Encoding::Signed,
        float: matches!(signal.encoding, Encoding::Float32 | Encoding::Float64),
        factor: signal.factor,
        offset: signal.offset,
        selected: match &signal.multiplexing {
            Multiplexing::Always => None,
            Multiplexing::Selected { selector, ranges } => {
                Some((*selector, ranges.iter().map(|range| (*range.start(), *range.end())).collect()))
            }
            Multiplexing::Never => Some((index, Vec::new())),
        },
    };
    message.signals.iter().enumerate().map(layout).collect()
}

/// All zeros, all ones, random ones, and for each multiplexed signal one that selects it.
fn payloads(layouts: &[Layout], length: usize, random: &mut impl FnMut() -> u8) -> Vec<Vec<u8>> {
    let mut payloads = vec![vec![0; length], vec![0xFF; length]];
    for _ in 0..8 {
        payloads.push((0..length).map(|_| random()).collect());
        payloads.push((0..length).map(|_| random() % 8).collect());
    }
    for layout in layouts {
        let mut payload: Vec<u8> = (0..length).map(|_| random()).collect();
        let mut below = layout;
        while let Some((selector, ranges)) = &below.selected
            && let Some((raw, _)) = ranges.first()
        {
            below = &layouts[*selector];
            put(below, *raw, &mut payload);
        }
        if below.start != layout.start || below.bits != layout.bits {
            payloads.push(payload);
        }
    }
    payloads
}

fn put(layout: &Layout, raw: u64, payload: &mut [u8]) {
    let mut position = layout.start;
    for n in 0..layout.bits {
        let (at, bit) = if layout.little { (layout.start + n, n) } else { (position, layout.bits - 1 - n) };
        if let Some(byte) = payload.get_mut(at as usize / 8) {
            *byte = *byte & !(1 << (at % 8)) | u8::from(raw >> bit & 1 == 1) << (at % 8);
        }
        position = if position.is_multiple_of(8) { position + 15 } else { position.wrapping_sub(1) };
    }
}

/// Also the files that other decoders refuse; and what is encoded again is what it was.
#[test]
fn every_value_is_that_of_a_decoder_that_goes_bit_by_bit() {
    let Some(data) = corpus() else { return };
    let (mut payload_count, mut values, mut encoded) = (0, 0, 0);
    let mut seed = 1_u64;
    let mut random = || {
        // Knuth's MMIX generator.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.to_be_bytes()[1]
    };
    for path in dbc_files(&data) {
        let database = Database::load(&path).unwrap();
        let definitions = database.messages().to_vec();
        let plan = Plan::compile(&[database]);
        for definition in &definitions {
            let message = plan.find(definition.id).unwrap();
            let layouts = layouts(definition);
            let first = plan.message(message).signals.start;
            for payload in payloads(&layouts, definition.size, &mut random) {
                payload_count += 1;
                let place = || format!("{}: {} {payload:02X?}", path.display(), definition.name);
                let mut samples = plan.decode(message, &payload).signals();
                for (index, layout) in (0..).zip(&layouts) {
                    if !reference_active(&layouts, index as usize, &payload) {
                        continue;
                    }
                    let sample = samples.next().unwrap_or_else(|| panic!("{}", place()));
                    assert_eq!(sample.signal.0, first + index, "{}", place());
                    let Some(bits) = reference_bits(layout, &payload) else {
                        assert_eq!(sample.validity, Validity::Short, "{}", place());
                        continue;
                    };
                    values += 1;
                    let (raw, value) = reference_value(layout, bits);
                    let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
                    match (sample.raw, raw) {
                        (Raw::Float(a), Raw::Float(b)) => assert!(same(a, b), "{}", place()),
                        (a, b) => assert_eq!(a, b, "{}", place()),
                    }
                    assert!(same(sample.value, value), "{}: {} instead of {value}", place(), sample.value);
                    // Above 48 bits a double cannot tell all raw values apart once they are scaled.
                    let is_raw = layout.factor == 1.0 && layout.offset == 0.0;
                    let tells_apart = if layout.float { is_raw } else { layout.bits <= 48 };
                    if sample.value.is_finite() && layout.factor != 0.0 && tells_apart {
                        encoded += 1;
                        let mut again: Vec<u8> = payload.iter().map(|byte| !byte).collect();
                        plan.encode(message, &[(sample.signal, sample.value)], &mut again)
                            .unwrap_or_else(|error| panic!("{}: {error}", place()));
                        assert_eq!(reference_bits(layout, &again), Some(bits), "{}: {:?}", place(), sample);
                    }
                }
                assert!(samples.next().is_none(), "{}", place());
            }
        }
    }
    println!("{payload_count} payloads, {values} values, {encoded} encoded again");
    assert!(values > 500_000 && encoded > 500_000);
}

fn reference(path: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().trim().parse().unwrap()).collect()
}

/// What cantools' tests have wrong on purpose, and one file that is wrong by accident: cantools refuses these, here each
/// fault is a warning with its place, and the rest is used.
const WRONG: [(&str, &str, usize); 5] = [
    ("cantools_tests/bad_message_length.dbc", "beyond-message", 40),
    ("cantools_tests/issue_199.dbc", "not-extended", 45),
    ("cantools_tests/issue_199_extended.dbc", "identifier-range", 45),
    ("cantools_tests/issue_63.dbc", "shared-bits", 40),
    ("other/Model3CAN.dbc", "beyond-message", 1722),
];

#[test]
fn files_that_are_wrong_on_purpose_are_warned_of() {
    let Some(data) = corpus() else { return };
    for (file, code, line) in WRONG {
        let database = Database::load(&data.join("dbc").join(file)).unwrap();
        let warnings = database.warnings();
        assert!(warnings.iter().any(|w| w.code.name() == code && w.place.line == line), "{file}: {warnings:?}");
        assert!(!database.messages().is_empty());
    }
}

/// comma's own decoder wrote the reference from the same bus.
#[test]
fn speed_and_steering_angle_of_a_drive_agree_with_an_independent_decoder() {
    let Some(data) = corpus() else { return };
    let database = Database::load(&data.join("dbc/opendbc/toyota_new_mc_pt_generated.dbc")).unwrap();
    let plan = Plan::compile(&[database]);
    let message = |name: &str| plan.find_message(name).unwrap();
    let (wheels, steering) = (message("WHEEL_SPEEDS"), message("STEER_ANGLE_SENSOR"));
    let (mut speeds, mut angles) = (Vec::new(), Vec::new());
    let mut log = LogReader::open(&data.join("logs/comma2k19_rav4.log.zst"), Options::default()).unwrap();
    while let Some(frame) = log.next() {
        let frame = frame.unwrap();
        if log.buses()[usize::from(frame.bus.0)] != "can0" {
            continue;
        }
        let Some(found) = plan.find(frame.id) else { continue };
        let value = |name: &str| {
            let signal = plan.find_signal(found, name).unwrap();
            plan.decode(found, frame.payload()).signals().find(|s| s.signal == signal).unwrap().value
        };
        if found == wheels {
            let sum: f64 = ["FL", "FR", "RL", "RR"].iter().map(|w| value(&format!("WHEEL_SPEED_{w}")) / 3.6).sum();
            speeds.push(sum / 4.0);
        } else if found == steering {
            angles.push(value("STEER_ANGLE") + value("STEER_FRACTION"));
        }
    }
    assert_eq!(log.bad_lines().total(), 0);
    for (name, found) in [("speed", speeds), ("steering_angle", angles)] {
        let expected = reference(&data.join(format!("logs/comma2k19_rav4.{name}.csv")));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            // The reference has six decimals; nothing more is allowed than what that rounds away.
            assert!((found - expected).abs() < 0.5e-6 + 1e-9, "{name} row {row}: {found} instead of {expected}");
        }
    }
}

/// The counts are those of the parameter bytes in the log's text.
#[test]
fn obd2_answers_of_a_drive_decode_completely() {
    let Some(data) = corpus() else { return };
    let obd2 = Database::parse("obd2.dbc", include_bytes!("../dbc/obd2.dbc")).unwrap();
    let plan = Plan::compile(&[obd2]);
    let log = data.join("logs/3BA199E2_00000164_00000001-60FE3F04.log.zst");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for frame in LogReader::open(&log, Options::default()).unwrap() {
        let frame = frame.unwrap();
        let Some(message) = plan.find(frame.id) else { continue };
        for sample in plan.decode(message, frame.payload()).signals() {
            let signal = plan.signal(sample.signal);
            assert!(signal.max.is_none_or(|max| sample.value <= max), "{} {}", signal.name, sample.value);
            *counts.entry(&signal.name).or_default() += 1;
        }
    }
    let expected = [
        ("ActualEngineTorque", 1090),
        ("BarometricPressure", 182),
        ("ControlModuleVoltage", 182),
        ("CoolantTemperature", 545),
        ("EngineLoad", 182),
        ("EngineSpeed", 1095),
        ("FrameLength", 6601),
        ("FrameType", 6601),
        ("FuelTankLevel", 55),
        ("IntakeManifoldPressure", 1090),
        ("ParameterId", 6601),
        ("Service", 6601),
        ("ThrottlePosition", 1090),
        ("VehicleSpeed", 1090),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn all_logs_are_read_strictly() {
    let Some(data) = corpus() else { return };
    let mut frames = 0;
    for entry in data.join("logs").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "zst") {
            frames += LogReader::open(&path, Options::default()).unwrap().map(Result::unwrap).count();
        }
    }
    assert!(frames > 500_000, "{frames} frames");
}

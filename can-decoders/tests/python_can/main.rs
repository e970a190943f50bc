//! Every frame of recordings in all formats against python-can, which most people read them with.
//!
//! `tests/run oracle` installs python-can in an environment of its own and runs this; `ORACLE_PYTHON` names its
//! interpreter. `oracle.py` writes recordings of random frames with python-can, rewrites some by text (base 10, relative
//! times, TRC versions that it does not write), converts real candump logs where they are at hand (`OUTRIDER_SHARED`), and
//! prints what python-can reads; also of the ASC and BLF files that we write. The samples of python-can's own tests (`ORACLE_SAMPLES`) are by other programs.
//!
//! Compared are time, bus, identifier, kind, flags, payload, and what remote frames ask for. Where the two differ by
//! intention:
//!
//! - python-can's times are doubles: they are compared to two microseconds.
//! - Error frames are SocketCAN's here: compared are time and bus. In TRC files python-can leaves them out.
//! - In TRC files python-can gives the channels as they are in the file, in all others less one; here they are always
//!   `can{n-1}`.
//! - TRC 1.0 has no start for programs. python-can counts from the epoch, we from the date in the comment.
//! - A line of a CAN FD channel in ASC is a CAN FD frame for python-can, also where its flags say that it is a classic
//!   one; and it is a remote frame when it has no data, also where its flags say that it is a CAN FD frame.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test's report is its output")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use can_decoders::frame::FD_LENGTHS;
use can_decoders::log::{Format, Options};
use can_decoders::{BusId, CanId, Frame, FrameKind, LogReader};
use serde_json::Value;

/// Doubles of seconds of our days are 0.24 microseconds apart, and python-can adds them.
const TOLERANCE_NS: u64 = 2000;

/// Of these much is converted: two cars, and all lengths that a frame can have.
const SHARED: [&str; 3] = ["comma2k19_rav4", "2F6913DB_00000004_00000001", "asammdf-basics_input_00000001"];

/// Samples that are no recordings and have no frame for us: a classic frame with DLC 64, and objects whose fields are
/// filled with ones, twos, threes and so on to show where they are (a DLC of 51, standard identifiers of 27 bits, requests
/// to send).
const NO_FRAMES: [&str; 5] = [
    "single_frame.asc",
    "test_CanMessage.blf",
    "test_CanMessage2.blf",
    "test_CanFdMessage.blf",
    "test_CanFdMessage64.blf",
];

/// Frames that have to be compared, without and with what is not part of the project.
const COMPARED: usize = 15_000;
const SAMPLES_COMPARED: usize = 1500;
const SHARED_COMPARED: usize = 300_000;

/// What the oracle says of one recording.
struct Expected {
    file: PathBuf,
    about: Value,
    frames: Vec<Value>,
}

#[test]
fn every_frame_is_that_of_python_can() {
    let python = std::env::var_os("ORACLE_PYTHON")
        .expect("ORACLE_PYTHON must name a Python that has python-can; `tests/run oracle` sees to that");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(root.join("tests/python_can/oracle.py")).arg(folder.path());
    let logs = shared_logs(folder.path());
    let samples = std::env::var_os("ORACLE_SAMPLES");
    if let Some(samples) = &samples {
        command.arg("--samples").arg(samples);
    } else {
        println!("NOT RUN: the samples of python-can's tests are not here (ORACLE_SAMPLES)");
    }
    for log in &logs {
        command.arg("--log").arg(log);
    }
    for path in ours(folder.path(), &logs) {
        command.arg("--ours").arg(path);
    }
    let mut oracle = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(oracle.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut tally = BTreeMap::new();
    while let Some(expected) = next_recording(&mut lines) {
        let counted = compare(&expected);
        let kind = if expected.about["sample"] == true {
            "samples"
        } else if expected.about["source"].is_string() {
            "converted"
        } else {
            "written"
        };
        let (files, frames) = tally.entry(kind).or_insert((0_usize, 0_usize));
        (*files, *frames) = (*files + 1, *frames + counted);
        if let Some(source) = expected.about["source"].as_str() {
            against_the_source(&expected.file, Path::new(source));
        }
    }
    assert!(oracle.wait().unwrap().success());
    println!("files and frames: {tally:?}");
    let at_least = |kind: &str, wanted: bool, frames: usize| {
        let found = tally.get(kind).map_or(0, |(_, frames)| *frames);
        assert!(!wanted || found >= frames, "{found} frames {kind}");
    };
    at_least("written", true, COMPARED);
    at_least("samples", samples.is_some(), SAMPLES_COMPARED);
    at_least("converted", !logs.is_empty(), SHARED_COMPARED);
}

/// The shared logs as plain files: python-can does not read zstd.
fn shared_logs(folder: &Path) -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("OUTRIDER_SHARED").map_or(beside, PathBuf::from).join("data/logs");
    if !shared.is_dir() {
        println!("NOT RUN: the shared logs are not here (OUTRIDER_SHARED)");
        return Vec::new();
    }
    let plain = |name: &&str| {
        let mut log = LogReader::open(&shared.join(format!("{name}.log.zst")), Options::default()).unwrap();
        let path = folder.join(format!("{name}.log"));
        let mut plain = can_decoders::LogWriter::create(&path).unwrap();
        while let Some(frame) = log.next() {
            let frame = frame.unwrap();
            plain.write(&log.buses()[usize::from(frame.bus.0)], &frame).unwrap();
        }
        plain.finish().unwrap();
        path
    };
    SHARED.iter().map(plain).collect()
}

/// ASC and BLF files that we write: of frames of all kinds, and of the first shared log. The candump logs that they are made of
/// lie beside them.
fn ours(folder: &Path, logs: &[PathBuf]) -> Vec<PathBuf> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |below: u64| {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut frames = Vec::new();
    let mut time_ns = 1_700_000_000_123_456_000;
    for _ in 0..1500 {
        time_ns += [0, 1000, 17_000, 1_000_000, random(2_000_000) * 1000][usize::try_from(random(5)).unwrap()];
        let bus = BusId(u8::try_from(random(3)).unwrap());
        let number = u32::try_from(random(1 << 29)).unwrap();
        let id = if random(2) == 0 { CanId::standard(number & 0x7FF) } else { CanId::extended(number) }.unwrap();
        let data: [u8; 64] = std::array::from_fn(|_| u8::try_from(random(256)).unwrap());
        let short = &data[..usize::try_from(random(9)).unwrap()];
        let long = &data[..usize::from(FD_LENGTHS[usize::try_from(random(16)).unwrap()])];
        let flexible = FrameKind::Fd { brs: random(2) == 0, esi: random(2) == 0 };
        frames.push(match random(10) {
            0 => Frame::remote(time_ns, bus, id, u8::try_from(short.len()).unwrap()).unwrap(),
            1 => Frame::new(time_ns, bus, CanId::extended(8).unwrap(), FrameKind::Error, &[0; 8]).unwrap(),
            2..6 => Frame::new(time_ns, bus, id, flexible, long).unwrap(),
            _ => Frame::new(time_ns, bus, id, FrameKind::Data, short).unwrap(),
        });
    }
    let all = [("ours".to_owned(), frames)].into_iter().chain(logs.first().map(|log| {
        ("ours-real".to_owned(), LogReader::open(log, Options::default()).unwrap().map(Result::unwrap).collect())
    }));
    let mut made = Vec::new();
    for (name, frames) in all {
        for extension in ["log", "asc", "blf"] {
            let path = folder.join(format!("{name}.{extension}"));
            let mut writer = can_decoders::LogWriter::create(&path).unwrap();
            for frame in &frames {
                writer.write(&format!("can{}", frame.bus.0), frame).unwrap();
            }
            writer.finish().unwrap();
            if extension != "log" {
                made.push(path);
            }
        }
    }
    made
}

fn next_recording(lines: &mut impl Iterator<Item = String>) -> Option<Expected> {
    let about: Value = serde_json::from_str(&lines.next()?).unwrap();
    let file = PathBuf::from(about["file"].as_str().unwrap());
    let mut frames = Vec::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("python-can died on {}", file.display()));
        let value: Value = serde_json::from_str(&line).unwrap();
        if value.is_array() {
            frames.push(value);
            continue;
        }
        assert_eq!(value["end"], frames.len(), "{}: {value}", file.display());
        return Some(Expected { file, about, frames });
    }
}

/// Compares a recording with what python-can read, and gives the number of frames.
fn compare(expected: &Expected) -> usize {
    let Expected { file, about, frames } = expected;
    let name = file.file_name().unwrap().to_str().unwrap();
    let utc_offset = about["utc_offset"].as_str().map_or(Ok(Default::default()), str::parse).unwrap();
    let mut log = LogReader::open(file, Options { utc_offset, ..Options::default() }).unwrap();
    let format = log.format();
    assert_eq!(format.name().to_lowercase(), name.trim_end_matches(".gz").rsplit_once('.').unwrap().1);
    if NO_FRAMES.contains(&name) {
        let mut log = LogReader::open(file, Options { tolerant: true, ..Options::default() }).unwrap();
        assert!(log.next().is_none(), "{name}");
        assert!(log.bad_lines().total() + log.other_events() >= frames.len() as u64, "{name}");
        return 0;
    }
    let mut found: Vec<(Frame, String)> = Vec::new();
    while let Some(frame) = log.next() {
        let frame = frame.unwrap_or_else(|error| panic!("{error}"));
        if format != Format::Trc || frame.kind != FrameKind::Error {
            found.push((frame, log.buses()[usize::from(frame.bus.0)].clone()));
        }
    }
    assert_eq!(found.len(), frames.len(), "{name}");
    // What both count from, where python-can does not know the start.
    let start = if about["undated"] == true { found[0].0.time_ns - nanoseconds(&frames[0][0]) } else { 0 };
    for (number, ((frame, bus), expected)) in found.iter().zip(frames).enumerate() {
        let place = format!("{name}, frame {number}: {frame:?} {bus} is {expected}");
        assert!((frame.time_ns - start).abs_diff(nanoseconds(&expected[0])) <= TOLERANCE_NS, "{place}");
        let channel = expected[1].as_u64().unwrap() - u64::from(format == Format::Trc);
        assert_eq!(*bus, format!("can{channel}"), "{place}");
        let kind = expected[4].as_str().unwrap();
        if frame.kind == FrameKind::Error || kind == "error" {
            assert_eq!((frame.kind, kind), (FrameKind::Error, "error"), "{place}");
            continue;
        }
        assert_eq!(u64::from(frame.id.number()), expected[2].as_u64().unwrap(), "{place}");
        assert_eq!(frame.id.is_extended(), expected[3].as_bool().unwrap(), "{place}");
        let payload: String = frame.payload().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(payload, expected[8].as_str().unwrap(), "{place}");
        let flags = (expected[5].as_bool().unwrap(), expected[6].as_bool().unwrap());
        match (frame.kind, kind) {
            (FrameKind::Remote, "remote") => assert_eq!(frame.len() as u64, expected[7].as_u64().unwrap(), "{place}"),
            (FrameKind::Data, "data") => {}
            (FrameKind::Fd { brs, esi }, "fd") => assert_eq!((brs, esi), flags, "{place}"),
            // Two of the differences above.
            (FrameKind::Fd { brs, esi }, "remote") if format == Format::Asc && frame.is_empty() => {
                assert_eq!((brs, esi), flags, "{place}");
            }
            (FrameKind::Data, "fd") if format == Format::Asc && flags == (false, false) && frame.len() <= 8 => {}
            _ => panic!("{place}"),
        }
    }
    found.len()
}

/// Nanoseconds of a time in seconds as Python prints it, a double.
fn nanoseconds(time: &Value) -> u64 {
    let time: f64 = time.as_str().unwrap().parse().unwrap();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of our days")]
    let (seconds, fraction) = (time.trunc() as u64, (time.fract() * 1e9).round() as u64);
    seconds * 1_000_000_000 + fraction
}

/// A converted log has the frames of the candump log: in BLF and TRC to the microsecond, in ASC but for the start, whose
/// milliseconds python-can writes without zeros in front.
fn against_the_source(file: &Path, source: &Path) {
    let read = |path: &Path| -> Vec<Frame> {
        LogReader::open(path, Options::default()).unwrap().map(Result::unwrap).collect()
    };
    let (found, mut source) = (read(file), read(source));
    if file.extension().is_some_and(|extension| extension == "trc") {
        source.retain(|frame| frame.kind == FrameKind::Data);
    }
    assert_eq!(found.len(), source.len(), "{}", file.display());
    let ours = file.file_name().unwrap().to_str().unwrap().starts_with("ours");
    let is_asc = file.extension().is_some_and(|extension| extension == "asc");
    let tolerance = if ours {
        999
    } else if is_asc {
        1_000_000_000
    } else {
        TOLERANCE_NS
    };
    for (number, (found, source)) in found.iter().zip(&source).enumerate() {
        let place = format!("{}, frame {number}: {found:?} was {source:?}", file.display());
        assert!(found.time_ns.abs_diff(source.time_ns) <= tolerance, "{place}");
        if found.kind != FrameKind::Error {
            assert_eq!((found.id, found.kind, found.payload()), (source.id, source.kind, source.payload()), "{place}");
        }
    }
}

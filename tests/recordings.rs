//! The commands on one drive in all formats: what they print does not depend on how it was recorded.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "../can-decoders/tests/recordings/mod.rs"]
mod recordings;

use std::fs;
use std::path::{Path, PathBuf};

use agent::{arg, good, run, run_with_input, texts};
use can_decoders::log::{LogReader, LogWriter, Options};
use can_decoders::{BusId, CanId, Frame, FrameKind};
use outrider::source::sim::{SimConfig, Simulation};

/// 2023-11-14 22:13:20.123.
const START_NS: u64 = 1_700_000_000_123_000_000;

/// Twenty seconds of the simulated vehicle with frames of all kinds among them, in all formats.
struct Drive {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
    dbc: [PathBuf; 2],
}

impl Drive {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vehicle = Simulation::new(SimConfig { seed: 5, start_ns: START_NS, faults: Vec::new() }).unwrap();
        let mut frames: Vec<Frame> = vehicle.take_while(|frame| frame.time_ns < START_NS + 20_000_000_000).collect();
        let at = |n: usize| frames[n].time_ns + 1;
        let id = CanId::extended(0x1234_5678).unwrap();
        let others = [
            (100, Frame::new(at(100), BusId(0), id, FrameKind::Fd { brs: true, esi: false }, &[7; 48])),
            (200, Frame::remote(at(200), BusId(1), id, 3)),
            (300, Frame::new(at(300), BusId(1), CanId::extended(0x80).unwrap(), FrameKind::Error, &[0; 8])),
            (400, Frame::new(at(400), BusId(0), id, FrameKind::Fd { brs: false, esi: true }, &[])),
        ];
        for (place, frame) in others.into_iter().rev() {
            frames.insert(place + 1, frame.unwrap());
        }
        let path = |name: &str| dir.path().join(name);
        // The names say nothing: the first bytes do.
        let mut writer = LogWriter::create(&path("candump.bin")).unwrap();
        for frame in &frames {
            writer.write(Simulation::bus_names()[usize::from(frame.bus.0)], frame).unwrap();
        }
        writer.finish().unwrap();
        fs::write(path("asc.bin"), recordings::asc(&frames)).unwrap();
        fs::write(path("trc.bin"), recordings::trc(&frames)).unwrap();
        fs::write(path("blf.bin"), recordings::blf(&frames)).unwrap();
        let files = ["candump", "asc", "trc", "blf"].map(|name| path(&format!("{name}.bin"))).into();
        let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
        Self { dir, files, dbc: [dbc.join("demo-powertrain.dbc"), dbc.join("demo-body.dbc")] }
    }

    fn config(&self) -> PathBuf {
        let config = self.dir.path().join("drive.toml");
        let text = format!(
            "[vehicle]\nid = \"truck-7\"\n\n[[bus]]\nname = \"can0\"\ndbc = [{:?}]\n\n[[bus]]\nname = \"can1\"\ndbc = [{:?}]\n\n\
             [[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n\n[health]\nperiod_s = 5\n",
            self.dbc[0], self.dbc[1]
        );
        fs::write(&config, text).unwrap();
        config
    }

    fn features(&self) -> PathBuf {
        let features = self.dir.path().join("features.toml");
        fs::write(
            &features,
            "period_ms = 500\n\n[[feature]]\nname = \"mean\"\nfn = \"mean\"\nof = \"VehicleSpeed\"\nwindow_ms = 2000\nmax_age_ms = 500\n",
        )
        .unwrap();
        features
    }
}

#[test]
fn every_command_prints_the_same_whatever_the_format() {
    let drive = Drive::new();
    let (config, features) = (drive.config(), drive.features());
    let (powertrain, body) = (format!("can0={}", arg(&drive.dbc[0])), format!("can1={}", arg(&drive.dbc[1])));
    let dbc = ["--dbc", powertrain.as_str(), "--dbc", body.as_str()];
    let commands: [(&[&str], Vec<&str>); 6] = [
        (&["decode"], [&dbc[..], &["--unknown", "--labels"]].concat()),
        (&["decode"], [&dbc[..], &["--unknown", "--format", "csv"]].concat()),
        (&["replay"], vec!["-c", arg(&config), "--format", "cbor"]),
        (&["features"], vec!["-c", arg(&config), "--features", arg(&features)]),
        (&["dbc", "coverage"], dbc.to_vec()),
        (&["dbc", "coverage"], [&dbc[..], &["--format", "json"]].concat()),
    ];
    for (command, options) in &commands {
        let printed = |file: &Path| {
            let output = run(&[command, &[arg(file)][..], options].concat());
            assert!(output.status.success(), "{command:?} {}: {}", file.display(), texts(&output).1);
            output.stdout
        };
        let expected = printed(&drive.files[0]);
        assert!(expected.len() > 1000, "{command:?}: {} bytes", expected.len());
        for file in &drive.files[1..] {
            assert!(printed(file) == expected, "{command:?} prints something else for {}", file.display());
        }
    }
    // Also through a pipe.
    let decode = [&["decode", "-"], &dbc[..]].concat();
    let expected = good(&run_with_input(&decode, &fs::read(&drive.files[0]).unwrap()));
    let piped = good(&run_with_input(&decode, &fs::read(&drive.files[3]).unwrap()));
    assert!(piped == expected);
}

/// The agent itself, from a recording to the outbox: the same frames, and as many events.
#[test]
fn the_agent_plays_each_format() {
    let drive = Drive::new();
    let config = fs::read_to_string(drive.config()).unwrap();
    let mut expected = None;
    for (n, file) in drive.files.iter().enumerate() {
        let path = drive.dir.path().join(format!("run{n}.toml"));
        let text = format!(
            "{config}\n[source]\nkind = \"replay\"\nlog = {file:?}\nspeed = 0\n\n[outbox]\ndir = \"outbox{n}\"\n"
        );
        fs::write(&path, text).unwrap();
        let output = run(&["run", "-c", arg(&path)]);
        let err = texts(&output).1;
        assert!(output.status.success(), "{err}");
        let said = err.lines().find_map(|line| line.split_once("stopped: ")).unwrap().1.to_owned();
        let frames: u64 = said.split(' ').next().unwrap().parse().unwrap();
        assert!(frames > 10_000, "{said}");
        assert_eq!(expected.get_or_insert_with(|| said.clone()), &said, "{}", file.display());
    }
}

#[cfg(feature = "onnx")]
#[test]
fn a_model_scores_each_format_alike() {
    let drive = Drive::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
    let (powertrain, body) = (format!("can0={}", arg(&drive.dbc[0])), format!("can1={}", arg(&drive.dbc[1])));
    let scores =
        |file: &Path| good(&run(&["score", arg(file), "--model", arg(&model), "--dbc", &powertrain, "--dbc", &body]));
    let expected = scores(&drive.files[0]);
    assert!(expected.lines().count() > 50, "{expected}");
    for file in &drive.files[1..] {
        assert!(scores(file) == expected, "{}", file.display());
    }
}

#[test]
fn local_time_has_the_offset_that_is_given() {
    let drive = Drive::new();
    let first = |file: &Path, options: &[&str]| {
        let dbc = arg(&drive.dbc[0]);
        let out = good(&run(&[&["decode", arg(file), "--dbc", dbc][..], options].concat()));
        out.split_once(',').unwrap().0.to_owned()
    };
    let utc = first(&drive.files[0], &[]);
    assert!(utc.starts_with("{\"t\":17000000"), "{utc}");
    for file in &drive.files[1..] {
        assert_eq!(first(file, &["--utc-offset", "Z"]), utc);
        let east = first(file, &["--utc-offset", "+02:00"]);
        let west = first(file, &["--utc-offset", "-05:30"]);
        assert_eq!((&east[..14], &west[..14]), ("{\"t\":169999280", "{\"t\":170001980"), "{}", file.display());
    }
    // candump has no local time.
    assert_eq!(first(&drive.files[0], &["--utc-offset", "+02:00"]), utc);
    let output = run(&["decode", arg(&drive.files[1]), "--dbc", arg(&drive.dbc[0]), "--utc-offset", "CET"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("write it as +02:00"), "{}", texts(&output).1);
}

#[test]
fn what_was_skipped_is_said_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/small.dbc");
    let log = dir.path().join("drive.asc");
    let text =
        "base hex  timestamps absolute\n0.1 1 100 Rx d 2 A0 0F\n0.2 1  Statistic: D 2 R 0\n0.3 1 100 Rx d 2 A0\n";
    fs::write(&log, text).unwrap();
    let output = run(&["decode", arg(&log), "--dbc", arg(&dbc)]);
    let (out, err) = texts(&output);
    assert!(output.status.code() == Some(1) && out.lines().count() == 1, "{out}{err}");
    assert!(err.contains(&format!("{}:4:20: expected d or r, the DLC, and as many bytes", log.display())), "{err}");
    let output = run(&["decode", arg(&log), "--dbc", arg(&dbc), "--tolerant"]);
    let (out, err) = texts(&output);
    assert!(output.status.success() && out.lines().count() == 1, "{out}{err}");
    for said in
        ["line 4, column 20: skipped: payload", "1 bad lines skipped", "1 events that are not CAN frames", "1970-01-01"]
    {
        assert!(err.contains(said), "{said}: {err}");
    }
    // A file that was cut within an object.
    let mut reader = LogReader::open(&log, Options { tolerant: true, ..Options::default() }).unwrap();
    let frame = reader.next().unwrap().unwrap();
    let file = recordings::blf(&[frame; 5]);
    fs::write(&log, &file[..file.len() - 3]).unwrap();
    let (_, err) = texts(&run(&["decode", arg(&log), "--dbc", arg(&dbc), "--tolerant"]));
    assert!(err.contains("the file ends within a container; the frames before it are good"), "{err}");
}

//! Reading recordings of all formats: frames a second, from memory.
//!
//! The drive is the shared one (`OUTRIDER_SHARED`), or one of made-up frames where that is not at hand.

#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is a benchmark's report")]

#[path = "../tests/recordings/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod recordings;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use can_decoders::log::{Compression, Options};
use can_decoders::{BusId, CanId, Frame, FrameKind, LogReader, LogWriter};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn drive() -> Vec<Frame> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("OUTRIDER_SHARED").map_or(beside, PathBuf::from);
    match LogReader::open(&shared.join("data/logs/comma2k19_rav4.log.zst"), Options::default()) {
        Ok(log) => log.map(Result::unwrap).collect(),
        Err(_) => (0..100_000_u64)
            .map(|n| {
                let id = CanId::standard(u32::try_from(n % 0x7FF).unwrap()).unwrap();
                let data = (n * 0x9E37_79B9_7F4A_7C15).to_be_bytes();
                Frame::new(1_700_000_000_000_000_000 + n * 400_000, BusId(0), id, FrameKind::Data, &data).unwrap()
            })
            .collect(),
    }
}

fn candump(frames: &[Frame]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drive.log");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = LogWriter::to_writer("drive", file, Compression::Plain);
    for frame in frames {
        writer.write(&format!("can{}", frame.bus.0), frame).unwrap();
    }
    writer.finish().unwrap();
    std::fs::read(path).unwrap()
}

fn logs(criterion: &mut Criterion) {
    let frames = drive();
    let formats = [
        ("candump", candump(&frames)),
        ("asc", recordings::asc(&frames)),
        ("trc", recordings::trc(&frames)),
        ("blf", recordings::blf(&frames)),
    ];
    let mut group = criterion.benchmark_group("logs");
    group.throughput(Throughput::Elements(frames.len() as u64));
    for (name, bytes) in formats {
        let bytes: Arc<[u8]> = bytes.into();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let log = LogReader::from_reader(name, Cursor::new(bytes.clone()), Options::default()).unwrap();
                assert_eq!(log.filter(Result::is_ok).count(), frames.len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, logs);
criterion_main!(benches);

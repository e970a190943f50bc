use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::frame::{BusId, CanId, FD_LENGTHS};
use crate::log::{LogReader, Options};

/// A writer whose bytes can be looked at afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(frames: &[Frame], compression: Compression) -> Vec<u8> {
    let shared = Shared::default();
    let mut writer = LogWriter::to_writer("log", shared.clone(), compression);
    for frame in frames {
        writer.write(&format!("can{}", frame.bus.0), frame).unwrap();
    }
    writer.finish().unwrap();
    let bytes = shared.0.lock().unwrap();
    bytes.clone()
}

fn read(bytes: Vec<u8>) -> Vec<Frame> {
    let options = Options { buses: vec!["can0".to_owned(), "can1".to_owned()], ..Options::default() };
    LogReader::from_reader("log", io::Cursor::new(bytes), options).unwrap().map(Result::unwrap).collect()
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = prop_oneof![
        (0_u32..=0x7FF).prop_map(|id| CanId::standard(id).unwrap()),
        (0_u32..=0x1FFF_FFFF).prop_map(|id| CanId::extended(id).unwrap()),
    ];
    let time = prop_oneof![any::<u64>(), (0_u64..u64::MAX / 1000).prop_map(|us| us * 1000)];
    (time, 0_u8..2, id, 0_u8..4, any::<[u8; 64]>(), 0_usize..16, any::<(bool, bool)>()).prop_map(
        |(time, bus, id, kind, data, length, (brs, esi))| {
            let bus = BusId(bus);
            let classic = &data[..length % 9];
            match kind {
                0 => Frame::new(time, bus, id, FrameKind::Data, classic),
                1 => {
                    let payload = &data[..usize::from(FD_LENGTHS[length])];
                    Frame::new(time, bus, id, FrameKind::Fd { brs, esi }, payload)
                }
                2 => Frame::remote(time, bus, id, u8::try_from(length % 9).unwrap()),
                _ => {
                    // Error classes are written as candump does, in eight digits.
                    let class = CanId::extended(id.number()).unwrap();
                    Frame::new(time, bus, class, FrameKind::Error, classic)
                }
            }
            .unwrap()
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(frames in proptest::collection::vec(frame(), 0..50)) {
        for compression in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
            prop_assert_eq!(&read(written(&frames, compression)), &frames);
        }
    }
}

/// As the formats can say it: without classes of errors.
fn as_channels(frame: Frame) -> Frame {
    match frame.kind {
        FrameKind::Error => {
            let mut error = crate::log::error_codes::bus_error(frame.time_ns).unwrap();
            error.bus = frame.bus;
            error
        }
        _ => frame,
    }
}

proptest! {
    #[test]
    fn asc_and_blf_are_read_back_too(
        mut frames in proptest::collection::vec(frame(), 0..50),
        ending in proptest::sample::select(vec![("asc", 1000), ("blf", 1), ("asc.gz", 1000), ("blf.zst", 1)]),
    ) {
        // Years that both sides know, in the order of time.
        for frame in &mut frames {
            frame.time_ns %= 9_000_000_000_000_000_000;
        }
        frames.sort_by_key(|frame| frame.time_ns);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("log.{}", ending.0));
        let mut writer = LogWriter::create(&path).unwrap();
        for frame in &frames {
            writer.write(&format!("can{}", frame.bus.0), frame).unwrap();
        }
        writer.finish().unwrap();
        let found = read(std::fs::read(&path).unwrap());
        prop_assert_eq!(found.len(), frames.len());
        let start = frames.first().map_or(0, |frame| frame.time_ns / 1_000_000 * 1_000_000);
        for (found, frame) in found.iter().zip(&frames) {
            let mut expected = as_channels(*frame);
            expected.time_ns = start + (frame.time_ns - start) / ending.1 * ending.1;
            prop_assert_eq!(*found, expected);
        }
    }
}

#[test]
fn buses_have_channels_and_a_finished_blf_file_its_totals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.blf");
    let mut writer = LogWriter::create(&path).unwrap();
    let id = CanId::standard(0x44).unwrap();
    for (second, bus) in (0_u64..).zip(["body", "can1", "can0", "body", "can300"]) {
        let time_ns = 1_436_509_052_249_713_000 + second * 1_000_000_000;
        writer.write(bus, &Frame::new(time_ns, BusId(0), id, FrameKind::Data, &[1]).unwrap()).unwrap();
    }
    let channels: Vec<(&str, u16)> = writer.channels().iter().map(|(name, number)| (&**name, *number)).collect();
    assert_eq!(channels, [("body", 1), ("can1", 2), ("can0", 3), ("can300", 4)]);
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    assert_eq!((word(16) as usize, word(24), word(32)), (bytes.len(), 144 + 32 + 5 * 48, 5));
    let short = |at: usize| u16::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let date = |at: usize| std::array::from_fn::<u16, 8, _>(|n| short(at + 2 * n));
    // A Friday.
    assert_eq!(date(40), [2015, 7, 5, 10, 6, 17, 32, 249]);
    assert_eq!(date(56), [2015, 7, 5, 10, 6, 17, 36, 249]);
}

#[test]
fn the_text_is_that_of_candump() {
    let id = CanId::standard(0x44).unwrap();
    let data = Frame::new(1_436_509_052_249_713_000, BusId(0), id, FrameKind::Data, &[0x2A, 0x0F]).unwrap();
    let fine = Frame::new(1_000_000_001, BusId(1), id, FrameKind::Fd { brs: true, esi: true }, &[1]).unwrap();
    let error = Frame::new(0, BusId(0), CanId::extended(0x88).unwrap(), FrameKind::Error, &[0; 8]).unwrap();
    let remote = [0, 8].map(|length| Frame::remote(0, BusId(0), CanId::extended(0x123).unwrap(), length).unwrap());
    let text = String::from_utf8(written(&[data, fine, error, remote[0], remote[1]], Compression::Plain)).unwrap();
    assert_eq!(
        text,
        "(1436509052.249713) can0 044#2A0F\n(0000000001.000000001) can1 044##301\n\
         (0000000000.000000) can0 20000088#0000000000000000\n(0000000000.000000) can0 00000123#R\n\
         (0000000000.000000) can0 00000123#R8\n"
    );
}

#[test]
fn zstd_logs_are_cut_into_independent_frames() {
    let id = CanId::standard(0x44).unwrap();
    let frames: Vec<Frame> = (0..60_000_u64)
        .map(|n| Frame::new(n * 1000, BusId(0), id, FrameKind::Data, &n.to_be_bytes()).unwrap())
        .collect();
    let bytes = written(&frames, Compression::Zstd);
    let plain = written(&frames, Compression::Plain);
    assert!(plain.len() > 2 * ZSTD_FRAME && bytes.len() < plain.len() / 2, "{} of {}", bytes.len(), plain.len());
    let magic = [0x28, 0xB5, 0x2F, 0xFD];
    let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&magic)).collect();
    assert_eq!(starts.len(), plain.len().div_ceil(ZSTD_FRAME));
    assert_eq!(read(bytes.clone()), frames);
    // Each frame starts a line of its own and is readable alone.
    assert!(!read(bytes[starts[1]..starts[2]].to_vec()).is_empty());
}

#[test]
fn the_extension_chooses_the_compression_and_dropping_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let frame = Frame::new(5, BusId(0), CanId::standard(1).unwrap(), FrameKind::Data, &[1, 2]).unwrap();
    for (name, magic) in [("a.log", b"(000"), ("a.log.gz", b"\x1F\x8B\x08\x00"), ("a.zst", b"\x28\xB5\x2F\xFD")] {
        let path = folder.path().join(name);
        let mut writer = LogWriter::create(&path).unwrap();
        writer.write("can0", &frame).unwrap();
        drop(writer);
        assert!(std::fs::read(&path).unwrap().starts_with(magic), "{name}");
        let frames: Vec<Frame> = LogReader::open(&path, Options::default()).unwrap().map(Result::unwrap).collect();
        assert_eq!(frames, [frame], "{name}");
    }
}

#[test]
fn flushed_frames_are_readable_before_the_end() {
    let frame = Frame::new(5, BusId(0), CanId::standard(1).unwrap(), FrameKind::Data, &[1, 2]).unwrap();
    for compression in [Compression::Plain, Compression::Zstd] {
        let shared = Shared::default();
        let mut writer = LogWriter::to_writer("log", shared.clone(), compression);
        writer.write("can0", &frame).unwrap();
        writer.flush().unwrap();
        let bytes = shared.0.lock().unwrap().clone();
        assert_eq!(read(bytes), [frame], "{compression:?}");
        writer.finish().unwrap();
    }
}

#[test]
fn bus_names_that_would_not_come_back_are_refused() {
    let frame = Frame::new(5, BusId(0), CanId::standard(1).unwrap(), FrameKind::Data, &[]).unwrap();
    let mut writer = LogWriter::to_writer("log", io::sink(), Compression::Plain);
    for bus in ["", "a b", "a\nb", "a\tb", &"x".repeat(64)] {
        assert!(matches!(writer.write(bus, &frame), Err(LogError::BusName { .. })), "{bus:?}");
    }
    writer.write(&"x".repeat(63), &frame).unwrap();
}

/// A disk that is full after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_at_the_latest_by_finish() {
    let frame = Frame::new(5, BusId(0), CanId::standard(1).unwrap(), FrameKind::Data, &[]).unwrap();
    for compression in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
        let mut writer = LogWriter::to_writer("log", Full(10), compression);
        writer.write("can0", &frame).unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.starts_with("log: writing the log failed"), "{error}");
    }
}

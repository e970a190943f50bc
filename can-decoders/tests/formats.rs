//! Recordings in all formats: the same frames whatever the format, and nothing that bytes can do to a reader.

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

mod recordings;

use std::io::{Cursor, Write};

use allocation_counter::measure;
use can_decoders::frame::FD_LENGTHS;
use can_decoders::log::{Format, MAX_LINE, Options};
use can_decoders::{BusId, CanId, Frame, FrameKind, LogReader};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use recordings::{asc, blf, container, header, trc};

type Writer = fn(&[Frame]) -> Vec<u8>;

const FORMATS: [(Format, Writer); 4] =
    [(Format::Candump, candump), (Format::Asc, asc), (Format::Trc, trc), (Format::Blf, blf)];

fn candump(frames: &[Frame]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = can_decoders::LogWriter::create(file.path()).unwrap();
    for frame in frames {
        writer.write(&format!("can{}", frame.bus.0), frame).unwrap();
    }
    writer.finish().unwrap();
    std::fs::read(file.path()).unwrap()
}

fn open(bytes: Vec<u8>, tolerant: bool) -> LogReader {
    let buses = (0..3).map(|n| format!("can{n}")).collect();
    let options = Options { tolerant, buses, ..Options::default() };
    LogReader::from_reader("log", Cursor::new(bytes), options).unwrap()
}

/// Between 1970 and 2200, as dates of recordings are; in one file up to a day.
fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let start = 0_u64..7_000_000_000_000_000_000;
    (start, proptest::collection::vec(frame(), 0..40)).prop_map(|(start, mut frames)| {
        frames.iter_mut().for_each(|frame| frame.time_ns += start);
        frames
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = prop_oneof![
        (0_u32..=0x7FF).prop_map(|id| CanId::standard(id).unwrap()),
        (0_u32..=0x1FFF_FFFF).prop_map(|id| CanId::extended(id).unwrap()),
    ];
    let time = 0_u64..86_400_000_000_000;
    (time, 0_u8..3, id, 0_u8..6, any::<[u8; 64]>(), 0_usize..16, any::<(bool, bool)>()).prop_map(
        |(time, bus, id, kind, data, length, (brs, esi))| {
            let bus = BusId(bus);
            match kind {
                0 | 1 => Frame::new(time, bus, id, FrameKind::Data, &data[..length % 9]),
                2 | 3 => {
                    let payload = &data[..usize::from(FD_LENGTHS[length])];
                    Frame::new(time, bus, id, FrameKind::Fd { brs, esi }, payload)
                }
                4 => Frame::remote(time, bus, id, u8::try_from(length % 9).unwrap()),
                _ => Frame::new(time, bus, CanId::extended(0x80).unwrap(), FrameKind::Error, &[0; 8]),
            }
            .unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_same_frames_are_read_from_every_format(frames in frames()) {
        for (format, write) in FORMATS {
            let mut log = open(write(&frames), false);
            prop_assert_eq!(log.format(), format);
            let found: Vec<Frame> = log.by_ref().map(Result::unwrap).collect();
            prop_assert_eq!(&found, &frames, "{:?}", format);
            prop_assert!(frames.is_empty() || log.dated());
        }
    }

    #[test]
    fn damaged_recordings_never_panic_and_reading_them_ends(
        frames in frames(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0_u8..5), 1..12),
    ) {
        for (format, write) in FORMATS {
            let mut bytes = write(&frames);
            for (at, other, byte, kind) in &edits {
                if bytes.is_empty() { break; }
                let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
                match kind {
                    0 => bytes[at] = *byte,
                    1 => { bytes.remove(at); }
                    2 => bytes.insert(at, *byte),
                    3 => {
                        let piece = bytes[at..bytes.len().min(at + usize::from(*byte))].to_vec();
                        bytes.splice(other..other, piece);
                    }
                    _ => bytes.truncate(at.max(bytes.len() / 2)),
                }
            }
            ends(bytes.clone(), format)?;
            // The objects inside the containers, too.
            if format == Format::Blf && bytes.len() > 200 {
                let mut file = header(1);
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                let objects = damaged_objects(&frames, &edits);
                encoder.write_all(&objects).unwrap();
                container(&mut file, objects.len(), &encoder.finish().unwrap());
                ends(file, format)?;
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_reading_them_ends(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let starts: [&[u8]; 8] = [
            b"", b"LOGG\x90\0\0\0", &header(1)[..], b";$FILEVERSION=2.1\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n", b";$FILEVERSION=1.3\n",
            b"base dec timestamps relative\n", b"date Sat Sep 30 15:06:13 2017\n0.5 ", b"(1.5) ",
        ];
        for start in starts {
            ends([start, &bytes].concat(), Format::Candump)?;
        }
        for kind in [1_u8, 2, 10, 73, 86, 100, 101, 104] {
            let size = u32::try_from(32 + bytes.len()).unwrap().to_le_bytes();
            let object = [b"LOBJ\x20\0\x01\0", &size[..], &[kind, 0, 0, 0, 2, 0, 0, 0], &[0; 12], &bytes].concat();
            ends([&header(1), &object[..], &object].concat(), Format::Blf)?;
        }
    }
}

/// Reads to the end, strictly and tolerantly: not more records than there are bytes.
fn ends(bytes: Vec<u8>, format: Format) -> Result<(), TestCaseError> {
    let length = bytes.len();
    for tolerant in [false, true] {
        let options = Options { tolerant, ..Options::default() };
        let Ok(mut log) = LogReader::from_reader("log", Cursor::new(bytes.clone()), options) else { continue };
        let mut frames = 0;
        for frame in log.by_ref() {
            frames += usize::from(frame.is_ok());
            prop_assert!(frames <= length * 1100, "{:?}", format);
        }
        prop_assert!(log.next().is_none());
        prop_assert!(tolerant || log.bad_lines().total() == 0);
    }
    Ok(())
}

type Edit = (prop::sample::Index, prop::sample::Index, u8, u8);

/// Objects as they lie in the containers of a file, with bytes changed.
fn damaged_objects(frames: &[Frame], edits: &[Edit]) -> Vec<u8> {
    let file = blf(frames);
    let mut objects = Vec::new();
    let mut rest = &file[144..];
    while rest.len() > 32 {
        let size = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let mut decoder = flate2::write::ZlibDecoder::new(&mut objects);
        decoder.write_all(&rest[32..size]).unwrap();
        decoder.finish().unwrap();
        rest = &rest[(size + size % 4).min(rest.len())..];
    }
    for (at, _, byte, _) in edits {
        if !objects.is_empty() {
            let at = at.index(objects.len());
            objects[at] = *byte;
        }
    }
    objects
}

fn drive(count: u64) -> Vec<Frame> {
    (0..count)
        .map(|n| {
            let (bus, id) = (BusId(u8::try_from(n % 3).unwrap()), CanId::standard(0x100).unwrap());
            let kind = if n % 5 == 0 { FrameKind::Fd { brs: true, esi: n % 2 == 0 } } else { FrameKind::Data };
            Frame::new(1_700_000_000_000_000_000 + n * 1000, bus, id, kind, &n.to_be_bytes()).unwrap()
        })
        .collect()
}

#[test]
fn once_warm_reading_allocates_nothing() {
    let frames = drive(20_000);
    for (format, write) in FORMATS {
        let mut log = open(write(&frames), false);
        let warm = log.by_ref().take(5000).filter(Result::is_ok).count();
        let mut rest = 0;
        let taken = measure(|| rest = log.by_ref().filter(Result::is_ok).count());
        assert_eq!(warm + rest, frames.len(), "{format:?}");
        assert_eq!(taken.count_total, 0, "{format:?}: {} bytes", taken.bytes_total);
    }
}

/// Memory does not depend on what the file says or has.
#[test]
fn hostile_recordings_take_no_more_memory_than_good_ones() {
    let deflated = |bytes: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zeros = vec![0; 50_000_000];
    let mut bomb = header(1);
    container(&mut bomb, zeros.len(), &deflated(&zeros));
    let mut untrue = header(1);
    container(&mut untrue, usize::MAX, &deflated(&zeros));
    let mut object = b"LOBJ\x20\0\x01\0\0\0\0\x01\x41\0\0\0".to_vec();
    object.resize(16 * 1024 * 1024, b'x');
    let mut long = header(1);
    container(&mut long, object.len(), &deflated(&object));
    let magics = [header(1), b"LOBJ".repeat(1_000_000)].concat();
    let mut lines = b"date Sat Sep 30 15:06:13 2017\n0.5 1 J1939TP ".to_vec();
    lines.resize(20_000_000, b'0');
    let comments = b"; x\n".repeat(1_000_000);
    let channels: Vec<u8> = (1..=200).flat_map(|n| format!("0.5 {n} 123 Rx d 0\n").into_bytes()).collect();
    let mut trickle = b"date Sat Sep 30 15:06:13 2017\n".to_vec();
    trickle.extend(channels.repeat(100));
    for (what, bytes) in [
        ("a bomb", bomb),
        ("an untrue size", untrue),
        ("a long object", long),
        ("magics", magics),
        ("a long line", lines),
        ("comments", comments),
        ("channels", trickle),
    ] {
        let taken = measure(|| {
            let log =
                LogReader::from_reader("log", Cursor::new(bytes), Options { tolerant: true, ..Options::default() });
            let _ = log.unwrap().count();
        });
        // The buffers of the input, of the window, and of the inflater; dropping the bytes themselves takes none.
        assert!(taken.bytes_max < 512 * 1024, "{what}: {} bytes", taken.bytes_max);
    }
}

#[test]
fn events_longer_than_a_line_may_be_do_not_end_a_strict_reading() {
    let data = " 00".repeat(1785);
    assert!(data.len() > MAX_LINE);
    let text =
        format!("date Sat Sep 30 15:06:13 2017\n0.5 1 J1939TP FEE3p 6 0 0 - Rx d 1785{data}\n0.6 1 123 Rx d 1 11\n");
    let mut log = open(text.into_bytes(), false);
    assert_eq!(log.by_ref().map(Result::unwrap).count(), 1);
    assert_eq!((log.other_events(), log.lines()), (1, 3));
}

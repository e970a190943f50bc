use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;
use crate::error_frame::ErrorFrame;
use crate::frame::{CanId, FrameKind};
use crate::log::{LogError, LogReader, Options};

/// 2017-09-30 15:06:13.191.
const START: u64 = 1_506_783_973_191_000_000;

fn header() -> Vec<u8> {
    let mut bytes = vec![0; 144];
    bytes[..4].copy_from_slice(FILE_MAGIC);
    bytes[4..8].copy_from_slice(&144_u32.to_le_bytes());
    for (n, field) in [2017_u16, 9, 6, 30, 15, 6, 13, 191].into_iter().enumerate() {
        bytes[40 + 2 * n..42 + 2 * n].copy_from_slice(&field.to_le_bytes());
    }
    bytes
}

/// An object with a header of version 1, its time in nanoseconds, without padding.
fn object(kind: u32, time: u64, fields: &[u8]) -> Vec<u8> {
    let mut bytes = b"LOBJ\x20\0\x01\0".to_vec();
    bytes.extend(u32::try_from(32 + fields.len()).unwrap().to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(time.to_le_bytes());
    bytes.extend(fields);
    bytes
}

fn padded(mut object: Vec<u8>) -> Vec<u8> {
    object.resize(object.len() + object.len() % 4, 0);
    object
}

fn message(channel: u8, flags: u8, dlc: u8, id: u32, data: [u8; 8]) -> Vec<u8> {
    object(1, 1_500_000_000, &[&[channel, 0, flags, dlc][..], &id.to_le_bytes(), &data].concat())
}

fn fd(flags: u8, dlc: u8, fd_flags: u8, valid: u8, data: &[u8]) -> Vec<u8> {
    let head = [&[1, 0, flags, dlc][..], &0x123_u32.to_le_bytes(), &[0; 5], &[fd_flags, valid], &[0; 5]].concat();
    object(100, 0, &[&head, data].concat())
}

fn fd_64(dlc: u8, valid: u8, flags: u32, direction: u8, extra: u8, data: &[u8]) -> Vec<u8> {
    let head = [
        &[1, dlc, valid, 0][..],
        &0x8000_0123_u32.to_le_bytes(),
        &[0; 4],
        &flags.to_le_bytes(),
        &[0; 18],
        &[direction, extra],
        &[0; 4],
    ];
    object(101, 0, &[&head.concat(), data].concat())
}

fn container(method: u16, inflated: usize, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"LOBJ\x10\0\x01\0".to_vec();
    bytes.extend(u32::try_from(32 + data.len()).unwrap().to_le_bytes());
    bytes.extend([10, 0, 0, 0]);
    bytes.extend(method.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(u32::try_from(inflated).unwrap().to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(data);
    padded(bytes)
}

fn deflated(objects: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(objects).unwrap();
    container(2, objects.len(), &encoder.finish().unwrap())
}

fn open(bytes: &[u8], tolerant: bool) -> LogReader {
    let options = Options { tolerant, ..Options::default() };
    LogReader::from_reader("a.blf", io::Cursor::new(bytes.to_vec()), options).unwrap()
}

/// The frames of a file with these objects in a container.
fn frames(objects: &[Vec<u8>]) -> Vec<Frame> {
    let file = [header(), deflated(&objects.concat())].concat();
    open(&file, false).map(Result::unwrap).collect()
}

fn fault(object: &[u8]) -> Fault {
    let file = [header(), deflated(object)].concat();
    match open(&file, false).last() {
        Some(Err(LogError::Malformed { fault, .. })) => fault,
        other => panic!("{other:?}"),
    }
}

const DATA: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn classic_frames() {
    let found = frames(&[
        padded(message(1, 0, 3, 0x123, DATA)),
        padded(message(2, 1, 8, 0x8000_0123, DATA)),
        padded(message(1, 0x80, 5, 0x7FF, DATA)),
        padded(message(1, 0, 13, 0, DATA)),
        padded(message(1, 2, 8, 0x123, DATA)),
        padded(object(86, 0, &[&[1, 0, 0, 2, 0x23, 1, 0, 0][..], &DATA, &[0; 12]].concat())),
    ]);
    assert_eq!(found.len(), 5, "a request to send is no frame");
    let (standard, extended) = (CanId::standard(0x123).unwrap(), CanId::extended(0x123).unwrap());
    assert_eq!((found[0].time_ns, found[0].id, found[0].payload()), (START + 1_500_000_000, standard, &DATA[..3]));
    assert_eq!((found[1].id, found[1].payload(), found[1].bus.0), (extended, &DATA[..], 1));
    assert_eq!((found[2].kind, found[2].len()), (FrameKind::Remote, 5));
    assert_eq!((found[3].kind, found[3].len()), (FrameKind::Data, 8), "a raw DLC above 8");
    assert_eq!((found[4].id, found[4].payload()), (standard, &DATA[..2]));
}

#[test]
fn can_fd_frames_of_both_kinds() {
    let long: Vec<u8> = (0..64).collect();
    let with = |dlc: u8, valid| fd_64(dlc, valid, 0x1000, 0, 0, &long[..usize::from(valid)]);
    let found = frames(&[
        padded(fd(0, 15, 0x7, 64, &long)),
        padded(fd(0, 9, 0x1, 12, &long)),
        padded(fd(0, 4, 0x0, 4, &long)),
        padded(fd(0x80, 4, 0x0, 0, &long)),
        padded(with(15, 64)),
        padded(fd_64(9, 12, 0x7000, 1, 0, &long[..12])),
        padded(fd_64(8, 8, 0x0000, 0, 0, &DATA)),
        padded(fd_64(8, 0, 0x0010, 0, 0, &[])),
        padded(fd_64(8, 8, 0x1000, 2, 0, &DATA)),
        // More bytes are valid than there are: the rest are zeros. Then what follows is other data.
        padded(fd_64(9, 12, 0x1000, 0, 0, &long[..10])),
        padded(fd_64(9, 12, 0x1000, 0, 80, &long[..20])),
        // As a recorder writes it that has 63 of 64 bytes.
        padded(with(15, 63)),
    ]);
    let flexible = |brs, esi| FrameKind::Fd { brs, esi };
    let mut ten = [0; 12];
    ten[..10].copy_from_slice(&long[..10]);
    let mut eight = [0; 12];
    eight[..8].copy_from_slice(&long[..8]);
    let mut most = long.clone();
    most[63] = 0;
    let expected: [(FrameKind, &[u8]); 11] = [
        (flexible(true, true), &long),
        (flexible(false, false), &long[..12]),
        (FrameKind::Data, &long[..4]),
        (FrameKind::Remote, &[]),
        (flexible(false, false), &long),
        (flexible(true, true), &long[..12]),
        (FrameKind::Data, &DATA),
        (FrameKind::Remote, &[]),
        (flexible(false, false), &ten),
        (flexible(false, false), &eight),
        (flexible(false, false), &most),
    ];
    assert_eq!(found.iter().map(|frame| (frame.kind, frame.payload())).collect::<Vec<_>>(), expected);
    assert_eq!((found[3].len(), found[7].len()), (4, 8), "what remote frames ask for");
}

#[test]
fn error_frames() {
    let ext = |flags: u32, code: u8| {
        object(73, 0, &[&[3, 0, 0, 0][..], &flags.to_le_bytes(), &[code, 0, 0, 0], &[0; 24]].concat())
    };
    let found = frames(&[
        padded(object(2, 0, &[3, 0, 0, 0])),
        padded(ext(1, 0xA2)),
        padded(ext(0xE, 0xA2)),
        padded(object(104, 0, &[3; 128])),
    ]);
    assert!(found.iter().all(|frame| ErrorFrame::read(frame).is_some_and(|error| error.protocol)));
    let payloads: Vec<[u8; 4]> = found.iter().map(|frame| frame.payload()[..4].try_into().unwrap()).collect();
    assert_eq!(payloads, [[0; 4], [0, 0, 4, 2], [0; 4], [0; 4]]);
}

#[test]
fn times_are_in_the_unit_that_the_object_says_and_start_in_local_time() {
    let mut coarse = message(1, 0, 0, 1, DATA);
    coarse[16] = 1;
    // A header of version 2, which has another time behind the first.
    let mut second = message(1, 0, 0, 1, DATA);
    second[4] = 40;
    second[6] = 2;
    second[8] += 8;
    second.splice(32..32, [0; 8]);
    let found = frames(&[coarse.clone(), second]);
    let times: Vec<u64> = found.iter().map(|frame| frame.time_ns).collect();
    assert_eq!(times, [START + 15_000_000_000_000, START + 1_500_000_000]);
    coarse[16] = 3;
    assert_eq!(fault(&coarse), Fault::Time);
    let file = [header(), deflated(&message(1, 0, 0, 1, DATA))].concat();
    let options = Options { utc_offset: "+02:00".parse().unwrap(), ..Options::default() };
    let mut log = LogReader::from_reader("a.blf", io::Cursor::new(file.clone()), options).unwrap();
    assert_eq!(log.next().unwrap().unwrap().time_ns, START + 1_500_000_000 - 7_200_000_000_000);
    assert!(log.dated());
    let mut undated = file.clone();
    undated[40..56].fill(0);
    let mut log = open(&undated, false);
    assert_eq!(log.next().unwrap().unwrap().time_ns, 1_500_000_000);
    assert!(!log.dated());
    // The month, the millisecond, the year.
    for (at, field) in [(42, 13_u16), (54, 1000), (54, u16::MAX), (40, 2262), (40, 1601)] {
        let mut strange = file.clone();
        strange[at..at + 2].copy_from_slice(&field.to_le_bytes());
        let error = open(&strange, false).next().unwrap().unwrap_err().to_string();
        assert!(error.contains("expected a date between 1970 and 2261"), "{error}");
        assert_eq!(open(&strange, true).map(Result::unwrap).count(), 1);
    }
}

/// Many objects, cut into containers of every size, stored and deflated: they are the same frames.
#[test]
fn objects_reach_over_containers() {
    let nth = |n: u8| match n % 3 {
        0 => padded(message(1, 0, 8, u32::from(n), DATA)),
        // A text of an odd length, with the magic in it.
        1 => padded(object(65, 0, &[&[0; 16][..], b"a LOBJ in a text"].concat())),
        _ => padded(fd(0, 15, 1, 64, &[n; 64])),
    };
    let objects: Vec<u8> = (0..60).flat_map(nth).collect();
    let whole: Vec<Frame> = open(&[header(), deflated(&objects)].concat(), false).map(Result::unwrap).collect();
    assert_eq!(whole.len(), 40);
    for size in [1, 7, 16, 17, 48, 100, 1000] {
        for method in [0, 2] {
            let mut file = header();
            for piece in objects.chunks(size) {
                file.extend(if method == 0 { container(0, 0, piece) } else { deflated(piece) });
            }
            let mut log = open(&file, false);
            assert_eq!(log.by_ref().map(Result::unwrap).collect::<Vec<_>>(), whole, "{size} {method}");
            assert_eq!((log.other_events(), log.lines()), (20, 60));
        }
    }
    // Without padding, and outside of containers.
    let bare = [message(1, 0, 8, 5, DATA), object(65, 0, b"x"), message(1, 0, 8, 6, DATA)].concat();
    for file in [[header(), deflated(&bare)].concat(), [header(), bare].concat()] {
        assert_eq!(open(&file, false).map(|frame| frame.unwrap().id.number()).collect::<Vec<_>>(), [5, 6]);
    }
}

#[test]
fn objects_that_are_wrong_are_told_by_number_and_place() {
    for (expected, object) in [
        (Fault::Bus, message(0, 0, 8, 1, DATA)),
        (Fault::Identifier, message(1, 0, 8, 0x800, DATA)),
        (Fault::Identifier, message(1, 0, 8, 0xA000_0000, DATA)),
        (Fault::Length, message(1, 0, 16, 1, DATA)),
        (Fault::Length, fd(0, 8, 1, 9, &[0; 64])),
        (Fault::Length, fd(0, 16, 1, 9, &[0; 64])),
        (Fault::Length, fd(0, 8, 0, 65, &[0; 80])),
        (Fault::Payload, fd(0, 15, 1, 64, &[0; 63])),
        (Fault::Payload, object(1, 0, &[1, 0, 0])),
        (Fault::Payload, object(101, 0, &[1; 30])),
        (Fault::Object, [b"LOBJ\x10\0\x01\0\x20\0\0\0\x01\0\0\0".to_vec(), vec![0; 16]].concat()),
        (Fault::Object, b"LOBJ\x20\0\x01\0\x10\0\0\0\x01\0\0\0LOBJ".to_vec()),
        (Fault::Object, b"LOBJ\x20\0\x01\0\xFF\xFF\xFF\xFF\x01\0\0\0LOBJ".to_vec()),
        (Fault::Object, b"LABJ\x20\0\x01\0\x20\0\0\0\x01\0\0\0LABJ".to_vec()),
    ] {
        assert_eq!(fault(&object), expected);
        // Tolerantly it is one fault, and the next object is read.
        let objects = [padded(message(1, 0, 1, 1, DATA)), padded(object), padded(message(1, 0, 2, 2, DATA))].concat();
        let file = [header(), deflated(&objects)].concat();
        let mut log = open(&file, true);
        assert_eq!(log.by_ref().map(|frame| frame.unwrap().len()).collect::<Vec<_>>(), [1, 2], "{expected:?}");
        assert_eq!((log.bad_lines().total(), log.bad_lines().count(expected)), (1, 1));
        assert!(matches!(log.bad_lines().first()[0].place, Place::Object { offset: 48, .. }));
    }
    let objects = [message(1, 0, 1, 1, DATA), message(0, 0, 1, 1, DATA)].concat();
    let error = open(&[header(), deflated(&objects)].concat(), false).last().unwrap().unwrap_err().to_string();
    assert_eq!(
        error,
        "a.blf: object 2 at byte 48 of the inflated containers: expected a channel, 1 to 65535; \
         read the log tolerantly to skip and count such objects"
    );
}

#[test]
fn damaged_containers_cost_what_is_in_them() {
    let good = |id| deflated(&padded(message(1, 0, 1, id, DATA)));
    let flipped = |at: usize| {
        let mut bytes = deflated(&padded(message(1, 0, 1, 9, DATA)));
        bytes[at] ^= 0xFF;
        bytes
    };
    let plain = padded(message(1, 0, 1, 9, DATA));
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&plain).unwrap();
    let inner = encoder.finish().unwrap();
    for (what, damaged) in [
        ("data", flipped(40)),
        ("method", flipped(16)),
        ("magic", flipped(0)),
        ("size", container(2, plain.len() + 1, &inner)),
        ("more than stated", container(2, plain.len() - 1, &inner)),
        ("cut", container(2, plain.len(), &inner[..inner.len() - 6])),
        ("too small", b"LOBJ\x10\0\x01\0\x10\0\0\0\x0A\0\0\0".to_vec()),
    ] {
        let file = [header(), good(1), damaged, good(2)].concat();
        let mut log = open(&file, true);
        let found: Vec<u32> = log.by_ref().map(|frame| frame.unwrap().id.number()).filter(|id| *id != 9).collect();
        assert_eq!(found, [1, 2], "{what}");
        assert_eq!(log.bad_lines().total(), 1, "{what}");
        assert_eq!(log.bad_lines().count(Fault::Container), 1, "{what}");
        let error = open(&file, false).find_map(Result::err).unwrap().to_string();
        assert!(error.contains("expected a container of objects"), "{what}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_ends_with_an_error_after_what_is_good() {
    let objects: Vec<u8> = (0..50).flat_map(|id| padded(message(1, 0, 8, id, DATA))).collect();
    let first = deflated(&objects[..2400]);
    // Its size, and with it that padding may follow.
    let size = usize::try_from(u32::from_le_bytes(array(&first, 8))).unwrap();
    let (first_ends, second_begins) = (144 + size, 144 + first.len());
    let file = [header(), first, container(0, 0, &objects[..480])].concat();
    let mut seen = Vec::new();
    for cut in 144..file.len() {
        for tolerant in [false, true] {
            let (mut good, mut error) = (0, None);
            for frame in open(&file[..cut], tolerant) {
                match frame {
                    Ok(_) => good += 1,
                    Err(why) => error = Some(why.to_string()),
                }
            }
            seen.push(good);
            let between = cut == 144 || (first_ends..=second_begins).contains(&cut);
            assert_eq!(error.is_none(), between, "{cut} of {}: {error:?}", file.len());
            assert!(error.is_none_or(|error| error.contains("the file ends within")));
        }
    }
    assert!(seen.is_sorted() && seen.last() == Some(&59) && seen.contains(&51), "{seen:?}");
    // A recorder that was cut has no totals; ours were none from the start.
    for cut in [10, 72, 143] {
        let error = LogReader::from_reader("a.blf", io::Cursor::new(file[..cut].to_vec()), Options::default());
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "a.blf: cannot open the log: the file ends within its header", "{cut}");
    }
    let mut strange = file.clone();
    strange[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(open(&strange, false).next(), Some(Err(LogError::Malformed { fault: Fault::Header, .. }))));
    let mut log = open(&strange, true);
    assert_eq!((log.by_ref().map(Result::unwrap).count(), log.bad_lines().total()), (60, 1));
}

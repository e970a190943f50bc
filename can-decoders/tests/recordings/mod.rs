//! Writers of recordings for tests and benchmarks: as little as says the same as candump does, to the nanosecond.
//!
//! Channels are the buses' numbers from 1. Error frames lose their details.

use std::fmt::Write as _;
use std::io::Write as _;

use can_decoders::frame::FD_LENGTHS;
use can_decoders::{Frame, FrameKind};
use flate2::Compression;
use flate2::write::ZlibEncoder;

const DAY_NS: u64 = 86_400_000_000_000;
/// From 1899-12-30 to 1970-01-01.
const PEAK_EPOCH_DAYS: u64 = 25_569;

/// Bytes in a BLF container: objects are cut wherever it is full.
const CONTAINER: usize = 10_000;

fn start_ns(frames: &[Frame]) -> u64 {
    frames.iter().map(|frame| frame.time_ns).min().unwrap_or(0)
}

fn bytes(frame: &Frame) -> String {
    frame.payload().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, " {byte:02X}");
        text
    })
}

fn dlc(frame: &Frame) -> usize {
    FD_LENGTHS.iter().position(|length| usize::from(*length) == frame.len()).unwrap_or(0)
}

/// Vector ASC. Its header has whole seconds.
pub(crate) fn asc(frames: &[Frame]) -> Vec<u8> {
    let start = start_ns(frames) / 1_000_000_000;
    let mut text =
        format!("date {}\nbase hex  timestamps absolute\ninternal events logged\n// version 9.0.0\n", date(start));
    for frame in frames {
        let since = frame.time_ns - start * 1_000_000_000;
        let (seconds, fraction, channel) = (since / 1_000_000_000, since % 1_000_000_000, frame.bus.0 + 1);
        let id = format!("{:X}{}", frame.id.number(), if frame.id.is_extended() { "x" } else { "" });
        let (data, length, dlc) = (bytes(frame), frame.len(), dlc(frame));
        let _ = write!(text, "{seconds:4}.{fraction:09} ");
        let _ = match frame.kind {
            FrameKind::Data => writeln!(text, "{channel}  {id:15} Rx   d {length}{data}  Length = 0 BitCount = 0"),
            FrameKind::Remote => writeln!(text, "{channel}  {id:15} Rx   r {length}"),
            FrameKind::Error => writeln!(text, "{channel}  ErrorFrame"),
            FrameKind::Fd { brs, esi } => {
                let (brs, esi) = (u8::from(brs), u8::from(esi));
                writeln!(text, "CANFD {channel} Rx {id:>8}  Name {brs} {esi} {dlc:x} {length}{data} 0 0 1000 0 0 0 0 0")
            }
        };
    }
    text.push_str("End TriggerBlock\n");
    text.into_bytes()
}

/// `Sat Sep 30 22:06:13 2017`.
fn date(seconds: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut month, mut day) = (1970, 0, seconds / 86_400);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("Day {name} {} {hour:02}:{minute:02}:{second:02} {year}", day + 1)
}

/// PEAK TRC 2.1, from midnight on: then the start is a whole number of days.
pub(crate) fn trc(frames: &[Frame]) -> Vec<u8> {
    let days = start_ns(frames) / DAY_NS;
    let mut text = format!(
        ";$FILEVERSION=2.1\r\n;$STARTTIME={}.0\r\n;$COLUMNS=N,O,T,B,I,d,R,L,D\r\n;\r\n",
        days + PEAK_EPOCH_DAYS
    );
    for (number, frame) in (1..).zip(frames) {
        let since = frame.time_ns - days * DAY_NS;
        let (milliseconds, fraction, channel) = (since / 1_000_000, since % 1_000_000, frame.bus.0 + 1);
        let id = if frame.id.is_extended() {
            format!("{:08X}", frame.id.number())
        } else {
            format!("{:04X}", frame.id.number())
        };
        let kind = match frame.kind {
            FrameKind::Data => "DT",
            FrameKind::Remote => "RR",
            FrameKind::Error => "ER",
            FrameKind::Fd { brs: false, esi: false } => "FD",
            FrameKind::Fd { brs: true, esi: false } => "FB",
            FrameKind::Fd { brs: true, esi: true } => "FE",
            FrameKind::Fd { brs: false, esi: true } => "BI",
        };
        let _ = write!(text, "{number:7} {milliseconds:10}.{fraction:06} {kind} {channel:<2} ");
        let _ = match frame.kind {
            FrameKind::Error => write!(text, "- Rx - 0\r\n"),
            _ => write!(text, "{id:>8} Rx -  {:<4}{}\r\n", dlc(frame), bytes(frame)),
        };
    }
    text.into_bytes()
}

/// Vector BLF with deflated containers. Its header has milliseconds.
pub(crate) fn blf(frames: &[Frame]) -> Vec<u8> {
    let start = start_ns(frames) / 1_000_000;
    let mut objects = Vec::new();
    for frame in frames {
        let channel = [frame.bus.0 + 1, 0];
        let id = frame.id.to_bits().to_le_bytes();
        let (length, dlc) = (u8::try_from(frame.len()).unwrap_or(0), u8::try_from(dlc(frame)).unwrap_or(0));
        let mut data = frame.payload().to_vec();
        let (kind, fields): (u32, Vec<u8>) = match frame.kind {
            FrameKind::Error => (2, [&channel[..], &[0; 2]].concat()),
            FrameKind::Data | FrameKind::Remote => {
                let flags = if frame.kind == FrameKind::Remote { 0x80 } else { 0 };
                data.resize(8, 0);
                (1, [&channel[..], &[flags, length], &id, &data].concat())
            }
            // Of the two objects for CAN FD the one for those with the state indicator, to have both.
            FrameKind::Fd { brs, esi: true } => {
                let flags: u32 = 0x5000 | if brs { 0x2000 } else { 0 };
                let numbers = [[0; 4], flags.to_le_bytes()].concat();
                (101, [&[channel[0], dlc, length, 0][..], &id, &numbers, &[0; 24], &data].concat())
            }
            FrameKind::Fd { brs, esi: false } => {
                let flags = 1 | if brs { 2 } else { 0 };
                data.resize(64, 0);
                (100, [&channel[..], &[0, dlc], &id, &[0; 5], &[flags, length], &[0; 5], &data].concat())
            }
        };
        let size = u32::try_from(32 + fields.len()).unwrap_or(0);
        objects.extend(b"LOBJ\x20\0\x01\0");
        objects.extend([size.to_le_bytes(), kind.to_le_bytes(), [2, 0, 0, 0], [0; 4]].concat());
        objects.extend((frame.time_ns - start * 1_000_000).to_le_bytes());
        objects.extend(&fields);
        objects.resize(objects.len() + fields.len() % 4, 0);
    }
    let mut file = header(start);
    for piece in objects.chunks(CONTAINER) {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let _ = encoder.write_all(piece);
        container(&mut file, piece.len(), &encoder.finish().unwrap_or_default());
    }
    file
}

/// A deflated container that states an inflated size.
pub(crate) fn container(file: &mut Vec<u8>, inflated: usize, data: &[u8]) {
    let size = 32 + data.len();
    file.extend(b"LOBJ\x10\0\x01\0");
    file.extend(u32::try_from(size).unwrap_or(0).to_le_bytes());
    file.extend([10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(u32::try_from(inflated).unwrap_or(u32::MAX).to_le_bytes());
    file.extend([0; 4]);
    file.extend(data);
    file.resize(file.len() + size % 4, 0);
}

/// A BLF file's header, with a start in milliseconds since the epoch.
pub(crate) fn header(start: u64) -> Vec<u8> {
    let mut file = vec![0; 144];
    file[..8].copy_from_slice(b"LOGG\x90\0\0\0");
    // Dates are spelled in one place only: here they are read back.
    let text = date(start / 1000);
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(words[1]).unwrap_or(0) / 3 + 1;
    let number = |word: &str| word.parse().unwrap_or(0_u16);
    let fields = [
        number(words[6]),
        u16::try_from(month).unwrap_or(0),
        0,
        number(words[2]),
        number(words[3]),
        number(words[4]),
        number(words[5]),
        u16::try_from(start % 1000).unwrap_or(0),
    ];
    for (n, field) in fields.into_iter().enumerate() {
        file[40 + 2 * n..42 + 2 * n].copy_from_slice(&field.to_le_bytes());
    }
    file
}

use std::io::{Cursor, Write};

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

const LOG: &str = "(1.000001) can0 123#11\n(1.000002) can1 124#22\n\n(1.000003) can0 125#33";

fn open(bytes: impl Into<Vec<u8>>, tolerant: bool) -> LogReader {
    let options = Options { tolerant, ..Options::default() };
    LogReader::from_reader("log", Cursor::new(bytes.into()), options).unwrap()
}

/// The error that ends tolerant reading.
fn error(bytes: &[u8]) -> Option<LogError> {
    let options = Options { tolerant: true, ..Options::default() };
    match LogReader::from_reader("log", Cursor::new(bytes.to_vec()), options) {
        Ok(log) => log.last()?.err(),
        Err(error) => Some(error),
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
}

/// Hands out one byte at a time, with interruptions: what pipes may do.
struct Trickle(Vec<u8>, usize);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.0.is_empty() || buffer.is_empty() {
            return Ok(0);
        }
        buffer[0] = self.0.remove(0);
        Ok(1)
    }
}

#[test]
fn buses_are_numbered_as_seen_after_the_preset_ones() {
    let mut log = open(LOG, false);
    let buses: Vec<u8> = log.by_ref().map(|frame| frame.unwrap().bus.0).collect();
    assert_eq!(buses, [0, 1, 0]);
    assert_eq!((log.buses(), log.lines()), (&["can0".to_owned(), "can1".to_owned()][..], 4));
    let options = Options { buses: vec!["can1".to_owned()], ..Options::default() };
    let mut log = LogReader::from_reader("log", Cursor::new(LOG), options).unwrap();
    assert_eq!(log.by_ref().map(|frame| frame.unwrap().bus.0).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!(log.buses(), ["can1", "can0"]);
}

#[test]
fn compression_is_told_by_the_first_bytes() {
    let (head, tail) = LOG.split_at(30);
    // A skippable frame of three bytes, with the first and the last of the sixteen magic numbers.
    let skip = |magic: u8| [&[magic, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
    for (what, bytes) in [
        ("plain", LOG.as_bytes().to_vec()),
        ("gzip", gzip(LOG)),
        ("gzip of two members, cut in a line", [gzip(head), gzip(tail)].concat()),
        ("zstd", zstd(LOG)),
        ("zstd of two frames, cut in a line", [zstd(head), zstd(tail)].concat()),
        ("zstd with skippable frames", [skip(0x50), zstd(head), skip(0x5F), zstd(tail), skip(0x53)].concat()),
        ("zstd with an empty frame", [zstd(""), zstd(LOG)].concat()),
    ] {
        let frames: Vec<Frame> =
            open(bytes.clone(), false).map(|f| f.unwrap_or_else(|e| panic!("{what}: {e}"))).collect();
        assert_eq!(frames.len(), 3, "{what}");
        let trickled = LogReader::from_reader("log", Trickle(bytes, 0), Options::default()).unwrap();
        assert_eq!(trickled.map(Result::unwrap).collect::<Vec<_>>(), frames, "{what}, byte by byte");
    }
    assert_eq!(open("", false).count(), 0);
}

/// A line that cannot be read leaves no trace in the next one, whatever the pieces it comes in.
#[test]
fn every_format_is_read_byte_by_byte_and_compressed() {
    let asc = "date Sat Sep 30 15:06:13.191 2017\nbase hex timestamps absolute\n1.5 2 123 Rx d 2 11 22\n";
    let trc = ";$FILEVERSION=1.1\n;$STARTTIME=43008.920986006946\n     1)    2.5  Rx   0123  2  11 22\n";
    for (text, format) in [(LOG, Format::Candump), (asc, Format::Asc), (trc, Format::Trc)] {
        let frames: Vec<Frame> = open(text, false).map(Result::unwrap).collect();
        assert!(!frames.is_empty(), "{format:?}");
        for bytes in [text.as_bytes().to_vec(), gzip(text), zstd(text), format!("\u{FEFF}\r\n{text}").into_bytes()] {
            let mut log = LogReader::from_reader("log", Trickle(bytes, 0), Options::default()).unwrap();
            assert_eq!(log.format(), format);
            assert_eq!(log.by_ref().map(Result::unwrap).collect::<Vec<_>>(), frames);
            assert!(log.dated());
        }
    }
}

/// A pipe that gives one line and then nothing, until the test is over.
struct Live(std::sync::mpsc::Receiver<()>, &'static [u8]);

impl Read for Live {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            let _ = self.0.recv();
            return Ok(0);
        }
        self.1.read(buffer)
    }
}

#[test]
fn a_live_candump_is_read_as_it_comes() {
    let (hold, until) = std::sync::mpsc::channel();
    let mut log = LogReader::from_reader("log", Live(until, b"(1.5) can0 123#11\n"), Options::default()).unwrap();
    assert_eq!(log.next().unwrap().unwrap().payload(), [0x11]);
    drop(hold);
    assert!(log.next().is_none());
}

#[test]
fn strict_reading_stops_at_the_first_bad_line() {
    let mut log = open("(1.5) can0 123#11\nrubbish\n(1.6) can0 123#11\n", false);
    assert!(log.next().unwrap().is_ok());
    let error = log.next().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("log:2:1: expected (seconds.fraction)"), "{error}");
    assert!(error.contains("read the log tolerantly"), "{error}");
    assert!(log.next().is_none() && log.next().is_none());
}

#[test]
fn tolerant_reading_counts_bad_lines_and_keeps_the_first() {
    let mut text = b"\xFF\x00garbage\n(1.5) can0 123#11\n(1.5) can0 1234#11\n".to_vec();
    for _ in 0..20 {
        text.extend_from_slice(b"(1.5) can0 123#1\n");
    }
    text.extend_from_slice(b"(1.5) can0 124#22");
    let mut log = open(text, true);
    assert_eq!(log.by_ref().map(Result::unwrap).count(), 2);
    let bad = log.bad_lines();
    assert_eq!((bad.total(), bad.count(Fault::Time), bad.count(Fault::Payload)), (22, 1, 20));
    assert_eq!(bad.count(Fault::Identifier), 1);
    assert_eq!(bad.first().len(), 10);
    assert_eq!(bad.first()[0], BadLine { place: Place::Line { line: 1, column: 1 }, fault: Fault::Time });
    assert_eq!(bad.first()[1], BadLine { place: Place::Line { line: 3, column: 16 }, fault: Fault::Identifier });
}

#[test]
fn over_long_lines_are_skipped_without_being_kept() {
    // 10 MB without a line end, then a line of exactly the limit, then one byte more.
    let mut text = vec![b'x'; 10_000_000];
    let good = "(1.5) can0 123#11";
    text.extend_from_slice(format!("\n{good}{}\n", " ".repeat(MAX_LINE - good.len())).as_bytes());
    text.extend_from_slice(format!("{good}{}\n{good}", " ".repeat(MAX_LINE + 1 - good.len())).as_bytes());
    let mut log = open(text, true);
    assert_eq!(log.by_ref().map(Result::unwrap).count(), 2);
    assert_eq!(log.bad_lines().count(Fault::TooLong), 2);
    assert_eq!(log.lines(), 4);
    let Source::Candump(text) = &log.source else { panic!("candump is text") };
    assert!(text.partial.capacity() <= 2 * (MAX_LINE + 1), "{}", text.partial.capacity());
    let error = open(vec![b'x'; 100_000], false).next().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("log:1:4097: expected a line of at most 4096 bytes"), "{error}");
}

#[test]
fn cut_and_damaged_compressed_logs_end_with_an_error() {
    let text = LOG.replace('\n', "\n\n");
    for (what, bytes) in [("gzip", gzip(&text)), ("zstd", zstd(&text))] {
        for cut in 5..bytes.len() {
            assert!(error(&bytes[..cut]).is_some(), "{what} cut at {cut} of {}", bytes.len());
        }
    }
    // A damaged byte anywhere must be noticed or harmless; never a panic.
    let bytes = zstd(&text);
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let _ = error(&bytes);
        }
    }
    let mut skippable_cut = zstd(&text);
    skippable_cut.extend_from_slice(&[0x50, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
    assert!(error(&skippable_cut).is_some());
}

#[test]
fn a_huge_zstd_window_is_refused_with_the_remedy() {
    // Frame header: window descriptor with exponent 21 (2 GiB), no checksum, no content size.
    let error = error(&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3, 1, 0, 0]).unwrap().to_string();
    assert!(error.contains("without --long"), "{error}");
}

#[test]
fn more_than_255_buses_are_an_error_even_when_tolerant() {
    let text: String = (0..256).map(|n| format!("(1.5) can{n} 123#11\n")).collect();
    let results: Vec<_> = open(text, true).collect();
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 255);
    assert!(matches!(results.last(), Some(Err(LogError::TooManyBuses { place: Place::Line { line: 256, .. }, .. }))));
    let options = Options { buses: vec![String::new(); 256], ..Options::default() };
    let error = LogReader::from_reader("log", Cursor::new(""), options).unwrap_err().to_string();
    assert!(error.contains("256 buses are configured"), "{error}");
    let channels: String = (1..=256).map(|n| format!("0.5 {n} 123 Rx d 0\n")).collect();
    let error = open(channels, true).last().unwrap().unwrap_err().to_string();
    assert_eq!(error, "log:256:1: more than 255 buses; is this a log of CAN buses?");
}

#[test]
fn a_missing_file_is_named() {
    let error = LogReader::open(Path::new("no/such.log"), Options::default()).unwrap_err().to_string();
    assert!(error.starts_with("no/such.log: cannot open"), "{error}");
}

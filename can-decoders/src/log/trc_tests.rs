use proptest::prelude::*;

use super::*;
use crate::error_frame::ErrorFrame;

/// 2021-12-18 14:28:07.062, as near as ten digits of a day come to it.
const START: u64 = 1_639_837_687_062_000_000;
const V1_1: &str = ";$FILEVERSION=1.1\n;$STARTTIME=44548.6028595139\n";
const V2_0: &str = ";$FILEVERSION=2.0\n;$STARTTIME=44548.6028595139\n;$COLUMNS=N,O,T,I,d,l,D\n";
const V2_1: &str = ";$FILEVERSION=2.1\n;$STARTTIME=44548.6028595139\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n";

type Found = Result<Option<(u16, Frame)>, (Fault, usize)>;

/// Frames with their channels, `None` for other events, faults. Comments leave nothing.
fn read(text: &str) -> Vec<Found> {
    let mut trc = Trc::new(UtcOffset::default());
    text.lines()
        .filter_map(|line| match trc.line(line.as_bytes()) {
            Ok(Record::Nothing) => None,
            Ok(Record::Other) => Some(Ok(None)),
            Ok(Record::Frame(BusName::Channel(channel), frame)) => Some(Ok(Some((channel, frame)))),
            Ok(Record::Frame(BusName::Name(name), _)) => panic!("{name}"),
            Err(fault) => Some(Err(fault)),
        })
        .collect()
}

fn one(header: &str, line: &str) -> (u16, Frame) {
    match read(&format!("{header}{line}\n"))[..] {
        [Ok(Some(found))] => found,
        ref other => panic!("{line}: {other:?}"),
    }
}

fn about(time_ns: u64, offset_us: u64) -> bool {
    // The start has a resolution of nine microseconds.
    time_ns.abs_diff(START + offset_us * 1000) < 9000
}

#[test]
fn every_version_has_its_columns() {
    let v1_0 = ";###\n;    Start time: 18.12.2021 14:28:07.062\n;\n";
    let version = |version: &str| V1_1.replace("1.1", version);
    for (header, line, channel, offset_us) in [
        (v1_0.to_owned(), "     1)     17535  0300  7  00 01 02 03 04 05 06", 1, 17_535_000),
        (version("1.0"), "     1)     17535  0300  7  00 01 02 03 04 05 06", 1, 17_535_000),
        (version("1.1"), "     1)     17535.4  Tx         0300  7  00 01 02 03 04 05 06 ", 1, 17_535_400),
        (version("1.2"), "     1)     17535.231 2  Rx     0300  7  00 01 02 03 04 05 06 ", 2, 17_535_231),
        (version("1.3"), "     1)     17535.231 12 Rx     0300 -  7    00 01 02 03 04 05 06", 12, 17_535_231),
        (V2_0.to_owned(), "      1     17535.231 DT     0300 Tx 7  00 01 02 03 04 05 06", 1, 17_535_231),
        (V2_1.to_owned(), "      1     17535.231 DT 3      0300 Rx -  7    00 01 02 03 04 05 06\r", 3, 17_535_231),
    ] {
        let (found, frame) = one(&header, line);
        assert_eq!(
            (found, frame.id, frame.kind),
            (channel, CanId::standard(0x300).unwrap(), FrameKind::Data),
            "{line}"
        );
        assert_eq!(frame.payload(), [0, 1, 2, 3, 4, 5, 6], "{line}");
        assert!(about(frame.time_ns, offset_us), "{line}: {}", frame.time_ns);
        let extended = one(&header, &line.replace("0300", "00000300")).1;
        assert_eq!(extended.id, CanId::extended(0x300).unwrap(), "{line}");
    }
}

#[test]
fn types_of_version_2() {
    let fd = |brs, esi| FrameKind::Fd { brs, esi };
    for (kind, expected) in
        [("FD", fd(false, false)), ("FB", fd(true, false)), ("FE", fd(true, true)), ("BI", fd(false, true))]
    {
        let data = "0A ".repeat(12);
        let (_, frame) = one(V2_0, &format!("      6      1334.416 {kind}     0500 Tx 12 {data}"));
        assert_eq!((frame.kind, frame.payload()), (expected, &[10; 12][..]), "{kind} by length");
        let (_, frame) = one(V2_1, &format!("      6      1334.416 {kind} 1   0500 Tx -  9 {data}"));
        assert_eq!((frame.kind, frame.len()), (expected, 12), "{kind} by DLC");
    }
    // A raw DLC above 8.
    assert_eq!(one(V2_1, "1 1.0 DT 1 0500 Tx - 13 00 01 02 03 04 05 06 07").1.len(), 8);
    for line in [
        "2     17540.300 ST          Rx    00 00 00 08",
        "8      1334.643 EC          Rx    02 02",
        "8      1334.643 EV User text",
    ] {
        assert_eq!(read(&format!("{V2_0}{line}")), [Ok(None)], "{line}");
        assert_eq!(read(&format!("{V2_1}{line}")), [Ok(None)], "{line}");
    }
}

#[test]
fn remote_frames_ask_for_a_length() {
    let v1_3 = V1_1.replace("1.1", "1.3");
    for (header, line) in [
        (";\n", "    12)     48937      0704  3  RTR"),
        (V1_1, "    12)     48937.6  Rx         0704  3  RTR"),
        (&v1_3, "    12)     48937.600 1  Rx        0704 -  3    RTR"),
        (V2_0, "     12     48937.600 RR     0704 Rx 3"),
        (V2_1, "     12     48937.600 RR 1      0704 Rx -  3   "),
    ] {
        let (_, frame) = one(header, line);
        assert_eq!((frame.kind, frame.len(), frame.id.number()), (FrameKind::Remote, 3, 0x704), "{line}");
    }
}

#[test]
fn error_frames_keep_their_details() {
    let v1_2 = V1_1.replace("1.1", "1.2");
    for (header, line) in [
        (";\n", "     2)      1842      0004  4  ERROR 00 19 08 09"),
        (V1_1, "     6)      1349.2  Error      0004  4  00 19 08 09"),
        (&v1_2, "     6)      1349.222  1  Error      0004  4  00 19 08 09"),
        (V2_0, "      7      1334.522 ER          Rx    04 00 19 08 09"),
        (V2_1, "      7      1334.522 ER 1      -    Rx -  5 04 00 19 08 09"),
    ] {
        let (channel, frame) = one(header, line);
        assert_eq!((channel, frame.kind), (1, FrameKind::Error), "{line}");
        assert_eq!((frame.id.number(), frame.payload()), (0x288, &[0, 0, 0x84, 0x19, 0, 0, 9, 8][..]), "{line}");
        assert_eq!(ErrorFrame::read(&frame).unwrap().counters, Some((9, 8)), "{line}");
    }
    // Receiving, and a kind that SocketCAN has no bit for.
    let (_, frame) = one(V1_1, "6) 1349.2  Error  0008  4  01 19 00 00");
    assert_eq!(frame.payload(), [0, 0, 0, 0x19, 0, 0, 0, 0]);
    let (_, frame) = one(V2_0, "7 1334.522 ER Rx");
    assert_eq!((frame.id.number(), frame.payload()), (0x80, &[0; 8][..]), "no details");
}

#[test]
fn states_of_the_bus_are_not_frames() {
    let v1_3 = V1_1.replace("1.1", "1.3");
    for (header, line) in [
        (";\n", "     2)     17540  FFFFFFFF  4  00 00 00 08 -- -- -- -- BUSHEAVY"),
        (V1_1, "     2)     17540.3  Warng  FFFFFFFF  4  00 00 00 08  BUSHEAVY "),
        (&v1_3, "     2)     17540.300 1  Warng FFFFFFFF -  4    00 00 00 08 BUSHEAVY"),
        // J1939 put together.
        (&v1_3, "     2)     17540.300 1  Rx 10062123 - 9 D2 AF AA 88 18 80 01 02 03"),
    ] {
        assert_eq!(read(&format!("{header}{line}")), [Ok(None)], "{line}");
    }
}

#[test]
fn the_start_is_that_of_the_header_or_else_of_the_comment() {
    let at = |header: &str| one(header, "1) 1000.0 0001 0").1.time_ns;
    assert_eq!(at(";\n"), 1_000_000_000, "no start: from the epoch");
    assert_eq!(at(";   Start time: 18.12.2021 14:28:07.062.5\n"), START + 1_000_500_000);
    assert_eq!(at(";   Start time: 12/18/2021 14:28:07.062\n"), 1_000_000_000, "which is the month?");
    assert_eq!(at(";   Start time: 2021-12-18 14:28:07.062000+00:00\n"), START + 1_000_000_000);
    let exact = ";$STARTTIME=25570\n;   Start time: 18.12.2021 14:28:07.062\n";
    assert_eq!(at(exact), 86_401_000_000_000);
    let mut trc = Trc::new("-05:00".parse().unwrap());
    assert!(!trc.dated());
    trc.line(b";$STARTTIME=25570.0;").unwrap();
    assert!(trc.dated());
    let Ok(Record::Frame(_, frame)) = trc.line(b"1) 0 0001 0") else { panic!() };
    assert_eq!(frame.time_ns, (24 + 5) * 3600 * 1_000_000_000);
}

#[test]
fn what_is_wrong_is_blamed_where_it_is() {
    for (header, line, expected) in [
        (V1_1, "hello", (Fault::Time, 1)),
        (V1_1, "1)1.0 Rx 0300 0", (Fault::Time, 3)),
        (V1_1, "1) x Rx 0300 0", (Fault::Time, 4)),
        (V1_1, "1) 18446744073709551615.0 Rx 0300 0", (Fault::Time, 24)),
        (V1_1, "1) 1.0 Rx 0800 0", (Fault::Identifier, 11)),
        (V1_1, "1) 1.0 Rx 20000000 0", (Fault::Identifier, 11)),
        (V1_1, "1) 1.0 Rx wxyz 0", (Fault::Identifier, 11)),
        (V1_1, "1) 1.0 Rx 0300", (Fault::Payload, 15)),
        (V1_1, "1) 1.0 Rx 0300 2 11", (Fault::Payload, 20)),
        (V1_1, "1) 1.0 Rx 0300 1 GG", (Fault::Payload, 18)),
        (V1_1, "1) 1.0 Rx 0300 1 11 12", (Fault::Trailing, 21)),
        (V1_1, "1) 1.0 Rx 0300 16 11 12", (Fault::Length, 16)),
        (V1_1, ";$FILEVERSION=3.0", (Fault::Header, 15)),
        (V1_1, ";$STARTTIME=today", (Fault::Date, 13)),
        (V1_1, ";$COLUMNS=N,T,O,D", (Fault::Header, 11)),
        (V1_1, ";$COLUMNS=N,O,D,T", (Fault::Header, 11)),
        (V1_1, ";$COLUMNS=N,O,TT", (Fault::Header, 11)),
        (";$FILEVERSION=2.1\n", "1 1.0 DT 1 0300 Rx - 0", (Fault::Header, 1)),
        (V2_1, "1 1.0 DT 0 0300 Rx - 0", (Fault::Bus, 10)),
        (V2_1, "1 1.0 DT 1 0300 Up - 0", (Fault::Payload, 17)),
        (V2_1, "1 1.0 Data 1 0300 Rx - 0", (Fault::Payload, 7)),
        (V2_1, "1 1.0 DT 1 0300 Rx", (Fault::Payload, 19)),
        (V2_1, "1 1.0 DT 1 0300 Rx - x", (Fault::Length, 22)),
        (V2_1, "1 1.0 FD 1 0300 Rx - 16", (Fault::Length, 22)),
        (V2_1, "1 1.0 RR 1 0300 Rx - 1 11", (Fault::Trailing, 24)),
        (V2_0, "1 1.0 FD 0300 Rx 9 1 2 3 4 5 6 7 8 9", (Fault::Length, 18)),
        (V2_0, "1 1.0 DT 0300 Rx 9 1 2 3 4 5 6 7 8 9", (Fault::Length, 18)),
        (V2_0, "1 1.0 ER", (Fault::Payload, 9)),
    ] {
        assert_eq!(read(&format!("{header}{line}")), [Err(expected)], "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_lines_never_panic(
        line in proptest::collection::vec(any::<u8>(), 0..120),
        likely in "[0-9A-FRTxd .)-]{0,60}",
        columns in "[NOTBIdRlLD,]{0,20}",
    ) {
        for version in ["1.0", "1.1", "1.2", "1.3", "2.0", "2.1"] {
            let mut trc = Trc::new(UtcOffset::default());
            for header in [format!(";$FILEVERSION={version}"), format!(";$COLUMNS=N,O,{columns}"), format!(";$STARTTIME={likely}")] {
                let _ = trc.line(header.as_bytes());
            }
            let _ = trc.line(&line);
            for start in ["", "1) 1.0 ", "1 1.0 DT ", "1 1.0 FD 1 0300 Rx ", "1 1.0 ER "] {
                let _ = trc.line(format!("{start}{likely}").as_bytes());
            }
        }
    }
}

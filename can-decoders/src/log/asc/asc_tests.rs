use proptest::prelude::*;

use super::*;
use crate::error_frame::ErrorFrame;
use crate::frame::{CanId, Frame, FrameKind};

const SECOND: u64 = 1_000_000_000;
/// 2017-09-30 15:06:13.
const START: u64 = 1_506_783_973 * SECOND;
const HEADER: &str = "date Sat Sep 30 15:06:13 2017\nbase hex  timestamps absolute\ninternal events logged\n";

type Read = Vec<Result<Option<(u16, Frame)>, (Fault, usize)>>;

/// Frames with their channels, `None` for other events, faults. Headers and comments leave nothing.
fn read(text: &str) -> Read {
    let mut asc = Asc::new(UtcOffset::default());
    text.lines()
        .filter_map(|line| match asc.line(line.as_bytes(), true) {
            Ok(Record::Nothing) => None,
            Ok(Record::Other) => Some(Ok(None)),
            Ok(Record::Frame(BusName::Channel(channel), frame)) => Some(Ok(Some((channel, frame)))),
            Ok(Record::Frame(BusName::Name(name), _)) => panic!("{name}"),
            Err(fault) => Some(Err(fault)),
        })
        .collect()
}

fn one(line: &str) -> (u16, Frame) {
    frame_of(HEADER, line)
}

fn frame_of(header: &str, line: &str) -> (u16, Frame) {
    match read(&format!("{header}{line}\n"))[..] {
        [Ok(Some(found))] => found,
        ref other => panic!("{line}: {other:?}"),
    }
}

fn fault(line: &str) -> (Fault, usize) {
    match read(&format!("{HEADER}{line}\n"))[..] {
        [Err(fault)] => fault,
        ref other => panic!("{line}: {other:?}"),
    }
}

fn times(text: &str) -> Vec<u64> {
    read(text).into_iter().filter_map(|found| found.unwrap().map(|(_, frame)| frame.time_ns)).collect()
}

#[test]
fn classic_frames() {
    let (channel, frame) = one(
        "   1.015991 2  6F9             Rx   d 8 05 0C 00 00 00 00 00 ff  Length = 240015 BitCount = 124 ID = 1785",
    );
    assert_eq!((channel, frame.time_ns), (2, START + 1_015_991_000));
    assert_eq!((frame.id, frame.kind), (CanId::standard(0x6F9).unwrap(), FrameKind::Data));
    assert_eq!(frame.payload(), [5, 0x0C, 0, 0, 0, 0, 0, 0xFF]);
    let (_, frame) = one("3.098426 1  18EBFF00x  Tx d 2 01 A0\r");
    assert_eq!((frame.id, frame.payload()), (CanId::extended(0x18EB_FF00).unwrap(), &[1, 0xA0][..]));
    let (_, frame) = one("0.5 1 0x Rx d 0");
    assert_eq!((frame.id, frame.len()), (CanId::extended(0).unwrap(), 0));
    // A raw DLC above 8.
    let (_, frame) = one("13.258671 1  3FF Tx d D 55 AA 01 02 03 04 05 06  Length = 232016");
    assert_eq!(frame.payload(), [0x55, 0xAA, 1, 2, 3, 4, 5, 6]);
    assert_eq!(one("0.5 300 1 Rx d 1 A // a comment").0, 300);
}

#[test]
fn base_ten_holds_for_identifiers_lengths_and_data() {
    let header = "date Sat Sep 30 15:06:13 2017\nbase dec  timestamps absolute\n";
    let (_, frame) = frame_of(header, "0.5 1 1785 Rx d 3 001 16 255");
    assert_eq!((frame.id, frame.payload()), (CanId::standard(1785).unwrap(), &[1, 16, 255][..]));
    let (_, frame) = frame_of(header, "0.5 1 418119424x Rx d 13 1 2 3 4 5 6 7 8");
    assert_eq!((frame.id, frame.len()), (CanId::extended(418_119_424).unwrap(), 8));
    let (_, frame) = frame_of(header, "0.5 CANFD 1 Rx 300 1 0 9 12 1 2 3 4 5 6 7 8 9 10 11 12 0 0 303000");
    assert_eq!((frame.id.number(), frame.payload()[11]), (300, 12));
    assert_eq!(frame_of(header, "0.5 CANFD 1 Rx 300 0 0 a 16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").1.len(), 16);
    assert_eq!(read(&format!("{header}0.5 1 7FF Rx d 0"))[0], Err((Fault::Identifier, 7)));
    assert_eq!(read(&format!("{header}0.5 1 1 Rx d 1 256"))[0], Err((Fault::Payload, 16)));
}

#[test]
fn names_instead_of_identifiers_are_found_by_the_number_at_the_end() {
    let (_, frame) = one("0.5 1 EngineData Rx d 1 11 Length = 240015 BitCount = 124 ID = 1785");
    assert_eq!(frame.id, CanId::standard(1785).unwrap());
    // A name that looks like a number, and a number that looks like a name.
    assert_eq!(one("0.5 1 ADD Rx d 1 11 Length = 0 BitCount = 0 ID = 418119424x").1.id.number(), 418_119_424);
    assert_eq!(one("0.5 1 ADDx Rx d 1 11").1.id, CanId::extended(0xADD).unwrap());
    assert_eq!(one("0.5 1 C8 Rx d 1 11 Length = 0 BitCount = 0 ID = 200").1.id, CanId::standard(200).unwrap());
}

#[test]
fn remote_and_error_frames() {
    for (line, length) in [
        ("2.510001 2 100 Tx r", 0),
        ("2.520002 3 200 Tx r Length = 1704000 BitCount = 145 ID = 88888888x", 0),
        ("2.584921 4 300 Tx r 8 Length = 1704000 BitCount = 145 ID = 88888888x", 8),
        ("2.584921 4 300 Tx r f", 8),
        ("30.300981 CANFD   3 Tx     50005x       0 1 5 0 140000 73 200050 7a60 46500250 460a0250", 5),
        ("30.300981 CANFD   3 Tx     50005x       0 0 8 0", 8),
    ] {
        let (_, frame) = one(line);
        assert_eq!((frame.kind, frame.len(), frame.payload()), (FrameKind::Remote, length, &[][..]), "{line}");
    }
    for (line, data) in [
        ("2.501000 1 ErrorFrame", [0; 8]),
        ("2.501010 1  ERRORFRAME  ECC: 10100010", [0, 0, 4, 2, 0, 0, 0, 0]),
        ("2.501010 1 ErrorFrame ECC: 00011001", [0, 0, 0x81, 0x19, 0, 0, 0, 0]),
        ("2.501020 1 ErrorFrame Flags = 0xe CodeExt = 0x20a2 Code = 0x82 ID = 0 DLC = 0 Position = 5", [0; 8]),
        ("30.806898 CANFD   1 Tx ErrorFrame Not Acknowledge error, dominant error flag fffe c7 31ca", [0; 8]),
    ] {
        let (channel, frame) = one(line);
        assert_eq!((channel, frame.kind, frame.payload()), (1, FrameKind::Error, &data[..]), "{line}");
        assert!(ErrorFrame::read(&frame).unwrap().protocol, "{line}");
    }
}

#[test]
fn can_fd_frames() {
    let tail = "  102203  133   303000 e0006659 46500250 4b140250 20011736 2001040d";
    let (channel, frame) = one(&format!("30.0 CANFD   1 Rx   300           1 0 8  8 11 c2 03 04 05 06 07 08 {tail}"));
    assert_eq!((channel, frame.kind), (1, FrameKind::Fd { brs: true, esi: false }));
    assert_eq!(frame.payload(), [0x11, 0xC2, 3, 4, 5, 6, 7, 8]);
    let (_, frame) = one(&format!("30.0 CANFD 2 Tx 1C4D80A7x Name_12 0 1 9 12 {}{tail}", "0a ".repeat(12)));
    assert_eq!((frame.kind, frame.len()), (FrameKind::Fd { brs: false, esi: true }, 12));
    assert_eq!(frame.id, CanId::extended(0x1C4D_80A7).unwrap());
    let (_, frame) = one(&format!("30.0 CANFD 2 Tx 1 f_1 1 1 f 64 {}{tail}", "FF ".repeat(64)));
    assert_eq!((frame.payload(), frame.kind), (&[0xFF; 64][..], FrameKind::Fd { brs: true, esi: true }));
    // Classic frames on an FD channel, by their flags.
    let (_, frame) = one("30.0 CANFD 2 Tx 1 0 0 2 2 11 22 0 0 200000 0 0");
    assert_eq!((frame.kind, frame.payload()), (FrameKind::Data, &[0x11, 0x22][..]));
    let (_, frame) = one("30.0 CANFD 2 Tx 1 0 0 2 2 11 22");
    assert_eq!(frame.kind, FrameKind::Fd { brs: false, esi: false }, "no flags");
    let (_, frame) = one("30.0 CANFD 2 Tx 1 0 0 0 0 0 0 1000 0 0");
    assert_eq!((frame.kind, frame.len()), (FrameKind::Fd { brs: false, esi: false }, 0));
}

#[test]
fn events_that_are_not_frames_are_counted_apart() {
    for line in [
        "0.000000 Start of measurement",
        "0.015991 CAN 1 Status:chip status error passive - TxErr: 132 RxErr: 0",
        "1.015991 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%",
        "3.297743 1  J1939TP FEE3p        6    0  0   -   Rx   d 23 A0 0F A6 60 3B",
        "0.5 SV: 2 0 1 ::Name = 5",
        "0.5 Li 1 Tx 8 1 2 3 4",
        "0.5 ETH 1 Rx 12:0011",
        "0.5 1 123 TxRq d 8 11 22",
        "0.5 CANFD 1 TxRq 123 Name",
        "0.5 CANFD 1 Statistic: x",
        "0.5",
        "0.5 1",
        "0.5 log trigger event",
    ] {
        assert_eq!(read(&format!("{HEADER}{line}")), [Ok(None)], "{line}");
    }
    for line in ["", "  \t", "// version 9.0.0", "End TriggerBlock", "Begin Triggerblock", "no internal events logged"]
    {
        assert_eq!(read(&format!("{HEADER}{line}")), [], "{line}");
    }
}

#[test]
fn what_is_wrong_is_blamed_where_it_is() {
    for (line, expected) in [
        ("hello", (Fault::Time, 1)),
        ("1.5x 1 123 Rx d 0", (Fault::Time, 4)),
        ("99999999999999999999.0 1 123 Rx d 0", (Fault::Time, 21)),
        ("18446744073.0 1 123 Rx d 0", (Fault::Time, 1)),
        ("1.5 0 123 Rx d 0", (Fault::Bus, 5)),
        ("1.5 65536 123 Rx d 0", (Fault::Bus, 5)),
        ("1.5 CANFD x Rx 123 0 0 0 0", (Fault::Bus, 11)),
        ("1.5 1 800 Rx d 0", (Fault::Identifier, 7)),
        ("1.5 1 20000000x Rx d 0", (Fault::Identifier, 7)),
        ("1.5 1 Name Rx d 0", (Fault::Identifier, 7)),
        ("1.5 1 xx Rx d 0", (Fault::Identifier, 7)),
        ("1.5 1 123 Rx q 0", (Fault::Payload, 14)),
        ("1.5 1 123 Rx d", (Fault::Payload, 15)),
        ("1.5 1 123 Rx d 2 11", (Fault::Payload, 20)),
        ("1.5 1 123 Rx d 2 11 1G", (Fault::Payload, 21)),
        ("1.5 1 123 Rx d 2 11 123", (Fault::Payload, 21)),
        ("1.5 1 123 Rx d 40 11 12", (Fault::Length, 16)),
        ("1.5 CANFD 1 Rx Name 0 0 0 0", (Fault::Identifier, 16)),
        ("1.5 CANFD 1 Rx 123 2 0 0 0", (Fault::Payload, 20)),
        ("1.5 CANFD 1 Rx 123 0 x 0 0", (Fault::Payload, 22)),
        ("1.5 CANFD 1 Rx 123 0 0 10 0", (Fault::Length, 24)),
        ("1.5 CANFD 1 Rx 123 0 0 f 65", (Fault::Length, 26)),
        ("1.5 CANFD 1 Rx 123 0 0 f 63 11", (Fault::Payload, 31)),
        ("1.5 CANFD 1 Rx 123 0 0 9 10 0 1 2 3 4 5 6 7 8 9 0 0 1000", (Fault::Length, 26)),
        ("1.5 CANFD 1 Rx 123 0 0 8 0 0 0 1000", (Fault::Length, 26)),
        ("date Sat Foo 30 15:06:13 2017", (Fault::Date, 6)),
        ("Begin Triggerblock yesterday", (Fault::Date, 20)),
        ("begin something", (Fault::Time, 7)),
        ("base oct", (Fault::Header, 6)),
        ("base hex timestamps sometimes", (Fault::Header, 21)),
    ] {
        assert_eq!(fault(line), expected, "{line}");
    }
}

#[test]
fn long_lines_are_judged_by_their_beginning() {
    let mut asc = Asc::new(UtcOffset::default());
    let long = |start: &str| format!("{start}{}", " 00".repeat(1785)).into_bytes()[..MAX_LINE].to_vec();
    assert_eq!(asc.line(&long("3.2 1  J1939TP FEE3p 6 0 0 - Rx d 1785"), false), Ok(Record::Other));
    assert_eq!(asc.line(&long("// "), false), Ok(Record::Nothing));
    assert_eq!(asc.line(&long("3.2 1 123 Rx d 8"), false), Err((Fault::TooLong, MAX_LINE + 1)));
    assert_eq!(asc.line(&long("3.2 1 123 Rx d 40"), false), Err((Fault::TooLong, MAX_LINE + 1)));
}

#[test]
fn times_count_from_the_date() {
    let event = "0.25 1 1 Rx d 0\n1.5 1 1 Rx d 0\n";
    assert_eq!(
        times(&format!("date Sat Sep 30 03:06:13 pm 2017\n{event}")),
        [START + SECOND / 4, START + 3 * SECOND / 2]
    );
    assert_eq!(times(event), [SECOND / 4, 3 * SECOND / 2], "without a date they count from the epoch");
    let mut asc = Asc::new("+02:00".parse().unwrap());
    assert!(!asc.dated());
    asc.line(b"date Sat Sep 30 17:06:13 2017", true).unwrap();
    assert!(asc.dated());
    let Ok(Record::Frame(_, frame)) = asc.line(b"0.000001234 1 1 Rx d 0", true) else { panic!() };
    assert_eq!(frame.time_ns, START + 1234);
}

#[test]
fn relative_times_count_from_the_event_before_whatever_it_is() {
    let text = "date Sat Sep 30 15:06:13 2017\nbase hex\ntimestamps relative\n0.5 1 1 Rx d 0\n0.25 SV: 1\n// x\n\
        0.25 1 1 Rx d 0\n0.000001 1 bad Rx d 0\n0.5 CAN 1 Status:x\n1.0 1 1 Rx d 0\n";
    let found: Vec<u64> =
        read(text).into_iter().filter_map(|found| found.ok()?.map(|(_, frame)| frame.time_ns)).collect();
    assert_eq!(found, [500_000, 1_000_000, 2_500_001].map(|us| START + us * 1000));
}

#[test]
fn blocks_have_dates_of_their_own() {
    let block = |time: &str| format!("Begin Triggerblock Sat Sep 30 {time} 2017\n");
    let ten = START + 10 * SECOND;
    // Written later than recorded: the block's date is right.
    assert_eq!(
        times(&format!("date Sun Oct 1 09:00:00 2017\n{}0.5 1 1 Rx d 0\n", block("15:06:13"))),
        [START + SECOND / 2]
    );
    // Each block anew.
    let text = format!("{HEADER}{}0.5 1 1 Rx d 0\n{}0.5 1 1 Rx d 0\n", block("15:06:13"), block("15:06:23"));
    assert_eq!(times(&text), [START + SECOND / 2, ten + SECOND / 2]);
    // On from the start of the measurement, with and without events before the trigger.
    let text = format!("{HEADER}{}0.5 1 1 Rx d 0\n{}10.1 1 1 Rx d 0\n", block("15:06:13"), block("15:06:23"));
    assert_eq!(times(&text), [START + SECOND / 2, ten + SECOND / 10]);
    let text = format!("{HEADER}{}8.5 1 1 Rx d 0\n11.0 1 1 Rx d 0\n", block("15:06:23"));
    assert_eq!(times(&text), [ten - 3 * SECOND / 2, ten + SECOND]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_lines_never_panic(
        line in proptest::collection::vec(any::<u8>(), 0..120),
        likely in "[0-9a-fxRTd .:]{0,60}",
        whole in any::<bool>(),
    ) {
        let mut asc = Asc::new(UtcOffset::default());
        let _ = asc.line(&line, whole);
        for start in ["", "1.5 1 123 Rx d ", "1.5 CANFD 1 Rx 123 ", "date Sat ", "Begin Triggerblock ", "base "] {
            let _ = asc.line(format!("{start}{likely}").as_bytes(), whole);
        }
    }
}

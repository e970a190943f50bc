use proptest::prelude::*;

use super::*;

fn frame(line: &str) -> Frame {
    match parse_line(line.as_bytes()) {
        Ok(Record::Frame(_, frame)) => frame,
        other => panic!("{line}: {other:?}"),
    }
}

fn fault(line: &str) -> (Fault, usize) {
    parse_line(line.as_bytes()).unwrap_err()
}

#[test]
fn standard_and_extended_frames() {
    let line = parse_line(b"(1436509052.249713) vcan0 044#2A366C2BBA").unwrap();
    let Record::Frame(bus, found) = line else { panic!("{line:?}") };
    assert_eq!(bus, BusName::Name("vcan0"));
    assert_eq!(found.time_ns, 1_436_509_052_249_713_000);
    assert_eq!((found.id, found.kind), (CanId::standard(0x44).unwrap(), FrameKind::Data));
    assert_eq!(found.payload(), [0x2A, 0x36, 0x6C, 0x2B, 0xBA]);
    assert_eq!(frame("(0.5) a 18FEF1FE#ff").id, CanId::extended(0x18FE_F1FE).unwrap());
    assert_eq!(frame("(0.5) a 00000012#").id, CanId::extended(0x12).unwrap());
    assert!(frame("(0.5) a 7FF#").is_empty());
}

#[test]
fn fractions_have_one_to_nine_digits() {
    assert_eq!(frame("(000.000000) a 001#").time_ns, 0);
    assert_eq!(frame("(1.5) a 001#").time_ns, 1_500_000_000);
    assert_eq!(frame("(1.000000001) a 001#").time_ns, 1_000_000_001);
    assert_eq!(frame("(18446744073.709551615) a 001#").time_ns, u64::MAX);
    for bad in
        ["(18446744073.709551616) a 1#", "(99999999999999999999.0) a 1#", "(1.0000000000) a 1#", "(1) a 1#", "(.5) a"]
    {
        assert_eq!(fault(bad).0, Fault::Time, "{bad}");
    }
}

#[test]
fn fd_frames() {
    let found = frame("(0.5) a 123##1112233");
    assert_eq!((found.kind, found.payload()), (FrameKind::Fd { brs: true, esi: false }, &[0x11, 0x22, 0x33][..]));
    assert_eq!(frame("(0.5) a 123##2").kind, FrameKind::Fd { brs: false, esi: true });
    assert_eq!(frame("(0.5) a 123##7").kind, FrameKind::Fd { brs: true, esi: true });
    assert_eq!(frame(&format!("(0.5) a 00000123##0{}", "AB".repeat(64))).len(), 64);
    assert_eq!(fault(&format!("(0.5) a 123##0{}", "AB".repeat(65))).0, Fault::Length);
    assert_eq!(fault(&format!("(0.5) a 123##0{}", "AB".repeat(9))), (Fault::Length, 15));
    assert_eq!(fault("(0.5) a 123##").0, Fault::Payload);
}

#[test]
fn remote_and_error_frames() {
    let found = frame("(0.5) a 123#R");
    assert_eq!((found.kind, found.len(), found.payload().len()), (FrameKind::Remote, 0, 0));
    assert_eq!(frame("(0.5) a 12345678#R8").len(), 8);
    assert_eq!(frame("(0.5) a 123#R8_C T").len(), 8);
    assert_eq!(fault("(0.5) a 123#R9").0, Fault::Length);
    let found = frame("(0.5) a 20000088#0000000000000001");
    assert_eq!((found.kind, found.id.number(), found.len()), (FrameKind::Error, 0x88, 8));
}

#[test]
fn separators_directions_and_raw_lengths() {
    assert_eq!(frame("(0.5) a 123#11.22.33").payload(), [0x11, 0x22, 0x33]);
    assert_eq!(frame("(0.5) a 123#11 22 33 R\r").payload(), [0x11, 0x22, 0x33]);
    assert_eq!(frame("(0.5)   a\t123#1122 T ").payload(), [0x11, 0x22]);
    assert_eq!(frame("(0.5) a 123# R").payload(), [0; 0]);
    assert_eq!(frame("(0.5) a 123#1122334455667788_B").len(), 8);
    assert_eq!(fault("(0.5) a 123#1122334455667788_8").0, Fault::Payload);
    assert_eq!(fault("(0.5) a 123#11_9").0, Fault::Payload);
}

#[test]
fn blank_lines_are_nothing_and_the_rest_is_blamed_where_it_is() {
    assert_eq!(parse_line(b""), Ok(Record::Nothing));
    assert_eq!(parse_line(b" \t\r"), Ok(Record::Nothing));
    for (line, expected) in [
        ("hello", (Fault::Time, 1)),
        ("(1.5)a 123#", (Fault::Time, 6)),
        ("(1.5) ", (Fault::Bus, 7)),
        ("(1.5) a", (Fault::Identifier, 8)),
        ("(1.5) a 12#", (Fault::Identifier, 11)),
        ("(1.5) a 800#", (Fault::Identifier, 9)),
        ("(1.5) a 40000000#", (Fault::Identifier, 9)),
        ("(1.5) a 12345#00", (Fault::Identifier, 14)),
        ("(1.5) a 123#1", (Fault::Payload, 14)),
        ("(1.5) a 123#1G", (Fault::Payload, 14)),
        ("(1.5) a 123#xy", (Fault::Payload, 13)),
        ("(1.5) a 123#112233445566778899", (Fault::Length, 29)),
        ("(1.5) a 123#11 x", (Fault::Trailing, 16)),
        ("(1.5) a 123#11 RT", (Fault::Trailing, 17)),
    ] {
        assert_eq!(fault(line), expected, "{line}");
    }
    assert_eq!(parse_line(b"(1.5) \xFF\xFE 123#11").unwrap_err(), (Fault::Bus, 7));
    assert_eq!(fault(&format!("(1.5) {} 123#11", "b".repeat(64))).0, Fault::Bus);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn arbitrary_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse_line(&line);
    }

    #[test]
    fn lines_of_the_right_letters_never_panic(line in "[( )0-9.aAfFRT#_]{0,60}") {
        let _ = parse_line(line.as_bytes());
        let _ = parse_line(format!("(1.5) a 123#{line}").as_bytes());
    }
}

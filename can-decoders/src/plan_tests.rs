use super::*;
use crate::dbc::Database;
use crate::encode::EncodeError;

fn database(name: &str, text: &str) -> Database {
    Database::parse(name, format!("BU_: A\n\n{text}").as_bytes()).unwrap()
}

#[test]
fn several_databases_make_one_plan_and_the_first_wins() {
    let one = database("one", "BO_ 1 M: 8 A\n SG_ X : 0|8@1+ (1,0) [0|0] \"\" A\n\nBO_ 2147483649 E: 8 A\n");
    let two = database(
        "two",
        "BO_ 1 Other: 8 A\n SG_ Z : 0|8@1+ (1,0) [0|0] \"\" A\n\nBO_ 2 M: 8 A\n SG_ Y : 0|8@1+ (1,0) [0|0] \"V\" A\n",
    );
    let plan = Plan::compile(&[one, two]);
    assert_eq!(plan.messages().iter().map(|m| &*m.name).collect::<Vec<_>>(), ["M", "E", "M_002"]);
    assert_eq!(plan.find(CanId::standard(1).unwrap()), Some(MessageIndex(0)));
    assert_eq!(plan.find(CanId::extended(1).unwrap()), Some(MessageIndex(1)));
    assert_eq!(plan.find(CanId::standard(2).unwrap()), Some(MessageIndex(2)));
    assert_eq!(plan.find(CanId::standard(3).unwrap()), None);
    assert_eq!(plan.find_message("M"), Some(MessageIndex(0)));
    assert_eq!(plan.find_message("M_002"), Some(MessageIndex(2)));
    assert_eq!(plan.find_message("Other"), None);
    let y = plan.find_signal(MessageIndex(2), "Y").unwrap();
    assert_eq!((y, plan.signal(y).message, &*plan.signal(y).unit), (SignalIndex(1), MessageIndex(2), "V"));
    assert_eq!(plan.find_signal(MessageIndex(0), "Y"), None);
    let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "two:3:1: message Other (001): one describes it too and is used",
            "two:6:1: message M has the name of another: it is called M_002"
        ]
    );
}

#[test]
fn messages_of_one_name_get_their_identifier_even_when_a_later_one_is_called_like_that() {
    let one = database("one", "BO_ 256 A: 1 A\n\nBO_ 291 A: 1 A\n\nBO_ 2566844926 A: 1 A\n");
    let two = database("two", "BO_ 291 A: 1 A\n\nBO_ 292 A: 1 A\n\nBO_ 512 A_123: 1 A\n");
    let plan = Plan::compile(&[one, two]);
    let names: Vec<&str> = plan.messages().iter().map(|m| &*m.name).collect();
    assert_eq!(names, ["A", "A_123_2", "A_18FEF1FE", "A_124", "A_123"]);
    for (name, index) in names.iter().zip(0..) {
        assert_eq!(plan.find_message(name), Some(MessageIndex(index)));
    }
    let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings[2], "two:3:1: message A (123): one describes it too and is used", "{warnings:?}");
    assert_eq!(warnings.len(), 4);
}

#[test]
fn many_ranges_of_a_multiplexor_are_searched() {
    // Overlapping, touching, upside down and out of order; all even values from 1000 on.
    let ranges: Vec<String> = (500..20_000).rev().map(|n| format!("{}-{}", n * 2, n * 2)).collect();
    let text = format!(
        "BO_ 1 M: 8 A\n SG_ Sel M : 0|16@1+ (1,0) [0|0] \"\" A\n SG_ X m0 : 16|8@1+ (1,0) [0|0] \"\" A\n\n\
         SG_MUL_VAL_ 1 X Sel 7-9, 3-4, 1-3, 5-5, 12-11;\nSG_MUL_VAL_ 1 X Sel {};\n",
        ranges.join(", ")
    );
    let plan = Plan::compile(&[database("t", &text)]);
    assert_eq!(plan.ranges[..3], [(1, 5), (7, 9), (1000, 1000)]);
    for raw in 0..=u16::MAX {
        let payload = u64::from(raw).to_le_bytes();
        let expected = matches!(raw, 1..=5 | 7..=9) || (1000..40_000).contains(&raw) && raw % 2 == 0;
        assert_eq!(plan.decode(MessageIndex(0), &payload).signals().count() == 2, expected, "{raw}");
    }
}

#[test]
fn labels_by_raw_value() {
    let text = "BO_ 1 M: 8 A\n SG_ X : 0|8@1- (1,0) [0|0] \"\" A\n\nVAL_ 1 X 2 \"b\" -1 \"a\" ;\n";
    let plan = Plan::compile(&[database("t", text)]);
    let signal = plan.signal(SignalIndex(0));
    assert_eq!((signal.label(-1), signal.label(2), signal.label(0)), (Some("a"), Some("b"), None));
}

#[test]
fn an_empty_plan_finds_nothing() {
    let plan = Plan::compile(&[]);
    assert_eq!(plan.find(CanId::standard(1).unwrap()), None);
    assert!(plan.messages().is_empty() && plan.signals().is_empty());
}

#[test]
fn encoding_refuses_what_has_no_bits() {
    let text = "BO_ 1 M: 2 A\n SG_ X : 0|8@1- (0.5,10) [0|0] \"\" A\n SG_ Y : 8|8@1+ (-1,0) [0|0] \"\" A\n\n\
                BO_ 2 N: 8 A\n SG_ Z : 0|64@1+ (1,0) [0|0] \"\" A\n SG_ W : 0|64@1- (1,0) [0|0] \"\" A\n";
    let plan = Plan::compile(&[database("t", text)]);
    let (x, y) = (SignalIndex(0), SignalIndex(1));
    let mut payload = [0; 2];
    plan.encode(MessageIndex(0), &[(x, -54.0), (y, -255.0)], &mut payload).unwrap();
    assert_eq!(payload, [0x80, 0xFF]);
    plan.encode(MessageIndex(0), &[(x, 10.3)], &mut payload).unwrap();
    assert_eq!(payload, [0x01, 0xFF], "rounded to the nearest");
    let encode = |value, payload: &mut [u8]| plan.encode(MessageIndex(0), &[(x, value)], payload).unwrap_err();
    for value in [-54.3, 73.8, f64::NAN, f64::INFINITY] {
        let error = encode(value, &mut [0; 2]);
        assert!(matches!(error, EncodeError::OutOfRange { low: -54.0, high: 73.5, .. }), "{error}");
    }
    assert!(matches!(encode(0.0, &mut []), EncodeError::TooShort { needed: 1, length: 0, .. }));
    let error = plan.encode(MessageIndex(1), &[(x, 0.0)], &mut [0; 8]).unwrap_err();
    assert_eq!(error.to_string(), "signal X is not in message N; take signals from Message::signals");
    // The top of 64 bits is not a double: the nearest one means the top.
    let mut payload = [0; 8];
    plan.encode(MessageIndex(1), &[(SignalIndex(2), u64::MAX as f64)], &mut payload).unwrap();
    assert_eq!(payload, [0xFF; 8]);
    plan.encode(MessageIndex(1), &[(SignalIndex(3), i64::MAX as f64)], &mut payload).unwrap();
    assert_eq!(payload, i64::MAX.to_le_bytes());
}

#[test]
fn a_mask_has_the_bits_of_all_signals() {
    let text = "BO_ 1 M: 4 A\n SG_ S M : 0|3@1+ (1,0) [0|0] \"\" A\n SG_ A m1 : 15|4@0+ (1,0) [0|0] \"\" A\n \
                SG_ B m2 : 12|8@1- (1,0) [0|0] \"\" A\n SG_ Beyond : 39|9@0+ (1,0) [0|0] \"\" A\n\nBO_ 2 N: 2 A\n";
    let plan = Plan::compile(&[Database::parse("t", text.as_bytes()).unwrap()]);
    assert_eq!(plan.mask(MessageIndex(0)), [0b111, 0xF0, 0x0F, 0, 0xFF, 0x80]);
    assert_eq!(plan.mask(MessageIndex(1)), [0, 0]);
}

use std::ops::RangeInclusive;

use super::*;
use crate::dbc::Database;
use crate::plan::{MessageIndex, Plan};

const J1939: &str = "BA_DEF_ BO_ \"VFrameFormat\" ENUM \"StandardCAN\",\"ExtendedCAN\",\"reserved\",\"J1939PG\";\n\
                     BA_ \"VFrameFormat\" BO_ 2566844926 3;\n";

fn text(signal: &str, rest: &str) -> String {
    format!("BU_: A\n\nBO_ 2566844926 M: 8 A\n SG_ S : {signal} \"\" A\n\n{rest}")
}

fn compile(signal: &str, rest: &str, rules: &Rules) -> Plan {
    let database = Database::parse("t", text(signal, rest).as_bytes()).unwrap();
    assert!(database.warnings().is_empty(), "{:?}", database.warnings());
    Plan::compile_with(&[database], rules).unwrap()
}

fn judge(plan: &Plan, raw: u64) -> Validity {
    plan.decode(MessageIndex(0), &raw.to_le_bytes()).signals().next().unwrap().validity
}

fn marks(signal: &str, rest: &str, rules: &Rules, raw: &[u64]) -> Vec<Validity> {
    let plan = compile(signal, rest, rules);
    raw.iter().map(|raw| judge(&plan, *raw)).collect()
}

use Validity::{Error, NotAvailable, NotFinite, OutOfRange, Valid};

#[test]
fn a_temperature_of_255_is_not_a_temperature() {
    let rules = Rules::default();
    let signal = "0|8@1+ (1,-40) [-40|210]";
    assert_eq!(marks(signal, "", &rules, &[0, 250, 251, 255]), [Valid, Valid, OutOfRange, OutOfRange]);
    assert_eq!(marks(signal, J1939, &rules, &[0, 250, 251, 254, 255]), [Valid, Valid, OutOfRange, Error, NotAvailable]);
    let label = "VAL_ 2566844926 S 255 \"SNA\" 254 \"Signal_Invalid\" 3 \"error\" ;\n";
    assert_eq!(marks(signal, label, &rules, &[3, 253, 254, 255]), [Valid, OutOfRange, Error, NotAvailable]);
    let value = compile(signal, J1939, &rules).decode(MessageIndex(0), &[255]).signals().next().unwrap().value;
    assert_eq!(value, 215.0, "delivered all the same");
}

#[test]
fn signed_negative_and_scaled_ranges() {
    let rules = Rules::default();
    let signed = "0|12@1- (0.1,0) [-30|30]";
    let raw = |value: i64| value.cast_unsigned();
    assert_eq!(
        marks(signed, "", &rules, &[raw(-301), raw(-300), 0, 300, 301]),
        [OutOfRange, Valid, Valid, Valid, OutOfRange]
    );
    // A negative factor turns the range round; 0.3 / 0.1 is not quite 3.
    assert_eq!(marks("0|8@1+ (-0.1,0.6) [0|0.3]", "", &rules, &[2, 3, 6, 7]), [OutOfRange, Valid, Valid, OutOfRange]);
    // What rounding in the file left out is inside: at most half a step.
    assert_eq!(marks("0|16@1+ (0.125,0) [0|8031.8]", "", &rules, &[64_254, 64_255]), [Valid, OutOfRange]);
    assert_eq!(marks("0|16@1+ (0.125,0) [0|8031.82]", "", &rules, &[64_255, 64_256]), [Valid, OutOfRange]);
}

#[test]
fn ranges_that_the_bits_cannot_express_are_not_believed() {
    let all = Rules { ranges: Trust::All, ..Rules::default() };
    let none = Rules { ranges: Trust::None, ..Rules::default() };
    // As generators fill them in.
    let sloppy = "0|10@1+ (0.03589,-18.375) [0|65535]";
    let plan = compile(sloppy, "", &Rules::default());
    assert_eq!((judge(&plan, 0), plan.unchecked_ranges().len()), (Valid, 1));
    assert_eq!(marks(sloppy, "", &all, &[0]), [OutOfRange]);
    assert_eq!(marks(sloppy, "", &none, &[0]), [Valid]);
    // A tenth and a step more is rounding.
    for (range, believed) in [
        ("[0|100]", true),
        ("[0|280]", true),
        ("[0|290]", false),
        ("[-40|100]", false),
        ("[7|7]", false),
        ("[9|7]", false),
    ] {
        let plan = compile(&format!("0|8@1+ (1,0) {range}"), "", &Rules::default());
        assert_eq!(plan.unchecked_ranges().is_empty(), believed, "{range}");
        assert_eq!(judge(&plan, 200) == Valid, !believed || range == "[0|280]", "{range}");
    }
    assert_eq!(marks("0|8@1+ (1,0) [0|0]", "", &all, &[255]), [Valid], "no range");
}

#[test]
fn j1939_holds_where_the_file_or_the_configuration_says_so() {
    let signal = "0|16@1+ (0.125,0) [0|0]";
    let raw = [0xFAFF, 0xFB00, 0xFE00, 0xFFFF];
    let all = [Valid, OutOfRange, Error, NotAvailable];
    assert_eq!(marks(signal, J1939, &Rules::default(), &raw), all);
    assert_eq!(marks(signal, "", &Rules { j1939: J1939::Always, ..Rules::default() }, &raw), all);
    assert_eq!(marks(signal, "", &Rules::default(), &raw), [Valid; 4]);
    assert_eq!(marks(signal, J1939, &Rules { j1939: J1939::Never, ..Rules::default() }, &raw), [Valid; 4]);
    let default =
        "BA_DEF_ BO_ \"VFrameFormat\" ENUM \"StandardCAN\",\"J1939PG\";\nBA_DEF_DEF_ \"VFrameFormat\" \"J1939PG\";\n";
    assert_eq!(marks(signal, default, &Rules::default(), &raw), all);
    let other =
        "BA_DEF_ BO_ \"VFrameFormat\" ENUM \"StandardCAN\",\"J1939PG\";\nBA_ \"VFrameFormat\" BO_ 2566844926 0;\n";
    assert_eq!(marks(signal, other, &Rules::default(), &raw), [Valid; 4]);
    let number = "BA_DEF_ BO_ \"VFrameFormat\" INT 0 3;\nBA_ \"VFrameFormat\" BO_ 2566844926 3;\n";
    assert_eq!(marks(signal, number, &Rules::default(), &raw), all);
    // The whole range, or none: J1939's holds. One that ends in between was written with the patterns in mind.
    assert_eq!(marks("0|16@1+ (1,0) [0|65535]", J1939, &Rules::default(), &raw), all);
    assert_eq!(marks("0|16@1+ (1,0) [0|65532]", J1939, &Rules::default(), &raw), [Valid, Valid, Valid, NotAvailable]);
    assert_eq!(marks("0|8@1- (1,0) [0|0]", J1939, &Rules::default(), &[0xFE, 0xFF]), [Valid; 2], "not of signed ones");
}

#[test]
fn discrete_parameters_keep_what_their_labels_say() {
    let rules = Rules::default();
    assert_eq!(marks("0|2@1+ (1,0) [0|3]", J1939, &rules, &[0, 1, 2, 3]), [Valid, Valid, Error, NotAvailable]);
    let labels = format!("{J1939}VAL_ 2566844926 S 15 \"Not available\" 14 \"Other\" 2 \"Error\" ;\n");
    assert_eq!(marks("0|4@1+ (1,0) [0|15]", &labels, &rules, &[2, 13, 14, 15]), [Valid, Valid, Valid, NotAvailable]);
    let labels = "VAL_ 2566844926 S 0 \"Invalid\" 1 \"SNA\" ;\n";
    assert_eq!(marks("0|1@1+ (1,0) [0|1]", labels, &rules, &[0, 1]), [Valid; 2], "a bit is a bit");
    let labels = "VAL_ 2566844926 S 0 \"SNA\" 1 \"on\" 2 \"invalid\" ;\n";
    assert_eq!(marks("0|2@1+ (1,0) [0|3]", labels, &rules, &[0, 1, 2, 3]), [NotAvailable, Valid, Error, Valid]);
    let none = Rules { not_available_labels: Vec::new(), error_labels: Vec::new(), ..Rules::default() };
    assert_eq!(marks("0|2@1+ (1,0) [0|3]", labels, &none, &[0, 2]), [Valid; 2]);
}

#[test]
fn rules_for_one_signal_have_the_last_word() {
    let own = |rule: SignalRule| Rules {
        signals: vec![SignalRule { message: "M".into(), signal: "S".into(), ..rule }],
        ..Rules::default()
    };
    let signal = "0|8@1+ (1,-40) [-40|210]";
    let rules =
        own(SignalRule { not_available: vec![0..=0, 100..=101], error: vec![250..=250], ..SignalRule::default() });
    assert_eq!(
        marks(signal, J1939, &rules, &[0, 1, 99, 100, 101, 102, 249, 250, 251, 255]),
        [NotAvailable, Valid, Valid, NotAvailable, NotAvailable, Valid, Valid, Error, OutOfRange, OutOfRange]
    );
    let rules = own(SignalRule { max: Some(100.0), ..SignalRule::default() });
    assert_eq!(marks(signal, "", &rules, &[0, 140, 141]), [Valid, Valid, OutOfRange]);
    let rules = own(SignalRule { min: Some(f64::NEG_INFINITY), max: Some(f64::INFINITY), ..SignalRule::default() });
    assert_eq!(marks(signal, "", &rules, &[255]), [Valid]);
    let rules = own(SignalRule { error: vec![-128..=-127], ..SignalRule::default() });
    assert_eq!(marks("0|8@1- (1,0) [0|0]", "", &rules, &[0x80, 0x81, 0x82, 0xFF]), [Error, Error, Valid, Valid]);
}

#[test]
fn rules_that_fit_nothing_are_refused() {
    let database =
        Database::parse("t", text("0|32@1- (1,0) [0|0]", "SIG_VALTYPE_ 2566844926 S : 1;\n").as_bytes()).unwrap();
    let refused = |message: &str, signal: &str, rule: SignalRule| {
        let rule = SignalRule { message: message.into(), signal: signal.into(), ..rule };
        let rules = Rules { signals: vec![rule], ..Rules::default() };
        Plan::compile_with(std::slice::from_ref(&database), &rules).unwrap_err().to_string()
    };
    assert_eq!(refused("N", "S", SignalRule::default()), "there is no message N in the DBC files");
    assert_eq!(refused("M", "T", SignalRule::default()), "there is no signal T in message M");
    let rule = SignalRule { error: vec![1..=1], ..SignalRule::default() };
    assert_eq!(
        refused("M", "S", rule),
        "signal S of message M cannot be used like this: a float has no raw values; use min and max"
    );
    for (min, max) in [(2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::NAN)] {
        let error = refused("M", "S", SignalRule { min: Some(min), max: Some(max), ..SignalRule::default() });
        assert!(error.contains("no value would be valid") || error.contains("not a number"), "{error}");
    }
}

#[test]
fn floats_and_64_bits_have_ranges_too() {
    let float = "SIG_VALTYPE_ 2566844926 S : 1;\n";
    let bits = |value: f32| u64::from(value.to_bits());
    let raw = [bits(-1.0), bits(0.0), bits(100.0), bits(100.5), bits(f32::NAN)];
    assert_eq!(
        marks("0|32@1- (1,0) [0|100]", float, &Rules::default(), &raw),
        [OutOfRange, Valid, Valid, OutOfRange, NotFinite]
    );
    let signal = "0|64@1+ (1,0) [0|18446744073709551614]";
    assert_eq!(marks(signal, J1939, &Rules::default(), &[0, 1 << 63, u64::MAX]), [Valid, Valid, NotAvailable]);
    assert_eq!(marks("0|64@1- (1,0) [-5|5]", "", &Rules::default(), &[u64::MAX, 6]), [Valid, OutOfRange]);
}

#[test]
fn all_are_named_once_and_in_order() {
    for (index, validity) in Validity::ALL.into_iter().enumerate() {
        assert_eq!(validity.index(), index);
        assert_eq!(validity.is_valid(), index == 0);
        assert_eq!(Validity::ALL.iter().filter(|other| other.name() == validity.name()).count(), 1);
    }
}

#[test]
fn rules_that_can_never_match_are_refused() {
    let refused = |signal: &str, rule: SignalRule| {
        let database = Database::parse("t", text(signal, "").as_bytes()).unwrap();
        let rule = SignalRule { message: "M".into(), signal: "S".into(), ..rule };
        Plan::compile_with(&[database], &Rules { signals: vec![rule], ..Rules::default() }).is_err()
    };
    let missing = |range| SignalRule { not_available: vec![range], ..SignalRule::default() };
    let (signed, unsigned) = ("0|8@1- (1,0) [0|0]", "0|8@1+ (1,0) [0|100]");
    assert!(refused(signed, missing(255..=255)) && refused(unsigned, missing(250..=256)));
    assert!(refused(unsigned, missing(-1..=255)) && refused(unsigned, missing(RangeInclusive::new(7, 6))));
    assert!(!refused(signed, missing(-128..=-1)) && !refused(unsigned, missing(0..=255)));
    assert!(refused(unsigned, SignalRule { min: Some(200.0), ..SignalRule::default() }), "the file's maximum is 100");
    assert!(refused(unsigned, SignalRule { min: Some(1000.0), max: Some(2000.0), ..SignalRule::default() }));
    let twice = vec![SignalRule { message: "M".into(), signal: "S".into(), ..SignalRule::default() }; 2];
    let database = Database::parse("t", text(unsigned, "").as_bytes()).unwrap();
    assert!(Plan::compile_with(&[database], &Rules { signals: twice, ..Rules::default() }).is_err());
}

#[test]
fn a_raised_lower_end_leaves_j1939s_patterns() {
    for range in ["[1|255]", "[10|255]", "[1|250]", "[0|255]", "[0|0]"] {
        let marks = marks(&format!("0|8@1+ (1,0) {range}"), J1939, &Rules::default(), &[250, 251, 254, 255]);
        assert_eq!(marks, [Valid, OutOfRange, Error, NotAvailable], "{range}");
    }
}

#[test]
fn states_outside_of_a_forgotten_range_are_states() {
    let labels = "VAL_ 2566844926 S 0 \"none\" 1 \"single\" 2 \"triple\" 6 \"long\" 7 \"SNA\" ;\n";
    let signal = "0|3@1+ (1,0) [0|1]";
    assert_eq!(marks(signal, labels, &Rules::default(), &[1, 2, 6, 7]), [Valid, Valid, Valid, NotAvailable]);
    // A measurement with a few labels at its end is none.
    let labels = "VAL_ 2566844926 S 0 \"standstill\" 254 \"reset\" 255 \"SNA\" ;\n";
    let marks = marks("0|8@1+ (1,0) [0|250]", labels, &Rules::default(), &[0, 250, 251, 254, 255]);
    assert_eq!(marks, [Valid, Valid, OutOfRange, OutOfRange, NotAvailable]);
}

#[test]
fn labels_end_with_what_they_say() {
    let judge = |signal: &str, raw: i64, label: &str| {
        let labels = format!("VAL_ 2566844926 S {raw} \"{label}\" ;\n");
        marks(signal, &labels, &Rules::default(), &[u64::from(raw.to_le_bytes()[0])])[0]
    };
    let unsigned = "0|8@1+ (1,0) [0|0]";
    for (label, expected) in [
        ("SNA", NotAvailable),
        ("ALC_SNA", NotAvailable),
        ("Signal Not Available", NotAvailable),
        ("SNAPSHOT", Valid),
        ("lsna", Valid),
        ("Fehler", Error),
        ("LwInvalid", Valid),
        ("Angle_INVALID", Error),
        ("Init", Error),
        ("Faulty", Error),
        ("No_error", Valid),
        ("no internal fault", Valid),
        ("not invalid", Valid),
        ("Kein Fehler", Valid),
        ("Node_Error", Error),
        ("No SNA", Valid),
        ("No data, SNA", NotAvailable),
        ("no signal_not available", NotAvailable),
        ("sensor not ready, fault", Error),
    ] {
        assert_eq!(judge(unsigned, 255, label), expected, "{label}");
    }
    assert_eq!(judge(unsigned, 200, "Fehler"), Valid, "a state like others");
    // Of signed signals the bits, or the number.
    let signed = "0|8@1- (1,0) [0|0]";
    assert_eq!([255, -1, 127, -128].map(|raw| judge(signed, raw, "SNA")), [NotAvailable; 4]);
    assert_eq!([255, 254, -1, 127, 126].map(|raw| judge(signed, raw, "error")), [Error; 5]);
    assert_eq!(judge(signed, 100, "error"), Valid);
}

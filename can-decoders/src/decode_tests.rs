use super::*;
use crate::dbc::Database;
use crate::plan::MessageIndex;

fn plan(signals: &str) -> Plan {
    let text = format!("BU_: A\n\nBO_ 1 M: 8 A\n{signals}");
    Plan::compile(&[Database::parse("t", text.as_bytes()).unwrap()])
}

fn one(signal: &str, payload: &[u8]) -> Sample {
    let plan = plan(&format!(" SG_ S : {signal} [0|0] \"\" A\n"));
    let mut samples = plan.decode(MessageIndex(0), payload).signals();
    let sample = samples.next().unwrap();
    assert!(samples.next().is_none());
    sample
}

const PAYLOAD: [u8; 8] = [0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC, 0xDE, 0xF0];

#[test]
fn values_by_hand() {
    assert_eq!(one("0|8@1+ (1,0)", &PAYLOAD).raw, Raw::Unsigned(0x12));
    assert_eq!(one("8|16@1+ (1,0)", &PAYLOAD).raw, Raw::Unsigned(0x5634));
    assert_eq!(one("4|8@1+ (1,0)", &PAYLOAD).raw, Raw::Unsigned(0x41));
    assert_eq!(one("7|16@0+ (1,0)", &PAYLOAD).raw, Raw::Unsigned(0x1234));
    assert_eq!(one("3|8@0+ (1,0)", &PAYLOAD).raw, Raw::Unsigned(0x23));
    assert_eq!(one("56|8@1- (1,0)", &PAYLOAD).raw, Raw::Signed(-16));
    assert_eq!(one("7|64@0+ (1,0)", &PAYLOAD).raw, Raw::Unsigned(0x1234_5678_9ABC_DEF0));
    assert_eq!(one("0|64@1- (1,0)", &PAYLOAD).raw, Raw::Signed(-0x0F21_4365_87A9_CBEE));
    assert_eq!(one("0|8@1+ (0.5,-10)", &PAYLOAD).value, -1.0);
    assert_eq!(one("7|1@1- (1,0)", &[0x80]).value, -1.0);
}

#[test]
fn nine_bytes_beyond_the_first_eight() {
    let mut payload = [0; 20];
    payload[9..18].copy_from_slice(&[0xF1, 0x12, 0x23, 0x34, 0x45, 0x56, 0x67, 0x78, 0x8F]);
    assert_eq!(one("76|64@1+ (1,0)", &payload).raw, Raw::Unsigned(0xF786_7564_5342_312F));
    assert_eq!(one("75|64@0+ (1,0)", &payload).raw, Raw::Unsigned(0x1122_3344_5566_7788));
}

#[test]
fn large_integers_are_scaled_exactly() {
    let all = [0xFF; 8];
    assert_eq!(one("0|64@1+ (1,0)", &all).raw, Raw::Unsigned(u64::MAX));
    // In doubles the product would be rounded before the offset takes it back down.
    assert_eq!(one("0|54@1+ (1,-18014398509481983)", &all).value, -1.0 + 1.0);
    assert_eq!(one("0|60@1+ (3,0)", &all).value, 3_458_764_513_820_540_925_f64);
}

#[test]
fn short_long_and_exact_frames() {
    let plan = plan(" SG_ A : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ B : 15|16@0+ (1,0) [0|0] \"\" A\n");
    let decode = |payload: &[u8]| {
        let decoded = plan.decode(MessageIndex(0), payload);
        (decoded.fit, decoded.signals().map(|s| s.validity).collect::<Vec<_>>())
    };
    use Validity::{Short, Valid};
    assert_eq!(decode(&[0; 8]), (Fit::Exact, vec![Valid, Valid]));
    assert_eq!(decode(&[0; 3]), (Fit::Short { missing: 5 }, vec![Valid, Valid]));
    assert_eq!(decode(&[0; 2]), (Fit::Short { missing: 6 }, vec![Valid, Short]));
    assert_eq!(decode(&[]), (Fit::Short { missing: 8 }, vec![Short, Short]));
    assert_eq!(decode(&[0; 12]), (Fit::Long { extra: 4 }, vec![Valid, Valid]));
}

#[test]
fn floats_and_what_is_not_a_number() {
    let plan = plan(
        " SG_ F : 0|32@1- (2,1) [0|0] \"\" A\n SG_ D : 39|32@0- (1,0) [0|0] \"\" A\n\nSIG_VALTYPE_ 1 F : 1;\nSIG_VALTYPE_ 1 D : 1;\n",
    );
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&1.5_f32.to_le_bytes());
    payload[4..].copy_from_slice(&f32::NEG_INFINITY.to_be_bytes());
    let samples: Vec<Sample> = plan.decode(MessageIndex(0), &payload).signals().collect();
    assert_eq!((samples[0].raw, samples[0].value), (Raw::Float(1.5), 4.0));
    assert_eq!((samples[1].validity, samples[1].value), (Validity::NotFinite, f64::NEG_INFINITY));
    payload[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(plan.decode(MessageIndex(0), &payload).signals().next().unwrap().validity, Validity::NotFinite);
}

#[test]
fn a_scaling_beyond_doubles_is_not_finite() {
    assert_eq!(one("0|8@1+ (1e308,0)", &[0xFF]).validity, Validity::NotFinite);
    assert_eq!(one("0|8@1+ (1e308,0)", &[0x01]).validity, Validity::Valid);
    assert_eq!(one("0|8@1+ (1e999,0)", &[0x00]).validity, Validity::NotFinite);
}

#[test]
fn what_a_missing_multiplexor_selects_is_left_out() {
    let plan = plan(
        " SG_ X m0 : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ Sel M : 8|8@1+ (1,0) [0|0] \"\" A\n SG_ Y m1 : 0|8@1+ (1,0) [0|0] \"\" A\n",
    );
    let names = |payload: &[u8]| -> Vec<String> {
        plan.decode(MessageIndex(0), payload).signals().map(|s| plan.signal(s.signal).name.to_string()).collect()
    };
    assert_eq!(names(&[5, 0]), ["X", "Sel"]);
    assert_eq!(names(&[5, 1]), ["Sel", "Y"]);
    assert_eq!(names(&[5]), ["Sel"], "the multiplexor itself is reported, as short");
}

#[test]
fn raw_values_as_label_keys() {
    assert_eq!(Raw::Unsigned(u64::MAX).as_i64(), None);
    assert_eq!(Raw::Unsigned(7).as_i64(), Some(7));
    assert_eq!(Raw::Signed(-7).as_i64(), Some(-7));
    assert_eq!(Raw::Float(7.0).as_i64(), None);
}

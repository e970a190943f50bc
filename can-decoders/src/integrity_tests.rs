use super::*;
use crate::dbc::Database;
use crate::validity::{RuleError, Rules, Validity};

fn database(text: &str) -> Database {
    let database = Database::parse("t", format!("BU_: A\n\n{text}").as_bytes()).unwrap();
    assert!(database.warnings().is_empty(), "{:?}", database.warnings());
    database
}

fn rule(message: &str, algorithm: &str) -> ChecksumRule {
    ChecksumRule {
        message: message.into(),
        signal: "CHECKSUM".into(),
        algorithm: algorithm.parse().unwrap(),
        prefix: Vec::new(),
        suffix: Suffix::None,
    }
}

fn with(checksums: Vec<ChecksumRule>, counters: Vec<CounterRule>) -> Rules {
    Rules { checksums, counters, ..Rules::default() }
}

fn counter(max_jump: u32, modulus: u32) -> CounterRule {
    CounterRule { message: "M".into(), signal: "COUNTER".into(), max_jump, modulus }
}

/// The first value's validity.
fn judge(plan: &Plan, payload: &[u8]) -> Validity {
    plan.decode(MessageIndex(0), payload).signals().next().unwrap().validity
}

const LAST: &str = "BO_ 37 M: 8 A\n SG_ S : 7|8@0+ (1,0) [0|0] \"\" A\n SG_ CHECKSUM : 63|8@0+ (1,0) [0|0] \"\" A\n";
const FIRST: &str =
    "BO_ 37 M: 8 A\n SG_ CHECKSUM : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ COUNTER : 8|4@1+ (1,0) [0|0] \"\" A\n";

#[test]
fn the_catalogues_check_values() {
    // The catalogue gives the CRC of "123456789" for each.
    for (name, parameters) in CRC8 {
        let algorithm: Algorithm = name.parse().unwrap();
        let Kind::Crc8(_, crc) = &algorithm.0 else { panic!("{name}") };
        assert_eq!((crc.checksum(b"123456789"), algorithm.bits(), algorithm.name()), (parameters.check, 8, *name));
    }
    for (name, parameters) in CRC16 {
        let algorithm: Algorithm = name.to_lowercase().parse().unwrap();
        let Kind::Crc16(_, crc) = &algorithm.0 else { panic!("{name}") };
        assert_eq!((crc.checksum(b"123456789"), algorithm.bits(), algorithm.name()), (parameters.check, 16, *name));
    }
    let error = "crc-32".parse::<Algorithm>().unwrap_err().to_string();
    assert!(error.contains("CRC-8/SAE-J1850"), "{error}");
}

#[test]
fn sums_by_hand() {
    for (algorithm, sum) in [("sum8", 28), ("xor8", 0), ("toyota", 28 + 8 + 37), ("CRC-8/SAE-J1850", 0x17)] {
        let plan = Plan::compile_with(&[database(LAST)], &with(vec![rule("M", algorithm)], vec![])).unwrap();
        let mut payload = [1, 2, 3, 4, 5, 6, 7, 0];
        let good: Vec<u8> = (0..=255)
            .filter(|sum| {
                payload[7] = *sum;
                judge(&plan, &payload) == Validity::Valid
            })
            .collect();
        assert_eq!(good.len(), 1, "{algorithm}");
        if algorithm != "CRC-8/SAE-J1850" {
            assert_eq!(good, [sum], "{algorithm}");
        }
        payload[7] = good[0];
        payload[0] ^= 0x10;
        assert_eq!(judge(&plan, &payload), Validity::Checksum, "{algorithm}");
        assert_eq!(judge(&plan, &payload[..7]), Validity::Checksum, "{algorithm}: too short for it");
    }
}

#[test]
fn toyotas_and_hondas_as_opendbc_has_them() {
    // Computed with opendbc 0.3.1.
    let toyota = "BO_ 740 M: 5 A\n SG_ S : 7|8@0+ (1,0) [0|0] \"\" A\n SG_ CHECKSUM : 39|8@0+ (1,0) [0|0] \"\" A\n";
    let plan = Plan::compile_with(&[database(toyota)], &with(vec![rule("*", "toyota")], vec![])).unwrap();
    assert_eq!(judge(&plan, &[0x81, 0x02, 0x03, 0x00, 0x71]), Validity::Valid);
    assert_eq!(judge(&plan, &[0x81, 0x02, 0x03, 0x00, 0x72]), Validity::Checksum);
    for (id, payload) in
        [("342", [0x00, 0x10, 0xA0, 0x7F, 0x01, 0x19]), ("2566853393", [0x00, 0x10, 0xA0, 0x7F, 0x01, 0x1B])]
    {
        let honda = format!(
            "BO_ {id} M: 6 A\n SG_ S : 7|8@0+ (1,0) [0|0] \"\" A\n SG_ CHECKSUM : 43|4@0+ (1,0) [0|0] \"\" A\n"
        );
        let plan = Plan::compile_with(&[database(&honda)], &with(vec![rule("M", "honda")], vec![])).unwrap();
        let good: Vec<u8> =
            (0x10..=0x1F).filter(|last| judge(&plan, &[&payload[..5], &[*last]].concat()) == Validity::Valid).collect();
        assert_eq!(good, [payload[5]], "{id}");
    }
}

#[test]
fn autosars_profiles() {
    // Profile 1: data identifier first; profile 2: one of 16 bytes last, by the counter.
    let data = [0x00, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF];
    let crc = Crc::<u8, Table<1>>::new(&crc::CRC_8_SAE_J1850);
    let mut one = rule("M", "CRC-8/SAE-J1850");
    one.prefix = vec![0x12, 0x34];
    let plan = Plan::compile_with(&[database(FIRST)], &with(vec![one], vec![])).unwrap();
    let mut payload = data;
    payload[0] = crc.checksum(&[&[0x12, 0x34], &data[1..]].concat());
    assert_eq!(judge(&plan, &payload), Validity::Valid);
    payload[0] = crc.checksum(&data[1..]);
    assert_eq!(judge(&plan, &payload), Validity::Checksum);

    let bytes: [u8; 16] = std::array::from_fn(|n| u8::try_from(n * 7 + 1).unwrap());
    let mut two = rule("M", "CRC-8/AUTOSAR");
    two.suffix = Suffix::ByCounter(bytes);
    let crc = Crc::<u8, Table<1>>::new(&crc::CRC_8_AUTOSAR);
    let plan = Plan::compile_with(&[database(FIRST)], &with(vec![two.clone()], vec![counter(1, 0)])).unwrap();
    for n in 0..16 {
        let mut payload = data;
        payload[1] = 0x20 | n;
        payload[0] = crc.checksum(&[&payload[1..], &[bytes[usize::from(n)]]].concat());
        assert_eq!(judge(&plan, &payload), Validity::Valid);
        payload[1] = 0x20 | ((n + 1) % 16);
        assert_eq!(judge(&plan, &payload), Validity::Checksum);
    }
    let error = Plan::compile_with(&[database(FIRST)], &with(vec![two], vec![])).unwrap_err().to_string();
    assert!(error.ends_with("its bytes by counter need a counter of the same message"), "{error}");
    let mut end = rule("M", "sum8");
    end.suffix = Suffix::Bytes(vec![3, 4]);
    let plan = Plan::compile_with(&[database(LAST)], &with(vec![end], vec![])).unwrap();
    assert_eq!(judge(&plan, &[0, 0, 0, 0, 0, 0, 1, 8]), Validity::Valid);
}

#[test]
fn all_values_of_a_bad_frame_are_marked() {
    let plan = Plan::compile_with(&[database(LAST)], &with(vec![rule("M", "sum8")], vec![])).unwrap();
    let marks = |payload: &[u8]| -> Vec<Validity> {
        plan.decode(MessageIndex(0), payload).signals().map(|sample| sample.validity).collect()
    };
    assert_eq!(marks(&[1, 0, 0, 0, 0, 0, 0, 1]), [Validity::Valid; 2]);
    assert_eq!(marks(&[1, 0, 0, 0, 0, 0, 0, 2]), [Validity::Checksum; 2]);
    let mut buffer = [crate::Sample::default(); 2];
    let written = plan.decode(MessageIndex(0), &[1, 0, 0, 0, 0, 0, 0, 2]).write(&mut buffer);
    assert!(written.iter().all(|sample| sample.validity == Validity::Checksum));
}

fn run(plan: &Plan, counters: &mut Counters, values: &[u8]) -> Vec<bool> {
    values.iter().map(|n| counters.check(&plan.decode(MessageIndex(0), &[0, *n, 0, 0, 0, 0, 0, 0]))).collect()
}

#[test]
fn counters_go_on() {
    let plan = Plan::compile_with(&[database(FIRST)], &with(vec![], vec![counter(1, 0)])).unwrap();
    let mut counters = Counters::new(&plan);
    assert_eq!(run(&plan, &mut counters, &[7, 8, 9]), [true; 3], "the first may be any");
    assert_eq!(run(&plan, &mut counters, &[9, 9, 10]), [false, false, true], "repeated");
    assert_eq!(run(&plan, &mut counters, &[12, 13]), [false, true], "one is missing");
    assert_eq!(run(&plan, &mut counters, &[14, 15, 0, 1]), [true; 4], "round");
    counters.forget(MessageIndex(0));
    assert_eq!(run(&plan, &mut counters, &[5, 5]), [true, false]);
    counters.forget_all();
    assert_eq!(run(&plan, &mut counters, &[5, 6]), [true, true]);
    assert!(!counters.check(&plan.decode(MessageIndex(0), &[0])), "too short for it");

    let plan = Plan::compile_with(&[database(FIRST)], &with(vec![], vec![counter(3, 15)])).unwrap();
    let mut counters = Counters::new(&plan);
    assert_eq!(run(&plan, &mut counters, &[13, 14, 0, 3, 7, 8]), [true, true, true, true, false, true]);
    assert_eq!(run(&plan, &mut counters, &[15, 4, 5]), [false, true, true], "15 is no value of profile 1");
}

#[test]
fn a_frame_with_a_wrong_checksum_does_not_move_the_counter() {
    let rules = with(vec![rule("M", "sum8")], vec![counter(1, 0)]);
    let plan = Plan::compile_with(&[database(FIRST)], &rules).unwrap();
    let mut counters = Counters::new(&plan);
    let mut check = |sum: u8, n: u8| counters.check(&plan.decode(MessageIndex(0), &[sum, n, 0, 0, 0, 0, 0, 0]));
    assert!(check(1, 1) && check(0xFF, 9) && check(2, 2) && !check(2, 2));
}

#[test]
fn the_file_can_name_them() {
    let text = format!(
        "{LAST} SG_ COUNTER : 15|4@0+ (1,0) [0|0] \"\" A\n\nBA_ \"OutriderChecksum\" SG_ 37 CHECKSUM \"sum8\";\n\
         BA_ \"OutriderCounter\" SG_ 37 COUNTER 2;\n"
    );
    let plan = Plan::compile(&[database(&text)]);
    assert_eq!(judge(&plan, &[1, 0x20, 0, 0, 0, 0, 0, 0x21]), Validity::Valid);
    assert_eq!(judge(&plan, &[1, 0x20, 0, 0, 0, 0, 0, 0x22]), Validity::Checksum);
    let mut counters = Counters::new(&plan);
    let check = |counters: &mut Counters, n: u8| {
        counters.check(&plan.decode(MessageIndex(0), &[0, n << 4, 0, 0, 0, 0, 0, n << 4]))
    };
    assert!(check(&mut counters, 1) && check(&mut counters, 3) && !check(&mut counters, 6));

    for (attribute, warning) in [
        (
            "BA_ \"OutriderChecksum\" SG_ 37 CHECKSUM \"sum9\";",
            "OutriderChecksum of signal CHECKSUM is not understood: left out",
        ),
        (
            "BA_ \"OutriderCounter\" SG_ 37 COUNTER \"x\";",
            "OutriderCounter of signal COUNTER is not understood: left out",
        ),
        (
            "BA_ \"OutriderChecksum\" SG_ 37 COUNTER \"sum8\";",
            "signal COUNTER of message M is not checked: its width is not that of the checksum",
        ),
        (
            "BA_ \"OutriderCounter\" SG_ 37 COUNTER 16;",
            "signal COUNTER of message M is not checked: a counter goes on by at least 1 and by less than the values that it has",
        ),
    ] {
        let text = format!("BU_: A\n\n{LAST} SG_ COUNTER : 15|4@0+ (1,0) [0|0] \"\" A\n\n{attribute}\n");
        let plan = Plan::compile(&[Database::parse("t", text.as_bytes()).unwrap()]);
        let [only] = plan.warnings() else { panic!("{:?}", plan.warnings()) };
        assert_eq!((&*only.text, only.code.name()), (warning, "integrity"));
    }
}

#[test]
fn rules_find_their_signals_or_are_refused() {
    let refused = |rules: Rules| Plan::compile_with(&[database(LAST)], &rules).unwrap_err();
    assert!(matches!(refused(with(vec![rule("N", "sum8")], vec![])), RuleError::NoMessage { .. }));
    assert!(matches!(refused(with(vec![], vec![counter(1, 0)])), RuleError::NoSignal { .. }));
    assert!(matches!(refused(with(vec![rule("M", "CRC-16/ARC")], vec![])), RuleError::Unfit { .. }));
    assert!(matches!(refused(with(vec![rule("*", "CRC-16/ARC")], vec![])), RuleError::Unfit { .. }));
    let mut none = rule("*", "sum8");
    none.signal = "CRC".into();
    assert!(matches!(refused(with(vec![none], vec![])), RuleError::NoSignal { .. }));
}

#[test]
fn hondas_half_byte_is_the_lower_one_and_long_payloads_are_summed() {
    let text = |place: &str| {
        format!("BO_ 342 M: 4000 A\n SG_ S : 7|8@0+ (1,0) [0|0] \"\" A\n SG_ CHECKSUM : {place} (1,0) [0|0] \"\" A\n")
    };
    let compile = |place: &str| {
        let database = Database::parse("t", format!("BU_: A\n\n{}", text(place)).as_bytes()).unwrap();
        Plan::compile_with(&[database], &with(vec![rule("M", "honda")], vec![]))
    };
    for (place, fits) in
        [("8|4@1+", true), ("11|4@0+", true), ("12|4@1+", false), ("15|4@0+", false), ("10|4@1+", false)]
    {
        assert_eq!(compile(place).is_ok(), fits, "{place}");
    }
    let plan = compile("8|4@1+").unwrap();
    let good = (0..16).filter(|sum| {
        let mut payload = vec![0xFF; 4000];
        payload[1] = 0xF0 | sum;
        judge(&plan, &payload) == Validity::Valid
    });
    assert_eq!(good.count(), 1);
    let mut prefixed = rule("M", "honda");
    prefixed.prefix = vec![1];
    let database = Database::parse("t", format!("BU_: A\n\n{}", text("8|4@1+")).as_bytes()).unwrap();
    let error = Plan::compile_with(&[database], &with(vec![prefixed], vec![])).unwrap_err().to_string();
    assert!(error.ends_with("no prefix and no suffix"), "{error}");
}

#[test]
fn one_rule_each_and_the_one_for_a_message_wins() {
    let good = [1, 0, 0, 0, 0, 0, 0, 1];
    // 1 and 37 and 8 are Toyota's.
    let toyota = [1, 0, 0, 0, 0, 0, 0, 46];
    for rules in [vec![rule("M", "sum8"), rule("*", "toyota")], vec![rule("*", "toyota"), rule("M", "sum8")]] {
        let plan = Plan::compile_with(&[database(LAST)], &with(rules, vec![])).unwrap();
        assert_eq!([judge(&plan, &good), judge(&plan, &toyota)], [Validity::Valid, Validity::Checksum]);
    }
    for rules in
        [with(vec![rule("M", "sum8"), rule("M", "xor8")], vec![]), with(vec![], vec![counter(1, 0), counter(2, 0)])]
    {
        let error = Plan::compile_with(&[database(FIRST)], &rules).unwrap_err().to_string();
        assert!(error.ends_with("there are two rules for it"), "{error}");
    }
}

#[test]
fn what_anybody_sends_has_no_common_counter() {
    let text = "BO_ 2566844926 M: 8 A\n SG_ COUNTER : 0|4@1+ (1,0) [0|0] \"\" A\n\n\
                BA_DEF_ BO_ \"VFrameFormat\" INT 0 3;\nBA_ \"VFrameFormat\" BO_ 2566844926 3;\n";
    let error = Plan::compile_with(&[database(text)], &with(vec![], vec![counter(1, 0)])).unwrap_err().to_string();
    assert!(error.contains("each of its senders counts for itself"), "{error}");
    let of_one = text.replace("2566844926", "2566844672");
    assert!(Plan::compile_with(&[database(&of_one)], &with(vec![], vec![counter(1, 0)])).is_ok());
}

#[test]
fn a_wrong_counter_does_not_hide_a_wrong_checksum() {
    let plan = Plan::compile_with(&[database(LAST)], &with(vec![rule("M", "sum8")], vec![])).unwrap();
    let mark =
        |payload: &[u8]| plan.decode(MessageIndex(0), payload).with_wrong_counter().signals().next().unwrap().validity;
    assert_eq!(mark(&[1, 0, 0, 0, 0, 0, 0, 1]), Validity::Counter);
    assert_eq!(mark(&[1, 0, 0, 0, 0, 0, 0, 2]), Validity::Checksum);
}

#[test]
fn a_distance_is_the_same_for_all_frames() {
    let algorithm = |name: &str| name.parse::<Algorithm>().unwrap();
    // Toyota's and Honda's as opendbc has them: what goes in beside the payload is in the distance.
    for (name, rest) in [("toyota", 0x25 + 8), ("sum8", 0), ("xor8", 0), ("CRC-8/AUTOSAR", 0), ("CRC-8/MAXIM-DOW", 0)] {
        let algorithm = algorithm(name);
        let distances: Vec<u8> = (0..50_u8)
            .map(|n| {
                let mut payload = [n, n.wrapping_mul(37), 0x12, n ^ 0x55, 9, 8, 7, 0];
                let own = algorithm.distance(&payload, 7).unwrap();
                // What makes the distance zero, and then another.
                payload[7] = match name {
                    "toyota" | "sum8" => 0_u8.wrapping_sub(own).wrapping_add(rest),
                    _ => own ^ 0x42,
                };
                algorithm.distance(&payload, 7).unwrap()
            })
            .collect();
        let expected = if name == "toyota" || name == "sum8" { rest } else { 0x42 };
        assert_eq!(distances, [expected; 50], "{name}");
    }
    assert_eq!(algorithm("toyota").distance(&[1, 2, 3], 3), None);
    assert_eq!(algorithm("CRC-16/ARC").distance(&[1, 2, 3], 2), None);
    // The check value of the catalogue, where it belongs.
    let text = *b"123456789\xF4";
    assert_eq!(algorithm("CRC-8/SMBUS").distance(&text, 9), Some(0));
    let honda = algorithm("honda");
    assert_eq!(honda.distance(&[0x12, 0x34, 0x0A], 2), honda.distance(&[0x22, 0x34, 0x09], 2));
    assert_ne!(honda.distance(&[0x12, 0x34, 0x0A], 2), honda.distance(&[0x22, 0x34, 0x0A], 2));
}

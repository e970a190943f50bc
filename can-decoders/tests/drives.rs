//! What is marked in recordings of real vehicles, when the shared data folder is at hand.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is a test's report, and so is its output")]

mod shared;

use std::collections::BTreeMap;
use std::path::Path;

use can_decoders::integrity::{ChecksumRule, Counters, Suffix};
use can_decoders::log::Options;
use can_decoders::validity::Trust;
use can_decoders::{BusId, Database, Frame, FrameKind, LogReader, MessageIndex, Plan, Rules, Validity};
use shared::corpus;

/// Data frames of the first bus.
fn frames(log: &Path) -> impl Iterator<Item = Frame> {
    let frames = LogReader::open(log, Options::default()).unwrap().map(Result::unwrap);
    frames.filter(|frame| frame.bus == BusId(0) && frame.kind == FrameKind::Data)
}

/// How often each mark comes, over all values.
fn marks(plan: &Plan, frames: impl Iterator<Item = (MessageIndex, Frame)>) -> BTreeMap<Validity, usize> {
    let mut counters = Counters::new(plan);
    let mut marks = BTreeMap::new();
    for (message, frame) in frames {
        let mut decoded = plan.decode_frame(message, &frame);
        if !counters.check(&decoded) {
            decoded = decoded.with_wrong_counter();
        }
        decoded.signals().for_each(|sample| *marks.entry(sample.validity).or_default() += 1);
    }
    marks
}

fn toyota(data: &Path, rules: &Rules) -> Plan {
    let database = Database::load(&data.join("dbc/opendbc/toyota_new_mc_pt_generated.dbc")).unwrap();
    Plan::compile_with(&[database], rules).unwrap()
}

/// A healthy car says nothing that is marked: ranges that are believed are kept, all checksums are right.
#[test]
fn a_healthy_car_is_not_marked() {
    let Some(data) = corpus() else { return };
    let checksum = ChecksumRule {
        message: "*".into(),
        signal: "CHECKSUM".into(),
        algorithm: "toyota".parse().unwrap(),
        prefix: Vec::new(),
        suffix: Suffix::None,
    };
    let rules = Rules { checksums: vec![checksum], ..Rules::default() };
    let log = data.join("logs/comma2k19_rav4.log.zst");
    let drive = |plan: &Plan| -> BTreeMap<Validity, usize> {
        let known = frames(&log).filter_map(|frame| {
            let message = plan.find(frame.id)?;
            (plan.message(message).size == frame.len()).then_some((message, frame))
        });
        marks(plan, known)
    };
    let believed = drive(&toyota(&data, &rules));
    println!("with checksums: {believed:?}");
    // To believe every range would throw good values away.
    let all = drive(&toyota(&data, &Rules { ranges: Trust::All, ..Rules::default() }));
    println!("with all ranges: {all:?}");
    assert!(all[&Validity::OutOfRange] > 1000);
    assert_eq!(believed.keys().copied().collect::<Vec<_>>(), [Validity::Valid], "{believed:?}");
    assert!(believed[&Validity::Valid] > 200_000);

    // The same frames with one bit changed in each: every frame with a checksum is found out.
    let plan = toyota(&data, &rules);
    let (mut checked, mut found) = (0, 0);
    for (n, frame) in frames(&log).enumerate() {
        let Some(message) = plan.find(frame.id).filter(|m| plan.message(*m).size == frame.len()) else { continue };
        if plan.find_signal(message, "CHECKSUM").is_none() {
            continue;
        }
        let mut payload = frame.payload().to_vec();
        let bit = n % (payload.len() * 8);
        payload[bit / 8] ^= 1 << (bit % 8);
        checked += 1;
        found += usize::from(
            plan.decode(message, &payload).signals().next().is_some_and(|s| s.validity == Validity::Checksum),
        );
    }
    println!("{found} of {checked} changed frames found");
    assert!(checked > 1000 && found == checked);
}

/// Two parameter groups of SAE J1939-71, without ranges, and from nobody: source address 0xFE.
const GROUPS: &str = r#"BU_: A
BO_ 2364540158 EEC1: 8 A
 SG_ EngineTorqueMode : 0|4@1+ (1,0) [0|0] "" A
 SG_ DriverDemandTorque : 8|8@1+ (1,-125) [0|0] "%" A
 SG_ ActualTorque : 16|8@1+ (1,-125) [0|0] "%" A
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|0] "rpm" A
BO_ 2566840318 EEC3: 8 A
 SG_ NominalFriction : 0|8@1+ (1,-125) [0|0] "%" A
 SG_ DesiredSpeed : 8|16@1+ (0.125,0) [0|0] "rpm" A
 SG_ DesiredSpeedAsymmetry : 24|8@1+ (1,-125) [0|0] "" A
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
"#;

/// What a truck does not have is "not available", not 8191 rpm.
#[test]
fn a_truck_says_what_it_does_not_have() {
    let Some(data) = corpus() else { return };
    let plan = Plan::compile(&[Database::parse("groups", GROUPS.as_bytes()).unwrap()]);
    let mut seen: BTreeMap<(&str, Validity), usize> = BTreeMap::new();
    let mut largest = 0.0_f64;
    for frame in frames(&data.join("logs/11111111_00000012_00000001.log.zst")) {
        let Some(message) = plan.find(frame.id) else { continue };
        assert_ne!(frame.id, plan.message(message).id, "the file names nobody as the sender");
        for sample in plan.decode_frame(message, &frame).signals() {
            let signal = plan.signal(sample.signal);
            *seen.entry((&signal.name, sample.validity)).or_default() += 1;
            if sample.validity.is_valid() && &*signal.unit == "rpm" {
                largest = largest.max(sample.value);
            }
        }
    }
    println!("{seen:?}, at most {largest} rpm");
    let expected = [
        (("ActualTorque", Validity::Valid), 12_719),
        (("DesiredSpeed", Validity::NotAvailable), 6_360),
        (("DesiredSpeedAsymmetry", Validity::NotAvailable), 6_360),
        (("DriverDemandTorque", Validity::Valid), 12_719),
        (("EngineSpeed", Validity::Valid), 12_719),
        (("EngineTorqueMode", Validity::Valid), 12_719),
        (("NominalFriction", Validity::Valid), 6_360),
    ];
    assert_eq!(seen, BTreeMap::from(expected));
    assert!((500.0..3000.0).contains(&largest));
}

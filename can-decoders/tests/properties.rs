//! The compiled plan against a decoder that follows the DBC's definitions bit by bit.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is a test's report, and so is its output")]

mod reference;

use std::fmt::Write;

use can_decoders::{CanId, Database, Fit, Plan, SignalIndex, Validity};
use proptest::prelude::*;
use reference::{Layout, reference_active, reference_bits, reference_value};

fn layout() -> impl Strategy<Value = Layout> {
    let bits = prop_oneof![1_u32..=8, 1_u32..=64, Just(32_u32), Just(64_u32)];
    let start = prop_oneof![0_u32..64, 0_u32..512];
    let factor = prop_oneof![Just(1.0), Just(1.0), Just(2.0), Just(-3.0), Just(0.1), Just(0.00390625), Just(1e12)];
    let offset = prop_oneof![Just(0.0), Just(0.0), Just(-40.0), Just(0.5), Just(9_007_199_254_740_991.0)];
    let ranges = proptest::collection::vec((0_u64..12, 0_u64..6).prop_map(|(low, more)| (low, low + more)), 1..3);
    let selected = proptest::option::weighted(0.4, (0_usize..8, ranges));
    (start, bits, any::<bool>(), any::<bool>(), any::<bool>(), factor, offset, selected).prop_map(
        |(start, bits, little, signed, float, factor, offset, selected)| Layout {
            start,
            bits,
            little,
            signed,
            float: float && matches!(bits, 32 | 64),
            factor,
            offset,
            selected,
        },
    )
}

/// The layouts with the selectors' places made real: each selects from the signals before it.
fn message() -> impl Strategy<Value = Vec<Layout>> {
    proptest::collection::vec(layout(), 1..10).prop_map(|mut layouts| {
        for (index, layout) in layouts.iter_mut().enumerate() {
            let selected = layout.selected.take();
            layout.selected = selected.filter(|_| index > 0).map(|(by, ranges)| (by % index, ranges));
        }
        layouts
    })
}

fn dbc(layouts: &[Layout], size: usize) -> String {
    let mut text = format!("VERSION \"\"\n\nBU_: A\n\nBO_ 2566834709 M: {size} A\n");
    let mut rest = String::new();
    for (index, layout) in layouts.iter().enumerate() {
        let selects = layouts.iter().any(|l| l.selected.as_ref().is_some_and(|(by, _)| *by == index));
        let indicator = match (&layout.selected, selects) {
            (None, false) => String::new(),
            (None, true) => " M".to_owned(),
            (Some((_, ranges)), false) => format!(" m{}", ranges[0].0),
            (Some((_, ranges)), true) => format!(" m{}M", ranges[0].0),
        };
        let Layout { start, bits, factor, offset, .. } = layout;
        let (order, sign) = (u8::from(layout.little), if layout.signed { '-' } else { '+' });
        writeln!(text, " SG_ S{index}{indicator} : {start}|{bits}@{order}{sign} ({factor},{offset}) [0|0] \"\" A")
            .unwrap();
        if layout.float {
            writeln!(rest, "SIG_VALTYPE_ 2566834709 S{index} : {};", bits / 32).unwrap();
        }
        if let Some((by, ranges)) = &layout.selected {
            let ranges: Vec<String> = ranges.iter().map(|(low, high)| format!("{low}-{high}")).collect();
            writeln!(rest, "SG_MUL_VAL_ 2566834709 S{index} S{by} {};", ranges.join(", ")).unwrap();
        }
    }
    text + "\n" + &rest
}

fn compile(text: &str) -> Plan {
    let database = Database::parse("generated", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Plan::compile(&[database])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decoding_equals_the_reference(
        layouts in message(),
        size in 0_usize..=64,
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..=8),
            proptest::collection::vec(any::<u8>(), 0..=80),
            // Small values, so that multiplexors select something.
            proptest::collection::vec(0_u8..8, 8..=64),
        ],
    ) {
        let text = dbc(&layouts, size);
        let plan = compile(&text);
        let message = plan.find(CanId::extended(2_566_834_709 & 0x1FFF_FFFF).unwrap()).unwrap();
        let decoded = plan.decode(message, &payload);
        let fit = if payload.len() < size {
            Fit::Short { missing: size - payload.len() }
        } else if payload.len() > size {
            Fit::Long { extra: payload.len() - size }
        } else {
            Fit::Exact
        };
        prop_assert_eq!(decoded.fit, fit);
        let mut samples = decoded.signals();
        for (index, layout) in layouts.iter().enumerate() {
            if !reference_active(&layouts, index, &payload) {
                continue;
            }
            let sample = samples.next();
            prop_assert!(sample.is_some(), "S{} is missing\n{}", index, text);
            let sample = sample.unwrap();
            prop_assert_eq!(sample.signal, SignalIndex(u32::try_from(index).unwrap()), "{}", text);
            let Some(bits) = reference_bits(layout, &payload) else {
                prop_assert_eq!(sample.validity, Validity::Short);
                prop_assert!(sample.value.is_nan());
                continue;
            };
            let (raw, value) = reference_value(layout, bits);
            if !value.is_finite() {
                prop_assert_eq!(sample.validity, Validity::NotFinite);
                prop_assert!(sample.value == value || value.is_nan() && sample.value.is_nan());
                continue;
            }
            prop_assert_eq!(sample.validity, Validity::Valid);
            prop_assert_eq!(sample.raw, raw, "S{}\n{}", index, text);
            prop_assert_eq!(sample.value, value, "S{}\n{}", index, text);
        }
        prop_assert!(samples.next().is_none(), "too many signals\n{}", text);
    }

    #[test]
    fn a_value_is_valid_when_it_is_within_half_a_step_of_its_range(
        layout in layout(),
        (low, high) in (-0.1_f64..1.1, -0.1_f64..1.1),
        payload in proptest::collection::vec(any::<u8>(), 80),
    ) {
        // A range between two parts of what the bits express, in round numbers as authors write them.
        let moderate = |number: f64, other: f64| if number.abs() < 1e6 { number } else { other };
        let layout = Layout {
            bits: layout.bits.min(40),
            float: false,
            factor: moderate(layout.factor, 0.25),
            offset: moderate(layout.offset, 17.0),
            selected: None,
            ..layout
        };
        let Layout { bits, signed, .. } = layout;
        let size = 2_f64.powi(bits.cast_signed());
        let physical = |part: f64| {
            let raw = part * size - if signed { size / 2.0 } else { 0.0 };
            ((raw * layout.factor + layout.offset) * 100.0).round() / 100.0
        };
        let (one, other) = (physical(low), physical(high));
        let (min, max) = (one.min(other), one.max(other));
        let text = dbc(std::slice::from_ref(&layout), 80).replace("[0|0]", &format!("[{min}|{max}]"));
        let plan = compile(&text);
        prop_assume!(plan.unchecked_ranges().is_empty() && (min, max) != (0.0, 0.0));
        let sample = plan.decode(plan.find_message("M").unwrap(), &payload).signals().next().unwrap();
        let step = layout.factor.abs();
        let beyond = (min - sample.value).max(sample.value - max) / step;
        // On the line between, rounding decides.
        prop_assume!((beyond - 0.5).abs() > 1e-4);
        let expected = if beyond < 0.5 { Validity::Valid } else { Validity::OutOfRange };
        prop_assert_eq!(sample.validity, expected, "{} {}", sample.value, text);
    }

    #[test]
    fn encoding_a_decoded_value_gives_the_same_bits(
        mut layout in layout(),
        payload in proptest::collection::vec(any::<u8>(), 73),
    ) {
        // Above 48 bits a double cannot tell all raw values apart once they are scaled.
        layout.selected = None;
        if layout.float { (layout.factor, layout.offset) = (1.0, 0.0); } else { layout.bits = layout.bits.min(48); }
        if layout.offset > 1e6 { layout.offset = 17.0; }
        let plan = compile(&dbc(std::slice::from_ref(&layout), 64));
        let message = plan.find_message("M").unwrap();
        let sample = plan.decode(message, &payload).signals().next().unwrap();
        prop_assume!(sample.validity == Validity::Valid);
        // On all ones and all zeros: the signal's bits are written, and no others.
        for background in [0_u8, 0xFF] {
            let mut written = vec![background; payload.len()];
            plan.encode(message, &[(sample.signal, sample.value)], &mut written).unwrap();
            let again = plan.decode(message, &written).signals().next().unwrap();
            prop_assert_eq!(again, sample);
            let changed: u32 = written.iter().map(|byte| (byte ^ background).count_ones()).sum();
            prop_assert!(changed <= layout.bits);
        }
        let mut same = payload.clone();
        plan.encode(message, &[(sample.signal, sample.value)], &mut same).unwrap();
        prop_assert_eq!(same, payload);
    }
}

/// A file with one of everything, to be damaged.
const SPECIMEN: &str = include_str!("../dbc/obd2.dbc");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_files_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0_u8..5), 1..12),
        payload in proptest::collection::vec(any::<u8>(), 0..=64),
    ) {
        let mut bytes = SPECIMEN.as_bytes().to_vec();
        for (at, other, byte, kind) in edits {
            if bytes.is_empty() { break; }
            let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, byte),
                // A piece of the file somewhere else.
                3 => {
                    let piece = bytes[at..bytes.len().min(at + usize::from(byte))].to_vec();
                    bytes.splice(other..other, piece);
                }
                _ => bytes.truncate(at.max(bytes.len() / 2)),
            }
        }
        if let Ok(database) = Database::parse("damaged", &bytes) {
            let plan = Plan::compile(&[database]);
            for message in plan.messages() {
                let index = plan.find(message.id).unwrap();
                prop_assert!(plan.decode(index, &payload).signals().count() <= message.signals.len());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Database::parse("arbitrary", &bytes);
    }
}

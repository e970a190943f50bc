//! Any plan and any payload: all ways of decoding agree with each other, and with a decoder that goes bit by bit.

#![no_main]

use std::fmt::Write;

use arbitrary::Arbitrary;
use can_decoders::integrity::{ChecksumRule, CounterRule, Counters, Suffix};
use can_decoders::validity::{J1939, SignalRule, Trust};
use can_decoders::{BusId, CanId, Database, Frame, FrameKind, Plan, Rules, Sample, Validity};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/reference/mod.rs"]
mod reference;
use reference::{Layout, reference_active, reference_bits, reference_value};

#[derive(Debug, Arbitrary)]
struct Signal {
    start: u16,
    bits: u8,
    little: bool,
    signed: bool,
    float: bool,
    factor: u8,
    offset: u8,
    /// Range as it is in the file.
    range: Option<(i16, i16)>,
    label: Option<(u8, bool)>,
    selected: Option<(u8, u8, u8)>,
}

/// What a configuration may say.
#[derive(Debug, Arbitrary)]
struct Said {
    /// Of this signal: bounds, and raw values that are none.
    bounds: Option<(u8, f64, f64, i64, i64)>,
    /// This signal is a checksum of this algorithm, with bytes before and behind, by counter or not.
    checksum: Option<(u8, u8, Vec<u8>, Vec<u8>, bool)>,
    /// This signal is a counter with this step and modulus.
    counter: Option<(u8, u8, u8)>,
    ranges: u8,
    j1939: u8,
}

#[derive(Debug, Arbitrary)]
struct Input {
    signals: Vec<Signal>,
    size: u16,
    is_j1939: bool,
    said: Option<Said>,
    payload: Vec<u8>,
}

const ALGORITHMS: [&str; 7] =
    ["sum8", "xor8", "toyota", "honda", "CRC-8/SAE-J1850", "CRC-8/AUTOSAR", "CRC-16/IBM-3740"];

fn rules(said: &Said) -> Rules {
    let name = |n: u8| format!("S{}", n % 64);
    let mut rules = Rules {
        ranges: [Trust::Plausible, Trust::All, Trust::None][usize::from(said.ranges % 3)],
        j1939: [J1939::Auto, J1939::Always, J1939::Never][usize::from(said.j1939 % 3)],
        ..Rules::default()
    };
    if let Some((signal, min, max, low, high)) = said.bounds {
        rules.signals.push(SignalRule {
            message: "M".into(),
            signal: name(signal),
            min: Some(min),
            max: Some(max),
            not_available: vec![low..=low],
            error: vec![high.saturating_sub(3)..=high],
        });
    }
    if let Some((signal, algorithm, prefix, suffix, by_counter)) = &said.checksum {
        let algorithm = ALGORITHMS[usize::from(*algorithm) % ALGORITHMS.len()];
        rules.checksums.push(ChecksumRule {
            message: "*".into(),
            signal: name(*signal),
            algorithm: algorithm.parse().expect("it is known"),
            prefix: prefix.clone(),
            suffix: if *by_counter { Suffix::ByCounter([7; 16]) } else { Suffix::Bytes(suffix.clone()) },
        });
    }
    if let Some((signal, max_jump, modulus)) = said.counter {
        let (max_jump, modulus) = (max_jump.into(), modulus.into());
        rules.counters.push(CounterRule { message: "M".into(), signal: name(signal), max_jump, modulus });
    }
    rules
}

const FACTORS: [f64; 8] = [1.0, 1.0, 2.0, -3.0, 0.1, 0.00390625, 1e12, 1e300];
const OFFSETS: [f64; 6] = [0.0, 0.0, -40.0, 0.5, 9_007_199_254_740_991.0, -1e300];

fn text(input: &Input, layouts: &[Layout]) -> String {
    let mut text = format!("BU_: A\n\nBO_ 2566834709 M: {} A\n", input.size);
    let mut rest = String::new();
    for (index, (layout, signal)) in layouts.iter().zip(&input.signals).enumerate() {
        let selects = layouts.iter().any(|l| l.selected.as_ref().is_some_and(|(by, _)| *by == index));
        let indicator = match (&layout.selected, selects) {
            (None, false) => String::new(),
            (None, true) => " M".to_owned(),
            (Some((_, ranges)), false) => format!(" m{}", ranges[0].0),
            (Some((_, ranges)), true) => format!(" m{}M", ranges[0].0),
        };
        let (order, sign) = (u8::from(layout.little), if layout.signed { '-' } else { '+' });
        let (low, high) = signal.range.unwrap_or((0, 0));
        let Layout { start, bits, factor, offset, .. } = layout;
        let place = format!("{start}|{bits}@{order}{sign} ({factor},{offset}) [{low}|{high}]");
        writeln!(text, " SG_ S{index}{indicator} : {place} \"\" A").unwrap();
        if layout.float {
            writeln!(rest, "SIG_VALTYPE_ 2566834709 S{index} : {};", bits / 32).unwrap();
        }
        if let Some((by, ranges)) = &layout.selected {
            writeln!(rest, "SG_MUL_VAL_ 2566834709 S{index} S{by} {}-{};", ranges[0].0, ranges[0].1).unwrap();
        }
        if let Some((raw, is_error)) = signal.label {
            let label = if is_error { "Error" } else { "SNA" };
            writeln!(rest, "VAL_ 2566834709 S{index} {raw} \"{label}\" ;").unwrap();
        }
    }
    if input.is_j1939 {
        rest += "BA_DEF_ BO_ \"VFrameFormat\" INT 0 3;\nBA_ \"VFrameFormat\" BO_ 2566834709 3;\n";
    }
    text + "\n" + &rest
}

fn same(one: &Sample, other: &Sample) -> bool {
    one.signal == other.signal
        && one.validity == other.validity
        && one.value.to_bits() == other.value.to_bits()
        && (one.raw == other.raw || one.value.is_nan())
}

fuzz_target!(|input: Input| {
    if input.signals.len() > 64 || input.payload.len() > 5000 {
        return;
    }
    let layouts: Vec<Layout> = input
        .signals
        .iter()
        .enumerate()
        .map(|(index, signal)| {
            let bits = u32::from(signal.bits % 64) + 1;
            let selected = signal.selected.filter(|_| index > 0);
            Layout {
                start: u32::from(signal.start % 600),
                bits,
                little: signal.little,
                signed: signal.signed,
                float: signal.float && matches!(bits, 32 | 64),
                factor: FACTORS[usize::from(signal.factor) % FACTORS.len()],
                offset: OFFSETS[usize::from(signal.offset) % OFFSETS.len()],
                selected: selected.map(|(by, low, more)| {
                    let low = u64::from(low);
                    (usize::from(by) % index, vec![(low, low + u64::from(more))])
                }),
            }
        })
        .collect();
    let text = text(&input, &layouts);
    let database = Database::parse("fuzz.dbc", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let plan = match &input.said {
        None => Plan::compile(&[database]),
        Some(said) => match Plan::compile_with(&[database], &rules(said)) {
            Ok(plan) => plan,
            // It names what is not there, or what cannot be.
            Err(_) => return,
        },
    };
    let message = plan.find(CanId::extended(2_566_834_709 & 0x1FFF_FFFF).unwrap()).unwrap();
    let mut decoded = plan.decode(message, &input.payload);
    let mut counters = Counters::new(&plan);
    for _ in 0..2 {
        if !counters.check(&decoded) {
            decoded = decoded.with_wrong_counter();
        }
    }
    let verdict = decoded
        .signals()
        .map(|sample| sample.validity)
        .find(|mark| matches!(mark, Validity::Checksum | Validity::Counter));

    let mut buffer = vec![Sample::default(); plan.most_signals()];
    let written = decoded.write(&mut buffer);
    let mut folded = Vec::new();
    decoded.signals().for_each(|sample| folded.push(sample));
    let mut iterated = decoded.signals();
    for (one, other) in written.iter().zip(&folded) {
        assert!(same(one, other), "{one:?} {other:?}\n{text}");
        assert!(iterated.next().is_some_and(|sample| same(&sample, one)), "{text}");
    }
    assert!(iterated.next().is_none() && written.len() == folded.len(), "{text}");
    let frame =
        Frame::new(0, BusId(0), plan.message(message).id, FrameKind::Fd { brs: false, esi: false }, &input.payload);
    if let Some(frame) = frame {
        let mut decoded = plan.decode_frame(message, &frame);
        if verdict == Some(Validity::Counter) {
            decoded = decoded.with_wrong_counter();
        }
        let again: Vec<Sample> = decoded.signals().collect();
        assert!(again.len() == written.len() && again.iter().zip(written).all(|(a, b)| same(a, b)), "{text}");
    }

    let mut samples = written.iter();
    for (index, layout) in layouts.iter().enumerate() {
        if !reference_active(&layouts, index, &input.payload) {
            continue;
        }
        let sample = samples.next().unwrap_or_else(|| panic!("S{index} is missing\n{text}"));
        assert_eq!(sample.signal.0 as usize, index, "{text}");
        let Some(bits) = reference_bits(layout, &input.payload) else {
            assert_eq!(sample.validity, Validity::Short);
            continue;
        };
        let (raw, value) = reference_value(layout, bits);
        assert!(sample.value == value || value.is_nan() && sample.value.is_nan(), "S{index}: {value}\n{text}");
        assert!(sample.raw == raw || value.is_nan(), "S{index}: {raw:?}\n{text}");
        if let Some(verdict) = verdict {
            assert_eq!(sample.validity, verdict, "S{index}\n{text}");
            continue;
        }
        assert_eq!(value.is_finite(), sample.validity != Validity::NotFinite, "S{index}\n{text}");
        // Nothing says that all ones are a value.
        let signal = &input.signals[index];
        let is_plain = signal.range.is_none()
            && signal.label.is_none()
            && input.said.is_none()
            && !plan.signal(sample.signal).is_multiplexor;
        if input.is_j1939
            && is_plain
            && !layout.signed
            && !layout.float
            && layout.bits > 1
            && bits == u64::MAX >> (64 - layout.bits)
        {
            assert_ne!(sample.validity, Validity::Valid, "S{index}\n{text}");
        }
        // A range that is believed is kept to within half a step.
        if let (Some((low, high)), Validity::Valid) = (input.signals[index].range, sample.validity)
            && input.said.is_none()
            && input.signals[index].label.is_none()
            && !plan.unchecked_ranges().contains(&sample.signal)
            && low != high
        {
            let slack = layout.factor.abs() / 2.0 * (1.0 + 1e-9) + value.abs() * 1e-12;
            let inside = f64::from(low) - slack <= value && value <= f64::from(high) + slack;
            assert!(inside || layout.float, "S{index}: {value} [{low}|{high}]\n{text}");
        }
    }
    assert!(samples.next().is_none(), "too many signals\n{text}");
});

//! Fields of payloads, as lines of a DBC file: those that a DBC file has, and those that the bits give away.
//!
//! A number's bits change the more often the lower they are. So, from the first bit of a payload to the last, a field goes
//! on as long as the bits change more and more often, and ends where the next one changes clearly less (READ, Marchetti and
//! Stabili 2019). That finds numbers in Motorola's order, and the bytes of numbers in Intel's order one by one: good enough
//! to watch them, whatever they mean.

use std::collections::HashSet;
use std::fmt::Write as _;

use can_decoders::CanId;
use can_decoders::dbc::{ByteOrder, Encoding, MessageDef, Multiplexing};

/// Narrowest and widest field that is looked for, bits.
const BITS: std::ops::RangeInclusive<usize> = 5..=32;
/// A field's lowest bit changes in at least this share of the frames.
const LIVELY: f64 = 0.05;
/// The next field begins where bits change in less than this share of what the bit before does.
const DROP: f64 = 0.6;

/// The start of a bus's DBC text.
pub(super) const HEADER: &str = "VERSION \"\"\n\nBU_: X\n\n";

/// The DBC text of one message: what goes with the other messages, and what goes to the end of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) message: String,
    pub(super) end: String,
}

fn head(id: CanId, name: &str, length: usize) -> String {
    format!("BO_ {} {name}: {length} X\n", id.to_bits())
}

/// A name that DBC files take.
pub(super) fn clean(name: &str) -> String {
    let mut clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !clean.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        clean.insert(0, '_');
    }
    clean
}

/// The signals of a DBC file's message that are within `length` bytes and none of whose bits is `taken`.
pub(super) fn from_dbc(id: CanId, name: &str, length: usize, def: &MessageDef, taken: &[u8]) -> Described {
    let mut out = Described { message: head(id, name, length), end: String::new() };
    let mut names = HashSet::new();
    let unique = |signal: &str, names: &mut HashSet<String>| {
        let (base, mut number) = (clean(signal), 1);
        let mut name = base.clone();
        while !names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    };
    let all: Vec<String> = def.signals.iter().map(|signal| unique(&signal.name, &mut names)).collect();
    for (signal, name) in def.signals.iter().zip(&all) {
        let bits = || (0..signal.bits).filter_map(|n| bit_of(signal.start, n, signal.order));
        let fits = bits().count() == signal.bits as usize && bits().all(|bit| bit < 8 * length);
        // A multiplexor says what the others are, even if it counts.
        let is_taken = bits().any(|bit| taken.get(bit / 8).is_some_and(|mask| mask >> (bit % 8) & 1 == 1));
        let odd = !(signal.factor.is_finite() && signal.offset.is_finite())
            || matches!(&signal.multiplexing, Multiplexing::Selected { ranges, .. } if ranges.is_empty());
        if odd || !fits || (is_taken && !signal.is_multiplexor) || signal.multiplexing == Multiplexing::Never {
            continue;
        }
        let multiplexor = if signal.is_multiplexor { "M" } else { "" };
        let mark = match &signal.multiplexing {
            Multiplexing::Selected { selector, ranges } => {
                let list = ranges.iter().map(|r| format!("{}-{}", r.start(), r.end())).collect::<Vec<_>>().join(", ");
                let _ = writeln!(out.end, "SG_MUL_VAL_ {} {name} {} {list};", id.to_bits(), all[*selector]);
                format!(" m{}{multiplexor}", ranges.first().map_or(0, |range| *range.start()))
            }
            _ if signal.is_multiplexor => " M".into(),
            _ => String::new(),
        };
        let order = if signal.order == ByteOrder::Little { 1 } else { 0 };
        let sign = if signal.encoding == Encoding::Unsigned { '+' } else { '-' };
        let unit: String = signal.unit.chars().filter(|c| !"\"\\".contains(*c) && !c.is_control()).collect();
        let _ = writeln!(
            out.message,
            " SG_ {name}{mark} : {}|{}@{order}{sign} ({},{}) [0|0] \"{unit}\" X",
            signal.start, signal.bits, signal.factor, signal.offset
        );
        // Labels say which values are none: "SNA", "Error".
        if !signal.labels.is_empty() {
            let quote =
                |text: &str| text.chars().filter(|c| !"\"\\".contains(*c) && !c.is_control()).collect::<String>();
            let labels = signal.labels.iter().map(|(raw, text)| format!("{raw} \"{}\" ", quote(text)));
            let _ = writeln!(out.end, "VAL_ {} {name} {};", id.to_bits(), labels.collect::<String>());
        }
        let float = match signal.encoding {
            Encoding::Float32 => 1,
            Encoding::Float64 => 2,
            Encoding::Unsigned | Encoding::Signed => continue,
        };
        let _ = writeln!(out.end, "SIG_VALTYPE_ {} {name} : {float};", id.to_bits());
    }
    out
}

/// Where bit `n` of a signal is, from its start: byte times 8, plus the bit within the byte.
fn bit_of(start: u32, n: u32, order: ByteOrder) -> Option<usize> {
    let bit = match order {
        ByteOrder::Little => start.checked_add(n)?,
        ByteOrder::Big => {
            let first = start / 8 * 8 + (7 - start % 8);
            let place = first.checked_add(n)?;
            place / 8 * 8 + (7 - place % 8)
        }
    };
    usize::try_from(bit).ok()
}

/// The fields that the bits give away; `flips` as in [`super::Message::flips`], of `changes` changes between frames.
pub(super) fn from_bits(id: CanId, name: &str, length: usize, flips: &[u32], changes: u64, taken: &[u8]) -> Described {
    let mut out = Described { message: head(id, name, length), end: String::new() };
    // The bits from the first byte's highest on.
    let place = |k: usize| k / 8 * 8 + (7 - k % 8);
    let count = |k: usize| {
        let bit = place(k);
        let is_taken = taken.get(bit / 8).is_some_and(|mask| mask >> (bit % 8) & 1 == 1);
        if is_taken { 0.0 } else { f64::from(flips.get(bit).copied().unwrap_or(0)) }
    };
    let bits = flips.len().min(8 * length);
    let mut first = 0;
    while first < bits {
        if count(first) == 0.0 {
            first += 1;
            continue;
        }
        let mut end = first + 1;
        // Three changes more or less are chance.
        while end < bits && count(end) > 0.0 && count(end) + 3.0 >= DROP * count(end - 1) {
            end += 1;
        }
        let lively = (first..end).map(count).fold(0.0, f64::max) >= LIVELY * number(changes);
        if BITS.contains(&(end - first)) && lively {
            let (start, width) = (place(first), end - first);
            let _ = writeln!(
                out.message,
                " SG_ Byte{}_{}_{width} : {start}|{width}@0+ (1,0) [0|0] \"\" X",
                start / 8,
                start % 8
            );
        }
        first = end;
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "counts; the last bits do not matter")]
fn number(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use can_decoders::{Database, MessageIndex, Plan};

    use super::*;

    #[test]
    fn what_a_dbc_file_says_comes_through() {
        let text = r#"BO_ 300 Mixed: 8 A
 SG_ Kind M : 0|4@1+ (1,0) [0|15] "" A
 SG_ Speed m1 : 8|16@1- (0.01,-5) [0|0] "km/h" A
 SG_ Torque m2 : 15|12@0+ (0.5,10) [0|0] "Nm" A
 SG_ Always : 39|8@0+ (1,0) [0|0] "" A
 SG_ Check : 63|8@0+ (1,0) [0|0] "" A
BO_ 301 Floats: 8 A
 SG_ F : 0|32@1- (1,0) [0|0] "" A
 SG_ Far : 56|16@1- (1,0) [0|0] "" A
SG_MUL_VAL_ 300 Torque Kind 2-3, 7-7;
VAL_ 300 Always 5 "SNA" 6 "a \\ b" ;
SIG_VALTYPE_ 301 F : 1;
"#;
        let database = Database::parse("t", text.as_bytes()).unwrap();
        let [mixed, floats] = database.messages() else { panic!() };
        let a = from_dbc(mixed.id, "Mixed", 8, mixed, &[0, 0, 0, 0, 0, 0, 0, 0xFF]);
        let b = from_dbc(floats.id, "Floats", 8, floats, &[]);
        let again = format!("{HEADER}{}{}{}{}", a.message, b.message, a.end, b.end);
        let mine = Plan::compile(&[Database::parse("again", again.as_bytes()).unwrap()]);
        let plan = Plan::compile(std::slice::from_ref(&database));
        for payload in [[1, 0x34, 0x92, 3, 4, 5, 6, 7], [3, 0xFF, 0x92, 3, 4, 5, 6, 7], [9; 8]] {
            for message in [MessageIndex(0), MessageIndex(1)] {
                let read = |plan: &Plan| {
                    let samples = plan.decode(message, &payload).signals().collect::<Vec<_>>();
                    let named = |s: can_decoders::Sample| (plan.signal(s.signal).name.clone(), (s.value, s.validity));
                    samples.into_iter().map(named).filter(|(name, _)| !["Check", "Far"].contains(&&**name)).collect()
                };
                let (theirs, ours): (Vec<_>, Vec<_>) = (read(&plan), read(&mine));
                assert_eq!(ours, theirs);
            }
        }
        let sna = mine.decode(MessageIndex(0), &[0, 0, 0, 0, 5, 0, 0, 0]);
        assert!(sna.signals().any(|sample| !sample.validity.is_valid()), "a label says that there is no value");
        assert!(!again.contains("Check") && !again.contains("Far"), "{again}");
    }

    #[test]
    fn a_number_is_found_by_how_often_its_bits_change() {
        // A counter of 12 bits in the first two bytes, Motorola; a steady byte; a noisy half byte; a lone flag.
        let mut flips = vec![0; 64];
        let frames: Vec<[u8; 8]> = (0..5000_u16)
            .map(|i| {
                let [high, low] = i.to_be_bytes();
                let [noise, _] = i.wrapping_mul(40_503).to_be_bytes();
                [high & 0xF, low, 7, noise >> 4, 0, 0, 0, u8::from(i >= 2500)]
            })
            .collect();
        for pair in frames.windows(2) {
            for (bit, flip) in flips.iter_mut().enumerate() {
                *flip += u32::from((pair[0][bit / 8] ^ pair[1][bit / 8]) >> (bit % 8) & 1);
            }
        }
        let id = CanId::standard(0x123).unwrap();
        let found = from_bits(id, "ID_123", 8, &flips, 4999, &[]).message;
        assert_eq!(found, "BO_ 291 ID_123: 8 X\n SG_ Byte0_3_12 : 3|12@0+ (1,0) [0|0] \"\" X\n");
        let without = from_bits(id, "ID_123", 8, &flips, 4999, &[0, 0xFF]).message;
        assert_eq!(without, "BO_ 291 ID_123: 8 X\n");
    }
}

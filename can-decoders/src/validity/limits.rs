//! The raw values of one signal that are valid: an interval, and patterns that say why a value is none.
//!
//! Raw values are compared as numbers of one order, [`ordered`]: unsigned ones as they are, signed ones with their sign
//! bit turned, so that the smallest is 0. Floats are compared by their physical value.

use std::ops::{Range, RangeInclusive};

use super::labels::{Meaning, Vocabulary};
use super::{Rules, SignalRule, Trust, Validity, j1939};
use crate::dbc::{Encoding, SignalDef};

/// A pattern in ordered raw values, and what it says.
pub(crate) type Pattern = (RangeInclusive<u64>, Validity);

/// What is asked when a value is not known to be valid.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    encoding: Encoding,
    /// Smallest and largest valid value: ordered raw, or the bits of a physical `f64` for floats.
    low: u64,
    high: u64,
    /// Where in the plan's table its patterns are.
    pub(crate) patterns: Range<u32>,
}

impl Limits {
    /// True when the raw values are ones that a signal of so many bits can have.
    pub(crate) fn has(&self, bits: u32, range: &RangeInclusive<i64>) -> bool {
        let (first, last) = whole(self.encoding, bits);
        let is_negative = *range.start() < 0 && self.encoding != Encoding::Signed;
        let ordered = |raw: &i64| ordered(*raw, self.encoding);
        !range.is_empty() && !is_negative && ordered(range.start()) >= first && ordered(range.end()) <= last
    }

    /// True when no value is within the range.
    pub(crate) fn is_empty(&self) -> bool {
        match self.encoding {
            Encoding::Float32 | Encoding::Float64 => f64::from_bits(self.low) > f64::from_bits(self.high),
            Encoding::Signed | Encoding::Unsigned => self.low > self.high,
        }
    }

    /// Judges a value. `raw` is the signal's, sign-extended where it is signed.
    #[cold]
    pub(crate) fn judge(&self, table: &[Pattern], raw: i64, value: f64) -> Validity {
        if !value.is_finite() {
            return Validity::NotFinite;
        }
        if matches!(self.encoding, Encoding::Float32 | Encoding::Float64) {
            let valid = (f64::from_bits(self.low)..=f64::from_bits(self.high)).contains(&value);
            return if valid { Validity::Valid } else { Validity::OutOfRange };
        }
        let raw = ordered(raw, self.encoding);
        let patterns = &table[self.patterns.start as usize..self.patterns.end as usize];
        match patterns.iter().find(|(range, _)| range.contains(&raw)) {
            Some((_, why)) => *why,
            None if (self.low..=self.high).contains(&raw) => Validity::Valid,
            None => Validity::OutOfRange,
        }
    }
}

/// A signal's raw value (the bits of one of 64 unsigned bits) as a number that keeps the order.
fn ordered(raw: i64, encoding: Encoding) -> u64 {
    let flip = if encoding == Encoding::Signed { 1 << 63 } else { 0 };
    raw.cast_unsigned() ^ flip
}

/// How the values of a signal are judged, found once.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) limits: Limits,
    pub(crate) patterns: Vec<Pattern>,
    /// Raw values that need no further question: (smallest, how many more); `None` when each must be judged.
    pub(crate) plain: Option<(i64, u64)>,
    /// The DBC gives a range that is not believed.
    pub(crate) doubted: bool,
}

impl Judge {
    /// `own` is what is said of this signal alone.
    pub(crate) fn new(
        signal: &SignalDef,
        is_j1939: bool,
        rules: &Rules,
        own: &SignalRule,
        vocabulary: &mut Vocabulary,
    ) -> Self {
        let said = signal.min.zip(signal.max);
        let believed = said.filter(|range| believe(signal, *range, rules.ranges));
        let doubted = said.is_some() && believed.is_none() && rules.ranges != Trust::None;
        let (min, max) = believed.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let range = (own.min.unwrap_or(min), own.max.unwrap_or(max));
        let encoding = signal.encoding;
        if matches!(encoding, Encoding::Float32 | Encoding::Float64) {
            let limits = Limits { encoding, low: range.0.to_bits(), high: range.1.to_bits(), patterns: 0..0 };
            return Self { limits, patterns: Vec::new(), plain: None, doubted };
        }
        let whole = whole(signal.encoding, signal.bits);
        let (mut low, mut high) = raw_range(signal, range);
        if own.min.is_none() && own.max.is_none() {
            (low, high) = with_labels(signal, (low, high), vocabulary);
        }
        let patterns = patterns(signal, is_j1939, own, (high < whole.1).then_some(high), vocabulary);
        let plain = plain(low, high, &patterns).map(|(low, high)| {
            let flip = if encoding == Encoding::Signed { 1 << 63 } else { 0 };
            ((low ^ flip).cast_signed(), high - low)
        });
        Self { limits: Limits { encoding, low, high, patterns: 0..0 }, patterns, plain, doubted }
    }
}

/// The smallest and the largest ordered raw value.
fn whole(encoding: Encoding, bits: u32) -> (u64, u64) {
    let spare = 64 - bits.clamp(1, 64);
    match encoding {
        Encoding::Signed => {
            (ordered(i64::MIN >> spare, Encoding::Signed), ordered(i64::MAX >> spare, Encoding::Signed))
        }
        _ => (0, u64::MAX >> spare),
    }
}

/// A physical range in raw steps, from low to high; `None` when the scaling says nothing.
fn steps(signal: &SignalDef, (min, max): (f64, f64)) -> Option<(f64, f64)> {
    let steps = ((min - signal.offset) / signal.factor, (max - signal.offset) / signal.factor);
    let scaled = signal.factor.is_finite() && signal.factor != 0.0 && signal.offset.is_finite();
    match steps.0.partial_cmp(&steps.1) {
        Some(std::cmp::Ordering::Greater) => Some((steps.1, steps.0)),
        Some(_) => Some(steps),
        None => None,
    }
    .filter(|_| scaled)
}

/// True when the DBC's range is worth believing.
pub(crate) fn believe(signal: &SignalDef, range: (f64, f64), trust: Trust) -> bool {
    // One value alone, or none at all, is not what anybody meant to send.
    if trust == Trust::None || !range.0.is_finite() || !range.1.is_finite() || range.0 >= range.1 {
        return false;
    }
    if matches!(signal.encoding, Encoding::Float32 | Encoding::Float64) || trust == Trust::All {
        return true;
    }
    let Some((low, high)) = steps(signal, range) else { return false };
    let size = 2_f64.powi(signal.bits.clamp(1, 64).cast_signed());
    let first = if signal.encoding == Encoding::Signed { -size / 2.0 } else { 0.0 };
    let slack = size / 10.0 + 1.0;
    low >= first - slack && high <= first + size - 1.0 + slack
}

/// The ordered raw values of a physical range. What is at most half a step outside is inside: authors round.
fn raw_range(signal: &SignalDef, range: (f64, f64)) -> (u64, u64) {
    let (first, last) = whole(signal.encoding, signal.bits);
    // Upside down, so that no value is inside.
    let nothing = (1, 0);
    if range.0 > range.1 {
        return nothing;
    }
    let Some((low, high)) = steps(signal, range) else { return (first, last) };
    // The order's zero; saturating conversions are meant: beyond is the end.
    let zero = if signal.encoding == Encoding::Signed { 1_i128 << 63 } else { 0 };
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let ordered = |raw: f64| (raw as i128).saturating_add(zero);
    let clamp = |raw: i128| u64::try_from(raw.clamp(i128::from(first), i128::from(last))).unwrap_or(last);
    let (low, high) = (ordered((low - 0.5).ceil()), ordered((high + 0.5).floor()));
    if high < i128::from(first) || low > i128::from(last) {
        // Nothing that the bits can express.
        return nothing;
    }
    (clamp(low), clamp(high))
}

/// A range of states of which most have a label: those outside that have one, too, are states as well. Authors add states
/// and forget the range.
fn with_labels(signal: &SignalDef, (low, high): (u64, u64), vocabulary: &mut Vocabulary) -> (u64, u64) {
    let is_count = signal.factor == 1.0 && signal.offset == 0.0 && signal.bits <= 8;
    if !is_count || low > high || signal.labels.len() > 256 {
        return (low, high);
    }
    let none = vocabulary.runs(&signal.labels);
    let states = signal.labels.iter().filter(|label| !none.iter().any(|(run, _)| run.contains(&label.0)));
    let states: Vec<u64> = states.filter_map(|label| place(label.0, signal)).collect();
    let inside = states.iter().filter(|raw| (low..=high).contains(*raw)).count() as u64;
    if inside * 2 <= high - low {
        return (low, high);
    }
    states.into_iter().fold((low, high), |(low, high), raw| (low.min(raw), high.max(raw)))
}

/// A raw value as the file has it, ordered; `None` when the signal cannot have it. Signed signals often have labels for
/// their bits as if they were unsigned: 255 for -1.
fn place(raw: i64, signal: &SignalDef) -> Option<u64> {
    let (first, last) = whole(signal.encoding, signal.bits);
    let folded = if signal.encoding == Encoding::Signed && signal.bits < 64 && raw >= 1 << (signal.bits - 1) {
        raw.checked_sub(1 << signal.bits)?
    } else {
        raw
    };
    let is_negative = folded < 0 && signal.encoding != Encoding::Signed;
    Some(ordered(folded, signal.encoding)).filter(|raw| !is_negative && (first..=last).contains(raw))
}

/// `believed` is the largest ordered raw value of a range that ends before the bits do.
fn patterns(
    signal: &SignalDef,
    is_j1939: bool,
    own: &SignalRule,
    believed: Option<u64>,
    vocabulary: &mut Vocabulary,
) -> Vec<Pattern> {
    let encoding = signal.encoding;
    if !own.not_available.is_empty() || !own.error.is_empty() {
        let given = |ranges: &[RangeInclusive<i64>], why| -> Vec<Pattern> {
            let ordered =
                |range: &RangeInclusive<i64>| ordered(*range.start(), encoding)..=ordered(*range.end(), encoding);
            ranges.iter().map(|range| (ordered(range), why)).collect()
        };
        return [given(&own.not_available, Validity::NotAvailable), given(&own.error, Validity::Error)].concat();
    }
    let mut patterns = Vec::new();
    // A single bit says yes or no, whatever its labels are; a multiplexor's values say which signals follow.
    if signal.bits < 2 || signal.is_multiplexor {
        return patterns;
    }
    let ones = u64::MAX >> (64 - signal.bits.clamp(1, 64));
    for (run, meaning) in &*vocabulary.runs(&signal.labels) {
        if *meaning == Meaning::Missing {
            if let (Some(first), Some(last)) = (place(*run.start(), signal), place(*run.end(), signal))
                && first <= last
            {
                patterns.push((first..=last, Validity::NotAvailable));
            }
            continue;
        }
        // All ones and one less; for signed signals also the largest values.
        let signed = [ones >> 1, (ones >> 1) - 1].into_iter().filter(|_| encoding == Encoding::Signed);
        for raw in [ones, ones - 1].into_iter().chain(signed) {
            let Some(raw) = i64::try_from(raw).ok() else { continue };
            let folded = if encoding == Encoding::Signed { raw.wrapping_sub(1 << signal.bits.min(63)) } else { raw };
            if (run.contains(&raw) || run.contains(&folded))
                && let Some(raw) = place(raw, signal)
            {
                patterns.push((raw..=raw, Validity::Error));
            }
        }
    }
    if is_j1939 && encoding == Encoding::Unsigned {
        for (range, why) in j1939::patterns(signal.bits) {
            // A value for which the DBC has another meaning keeps it: of 3 to 7 bits J1939 uses all for some parameters.
            let raw = i64::try_from(*range.end()).ok();
            let label =
                raw.and_then(|raw| Some(&signal.labels[signal.labels.binary_search_by_key(&raw, |l| l.0).ok()?].1));
            if (3..=7).contains(&signal.bits) && label.is_some_and(|label| !vocabulary.mentions(label)) {
                continue;
            }
            // A range that ends in between was written with the pattern in mind: NMEA 2000 keeps less back.
            let start = believed.map_or(*range.start(), |high| (*range.start()).max(high.saturating_add(1)));
            if start <= *range.end() {
                patterns.push((start..=*range.end(), why));
            }
        }
    }
    patterns
}

/// The interval without the patterns at its ends; `None` when one lies within it or nothing is left.
fn plain(mut low: u64, mut high: u64, patterns: &[Pattern]) -> Option<(u64, u64)> {
    loop {
        if low > high {
            return None;
        }
        let at = |raw: u64| patterns.iter().find(|(range, _)| range.contains(&raw)).map(|(range, _)| range);
        if let Some(range) = at(high) {
            high = range.start().checked_sub(1)?;
        } else if let Some(range) = at(low) {
            low = range.end().checked_add(1)?;
        } else {
            let within = patterns.iter().any(|(range, _)| *range.start() <= high && *range.end() >= low);
            return (!within).then_some((low, high));
        }
    }
}

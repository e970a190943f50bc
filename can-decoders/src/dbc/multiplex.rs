//! Which signal selects which: simple (`M`, `m5`) and extended (`m5M`, `SG_MUL_VAL_`) multiplexing.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::code::Code;
use super::model::{MessageDef, Multiplexing, Place, Ranges};
use super::warnings::Warnings;

/// The multiplexer indicator of an `SG_` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indicator {
    /// None.
    Plain,
    /// `M`.
    Multiplexor,
    /// `m5`.
    Multiplexed(u64),
    /// `m5M`.
    Both(u64),
    /// `m` without a number.
    Bare,
}

/// One `SG_MUL_VAL_` statement.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub signal: String,
    pub selector: String,
    pub ranges: Vec<RangeInclusive<u64>>,
    pub place: Place,
}

/// Sets the multiplexing of all signals; the result has no cycles. What is odd goes to `warnings`.
pub(super) fn resolve(
    message: &mut MessageDef,
    indicators: &[Indicator],
    selections: &[Selection],
    warnings: &mut Warnings,
) {
    if selections.is_empty() && indicators.iter().all(|i| *i == Indicator::Plain) {
        return;
    }
    let root = root(message, indicators, warnings);
    let mut by_signal: HashMap<&str, Vec<&Selection>> = HashMap::new();
    for selection in selections {
        by_signal.entry(&selection.signal).or_default().push(selection);
    }
    // Signals of one name share what selects them: a hostile file has thousands of each.
    let mut resolved: HashMap<&str, Multiplexing> = HashMap::new();
    for (index, indicator) in indicators.iter().enumerate() {
        let signal = &message.signals[index];
        let extended = by_signal.get(&*signal.name).map_or(&[][..], Vec::as_slice);
        let multiplexing = if let [first, ..] = extended {
            let resolved = resolved.entry(&first.signal);
            resolved.or_insert_with(|| from_selections(message, first, extended, warnings)).clone()
        } else {
            match (*indicator, root) {
                (Indicator::Plain | Indicator::Multiplexor, _) => Multiplexing::Always,
                (Indicator::Bare, Some(root)) if root == index => Multiplexing::Always,
                (Indicator::Multiplexed(value) | Indicator::Both(value), Some(root)) if root != index => {
                    Multiplexing::Selected { selector: root, ranges: Ranges::from([value..=value]) }
                }
                (Indicator::Bare, _) => {
                    warnings.add(
                        Code::NoMultiplexorValue,
                        signal.place,
                        format_args!("signal {} is multiplexed (m) without a value: never reported", signal.name),
                    );
                    Multiplexing::Never
                }
                (Indicator::Multiplexed(_) | Indicator::Both(_), _) => {
                    warnings.add(
                        Code::NoMultiplexor,
                        signal.place,
                        format_args!(
                            "signal {} is multiplexed, but message {} has no multiplexor (M): never reported",
                            signal.name, message.name
                        ),
                    );
                    Multiplexing::Never
                }
            }
        };
        message.signals[index].multiplexing = multiplexing;
    }
    break_cycles(message, warnings);
    for index in 0..message.signals.len() {
        if let Multiplexing::Selected { selector, .. } = message.signals[index].multiplexing {
            message.signals[selector].is_multiplexor = true;
        }
    }
}

/// The multiplexor of simple multiplexing.
fn root(message: &MessageDef, indicators: &[Indicator], warnings: &mut Warnings) -> Option<usize> {
    let mut pure = indicators.iter().enumerate().filter(|(_, i)| **i == Indicator::Multiplexor).map(|(n, _)| n);
    if let Some(first) = pure.next() {
        return Some(first);
    }
    // `m` where `M` was meant: one such signal, others with numbers, and no multiplexor.
    let mut bare = indicators.iter().enumerate().filter(|(_, i)| **i == Indicator::Bare).map(|(n, _)| n);
    let numbered = indicators.iter().any(|i| matches!(i, Indicator::Multiplexed(_)));
    match (bare.next(), bare.next()) {
        (Some(only), None) if numbered => {
            let signal = &message.signals[only];
            warnings.add(
                Code::SmallM,
                signal.place,
                format_args!("signal {} has m without a number and is taken as the multiplexor (M)", signal.name),
            );
            Some(only)
        }
        _ => None,
    }
}

fn from_selections(
    message: &MessageDef,
    first: &Selection,
    all: &[&Selection],
    warnings: &mut Warnings,
) -> Multiplexing {
    let name = &first.signal;
    let Some(selector) = message.signals.iter().position(|s| *s.name == *first.selector) else {
        warnings.add(
            Code::NoMultiplexor,
            first.place,
            format_args!("signal {name} is selected by {}, which does not exist: never reported", first.selector),
        );
        return Multiplexing::Never;
    };
    if let Some(other) = all.iter().find(|s| s.selector != first.selector) {
        warnings.add(
            Code::TwoMultiplexors,
            other.place,
            format_args!("signal {name} is selected by {} already: {} is left out", first.selector, other.selector),
        );
    }
    let same = all.iter().filter(|s| s.selector == first.selector);
    Multiplexing::Selected { selector, ranges: merged(same.flat_map(|s| s.ranges.iter().cloned())) }
}

/// Sorted and without overlaps, so that a raw value can be searched for.
fn merged(ranges: impl Iterator<Item = RangeInclusive<u64>>) -> Ranges {
    let mut sorted: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    sorted.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged.into()
}

/// A signal that selects itself, by whatever detour, is never in the frame.
fn break_cycles(message: &mut MessageDef, warnings: &mut Warnings) {
    let count = message.signals.len();
    // 0: not looked at, 1: on the way up from the current signal, 2: known to end.
    let mut state = vec![0_u8; count];
    for start in 0..count {
        let mut path = Vec::new();
        let mut at = start;
        let looped = loop {
            match state[at] {
                1 => break true,
                2 => break false,
                _ => {}
            }
            state[at] = 1;
            path.push(at);
            match message.signals[at].multiplexing {
                Multiplexing::Selected { selector, .. } => at = selector,
                Multiplexing::Always | Multiplexing::Never => break false,
            }
        };
        if looped {
            let signal = &mut message.signals[at];
            signal.multiplexing = Multiplexing::Never;
            warnings.add(
                Code::MultiplexorLoop,
                signal.place,
                format_args!("signal {} selects itself: never reported", signal.name),
            );
        }
        for index in path {
            state[index] = 2;
        }
    }
}

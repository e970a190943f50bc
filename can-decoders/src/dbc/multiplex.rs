//! Which signal selects which: simple (`M`, `m5`) and extended (`m5M`, `SG_MUL_VAL_`) multiplexing.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::model::{MessageDef, Multiplexing};

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
    pub line: usize,
}

/// Sets the multiplexing of all signals; the result has no cycles. What is odd goes to `warnings`.
pub(super) fn resolve(
    message: &mut MessageDef,
    indicators: &[Indicator],
    selections: &[Selection],
    warnings: &mut Vec<(usize, String)>,
) {
    if selections.is_empty() && indicators.iter().all(|i| *i == Indicator::Plain) {
        return;
    }
    let root = root(message, indicators, warnings);
    let mut by_signal: HashMap<&str, Vec<&Selection>> = HashMap::new();
    for selection in selections {
        by_signal.entry(&selection.signal).or_default().push(selection);
    }
    for (index, indicator) in indicators.iter().enumerate() {
        let signal = &message.signals[index];
        let extended = by_signal.get(&*signal.name).map_or(&[][..], Vec::as_slice);
        let multiplexing = if let [first, ..] = extended {
            from_selections(message, index, first, extended, warnings)
        } else {
            match (*indicator, root) {
                (Indicator::Plain | Indicator::Multiplexor, _) => Multiplexing::Always,
                (Indicator::Bare, Some(root)) if root == index => Multiplexing::Always,
                (Indicator::Multiplexed(value) | Indicator::Both(value), Some(root)) if root != index => {
                    Multiplexing::Selected { selector: root, ranges: vec![value..=value] }
                }
                (Indicator::Bare, _) => {
                    let text = format!("signal {} is multiplexed (m) without a value: never reported", signal.name);
                    warnings.push((signal.line, text));
                    Multiplexing::Never
                }
                (Indicator::Multiplexed(_) | Indicator::Both(_), _) => {
                    let text = format!(
                        "signal {} is multiplexed, but message {} has no multiplexor (M): never reported",
                        signal.name, message.name
                    );
                    warnings.push((signal.line, text));
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
fn root(message: &MessageDef, indicators: &[Indicator], warnings: &mut Vec<(usize, String)>) -> Option<usize> {
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
            let text = format!("signal {} has m without a number and is taken as the multiplexor (M)", signal.name);
            warnings.push((signal.line, text));
            Some(only)
        }
        _ => None,
    }
}

fn from_selections(
    message: &MessageDef,
    index: usize,
    first: &Selection,
    all: &[&Selection],
    warnings: &mut Vec<(usize, String)>,
) -> Multiplexing {
    let name = &message.signals[index].name;
    let Some(selector) = message.signals.iter().position(|s| *s.name == *first.selector) else {
        let text = format!("signal {name} is selected by {}, which does not exist: never reported", first.selector);
        warnings.push((first.line, text));
        return Multiplexing::Never;
    };
    if let Some(other) = all.iter().find(|s| s.selector != first.selector) {
        let text = format!("signal {name} is selected by {} already: {} is left out", first.selector, other.selector);
        warnings.push((other.line, text));
    }
    let same = all.iter().filter(|s| s.selector == first.selector);
    let ranges = same.flat_map(|s| s.ranges.iter().cloned()).filter(|r| r.start() <= r.end()).collect();
    Multiplexing::Selected { selector, ranges }
}

/// A signal that selects itself, by whatever detour, is never in the frame.
fn break_cycles(message: &mut MessageDef, warnings: &mut Vec<(usize, String)>) {
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
            warnings.push((signal.line, format!("signal {} selects itself: never reported", signal.name)));
        }
        for index in path {
            state[index] = 2;
        }
    }
}

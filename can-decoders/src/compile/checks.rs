//! Which signals are checksums and counters: what the files say and what the rules say, together.

use std::collections::{HashMap, HashSet};

use super::number;
use crate::dbc::{ByteOrder, Encoding, Multiplexing, SignalDef};
use crate::integrity::{Check, Checksum, ChecksumRule, Counter, CounterRule, Suffix};
use crate::plan::{MessageIndex, Plan, SignalIndex};
use crate::validity::{RuleError, Rules};

/// Where a signal is, as far as checks care; kept while compiling.
#[derive(Debug, Clone)]
pub(super) struct Place {
    first: u32,
    bits: u32,
    little: bool,
    /// An unsigned integer that is in all frames.
    is_usable: bool,
    /// Several nodes may send its message: J1939 with the source address 0xFE.
    by_anybody: bool,
}

impl Place {
    fn of(signal: &SignalDef, by_anybody: bool) -> Self {
        Self {
            first: signal.span().start,
            bits: signal.bits,
            little: signal.order == ByteOrder::Little,
            by_anybody,
            is_usable: signal.encoding == Encoding::Unsigned && signal.multiplexing == Multiplexing::Always,
        }
    }

    /// The bytes of a checksum of so many bits.
    fn bytes(&self, bits: u32) -> Result<std::ops::Range<usize>, &'static str> {
        if !self.is_usable {
            return Err("it must be an unsigned integer that is in all frames");
        }
        if self.bits != bits {
            return Err("its width is not that of the checksum");
        }
        // Half a byte is its lower half: the first bits for little endian, the last ones for big endian.
        let first = if bits < 8 && !self.little { 4 } else { 0 };
        if self.first % 8 != first {
            return Err("it must be whole bytes, or the lower half of one");
        }
        let start = self.first as usize / 8;
        Ok(start..start + (bits as usize).div_ceil(8))
    }
}

/// What the files say, and the places of all signals.
#[derive(Debug, Default)]
pub(super) struct Checks {
    places: Vec<Place>,
    checks: HashMap<u32, Check>,
    /// Signals that a rule names, not only as one of all messages.
    named: HashSet<u32>,
}

impl Checks {
    /// Takes the next signal; says why when the file's own words about it cannot be followed.
    pub(super) fn signal(&mut self, message: u32, signal: &SignalDef, by_anybody: bool) -> Result<(), &'static str> {
        let index = number(self.places.len());
        self.places.push(Place::of(signal, by_anybody));
        if let Some(algorithm) = &signal.checksum {
            let rule = ChecksumRule {
                message: String::new(),
                signal: String::new(),
                algorithm: algorithm.clone(),
                prefix: Vec::new(),
                suffix: Suffix::None,
            };
            self.checksum(message, index, &rule)?;
        }
        if let Some(max_jump) = signal.counter {
            let rule = CounterRule { message: String::new(), signal: String::new(), max_jump, modulus: 0 };
            self.counter(message, index, &rule)?;
        }
        Ok(())
    }

    fn checksum(&mut self, message: u32, signal: u32, rule: &ChecksumRule) -> Result<(), &'static str> {
        let place = self.places[signal as usize].bytes(rule.algorithm.bits())?;
        if rule.algorithm.is_fixed() && !(rule.prefix.is_empty() && rule.suffix == Suffix::None) {
            return Err("this checksum is of the payload and the identifier alone: no prefix and no suffix");
        }
        let checksum = Checksum {
            signal,
            algorithm: rule.algorithm.clone(),
            place,
            prefix: rule.prefix.clone(),
            suffix: rule.suffix.clone(),
        };
        self.checks.entry(message).or_default().checksum = Some(checksum);
        Ok(())
    }

    fn counter(&mut self, message: u32, signal: u32, rule: &CounterRule) -> Result<(), &'static str> {
        let place = &self.places[signal as usize];
        if !place.is_usable || !(2..=32).contains(&place.bits) {
            return Err("a counter is an unsigned integer of 2 to 32 bits that is in all frames");
        }
        if place.by_anybody {
            return Err("its message has the source address 0xFE: each of its senders counts for itself");
        }
        let all = 1_u64 << place.bits;
        let modulus = if rule.modulus == 0 { all } else { u64::from(rule.modulus) };
        let max_jump = u64::from(rule.max_jump);
        if modulus > all || !(1..modulus).contains(&max_jump) {
            return Err("a counter goes on by at least 1 and by less than the values that it has");
        }
        self.checks.entry(message).or_default().counter = Some(Counter { signal, max_jump, modulus });
        Ok(())
    }

    /// Adds those of the rules: first those for all messages, so that those for one have the last word.
    pub(super) fn add(&mut self, plan: &Plan, rules: &Rules) -> Result<(), RuleError> {
        let (all, one): (Vec<_>, Vec<_>) = rules.counters.iter().partition(|rule| rule.message == "*");
        for rule in all.into_iter().chain(one) {
            each(plan, &rule.message, &rule.signal, |message, signal| {
                self.once(signal, &rule.message)?;
                self.counter(message, signal, rule)
            })?;
        }
        let (all, one): (Vec<_>, Vec<_>) = rules.checksums.iter().partition(|rule| rule.message == "*");
        for rule in all.into_iter().chain(one) {
            each(plan, &rule.message, &rule.signal, |message, signal| {
                let counted = self.checks.get(&message).is_some_and(|check| check.counter.is_some());
                if matches!(rule.suffix, Suffix::ByCounter(_)) && !counted {
                    return Err("its bytes by counter need a counter of the same message");
                }
                self.once(signal, &rule.message)?;
                self.checksum(message, signal, rule)
            })?;
        }
        Ok(())
    }

    fn once(&mut self, signal: u32, message: &str) -> Result<(), &'static str> {
        if message == "*" || self.named.insert(signal) { Ok(()) } else { Err("there are two rules for it") }
    }

    /// Puts all into the plan.
    pub(super) fn put(self, plan: &mut Plan) {
        for (message, check) in self.checks {
            plan.heads[message as usize].check = number(plan.checks.len());
            plan.checks.push(check);
        }
    }
}

/// Does something with the signal that a rule names, or with all of that name whose form fits.
fn each(
    plan: &Plan,
    message: &str,
    signal: &str,
    mut act: impl FnMut(u32, u32) -> Result<(), &'static str>,
) -> Result<(), RuleError> {
    if message != "*" {
        let (message, signal) = find(plan, message, signal)?;
        return act(message.0, signal.0).map_err(|reason| unfit(plan, signal, reason));
    }
    let mut last = None;
    let mut any = false;
    for index in (0..).map(MessageIndex).take(plan.messages().len()) {
        let Some(signal) = plan.find_signal(index, signal) else { continue };
        match act(index.0, signal.0) {
            Ok(()) => any = true,
            Err(reason) => last = Some(unfit(plan, signal, reason)),
        }
    }
    match last {
        _ if any => Ok(()),
        Some(error) => Err(error),
        None => Err(RuleError::NoSignal { message: "*".into(), signal: signal.to_owned() }),
    }
}

/// The signal that a rule names.
pub(super) fn find(plan: &Plan, message: &str, signal: &str) -> Result<(MessageIndex, SignalIndex), RuleError> {
    let index = plan.find_message(message).ok_or_else(|| RuleError::NoMessage { message: message.to_owned() })?;
    let found = plan.find_signal(index, signal);
    let found = found
        .ok_or_else(|| RuleError::NoSignal { message: plan.message(index).name.clone(), signal: signal.to_owned() })?;
    Ok((index, found))
}

pub(super) fn unfit(plan: &Plan, signal: SignalIndex, reason: &'static str) -> RuleError {
    let signal = plan.signal(signal);
    RuleError::Unfit { message: plan.message(signal.message).name.clone(), signal: signal.name.clone(), reason }
}

//! Truth tables: what a condition comes to, without computing it.
//!
//! Most conditions are a few comparisons of a signal with a number, joined by and, or, not. Each is an atom; of up to six atoms
//! there are 64 cases, and a word has a bit for each. When a value passes a limit, its atom is turned, and one look at the word
//! tells whether the condition comes to something else. Only then it is looked at with all that belongs to it. This is for
//! atoms that are known; as long as one is not, the condition is looked at each time.

use super::super::catalog::SignalId;
use super::program::{Operation, Program};

/// Atoms, at most.
const ATOMS: usize = 6;
/// The cases in which each atom is true.
const CASES: [u64; ATOMS] = [
    0xAAAA_AAAA_AAAA_AAAA,
    0xCCCC_CCCC_CCCC_CCCC,
    0xF0F0_F0F0_F0F0_F0F0,
    0xFF00_FF00_FF00_FF00,
    0xFFFF_0000_FFFF_0000,
    0xFFFF_FFFF_0000_0000,
];

/// A comparison of a signal with a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Atom {
    pub(super) signal: SignalId,
    pub(super) limit: f64,
    /// Whether it is true of values below the limit, at it, and above it.
    below: bool,
    at: bool,
    above: bool,
}

impl Atom {
    /// Of a value.
    #[expect(clippy::float_cmp, reason = "at the limit is exactly there")]
    pub(super) fn is_true(&self, value: f64) -> bool {
        if value == self.limit {
            self.at
        } else if value < self.limit {
            self.below
        } else {
            self.above
        }
    }
}

/// What a program comes to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) atoms: Vec<Atom>,
    cases: u64,
    /// A bit for each atom that is true, and for each that is not known.
    truths: u8,
    unknown: u8,
}

/// What is on the stack while a program is looked through.
enum Item {
    Signal(SignalId),
    Number(f64),
    Cases(u64),
}

impl Table {
    /// Of a program that is made of atoms, and of few enough.
    pub(super) fn of(program: &Program) -> Option<Self> {
        let mut atoms: Vec<Atom> = Vec::new();
        let mut stack: Vec<Item> = Vec::new();
        for operation in &program.operations {
            let item = match *operation {
                Operation::Signal(place) => Item::Signal(program.signals[usize::from(place)]),
                Operation::Constant(value) => Item::Number(value),
                Operation::Less => Item::Cases(atom(&mut atoms, &mut stack, [true, false, false])?),
                Operation::AtMost => Item::Cases(atom(&mut atoms, &mut stack, [true, true, false])?),
                Operation::Equal => Item::Cases(atom(&mut atoms, &mut stack, [false, true, false])?),
                Operation::Not => Item::Cases(!cases(&mut stack)?),
                Operation::And => Item::Cases(cases(&mut stack)? & cases(&mut stack)?),
                Operation::Or => Item::Cases(cases(&mut stack)? | cases(&mut stack)?),
                _ => return None,
            };
            stack.push(item);
        }
        let cases = cases(&mut stack)?;
        let unknown = u8::try_from((1u32 << atoms.len()) - 1).ok()?;
        Some(Self { atoms, cases, truths: 0, unknown })
    }

    /// An atom is true, or is not, or is not known. Whether the condition has to be looked at.
    pub(super) fn set(&mut self, atom: u8, truth: Option<bool>) -> bool {
        let (bit, before) = (1 << atom, (self.unknown, self.is_true()));
        match truth {
            Some(true) => (self.truths, self.unknown) = (self.truths | bit, self.unknown & !bit),
            Some(false) => (self.truths, self.unknown) = (self.truths & !bit, self.unknown & !bit),
            None => self.unknown |= bit,
        }
        self.unknown != 0 || before.0 != 0 || before.1 != self.is_true()
    }

    fn is_true(&self) -> bool {
        self.cases >> self.truths & 1 == 1
    }
}

/// The cases in which a comparison of the two upper items is true. `when` it is of a left side below, at and above the right one.
fn atom(atoms: &mut Vec<Atom>, stack: &mut Vec<Item>, when: [bool; 3]) -> Option<u64> {
    let (right, left) = (stack.pop()?, stack.pop()?);
    let (signal, limit, [below, at, above]) = match (left, right) {
        (Item::Signal(signal), Item::Number(limit)) => (signal, limit, when),
        (Item::Number(limit), Item::Signal(signal)) => (signal, limit, [when[2], when[1], when[0]]),
        _ => return None,
    };
    if atoms.len() == ATOMS {
        return None;
    }
    atoms.push(Atom { signal, limit, below, at, above });
    Some(CASES[atoms.len() - 1])
}

fn cases(stack: &mut Vec<Item>) -> Option<u64> {
    match stack.pop()? {
        Item::Cases(cases) => Some(cases),
        Item::Number(1.0) => Some(u64::MAX),
        Item::Number(0.0) => Some(0),
        Item::Number(_) | Item::Signal(_) => None,
    }
}

//! J1939's patterns for "no value" (SAE J1939-71, table 1).
//!
//! Parameters of whole bytes, and those of 10 and 12 bits, keep the top of their range back by their upper eight bits:
//! 0xFF is "not available", 0xFE "error", 0xFC and 0xFD are reserved, and 0xFB is for what a parameter's own
//! description says. Discrete parameters of 2 to 7 bits have all ones for "not available" and one less for "error".
//! Wider than 32 bits is text or a concatenation: all ones alone say "not available".

use std::ops::RangeInclusive;

use super::Validity;

/// The raw values of an unsigned parameter of `bits` that are no measurement, and why.
pub(super) fn patterns(bits: u32) -> Vec<(RangeInclusive<u64>, Validity)> {
    let ones = u64::MAX >> (64 - bits.clamp(1, 64));
    match bits {
        0..=1 => Vec::new(),
        2..=7 => vec![(ones - 1..=ones - 1, Validity::Error), (ones..=ones, Validity::NotAvailable)],
        8..=32 => {
            let from = |top: u64| top << (bits - 8);
            vec![
                (from(0xFB)..=from(0xFE) - 1, Validity::OutOfRange),
                (from(0xFE)..=from(0xFF) - 1, Validity::Error),
                (from(0xFF)..=ones, Validity::NotAvailable),
            ]
        }
        _ => vec![(ones..=ones, Validity::NotAvailable)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(bits: u32, raw: u64) -> Validity {
        patterns(bits).into_iter().find(|(range, _)| range.contains(&raw)).map_or(Validity::Valid, |(_, why)| why)
    }

    #[test]
    fn the_standards_table() {
        use Validity::{Error, NotAvailable, OutOfRange, Valid};
        let table = [
            (8, 0xFA, 0xFB, 0xFE, 0xFF),
            (10, 0x3EB, 0x3EC, 0x3F8, 0x3FC),
            (12, 0xFAF, 0xFB0, 0xFE0, 0xFF0),
            (16, 0xFAFF, 0xFB00, 0xFE00, 0xFF00),
            (24, 0xFA_FFFF, 0xFB_0000, 0xFE_0000, 0xFF_0000),
            (32, 0xFAFF_FFFF, 0xFB00_0000, 0xFE00_0000, 0xFF00_0000),
        ];
        for (bits, last_valid, first_reserved, first_error, first_missing) in table {
            assert_eq!(meaning(bits, last_valid), Valid);
            assert_eq!(meaning(bits, first_reserved), OutOfRange);
            assert_eq!(meaning(bits, first_error - 1), OutOfRange);
            assert_eq!(meaning(bits, first_error), Error);
            assert_eq!(meaning(bits, first_missing - 1), Error);
            assert_eq!(meaning(bits, first_missing), NotAvailable);
            assert_eq!(meaning(bits, (1 << bits) - 1), NotAvailable);
        }
        assert_eq!([0, 1, 2, 3].map(|raw| meaning(2, raw)), [Valid, Valid, Error, NotAvailable]);
        assert_eq!([13, 14, 15].map(|raw| meaning(4, raw)), [Valid, Error, NotAvailable]);
        assert_eq!([0, 1].map(|raw| meaning(1, raw)), [Valid, Valid]);
        assert_eq!([u64::MAX - 1, u64::MAX].map(|raw| meaning(64, raw)), [Valid, NotAvailable]);
    }
}

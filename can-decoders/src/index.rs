//! Identifier to message number, looked up once for every frame.
//!
//! Standard identifiers index a table directly. Extended ones are hashed by a multiplication into a
//! table at most half full; neighbours are tried in turn, and an empty slot ends the search.

use crate::frame::CanId;

/// Marks empty slots.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Default)]
pub(crate) struct IdIndex {
    /// By standard identifier; empty when there are none.
    standard: Vec<u32>,
    /// (identifier's bits, message). The length is a power of two, or 0.
    extended: Vec<(u32, u32)>,
    /// 32 minus the logarithm of the table's length.
    shift: u32,
}

impl IdIndex {
    /// Numbers the identifiers in their order; each must come once.
    pub(crate) fn new(ids: impl Iterator<Item = CanId> + Clone) -> Self {
        let mut index = Self::default();
        let extended = ids.clone().filter(|id| id.is_extended()).count();
        if extended > 0 {
            let length = (extended * 2).next_power_of_two();
            index.extended = vec![(0, NONE); length];
            index.shift = 32 - length.trailing_zeros();
        }
        for (id, number) in ids.zip(0_u32..) {
            if id.is_extended() {
                let mut slot = index.slot(id);
                while index.extended[slot].1 != NONE {
                    slot = (slot + 1) & (index.extended.len() - 1);
                }
                index.extended[slot] = (id.to_bits(), number);
            } else {
                index.standard.resize(0x800, NONE);
                index.standard[id.number() as usize] = number;
            }
        }
        index
    }

    /// Fibonacci hashing: the upper bits of a product mix all bits of the identifier.
    #[inline]
    fn slot(&self, id: CanId) -> usize {
        (id.number().wrapping_mul(0x9E37_79B9) >> self.shift) as usize
    }

    #[inline]
    pub(crate) fn get(&self, id: CanId) -> Option<u32> {
        if !id.is_extended() {
            return self.standard.get(id.number() as usize).copied().filter(|number| *number != NONE);
        }
        if self.extended.is_empty() {
            return None;
        }
        let mut slot = self.slot(id);
        loop {
            let (bits, number) = self.extended[slot];
            if number == NONE {
                return None;
            }
            if bits == id.to_bits() {
                return Some(number);
            }
            slot = (slot + 1) & (self.extended.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let ids: Vec<CanId> = (0..2000_u32)
            .map(|n| if n % 3 == 0 { CanId::standard(n) } else { CanId::extended(n * 0x1_0000 % 0x1FFF_FFFF) })
            .map(Option::unwrap)
            .collect();
        let index = IdIndex::new(ids.iter().copied());
        for (id, number) in ids.iter().zip(0..) {
            assert_eq!(index.get(*id), Some(number));
        }
        assert_eq!(index.get(CanId::standard(1).unwrap()), None);
        assert_eq!(index.get(CanId::extended(0x1FFF_FFFF).unwrap()), None);
    }

    #[test]
    fn one_extended_identifier_and_none() {
        let id = CanId::extended(0x18FE_F1FE).unwrap();
        let index = IdIndex::new([id].into_iter());
        assert_eq!(index.get(id), Some(0));
        assert_eq!(index.get(CanId::extended(1).unwrap()), None);
        assert_eq!(index.get(CanId::standard(1).unwrap()), None);
        assert_eq!(IdIndex::default().get(id), None);
    }
}

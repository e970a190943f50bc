//! Identifier to message number, looked up once for every frame.
//!
//! Standard identifiers index a table directly. Extended ones are hashed by a multiplication into a
//! table at most half full; neighbours are tried in turn, and an empty slot ends the search. No search
//! takes more than [`MAX_PROBES`] steps: identifiers chosen to meet in one place, which no real bus
//! has, are kept sorted and searched by halving instead.

use crate::frame::CanId;

/// Marks empty slots.
const NONE: u32 = u32::MAX;

/// Slots looked at before the table is given up. Half full, it needs two or three, rarely ten.
const MAX_PROBES: usize = 32;

#[derive(Debug, Clone, Default)]
pub(crate) struct IdIndex {
    /// By standard identifier; empty when there are none.
    standard: Vec<u32>,
    /// (identifier's bits, message). The length is a power of two, or 0.
    extended: Vec<(u32, u32)>,
    /// 32 minus the logarithm of the table's length.
    shift: u32,
    /// What `extended` cannot hold within [`MAX_PROBES`]: all extended identifiers, sorted, or none.
    sorted: Vec<(u32, u32)>,
}

impl IdIndex {
    /// Numbers the identifiers in their order; each must come once.
    pub(crate) fn new(ids: impl Iterator<Item = CanId> + Clone) -> Self {
        let mut index = Self::default();
        let mut extended = Vec::new();
        for (id, number) in ids.zip(0_u32..) {
            if id.is_extended() {
                extended.push((id.to_bits(), number));
            } else {
                index.standard.resize(0x800, NONE);
                index.standard[id.number() as usize] = number;
            }
        }
        if !extended.is_empty() && !index.hash(&extended) {
            index.extended = Vec::new();
            extended.sort_unstable();
            index.sorted = extended;
        }
        index
    }

    /// Fills the table of extended identifiers; false when one is too far from its place.
    fn hash(&mut self, entries: &[(u32, u32)]) -> bool {
        let length = (entries.len() * 2).next_power_of_two();
        self.extended = vec![(0, NONE); length];
        self.shift = 32 - length.trailing_zeros();
        entries.iter().all(|entry| {
            let free = self.probe(entry.0).find(|slot| self.extended[*slot].1 == NONE);
            free.is_some_and(|slot| {
                self.extended[slot] = *entry;
                true
            })
        })
    }

    /// The slots where an extended identifier can be. Fibonacci hashing: the upper bits of a product mix all bits of
    /// the identifier (its flag, in the top bit, only turns the top bit of the product).
    #[inline]
    fn probe(&self, bits: u32) -> impl Iterator<Item = usize> + use<> {
        let (first, mask) = ((bits.wrapping_mul(0x9E37_79B9) >> self.shift) as usize, self.extended.len() - 1);
        (first..first + MAX_PROBES).map(move |slot| slot & mask)
    }

    #[inline]
    pub(crate) fn get(&self, id: CanId) -> Option<u32> {
        if id.is_extended() {
            return self.get_extended(id);
        }
        self.standard.get(id.number() as usize).copied().filter(|number| *number != NONE)
    }

    #[inline(never)]
    fn get_extended(&self, id: CanId) -> Option<u32> {
        if self.extended.is_empty() {
            return if self.sorted.is_empty() { None } else { self.search(id) };
        }
        for slot in self.probe(id.to_bits()) {
            let (bits, number) = self.extended[slot];
            if number == NONE {
                return None;
            }
            if bits == id.to_bits() {
                return Some(number);
            }
        }
        None
    }

    #[cold]
    fn search(&self, id: CanId) -> Option<u32> {
        let place = self.sorted.binary_search_by_key(&id.to_bits(), |entry| entry.0).ok()?;
        Some(self.sorted[place].1)
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

    /// Identifiers that the multiplication puts into few places of the table, and their neighbours.
    #[test]
    fn chosen_identifiers_are_found_without_a_long_search() {
        let near = |place: u32| move |id: &u32| id.wrapping_mul(0x9E37_79B9) >> 18 == place;
        let same: Vec<u32> = (0..0x2000_0000).filter(near(77)).take(5000).collect();
        let index = IdIndex::new(same.iter().map(|id| CanId::extended(*id).unwrap()));
        assert!(index.extended.is_empty(), "given up");
        for (id, number) in same.iter().zip(0..) {
            assert_eq!(index.get(CanId::extended(*id).unwrap()), Some(number));
        }
        assert_eq!(index.get(CanId::extended(0x1FFF_FFFF).unwrap()), None);
        // One for each slot of half the table: each is where it belongs, and only a bound ends the search for another.
        let mut row: Vec<Option<CanId>> = vec![None; 8192];
        let mut others = Vec::new();
        for id in (0..0x1_0000).filter_map(CanId::extended) {
            let slot = (id.to_bits().wrapping_mul(0x9E37_79B9) >> 18) as usize;
            match row.get_mut(slot) {
                Some(free @ None) => *free = Some(id),
                Some(Some(_)) => others.push(id),
                None => {}
            }
        }
        let row: Vec<CanId> = row.into_iter().flatten().collect();
        assert_eq!((row.len(), others.is_empty()), (8192, false));
        let index = IdIndex::new(row.iter().copied());
        assert_eq!(index.extended.len(), 16384);
        assert!(row.iter().zip(0..).all(|(id, number)| index.get(*id) == Some(number)));
        assert!(others.iter().all(|id| index.get(*id).is_none()));
        assert_eq!(index.probe(others[0].to_bits()).count(), MAX_PROBES);
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

//! Identifier to message number, looked up once for every frame.
//!
//! Standard identifiers index a table directly. Extended ones are hashed by a multiplication into a
//! table at most half full; neighbours are tried in turn, and an empty slot ends the search. No search
//! takes more than [`MAX_PROBES`] steps: identifiers chosen to meet in one place, which no real bus
//! has, are kept sorted and searched by halving instead.
//!
//! An identifier of J1939 says more than which parameter group it is: priority, who sends, and for some groups to whom
//! (SAE J1939-21). A DBC file has one identifier for each, with a source address of its own or, mostly, 0xFE, "nobody's".
//! So a frame that no message has to the bit is looked for once more without priority and destination, first with its
//! source address, then with 0xFE.

use crate::frame::CanId;

/// Marks empty slots.
const NONE: u32 = u32::MAX;

/// Slots looked at before the table is given up. Half full, it needs two or three, rarely ten.
const MAX_PROBES: usize = 32;

/// The source address of messages that anybody may send.
const ANYBODY: u32 = 0xFE;

#[derive(Debug, Clone, Default)]
pub(crate) struct IdIndex {
    /// By standard identifier; empty when there are none.
    standard: Vec<u32>,
    /// By extended identifier.
    extended: Table,
    /// By what is left of J1939's identifiers, see [`group`].
    groups: Table,
}

impl IdIndex {
    /// Numbers the identifiers in their order; each must come once. With each, whether it is of J1939.
    pub(crate) fn new(ids: impl Iterator<Item = (CanId, bool)>) -> Self {
        let mut standard = Vec::new();
        let (mut extended, mut groups) = (Vec::new(), Vec::new());
        for ((id, is_j1939), number) in ids.zip(0_u32..) {
            if !id.is_extended() {
                standard.resize(0x800, NONE);
                standard[id.number() as usize] = number;
                continue;
            }
            extended.push((id.number(), number));
            if is_j1939 {
                groups.push((group(id.number()), number));
            }
        }
        // Two messages that only their priorities or destinations tell apart: the first is anybody's.
        groups.sort_unstable();
        groups.dedup_by_key(|entry| entry.0);
        Self { standard, extended: Table::new(extended), groups: Table::new(groups) }
    }

    #[inline]
    pub(crate) fn get(&self, id: CanId) -> Option<u32> {
        if id.is_extended() {
            return self.get_extended(id.number());
        }
        self.standard.get(id.number() as usize).copied().filter(|number| *number != NONE)
    }

    #[inline(never)]
    fn get_extended(&self, id: u32) -> Option<u32> {
        self.extended.get(id).or_else(|| {
            let group = group(id);
            self.groups.get(group).or_else(|| self.groups.get(group & !0xFF | ANYBODY))
        })
    }
}

/// Data pages, parameter group and source address: without priority, and without destination where there is one (PDU
/// format below 240).
fn group(id: u32) -> u32 {
    id & group_mask(id)
}

fn group_mask(id: u32) -> u32 {
    let has_destination = (id >> 16) & 0xFF < 240;
    if has_destination { 0x03FF_00FF } else { 0x03FF_FFFF }
}

/// The bits of a message's identifier that all its frames have.
pub(crate) fn fixed_bits(id: CanId, is_j1939: bool) -> u32 {
    match (id.is_extended(), is_j1939) {
        (false, _) => 0x7FF,
        (true, false) => 0x1FFF_FFFF,
        (true, true) if id.number() & 0xFF == ANYBODY => group_mask(id.number()) & !0xFF,
        (true, true) => group_mask(id.number()),
    }
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
struct Table {
    /// (key, number). The length is a power of two, or 0.
    slots: Vec<(u32, u32)>,
    /// 32 minus the logarithm of the table's length.
    shift: u32,
    /// What `slots` cannot hold within [`MAX_PROBES`]: all entries, sorted, or none.
    sorted: Vec<(u32, u32)>,
}

impl Table {
    /// Takes (key, number) pairs; each key must come once.
    fn new(mut entries: Vec<(u32, u32)>) -> Self {
        let mut table = Self::default();
        if !entries.is_empty() && !table.hash(&entries) {
            entries.sort_unstable();
            return Self { sorted: entries, ..Self::default() };
        }
        table
    }

    /// Fills the slots; false when an entry is too far from its place.
    fn hash(&mut self, entries: &[(u32, u32)]) -> bool {
        let length = (entries.len() * 2).next_power_of_two();
        self.slots = vec![(0, NONE); length];
        self.shift = 32 - length.trailing_zeros();
        entries.iter().all(|entry| {
            let free = self.probe(entry.0).find(|slot| self.slots[*slot].1 == NONE);
            free.is_some_and(|slot| {
                self.slots[slot] = *entry;
                true
            })
        })
    }

    /// The slots where a key can be. Fibonacci hashing: the upper bits of a product mix all bits of the key.
    #[inline]
    fn probe(&self, key: u32) -> impl Iterator<Item = usize> + use<> {
        let (first, mask) = ((key.wrapping_mul(0x9E37_79B9) >> self.shift) as usize, self.slots.len() - 1);
        (first..first + MAX_PROBES).map(move |slot| slot & mask)
    }

    #[inline]
    fn get(&self, key: u32) -> Option<u32> {
        if self.slots.is_empty() {
            return if self.sorted.is_empty() { None } else { self.search(key) };
        }
        for slot in self.probe(key) {
            let (other, number) = self.slots[slot];
            if number == NONE {
                return None;
            }
            if other == key {
                return Some(number);
            }
        }
        None
    }

    #[cold]
    fn search(&self, key: u32) -> Option<u32> {
        let place = self.sorted.binary_search_by_key(&key, |entry| entry.0).ok()?;
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
        let index = IdIndex::new(ids.iter().map(|id| (*id, false)));
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
        let index = IdIndex::new(same.iter().map(|id| (CanId::extended(*id).unwrap(), false)));
        assert!(index.extended.slots.is_empty(), "given up");
        for (id, number) in same.iter().zip(0..) {
            assert_eq!(index.get(CanId::extended(*id).unwrap()), Some(number));
        }
        assert_eq!(index.get(CanId::extended(0x1FFF_FFFF).unwrap()), None);
        // One for each slot of half the table: each is where it belongs, and only a bound ends the search for another.
        let mut row: Vec<Option<CanId>> = vec![None; 8192];
        let mut others = Vec::new();
        for id in (0..0x1_0000).filter_map(CanId::extended) {
            let slot = (id.number().wrapping_mul(0x9E37_79B9) >> 18) as usize;
            match row.get_mut(slot) {
                Some(free @ None) => *free = Some(id),
                Some(Some(_)) => others.push(id),
                None => {}
            }
        }
        let row: Vec<CanId> = row.into_iter().flatten().collect();
        assert_eq!((row.len(), others.is_empty()), (8192, false));
        let index = IdIndex::new(row.iter().map(|id| (*id, false)));
        assert_eq!(index.extended.slots.len(), 16384);
        assert!(row.iter().zip(0..).all(|(id, number)| index.get(*id) == Some(number)));
        assert!(others.iter().all(|id| index.get(*id).is_none()));
        assert_eq!(index.extended.probe(others[0].number()).count(), MAX_PROBES);
    }

    #[test]
    fn one_extended_identifier_and_none() {
        let id = CanId::extended(0x18FE_F1FE).unwrap();
        let index = IdIndex::new([(id, false)].into_iter());
        assert_eq!(index.get(id), Some(0));
        assert_eq!(index.get(CanId::extended(1).unwrap()), None);
        assert_eq!(index.get(CanId::standard(1).unwrap()), None);
        assert_eq!(IdIndex::default().get(id), None);
    }

    #[test]
    fn a_parameter_group_is_found_whoever_sends_it() {
        let ids = [0x18FE_F1FE, 0x0CF0_0400, 0x0CF0_04FE, 0x1800_FFFE, 0x18FE_F1FE + (1 << 24), 0x1CFE_EEFE];
        let entries = || ids.iter().map(|id| CanId::extended(*id).unwrap());
        let index = IdIndex::new(entries().map(|id| (id, id.number() != 0x1CFE_EEFE)));
        let get = |id: u32| index.get(CanId::extended(id).unwrap());
        for (id, number) in entries().zip(0..) {
            assert_eq!(index.get(id), Some(number), "to the bit");
        }
        assert_eq!([get(0x18FE_F100), get(0x0CFE_F121)], [Some(0); 2], "other sender, other priority");
        assert_eq!([get(0x18F0_0400), get(0x0CF0_0411)], [Some(1), Some(2)], "its own sender's first");
        assert_eq!([get(0x1800_2104), get(0x0400_0004)], [Some(3); 2], "to whomever");
        assert_eq!(get(0x19FE_F133), Some(4), "data page 1 is another group");
        assert_eq!([get(0x18FE_F200), get(0x18FE_EE00), get(0x1801_FF00)], [None; 3]);
        // What the fixed bits let through is found, and what is found they let through.
        for id in [0x18FE_F100, 0x18F0_0400, 0x0400_0004, 0x19FE_F133, 0x18FE_F200, 0x1801_FF00, 0x1CFE_EEFE] {
            let through = entries().any(|known| {
                let fixed = fixed_bits(known, known.number() != 0x1CFE_EEFE);
                id & fixed == known.number() & fixed
            });
            assert_eq!(through, get(id).is_some(), "{id:08X}");
        }
        assert_eq!(fixed_bits(CanId::standard(1).unwrap(), false), 0x7FF);
        assert_eq!(IdIndex::new(entries().map(|id| (id, false))).get(CanId::extended(0x18FE_F100).unwrap()), None);
    }
}

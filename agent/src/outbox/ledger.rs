//! Losses that no stored gap event explains yet.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ranges::RangeSet;
use crate::event::{Body, Class, Event, Gap, LossCause};

/// Ranges in one gap event: it stays below 6 KiB.
const MAX_RANGES: usize = 256;

/// Lost numbers by cause and class, coalesced.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<(LossCause, Option<Class>), RangeSet>);

impl Ledger {
    pub(super) fn add(&mut self, cause: LossCause, class: Option<Class>, lost: &RangeSet) {
        if !lost.is_empty() {
            self.0.entry((cause, class)).or_default().extend(lost);
        }
    }

    /// Takes over the gap events among the encodings of `events`, because those are about to be lost themselves.
    pub(super) fn readopt<'a>(&mut self, events: impl Iterator<Item = &'a [u8]>) {
        #[derive(Deserialize)]
        struct Probe {
            kind: String,
            body: serde_cbor::Value,
        }
        for encoding in events {
            let Ok(probe) = serde_cbor::from_slice::<Probe>(encoding) else { continue };
            if probe.kind == "gap"
                && let Ok(gap) = serde_cbor::value::from_value::<Gap>(probe.body)
            {
                self.add(gap.cause, gap.lost, &gap.ranges.into_iter().collect());
            }
        }
    }

    /// How many events [`Ledger::drain`] will make.
    pub(super) fn events(&self) -> usize {
        self.0.values().map(|set| set.len().div_ceil(MAX_RANGES)).sum()
    }

    /// Whether all losses have this one cause.
    pub(super) fn only(&self, cause: LossCause) -> bool {
        self.0.keys().all(|key| key.0 == cause)
    }

    /// Empties the ledger into events that explain it.
    pub(super) fn drain(&mut self, time_ns: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for ((cause, lost), set) in std::mem::take(&mut self.0) {
            let ranges: Vec<(u64, u64)> = set.iter().collect();
            for ranges in ranges.chunks(MAX_RANGES) {
                let count = ranges.iter().copied().collect::<RangeSet>().count();
                let gap = Gap { lost, cause, count, ranges: ranges.to_vec() };
                events.push(Event { time_ns, class: Class::Status, body: Body::Gap(gap) });
            }
        }
        events
    }
}

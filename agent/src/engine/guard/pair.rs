//! Fields that move together.

use std::sync::Arc;

use super::Evidence;
use super::bus::GuardBus;
use crate::profile::{Place, Relation, parse_id};

/// A relation has to be broken for so many grid points, of fields that are no older than so many nanoseconds.
const APART: (f64, u64) = (20.0, 1_000_000_000);

/// One that follows from another.
pub(super) struct Pair {
    relation: Relation,
    x: (usize, usize, usize),
    y: (usize, usize, usize),
    pub(super) name: Arc<str>,
    broken: f64,
    pub(super) evidence: Evidence,
}

impl Pair {
    pub(super) fn new(relation: &Relation, buses: &[GuardBus]) -> Result<Self, String> {
        let find = |place: &Place| {
            let wrong = || format!("together: {}:{} has no field `{}` to watch", place.bus, place.id, place.field);
            let bus = buses.iter().position(|bus| *bus.name == *place.bus).ok_or_else(wrong)?;
            let plan = &buses[bus].plan;
            let message = parse_id(&place.id).and_then(|id| plan.find(id)).ok_or_else(wrong)?;
            let mut signals = plan.message(message).signal_indices();
            let field = signals.position(|signal| *plan.signal(signal).name == *place.field).ok_or_else(wrong)?;
            let message = message.0 as usize;
            buses[bus].watches[message].fields.get(field).map(|_| (bus, message, field)).ok_or_else(wrong)
        };
        let (x, y) = (find(&relation.x)?, find(&relation.y)?);
        let name = buses[y.0].field(y.1, u32::try_from(y.2).unwrap_or(0));
        Ok(Self { relation: relation.clone(), x, y, name, broken: 0.0, evidence: Evidence::default() })
    }

    /// Whether a field of the message is one of the two.
    pub(super) fn is_of(&self, bus: usize, message: usize) -> bool {
        [self.x, self.y].iter().any(|&(b, m, _)| (b, m) == (bus, message))
    }

    pub(super) fn tick(&mut self, buses: &[GuardBus], now_ns: u64) {
        let value = |(bus, message, field): (usize, usize, usize)| {
            let field = &buses[bus].watches[message].fields[field];
            let fresh = field.time_ns != 0 && now_ns.saturating_sub(field.time_ns) <= APART.1;
            fresh.then_some(field.value)
        };
        let (Some(x), Some(y)) = (value(self.x), value(self.y)) else {
            (self.broken, self.evidence) = (0.0, Evidence::default());
            return;
        };
        let expected = self.relation.slope * x + self.relation.offset;
        // An exact line is off by what rounding is, and by more of it the further out.
        let rounding = 1e-6 * (expected.abs() + y.abs());
        let is_broken = (expected - y).abs() > 2.5 * self.relation.off + rounding;
        self.broken = (self.broken + if is_broken { 1.0 } else { -2.0 }).clamp(0.0, 2.0 * APART.0);
        self.evidence = Evidence { level: self.broken / APART.0, observed: y, expected, field: 0 };
    }
}

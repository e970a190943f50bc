//! 256 conditions for a drive, as an engineer might write them: two signals in most, some with a time to hold, hysteresis, or a
//! look back. Either for faults, with limits that a good drive never passes, or for what a drive is made of: signals pass those some
//! seventy times a second.

use outrider::condition::{Scope, compile};
use outrider::engine::conditions::{ConditionSpec, Timing};
use outrider::engine::{Catalog, SignalId};

use crate::drive::Drive;

pub(crate) const COUNT: usize = 256;

/// What the limits are, in standard deviations from the mean.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    far: f64,
    near: f64,
    end: f64,
}

/// Never passed on a good drive.
pub(crate) const FAULTS: Limits = Limits { far: 8.0, near: 6.0, end: 4.0 };
/// Passed all the time, one or the other.
pub(crate) const DRIVING: Limits = Limits { far: 8.0, near: 2.0, end: 0.0 };

/// The conditions.
pub(crate) fn all(drive: &Drive, limits: Limits) -> Vec<ConditionSpec> {
    let Limits { far, near, end } = limits;
    let mut totals = vec![(0.0, 0.0, 0.0); drive.catalog.signal_count()];
    drive.samples(|id, sample| {
        let total = &mut totals[id.0 as usize];
        *total = (total.0 + 1.0, total.1 + sample.value, total.2 + sample.value * sample.value);
    });
    let spread = |&(n, sum, squares): &(f64, f64, f64)| (squares / n - (sum / n) * (sum / n)).sqrt();
    let moving: Vec<usize> = (0..totals.len()).filter(|id| spread(&totals[*id]) > 1e-3).collect();
    let name = |id: usize| drive.catalog.full_signal_name(SignalId(u32::try_from(id).unwrap_or(0))).replace(':', ".");
    let limit = |id: usize, by: f64| format!("{:.3}", totals[id].1 / totals[id].0 + by * spread(&totals[id]));
    let of = |i: usize| {
        let (a, b) = (moving[i * 7 % moving.len()], moving[(i * 13 + 3) % moving.len()]);
        let (one, other) = (name(a), name(b));
        let when = match i % 8 {
            0..=3 => format!("{one} > {} && {other} < {}", limit(a, far), limit(b, near)),
            4 | 5 => format!("{one} < {} || {other} > {}", limit(a, -far), limit(b, far)),
            6 => format!("{one} > {} && within({other} < {}, duration('500ms'))", limit(a, near), limit(b, -near)),
            _ => format!("valid({other}) && {one} >= {}", limit(a, near)),
        };
        let until = (i % 4 == 3).then(|| format!("{one} < {}", limit(a, end)));
        spec(&drive.catalog, i, &when, until.as_deref())
    };
    (0..COUNT).map(of).collect()
}

fn spec(catalog: &Catalog, i: usize, when: &str, until: Option<&str>) -> ConditionSpec {
    let max_age_ns = 5_000_000_000;
    let scope = Scope { catalog, models: &[], period_ns: None, max_age_ns };
    let compile = |text| compile(text, scope).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    let when = compile(when);
    let hold_ns = if i.is_multiple_of(2) { 0 } else { 200_000_000 };
    ConditionSpec {
        until: until.map(compile),
        timing: Timing { hold_ns, cooldown_ns: 10_000_000_000, ..Timing::default() },
        ..ConditionSpec::new(format!("condition-{i}"), when, None, max_age_ns)
    }
}

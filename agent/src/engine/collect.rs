//! Telemetry: which values leave the vehicle, and how often.
//!
//! A collection looks at its signals on a grid of its minimum period. It sends what changed since
//! it last sent (all of its signals once per heartbeat), or aggregates over its period.

use std::sync::Arc;

use super::Sink;
use super::catalog::{Catalog, SignalId};
use super::state::State;
use crate::event::{Aggregate, Aggregates, Body, Class, Event, NameMap, Signals, canonical_order};

/// What a collection sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Values that changed.
    OnChange {
        /// All values at least this often, nanoseconds; 0 for never.
        heartbeat_ns: u64,
    },
    /// Number, minimum, maximum, mean and last value of each period.
    Aggregate,
}

/// A collection as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectSpec {
    /// Its name in events.
    pub name: Arc<str>,
    /// What it collects.
    pub signals: Vec<SignalId>,
    /// What it sends.
    pub mode: Mode,
    /// Grid, nanoseconds: at most one event each.
    pub period_ns: u64,
    /// A value changes when it differs from the last sent by more than this.
    pub deadband: f64,
    /// A signal older than this is sent as null, nanoseconds.
    pub max_age_ns: u64,
    /// The campaign that it belongs to.
    pub campaign: Option<u16>,
}

/// A collection at work.
#[derive(Debug)]
pub struct Collector {
    spec: CollectSpec,
    names: Vec<Arc<str>>,
    /// Last value sent; `None` for null, outer `None` for not yet sent.
    sent: Vec<Option<Option<f64>>>,
    totals: Vec<Total>,
    last_full_ns: u64,
}

#[derive(Debug, Clone, Copy)]
struct Total {
    n: u64,
    sum: f64,
    min: f64,
    max: f64,
    last: f64,
}

const EMPTY: Total = Total { n: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, last: f64::NAN };

impl Collector {
    /// Puts a collection to work.
    pub fn new(mut spec: CollectSpec, catalog: &Catalog) -> Self {
        spec.signals.sort_unstable();
        spec.signals.dedup();
        // In the order that the names have in events, so that nothing is left to sort at each grid point.
        let mut named: Vec<(Arc<str>, SignalId)> =
            catalog.signal_names(&spec.signals).into_iter().zip(spec.signals).collect();
        named.sort_by(|a, b| canonical_order(&a.0, &b.0));
        let (names, signals): (Vec<_>, Vec<_>) = named.into_iter().unzip();
        spec.signals = signals;
        let n = names.len();
        Self { names, sent: vec![None; n], totals: vec![EMPTY; n], last_full_ns: 0, spec }
    }

    /// The collection's grid, nanoseconds.
    pub fn period_ns(&self) -> u64 {
        self.spec.period_ns
    }

    /// It looks on another grid from now on.
    pub(super) fn set_period(&mut self, period_ns: u64) {
        self.spec.period_ns = period_ns;
    }

    /// The campaign that it belongs to.
    pub(super) fn campaign(&self) -> Option<u16> {
        self.spec.campaign
    }

    /// What was collected does not count.
    pub(super) fn forget(&mut self) {
        self.totals.fill(EMPTY);
        self.sent.fill(None);
        self.last_full_ns = 0;
    }

    /// The signals of which every sample is wanted; a sample is told with its position here.
    pub fn sampled(&self) -> &[SignalId] {
        if self.spec.mode == Mode::Aggregate { &self.spec.signals } else { &[] }
    }

    /// A valid sample of the signal at `position`.
    pub(super) fn sample(&mut self, position: usize, value: f64) {
        let total = &mut self.totals[position];
        *total = Total {
            n: total.n + 1,
            sum: total.sum + value,
            min: total.min.min(value),
            max: total.max.max(value),
            last: value,
        };
    }

    /// The clock jumped to `now_ns`.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.last_full_ns = self.last_full_ns.min(now_ns);
    }

    /// One grid point.
    pub(super) fn tick(&mut self, state: &State, now_ns: u64, campaign: Option<Arc<str>>, sink: &mut impl Sink) {
        let body = match self.spec.mode {
            Mode::OnChange { heartbeat_ns } => self.changes(state, now_ns, heartbeat_ns),
            Mode::Aggregate => self.aggregates(),
        };
        if let Some(body) = body {
            sink.event(Event { campaign, ..Event::new(now_ns, Class::Telemetry, body) });
        }
    }

    fn changes(&mut self, state: &State, now_ns: u64, heartbeat_ns: u64) -> Option<Body> {
        let full = heartbeat_ns > 0 && now_ns.saturating_sub(self.last_full_ns) >= heartbeat_ns;
        let mut values = Vec::new();
        for ((&id, name), sent) in self.spec.signals.iter().zip(&self.names).zip(&mut self.sent) {
            let slot = state.signal(id);
            if slot.time_ns == 0 && sent.is_none() {
                continue;
            }
            let value = slot.usable(now_ns, self.spec.max_age_ns);
            let changed = match (*sent, value) {
                (None, _) => true,
                (Some(Some(old)), Some(new)) => (new - old).abs() > self.spec.deadband,
                (Some(old), new) => old != new,
            };
            if changed || full {
                *sent = Some(value);
                values.push((name.clone(), value));
            }
        }
        if values.is_empty() {
            return None;
        }
        if full || self.last_full_ns == 0 {
            self.last_full_ns = now_ns;
        }
        Some(Body::Signals(Signals { group: self.spec.name.clone(), values: NameMap::new(values) }))
    }

    fn aggregates(&mut self) -> Option<Body> {
        let mut stats = Vec::new();
        for (name, total) in self.names.iter().zip(&mut self.totals) {
            if total.n > 0 {
                let aggregate =
                    Aggregate { n: total.n, max: total.max, min: total.min, last: total.last, mean: total.mean() };
                stats.push((name.clone(), aggregate));
            }
            *total = EMPTY;
        }
        if stats.is_empty() {
            return None;
        }
        Some(Body::Aggregates(Aggregates {
            group: self.spec.name.clone(),
            stats: NameMap::new(stats),
            period_ms: self.spec.period_ns / 1_000_000,
        }))
    }
}

impl Total {
    #[expect(clippy::cast_precision_loss, reason = "samples of one period stay far below 2^53")]
    fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }
}

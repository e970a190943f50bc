//! The schedule of faults at work: which are active, and what they do to sensors, frames and the vehicle.

use std::collections::VecDeque;
use std::time::Duration;

use super::fault::{FaultKind, ScheduledFault};
use super::signals::SIGNALS;
use super::vehicle::Damage;

/// How far back a replayed value lies.
const REPLAY_US: u64 = 30_000_000;
/// Values kept for a replay: those of the fastest message.
const REPLAY_LENGTH: usize = 3000;

#[derive(Debug)]
struct Entry {
    kind: FaultKind,
    start_us: u64,
    end_us: u64,
    /// It was active at the step before.
    begun: bool,
    active: bool,
    /// Last value that the sensor showed (stuck).
    held: f64,
    /// What the sensor showed lately, with times in µs (replay).
    history: VecDeque<(u64, f64)>,
}

/// All scheduled faults.
#[derive(Debug)]
pub(super) struct Tampering {
    entries: Vec<Entry>,
    /// Sensors that any entry concerns: the others cost nothing.
    concerned: Vec<bool>,
    now_us: u64,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Tampering {
    pub(super) fn new(faults: &[ScheduledFault]) -> Self {
        let mut concerned = vec![false; SIGNALS.len()];
        let entries = faults.iter().map(|fault| {
            let replay = matches!(fault.kind, FaultKind::Replay { .. });
            if let FaultKind::SensorStuck { sensor } | FaultKind::Drift { sensor, .. } | FaultKind::Replay { sensor } =
                fault.kind
            {
                concerned[sensor.index()] = true;
            }
            let start_us = micros(fault.start);
            Entry {
                kind: fault.kind,
                start_us,
                end_us: start_us.saturating_add(micros(fault.duration)),
                begun: false,
                active: false,
                held: f64::NAN,
                history: VecDeque::with_capacity(if replay { REPLAY_LENGTH } else { 0 }),
            }
        });
        Self { entries: entries.collect(), concerned, now_us: 0 }
    }

    /// Moves to a time (µs since the start) and tells what it does to the car.
    pub(super) fn advance(&mut self, now_us: u64) -> Damage {
        self.now_us = now_us;
        let mut damage = Damage::default();
        for entry in &mut self.entries {
            entry.active = (entry.start_us..entry.end_us).contains(&now_us);
            match (entry.active, entry.kind) {
                (true, FaultKind::CoolantLeak) => damage.leak = true,
                (true, FaultKind::CellImbalance { cell }) => damage.cell = Some(usize::from(cell).saturating_sub(1)),
                (true, FaultKind::SuddenDeceleration) => {
                    damage.impact |= !entry.begun;
                    damage.wrecked = true;
                }
                _ => {}
            }
            entry.begun = entry.active;
        }
        damage
    }

    /// What the sensor shows instead of `value`.
    pub(super) fn sensor(&mut self, index: usize, value: f64) -> f64 {
        if !self.concerned.get(index).is_some_and(|concerned| *concerned) {
            return value;
        }
        let now = self.now_us;
        let mut shown = value;
        for entry in &mut self.entries {
            match entry.kind {
                FaultKind::SensorStuck { sensor } if sensor.index() == index => {
                    if entry.active && entry.held.is_finite() {
                        shown = entry.held;
                    }
                    entry.held = shown;
                }
                FaultKind::Drift { sensor, rate } if sensor.index() == index && entry.active => {
                    #[expect(clippy::cast_precision_loss, reason = "microseconds of a fault are far below 2^53")]
                    let elapsed = (now - entry.start_us) as f64 / 1e6;
                    shown += rate * elapsed;
                }
                FaultKind::Replay { sensor } if sensor.index() == index => {
                    if entry.history.len() == REPLAY_LENGTH {
                        entry.history.pop_front();
                    }
                    entry.history.push_back((now, value));
                    while entry.history.get(1).is_some_and(|(time, _)| time + REPLAY_US <= now) {
                        entry.history.pop_front();
                    }
                    if let (true, Some((_, earlier))) = (entry.active, entry.history.front()) {
                        shown = *earlier;
                    }
                }
                _ => {}
            }
        }
        shown
    }

    /// The message is not sent now.
    pub(super) fn missing(&self, name: &str) -> bool {
        self.active().any(|kind| matches!(kind, FaultKind::Missing { message } if message.name() == name))
    }

    /// How many times as often as usual the message is sent now.
    pub(super) fn factor(&self, name: &str) -> u32 {
        self.active()
            .filter_map(|kind| match kind {
                FaultKind::Flooding { message, factor } if message.name() == name => Some(factor),
                _ => None,
            })
            .max()
            .unwrap_or(1)
    }

    fn active(&self) -> impl Iterator<Item = FaultKind> {
        self.entries.iter().filter(|entry| entry.active).map(|entry| entry.kind)
    }
}

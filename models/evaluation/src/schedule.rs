//! When what is attacked: one attack after the other, drawn from a seed.

use can_decoders::Frame;
use fastrand::Rng;

use crate::attack::{Attack, Kind, SignalAt, Victim};

/// What to draw from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Kinds, in turns.
    pub kinds: Vec<Kind>,
    /// Victims, in turns.
    pub victims: Vec<Victim>,
    /// How long an attack is, seconds.
    pub length_s: (f64, f64),
    /// How long nothing happens before the next, seconds.
    pub pause_s: (f64, f64),
    /// Only while this signal is at or above that value: most of what is done to a car that stands shows nowhere.
    pub above: Option<(SignalAt, f64)>,
    /// Of all random numbers.
    pub seed: u64,
    /// Nothing before this time, nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// Nothing after this one.
    pub to_ns: u64,
}

/// Draws attacks over the recording `frames`. Each victim is attacked with each kind before one is again.
pub fn draw(plan: &Plan, frames: &[Frame]) -> Vec<Attack> {
    let mut rng = Rng::with_seed(plan.seed);
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Vec::new() };
    let end_ns = last.time_ns.min(plan.to_ns);
    let low: Vec<u64> = plan.above.as_ref().map_or_else(Vec::new, |(signal, value)| {
        frames.iter().filter(|frame| signal.of(frame).is_some_and(|v| v < *value)).map(|frame| frame.time_ns).collect()
    });
    let is_low = |from: u64, to: u64| {
        let at = low.partition_point(|time| *time < from);
        low.get(at).is_some_and(|time| *time < to)
    };
    let mut attacks = Vec::new();
    let mut deck: Vec<(Kind, usize)> = Vec::new();
    let mut at = first.time_ns.max(plan.from_ns) + 10_000_000_000;
    loop {
        let seconds = |(from, to): (f64, f64), rng: &mut Rng| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: not below zero")]
            let ns = ((from + (to - from) * rng.f64()) * 1e9) as u64;
            ns
        };
        let start_ns = at + seconds(plan.pause_s, &mut rng);
        let stop_ns = start_ns + seconds(plan.length_s, &mut rng);
        if stop_ns + 5_000_000_000 > end_ns {
            return attacks;
        }
        at = start_ns;
        if is_low(start_ns.saturating_sub(1_000_000_000), stop_ns) {
            continue;
        }
        if deck.is_empty() {
            deck = plan.kinds.iter().flat_map(|kind| (0..plan.victims.len()).map(|v| (*kind, v))).collect();
            rng.shuffle(&mut deck);
        }
        let Some((kind, victim)) = deck.pop() else { return attacks };
        let victim = plan.victims[victim].clone();
        attacks.push(Attack { kind, victim, start_ns, end_ns: stop_ns, seed: rng.u64(..) });
        at = stop_ns;
    }
}

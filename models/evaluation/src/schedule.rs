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
}

/// Draws attacks over the recording `frames`. Each victim is attacked with each kind before one is again.
pub fn draw(plan: &Plan, frames: &[Frame]) -> Vec<Attack> {
    let mut rng = Rng::with_seed(plan.seed);
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Vec::new() };
    let end_ns = last.time_ns;
    let times = |wanted: &dyn Fn(&Frame) -> bool| -> Vec<u64> {
        frames.iter().filter(|frame| wanted(frame)).map(|frame| frame.time_ns).collect()
    };
    let within = |times: &[u64], from: u64, to: u64| {
        times.get(times.partition_point(|time| *time < from)).is_some_and(|time| *time < to)
    };
    let above = plan.above.as_ref().map(|(signal, value)| {
        (times(&|frame| signal.of(frame).is_some()), times(&|frame| signal.of(frame).is_some_and(|v| v < *value)))
    });
    let victims: Vec<Vec<u64>> = plan.victims.iter().map(|victim| times(&|frame| victim.has(frame))).collect();
    let mut attacks = Vec::new();
    let mut deck: Vec<(Kind, usize)> = Vec::new();
    let mut at = first.time_ns + 10_000_000_000;
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
        // Where nothing is, in a pause between two drives, nothing can be attacked.
        let begin_ns = start_ns.saturating_sub(1_000_000_000);
        let drives =
            above.as_ref().is_none_or(|(all, low)| within(all, begin_ns, stop_ns) && !within(low, begin_ns, stop_ns));
        if !drives {
            at = start_ns + 1_000_000_000;
            continue;
        }
        if deck.is_empty() {
            deck = plan.kinds.iter().flat_map(|kind| (0..plan.victims.len()).map(|v| (*kind, v))).collect();
            rng.shuffle(&mut deck);
        }
        // What the recording never has is attacked anywhere: an unknown identifier.
        let is_there = |&(_, v): &(Kind, usize)| victims[v].is_empty() || within(&victims[v], start_ns, stop_ns);
        let Some(place) = deck.iter().rposition(is_there) else {
            if deck.is_empty() {
                return attacks;
            }
            at = start_ns + 1_000_000_000;
            continue;
        };
        let (kind, victim) = deck.remove(place);
        let victim = plan.victims[victim].clone();
        attacks.push(Attack { kind, victim, start_ns, end_ns: stop_ns, seed: rng.u64(..) });
        at = stop_ns;
    }
}

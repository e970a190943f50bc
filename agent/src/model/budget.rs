//! The processor time that a model may take.
//!
//! The engine has no clock, so the network is given one around it, where the agent runs on a vehicle; a replay has none, and
//! gives the same events however slow the machine is. What counts is the time of this thread on a processor: a busy computer
//! makes no model slow. One inference over the budget is chance (an interrupt, a page fault); many are the model's fault.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::engine::{Network, Verdict};

/// So many of the last [`LAST`] inferences over the budget bench a model.
const MANY: usize = 10;
const LAST: usize = 100;
/// Or a single one that takes so long: meanwhile no frame was looked at.
const FAR_TOO_LONG: Duration = Duration::from_secs(1);

/// How long inferences took. Shared with whoever reports it.
#[derive(Debug)]
pub struct Meter {
    /// By the number of bits that their nanoseconds have.
    by_bits: [AtomicU64; 64],
    longest_ns: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { by_bits: [const { AtomicU64::new(0) }; 64], longest_ns: AtomicU64::new(0) }
    }
}

impl Meter {
    fn add(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(counter) = self.by_bits.get((u64::BITS - ns.leading_zeros()) as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.longest_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// Inferences so far.
    pub fn count(&self) -> u64 {
        self.by_bits.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// The longest one.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.load(Ordering::Relaxed))
    }

    /// What 99 of 100 did not exceed, rounded up to a power of two of nanoseconds, or the longest.
    pub fn p99(&self) -> Duration {
        let rest = self.count() / 100;
        let mut above = 0;
        for (bits, counter) in self.by_bits.iter().enumerate().rev() {
            above += counter.load(Ordering::Relaxed);
            if above > rest {
                return Duration::from_nanos(1 << bits).min(self.longest());
            }
        }
        Duration::ZERO
    }
}

/// A network with a budget.
pub(crate) struct Budgeted<N> {
    network: N,
    budget: Duration,
    meter: Arc<Meter>,
    /// Of the last inferences: whether each was over the budget.
    recent: VecDeque<bool>,
    /// Processor time of this thread so far.
    clock: fn() -> Duration,
}

impl<N: Network> Budgeted<N> {
    pub(crate) fn new(network: N, budget: Duration) -> Self {
        Self::with_clock(network, budget, thread_time)
    }

    fn with_clock(network: N, budget: Duration, clock: fn() -> Duration) -> Self {
        Self { network, budget, meter: Arc::default(), recent: VecDeque::with_capacity(LAST), clock }
    }

    /// What is measured.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }
}

fn thread_time() -> Duration {
    // Every Linux has this clock; without it nothing is over its budget.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

impl<N: Network> Network for Budgeted<N> {
    fn run(&mut self, x: &[f32], verdict: &mut Verdict) -> Result<(), String> {
        let before = (self.clock)();
        self.network.run(x, verdict)?;
        let took = (self.clock)().saturating_sub(before);
        self.meter.add(took);
        if self.recent.len() == LAST {
            self.recent.pop_front();
        }
        self.recent.push_back(took > self.budget);
        let over = self.recent.iter().filter(|over| **over).count();
        if over < MANY && took < FAR_TOO_LONG {
            return Ok(());
        }
        Err(format!(
            "it took {took:?} of processor time; its budget is {:?}, and {over} of its last {} inferences were over it",
            self.budget,
            self.recent.len()
        ))
    }

    fn reset(&mut self) {
        self.network.reset();
    }
}

impl Network for Box<dyn Network> {
    fn run(&mut self, x: &[f32], verdict: &mut Verdict) -> Result<(), String> {
        (**self).run(x, verdict)
    }

    fn reset(&mut self) {
        (**self).reset();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) });

    /// Takes as many microseconds as its input says.
    struct Slow;

    impl Network for Slow {
        fn run(&mut self, x: &[f32], _: &mut Verdict) -> Result<(), String> {
            NOW.set(NOW.get() + Duration::from_secs_f32(x[0] / 1e6));
            Ok(())
        }
    }

    fn budgeted() -> Budgeted<Slow> {
        Budgeted::with_clock(Slow, Duration::from_micros(100), || NOW.get())
    }

    fn run(network: &mut Budgeted<Slow>, micros: f32) -> Result<(), String> {
        network.run(&[micros], &mut Verdict::new(0, false))
    }

    #[test]
    fn one_slow_inference_among_many_is_chance_and_many_are_not() {
        let mut network = budgeted();
        for i in 0..10_000 {
            run(&mut network, if i % 20 == 0 { 5000.0 } else { 50.0 }).unwrap();
        }
        let results: Vec<bool> = (0..20).map(|_| run(&mut network, 150.0).is_ok()).collect();
        assert_eq!(results.iter().filter(|good| **good).count(), 5, "five of the last hundred were over before");
        assert!(run(&mut network, 150.0).unwrap_err().contains("its budget is 100µs"));
    }

    #[test]
    fn one_that_stops_the_engine_is_benched_at_once() {
        assert!(run(&mut budgeted(), 2e6).is_err());
    }

    #[test]
    fn the_meter_knows_how_long_they_take() {
        let mut network = budgeted();
        let meter = network.meter();
        for i in 0..1000 {
            run(&mut network, if i == 500 { 90.0 } else { 10.0 }).unwrap();
        }
        assert_eq!(meter.count(), 1000);
        assert!((89..=91).contains(&meter.longest().as_micros()));
        assert!((10..=20).contains(&meter.p99().as_micros()), "{:?}", meter.p99());
    }

    #[test]
    fn the_clock_counts_work_and_not_sleep() {
        let before = thread_time();
        std::thread::sleep(Duration::from_millis(300));
        assert!(thread_time().saturating_sub(before) < Duration::from_millis(150));
        let since = thread_time();
        let mut sum = 0_u64;
        while thread_time() < since + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }
}

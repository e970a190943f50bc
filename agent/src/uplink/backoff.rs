//! Waiting before a new attempt, so that a fleet does not trample its gateway.
//!
//! "Full jitter" (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the wait is evenly
//! distributed up to a ceiling that doubles with each failure. A gateway that hangs up does so to all of its vehicles at
//! once: then the first wait is spread as well. `stampede_tests.rs` lets a million vehicles try it.

use std::time::Duration;

/// Exponential back-off with full jitter.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits between `min` and `max`; `min` must not be above `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// How long to wait after one more failure: evenly distributed from `min` to a ceiling that doubles each time.
    pub(crate) fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.min + up_to(self.ceiling() - self.min)
    }

    /// How long to wait after the gateway has hung up, on all of its vehicles perhaps: evenly distributed from nothing to
    /// `spread`. Later waits are not shorter.
    pub(crate) fn hung_up(&mut self, spread: Duration) -> Duration {
        while self.ceiling() < spread.min(self.max) {
            self.failures = self.failures.saturating_add(1);
        }
        up_to(spread)
    }

    fn ceiling(&self) -> Duration {
        self.min.saturating_mul(2u32.saturating_pow(self.failures)).min(self.max).max(self.min)
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Evenly distributed from nothing to `most`.
pub(crate) fn up_to(most: Duration) -> Duration {
    Duration::from_micros(fastrand::u64(0..=u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bounds_and_grows() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut backoff = Backoff::new(min, max);
        let mut longest = Duration::ZERO;
        for round in 0..200u32 {
            let wait = backoff.next();
            assert!((min..=max).contains(&wait), "{wait:?}");
            let ceiling = min * 2u32.saturating_pow(round.min(20) + 1);
            assert!(wait <= ceiling, "round {round}: {wait:?}");
            longest = longest.max(wait);
        }
        assert!(longest > max / 2, "{longest:?}");
        backoff.reset();
        assert!(backoff.next() <= min * 2);
    }

    #[test]
    fn equal_bounds_are_a_constant() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second);
        assert_eq!((backoff.next(), backoff.next()), (second, second));
    }
}

#[cfg(test)]
#[path = "stampede_tests.rs"]
mod stampede;

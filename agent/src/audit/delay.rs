//! How long events took to arrive: a histogram with steps of 9 percent, so that any number of them takes the same memory.

/// Steps in which the time doubles.
const STEPS: f64 = 8.0;
/// Up to 2^63 nanoseconds.
const BUCKETS: usize = 63 * 8 + 1;

/// Delays of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delays {
    counts: Vec<u64>,
    longest_ns: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], longest_ns: 0 }
    }
}

impl Delays {
    pub(super) fn add(&mut self, delay_ns: u64) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "0 to 504"
        )]
        let bucket = ((delay_ns.max(1) as f64).log2() * STEPS).ceil() as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.longest_ns = self.longest_ns.max(delay_ns);
    }

    /// What this share of the events (0 to 1) did not exceed, seconds, up to 9 percent too much. `None` where nothing is
    /// known.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        #[allow(clippy::cast_precision_loss, reason = "a share of a count")]
        let wanted = (total as f64 * share).max(1.0);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            #[allow(clippy::cast_precision_loss, reason = "a count, and at most 504")]
            if total > 0 && below as f64 >= wanted {
                return Some((bucket as f64 / STEPS).exp2() / 1e9).map(|s| s.min(self.longest()));
            }
        }
        None
    }

    /// The longest, seconds.
    pub fn longest(&self) -> f64 {
        std::time::Duration::from_nanos(self.longest_ns).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_nine_percent() {
        let mut delays = Delays::default();
        assert_eq!(delays.quantile(0.5), None);
        (1..=1000).for_each(|ms| delays.add(ms * 1_000_000));
        for (share, expected) in [(0.001, 0.001), (0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let found = delays.quantile(share).unwrap();
            assert!(found >= expected && found <= expected * 1.0906, "{share}: {found}");
        }
        assert_eq!(delays.longest(), 1.0);
        delays.add(0);
        delays.add(u64::MAX);
        assert!(delays.quantile(0.0).unwrap() <= 1e-9);
    }
}

//! How many frames lately: a count over a window that slides, nearly, in three numbers.

/// The frames of the last `width_ns`, if those before the current stretch came evenly.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    width_ns: u64,
    start_ns: u64,
    current: u32,
    before: u32,
}

impl Window {
    /// Empty. A width of at least one nanosecond.
    pub const fn new(width_ns: u64) -> Self {
        Self { width_ns, start_ns: 0, current: 0, before: 0 }
    }

    /// A frame, and how many there were lately with it.
    #[inline]
    pub fn add(&mut self, now_ns: u64) -> f64 {
        self.roll(now_ns);
        self.current = self.current.saturating_add(1);
        self.level(now_ns)
    }

    /// How many there were lately; never asked for a time before the last.
    pub fn level(&mut self, now_ns: u64) -> f64 {
        self.roll(now_ns);
        let passed = ratio(now_ns.saturating_sub(self.start_ns), self.width_ns);
        f64::from(self.current) + f64::from(self.before) * (1.0 - passed.min(1.0))
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        *self = Self::new(self.width_ns);
    }

    fn roll(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.start_ns);
        if passed_ns < self.width_ns {
            return;
        }
        if passed_ns < 2 * self.width_ns {
            (self.before, self.start_ns) = (self.current, self.start_ns + self.width_ns);
        } else {
            (self.before, self.start_ns) = (0, now_ns);
        }
        self.current = 0;
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations; the last bits do not matter")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_within_its_width() {
        let mut window = Window::new(100);
        let counts: Vec<f64> = (1..=50).map(|i| window.add(1_000_000 + 10 * i)).collect();
        assert_eq!(counts[0], 1.0);
        assert!(counts[20..].iter().all(|count| (10.0..=11.0).contains(count)), "{counts:?}");
        assert_eq!(window.level(1_000_500 + 250), 0.0);
        assert_eq!(window.add(1_000_900), 1.0, "all of them are long ago");
    }
}

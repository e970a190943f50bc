//! Panics in the log. sled panics over a disk that fails, at every attempt, for as long as that lasts; each is caught where
//! it happens. The log must not grow by it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MOST: u32 = 5;
const WINDOW: Duration = Duration::from_secs(600);

/// Has panics logged, the first five of each ten minutes, with how many were left out before.
pub fn log_bounded() {
    let limit = Mutex::new(Limit::default());
    std::panic::set_hook(Box::new(move |panic| {
        let admitted = limit.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        match admitted {
            None => {}
            Some(0) => tracing::error!(thread = name, "{panic}"),
            Some(left_out) => tracing::error!(thread = name, left_out, "{panic}"),
        }
    }));
}

#[derive(Debug, Default)]
struct Limit {
    since: Option<Instant>,
    seen: u32,
    left_out: u64,
}

impl Limit {
    /// Whether this one is logged, and how many were not since the last that was.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            (self.since, self.seen) = (Some(now), 0);
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen > MOST {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_for_days_does_not_fill_the_log() {
        let (start, mut limit) = (Instant::now(), Limit::default());
        let admitted = |limit: &mut Limit, from: u64| {
            (from..from + 600).filter_map(|s| limit.admit(start + Duration::from_secs(s))).collect::<Vec<_>>()
        };
        assert_eq!(admitted(&mut limit, 0), [0; 5]);
        assert_eq!(admitted(&mut limit, 600), [595, 0, 0, 0, 0]);
    }
}

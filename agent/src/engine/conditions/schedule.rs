//! When a condition is looked at: times of the week, and between two dates.

/// A time of the week, minutes from Monday 0:00.
const WEEK: u32 = 7 * 1440;
const MINUTE_NS: u64 = 60_000_000_000;

/// When something is active. Always, by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// From this time on, nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// Before this time.
    pub to_ns: u64,
    /// Times of the week, as (first minute, minute after the last) from Monday 0:00; empty: all. The second may be lower: over
    /// the week's end.
    pub times: Vec<(u32, u32)>,
    /// Minutes by which those are ahead of UTC.
    pub offset_min: i32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { from_ns: 0, to_ns: u64::MAX, times: Vec::new(), offset_min: 0 }
    }
}

impl Schedule {
    /// Whether it is active at `now_ns`; `wake_ns` becomes the next time at which that changes, if that is earlier.
    pub fn is_active(&self, now_ns: u64, wake_ns: &mut u64) -> bool {
        if now_ns < self.from_ns {
            *wake_ns = (*wake_ns).min(self.from_ns);
            return false;
        }
        if now_ns >= self.to_ns {
            return false;
        }
        if self.to_ns < u64::MAX {
            *wake_ns = (*wake_ns).min(self.to_ns);
        }
        if self.times.is_empty() {
            return true;
        }
        let minute = self.minute(now_ns);
        let active = self.covers(minute);
        let ahead = (1..=WEEK).find(|ahead| self.covers((minute + ahead) % WEEK) != active);
        if let Some(ahead) = ahead {
            *wake_ns = (*wake_ns).min((now_ns / MINUTE_NS + u64::from(ahead)) * MINUTE_NS);
        }
        active
    }

    fn minute(&self, now_ns: u64) -> u32 {
        // The epoch was a Thursday.
        let minutes = i64::try_from(now_ns / MINUTE_NS).unwrap_or(0) + 3 * 1440 + i64::from(self.offset_min);
        u32::try_from(minutes.rem_euclid(i64::from(WEEK))).unwrap_or(0)
    }

    fn covers(&self, minute: u32) -> bool {
        self.times.iter().any(
            |&(from, to)| {
                if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 2023-11-13, 0:00 UTC.
    const MONDAY_NS: u64 = 1_699_833_600_000_000_000;
    const HOUR_NS: u64 = 60 * MINUTE_NS;

    fn at(schedule: &Schedule, hours: u64) -> (bool, Option<u64>) {
        let mut wake_ns = u64::MAX;
        let active = schedule.is_active(MONDAY_NS + hours * HOUR_NS, &mut wake_ns);
        (active, (wake_ns < u64::MAX).then(|| (wake_ns - MONDAY_NS) / HOUR_NS))
    }

    #[test]
    fn times_of_the_week() {
        // Tuesday 6:00 to 20:00, and from Sunday 22:00 over the week's end to Monday 4:00.
        let times = vec![(1440 + 360, 1440 + 1200), (6 * 1440 + 1320, 240)];
        let schedule = Schedule { times, ..Schedule::default() };
        assert_eq!(at(&schedule, 0), (true, Some(4)));
        assert_eq!(at(&schedule, 4), (false, Some(30)));
        assert_eq!(at(&schedule, 30), (true, Some(44)));
        assert_eq!(at(&schedule, 44), (false, Some(6 * 24 + 22)));
        let ahead = Schedule { offset_min: 120, ..schedule };
        assert_eq!(at(&ahead, 28), (true, Some(42)), "two hours earlier by UTC");
        assert_eq!(at(&Schedule { times: vec![(0, WEEK)], ..Schedule::default() }, 5), (true, None));
    }

    #[test]
    fn between_two_dates() {
        let (from_ns, to_ns) = (MONDAY_NS + 10 * HOUR_NS, MONDAY_NS + 12 * HOUR_NS);
        let schedule = Schedule { from_ns, to_ns, ..Schedule::default() };
        assert_eq!([9, 10, 12].map(|hours| at(&schedule, hours)), [(false, Some(10)), (true, Some(12)), (false, None)]);
        assert_eq!(at(&Schedule::default(), 0), (true, None));
    }
}

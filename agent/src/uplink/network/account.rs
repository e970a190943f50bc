//! What may still be sent over a network today, and now: pure, told what was sent and when.
//!
//! Two buckets. The volume's holds a day's bytes and fills evenly, so that there is no midnight at which a fleet begins to
//! send. Of the less important classes, more is left for the others: `bulk` waits when less than a half is left,
//! `telemetry` below a quarter, `status` below a sixteenth; `critical` and `alert` never wait, and may overdraw it. The
//! bandwidth's bucket holds a second's bytes, and whatever goes over it has to be made up for by the others.
//!
//! What is handed over is counted at once, by its size; what was really sent is measured later, headers, repetitions,
//! compression and encryption among it, and takes the place of the estimate.

use std::time::{Duration, Instant};

use super::NetworkConfig;
use crate::event::Class;

const DAY_S: f64 = 86_400.0;
/// Looked at again no sooner: a message is worth more than the bytes of a moment.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(3600);

/// Which classes may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permits {
    /// By class rank.
    pub(crate) open: [bool; 5],
    /// When one that may not may go again.
    pub(crate) again: Option<Instant>,
}

impl Permits {
    pub(crate) const ALL: Self = Self { open: [true; 5], again: None };
}

#[derive(Debug)]
pub(crate) struct Account {
    config: NetworkConfig,
    /// Bytes left of the volume.
    left: f64,
    /// Bytes that may be sent now.
    now: f64,
    at: Instant,
    /// Bytes that were taken off both by their size, and not measured yet.
    estimated: f64,
}

impl Account {
    pub(crate) fn new(config: NetworkConfig, at: Instant) -> Self {
        let (left, now) = (number(config.bytes_per_day.unwrap_or(0)), number(config.bytes_per_s.unwrap_or(0)));
        Self { config, left, now, at, estimated: 0.0 }
    }

    /// Goes on with what was left so long ago.
    pub(crate) fn resume(&mut self, left: i64, ago: Duration) {
        if let Some(volume) = self.config.bytes_per_day.map(number) {
            #[expect(clippy::cast_precision_loss, reason = "bytes")]
            let left = left as f64;
            self.left = (left + volume * ago.as_secs_f64() / DAY_S).clamp(-volume, volume);
        }
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        if let Some(volume) = self.config.bytes_per_day.map(number) {
            self.left = (self.left + volume * seconds / DAY_S).min(volume);
        }
        if let Some(rate) = self.config.bytes_per_s.map(number) {
            self.now = (self.now + rate * seconds).min(rate);
        }
    }

    /// So many bytes are on their way.
    pub(crate) fn handed(&mut self, bytes: usize) {
        let bytes = number(bytes as u64);
        self.estimated += bytes;
        self.left -= bytes;
        self.now -= bytes;
    }

    /// So many bytes were really sent and received since this was last said.
    pub(crate) fn measured(&mut self, sent: u64, received: u64, now: Instant) {
        self.fill(now);
        // What was sent is no longer estimated. The rest may still wait to be sent, or was compressed away: it fades.
        let known = self.estimated.min(number(sent));
        let faded = known + (self.estimated - known) / 2.0;
        self.estimated -= faded;
        self.left += faded - number(sent) - number(received);
        self.now += faded - number(sent);
        // By a day at most, or it would never come back.
        self.left = self.left.max(-number(self.config.bytes_per_day.unwrap_or(0)));
    }

    /// A connection has ended: what it has sent since it was last measured will not be measured any more.
    pub(crate) fn closed(&mut self) {
        self.estimated = 0.0;
    }

    pub(crate) fn permits(&mut self, now: Instant) -> Permits {
        self.fill(now);
        let mut permits = Permits::ALL;
        for class in Class::ALL {
            let open = &mut permits.open[class.rank()];
            let share = match class {
                _ if !self.config.classes[class.rank()] => {
                    *open = false;
                    continue;
                }
                Class::Critical | Class::Alert => continue,
                Class::Status => 1.0 / 16.0,
                Class::Telemetry => 1.0 / 4.0,
                Class::Bulk => 1.0 / 2.0,
            };
            let volume = self.config.bytes_per_day.map_or(0.0, |volume| {
                let missing = number(volume) * share - self.left;
                missing / number(volume) * DAY_S
            });
            let rate = self.config.bytes_per_s.map_or(0.0, |rate| -self.now / number(rate));
            let wait = volume.max(rate);
            if wait > 0.0 {
                *open = false;
                let wait = Duration::try_from_secs_f64(wait).unwrap_or(AGAIN_MAX).clamp(AGAIN_MIN, AGAIN_MAX);
                permits.again = Some(permits.again.map_or(now + wait, |at| at.min(now + wait)));
            }
        }
        permits
    }

    /// Bytes left of the volume, what is only estimated taken off, below zero when it is overdrawn; `None` without a bound.
    #[expect(clippy::cast_possible_truncation, reason = "bytes of a day")]
    pub(crate) fn left(&self) -> Option<i64> {
        self.config.bytes_per_day.map(|_| self.left.round() as i64)
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a budget")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn config(bytes_per_day: Option<u64>, bytes_per_s: Option<u64>) -> NetworkConfig {
        NetworkConfig { interface: "wwan*".into(), bytes_per_day, bytes_per_s, classes: [true; 5] }
    }

    fn open(account: &mut Account, now: Instant) -> String {
        let open = account.permits(now).open;
        open.iter().map(|open| if *open { '1' } else { '0' }).collect()
    }

    #[test]
    fn the_less_important_wait_the_sooner() {
        let now = Instant::now();
        let mut account = Account::new(config(Some(16 * MIB), None), now);
        let mut seen = Vec::new();
        for _ in 0..17 {
            seen.push(open(&mut account, now));
            account.measured(MIB / 2, MIB / 2, now);
        }
        let expected = [("11111", 9), ("11110", 4), ("11100", 3), ("11000", 1)];
        let expected: Vec<String> =
            expected.iter().flat_map(|(open, n)| std::iter::repeat_n((*open).to_owned(), *n)).collect();
        assert_eq!(seen, expected);
        assert_eq!(account.left(), Some(-i64::try_from(MIB).unwrap()));
        // Never more than a day in debt, and back as the day goes on.
        account.measured(1 << 40, 0, now);
        assert_eq!(account.permits(now + Duration::from_secs(3 * 86_400)).open, [true; 5]);
    }

    #[test]
    fn it_says_when_to_look_again() {
        let now = Instant::now();
        let mut account = Account::new(config(Some(86_400), None), now);
        account.measured(86_400 / 2 + 7, 0, now);
        let again = account.permits(now).again.unwrap();
        let wait = again.duration_since(now).as_secs_f64();
        assert!((wait - 7.0).abs() < 0.1, "{wait}");
        assert_eq!(open(&mut account, again - Duration::from_millis(50)), "11110");
        assert_eq!(open(&mut account, again + Duration::from_millis(50)), "11111");
    }

    #[test]
    fn the_bandwidth_is_kept_and_alerts_go_first() {
        let start = Instant::now();
        let mut account = Account::new(config(None, Some(1000)), start);
        let (mut sent, mut now) = (0, start);
        // As fast as it may, in messages of 300 bytes, and measured every second as they are.
        while now < start + Duration::from_secs(60) {
            let permits = account.permits(now);
            assert!(permits.open[0] && permits.open[1]);
            if permits.open[3] {
                account.handed(300);
                sent += 300;
            } else {
                now = permits.again.unwrap();
            }
        }
        assert!((60_000..62_000).contains(&sent), "{sent}");
    }

    #[test]
    fn what_is_measured_takes_the_place_of_what_was_estimated() {
        let now = Instant::now();
        let mut account = Account::new(config(Some(MIB), None), now);
        account.handed(300_000);
        // Compressed, a third of it was sent.
        account.measured(100_000, 0, now);
        for _ in 0..40 {
            account.measured(0, 0, now);
        }
        assert_eq!(account.left(), Some(i64::try_from(MIB).unwrap() - 100_000));
    }

    #[test]
    fn what_is_sent_is_not_charged_twice() {
        let now = Instant::now();
        let mut account = Account::new(config(Some(MIB), None), now);
        account.handed(400_000);
        let before = account.left();
        account.measured(410_000, 0, now);
        assert_eq!((before, account.left()), (Some(648_576), Some(638_576)));
    }

    #[test]
    fn what_a_connection_sent_at_its_end_stays_charged() {
        let now = Instant::now();
        let mut account = Account::new(config(Some(MIB), None), now);
        account.handed(100_000);
        account.closed();
        (0..40).for_each(|_| account.measured(0, 0, now));
        assert_eq!(account.left(), Some(948_576));
    }

    #[test]
    fn what_was_used_before_is_remembered_and_fills_meanwhile() {
        let now = Instant::now();
        let mut account = Account::new(config(Some(86_400), None), now);
        account.resume(-1000, Duration::from_secs(500));
        assert_eq!(account.left(), Some(-500));
        account.resume(i64::MAX, Duration::ZERO);
        assert_eq!(account.left(), Some(86_400));
    }

    #[test]
    fn classes_that_a_network_is_not_for_wait_for_another() {
        let now = Instant::now();
        let classes = [true, true, false, false, false];
        let mut account = Account::new(NetworkConfig { classes, ..config(None, None) }, now);
        assert_eq!(account.permits(now), Permits { open: classes, again: None });
    }
}

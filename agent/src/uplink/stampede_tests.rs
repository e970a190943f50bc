//! A million vehicles that lose their gateway at the same moment, and when they come back.

use std::collections::BTreeMap;

use super::*;

const VEHICLES: u32 = 1_000_000;

/// What vehicles do after the gateway has hung up on all of them at second 0: when each of them knocks.
struct Fleet {
    min: Duration,
    max: Duration,
    spread: Duration,
}

impl Fleet {
    /// As configured by default.
    fn usual() -> Self {
        Self { min: Duration::from_millis(500), max: Duration::from_secs(60), spread: Duration::from_secs(10) }
    }

    /// Knocks in each second, and how many vehicles got in by then, where the gateway takes `capacity` a second from
    /// second `back` on and turns the others away.
    fn curve(&self, back: u64, capacity: u32) -> Vec<(u32, u32)> {
        fastrand::seed(7);
        let mut waiting: BTreeMap<u64, Vec<Backoff>> = BTreeMap::new();
        let micros = |wait: Duration| u64::try_from(wait.as_micros()).unwrap();
        // By the millisecond: each bucket is worked off in the order in which it is filled.
        for _ in 0..VEHICLES {
            let mut backoff = Backoff::new(self.min, self.max);
            let first = backoff.next().max(backoff.hung_up(self.spread));
            waiting.entry(micros(first) / 1000).or_default().push(backoff);
        }
        let (mut curve, mut inside, mut taken): (Vec<(u32, u32)>, u32, (u64, u32)) = (Vec::new(), 0, (0, 0));
        while let Some((ms, knocking)) = waiting.pop_first() {
            let second = ms / 1000;
            let at = usize::try_from(second).unwrap();
            curve.resize(curve.len().max(at + 1), (0, inside));
            for mut backoff in knocking {
                curve[at].0 += 1;
                if taken.0 != second {
                    taken = (second, 0);
                }
                if second >= back && taken.1 < capacity {
                    (taken.1, inside) = (taken.1 + 1, inside + 1);
                } else {
                    let wait = backoff.next();
                    waiting.entry(ms + micros(wait) / 1000 + 1).or_default().push(backoff);
                }
            }
            curve[at].1 = inside;
        }
        curve
    }
}

fn print(what: &str, curve: &[(u32, u32)]) {
    println!("{what}\nsecond     knocks a second     connected");
    for (second, (knocks, inside)) in curve.iter().enumerate().filter(|(s, _)| *s < 20 || s.is_multiple_of(30)) {
        println!("{second:6} {knocks:18} {inside:13} {}", "#".repeat(usize::try_from(knocks / 4000).unwrap()));
    }
}

/// A gateway that restarts at once: without the spread, all come within half a second.
#[test]
fn a_restart_does_not_bring_all_at_once() {
    let curve = Fleet::usual().curve(0, u32::MAX);
    print("a gateway that restarts at once", &curve);
    let peak = curve.iter().map(|c| c.0).max().unwrap();
    assert!(peak <= VEHICLES / 9, "{peak} in one second");
    assert_eq!(curve.last().unwrap().1, VEHICLES);
    assert!(curve.len() <= 11, "{} s", curve.len());

    let hasty = Fleet { spread: Duration::ZERO, ..Fleet::usual() }.curve(0, u32::MAX);
    let peak = hasty.iter().map(|c| c.0).max().unwrap();
    assert!(peak > VEHICLES / 3, "that is what the spread is for: {peak}");
}

/// A gateway that is away for five minutes and then takes 20,000 vehicles a second.
#[test]
fn a_long_outage_ends_in_a_steady_stream() {
    let curve = Fleet::usual().curve(300, 20_000);
    print("a gateway that is away for five minutes, and takes 20,000 vehicles a second", &curve);
    let most = curve[..300].iter().map(|c| c.0).max().unwrap();
    assert!(most <= VEHICLES / 7, "{most} knocks in a second at a gateway that is away");
    let after = &curve[300..];
    let peak = after.iter().map(|c| c.0).max().unwrap();
    // Evenly over the longest back-off: 1,000,000 in 60 s, of which the mean wait is half, twice over.
    assert!(peak <= VEHICLES / 25, "{peak} knocks in a second");
    // The gateway is never idle while vehicles wait, so that it takes hardly longer than it must.
    let needed = usize::try_from(VEHICLES / 20_000).unwrap();
    let busy = after.iter().position(|c| c.1 >= VEHICLES / 10 * 9).unwrap();
    assert!(busy <= needed + needed / 4, "90 % are in after {busy} s, {needed} s would be needed for all");
    assert_eq!(after.last().unwrap().1, VEHICLES, "and all get in");
}

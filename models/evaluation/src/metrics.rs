//! How well scores and alerts tell attacked times from others.

use outrider::engine::debounce::{Debounce, DebounceSpec, Step};

use crate::attack::number;

/// A score at a grid point, nanoseconds since the Unix epoch.
pub type Scored = (u64, f64);
/// A time in which something was attacked: from, to before.
pub type Span = (u64, u64);

/// An alert this long after an attack's end still belongs to it: smoothing and debounce take time.
pub const AFTER_NS: u64 = 2_000_000_000;

/// Area under the ROC curve: the chance that a score from `bad` is above one from `good`, equal ones counting half
/// (Mann and Whitney 1947). `None` when there is none of either.
pub fn auc(bad: &[f64], good: &[f64]) -> Option<f64> {
    if bad.is_empty() || good.is_empty() {
        return None;
    }
    let mut good = good.to_vec();
    good.sort_by(f64::total_cmp);
    let below = |score: f64| {
        let (less, not_more) = (good.partition_point(|g| *g < score), good.partition_point(|g| *g <= score));
        number((less + not_more) as u64) / 2.0
    };
    let sum: f64 = bad.iter().map(|score| below(*score)).sum();
    Some(sum / number(bad.len() as u64) / number(good.len() as u64))
}

/// Points of the ROC curve, at most about `most`: (false positives, true positives), both from 0 to 1.
pub fn roc(bad: &[f64], good: &[f64], most: usize) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, bool)> = bad.iter().map(|s| (*s, true)).chain(good.iter().map(|s| (*s, false))).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut alarms) = (0, 0);
    let mut points = vec![(0.0, 0.0)];
    let step = (all.len() / most.max(1)).max(1);
    for (i, (score, is_bad)) in all.iter().enumerate() {
        if *is_bad {
            hits += 1
        } else {
            alarms += 1
        }
        let ties = all.get(i + 1).is_some_and(|next| next.0.total_cmp(score).is_eq());
        if i + 1 == all.len() || (i % step == 0 && !ties) {
            points.push((number(alarms) / number(good.len() as u64), number(hits) / number(bad.len() as u64)));
        }
    }
    points
}

/// Scores inside of the spans, and outside of all of them.
pub fn split(scores: &[Scored], spans: &[Span]) -> (Vec<f64>, Vec<f64>) {
    let (mut bad, mut good) = (Vec::new(), Vec::new());
    for (at, score) in scores {
        let is_bad = spans.iter().any(|(from, to)| (from..to).contains(&at));
        if is_bad { bad.push(*score) } else { good.push(*score) }
    }
    (bad, good)
}

/// When alerts are raised by `threshold`.
pub fn alerts(scores: &[Scored], threshold: f64, debounce: DebounceSpec) -> Vec<u64> {
    let mut debounce = Debounce::new(debounce);
    let raised = |at: u64, score: f64| matches!(debounce.step(score >= threshold, at), Step::Raised { .. });
    let mut raised = raised;
    scores.iter().filter(|(at, score)| raised(*at, *score)).map(|(at, _)| *at).collect()
}

/// The lowest threshold that raises at most so many alerts an hour of `clean`, `hours` of which there are.
pub fn threshold_for(clean: &[Scored], hours: f64, alerts_per_hour: f64, debounce: DebounceSpec) -> f64 {
    let mut levels: Vec<f64> = clean.iter().map(|(_, score)| *score).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    // Just above the highest, nothing is raised.
    levels.push(levels.last().map_or(0.0, |highest| highest + highest.abs() * 1e-3 + 1e-9));
    // The number of alerts falls, nearly, as the threshold rises: alerts that melt together below are no reason to go there.
    let good = |threshold: f64| number(alerts(clean, threshold, debounce).len() as u64) <= alerts_per_hour * hours;
    let mut lowest = levels.len() - 1;
    while lowest > 0 && good(levels[lowest - 1]) {
        // In steps of a thousandth of the levels, then one by one.
        let step = (levels.len() / 1000).max(1);
        lowest = if lowest > step && good(levels[lowest - step]) { lowest - step } else { lowest - 1 };
    }
    levels[lowest]
}

/// The first alert that belongs to the span: its delay in seconds.
pub fn delay(alerts: &[u64], span: Span) -> Option<f64> {
    let first = alerts.iter().find(|at| (span.0..span.1 + AFTER_NS).contains(at))?;
    Some(number(first - span.0) / 1e9)
}

/// How many alerts belong to no span.
pub fn strays(alerts: &[u64], spans: &[Span]) -> usize {
    alerts.iter().filter(|at| !spans.iter().any(|(from, to)| (*from..*to + AFTER_NS).contains(at))).count()
}

/// The middle value.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: DebounceSpec = DebounceSpec { k: 1, n: 1, min_ns: 0, clear_ns: 1, update_ns: u64::MAX };

    #[test]
    fn the_area_is_that_of_ranks() {
        assert_eq!(auc(&[3.0, 4.0], &[1.0, 2.0]), Some(1.0));
        assert_eq!(auc(&[1.0, 2.0], &[3.0, 4.0]), Some(0.0));
        assert_eq!(auc(&[1.0, 3.0], &[2.0]), Some(0.5));
        assert_eq!(auc(&[2.0], &[2.0, 2.0]), Some(0.5));
        assert_eq!(auc(&[], &[2.0]), None);
    }

    #[test]
    fn the_area_under_the_curve_is_the_area() {
        let (bad, good) = ([1.0, 2.0, 2.0, 5.0, 7.0], [0.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
        let points = roc(&bad, &good, 1000);
        let area: f64 = points.windows(2).map(|p| (p[1].0 - p[0].0) * f64::midpoint(p[0].1, p[1].1)).sum();
        assert!((area - auc(&bad, &good).unwrap()).abs() < 1e-12, "{points:?}");
        assert_eq!(points.last(), Some(&(1.0, 1.0)));
    }

    #[test]
    fn the_threshold_is_the_lowest_that_is_quiet_enough() {
        // Two peaks of 5 and 9 in an hour.
        let mut clean: Vec<Scored> = (0..3600).map(|s| (s, number(s % 3))).collect();
        clean[100].1 = 5.0;
        clean[2000].1 = 9.0;
        assert_eq!(threshold_for(&clean, 1.0, 1.0, DEBOUNCE), 9.0);
        assert!(threshold_for(&clean, 1.0, 0.0, DEBOUNCE) > 9.0);
        assert_eq!(threshold_for(&clean, 1.0, 2.0, DEBOUNCE), 5.0);
    }

    #[test]
    fn alerts_belong_to_the_spans_around_them() {
        let s = 1_000_000_000;
        let spans = [(10 * s, 20 * s), (30 * s, 40 * s)];
        let alerts = [5 * s, 12 * s, 21 * s, 25 * s];
        assert_eq!(delay(&alerts, spans[0]), Some(2.0));
        assert_eq!(delay(&alerts, spans[1]), None);
        assert_eq!(strays(&alerts, &spans), 2);
    }
}

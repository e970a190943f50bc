//! The count at the end.

use std::io::{self, Write};
use std::time::Duration;

use outrider::runtime::Outcome;

use crate::scenario::Scenario;
use crate::subscriber::{Raised, Received};

/// An anomaly belongs to a fault when it begins while the fault lasts or shortly after: smoothing and physics take time.
const AFTER: Duration = Duration::from_secs(7);

/// Prints it; true when nothing is missing.
pub(crate) fn print(scenario: &Scenario, outcome: &Outcome, received: &Received, took: Duration) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let produced = outcome.outbox.next_seq - 1;
    let audit = &received.audit;
    let vehicle = audit.vehicles.values().next();
    let (arrived, duplicates, explained, out_of_order) =
        vehicle.map_or((0, 0, 0, 0), |v| (v.events, v.duplicates, v.explained(), v.out_of_order));
    let holes: u64 = vehicle.map_or(produced, |v| v.holes(1).iter().map(|(a, b)| b - a + 1).sum());
    let complete = arrived + explained == produced && holes == 0 && out_of_order == 0 && received.unreadable == 0;

    writeln!(out, "Summary after {:.0} s", took.as_secs_f64())?;
    writeln!(out, "  frames from the buses        {:>8}", outcome.frames)?;
    writeln!(out, "  events produced              {produced:>8}")?;
    writeln!(out, "  events received              {arrived:>8}   by an independent subscriber")?;
    writeln!(out, "  duplicates                   {duplicates:>8}   (at-least-once delivery; dropped by number)")?;
    writeln!(out, "  lost and explained           {explained:>8}")?;
    writeln!(out, "  holes                        {holes:>8}")?;
    writeln!(out, "  out of order in their class  {out_of_order:>8}")?;
    writeln!(out, "  connections                  {:>8}   the link was cut and came back", outcome.link.connects)?;

    let mut found_all = true;
    if scenario.is_simulated() {
        let (found, false_alarms) = match_up(scenario, received, outcome);
        let hits = found.iter().filter(|f| f.is_some()).count();
        found_all = hits == scenario.faults.len();
        writeln!(out, "  anomalies found              {hits:>8}   of {} injected", scenario.faults.len())?;
        writeln!(out, "  false alarms                 {false_alarms:>8}")?;
        for (fault, found) in scenario.faults.iter().zip(&found) {
            let kind = fault.kind.to_string();
            match found {
                Some((raised, after)) => {
                    writeln!(out, "    {kind:<24} found after {after:.1} s as {} by {}", raised.class, raised.cause)?
                }
                None => writeln!(out, "    {kind:<24} NOT FOUND")?,
            }
        }
    }
    let good = complete && found_all;
    writeln!(
        out,
        "{}",
        if good { "Everything arrived, everything was found." } else { "SOMETHING IS MISSING, see above." }
    )?;
    Ok(good)
}

/// For each fault the first anomaly that belongs to it, and how many anomalies belong to none.
fn match_up<'a>(
    scenario: &Scenario,
    received: &'a Received,
    outcome: &Outcome,
) -> (Vec<Option<(&'a Raised, f64)>>, usize) {
    let start_ns = outcome.first_ns;
    let seconds = |raised: &Raised| Duration::from_nanos(raised.time_ns.saturating_sub(start_ns)).as_secs_f64();
    let belongs = |raised: &Raised, index: usize| {
        let fault = &scenario.faults[index];
        let at = seconds(raised);
        (fault.start.as_secs_f64()..=(fault.start + fault.duration + AFTER).as_secs_f64()).contains(&at)
    };
    let all = 0..scenario.faults.len();
    let found = all
        .clone()
        .map(|i| {
            let first =
                received.anomalies.iter().filter(|raised| belongs(raised, i)).min_by_key(|raised| raised.time_ns);
            first.map(|raised| (raised, seconds(raised) - scenario.faults[i].start.as_secs_f64()))
        })
        .collect();
    let false_alarms = received.anomalies.iter().filter(|raised| !all.clone().any(|i| belongs(raised, i))).count();
    (found, false_alarms)
}

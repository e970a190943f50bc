//! The count at the end.

use std::io::{self, Write};
use std::time::Duration;

use outrider::runtime::Outcome;
use outrider::source::sim::ScheduledFault;

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
        vehicle.map_or((0, 0, 0, 0), |v| (v.events(), v.duplicates(), v.explained(), v.out_of_order()));
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
                Some(Found { after, cause, class }) => {
                    writeln!(out, "    {kind:<24} found after {after:.1} s, {class}, by {cause}")?;
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

/// What was received about a fault.
struct Found<'a> {
    /// Seconds from its start to the first anomaly.
    after: f64,
    /// What contributed most to that.
    cause: &'a str,
    /// The most important class that an anomaly during the fault had.
    class: &'static str,
}

/// For each fault what was found of it, and how many anomalies belong to none.
fn match_up<'a>(scenario: &Scenario, received: &'a Received, outcome: &Outcome) -> (Vec<Option<Found<'a>>>, usize) {
    let seconds = |raised: &Raised| Duration::from_nanos(raised.time_ns.saturating_sub(outcome.first_ns)).as_secs_f64();
    let belongs = |raised: &Raised, fault: &ScheduledFault| {
        let (start, end) = (fault.start, fault.start + fault.duration + AFTER);
        (start.as_secs_f64()..=end.as_secs_f64()).contains(&seconds(raised))
    };
    let found = |fault: &ScheduledFault| {
        let of_fault = || received.anomalies.iter().filter(|raised| belongs(raised, fault));
        let first = of_fault().min_by_key(|raised| raised.time_ns)?;
        let class = if of_fault().any(|raised| raised.class == "critical") { "critical" } else { "alert" };
        Some(Found { after: seconds(first) - fault.start.as_secs_f64(), cause: &first.cause, class })
    };
    let stray = |raised: &&Raised| !scenario.faults.iter().any(|fault| belongs(raised, fault));
    (scenario.faults.iter().map(found).collect(), received.anomalies.iter().filter(stray).count())
}

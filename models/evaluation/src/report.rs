//! What was measured, as text, CSV and a picture.

use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;

use crate::attack::Kind;
use crate::metrics::{Scored, Span, median, roc};

/// One attack and what became of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What kind.
    pub kind: Kind,
    /// On what.
    pub victim: String,
    /// Area under the ROC curve of its time against all time without attacks.
    pub auc: Option<f64>,
    /// Seconds until the first alert with the threshold as it is; `None` when there was none.
    pub delay_s: Option<f64>,
    /// The same with the threshold for the false alarms asked for.
    pub delay_at_rate_s: Option<f64>,
}

/// All attacks of a kind in all runs.
#[derive(Debug)]
pub struct OfKind {
    /// The kind.
    pub kind: Kind,
    /// Scores while attacked.
    pub bad: Vec<f64>,
    /// Scores while not, of the same runs.
    pub good: Vec<f64>,
    /// Area under the ROC curve over all runs together.
    pub auc: Option<f64>,
    /// Alerts at the rate asked for that belong to no attack.
    pub strays: usize,
    /// Scores of the first run, with the spans in which it was attacked.
    pub first: (Vec<Scored>, Vec<Span>),
}

/// What was found on the recording as it is.
#[derive(Debug)]
pub struct Clean {
    /// Its length in hours.
    pub hours: f64,
    /// Alerts with the threshold as it is.
    pub alerts: Vec<(u64, String)>,
    /// The threshold as it is.
    pub threshold: f64,
    /// The threshold for the false alarms asked for.
    pub threshold_at_rate: f64,
    /// Those, an hour.
    pub rate: f64,
}

fn show(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

/// Share of those that were found, and the median delay of these.
fn recall<'a>(outcomes: impl Iterator<Item = &'a Option<f64>>) -> (Option<f64>, Option<f64>) {
    let all: Vec<Option<f64>> = outcomes.copied().collect();
    let mut found: Vec<f64> = all.iter().flatten().copied().collect();
    #[expect(clippy::cast_precision_loss, reason = "counts of attacks")]
    let share = (!all.is_empty()).then(|| found.len() as f64 / all.len() as f64);
    (share, median(&mut found))
}

/// For people.
pub fn text(clean: &Clean, kinds: &[OfKind], outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    let per_hour = crate::attack::number(clean.alerts.len() as u64) / clean.hours.max(1e-9);
    let _ = writeln!(
        out,
        "clean: {:.2} hours, {} alerts with the threshold as it is ({per_hour:.2} an hour); \
         at most {} an hour from {:.4} on{}",
        clean.hours,
        clean.alerts.len(),
        clean.rate,
        clean.threshold_at_rate,
        format_args!(" (as it is: {})", clean.threshold)
    );
    for (at, what) in &clean.alerts {
        let _ = writeln!(out, "  alert at {}.{:03}: {what}", at / 1_000_000_000, at / 1_000_000 % 1000);
    }
    let _ = writeln!(
        out,
        "\n{:<14}{:>8}{:>8}{:>10}{:>10}{:>12}{:>12}",
        "kind", "attacks", "AUC", "found", "delay s", "found@rate", "delay@rate"
    );
    let mut areas = Vec::new();
    for of in kinds {
        let own: Vec<&Outcome> = outcomes.iter().filter(|o| o.kind == of.kind).collect();
        let (found, delay) = recall(own.iter().map(|o| &o.delay_s));
        let (found_at, delay_at) = recall(own.iter().map(|o| &o.delay_at_rate_s));
        areas.extend(of.auc);
        let _ = writeln!(
            out,
            "{:<14}{:>8}{:>8}{:>10}{:>10}{:>12}{:>12}{:>8}",
            of.kind.to_string(),
            own.len(),
            show(of.auc),
            show(found),
            show(delay),
            show(found_at),
            show(delay_at),
            of.strays
        );
    }
    let (found, delay) = recall(outcomes.iter().map(|o| &o.delay_s));
    let (found_at, delay_at) = recall(outcomes.iter().map(|o| &o.delay_at_rate_s));
    let mean = (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / crate::attack::number(areas.len() as u64));
    let _ = writeln!(
        out,
        "{:<14}{:>8}{:>8}{:>10}{:>10}{:>12}{:>12}{:>8}",
        "mean or all",
        outcomes.len(),
        show(mean),
        show(found),
        show(delay),
        show(found_at),
        show(delay_at),
        kinds.iter().map(|of| of.strays).sum::<usize>()
    );
    let victims = victims(outcomes);
    let _ = write!(out, "\nAUC, and share found at the rate, by victim\n{:<40}", "");
    for of in kinds {
        let _ = write!(out, "{:>16}", of.kind.to_string());
    }
    for victim in victims {
        let _ = write!(out, "\n{victim:<40}");
        for of in kinds {
            let (auc, found) = of_victim(outcomes, of.kind, &victim);
            let _ = write!(
                out,
                "{:>16}",
                format!("{} {}", show(auc), found.map_or_else(|| "-".into(), |f| format!("{f:.2}")))
            );
        }
    }
    out.push('\n');
    out
}

fn victims(outcomes: &[Outcome]) -> Vec<String> {
    let mut names: Vec<String> = outcomes.iter().map(|o| o.victim.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Mean area and share found at the rate.
fn of_victim(outcomes: &[Outcome], kind: Kind, victim: &str) -> (Option<f64>, Option<f64>) {
    let own = || outcomes.iter().filter(|o| o.kind == kind && o.victim == victim);
    let areas: Vec<f64> = own().filter_map(|o| o.auc).collect();
    let mean = (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / crate::attack::number(areas.len() as u64));
    (mean, recall(own().map(|o| &o.delay_at_rate_s)).0)
}

/// One line an attack.
pub fn csv(outcomes: &[Outcome]) -> String {
    let mut out = "kind,victim,auc,delay_s,delay_at_rate_s\n".to_string();
    let cell = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    for o in outcomes {
        let _ =
            writeln!(out, "{},{},{},{},{}", o.kind, o.victim, cell(o.auc), cell(o.delay_s), cell(o.delay_at_rate_s));
    }
    out
}

/// ROC curves, and the score over time with the attacked spans shaded, kind by kind.
///
/// # Errors
/// When the file cannot be written.
pub fn picture(path: &Path, clean: &Clean, kinds: &[OfKind]) -> Result<(), String> {
    draw(path, clean, kinds).map_err(|error| format!("{}: {error}", path.display()))
}

fn draw(path: &Path, clean: &Clean, kinds: &[OfKind]) -> Result<(), Box<dyn std::error::Error>> {
    let rows = u32::try_from(kinds.len())?;
    let root = SVGBackend::new(path, (1200, 460 + 200 * rows)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(460);
    let mut chart = ChartBuilder::on(&upper)
        .caption("ROC", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart.configure_mesh().x_desc("share of clean time above the threshold").y_desc("share of attacked time").draw()?;
    for (i, of) in kinds.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let label = format!("{} {}", of.kind, show(of.auc));
        chart
            .draw_series(LineSeries::new(roc(&of.bad, &of.good, 500), colour.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).border_style(BLACK).draw()?;
    for (area, of) in lower.split_evenly((kinds.len(), 1)).iter().zip(kinds) {
        over_time(area, clean, of)?;
    }
    root.present()?;
    Ok(())
}

fn over_time(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    clean: &Clean,
    of: &OfKind,
) -> Result<(), Box<dyn std::error::Error>> {
    const MOST_POINTS: usize = 4000;
    let (scores, spans) = &of.first;
    let (Some(first), Some(last)) = (scores.first(), scores.last()) else { return Ok(()) };
    let seconds = |at: u64| crate::attack::number(at.saturating_sub(first.0)) / 1e9;
    let (low, high) = scores.iter().fold((0.0_f64, clean.threshold_at_rate), |(l, h), (_, s)| (l.min(*s), h.max(*s)));
    // One wild score must not flatten all others.
    let high = high.min(4.0 * clean.threshold_at_rate.abs().max(1e-6));
    let mut chart = ChartBuilder::on(area)
        .caption(of.kind.to_string(), ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(22)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..seconds(last.0), low..high * 1.05)?;
    chart.configure_mesh().disable_x_mesh().y_desc("score").draw()?;
    let shade =
        |&(from, to): &Span| Rectangle::new([(seconds(from), low), (seconds(to), high * 1.05)], RED.mix(0.25).filled());
    chart.draw_series(spans.iter().map(shade))?;
    // The highest score of each stretch: a peak must not fall between two points.
    let stretch = scores.len().div_ceil(MOST_POINTS).max(1);
    let peak = |part: &[Scored]| {
        let top = part.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
        (seconds(part[0].0), top.min(high * 1.05))
    };
    chart.draw_series(LineSeries::new(scores.chunks(stretch).map(peak), BLUE))?;
    for (threshold, colour) in [(clean.threshold, BLACK), (clean.threshold_at_rate, GREEN)] {
        chart.draw_series(LineSeries::new([(0.0, threshold), (seconds(last.0), threshold)], colour))?;
    }
    Ok(())
}

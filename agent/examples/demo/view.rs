//! What the demo shows while it runs: a screen in a terminal, a line a second elsewhere.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrider::engine::{Engine, SignalId};
use outrider::event::{AnomalyPhase, Body, Class, Event};
use outrider::outbox::OutboxStat;
use outrider::runtime::Observer;
use outrider::uplink::{LinkSnapshot, LinkState};

use crate::scenario::Scenario;
use crate::subscriber::Progress;

/// Lines of news kept for the screen.
const NEWS: usize = 12;
/// Signals shown of a recording.
const SIGNALS: usize = 8;

/// What the agent's thread leaves for the screen.
#[derive(Default)]
pub(crate) struct Shared(Mutex<State>);

#[derive(Default, Clone)]
struct State {
    start_ns: u64,
    now_ns: u64,
    frames: u64,
    events: u64,
    score: Option<f64>,
    signals: Vec<(String, Option<f64>, String)>,
    news: VecDeque<String>,
    told: u64,
}

impl Shared {
    /// To be called by the agent after each batch of frames.
    pub(crate) fn observer(self: &Arc<Self>, scenario: &Scenario) -> Observer {
        let shared = self.clone();
        let mut shown: Option<Vec<SignalId>> = None;
        let mut pending: Vec<(u64, String)> = scenario
            .faults
            .iter()
            .map(|f| (u64::try_from(f.start.as_nanos()).unwrap_or(u64::MAX), f.kind.to_string()))
            .collect();
        pending.reverse();
        let simulated = scenario.is_simulated();
        Box::new(move |engine: &Engine, events: &[Event]| {
            let mut state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = shown.get_or_insert_with(|| pick(engine, simulated));
            state.now_ns = engine.now_ns();
            if state.start_ns == 0 {
                state.start_ns = state.now_ns;
            }
            while pending.last().is_some_and(|(at, _)| state.start_ns + at <= state.now_ns) {
                if let Some((_, kind)) = pending.pop() {
                    state.tell(&format!("injected   {kind}"));
                }
            }
            state.frames = (0..engine.catalog().buses().len()).map(|bus| engine.health().bus(bus).frames).sum();
            state.events += events.len() as u64;
            state.score = engine.detectors().first().and_then(|d| d.last_score());
            state.signals = shown
                .iter()
                .map(|&id| {
                    let signal = engine.catalog().signal(id);
                    let value = engine.state().signal(id).usable(engine.now_ns(), 5_000_000_000);
                    (signal.name.to_string(), value, signal.unit.to_string())
                })
                .collect();
            for event in events {
                if let Some(text) = describe(event) {
                    state.tell(&text);
                }
            }
        })
    }
}

impl State {
    fn tell(&mut self, text: &str) {
        let at = Duration::from_nanos(self.now_ns - self.start_ns).as_secs_f64();
        self.news.push_back(format!("{at:7.1} s  {text}"));
        self.told += 1;
        if self.news.len() > NEWS {
            self.news.pop_front();
        }
    }
}

fn pick(engine: &Engine, simulated: bool) -> Vec<SignalId> {
    if simulated {
        let names = ["VehicleSpeed", "EngineSpeed", "ActualGear", "CoolantTemp"];
        return names.iter().filter_map(|name| engine.catalog().find_signal(name).ok()).collect();
    }
    engine.catalog().select("*").unwrap_or_default().into_iter().take(SIGNALS).collect()
}

fn describe(event: &Event) -> Option<String> {
    match &event.body {
        Body::Anomaly(anomaly) => {
            let cause = anomaly.top.first().map_or("", |top| &*top.name);
            match anomaly.phase {
                AnomalyPhase::Raised => {
                    Some(format!("{:9}  anomaly, score {}, {cause}", event.class.name(), anomaly.score))
                }
                AnomalyPhase::Cleared => {
                    Some(format!("{:9}  anomaly over, highest score {}", event.class.name(), anomaly.score))
                }
                AnomalyPhase::Ongoing if event.class == Class::Critical => {
                    Some(format!("{:9}  anomaly goes on, score {}, {cause}", event.class.name(), anomaly.score))
                }
                AnomalyPhase::Ongoing => None,
            }
        }
        Body::Message(message) => {
            Some(format!("{:9}  message {} is {}", event.class.name(), message.name, message.state))
        }
        Body::Agent(agent) => Some(format!("{:9}  agent {}", event.class.name(), agent.state)),
        Body::Model(model) => {
            Some(format!("{:9}  model {} {}: {}", event.class.name(), model.name, model.state, model.reason))
        }
        _ => None,
    }
}

/// The screen, or the lines.
pub(crate) struct Screen {
    terminal: bool,
    length: Duration,
    told: u64,
    last_line: Duration,
    link: Option<LinkState>,
}

impl Screen {
    pub(crate) fn new(length: Duration) -> Self {
        Self { terminal: io::stdout().is_terminal(), length, told: 0, last_line: Duration::ZERO, link: None }
    }

    pub(crate) fn draw(
        &mut self,
        shared: &Shared,
        outbox: &OutboxStat,
        link: &LinkSnapshot,
        received: &Progress,
        passed: Duration,
    ) -> io::Result<()> {
        let state = shared.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        let result = if self.terminal {
            self.screen(&mut text, &state, outbox, link, received, passed)
        } else {
            self.lines(&mut text, &state, outbox, link, received, passed)
        };
        result.map_err(io::Error::other)?;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn screen(
        &mut self,
        text: &mut String,
        state: &State,
        outbox: &OutboxStat,
        link: &LinkSnapshot,
        received: &Progress,
        passed: Duration,
    ) -> std::fmt::Result {
        // Cursor home; each line is cleared to its end, the rest of the screen below.
        let end = "\x1b[K\r\n";
        write!(
            text,
            "\x1b[H\x1b[1mOutrider demo\x1b[0m  {:.0} of {:.0} s{end}{end}",
            passed.as_secs_f64(),
            self.length.as_secs_f64()
        )?;
        for (name, value, unit) in &state.signals {
            match value {
                Some(value) => write!(text, "  {name:<24}{value:>10.1} {unit}{end}")?,
                None => write!(text, "  {name:<24}         - {unit}{end}")?,
            }
        }
        let bar = |score: f64| "#".repeat((1..=40).filter(|n| score * 10.0 >= f64::from(*n)).count());
        match state.score {
            Some(score) => write!(text, "{end}  anomaly score {score:>8.2}  {}{end}", bar(score))?,
            None => write!(text, "{end}  anomaly score        -{end}")?,
        }
        let colour = if link.state == LinkState::Up { 32 } else { 31 };
        write!(
            text,
            "  link          \x1b[{colour}m{:>8}\x1b[0m  {} connections{end}",
            link_name(link.state),
            link.connects
        )?;
        write!(
            text,
            "  outbox        {:>8} events wait, {} KiB on disk{end}",
            outbox.depth(),
            outbox.disk_bytes / 1024
        )?;
        write!(text, "  frames        {:>8}{end}", state.frames)?;
        write!(
            text,
            "  arrived       {:>8} events at the gateway, {} duplicates{end}{end}",
            received.events, received.duplicates
        )?;
        for line in &state.news {
            write!(text, "  {line}{end}")?;
        }
        text.push_str("\x1b[J");
        Ok(())
    }

    fn lines(
        &mut self,
        text: &mut String,
        state: &State,
        outbox: &OutboxStat,
        link: &LinkSnapshot,
        received: &Progress,
        passed: Duration,
    ) -> std::fmt::Result {
        if self.link != Some(link.state) {
            self.link = Some(link.state);
            writeln!(text, "            link is {}", link_name(link.state))?;
        }
        let fresh = usize::try_from(state.told - self.told).unwrap_or(usize::MAX);
        for line in state.news.iter().skip(state.news.len().saturating_sub(fresh)) {
            writeln!(text, "{line}")?;
        }
        self.told = state.told;
        if passed >= self.last_line + Duration::from_secs(5) {
            self.last_line = passed;
            let score = state.score.map_or_else(|| "-".into(), |s| s.to_string());
            writeln!(
                text,
                "            {:.0} s: {} frames, score {score}, {} events wait, {} arrived",
                passed.as_secs_f64(),
                state.frames,
                outbox.depth(),
                received.events
            )?;
        }
        Ok(())
    }

    /// Leaves what was drawn and goes below it.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        io::stdout().lock().write_all(b"\n")
    }
}

fn link_name(state: LinkState) -> &'static str {
    match state {
        LinkState::Up => "up",
        LinkState::Connecting => "trying",
        LinkState::Down => "down",
    }
}

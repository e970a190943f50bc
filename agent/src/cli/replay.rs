//! `outrider replay`: the engine over a recording, without a clock or a network.

use std::fs::DirBuilder;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::inputs::Recording;
use super::{CliError, EventFormat, inputs};
use crate::config::Config;
use crate::engine::{Engine, RecordTrigger, Sink};
use crate::event::{Body, Event, Identity, RecordingState};
use crate::privacy::{Naming, Privacy};
use crate::recorder::{Recorder, RecorderConfig};
use crate::runtime::Accounts;
use crate::source::Frames;

#[derive(Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    recording: Recording,
    /// The configuration; its source, outbox and uplink are not used.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A campaign to try: only its events are printed, and what it would cost. Its times do not count here. May be given
    /// several times.
    #[arg(long, value_name = "FILE")]
    campaign: Vec<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: EventFormat,
}

pub(super) type Out = BufWriter<StdoutLock<'static>>;

pub(super) fn output() -> Out {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Takes a whole recording through an engine, and stops at the first thing that cannot be written.
pub(super) fn play<S: Sink + Output>(recording: &Recording, engine: &mut Engine, sink: &mut S) -> Result<(), CliError> {
    let mut log = recording.open(engine.catalog())?;
    while let Some(frame) = log.next_frame()? {
        engine.frame(&frame, sink);
        sink.failed()?;
    }
    engine.finish(sink);
    sink.finish()?;
    inputs::report_skipped(&log);
    Ok(())
}

/// A sink that prints: the engine cannot be told of a failure to write, so it is kept until asked for.
pub(super) trait Output {
    fn failed(&mut self) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

struct EventPrinter {
    out: Out,
    naming: Naming,
    /// Who it is from the first event on.
    identity: Option<Identity>,
    privacy: Option<Privacy>,
    /// Campaigns that are tried.
    trial: Option<Trial>,
    format: EventFormat,
    seq: u64,
    /// One event's encoding.
    line: Vec<u8>,
    result: io::Result<()>,
}

impl Sink for EventPrinter {
    fn record(&mut self, trigger: &RecordTrigger<'_>) {
        if let Some(recorder) = self.trial.as_mut().and_then(|trial| trial.recorder.as_mut()) {
            recorder.trigger(trigger);
        }
    }

    fn event(&mut self, event: Event) {
        match self.privacy.take() {
            Some(mut privacy) => {
                privacy.apply(event, |event| self.print(&event));
                self.privacy = Some(privacy);
            }
            None => self.print(&event),
        }
    }
}

impl EventPrinter {
    fn print(&mut self, event: &Event) {
        let identity = self.identity.get_or_insert_with(|| self.naming.under(self.naming.due(event.time_ns)));
        if self.result.is_err() {
            return;
        }
        let mut event = event.clone();
        if let Some(trial) = &mut self.trial {
            if !event.campaign.as_ref().is_some_and(|name| trial.names.contains(name)) {
                return;
            }
            trial.accounts.count(&mut event, identity);
        }
        self.seq += 1;
        self.line.clear();
        // Encoded first and written then: an encoder would hide which error of the output it met.
        self.result = match self.format {
            EventFormat::Jsonl => {
                let envelope = event.envelope(identity, self.seq);
                serde_json::to_writer(&mut self.line, &envelope)
                    .map_err(io::Error::from)
                    .map(|()| self.line.push(b'\n'))
            }
            EventFormat::Cbor => event.encode(identity, self.seq, &mut self.line).map_err(io::Error::other),
        };
        if self.result.is_ok() {
            self.result = self.out.write_all(&self.line);
        }
    }
}

impl EventPrinter {
    fn recorder(&mut self) -> Option<&mut Recorder> {
        self.trial.as_mut()?.recorder.as_mut()
    }

    /// What the recorder has to tell by now.
    fn recorded(&mut self, now_ns: u64) {
        let Some(recorder) = self.recorder() else { return };
        recorder.advance(now_ns);
        let told: Vec<Event> = recorder.events().collect();
        told.into_iter().for_each(|event| self.told(event, now_ns));
    }

    fn told(&mut self, event: Event, now_ns: u64) {
        if let (Some(trial), Body::Recording(recording)) = (&mut self.trial, &event.body) {
            let is_its = event.campaign.as_ref().is_some_and(|name| trial.names.contains(name));
            trial.recordings += u64::from(is_its && recording.state == RecordingState::Started);
        }
        // The recorder's thread takes its own time to say so.
        self.event(Event { time_ns: event.time_ns.max(now_ns), ..event });
    }
}

impl Output for EventPrinter {
    fn failed(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.result, Ok(()))
    }
    fn finish(&mut self) -> io::Result<()> {
        self.failed()?;
        self.out.flush()
    }
}

pub(super) fn replay(args: &ReplayArgs) -> Result<(), CliError> {
    let mut config = Config::load(&args.config)?;
    inputs::warn_all(&config.warnings);
    let known = config.engine.campaigns.len();
    for path in &args.campaign {
        config.add_campaign(path)?;
    }
    // A recording is of another day.
    for spec in &mut config.engine.campaigns {
        (spec.from_ns, spec.to_ns) = (0, u64::MAX);
    }
    let mut engine = config.engine.build()?;
    let identity = Identity { vehicle: config.vehicle.clone(), boot: "replay".into() };
    let privacy = super::run::privacy(&config.privacy, &engine)?;
    let tried = !args.campaign.is_empty();
    let trial = tried.then(|| Trial::start(&config, known, &mut engine, privacy.as_ref(), &identity)).transpose()?;
    let mut sink = EventPrinter {
        out: output(),
        privacy,
        trial,
        naming: config.privacy.naming(identity),
        identity: None,
        format: args.format,
        seq: 0,
        line: Vec::new(),
        result: Ok(()),
    };
    if tried { try_out(args, &mut engine, &mut sink) } else { play(&args.recording, &mut engine, &mut sink) }
}

/// What campaigns bring on a recording.
struct Trial {
    accounts: Accounts,
    /// Records as in the vehicle, into a directory that is thrown away.
    recorder: Option<Recorder>,
    dir: PathBuf,
    /// Those that are tried.
    names: Vec<Arc<str>>,
    recordings: u64,
}

impl Trial {
    /// `known` campaigns are the configuration's own.
    fn start(
        config: &Config,
        known: usize,
        engine: &mut Engine,
        privacy: Option<&Privacy>,
        identity: &Identity,
    ) -> Result<Self, CliError> {
        let mut accounts = Accounts::open(None);
        accounts.begin(engine);
        // Nobody else's.
        let dir = std::env::temp_dir().join(format!("outrider-replay-{:016x}", fastrand::u64(..)));
        let failed = |source| CliError::File { path: dir.clone(), source };
        DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        let names = engine.campaigns().map(|spec| spec.name.clone()).skip(known).collect();
        let recorder = config.recorder.as_ref().map(|place| {
            let settings = place.settings(engine, privacy);
            let trial = RecorderConfig { dir: dir.clone(), ..place.config.clone() };
            Recorder::start(&trial, settings, identity.clone(), None, false)
        });
        let recorder = recorder.transpose().map_err(crate::runtime::RunError::from)?;
        Ok(Self { accounts, recorder, dir, names, recordings: 0 })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// As [`play`], with a recorder, and what it costs at the end.
fn try_out(args: &ReplayArgs, engine: &mut Engine, sink: &mut EventPrinter) -> Result<(), CliError> {
    let mut log = args.recording.open(engine.catalog())?;
    let (mut first_ns, mut frames) = (0, 0_u64);
    while let Some(frame) = log.next_frame()? {
        if frames == 0 {
            first_ns = frame.time_ns;
        }
        frames += 1;
        if let Some(recorder) = sink.recorder() {
            recorder.frame(&frame);
        }
        engine.frame(&frame, sink);
        sink.recorded(engine.now_ns());
        if let Some(trial) = &sink.trial {
            trial.accounts.stop_spent(engine);
        }
        sink.failed()?;
    }
    engine.finish(sink);
    if let Some(recorder) = sink.trial.as_mut().and_then(|trial| trial.recorder.take()) {
        let now_ns = engine.now_ns();
        recorder.finish().into_iter().for_each(|event| sink.told(event, now_ns));
    }
    sink.finish()?;
    inputs::report_skipped(&log);
    let Some(trial) = &sink.trial else { return Ok(()) };
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let hours = engine.now_ns().saturating_sub(first_ns) as f64 / 3.6e12;
    for spec in engine.campaigns().filter(|spec| trial.names.contains(&spec.name)) {
        let (events, bytes) = trial.accounts.of(&spec.name);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let per_hour = if hours > 0.0 { bytes as f64 / 1024.0 / hours } else { 0.0 };
        tracing::info!(
            "campaign {}: {frames} frames, {events} events, {bytes} bytes in {:.1} s: {per_hour:.1} KiB an hour",
            spec.name,
            hours * 3600.0
        );
    }
    if trial.recordings > 0 {
        tracing::info!("{} recordings are in that", trial.recordings);
    }
    Ok(())
}

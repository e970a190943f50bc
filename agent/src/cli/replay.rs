//! `outrider replay`: the engine over a recording, without a clock or a network.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use clap::Args;

use super::inputs::Recording;
use super::{CliError, EventFormat, inputs};
use crate::config::Config;
use crate::engine::{Engine, Sink};
use crate::event::{Event, Identity};
use crate::privacy::{Naming, Privacy};
use crate::source::Frames;

#[derive(Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    recording: Recording,
    /// The configuration; its source, outbox and uplink are not used.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
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
    format: EventFormat,
    seq: u64,
    /// One event's encoding.
    line: Vec<u8>,
    result: io::Result<()>,
}

impl Sink for EventPrinter {
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
    let config = Config::load(&args.config)?;
    inputs::warn_all(&config.warnings);
    let mut engine = config.engine.build()?;
    let identity = Identity { vehicle: config.vehicle, boot: "replay".into() };
    let mut sink = EventPrinter {
        out: output(),
        privacy: super::run::privacy(&config.privacy, &engine)?,
        naming: config.privacy.naming(identity),
        identity: None,
        format: args.format,
        seq: 0,
        line: Vec::new(),
        result: Ok(()),
    };
    play(&args.recording, &mut engine, &mut sink)
}

//! Where the log goes: to standard error, or, with its fields, to systemd's journal when that is what standard error is.

mod journal;

use std::fmt;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use journal::Journal;

/// Whether the journal gets what is logged by its own protocol.
static JOURNAL: AtomicBool = AtomicBool::new(false);

/// Starts to log: what `OUTRIDER_LOG` says and above (`error`, `warn`, `info`, `debug`, `trace`), else from `info` on. `stays`: the
/// process lives long enough for the journal to look whose entries they are.
pub fn start(stays: bool) {
    let level = std::env::var("OUTRIDER_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    // The clients log every failed attempt; the uplink says the same at a bounded rate.
    let quiet = Targets::new()
        .with_default(level)
        .with_target("rumqttc", LevelFilter::OFF)
        .with_target("rskafka", LevelFilter::OFF)
        .with_target("rsasl", LevelFilter::OFF)
        // It tells which processor it has found.
        .with_target("tract_linalg", level.min(LevelFilter::WARN));
    let journal = if stays { Journal::connect() } else { None };
    JOURNAL.store(journal.is_some(), Ordering::Relaxed);
    // Never colours: the log goes to files, and a feature of some dependency must not change its bytes.
    let lines = journal.is_none().then(|| {
        let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false).with_writer(std::io::stderr);
        lines.compact().fmt_fields(Fields)
    });
    tracing_subscriber::registry().with(lines).with(journal).with(quiet).init();
}

/// What a process has to say that ends with it.
pub fn last(error: &dyn fmt::Display) {
    if JOURNAL.load(Ordering::Relaxed) {
        // By the stream, of which the journal knows whose it is; <3> is an error's priority there. If nobody reads it, nothing is
        // left to do.
        let text: String = error.to_string().lines().map(|line| format!("<3>{line}\n")).collect();
        let _ = std::io::stderr().write_all(text.as_bytes());
    } else {
        tracing::error!("{error}");
    }
}

/// A message with its fields behind it, but for those that it names itself.
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = Text::default();
        fields.record(&mut text);
        writer.write_str(&text.finish())
    }
}

/// A message, and behind it what belongs to it.
#[derive(Debug, Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        self.message
    }
}

/// Libraries that log by the crate `log` bring the places in their sources along as fields: nobody asks for those.
fn is_said(field: &Field) -> bool {
    !field.name().starts_with("log.")
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // In the message already: these are for whoever looks for them in the journal.
            "interface" | "model" => Ok(()),
            _ if !is_said(field) => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

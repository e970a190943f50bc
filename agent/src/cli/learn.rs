//! `outrider learn`: a profile of healthy traffic from recordings.

use std::path::{Path, PathBuf};

use clap::Args;

use can_decoders::log::{Options, UtcOffset};

use super::{CliError, inputs};
use crate::config::load_databases;
use crate::profile::learn::Learner;
use crate::profile::{Profile, ProfileError};
use crate::source::{Frames, Log};

#[derive(Args)]
pub(super) struct LearnArgs {
    /// Recordings of one healthy vehicle, in the order of their times: candump, Vector ASC or BLF, PEAK TRC; plain, gzip or
    /// zstd. They are read up to four times.
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// DBC file, for all buses or as BUS=FILE for one. May be given several times. What no file describes is learned from
    /// its bits.
    #[arg(long = "dbc", value_name = "FILE")]
    dbc: Vec<String>,
    /// The profile to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// What it is called in events.
    #[arg(long, default_value = "profile")]
    name: String,
    /// Its version.
    #[arg(long, default_value = "1", value_name = "VERSION")]
    profile_version: String,
    /// Leave out what comes before, as a share of the recordings' time.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    from: f64,
    /// Leave out what comes after, as a share of the recordings' time.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    to: f64,
    /// Skip lines that cannot be read, and count them.
    #[arg(long)]
    tolerant: bool,
    /// Where the recorder's clock was, as +02:00, for formats that have local time (ASC, BLF, TRC).
    #[arg(long, value_name = "OFFSET", default_value_t, allow_hyphen_values = true)]
    utc_offset: UtcOffset,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a number from 0 to 1")?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a number from 0 to 1".into()) }
}

pub(super) fn run(args: &LearnArgs) -> Result<(), CliError> {
    if args.logs.iter().any(|log| log.as_os_str() == "-") {
        return Err(CliError::Usage("learn reads its recordings several times: give files, not `-`".into()));
    }
    if args.from >= args.to {
        return Err(CliError::Usage(
            "--from and --to: nothing lies between them; give two shares, the smaller first".into(),
        ));
    }
    let databases = load_databases(&args.dbc)?;
    let (from_ns, to_ns) = span(args)?;
    let (mut learner, mut is_first) = (Learner::new(databases), true);
    loop {
        let mut buses = Vec::new();
        for path in &args.logs {
            let mut log = open(args, path, &buses)?;
            while let Some(frame) = log.next_frame()? {
                if (from_ns..=to_ns).contains(&frame.time_ns) {
                    learner.frame(&frame);
                }
            }
            buses = log.reader().buses().to_vec();
            if is_first {
                inputs::report_skipped(&log);
            }
        }
        is_first = false;
        if !learner.again(&buses) {
            break;
        }
    }
    let file_name = |path: &PathBuf| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let recordings = args.logs.iter().map(file_name).collect();
    let profile = learner.finish(&args.name, &args.profile_version, recordings)?;
    let refused = |message| CliError::Profile(ProfileError::Invalid { path: args.out.clone(), message });
    let text = profile.to_text().map_err(refused)?;
    Profile::usable(&text).map_err(refused)?;
    // Not in place: an agent that starts meanwhile must not find half of it.
    let half = args.out.with_added_extension("part");
    std::fs::write(&half, text)
        .and_then(|()| std::fs::rename(&half, &args.out))
        .map_err(|source| CliError::File { path: args.out.clone(), source })?;
    let messages: Vec<_> = profile.buses.iter().flat_map(|bus| &bus.messages).collect();
    tracing::info!(
        "{}: {} identifiers on {} buses from {} s: {} with a counter, {} with a checksum; {} fields, of which {} follow others",
        args.out.display(),
        messages.len(),
        profile.buses.len(),
        profile.provenance.seconds,
        messages.iter().filter(|message| message.counter.is_some()).count(),
        messages.iter().filter(|message| message.checksum.is_some()).count(),
        messages.iter().map(|message| message.fields.len()).sum::<usize>(),
        profile.relations.len()
    );
    if profile.provenance.seconds < 60.0 {
        tracing::warn!(
            "that is not much: the more kinds of driving a profile has seen, the fewer false alarms it raises"
        );
    }
    Ok(())
}

fn open(args: &LearnArgs, path: &Path, buses: &[String]) -> Result<Log, CliError> {
    let options = Options { tolerant: args.tolerant, buses: buses.to_vec(), utc_offset: args.utc_offset };
    Ok(Log::open(path, options)?)
}

/// The times that the shares stand for.
fn span(args: &LearnArgs) -> Result<(u64, u64), CliError> {
    if args.from <= 0.0 && args.to >= 1.0 {
        return Ok((0, u64::MAX));
    }
    let (mut first, mut last) = (u64::MAX, 0);
    for path in &args.logs {
        let mut log = open(args, path, &[])?;
        while let Some(frame) = log.next_frame()? {
            (first, last) = (first.min(frame.time_ns), last.max(frame.time_ns));
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a time"
    )]
    let at = |share: f64| first.saturating_add((last.saturating_sub(first) as f64 * share) as u64);
    Ok((at(args.from), at(args.to)))
}

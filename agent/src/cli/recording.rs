//! `outrider recording`: the flight recorder's files, in the vehicle and behind the gateway.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use can_decoders::LogReader;
use can_decoders::log::{LogWriter, Options};
use clap::{Args, Subcommand};

use super::CliError;
use crate::recorder::assemble::{Assembled, Assembler};
use crate::recorder::{Listed, Recorded, list};

#[derive(Subcommand)]
pub(super) enum RecordingCommand {
    /// Print what recordings there are, as CSV.
    List(Dir),
    /// Copy a recording out of its directory: what of it is whole, with its header.
    #[command(
        after_help = "Example:\n  outrider recording extract /var/lib/outrider/recordings/1763899200123456789-crash.log.gz -o crash.log.gz"
    )]
    Extract(ExtractArgs),
    /// Convert a recording for other programs: candump, Vector ASC or BLF, by the file's extension.
    #[command(
        after_help = "Examples:\n  outrider recording export crash.log.gz -o crash.blf\n  outrider recording export crash.log.gz -o crash.asc --bus can0\n  outrider recording export crash.log.gz -o - | canplayer"
    )]
    Export(ExportArgs),
    /// Put recordings together from the events that a gateway has received: exit code 1 when pieces are missing.
    #[command(
        after_help = "Example:\n  mosquitto_sub -t 'outrider/+/bulk' -q 1 -N > bulk.cbor; outrider recording assemble bulk.cbor -o recordings"
    )]
    Assemble(AssembleArgs),
}

#[derive(Args)]
pub(super) struct Dir {
    /// The recordings' directory.
    dir: PathBuf,
}

#[derive(Args)]
pub(super) struct ExtractArgs {
    /// The recording, ID.log.gz.
    file: PathBuf,
    /// Where to.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
pub(super) struct ExportArgs {
    /// The recording, ID.log.gz.
    file: PathBuf,
    /// Where to: FILE.asc, FILE.blf, else candump; also compressed, with .gz or .zst behind that. `-`: candump to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Only frames of this bus. May be given several times.
    #[arg(long, value_name = "NAME")]
    bus: Vec<String>,
    /// Only so many seconds around the trigger: before and after it.
    #[arg(long, value_name = "SECONDS")]
    around: Option<f64>,
}

#[derive(Args)]
pub(super) struct AssembleArgs {
    /// Files of received events, a CBOR sequence or JSON lines each; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to: DIR/VEHICLE/ID.log.gz.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

pub(super) fn run(command: &RecordingCommand) -> Result<(), CliError> {
    match command {
        RecordingCommand::List(Dir { dir }) => print_list(dir),
        RecordingCommand::Extract(args) => extract(args),
        RecordingCommand::Export(args) => export(args),
        RecordingCommand::Assemble(args) => assemble(args),
    }
}

fn print_list(dir: &Path) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "file,state,triggers,from_ns,seconds,frames,missed,bytes,sent")?;
    for Listed { path, about } in list(dir)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(about) = about else {
            writeln!(out, "{file},unfinished,,,,,,,")?;
            continue;
        };
        let state = if about.torn { "torn" } else { "complete" };
        let triggers: Vec<&str> = about.triggers.iter().map(|name| &**name).collect();
        #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
        let seconds = about.to.saturating_sub(about.from) as f64 / 1e9;
        let of = about.chunks();
        let (frames, missed, bytes, sent) = (about.frames, about.missed, about.bytes, about.sent);
        writeln!(
            out,
            "{file},{state},{},{},{seconds:.1},{frames},{missed},{bytes},{sent}/{of}",
            triggers.join(" "),
            about.from
        )?;
    }
    Ok(())
}

fn extract(args: &ExtractArgs) -> Result<(), CliError> {
    let mut recorded = Recorded::open(&args.file)?;
    while recorded.next_lines().is_some() {}
    let about = &recorded.about;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CliError::File { path, source }
    };
    let mut whole = io::Read::take(File::open(&args.file).map_err(failed(&args.file))?, about.bytes);
    let mut copy = File::create(&args.output).map_err(failed(&args.output))?;
    io::copy(&mut whole, &mut copy).and_then(|_| copy.sync_all()).map_err(failed(&args.output))?;
    recorded.header.iter().for_each(|line| tracing::info!("{line}"));
    tracing::info!("{} frames, {} missed{}", about.frames, about.missed, torn(about.torn));
    Ok(())
}

fn torn(torn: bool) -> &'static str {
    if torn { "; what is behind them is no whole piece: cut by a power failure, or damaged" } else { "" }
}

/// Times are told to the microsecond: more is unknown to most programs.
fn export(args: &ExportArgs) -> Result<(), CliError> {
    let mut recorded = Recorded::open(&args.file)?;
    let around = args.around.map(|seconds| {
        let reach =
            std::time::Duration::try_from_secs_f64(seconds).ok().and_then(|time| u64::try_from(time.as_nanos()).ok());
        let reach = reach.ok_or_else(|| CliError::Usage("--around must be a number of seconds".to_owned()))?;
        let trigger = recorded
            .header
            .iter()
            .find_map(|line| line.strip_prefix("# trigger ")?.split(' ').next()?.parse::<u64>().ok());
        let trigger =
            trigger.ok_or_else(|| CliError::Usage(format!("{}: its header names no trigger", args.file.display())))?;
        Ok::<_, CliError>(trigger.saturating_sub(reach)..=trigger.saturating_add(reach))
    });
    let around = around.transpose()?;
    let mut writer = if args.output.as_os_str() == "-" {
        LogWriter::to_writer("standard output", io::stdout(), can_decoders::log::Compression::Plain)
    } else {
        LogWriter::create(&args.output)?
    };
    let (mut frames, mut buses) = (0_u64, Vec::new());
    let name = args.file.display().to_string();
    while let Some(lines) = recorded.next_lines() {
        let options = Options { buses: std::mem::take(&mut buses), ..Options::default() };
        let mut log = LogReader::from_reader(&name, io::Cursor::new(lines.to_vec()), options)?;
        while let Some(frame) = log.next() {
            let mut frame = frame?;
            let bus = &log.buses()[usize::from(frame.bus.0)];
            let wanted = args.bus.is_empty() || args.bus.contains(bus);
            if !wanted || around.as_ref().is_some_and(|around| !around.contains(&frame.time_ns)) {
                continue;
            }
            frame.time_ns -= frame.time_ns % 1000;
            writer.write(bus, &frame)?;
            frames += 1;
        }
        buses = log.buses().to_vec();
    }
    for (bus, channel) in writer.channels() {
        tracing::info!("{bus} is channel {channel}");
    }
    writer.finish()?;
    let about = &recorded.about;
    tracing::info!("{frames} of {} frames{}", about.frames, torn(about.torn));
    if about.missed > 0 {
        tracing::warn!("{} frames that should be in the recording are not", about.missed);
    }
    Ok(())
}

fn assemble(args: &AssembleArgs) -> Result<(), CliError> {
    let mut assembler = Assembler::new(&args.output);
    for path in &args.files {
        if path.as_os_str() == "-" {
            assembler.read("standard input", io::stdin().lock())?;
        } else {
            let file = File::open(path).map_err(|source| CliError::File { path: path.clone(), source })?;
            assembler.read(&path.display().to_string(), BufReader::new(file))?;
        }
    }
    for (why, count) in assembler.refused() {
        tracing::warn!("{count} pieces passed over: {why}");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut all = true;
    for (vehicle, id, outcome) in assembler.finish()? {
        match outcome {
            Assembled::Complete(path) => writeln!(out, "{vehicle}/{id}: complete: {}", path.display())?,
            Assembled::Missing(ranges, of) => {
                all = false;
                let ranges: Vec<String> = ranges
                    .iter()
                    .map(|(first, last)| if first == last { first.to_string() } else { format!("{first} to {last}") })
                    .collect();
                writeln!(out, "{vehicle}/{id}: missing: pieces {} of {of}", ranges.join(", "))?;
            }
            Assembled::Wrong => {
                all = false;
                writeln!(out, "{vehicle}/{id}: wrong: all pieces are here, and their digest is another")?;
            }
        }
    }
    out.flush()?;
    if all { Ok(()) } else { Err(CliError::Negative("not complete")) }
}

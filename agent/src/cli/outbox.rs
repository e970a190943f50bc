//! `outrider outbox`: looking into the outbox of an agent that does not run.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CliError;
use crate::event::Class;
use crate::outbox::Inspection;

#[derive(Subcommand)]
pub(super) enum OutboxCommand {
    /// Print what it holds: events by class, bytes, the next number.
    Stat(Dir),
    /// Print the batches that wait, as CSV.
    List(Dir),
    /// Write all events that wait to standard output, as a CBOR sequence.
    #[command(
        after_help = "Example:\n  outrider outbox export /var/lib/outrider > waiting.cbor && outrider audit received.cbor waiting.cbor"
    )]
    Export(Dir),
}

#[derive(Args)]
pub(super) struct Dir {
    /// The outbox's directory.
    dir: PathBuf,
}

pub(super) fn run(command: &OutboxCommand) -> Result<(), CliError> {
    let (OutboxCommand::Stat(Dir { dir }) | OutboxCommand::List(Dir { dir }) | OutboxCommand::Export(Dir { dir })) =
        command;
    let inspection = Inspection::open(dir)?;
    for name in inspection.damaged() {
        tracing::warn!("{name} is damaged; what can be found in it is shown");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        OutboxCommand::Stat(_) => {
            let stat = inspection.stat();
            for class in Class::ALL {
                writeln!(out, "{class}: {} events", stat.events[class.rank()])?;
            }
            writeln!(out, "disk: {} bytes in {} generations", stat.disk_bytes, stat.generations)?;
            writeln!(out, "next number: {}", stat.next_seq)?;
        }
        OutboxCommand::List(_) => {
            writeln!(out, "class,first_seq,last_seq,events,bytes")?;
            for b in inspection.batches() {
                writeln!(out, "{},{},{},{},{}", b.class, b.first_seq, b.last_seq, b.count, b.bytes)?;
            }
        }
        OutboxCommand::Export(_) => {
            inspection.export(&mut out)?;
        }
    }
    Ok(out.flush()?)
}

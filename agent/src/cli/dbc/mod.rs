//! `outrider dbc`: looking at DBC files.

mod coverage;
mod lint;

use clap::Subcommand;

use super::CliError;

#[derive(Subcommand)]
pub(super) enum DbcCommand {
    /// Say what is odd in DBC files, as a compiler would: exit code 1 when one is refused.
    #[command(after_help = "Example:\n  outrider dbc lint powertrain.dbc body.dbc")]
    Lint(lint::LintArgs),
    /// Compare a recording with DBC files: what is not described, what never came, bits that belong to no signal.
    #[command(after_help = "Example:\n  outrider dbc coverage drive.log.zst --dbc car.dbc")]
    Coverage(coverage::CoverageArgs),
}

pub(super) fn run(command: &DbcCommand) -> Result<(), CliError> {
    match command {
        DbcCommand::Lint(args) => lint::run(args),
        DbcCommand::Coverage(args) => coverage::run(args),
    }
}

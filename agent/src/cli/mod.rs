//! The command line: arguments, and the one place that maps errors to exit codes.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 good, 1 failed,
//! 2 wrong usage.

#[cfg(feature = "tools")]
mod audit;
#[cfg(feature = "tools")]
mod dbc;
#[cfg(feature = "tools")]
mod decode;
mod inputs;
#[cfg(feature = "tools")]
mod learn;
#[cfg(feature = "tools")]
mod number;
mod outbox;
mod recording;
mod reload;
mod replay;
mod run;
#[cfg(feature = "tools")]
mod score;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use thiserror::Error;

#[cfg(feature = "tools")]
use crate::audit::AuditError;
use crate::config::{ConfigError, EngineError};
#[cfg(feature = "tools")]
use crate::engine::NameError;
use crate::model::ModelError;
use crate::outbox::OutboxError;
use crate::privacy::PrivacyError;
use crate::profile::ProfileError;
#[cfg(feature = "tools")]
use crate::profile::learn::LearnError;
use crate::runtime::RunError;
use crate::runtime::notify::NotifyError;
use crate::source::SourceError;

#[derive(Parser)]
#[command(name = "outrider", version, about = "In-vehicle edge agent: CAN frames in, decisions on board, events out")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent until it is told to stop or its recording ends.
    #[command(
        after_help = "Example:\n  outrider run -c /etc/outrider/outrider.toml\n\nSIGTERM or SIGINT: send what can be sent in time, keep the rest on disk, end.\nSIGHUP: take over the configuration as it is now; one that is refused changes nothing."
    )]
    Run(ConfigArg),
    /// Check a configuration, its DBC files and its models, without starting.
    #[command(after_help = "Example:\n  outrider check -c outrider.toml")]
    Check(ConfigArg),
    #[cfg(feature = "tools")]
    /// Print the signals of a recording.
    #[command(
        after_help = "Example:\n  outrider decode drive.log.zst --dbc car.dbc\n  candump -L can0 | outrider decode - --dbc can0=powertrain.dbc --format csv"
    )]
    Decode(decode::DecodeArgs),
    /// Print the events that a recording leads to.
    #[command(after_help = "Example:\n  outrider replay drive.log -c outrider.toml | jq .kind")]
    Replay(replay::ReplayArgs),
    #[cfg(feature = "tools")]
    /// Print the features that the models of a configuration see, as CSV.
    #[command(after_help = "Example:\n  outrider features drive.log -c outrider.toml --features mine.toml > train.csv")]
    Features(score::FeaturesArgs),
    #[cfg(feature = "tools")]
    /// Print the score of a model or a profile over a recording, as CSV.
    #[command(
        after_help = "Examples:\n  outrider score drive.log --model models/demo-vehicle --dbc car.dbc\n  outrider score drive.log --profile car.toml"
    )]
    Score(score::ScoreArgs),
    #[cfg(feature = "tools")]
    /// Learn from recordings what the healthy traffic of a vehicle is like, and write it as a profile.
    #[command(
        after_help = "Example:\n  outrider learn drive-1.log.zst drive-2.log.zst --dbc car.dbc -o car.toml\n\nThe profile goes to work with `[profile] file = \"car.toml\"` in the configuration."
    )]
    Learn(learn::LearnArgs),
    #[cfg(feature = "tools")]
    /// Look at DBC files.
    #[command(subcommand)]
    Dbc(dbc::DbcCommand),
    /// Look into an outbox whose agent is not running.
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// The flight recorder's files: list them, convert them, put them together from received events.
    #[command(subcommand)]
    Recording(recording::RecordingCommand),
    #[cfg(feature = "tools")]
    /// Prove from received events that all arrived: exit code 1 when any is missing or out of order.
    #[command(
        after_help = "Examples:\n  mosquitto_sub -t 'outrider/#' -q 1 -N > events.cbor; outrider audit events.cbor\n  outrider audit mqtt://localhost/outrider/# --idle 30\n  outrider audit kafkas://kafka.example/outrider-alert --ca-file ca.pem"
    )]
    Audit(audit::AuditArgs),
}

#[derive(Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum EventFormat {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// A CBOR sequence, the bytes that a gateway gets.
    Cbor,
}

/// Everything that can end a command.
#[derive(Debug, Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("model {0}")]
    Model(#[from] ModelError),
    #[error("profile {0}")]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    #[cfg(feature = "tools")]
    #[error(transparent)]
    Learn(#[from] LearnError),
    #[cfg(feature = "tools")]
    #[error("{place}: {error}")]
    Name { place: String, error: NameError },
    #[error(transparent)]
    Dbc(#[from] can_decoders::DbcError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Notify(#[from] NotifyError),
    #[error(transparent)]
    Recordings(#[from] crate::recorder::StoreError),
    #[error(transparent)]
    Recording(#[from] crate::recorder::ReadError),
    #[error(transparent)]
    Assemble(#[from] crate::recorder::assemble::AssembleError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{path}: {source}")]
    Uplink { path: PathBuf, source: crate::uplink::GatewayError },
    #[cfg(feature = "tools")]
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[cfg(feature = "tools")]
    #[error("{place}: {source}")]
    Read { place: String, source: crate::uplink::ReadError },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
    /// The arguments contradict each other or the configuration.
    #[error("{0}")]
    Usage(String),
    /// The command worked and its answer is no; it has been printed.
    #[error("{0}")]
    Negative(&'static str),
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<can_decoders::log::LogError> for CliError {
    fn from(error: can_decoders::log::LogError) -> Self {
        Self::Source(error.into())
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help to standard output, mistakes to standard error; nothing is left to do if that fails.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    // A datagram of a process that has ended by the time it is read is nobody's: those commands print.
    crate::log::start(matches!(cli.command, Command::Run(_)));
    let result = match cli.command {
        Command::Run(args) => run::run(&args.config),
        Command::Check(args) => run::check(&args.config),
        #[cfg(feature = "tools")]
        Command::Decode(args) => decode::run(&args),
        Command::Replay(args) => replay::replay(&args),
        #[cfg(feature = "tools")]
        Command::Features(args) => score::features(&args),
        #[cfg(feature = "tools")]
        Command::Score(args) => score::score(&args),
        #[cfg(feature = "tools")]
        Command::Learn(args) => learn::run(&args),
        #[cfg(feature = "tools")]
        Command::Dbc(command) => dbc::run(&command),
        Command::Outbox(command) => outbox::run(&command),
        Command::Recording(command) => recording::run(&command),
        #[cfg(feature = "tools")]
        Command::Audit(args) => audit::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has seen enough: `outrider decode … | head`.
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            crate::log::last(&error);
            ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
        }
    }
}

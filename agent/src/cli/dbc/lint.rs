//! `outrider dbc lint`: what is odd in DBC files.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use can_decoders::dbc::Warning;
use can_decoders::{Database, DbcError};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::CliError;

#[derive(Args)]
pub(in crate::cli) struct LintArgs {
    /// DBC files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// FILE:LINE:COLUMN: warning[CODE]: what, and what to do on a line of its own.
    #[default]
    Text,
    /// One JSON object a finding.
    Json,
}

/// What was found. Line and column count from 1; 0 stands for the file as a whole.
#[derive(Serialize)]
struct Finding<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    /// `note`: nothing is wrong. `warning`: the file can be used. `error`: it is refused.
    severity: &'static str,
    code: &'static str,
    text: &'a str,
    remedy: &'a str,
}

pub(super) fn run(args: &LintArgs) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut warnings, mut notes, mut errors) = (0, 0, 0);
    for path in &args.files {
        match Database::load(path) {
            Ok(database) => {
                for warning in database.warnings() {
                    warnings += 1;
                    found(&mut out, "warning", warning, args.format)?;
                }
                for note in database.notes() {
                    notes += 1;
                    found(&mut out, "note", &note, args.format)?;
                }
            }
            Err(error) => {
                errors += 1;
                refused(&mut out, &path.display().to_string(), &error, args.format)?;
            }
        }
    }
    out.flush()?;
    let (files, count) = (args.files.len(), |n, what| format!("{n} {what}{}", if n == 1 { "" } else { "s" }));
    let (warnings, notes) = (count(warnings, "warning"), count(notes, "note"));
    tracing::info!("{}: {warnings}, {notes}, {}", count(files, "file"), count(errors, "error"));
    if errors > 0 { Err(CliError::Negative("not all files can be used")) } else { Ok(()) }
}

fn found(out: &mut impl Write, severity: &'static str, warning: &Warning, format: Format) -> io::Result<()> {
    let Warning { code, file, place, text, .. } = warning;
    let (line, column) = (place.line, place.column);
    print(out, &Finding { file, line, column, severity, code: code.name(), text, remedy: code.remedy() }, format)
}

fn refused(out: &mut impl Write, file: &str, error: &DbcError, format: Format) -> io::Result<()> {
    let text;
    let (line, column, code, text, remedy) = match error {
        DbcError::Syntax { line, column, what, remedy, .. } => (*line, *column, "syntax", what.as_str(), *remedy),
        DbcError::TooLarge { limit, .. } => {
            text = format!("larger than {limit} bytes, the bound for DBC files");
            (0, 0, "too-large", text.as_str(), "split it by bus and load the parts together")
        }
        DbcError::Read { source, .. } => {
            text = source.to_string();
            (0, 0, "read", text.as_str(), "check the path and its permissions")
        }
        other => {
            text = other.to_string();
            (0, 0, "refused", text.as_str(), "")
        }
    };
    print(out, &Finding { file, line, column, severity: "error", code, text, remedy }, format)
}

fn print(out: &mut impl Write, finding: &Finding<'_>, format: Format) -> io::Result<()> {
    if format == Format::Json {
        serde_json::to_writer(&mut *out, finding)?;
        return writeln!(out);
    }
    let Finding { file, line, column, severity, code, text, remedy } = finding;
    let place = match (line, column) {
        (0, _) => String::new(),
        (line, 0) => format!(":{line}"),
        (line, column) => format!(":{line}:{column}"),
    };
    writeln!(out, "{file}{place}: {severity}[{code}]: {text}")?;
    if remedy.is_empty() { Ok(()) } else { writeln!(out, "    help: {remedy}") }
}

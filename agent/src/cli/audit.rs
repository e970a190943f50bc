//! `outrider audit`: proves from received events that all arrived.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::audit::Audit;

#[derive(Args)]
pub(super) struct AuditArgs {
    /// Files of received events, a CBOR sequence or JSON lines each; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The first number that should be there.
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
}

pub(super) fn run(args: &AuditArgs) -> Result<(), CliError> {
    let mut audit = Audit::default();
    for path in &args.files {
        let name = path.display().to_string();
        if name == "-" {
            audit.read("standard input", io::stdin().lock())?;
        } else {
            let file = File::open(path).map_err(|source| CliError::File { path: path.clone(), source })?;
            audit.read(&name, BufReader::new(file))?;
        }
    }
    write!(io::stdout().lock(), "{}", audit.report(args.from))?;
    if audit.is_complete(args.from) { Ok(()) } else { Err(CliError::Negative("not complete")) }
}

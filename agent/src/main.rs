//! The `outrider` program: wiring only.

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing::Level;

fn main() -> ExitCode {
    let level = std::env::var("OUTRIDER_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .compact()
        .init();
    outrider::cli::main()
}

//! The `outrider` program: wiring only.

use std::process::ExitCode;

use tracing::Level;

fn main() -> ExitCode {
    let level = std::env::var("OUTRIDER_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    // Never colours: the log goes to files and journals, and a feature of some dependency must not change its bytes.
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .compact()
        .init();
    outrider::cli::main()
}

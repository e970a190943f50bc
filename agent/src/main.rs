//! The `outrider` program: wiring only.

use std::process::ExitCode;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    log_to_standard_error();
    outrider::runtime::panics::log_bounded();
    outrider::cli::main()
}

fn log_to_standard_error() {
    let level = std::env::var("OUTRIDER_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    // Never colours: the log goes to files and journals, and a feature of some dependency must not change its bytes.
    let lines =
        tracing_subscriber::fmt::layer().with_target(false).with_ansi(false).with_writer(std::io::stderr).compact();
    // The clients log every failed attempt; the uplink says the same at a bounded rate.
    let quiet = Targets::new()
        .with_default(level)
        .with_target("rumqttc", LevelFilter::OFF)
        .with_target("rskafka", LevelFilter::OFF)
        .with_target("rsasl", LevelFilter::OFF);
    tracing_subscriber::registry().with(lines).with(quiet).init();
}

//! The `outrider` program: wiring only.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrider::log::start();
    outrider::runtime::panics::log_bounded();
    outrider::cli::main()
}

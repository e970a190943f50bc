//! The `outrider` program: wiring only.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrider::runtime::panics::log_bounded();
    outrider::cli::main()
}

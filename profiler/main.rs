//! The program `rprof`; see `cli` for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    rprof::cli::run()
}

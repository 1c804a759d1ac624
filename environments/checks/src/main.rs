//! The checks as a program of their own: `environments-checks contract`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A name that cannot be read as text names no checks, which `run` says.
    let name = std::env::args_os().nth(1).unwrap_or_default();
    environments_checks::run(&name.to_string_lossy())
}

//! How many instructions Brigade's hot paths take: a guard for speed that does not depend on the
//! clock. `scripts/counts` runs it.
//!
//! One thread runs each path: the host's half, then the worker's half, so that no step waits.
//! Callgrind counts the instructions inside the functions of [`marks`]. Counts belong to a
//! compiler, a C library and a processor's architecture, and to nothing else: the clock is
//! [made up](clock), and the script takes away what depends on the processor's model. The kernel's
//! part is not counted; nor are waits and wake-ups.
//!
//! - [`paths`]: the paths; [`values`]: the values that they carry
//! - [`marks`]: what is counted, and how it is named; [`clock`]: what time it is
//! - [`profile`]: what callgrind writes; [`table`]: what is kept of it, and what is said of a
//!   change

// Without it the library has no ways in for this: say so, and not that names are missing.
#[cfg(not(brigade_counts))]
compile_error!("build this with scripts/counts: it needs RUSTFLAGS=\"--cfg brigade_counts\"");

#[cfg(brigade_counts)]
mod clock;
mod marks;
#[cfg(brigade_counts)]
mod paths;
mod profile;
mod table;
#[cfg(brigade_counts)]
mod values;

use std::process::ExitCode;

use table::Table;

const USAGE: &str = "usage: brigade-counts run | read PROFILE | compare RECORDED NOW";

/// Something got dearer.
const DEARER: u8 = 1;
/// The command line makes no sense, or something could not be read.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match go(&arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("counts: {why}");
            ExitCode::from(FAILED)
        }
    }
}

fn go(arguments: &[&str]) -> Result<ExitCode, String> {
    match arguments {
        #[cfg(brigade_counts)]
        ["run"] => paths::run()?,
        // What callgrind wrote, as a table, to stdout.
        ["read", profile] => print!("{}", profile::read(&file(profile)?)?),
        ["compare", recorded, now] => {
            let (recorded, now): (Table, Table) = (file(recorded)?.parse()?, file(now)?.parse()?);
            let dearer = table::compare(&recorded, &now);
            if dearer > 0 {
                println!(
                    "counts: {dearer} got dearer by more than {} %",
                    table::TOLERANCE
                );
                return Ok(ExitCode::from(DEARER));
            }
            println!(
                "counts: nothing got dearer by more than {} %",
                table::TOLERANCE
            );
        }
        _ => return Err(USAGE.to_owned()),
    }
    Ok(ExitCode::SUCCESS)
}

fn file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path} cannot be read: {e}"))
}

//! A short form of the contract, for programs that are no test harness: with a `main` in C, with
//! `panic = "abort"`, as a plugin, or where only an error is expected of processes.
//!
//! - `contract`: what is checked; `memory`: a task that takes more than its control group has;
//!   `profile`: what a program that was built with `-C instrument-coverage` leaves
//! - here: the three ways to run them, and the way in from C
//!
//! Every line that is printed says what was checked and what came of it, and the last one counts.

mod contract;
mod memory;
mod profile;

use std::ffi::{CStr, c_char, c_int};
use std::process::ExitCode;

use brigade::{Kind, Pool};

/// What a check gives: nothing, or what was wrong.
pub(crate) type Outcome = Result<(), String>;

/// What is checked, in words, and how.
pub(crate) type Check = (&'static str, fn() -> Outcome);

/// All was as it should be.
const PASSED: u8 = 0;
/// Something was not.
const FAILED: u8 = 1;
/// There are no processes here; the error was printed, and threads work.
pub const REFUSED: u8 = 4;

/// Runs what `name` says: `contract`, `memory`, `profile`, or `refused`.
pub fn run(name: &str) -> ExitCode {
    code(name).into()
}

/// The same, for a program that is not Rust's. Gives its exit code.
///
/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn environments_checks(name: *const c_char) -> c_int {
    // SAFETY: by the caller's word.
    let name = unsafe { CStr::from_ptr(name) };
    code(&name.to_string_lossy()).into()
}

fn code(name: &str) -> u8 {
    brigade::init();
    match name {
        "contract" => report(contract::ALL),
        "memory" => report(&[("a task takes more memory than there is", memory::outgrow)]),
        "profile" => report(&[("each worker writes its profile", profile::written)]),
        "refused" => refused(),
        other => {
            println!("there are no checks of the name {other}");
            FAILED
        }
    }
}

fn report(checks: &[Check]) -> u8 {
    let mut failed = 0;
    for (what, check) in checks {
        match check() {
            Ok(()) => println!("{what}: ok"),
            Err(why) => {
                failed += 1;
                println!("{what}: FAILED: {why}");
            }
        }
    }
    println!("{} passed, {failed} failed", checks.len() - failed);
    if failed == 0 { PASSED } else { FAILED }
}

/// Where processes are refused: the error, which must come from the first one asked for and again
/// from a pool; and threads, which must work all the same.
fn refused() -> u8 {
    if let Err(why) = contract::threads_work() {
        println!("threads: FAILED: {why}");
        return FAILED;
    }
    println!("threads: ok");
    let single = match Kind::Process.spawn(contract::double, 21) {
        Err(error) => error.to_string(),
        Ok(handle) => {
            println!("a process was not refused: {:?}", handle.join());
            return FAILED;
        }
    };
    match Pool::processes(1) {
        Err(error) if error.to_string() == single => {
            println!("refused: {single}");
            REFUSED
        }
        Err(error) => {
            println!("a process is refused with `{single}`, a pool with `{error}`");
            FAILED
        }
        Ok(_) => {
            println!("a process is refused with `{single}`, and a pool is not");
            FAILED
        }
    }
}

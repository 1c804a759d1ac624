//! `keep_crashes` and `BRIGADE_REPLAY`: a crash in a pool is a file, and the file is the crash
//! again.
//!
//! A program of its own, for it is started again to replay: with a test harness it would have
//! threads before its first line.

mod not_text;
mod tasks;
mod trials;

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade::init();
    if let Some(ended) = not_text::main() {
        return ended;
    }
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials::all()).exit_code()
}

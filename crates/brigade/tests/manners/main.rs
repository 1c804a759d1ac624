//! What the library does to its host program ("Manners" in the crate's documentation), and that
//! everything ends with it.
//!
//! Each test needs a host of its own, observed from outside. So this program is all of them: with
//! `--host NAME` it is that host; otherwise it is the test harness, which starts itself again as
//! hosts.

mod bare;
mod copied_ends;
mod copied_parts;
mod copies;
mod denied_calls;
mod early_threads;
mod execs;
mod groups;
mod hosts;
mod idle;
mod interpreters;
mod libraries;
mod locals;
mod memory;
mod observe;
mod orphans;
mod out_of_memory;
mod outer_proc;
mod panics;
mod pools;
mod privileges;
mod secure;
mod small_limits;
mod steps;
mod streams;
mod trials;
mod users;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--host") {
        let name = args.next().unwrap_or_default();
        return hosts::run(&name, &args.collect::<Vec<_>>());
    }
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials::all()).exit_code()
}

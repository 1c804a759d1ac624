//! `brigade`: processes and threads compared on this machine, and what this machine offers them.
//!
//! The program stands on the public API of the library alone. Where it shows a mechanism raw (a
//! pipe, a message queue), it calls the kernel itself, in `raw/`.

mod board;
mod cgroups;
mod cli;
mod compare;
mod cores;
mod doctor;
mod exit;
mod fail;
mod helper;
mod inspect;
mod machine;
mod procfs;
mod published;
mod raw;
mod signals;
mod terminal;
mod top;
mod waiters;
mod workers;

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade::init();
    cli::main()
}

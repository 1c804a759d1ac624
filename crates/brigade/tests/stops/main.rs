//! Processes that are stopped: the program itself, its fork server, its workers. SIGSTOP stands for
//! whatever holds a process up: Ctrl-Z, a debugger, a control group that is frozen.
//!
//! Each test needs a program of its own, which has a fork server of its own. So this program is all
//! of them: with `--host NAME` it is that one; otherwise it is the test harness, which starts
//! itself again.

mod host;
mod processes;
mod server;
mod tasks;
mod terminal;
mod workers;

use std::process::ExitCode;

use libtest_mimic::{Failed, Trial};

/// How many trials run at a time, unless the command line says otherwise.
const THREADS: usize = 12;

/// A program that judges for itself.
type Host = fn();

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--host") {
        let name = args.next().unwrap_or_default();
        let others = host::HOSTS.iter().chain(terminal::HOSTS);
        let (_, host) = alone()
            .chain(others)
            .find(|(n, _)| *n == name)
            .expect("a host");
        brigade::init();
        host();
        return ExitCode::SUCCESS;
    }
    let mut trials: Vec<Trial> = alone()
        .map(|&(name, _)| trial(name, move || processes::Child::host(name).ends_well()))
        .collect();
    for (name, test) in host::TRIALS.iter().chain(terminal::TRIALS) {
        trials.push(trial(name, test));
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    // They wait for limits to pass, most of the time.
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Those that need nobody else.
fn alone() -> impl Iterator<Item = &'static (&'static str, Host)> {
    server::HOSTS.iter().chain(workers::HOSTS)
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || -> Result<(), Failed> {
        test();
        Ok(())
    })
}

//! Processes that are stopped: the program itself, its fork server, its workers. SIGSTOP stands for whatever holds a process up: Ctrl-Z, a debugger, a control
//! group that is frozen.
//!
//! Each test needs a program of its own, which has a fork server of its own. So this program is all of them: with `--host NAME` it is that one; otherwise it is the
//! test harness, which starts itself again.

mod host;
mod processes;
mod server;
mod terminal;
mod workers;

use std::process::ExitCode;

use libtest_mimic::{Failed, Trial};

/// A program that judges for itself.
type Host = fn();

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--host") {
        let name = args.next().unwrap_or_default();
        let found = all().find(|(n, _)| *n == name).map(|(_, host)| host);
        let found = found.or_else(|| host::HOSTS.iter().find(|(n, _)| *n == name).map(|h| h.1));
        brigade::init();
        found.expect("there is such a host")();
        return ExitCode::SUCCESS;
    }
    let mut trials: Vec<Trial> = all()
        .map(|(name, _)| trial(name, move || processes::Child::host(name).ends_well()))
        .collect();
    for (name, test) in host::TRIALS.iter().chain(terminal::TRIALS) {
        trials.push(trial(name, test));
    }
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit_code()
}

/// Those that need nobody else.
fn all() -> impl Iterator<Item = (&'static str, Host)> {
    let all = server::HOSTS
        .iter()
        .chain(workers::HOSTS)
        .chain(terminal::HOSTS);
    all.map(|(name, host)| (*name, *host))
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || -> Result<(), Failed> {
        test();
        Ok(())
    })
}

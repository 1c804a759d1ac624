//! The hosts: small programs, each with a trait that gives other libraries trouble.

mod callbacks;
mod children;
mod output;
mod scarcity;
mod startup;

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};

use brigade::process;
use brigade_test_support::wait;

/// A host: what it is told on its command line, and what it prints for the test to read.
pub(crate) type Host = fn(&[String]) -> Result<(), Box<dyn std::error::Error>>;

const HOSTS: &[(&str, Host)] = &[
    ("copies-ends-that-talk", crate::copied_ends::talk),
    ("copies-ends-and-drops-them", crate::copied_ends::dropped),
    ("copies-locks", crate::copied_ends::locked),
    ("copies-locks-and-ends", crate::copied_ends::orphaned),
    ("copies-parts", crate::copied_parts::written),
    ("copies-everything", crate::copies::of_everything),
    ("copies-in-a-task", crate::copies::in_a_task),
];

pub(crate) fn run(name: &str, args: &[String]) -> ExitCode {
    let all = HOSTS
        .iter()
        .chain(callbacks::HOSTS)
        .chain(children::HOSTS)
        .chain(output::HOSTS)
        .chain(scarcity::HOSTS)
        .chain(startup::HOSTS)
        .chain(crate::pools::HOSTS)
        .chain(crate::bare::HOSTS)
        .chain(crate::denied_calls::HOSTS)
        .chain(crate::early_threads::HOSTS)
        .chain(crate::execs::HOSTS)
        .chain(crate::idle::HOSTS)
        .chain(crate::interpreters::HOSTS)
        .chain(crate::libraries::HOSTS)
        .chain(crate::locals::HOSTS)
        .chain(crate::memory::HOSTS)
        .chain(crate::orphans::HOSTS)
        .chain(crate::out_of_memory::HOSTS)
        .chain(crate::outer_proc::HOSTS)
        .chain(crate::panics::HOSTS)
        .chain(crate::privileges::HOSTS)
        .chain(crate::secure::HOSTS)
        .chain(crate::small_limits::HOSTS)
        .chain(crate::streams::HOSTS)
        .chain(crate::users::HOSTS);
    let Some((_, host)) = all.into_iter().find(|(n, _)| *n == name) else {
        eprintln!("no host is called {name:?}");
        return ExitCode::from(2);
    };
    // What main does before `init` is done once: the test counts these lines.
    println!("main");
    match host(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{name}: {e}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn double(n: u32) -> u32 {
    n * 2
}

pub(crate) fn spawn_works() -> Result<(), Box<dyn std::error::Error>> {
    match process::spawn(double, 21)?.join()? {
        42 => Ok(()),
        other => Err(format!("21 doubled is {other}").into()),
    }
}

/// A task: has children of every sort, prints their numbers, and waits for ever.
#[expect(
    clippy::zombie_processes,
    reason = "what becomes of children that nobody waits for is the question"
)]
pub(crate) fn parent(stdout: bool) -> u32 {
    let child = Command::new("/bin/sleep")
        .arg("1000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sleep starts");
    let daemon = Command::new("/bin/sh")
        .args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"])
        .output()
        .expect("sh starts");
    if stdout {
        print!(
            "pids {} {} {}",
            std::process::id(),
            child.id(),
            String::from_utf8_lossy(&daemon.stdout)
        );
        std::io::stdout().flush().expect("the test reads");
    }
    loop {
        std::thread::park();
    }
}

pub(crate) fn limit(
    resource: rustix::process::Resource,
    current: u64,
) -> Result<rustix::process::Rlimit, rustix::io::Errno> {
    let before = rustix::process::getrlimit(resource);
    rustix::process::setrlimit(
        resource,
        rustix::process::Rlimit {
            current: Some(current),
            maximum: before.maximum,
        },
    )?;
    Ok(before)
}

/// Looks again and again until `seen` says so.
pub(crate) fn until(
    mut seen: impl FnMut() -> Result<bool, Box<dyn std::error::Error>>,
    what: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let seen = wait::until_found(what, || match seen() {
        Ok(seen) => Ok(seen.then_some(())),
        Err(e) => Err(io::Error::other(e.to_string())),
    });
    Ok(seen?)
}

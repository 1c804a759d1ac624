//! A program that has little of something: descriptors, threads and processes, the size of files,
//! address space, memory that may be locked, room for its environment. Each thing that it asks for
//! either works or gives one error, which names the call, what it is needed for, and the limit.
//! Nobody waits.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Trial;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::groups::Group;
use crate::hosts::Host;
use crate::observe::host;
use crate::steps;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("small-limit", small_limit)];

/// A limit: what an error calls it, and how little there is of it.
struct Limit {
    name: &'static str,
    of: Option<Resource>,
    values: &'static [u64],
}

const LIMITS: &[Limit] = &[
    Limit {
        name: "RLIMIT_NOFILE",
        of: Some(Resource::Nofile),
        values: &[
            0, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 40,
        ],
    },
    Limit {
        name: "RLIMIT_FSIZE",
        of: Some(Resource::Fsize),
        values: &[0, 1, 4096, 100_000, 1 << 20, 16 << 20],
    },
    // Beyond what the program has already.
    Limit {
        name: "RLIMIT_AS",
        of: Some(Resource::As),
        values: &[0, 1 << 20, 3 << 20, 8 << 20, 20 << 20, 40 << 20, 80 << 20],
    },
    // A quarter of it is for the environment.
    Limit {
        name: "RLIMIT_STACK",
        of: Some(Resource::Stack),
        values: &[1 << 20, 1 << 22],
    },
    Limit {
        name: "RLIMIT_MEMLOCK",
        of: Some(Resource::Memlock),
        values: &[0, 1 << 16, 1 << 20, 3 << 20, 5 << 20, 8 << 20],
    },
    Limit {
        name: "RLIMIT_NPROC",
        of: Some(Resource::Nproc),
        values: &[0, 1],
    },
    Limit {
        name: "pids.max",
        of: None,
        values: &[1, 2, 3, 4, 5, 6, 8, 10],
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    let each = LIMITS.iter().map(|limit| {
        let test = format!("a_host_with_little_of {}", limit.name);
        trial(&test, || match limit.name {
            "RLIMIT_NPROC" | "RLIMIT_MEMLOCK" => as_ordinary_user(limit),
            "pids.max" => small_group(limit),
            _ => each_value(limit, |value| command(limit, value)),
        })
    });
    each.collect()
}

fn command(limit: &Limit, value: u64) -> Command {
    let mut command = host("small-limit");
    command.args([limit.name, &value.to_string()]);
    if limit.of == Some(Resource::Stack) {
        for number in 0..8 {
            command.env(format!("BRIGADE_TEST_LARGE_{number}"), "x".repeat(60_000));
        }
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn each_value(limit: &Limit, command: impl Fn(u64) -> Command) {
    let started: Vec<_> = limit
        .values
        .iter()
        .map(|&value| (value, command(value).spawn().expect("starts")))
        .collect();
    for (value, child) in started {
        let output = child.wait_with_output().expect("waited for");
        judge(&format!("{} with {value}", limit.name), limit, &output);
    }
}

/// Root may have as many processes, and lock as much memory, as it likes.
fn as_ordinary_user(limit: &Limit) {
    const NOBODY: u32 = 65534;
    let mut probe = host("idle");
    let other = rustix::process::geteuid().is_root();
    if other && !probe.uid(NOBODY).output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped, because user {NOBODY} cannot execute this program");
        return;
    }
    each_value(limit, |value| {
        let mut command = command(limit, value);
        if other {
            command.uid(NOBODY);
        }
        command
    });
}

/// A control group for each.
fn small_group(limit: &Limit) {
    for &value in limit.values {
        let Some(group) = Group::new("pids", [limit.name; 2], value) else {
            return;
        };
        let mut command = command(limit, value);
        group.takes(&mut command, false);
        let output = command.output().expect("starts");
        judge(&format!("{} with {value}", limit.name), limit, &output);
    }
}

fn judge(what: &str, limit: &Limit, output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    let told = steps::told(&text);
    if !output.status.success() {
        // The program itself had no memory left, which Rust tells by an abort, or no thread.
        let own = output.status.signal() == Some(libc::SIGABRT)
            && (err.contains("memory allocation of ") || err.contains("failed to spawn thread"));
        assert!(own, "{what}: {}\n{text}\n{err}", output.status);
    } else {
        let steps: Vec<&str> = told.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, steps::names(false), "{what}:\n{text}");
    }
    for (step, end) in told {
        let works = end == "ok";
        let named = end.contains(", which is needed to ") && end.contains(limit.name);
        // The fork server could say nothing: there was no memory for the program's start.
        let early = end.contains("which makes worker processes, ended before it was ready")
            && end.contains(limit.name);
        assert!(works || named || early, "{what}, {step}: {end}\n{err}");
        assert!(
            early || !end.starts_with("untyped"),
            "{what}, {step}: {end}"
        );
    }
    if std::env::var_os("BRIGADE_TABLE").is_some() {
        eprintln!("{what}:\n{text}");
    }
}

fn small_limit(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [name, value] = args else {
        return Err("which limit, and how much of it?".into());
    };
    // SAFETY: no memory is involved. It ends a host that waits for ever, which fails the test.
    unsafe { libc::alarm(60) };
    brigade::init();
    let limit = LIMITS.iter().find(|limit| limit.name == name);
    let value: u64 = value.parse()?;
    if let Some(of) = limit.ok_or("no such limit")?.of {
        let had = match of {
            Resource::As => address_space()?,
            _ => 0,
        };
        if of == Resource::Memlock {
            // SAFETY: a flag; what is mapped from here on is locked.
            let locked = unsafe { libc::mlockall(libc::MCL_FUTURE) };
            assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
        }
        // A machine may allow less of it to anybody.
        let most = getrlimit(of).maximum.unwrap_or(u64::MAX);
        let current = Some((had + value).min(most));
        let maximum = current;
        setrlimit(of, Rlimit { current, maximum })?;
    }
    steps::all(false);
    Ok(())
}

/// What this program has of it, in bytes.
fn address_space() -> Result<u64, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').next().unwrap_or_default().parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

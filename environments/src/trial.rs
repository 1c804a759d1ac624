//! One environment's runs: with a limit of time, and nothing left of them.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use serde::{Deserialize, Serialize};

use crate::builds::{self, Programs};
use crate::list::{self, Environment, Expected, Runs};
use crate::place::{self, Start};

/// How a run begins that is told where it is.
pub(crate) const ENTER: &str = "enter";
/// The exit code of `refused` in the checks.
const REFUSED: i32 = 4;
/// What a program has started may need a moment to end after it.
const GRACE: Duration = Duration::from_secs(5);

/// What a run is told: its environment, and where it finds what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) environment: usize,
    pub(crate) programs: Programs,
    /// The test suites, beside the checks.
    pub(crate) suites: Vec<String>,
    pub(crate) limit: Duration,
    /// Where what the programs print is kept.
    pub(crate) logs: PathBuf,
    /// Filled in for each program of the environment: which it is, its arguments, its directory.
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) scratch: PathBuf,
}

impl Order {
    pub(crate) fn of(&self) -> &'static Environment {
        list::all()[self.environment]
    }

    fn group(&self) -> String {
        let name = self.scratch.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Result {
    pub(crate) as_expected: bool,
    /// One line.
    pub(crate) said: String,
    pub(crate) seconds: f64,
}

/// Tries an environment: in a process of its own, which adopts whatever the programs leave behind.
pub(crate) fn run(order: &Order) -> io::Result<Result> {
    // SAFETY: no memory is involved. It does not fail on any Linux that this is about.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let begun = Instant::now();
    let environment = order.of();
    let programs = match environment.runs {
        Runs::Suites => {
            let checks = (
                "environments-checks".to_owned(),
                vec!["contract".to_owned()],
            );
            let suite = |name: &String| (name.clone(), harness(environment));
            let suites = order.suites.iter().map(suite);
            std::iter::once(checks).chain(suites).collect()
        }
        Runs::Checks(program, argument) => vec![(program.to_owned(), vec![argument.to_owned()])],
    };
    let mut said = Vec::new();
    let mut as_expected = true;
    for (program, arguments) in programs {
        let scratch = Scratch::new()?;
        let one = Order {
            scratch: scratch.0.clone(),
            program,
            arguments,
            ..order.clone()
        };
        let (is_so, what) = run_one(&one)?;
        as_expected &= is_so;
        said.push(what);
    }
    Ok(Result {
        as_expected,
        said: said.join("; "),
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// The arguments of a test harness.
fn harness(environment: &Environment) -> Vec<String> {
    let threads = if environment.one_by_one { "1" } else { "2" };
    let skipped = environment
        .without
        .iter()
        .map(|(name, _)| format!("--skip={name}"));
    [format!("--test-threads={threads}")]
        .into_iter()
        .chain(skipped)
        .collect()
}

fn run_one(order: &Order) -> io::Result<(bool, String)> {
    let name = |text: &str| -> String {
        let plain = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        plain.collect()
    };
    let log = order.logs.join(format!(
        "{}.{}.txt",
        name(order.of().name),
        name(&order.program)
    ));
    let out = fs::File::create(&log)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(ENTER)
        .arg(serde_json::to_string(order)?)
        .env("TMPDIR", order.scratch.join("tmp"))
        // A crash keeps the last 4 KiB of stderr: a backtrace there would push out the message that
        // a check looks for.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out);
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    };
    let mut child = command.spawn()?;
    let in_time = ends_within(child.id(), order.limit)?;
    let left = end_all(child.id(), in_time)?;
    let status = child.wait()?;
    place::remove_groups(&order.group());
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let (mut as_expected, mut said) = judge(order, in_time, status, &text);
    if left > 0 {
        as_expected = false;
        said += &format!(", and {left} processes were left");
    }
    Ok((as_expected, format!("{}: {said}", order.program)))
}

/// Whether a child ends in that time. It is not reaped.
fn ends_within(pid: u32, limit: Duration) -> io::Result<bool> {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let child = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let time = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&time)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Kills and reaps all that descends from this process but `child`, which is killed if it has not
/// ended. Gives how many lived for longer than their program, by more than a moment.
fn end_all(child: u32, has_ended: bool) -> io::Result<usize> {
    if !has_ended {
        kill(child);
    }
    let grace = Instant::now() + if has_ended { GRACE } else { Duration::ZERO };
    let mut left = 0;
    loop {
        let others: Vec<u32> = children()?
            .into_iter()
            .filter(|&pid| pid != child)
            .collect();
        if others.is_empty() {
            return Ok(left);
        }
        for pid in others {
            if Instant::now() >= grace && kill(pid) && has_ended {
                left += 1;
            }
            let pid = Pid::from_raw(pid.cast_signed());
            let _ = rustix::process::waitpid(pid, WaitOptions::NOHANG);
        }
        // Orphans become ours one after another, and who ends tells a subreaper's signal only.
        let _ = rustix::thread::nanosleep(&Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        });
    }
}

/// `true`: it was there to be killed.
fn kill(pid: u32) -> bool {
    // Ours, and not reaped: the number is no other's.
    let is_alive =
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else {
        return false;
    };
    rustix::process::kill_process(pid, Signal::KILL).is_ok() && is_alive
}

fn children() -> io::Result<Vec<u32>> {
    let mut text = String::new();
    let own = std::process::id();
    fs::File::open(format!("/proc/self/task/{own}/children"))?.read_to_string(&mut text)?;
    Ok(text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect())
}

/// Whether it is what was expected, and what was said of it.
fn judge(order: &Order, in_time: bool, status: ExitStatus, text: &str) -> (bool, String) {
    let line = |start: &str| text.lines().rev().find_map(|line| line.strip_prefix(start));
    let failed: Vec<&str> = text.lines().filter(|line| is_failure(line)).collect();
    if !in_time {
        let last = text.lines().last().unwrap_or_default();
        let limit = order.limit.as_secs();
        return (
            false,
            format!("not over after {limit} s, after `{}`", short(last)),
        );
    }
    match (order.of().expected, status.code()) {
        (Expected::Works, Some(0)) => {
            let counted = line("test result: ok. ")
                .or_else(|| text.lines().rev().find(|line| line.ends_with(" failed")));
            let counted = counted.unwrap_or("it says nothing");
            let words: Vec<&str> = counted.split(';').take(1).collect();
            (counted != "it says nothing", words.concat())
        }
        (Expected::Refused(words), Some(REFUSED)) => {
            let sentence = line("refused: ").unwrap_or_default();
            let names_all = words.iter().all(|&word| sentence.contains(word));
            (names_all, format!("refused: {sentence}"))
        }
        (Expected::Refused(_), _) | (Expected::Works, _) => {
            let ended = match (status.code(), status.signal()) {
                (_, Some(signal)) => format!("killed by signal {signal}"),
                (code, _) => format!("exit code {}", code.unwrap_or(-1)),
            };
            let what = match failed.as_slice() {
                [] => short(text.lines().last().unwrap_or_default()),
                [first, rest @ ..] if rest.len() < 4 => {
                    let all: Vec<String> = std::iter::once(first)
                        .chain(rest)
                        .map(|l| short(l))
                        .collect();
                    all.join(", ")
                }
                [first, rest @ ..] => format!("{} and {} more", short(first), rest.len()),
            };
            (false, format!("{ended}: {what}"))
        }
    }
}

/// A line of a harness, or of the checks, that says that something failed.
fn is_failure(line: &str) -> bool {
    line.starts_with("test ") && line.ends_with("FAILED")
        || line.contains(": FAILED: ")
        || line.starts_with("a process was not refused")
        || line.starts_with("a process is refused")
        || line.starts_with("environments: ")
}

fn short(line: &str) -> String {
    const MOST: usize = 200;
    if line.chars().count() <= MOST {
        return line.to_owned();
    }
    line.chars().take(MOST).chain(['…']).collect()
}

/// In the process that becomes the program.
pub(crate) fn enter(order: &Order) -> io::Error {
    let prepare = || -> io::Result<Start> {
        let program = order.programs.get(&order.program);
        let from = program.ok_or_else(|| io::Error::other("it was not built"))?;
        let own = order.scratch.join("bin").join(&order.program);
        fs::copy(from, &own)?;
        let mut start = Start {
            program: own,
            arguments: order.arguments.iter().map(Into::into).collect(),
            through: Vec::new(),
            name: None,
            variables: Vec::new(),
            no_environment: false,
            file: None,
            scratch: order.scratch.clone(),
            libraries: order.scratch.join("lib"),
            group: order.group(),
        };
        for name in builds::LIBRARIES.into_iter().chain(["library"]) {
            if let Some(library) = order.programs.get(name) {
                fs::copy(library, start.libraries.join(name))?;
            }
        }
        (order.of().enter)(&mut start)?;
        Ok(start)
    };
    match prepare() {
        Ok(start) => start.exec(),
        Err(e) => io::Error::new(e.kind(), format!("the environment could not be made: {e}")),
    }
}

/// A directory of a run's own, which everybody can read, and write below `tmp`. Removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        use std::os::unix::fs::PermissionsExt;
        let name = format!("environments-{}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(name));
        fs::create_dir(&scratch.0)?;
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755))?;
        for name in ["bin", "lib", "tmp"] {
            fs::create_dir(scratch.0.join(name))?;
        }
        for open in ["bin", "tmp"] {
            fs::set_permissions(scratch.0.join(open), fs::Permissions::from_mode(0o1777))?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(directory: &Path) {
    if let Err(e) = fs::remove_dir_all(directory) {
        eprintln!("environments: {} stays: {e}", directory.display());
    }
}

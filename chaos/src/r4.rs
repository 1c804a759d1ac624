//! R4: the program is killed by SIGKILL, so that it can do nothing any more: its workers and their
//! children are gone, and soon.
//!
//! Each time a program of its own is started, with workers that wait; each has a child, and a
//! daemon of the kind that gets away from everybody. Every second program is killed while it goes
//! on spawning. All who come from it are found by a mark in their environment, watched by pidfd,
//! and looked for again afterwards. This command stands in for init: orphans come to it, and it
//! reaps them at once.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use brigade_test_support::{procfs, wait};

use crate::Verdict;
use crate::host::{FAMILY, MARK};
use crate::measure::if_asked;
use crate::rollcall::{self, Watched};
use crate::table::grouped;

/// When they have to be gone, at p99.
const GOAL: Duration = Duration::from_millis(50);
/// Who is alive then has survived.
const SURVIVED: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many programs.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many workers each has; each worker has two children.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    workers: u64,
    /// Only count survivors: for machines that do something else at the same time.
    #[arg(long)]
    no_time_goal: bool,
}

/// What became of one program.
#[derive(Debug)]
struct Outcome {
    watched: usize,
    /// Until the last one that was there before was gone.
    taken: Option<Duration>,
    survivors: usize,
    /// Ended, but still in the process table.
    entries: usize,
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    rollcall::adopt_orphans()?;
    let mut times = Vec::new();
    let (mut watched, mut survivors, mut entries) = (0, 0, 0);
    for turn in 0..options.count {
        let outcome = kill_one(turn, options.workers, turn % 2 == 1)?;
        watched += outcome.watched as u64;
        survivors += outcome.survivors as u64;
        entries += outcome.entries as u64;
        times.extend(outcome.taken);
    }
    times.sort_unstable();
    let percentile = |percent: usize| {
        times
            .get((times.len() * percent).div_ceil(100).saturating_sub(1))
            .copied()
    };
    let milliseconds = |time: Option<Duration>| {
        time.map_or("-".to_owned(), |t| {
            format!("{:.2} ms", t.as_secs_f64() * 1e3)
        })
    };

    println!(
        "R4: {} programs killed, half of them while spawning; {} processes came from them",
        grouped(options.count),
        grouped(watched)
    );
    println!(
        "  survivors after {} s: {} (goal 0)",
        SURVIVED.as_secs(),
        grouped(survivors)
    );
    println!("  left in the process table: {} (goal 0)", grouped(entries));
    let p99 = percentile(99);
    println!(
        "  from the kill to the last one's end: p50 {}, p99 {} (goal {} ms{}), max {}",
        milliseconds(percentile(50)),
        milliseconds(p99),
        GOAL.as_millis(),
        if_asked(options.no_time_goal),
        milliseconds(times.last().copied())
    );
    let in_time = options.no_time_goal || p99.is_some_and(|t| t <= GOAL);
    let met = survivors == 0 && entries == 0 && in_time;
    Ok(Verdict::print(met))
}

fn kill_one(turn: u64, workers: u64, busy: bool) -> io::Result<Outcome> {
    let mark = format!("{}-{turn}", std::process::id());
    let mut program = Command::new("/proc/self/exe");
    program
        .args(["host", "--workers", &workers.to_string()])
        .env(MARK, &mark);
    if busy {
        program.arg("--busy");
    }
    // A busy one's tasks abort, and the runtime says so; that is no news.
    let stderr = if busy {
        Stdio::null()
    } else {
        Stdio::inherit()
    };
    let mut program = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()?;
    let outcome = observe(&mut program, &mark, workers);
    if outcome.is_err() {
        // Killing one that has ended is no error, and the error is told below.
        let _ = program.kill();
    }
    program.wait()?;
    outcome
}

fn observe(program: &mut Child, mark: &str, workers: u64) -> io::Result<Outcome> {
    let stdout = program
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("a program without its stdout"))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let said: Vec<u32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    if said.len() != workers as usize * FAMILY {
        return Err(io::Error::other(format!(
            "the program to be killed said `{}`",
            line.trim_end()
        )));
    }
    let mut all = Vec::new();
    for pid in procfs::with_variable(MARK, mark)? {
        match Watched::new(pid) {
            Ok(watched) => all.push(watched),
            // One of those that come and go.
            Err(e) if procfs::is_gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    let is_watched = |pid: u32| all.iter().any(|w| w.pid == pid);
    if let Some(missing) = said.iter().find(|&&pid| !is_watched(pid)) {
        return Err(io::Error::other(format!(
            "process {missing} is not marked as one that came from the program: {}",
            looked_at(*missing)
        )));
    }
    if all.len() < 1 + 1 + said.len() {
        return Err(io::Error::other(
            "no fork server is marked as one that came from the program",
        ));
    }

    let start = Instant::now();
    program.kill()?;
    let ended = rollcall::await_ends(&all, start, SURVIVED)?;
    // The program itself is our child.
    program.wait()?;
    let (taken, mut survivors) = match ended {
        Ok(taken) => (Some(taken), Vec::new()),
        Err(alive) => (None, alive),
    };
    // Those who came after the look above have had the same time: whoever is there now and does not
    // end has survived.
    for pid in procfs::with_variable(MARK, mark)? {
        if let Ok(late) = Watched::new(pid)
            && !survivors.contains(&pid)
            && rollcall::await_ends(std::slice::from_ref(&late), start, SURVIVED)?.is_err()
        {
            survivors.push(pid);
            all.push(late);
        }
    }
    for watched in all.iter().filter(|w| survivors.contains(&w.pid)) {
        watched.kill()?;
    }
    // Who has ended is reaped by the fork server, and the fork server by us.
    let reaped = wait::until_found("the process table to be empty", || {
        rollcall::reap_children()?;
        Ok(all.iter().all(|w| !w.has_entry()).then_some(()))
    });
    let entries = match reaped {
        Ok(()) => 0,
        Err(e) if e.kind() == io::ErrorKind::TimedOut => {
            all.iter().filter(|w| w.has_entry()).count()
        }
        Err(e) => return Err(e),
    };
    Ok(Outcome {
        watched: all.len(),
        taken,
        survivors: survivors.len(),
        entries,
    })
}

/// What a process is now that should be one of the program's.
fn looked_at(pid: u32) -> String {
    let parent = procfs::parent(pid).map(|parent| (parent, procfs::name(parent)));
    let environment = std::fs::read(format!("/proc/{pid}/environ")).map(|bytes| bytes.len());
    format!(
        "its name is {:?}, its state {:?}, its parent {parent:?}, and the bytes of its environment {environment:?}",
        procfs::name(pid),
        procfs::state(pid),
    )
}

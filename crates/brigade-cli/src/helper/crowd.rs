//! Many workers at once: each waits for something real until all are up and have been looked at, then all end.
//!
//! In a program of its own: what it takes is counted from a clean start, and goes back whole at its end, also when
//! something on the way fails.

use std::time::Instant;

use brigade::{JoinHandle, Kind};
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::board::{self, Board};
use crate::fail::{Failure, OrFail as _};
use crate::waiters::{self, Answers, Server};
use crate::workers::{PATIENCE, collect_checked};
use crate::{cgroups, procfs};

/// What the workers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// A gate in shared memory: nothing but the worker itself costs anything.
    Gate,
    /// The answer of a server over a socket.
    Socket,
}

/// Whom to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    pub(crate) wait: Wait,
}

/// What it took, per worker unless said otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// How many were up at once.
    pub(crate) count: usize,
    /// Why there are fewer than were asked for.
    pub(crate) reduced: Option<String>,
    /// Nanoseconds from the first call until all were up.
    pub(crate) start: f64,
    /// Bytes that belong to the worker alone. One figure for each process; for threads one, the average.
    pub(crate) private: Vec<f64>,
    /// Bytes of the worker and of its share of the host: what one more worker takes.
    pub(crate) proportional: f64,
    /// Bytes of page tables.
    pub(crate) page_tables: f64,
    /// Descriptors of the host that are open because of it.
    pub(crate) host_descriptors: f64,
    /// Descriptors that the worker has open itself. Threads have none of their own.
    pub(crate) own_descriptors: f64,
    /// Mapped areas: its own for a process, more areas of the host for a thread.
    pub(crate) mappings: f64,
}

/// What the host has, to be compared with what it has later.
struct Host {
    memory: procfs::Memory,
    page_tables: u64,
    descriptors: usize,
    mappings: usize,
}

impl Host {
    fn look() -> Result<Self, Failure> {
        Ok(Self {
            descriptors: procfs::descriptors(None)?,
            mappings: procfs::mappings(None)?,
            page_tables: procfs::page_tables(None)?,
            memory: procfs::memory(None)?,
        })
    }
}

pub(crate) fn run(crowd: Crowd) -> Result<Report, Failure> {
    let mut meeting = Meeting::new(crowd.wait)?;
    // The first worker brings the fork server, allocator arenas and the like: paid once, not per worker.
    let before_first = procfs::descriptors(None)?;
    let first = meeting.admit(crowd.kind)?;
    meeting.await_all(1)?;
    let with_first = procfs::descriptors(None)?;
    let (count, reduced) = room(crowd, with_first.saturating_sub(before_first))?;

    let before = Host::look()?;
    let mut workers = Vec::with_capacity(count);
    let start = Instant::now();
    for number in 0..count {
        let worker = meeting.admit(crowd.kind);
        workers.push(worker.or_fail(&format!("after {number} of {count}"))?);
    }
    meeting.await_all(count + 1)?;
    let start = start.elapsed().as_nanos() as f64;
    let report = look(&workers, &before, start, reduced)?;

    meeting.end()?;
    for worker in workers.into_iter().chain([first]) {
        collect_checked(worker, "a worker that waited")?;
    }
    Ok(report)
}

fn look(
    workers: &[Worker],
    before: &Host,
    start: f64,
    reduced: Option<String>,
) -> Result<Report, Failure> {
    let after = Host::look()?;
    let count = workers.len() as f64;
    let grown = |before: u64, after: u64| after.saturating_sub(before) as f64 / count;
    let pids: Vec<u32> = workers.iter().filter_map(JoinHandle::pid).collect();
    let mut report = Report {
        count: workers.len(),
        reduced,
        start,
        private: Vec::new(),
        proportional: grown(before.memory.proportional, after.memory.proportional),
        page_tables: grown(before.page_tables, after.page_tables),
        host_descriptors: grown(before.descriptors as u64, after.descriptors as u64),
        own_descriptors: 0.0,
        mappings: grown(before.mappings as u64, after.mappings as u64),
    };
    if pids.is_empty() {
        report
            .private
            .push(grown(before.memory.private, after.memory.private));
        return Ok(report);
    }
    report.mappings = 0.0;
    for pid in pids.iter().map(|pid| Some(*pid)) {
        let memory = procfs::memory(pid)?;
        report.private.push(memory.private as f64);
        report.proportional += memory.proportional as f64 / count;
        report.page_tables += procfs::page_tables(pid)? as f64 / count;
        report.own_descriptors += procfs::descriptors(pid)? as f64 / count;
        report.mappings += procfs::mappings(pid)? as f64 / count;
    }
    Ok(report)
}

type Worker = JoinHandle<Result<(), Failure>>;

/// Where the workers wait.
enum Meeting {
    Gate(Board),
    Socket(Server),
}

impl Meeting {
    fn new(wait: Wait) -> Result<Self, Failure> {
        Ok(match wait {
            Wait::Gate => Self::Gate(Board::new(waiters::GATE_CELLS)?),
            Wait::Socket => Self::Socket(Server::start(Answers::WhenTold)?),
        })
    }

    fn admit(&self, kind: Kind) -> Result<Worker, Failure> {
        match self {
            Self::Gate(board) => kind.spawn(waiters::at_gate, board.ticket()),
            Self::Socket(server) => kind.spawn(waiters::at_server, server.name().to_owned()),
        }
        .or_fail(&format!("starting a {kind}"))
    }

    fn await_all(&self, count: usize) -> Result<(), Failure> {
        let what = format!("waiting until {count} workers are up");
        match self {
            Self::Gate(board) => {
                let count = u32::try_from(count).or_fail("counting the workers")?;
                board::await_at_least(board.mapping().word(waiters::CAME), count, PATIENCE)
            }
            Self::Socket(server) => server.await_asked(count, PATIENCE),
        }
        .or_fail(&what)
    }

    fn end(&mut self) -> Result<(), Failure> {
        match self {
            Self::Gate(board) => {
                board::arrive(board.mapping().word(waiters::OPEN));
                Ok(())
            }
            Self::Socket(server) => server.tell(),
        }
    }
}

/// How many can be started, and why not all, if not all.
fn room(crowd: Crowd, descriptors_each: usize) -> Result<(usize, Option<String>), Failure> {
    let descriptors = descriptor_room()? / (descriptors_each.max(1) as u64);
    let threads_max = procfs::number("/proc/sys/kernel/threads-max").unwrap_or(u64::MAX);
    let pid_max = procfs::number("/proc/sys/kernel/pid_max").unwrap_or(u64::MAX);
    let limits = [
        (descriptors, "RLIMIT_NOFILE, the limit of open descriptors"),
        (
            cgroups::room_for_tasks().unwrap_or(u64::MAX),
            "pids.max of the control group",
        ),
        (
            threads_max.min(pid_max).saturating_sub(running_tasks()),
            "kernel.threads-max or kernel.pid_max",
        ),
        (task_limit(), "RLIMIT_NPROC, the limit of a user's tasks"),
        // Far more than a worker takes, so that the machine is not driven into swapping.
        (
            procfs::available()? / (512 * 1024),
            "the memory that is available",
        ),
    ];
    let (least, which) = limits
        .into_iter()
        .min_by_key(|(room, _)| *room)
        .unwrap_or((u64::MAX, "nothing"));
    // Some stay free for the rest of the machine.
    let room = usize::try_from(least.saturating_sub(16)).unwrap_or(usize::MAX);
    if room >= crowd.count {
        return Ok((crowd.count, None));
    }
    if room < 10 {
        return Err(Failure::new(format!(
            "only {least} more could be started here, by {which}"
        )));
    }
    Ok((
        room,
        Some(format!("{room} instead of {}, by {which}", crowd.count)),
    ))
}

/// Raises the soft limit of descriptors as far as it goes (this program is ours alone) and says how many are free.
fn descriptor_room() -> Result<u64, Failure> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Ok(allowed.saturating_sub(procfs::descriptors(None)? as u64))
}

/// The kernel does not apply RLIMIT_NPROC to root.
fn task_limit() -> u64 {
    if rustix::process::geteuid().is_root() {
        return u64::MAX;
    }
    getrlimit(Resource::Nproc)
        .current
        .map_or(u64::MAX, |limit| limit.saturating_sub(running_tasks()))
}

/// Tasks of the whole machine: the second number of `1/234` in `/proc/loadavg`.
fn running_tasks() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let field = text
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.split_once('/'));
    field.and_then(|(_, total)| total.parse().ok()).unwrap_or(0)
}

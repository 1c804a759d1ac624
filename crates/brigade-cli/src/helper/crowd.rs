//! Many workers at once: each waits for something real until all are up and have been looked at,
//! then all end.
//!
//! In a program of its own: what it takes is counted from a clean start, and goes back whole at its
//! end, also when something on the way fails.

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

/// Fewer than this say nothing of many.
const ENOUGH: usize = 10;

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
    /// Bytes that belong to the worker alone. One figure for each process; for threads one, the
    /// average.
    pub(crate) private: Vec<f64>,
    /// Bytes of the worker, and what it adds to the host and to the fork server: what one more
    /// worker takes.
    pub(crate) proportional: f64,
    /// Bytes of page tables, likewise.
    pub(crate) page_tables: f64,
    /// Descriptors of the host that are open because of it.
    pub(crate) host_descriptors: f64,
    /// Descriptors of the fork server that are open because of it. Threads have no such parent.
    pub(crate) server_descriptors: f64,
    /// Descriptors that the worker has open itself. Threads have none of their own.
    pub(crate) own_descriptors: f64,
    /// Mapped areas: its own for a process, more areas of the host for a thread.
    pub(crate) mappings: f64,
}

/// What a process has, to be compared with what it has later.
struct Holdings {
    memory: procfs::Memory,
    page_tables: u64,
    descriptors: usize,
    mappings: usize,
}

impl Holdings {
    fn of(pid: Option<u32>) -> Result<Self, Failure> {
        Ok(Self {
            descriptors: procfs::descriptors(pid)?,
            mappings: procfs::mappings(pid)?,
            page_tables: procfs::page_tables(pid)?,
            memory: procfs::memory(pid)?,
        })
    }
}

/// This program, and the fork server if there is one.
struct Around {
    server: Option<u32>,
    host: Holdings,
    parent: Option<Holdings>,
}

impl Around {
    fn look(server: Option<u32>) -> Result<Self, Failure> {
        let parent = server.map(|pid| Holdings::of(Some(pid))).transpose()?;
        Ok(Self {
            server,
            host: Holdings::of(None)?,
            parent,
        })
    }
}

pub(crate) fn run(crowd: Crowd) -> Result<Report, Failure> {
    // First of all: the fork server inherits the limit.
    raise_descriptor_limit();
    let mut meeting = Meeting::new(crowd.wait)?;
    // The first worker brings the fork server, allocator arenas and the like: paid once. The second
    // shows what each takes.
    let first = meeting.admit(crowd.kind)?;
    meeting.await_all(1)?;
    let server = match first.pid() {
        Some(pid) => Some(procfs::parent(pid)?).filter(|parent| *parent != std::process::id()),
        None => None,
    };
    let with_first = Around::look(server)?;
    let second = meeting.admit(crowd.kind)?;
    meeting.await_all(2)?;
    let before = Around::look(server)?;
    let (count, mut reduced) = room(crowd, &with_first, &before)?;

    let mut workers = Vec::with_capacity(count);
    let start = Instant::now();
    for number in 0..count {
        match meeting.admit(crowd.kind) {
            Ok(worker) => workers.push(worker),
            // A limit that `room` does not know of. What is up is a crowd all the same, if a small
            // one.
            Err(reason) if number >= ENOUGH => {
                reduced = Some(format!("{number} instead of {}: {reason}", crowd.count));
                break;
            }
            Err(reason) => {
                return Err(Failure::new(format!("after {number} of {count}: {reason}")));
            }
        }
    }
    if let Err(in_vain) = meeting.await_all(workers.len() + 2) {
        return Err(own_reason(workers).unwrap_or(in_vain));
    }
    let start = start.elapsed().as_nanos() as f64;
    let report = look(&workers, &before, start, reduced)?;

    meeting.end()?;
    for worker in workers.into_iter().chain([first, second]) {
        collect_checked(worker, "a worker that waited")?;
    }
    Ok(report)
}

fn look(
    workers: &[Worker],
    before: &Around,
    start: f64,
    reduced: Option<String>,
) -> Result<Report, Failure> {
    let after = Around::look(before.server)?;
    let count = workers.len() as f64;
    // What the host and the fork server have more than before, by the workers.
    let grown = |of: fn(&Holdings) -> u64| {
        let in_host = of(&after.host) as f64 - of(&before.host) as f64;
        let in_parent = match (&before.parent, &after.parent) {
            (Some(before), Some(after)) => of(after) as f64 - of(before) as f64,
            _ => 0.0,
        };
        // What shrinks meanwhile (a cache that is dropped) is not what a worker gives.
        [in_host.max(0.0) / count, in_parent.max(0.0) / count]
    };
    let sum = |of| grown(of).iter().sum::<f64>();
    let [host_descriptors, server_descriptors] = grown(|holdings| holdings.descriptors as u64);
    let mut report = Report {
        count: workers.len(),
        reduced,
        start,
        private: Vec::new(),
        proportional: sum(|holdings| holdings.memory.proportional),
        page_tables: sum(|holdings| holdings.page_tables),
        host_descriptors,
        server_descriptors,
        own_descriptors: 0.0,
        mappings: sum(|holdings| holdings.mappings as u64),
    };
    let pids: Vec<u32> = workers.iter().filter_map(JoinHandle::pid).collect();
    if pids.is_empty() {
        report.private.push(sum(|holdings| holdings.memory.private));
    }
    for pid in pids {
        let own = Holdings::of(Some(pid))?;
        report.private.push(own.memory.private as f64);
        report.proportional += own.memory.proportional as f64 / count;
        report.page_tables += own.page_tables as f64 / count;
        report.own_descriptors += own.descriptors as f64 / count;
        report.mappings += own.mappings as f64 / count;
    }
    Ok(report)
}

type Worker = JoinHandle<Result<(), Failure>>;

/// Why one of these workers did not come, if one that has ended says so.
fn own_reason(workers: Vec<Worker>) -> Option<Failure> {
    workers
        .into_iter()
        .filter(JoinHandle::is_finished)
        .find_map(|worker| collect_checked(worker, "a worker that waits").err())
}

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
        .map_err(|reason| reason.during(&what))
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

/// How many can be started, and why not all, if not all. `one` and `two`: what was there with one
/// worker, and with two.
fn room(crowd: Crowd, one: &Around, two: &Around) -> Result<(usize, Option<String>), Failure> {
    let threads_max = procfs::number("/proc/sys/kernel/threads-max").unwrap_or(u64::MAX);
    let pid_max = procfs::number("/proc/sys/kernel/pid_max").unwrap_or(u64::MAX);
    let tasks = threads_max.min(pid_max).saturating_sub(running_tasks());
    let descriptors = "RLIMIT_NOFILE, the limit of open descriptors";
    let in_parent = one.parent.as_ref().zip(two.parent.as_ref());
    let limits = [
        (descriptor_room(&one.host, &two.host), descriptors),
        (
            in_parent.map_or(u64::MAX, |(one, two)| descriptor_room(one, two)),
            descriptors,
        ),
        (
            cgroups::room_for_tasks().unwrap_or(u64::MAX),
            "pids.max of the control group",
        ),
        (tasks, "kernel.threads-max or kernel.pid_max"),
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
    if room < ENOUGH {
        return Err(Failure::new(format!(
            "only {least} more could be started here, by {which}"
        )));
    }
    Ok((
        room,
        Some(format!("{room} instead of {}, by {which}", crowd.count)),
    ))
}

/// How many more workers the limit of descriptors allows, if each takes as many as the second did.
fn descriptor_room(one: &Holdings, two: &Holdings) -> u64 {
    let each = two.descriptors.saturating_sub(one.descriptors) as u64;
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let free = allowed.saturating_sub(two.descriptors as u64);
    // Most take none at all.
    free.checked_div(each).unwrap_or(u64::MAX)
}

/// As far as it goes: this program is ours alone.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If not, `room` says how far the old one reaches.
    let _ = setrlimit(Resource::Nofile, raised);
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

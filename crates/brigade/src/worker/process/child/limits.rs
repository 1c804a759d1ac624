//! What a worker may use: setrlimit(2), timer_create(2), cgroups(7), setpriority(2),
//! sched_setaffinity(2). It limits itself, before it runs anything of the user's.
//!
//! Memory and processes are limited by control groups where the program may make any
//! (`groups.rs`). Otherwise:
//!
//! - memory: the address space, `RLIMIT_AS`, that it takes beyond what it began with. What is only
//!   reserved counts too, and memory files that others have made and it maps. What it has with its
//!   children is looked at by the fork server (`fork_server/memory_watch.rs`).
//! - processes: those of its user, `RLIMIT_NPROC`. Of root's there is no such limit.

#![expect(unsafe_code, reason = "a timer of the kernel's")]

use std::fs;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::sys::error::{self, Call};
use crate::sys::value_file::kept;
use crate::sys::{cgroup, process, signal};
use crate::worker::process::child::groups;
use crate::worker::process::ipc::protocol::Limits;

/// The limit of processor time, which begins anew with each task.
#[derive(Debug)]
struct CpuLimit {
    timer: libc::timer_t,
    each: Duration,
}

// SAFETY: a number of the kernel's, or of the C library's, which any thread may use.
unsafe impl Send for CpuLimit {}
// SAFETY: as above.
unsafe impl Sync for CpuLimit {}

/// This worker's, if it has one.
static CPU_LIMIT: OnceLock<CpuLimit> = OnceLock::new();

/// A task begins: it has all of its processor time.
#[inline]
pub(super) fn begin_task() {
    if let Some(limit) = CPU_LIMIT.get() {
        limit.begin();
    }
}

/// Limits this process.
pub(super) fn apply(limits: &Limits) -> io::Result<()> {
    if limits.of_pool {
        for below in [&limits.memory_group, &limits.processes_group] {
            if !below.is_empty() {
                groups::enter(below).at(|| "cannot enter its pool's control group".to_owned())?;
            }
        }
    }
    if limits.memory.is_some() || !limits.memory_group.is_empty() {
        // It is for the task's own.
        kept::disable();
    }
    if let Some(bytes) = limits.memory {
        limit_memory(bytes, &limits.memory_group)
            .at(|| format!("cannot have its memory limited to {bytes} bytes"))?;
    }
    if let Some(count) = limits.processes {
        limit_processes(count, &limits.processes_group)
            .at(|| format!("cannot have its processes limited to {count}"))?;
    }
    for (limit, resource, what) in [
        (limits.open_files, Resource::Nofile, "open files"),
        (limits.file_size, Resource::Fsize, "file size"),
    ] {
        if let Some(value) = limit {
            set(resource, value).at(|| format!("cannot have its {what} limited to {value}"))?;
        }
    }
    if limits.file_size.is_some() {
        // A write beyond it is an error then, and not the end.
        signal::set_ignored(libc::SIGXFSZ);
    }
    if let Some(value) = limits.nice {
        rustix::process::setpriority_process(None, value)
            .call("setpriority(2)")
            .at(|| format!("cannot have a nice value of {value}"))?;
    }
    if !limits.processors.is_empty() {
        run_on(&limits.processors)?;
    }
    if let Some(each) = limits.cpu {
        let _ = CPU_LIMIT.set(CpuLimit::new(each)?);
    }
    Ok(())
}

fn set(resource: Resource, value: u64) -> io::Result<()> {
    let lowest = |of: Option<u64>| Some(of.map_or(value, |of| of.min(value)));
    let now = process::limit(resource).unwrap_or(Rlimit {
        current: None,
        maximum: None,
    });
    let limit = Rlimit {
        current: lowest(now.maximum),
        maximum: lowest(now.maximum),
    };
    rustix::process::setrlimit(resource, limit).call("setrlimit(2)")
}

fn limit_memory(bytes: u64, below: &[u8]) -> io::Result<()> {
    if below.is_empty() {
        let begun = address_space()?;
        return set(Resource::As, begun.saturating_add(bytes));
    }
    cgroup::limit_memory(&groups::enter(below)?, bytes)
}

fn limit_processes(count: u64, below: &[u8]) -> io::Result<()> {
    if !below.is_empty() {
        return cgroup::limit_processes(&groups::enter(below)?, count);
    }
    if rustix::process::geteuid().is_root() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel limits root's processes in control groups only, and none can be made here",
        ));
    }
    set(Resource::Nproc, count)
}

/// The bytes that are mapped now: proc_pid_statm(5).
fn address_space() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")
        .call("open(2)")
        .needed_to("know its address space")?;
    let pages = text.split_whitespace().next().and_then(|n| n.parse().ok());
    let pages: u64 = pages.ok_or_else(|| io::Error::other("/proc/self/statm has no number"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

fn run_on(processors: &[u32]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for &processor in processors {
        let number = processor as usize;
        if number >= rustix::thread::CpuSet::MAX_CPU {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no processor {processor}"),
            ));
        }
        set.set(number);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .call("sched_setaffinity(2)")
        .at(|| format!("cannot run on the processors {processors:?}"))
}

impl CpuLimit {
    fn new(each: Duration) -> io::Result<CpuLimit> {
        let mut timer = std::ptr::null_mut();
        // SAFETY: a zeroed one is valid, and its fields are numbers; the timer is written.
        let made = unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGXCPU;
            libc::timer_create(
                libc::CLOCK_PROCESS_CPUTIME_ID,
                &raw mut event,
                &raw mut timer,
            )
        };
        if made == -1 {
            let failed = Err(error::last("timer_create(2)"));
            return failed.needed_to("limit its processor time");
        }
        let limit = CpuLimit { timer, each };
        limit.begin();
        Ok(limit)
    }

    /// The signal ends the worker as a fault does.
    fn begin(&self) {
        let each = self.each.max(Duration::from_nanos(1));
        let after = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: i64::try_from(each.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(each.subsec_nanos()),
            },
        };
        // SAFETY: a timer of ours, which is never deleted; the value is read.
        unsafe { libc::timer_settime(self.timer, 0, &raw const after, std::ptr::null_mut()) };
    }
}

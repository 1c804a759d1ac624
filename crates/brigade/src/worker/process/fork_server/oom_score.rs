//! How soon the kernel kills a worker where memory has run out.
//!
//! Problem: the OOM killer takes the process that has most, of those that the limit is for: which
//! is the host, where a task asks for more than the host has left over. So workers have the highest
//! `oom_score_adj`, proc(5): they go first, the one with most before the others. Less would save
//! the host only as long as it has no more than so much of the memory.
//!
//! A process inherits the value of the one that forks it. Who sets it:
//!
//! - *Where no control group limits the memory, and workers are forked*: the fork server, for as
//!   long as it forks; it has its own value again after that. To write a worker's own file takes
//!   some 40 µs in each worker, most of them for the entry of a new process in /proc.
//! - *Otherwise*: each worker. A task that the kernel kills in such a group may have been small, and
//!   its memory is counted for some time after it can be killed no more. What asks for memory then
//!   has the kernel kill another: the fork server, if that was forking with the value, for it has
//!   more than a worker without a task; and all workers end with it.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::sys::{cgroup, opened, process};
use crate::worker::process::child::oom_score::{self, HIGHEST, PATH};

/// This process's value, and its workers'.
#[derive(Debug)]
pub(super) struct OomScore {
    /// `None`: refused (no /proc), and the kernel chooses as it does among others.
    file: Option<OwnedFd>,
    /// Each worker sets its own; this process keeps what it has.
    workers_set_it: bool,
}

impl OomScore {
    /// `executes`: workers are this program, executed again.
    pub(super) fn of_this_process(executes: bool) -> OomScore {
        let file = opened::file(PATH, OFlags::RDWR).ok();
        OomScore {
            workers_set_it: executes || memory_is_limited(),
            file,
        }
    }

    /// What this process forks from now on has the highest value. Gives its own.
    pub(super) fn raise(&self) -> Option<ScoreText> {
        let file = self.file.as_ref().filter(|_| !self.workers_set_it)?;
        let mut own = ScoreText([0; 8], 0);
        own.1 = rustix::io::pread(file, &mut own.0, 0).ok()?;
        oom_score::write(file, HIGHEST).ok()?;
        Some(own)
    }

    /// What it forks has its own again. Any process may lower the value to what it was: only what
    /// is lower than that takes a capability, and a process that had that has it still.
    pub(super) fn lower(&self, own: Option<ScoreText>) {
        if let Some((file, ScoreText(text, len))) = self.file.as_ref().zip(own) {
            let _ = rustix::io::pwrite(file, &text[..len], 0);
        }
    }

    /// What each worker has to set.
    pub(super) fn for_worker(&self) -> Option<i16> {
        self.workers_set_it.then_some(HIGHEST)
    }
}

/// Whether a control group of this process has less than the machine has.
fn memory_is_limited() -> bool {
    let machine = process::memory_of_machine();
    let is_less = |limit| machine.is_none_or(|all| limit < all);
    cgroup::lowest_memory_max().is_some_and(is_less)
}

/// A value, as the kernel writes it.
#[derive(Debug)]
pub(super) struct ScoreText([u8; 8], usize);

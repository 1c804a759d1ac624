//! Where in a worker's stderr the text of its next task begins: noted in the mailbox, for the case
//! that the task is the last.
//!
//! Between two tasks the worker asks how much there is in the pipe
//! ([`stderr_count`](crate::worker::process::ipc::stderr_count)). That is a system call, which
//! takes longer than a small task. But to write to the pipe is a system call too, and takes longer
//! still. So a task that took less time than asking has ever taken cannot have written, and the
//! worker does not ask after it. Where the process has other threads, which may have written, it
//! always asks.

use crate::sys::{process, ticks};
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::stderr_count::StderrCount;

/// To make a process takes longer than this many simple system calls.
const CALLS_PER_FORK: u64 = 128;

/// A worker's.
#[derive(Debug)]
pub(in crate::worker::process) struct StderrMark {
    count: StderrCount,
    /// When it was asked, or there was nothing to ask for, last.
    since: u64,
    /// The shortest time that it took to ask.
    shortest: u64,
}

impl StderrMark {
    pub(in crate::worker::process) fn new(count: StderrCount) -> StderrMark {
        StderrMark {
            count,
            since: 0,
            shortest: u64::MAX,
        }
    }

    /// Before the first task: what there is was written by the initializer.
    pub(in crate::worker::process) fn begin(&mut self, mailbox: &Mailbox) {
        // The first times take longer than those that count.
        for _ in 0..4 {
            self.ask(mailbox);
        }
    }

    /// A task has ended, and its result was shown. `true`: it took long enough to have made
    /// processes.
    pub(in crate::worker::process) fn task_ended(&mut self, mailbox: &Mailbox) -> bool {
        let took = ticks::now().wrapping_sub(self.since);
        let was_long = took / CALLS_PER_FORK >= self.shortest;
        if took >= self.shortest || process::has_had_threads() {
            self.ask(mailbox);
        } else {
            self.since = self.since.wrapping_add(took);
        }
        was_long
    }

    /// The worker has waited for the next task.
    pub(in crate::worker::process) fn waited(&mut self, mailbox: &Mailbox) {
        if process::has_had_threads() {
            self.ask(mailbox);
        } else {
            self.since = ticks::now();
        }
    }

    fn ask(&mut self, mailbox: &Mailbox) {
        let before = ticks::now();
        if let Some(written) = self.count.written(rustix::stdio::stderr()) {
            mailbox.set_stderr_before_task(written);
        }
        self.since = ticks::now();
        self.shortest = self.shortest.min(self.since.wrapping_sub(before));
    }
}

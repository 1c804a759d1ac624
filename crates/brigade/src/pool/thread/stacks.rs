//! What each thread does now; and where it is, if threads may be asked.

use std::time::{Duration, Instant};

use super::pool::ThreadPool;
use super::worker::WorkerThread;
use crate::pool::stacks::WorkerStack;
use crate::sys::asking;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::task::time_limit::TimeLimit;
use crate::task::whereabouts::Whereabouts;
use crate::{Kind, Timeout};

/// Why no thread is asked.
const NOT_ALLOWED: &str =
    "threads are asked only in a pool that was built with `PoolBuilder::thread_stacks(true)`";

/// How long each thread has to answer.
const WITHIN: Duration = Duration::from_millis(50);

impl ThreadPool {
    /// The error's content of a task that has run over its time, with where its thread is, if that
    /// was asked.
    pub(super) fn timeout(&self, name: TaskName, limit: TimeLimit) -> Timeout {
        let monitor = self.timeout_monitor.get();
        match monitor.and_then(|monitor| monitor.take_place()) {
            Some(place) => Timeout::at(name, limit, place, String::new()),
            None => Timeout::new(name, limit),
        }
    }

    pub(in crate::pool) fn stacks(&self) -> Vec<WorkerStack> {
        if self.is_fork_of_owner() {
            return Vec::new();
        }
        let name = self.options.name.as_ref();
        let stacks = self.seen_workers().into_iter().map(|seen| {
            let worker = &seen.worker;
            let before = worker.work_mark();
            let picture = worker.picture(seen.is_blocked, seen.is_ready);
            let runs = picture.task.is_some() || !seen.is_ready;
            let place =
                (runs && self.options.thread_stacks).then(|| ask(worker, Instant::now() + WITHIN));
            let was_asked = place.is_some();
            let stack = WorkerStack::new(Kind::Thread, &picture, name, place);
            match (runs, was_asked) {
                (true, false) => stack.without_stack(NOT_ALLOWED),
                (true, true) if worker.work_mark() != before => stack.has_gone_on(),
                _ => stack,
            }
        });
        stacks.collect()
    }
}

/// Asks a thread where it is, which it may tell by then.
pub(super) fn ask(worker: &WorkerThread, deadline: Instant) -> Whereabouts {
    let (calls, look) = asking::ask_thread(worker.system_number(), deadline);
    Whereabouts::asked(None, None, Symbols::of_this_process(), calls, look)
}

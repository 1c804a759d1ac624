//! What a pool tells those who listen to it with [`tracing`]: target `brigade::pool`. Where nobody listens, nothing is made.

use std::time::Duration;

use crate::Cause;

const TARGET: &str = "brigade::pool";

/// Whether anybody listens to what happens to each task.
pub(super) fn are_heard() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// Whether anybody listens to deaths: a task's name has to be looked up for them.
pub(super) fn crashes_are_heard() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::WARN)
}

/// A task was accepted.
pub(super) fn submitted(pool: u64, task: u64) {
    tracing::trace!(target: TARGET, pool, task, kind = "submitted");
}

/// A worker has begun it; a process was given it, and will begin it next, or after what it was given before.
pub(super) fn started(pool: u64, worker: u64, task: u64) {
    tracing::trace!(target: TARGET, pool, worker, task, kind = "started");
}

/// It has ended; `elapsed` is counted from its submission.
pub(super) fn ended(pool: u64, task: u64, outcome: &str, elapsed: Duration) {
    tracing::trace!(target: TARGET, pool, task, outcome, ?elapsed, kind = "ended");
}

/// A worker died of a task.
pub(super) fn crashed(pool: u64, pid: u32, cause: &Cause, task_name: &str) {
    tracing::warn!(target: TARGET, pool, pid, ?cause, task = task_name, kind = "crashed");
}

/// Another worker takes the place of this one.
pub(super) fn replaced(pool: u64, worker: u64, why: &str) {
    tracing::debug!(target: TARGET, pool, worker, why, kind = "replaced");
}

/// A worker process was stopped (SIGSTOP, a terminal): its tasks stand still.
pub(super) fn stopped(pool: u64, worker: u64) {
    tracing::warn!(target: TARGET, pool, worker, kind = "stopped");
}

/// It goes on.
pub(super) fn goes_on(pool: u64, worker: u64) {
    tracing::info!(target: TARGET, pool, worker, kind = "continued");
}

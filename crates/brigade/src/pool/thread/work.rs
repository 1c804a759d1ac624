//! What waits in the queue: a task, or a map item, by which a worker takes part in a map.

use std::panic::Location;
use std::sync::Arc;

use super::pool::ThreadPool;
use super::worker::WorkerThread;
use crate::JoinError;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;
use crate::task::symbols::Symbols;
use crate::task::time_limit::TimeLimit;

/// An item of the queue.
pub(super) trait Work: Send + Sync {
    /// Does it, or a part of it.
    fn run(self: Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome;

    /// Ends the task that `worker` runs, if it began by `before` (in nanoseconds of the pool's
    /// clock) and has not ended; the rest of the item goes to other workers. The thread finds out
    /// when the task returns, and exits. `false`: no such task runs.
    fn abandon(self: Arc<Self>, worker: &WorkerThread, before: u64, why: AbandonReason) -> bool;

    /// Ends what has not begun: no worker will run it.
    fn reject(self: Arc<Self>, pool: &Arc<ThreadPool>, rejection: &Rejection);

    /// The work's deadline has passed: ends it, wherever it is.
    fn expire(self: Arc<Self>, _pool: &Arc<ThreadPool>) {
        // What has no deadline does not come here.
    }

    /// Whether it has ended, so that it only takes up space in the queue.
    fn has_ended(&self) -> bool;

    /// The address of its function, and where it was submitted.
    fn function(&self) -> (usize, &'static Location<'static>);
}

/// How a worker comes out of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunOutcome {
    Done,
    /// The worker was abandoned meanwhile, and belongs to no pool any more.
    Abandoned,
}

/// Why a running task is ended, and its worker abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbandonReason {
    TimedOut,
    /// The work's deadline has passed.
    Expired,
    Cancelled,
}

impl AbandonReason {
    /// The error of a task that has the pool's timeout. `task`: the function's address.
    pub(super) fn error(
        self,
        pool: &ThreadPool,
        task: usize,
        call_site: &'static Location<'static>,
    ) -> JoinError {
        match self {
            AbandonReason::TimedOut | AbandonReason::Expired => {
                let name = TaskName::at(task, pool.options.name.clone(), call_site);
                let time = pool.options.timeout.unwrap_or_default();
                JoinError::TimedOut(pool.timeout(name, TimeLimit::Timeout(time)))
            }
            AbandonReason::Cancelled => JoinError::Cancelled,
        }
    }
}

/// Why a task never begins.
#[derive(Debug)]
pub(super) enum Rejection {
    Cancelled,
    /// The pool is closed, or it has no thread and the system gives it none.
    Closed,
    /// The pool has no thread, for the initializer panics.
    Initializer(TaskName, Unwound),
}

impl Rejection {
    pub(super) fn error(&self) -> JoinError {
        match self {
            Rejection::Cancelled => JoinError::Cancelled,
            Rejection::Closed => JoinError::Closed,
            Rejection::Initializer(name, unwound) => {
                JoinError::panicked(name.clone(), unwound.clone(), Symbols::of_this_process())
            }
        }
    }
}

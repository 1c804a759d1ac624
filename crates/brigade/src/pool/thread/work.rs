//! What waits in the queue: a task, or a ticket to take part in a map.

use std::panic::Location;
use std::sync::Arc;

use super::pool::ThreadPool;
use super::worker::WorkerThread;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;
use crate::task::symbols::Symbols;
use crate::{JoinError, Timeout};

/// Something for a worker to do.
pub(super) trait Work: Send + Sync {
    /// Does it, or a part of it.
    fn run(self: Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome;

    /// Ends what `worker` runs of it, if it has begun by `before` (in nanoseconds of the pool's
    /// clock) and has not ended. `false`: it has not, or it has. The worker finds out when the task
    /// returns, and ends; the rest goes to others.
    fn abandon(self: Arc<Self>, worker: &WorkerThread, before: u64, why: AbandonReason) -> bool;

    /// Nobody will run it.
    fn reject(self: Arc<Self>, pool: &Arc<ThreadPool>, rejection: &Rejection);

    /// Whether it has ended already, so that it only takes up room.
    fn has_ended(&self) -> bool;
}

/// How a worker comes out of some work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunOutcome {
    Done,
    /// It was let go meanwhile, and belongs to no pool any more.
    Abandoned,
}

/// Why a task is ended that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbandonReason {
    TimedOut,
    Cancelled,
}

impl AbandonReason {
    /// `task`: the function's address.
    pub(super) fn error(
        self,
        pool: &ThreadPool,
        task: usize,
        call_site: &'static Location<'static>,
    ) -> JoinError {
        match self {
            AbandonReason::TimedOut => {
                let name = TaskName::at(task, pool.options.name.clone(), call_site);
                let after = pool.options.timeout.unwrap_or_default();
                JoinError::TimedOut(Timeout::new(name, after))
            }
            AbandonReason::Cancelled => JoinError::Cancelled,
        }
    }
}

/// Why a task is never begun.
#[derive(Debug)]
pub(super) enum Rejection {
    Cancelled,
    /// There is no thread to run it, and none can be made.
    Closed,
    /// There is none because the initializer panics.
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

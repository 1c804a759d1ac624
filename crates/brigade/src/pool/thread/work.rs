//! What waits in the queue: a task, or a ticket to take part in a map.

use std::panic::Location;
use std::sync::Arc;

use super::pool::Shared;
use super::worker::Worker;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;
use crate::task::symbols::Symbols;
use crate::{JoinError, Timeout};

/// Something for a worker to do.
pub(super) trait Work: Send + Sync {
    /// Does it, or a part of it.
    fn run(self: Arc<Self>, worker: &Arc<Worker>) -> Went;

    /// Ends what `worker` runs of it, if it has begun by `before` (in nanoseconds of the pool's
    /// clock) and has not ended. `false`: it has not, or it has. The worker finds out when the task
    /// returns, and ends; the rest goes to others.
    fn let_go(self: Arc<Self>, worker: &Worker, before: u64, why: Why) -> bool;

    /// Nobody will run it.
    fn refuse(self: Arc<Self>, crew: &Arc<Shared>, refusal: &Refusal);

    /// Whether it has ended already, so that it only takes up room.
    fn is_over(&self) -> bool;
}

/// How a worker comes out of some work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    /// It was let go meanwhile, and belongs to no pool any more.
    LetGo,
}

/// Why a task is ended that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    TimedOut,
    Cancelled,
}

impl Why {
    /// `task`: the function's address.
    pub(super) fn error(
        self,
        crew: &Shared,
        task: usize,
        started: &'static Location<'static>,
    ) -> JoinError {
        match self {
            Why::TimedOut => {
                let name = TaskName::at(task, crew.options.name.clone(), started);
                let after = crew.options.timeout.unwrap_or_default();
                JoinError::TimedOut(Timeout::new(name, after))
            }
            Why::Cancelled => JoinError::Cancelled,
        }
    }
}

/// Why a task is never begun.
#[derive(Debug)]
pub(super) enum Refusal {
    Cancelled,
    /// There is no thread to run it, and none can be made.
    Closed,
    /// There is none because the initializer panics.
    Initializer(TaskName, Unwound),
}

impl Refusal {
    pub(super) fn error(&self) -> JoinError {
        match self {
            Refusal::Cancelled => JoinError::Cancelled,
            Refusal::Closed => JoinError::Closed,
            Refusal::Initializer(name, unwound) => {
                JoinError::panicked(name.clone(), unwound.clone(), Symbols::of_this_process())
            }
        }
    }
}

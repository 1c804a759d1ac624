//! How a task has ended, as events and numbers say it.

use crate::JoinError;

/// How a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum TaskOutcome {
    Returned,
    Panicked,
    Crashed,
    TimedOut,
    Cancelled,
    Undeliverable,
    Closed,
}

impl TaskOutcome {
    pub(in crate::pool) fn of<R>(result: &Result<R, JoinError>) -> TaskOutcome {
        match result {
            Ok(_) => TaskOutcome::Returned,
            Err(why) => TaskOutcome::of_error(why),
        }
    }

    pub(in crate::pool) fn of_error(why: &JoinError) -> TaskOutcome {
        match why {
            JoinError::Panicked(_) => TaskOutcome::Panicked,
            JoinError::Crashed(_) => TaskOutcome::Crashed,
            JoinError::TimedOut(_) => TaskOutcome::TimedOut,
            JoinError::Cancelled => TaskOutcome::Cancelled,
            JoinError::Undeliverable(_) => TaskOutcome::Undeliverable,
            JoinError::Closed => TaskOutcome::Closed,
        }
    }

    /// The field `outcome` of the event `ended`.
    pub(in crate::pool) fn label(self) -> &'static str {
        match self {
            TaskOutcome::Returned => "returned",
            TaskOutcome::Panicked => "panicked",
            TaskOutcome::Crashed => "crashed",
            TaskOutcome::TimedOut => "timed out",
            TaskOutcome::Cancelled => "cancelled",
            TaskOutcome::Undeliverable => "undeliverable",
            TaskOutcome::Closed => "closed",
        }
    }
}

/// The field `why` of the event `retried`, for a task whose time was over.
pub(in crate::pool) const RAN_OVER: &str = "ran over its time";

/// The field `why` of the event `replaced`.
pub(in crate::pool) mod replaced {
    pub(in crate::pool) const TIMED_OUT: &str = "its task ran over its time";
    pub(in crate::pool) const CANCELLED: &str = "its task was cancelled";
    pub(in crate::pool) const SPOILED: &str = "a task panicked that could change its state";
    pub(in crate::pool) const TASK_LIMIT: &str = "it has reached its limit of tasks";
}

//! How a task has ended, as events and numbers say it.

use crate::JoinError;

/// How a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Outcome {
    Returned,
    Panicked,
    Crashed,
    TimedOut,
    Cancelled,
    Undeliverable,
    Closed,
}

impl Outcome {
    pub(in crate::pool) fn of<R>(result: &Result<R, JoinError>) -> Outcome {
        match result {
            Ok(_) => Outcome::Returned,
            Err(why) => Outcome::of_error(why),
        }
    }

    pub(in crate::pool) fn of_error(why: &JoinError) -> Outcome {
        match why {
            JoinError::Panicked(_) => Outcome::Panicked,
            JoinError::Crashed(_) => Outcome::Crashed,
            JoinError::TimedOut(_) => Outcome::TimedOut,
            JoinError::Cancelled => Outcome::Cancelled,
            JoinError::Undeliverable(_) => Outcome::Undeliverable,
            JoinError::Closed => Outcome::Closed,
        }
    }

    /// The field `outcome` of the event `ended`.
    pub(in crate::pool) fn label(self) -> &'static str {
        match self {
            Outcome::Returned => "returned",
            Outcome::Panicked => "panicked",
            Outcome::Crashed => "crashed",
            Outcome::TimedOut => "timed out",
            Outcome::Cancelled => "cancelled",
            Outcome::Undeliverable => "undeliverable",
            Outcome::Closed => "closed",
        }
    }
}

/// The field `why` of the event `retried`, for a task whose time was over.
pub(in crate::pool) const RAN_OVER: &str = "ran over its time";

/// The field `why` of the event `replaced`.
pub(in crate::pool) mod replaced {
    pub(in crate::pool) const TIMED_OUT: &str = "its task ran over its time";
    pub(in crate::pool) const CANCELLED: &str = "its task was cancelled";
    pub(in crate::pool) const TASK_LIMIT: &str = "it has reached its limit of tasks";
}

//! How a task may end other than well.

use std::sync::Arc;

use super::crash::Crash;
use super::name::TaskName;
use super::panic::{Panic, Unwound};
use super::symbols::Symbols;
use super::timeout::Timeout;

/// Why there is no result. A task ends exactly once, with its result or with one of these.
///
/// A clone is the same error, with all that is known of it.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// brigade::init();
/// let error = brigade::process::spawn(|()| -> () { std::process::abort() }, ())?.join().unwrap_err();
/// assert!(error.is_crash() && !error.is_panic());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The task panicked; the worker went on.
    #[error("{0}")]
    Panicked(Panic),
    /// The worker died before the task returned. Threads never give this: they take the program
    /// with them.
    #[error("{0}")]
    Crashed(Crash),
    /// The task ran over its time, and was killed (a process) or let go (a thread); or its deadline
    /// passed before it began, and it never ran.
    #[error("{0}")]
    TimedOut(Timeout),
    /// The handle cancelled the task.
    #[error("the task was cancelled")]
    Cancelled,
    /// The task's input or its result could not be encoded or decoded, or was over the limit. Says
    /// which, and why.
    #[error("{0}")]
    Undeliverable(String),
    /// The pool was shut down before the task started; or the pool, or the task, is that of the
    /// process that this one was forked from.
    #[error(
        "the pool was shut down before the task started, or belongs to the process that this one was forked from"
    )]
    Closed,
}

impl JoinError {
    /// Whether the task [panicked](Self::Panicked).
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }

    /// Whether the worker [died](Self::Crashed) before the task returned.
    pub fn is_crash(&self) -> bool {
        matches!(self, JoinError::Crashed(_))
    }

    /// Whether the task [ran over its time](Self::TimedOut).
    pub fn is_timeout(&self) -> bool {
        matches!(self, JoinError::TimedOut(_))
    }

    /// Whether the task was [cancelled](Self::Cancelled).
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JoinError::Cancelled)
    }

    /// Whether the input or the result [could not be carried](Self::Undeliverable).
    pub fn is_undeliverable(&self) -> bool {
        matches!(self, JoinError::Undeliverable(_))
    }

    /// Whether the pool was [shut down](Self::Closed) before the task started.
    pub fn is_closed(&self) -> bool {
        matches!(self, JoinError::Closed)
    }

    /// The error of a task that panicked. `symbols` are those of the process in which it did.
    pub(crate) fn panicked(task: TaskName, unwound: Unwound, symbols: &Arc<Symbols>) -> JoinError {
        JoinError::Panicked(Panic::new(task, unwound, symbols))
    }
}

/// A future was polled after it was ready: an earlier poll has returned its result.
#[track_caller]
pub(crate) fn joined_twice() -> ! {
    panic!("a task was joined twice: its handle was polled after it was ready")
}

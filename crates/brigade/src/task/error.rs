//! How a task may end other than well.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::crash::Crash;
use super::panic::Panic;
use super::symbols::Symbols;

/// Why there is no result. A task ends exactly once, with its result or with one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It panicked; the worker went on.
    #[error("{0}")]
    Panicked(Panic),
    /// The worker died before the task returned. Threads never give this: they take the program with them.
    #[error("{0}")]
    Crashed(Crash),
    /// It ran over its time, and was killed (a process) or let go (a thread).
    #[error("the task ran longer than its {after:?}")]
    TimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// It was cancelled by its handle.
    #[error("the task was cancelled")]
    Cancelled,
    /// Its input or its result could not be encoded or decoded, or was over the limit. Says which, and why.
    #[error("{0}")]
    Undeliverable(String),
    /// The pool was shut down before the task started.
    #[error("the pool was shut down before the task started")]
    Closed,
}

/// The name of a task: its function, found in the symbols when somebody asks, and the name of its worker, if it has one.
#[derive(Clone)]
pub(crate) struct TaskName(Arc<Inner>);

struct Inner {
    /// The function's address in this process.
    address: usize,
    worker: Option<Arc<str>>,
    text: OnceLock<String>,
}

impl TaskName {
    pub(crate) fn new(address: usize, worker: Option<Arc<str>>) -> TaskName {
        TaskName(Arc::new(Inner { address, worker, text: OnceLock::new() }))
    }

    pub(crate) fn get(&self) -> &str {
        self.0.text.get_or_init(|| {
            let function =
                Symbols::of_this_process().function(self.0.address).unwrap_or_else(|| format!("function at {:#x}", self.0.address));
            match &self.0.worker {
                None => function,
                Some(worker) => format!("{function} ({worker})"),
            }
        })
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.get(), f)
    }
}

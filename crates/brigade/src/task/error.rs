//! How a task may end other than well.

use std::fmt;
use std::panic::Location;
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

/// The name of a task: its function, found in the symbols when somebody asks (a closure has no name of its own: where it was started), and the name of its worker, if it has one.
#[derive(Clone)]
pub(crate) struct TaskName(Arc<Inner>);

struct Inner {
    /// The function's address in this process.
    address: usize,
    /// Where it was started.
    started: &'static Location<'static>,
    worker: Option<Arc<str>>,
    text: OnceLock<String>,
}

impl TaskName {
    #[track_caller]
    pub(crate) fn new(address: usize, worker: Option<Arc<str>>) -> TaskName {
        TaskName(Arc::new(Inner {
            address,
            started: Location::caller(),
            worker,
            text: OnceLock::new(),
        }))
    }

    pub(crate) fn get(&self) -> &str {
        self.0.text.get_or_init(|| {
            let function = match Symbols::of_this_process().function(self.0.address) {
                // A closure as a function pointer is an instance of this, which says nothing of it.
                Some(shim) if shim == "core::ops::function::FnOnce::call_once" => {
                    format!("closure at {}", self.0.started)
                }
                Some(function) => function,
                // A program without symbols.
                None => format!("function at {}", self.0.started),
            };
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

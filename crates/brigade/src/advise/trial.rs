//! The step that runs in a process: the task in threads there, and alone. What it breaks is that
//! process.

#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod in_process;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(super) use in_process::start;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the process found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct TrialReport {
    /// One task after another: how many, and the time of all.
    pub(super) tasks: u64,
    pub(super) time: Duration,
    /// The time in which none of its threads computed, or waited for a processor.
    pub(super) waited: Duration,
    /// Bytes of memory that each left behind.
    pub(super) leaks: Option<u64>,
}

/// How long the process measures: threads together, and then the task alone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) together: Duration,
    pub(super) alone: Duration,
}

/// Elsewhere there are no processes, and measuring has ended before it came here.
#[cfg(any(not(target_os = "linux"), brigade_portable))]
pub(super) fn start<A: crate::Message + Clone, R: crate::Message>(
    _task: fn(A) -> R,
    _inputs: Vec<A>,
    _workers: usize,
    _times: Times,
) -> std::io::Result<crate::JoinHandle<Result<TrialReport, String>>> {
    Err(std::io::ErrorKind::Unsupported.into())
}

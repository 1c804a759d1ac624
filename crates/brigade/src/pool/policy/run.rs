//! A run of a task, as a timeline has it.

use std::time::Duration;

/// A run of a task, which has ended.
#[cfg_attr(
    not(feature = "timeline"),
    expect(dead_code, reason = "nothing draws it")
)]
#[derive(Debug)]
pub(in crate::pool) struct TaskRun {
    /// The worker's row.
    pub(in crate::pool) row: u64,
    /// The process of the worker, or 0.
    pub(in crate::pool) pid: u32,
    pub(in crate::pool) task: u64,
    pub(in crate::pool) times: RunTimes,
    /// From the task's submission to now.
    pub(in crate::pool) since_submitted: Duration,
    pub(in crate::pool) outcome: &'static str,
}

/// When a task ran.
#[cfg_attr(
    not(feature = "timeline"),
    expect(dead_code, reason = "nothing draws it")
)]
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) enum RunTimes {
    /// From when to when, by CLOCK_MONOTONIC in nanoseconds: what the worker says.
    Told(u64, u64),
    /// How long, until now: what the host has seen.
    Seen(Duration),
}

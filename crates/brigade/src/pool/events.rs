//! The events of a pool, for subscribers of `tracing`: target `brigade::pool`. Without a subscriber
//! that is interested nothing is formatted.
//!
//! Each event has a name, which says what happened (`started`), a message, the number of its
//! `pool`, and the `kind` of its workers. Each task that was accepted has one event `submitted` and
//! one `ended`, and a `started` for each time that it was run. A
//! subscriber hears them in this order; a caller that joins a task may return before the subscriber
//! has heard of its end.

#![cfg_attr(
    not(feature = "tracing"),
    expect(
        unused_variables,
        dead_code,
        reason = "what an event has in it goes nowhere"
    )
)]

use std::time::Duration;

use crate::task::contain::attempt;
use crate::trace::{self, Level, LevelFilter, emit};
use crate::{Cause, Kind};

const TARGET: &str = "brigade::pool";

/// Asks the subscriber. It is the program's own code, and may panic: that counts as no. Without a
/// subscriber this costs one load.
#[inline]
fn ask(level: Level, ask: impl FnOnce() -> bool) -> bool {
    level <= LevelFilter::current() && asked(ask)
}

#[cold]
fn asked(ask: impl FnOnce() -> bool) -> bool {
    attempt(ask).unwrap_or(false)
}

/// Whether a subscriber is interested in each task.
#[inline]
pub(super) fn task_events_enabled() -> bool {
    ask(
        Level::TRACE,
        || trace::enabled!(target: TARGET, Level::TRACE),
    )
}

/// Whether a subscriber is interested in deaths: a task's name has to be looked up for them.
pub(super) fn crash_events_enabled() -> bool {
    ask(Level::WARN, || trace::enabled!(target: TARGET, Level::WARN))
}

/// The pool that an event comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolIdentity {
    pub(super) pool: u64,
    pub(super) kind: Kind,
}

/// An event of the target, with the fields that all have.
macro_rules! event {
    ($level:ident, $name:literal, $of:ident, $($rest:tt)+) => {
        emit(Level::$level, || {
            trace::event!(
                name: $name,
                target: TARGET,
                Level::$level,
                event = $name,
                pool = $of.pool,
                kind = trace::display($of.kind),
                $($rest)+
            )
        })
    };
}

impl PoolIdentity {
    /// The pool accepted a task.
    pub(super) fn submitted(self, task: u64) {
        event!(TRACE, "submitted", self, task, "task {task} was submitted");
    }

    /// A worker runs a task, which has `waited` for this time. The host sees that of a process some
    /// time after it has begun, a millisecond as a rule.
    pub(super) fn started(self, worker: u64, task: u64, waited: Duration) {
        let kind = self.kind;
        event!(
            TRACE,
            "started",
            self,
            worker,
            task,
            ?waited,
            "task {task} runs in {kind} {worker}"
        );
    }

    /// A worker process did not begin a task that it was given, and another has the task now.
    pub(super) fn moved(self, from: u64, worker: u64, task: u64) {
        event!(
            TRACE,
            "moved",
            self,
            from,
            worker,
            task,
            "task {task} was not begun by process {from}, and is with process {worker}"
        );
    }

    /// A task did not end in that worker, and is run again.
    pub(super) fn retried(self, worker: u64, task: u64, why: &str) {
        let kind = self.kind;
        event!(
            TRACE,
            "retried",
            self,
            worker,
            task,
            why,
            "task {task} is run again: in {kind} {worker} it {why}"
        );
    }

    /// A task has ended; `elapsed` is counted from its submission.
    pub(super) fn ended(self, task: u64, outcome: &str, elapsed: Duration) {
        event!(
            TRACE,
            "ended",
            self,
            task,
            outcome,
            ?elapsed,
            "task {task} has ended: {outcome}"
        );
    }

    /// A worker died of a task, which ends with that. (If the task is run again, this event comes
    /// where crashes are kept.)
    pub(super) fn crashed(self, worker: u64, cause: &Cause, task_name: &str) {
        event!(
            WARN,
            "crashed",
            self,
            worker,
            ?cause,
            task_name,
            "process {worker} died of {cause} with task `{task_name}`"
        );
    }

    /// Another worker takes the place of this one.
    pub(super) fn replaced(self, worker: u64, why: &str) {
        let kind = self.kind;
        event!(
            DEBUG,
            "replaced",
            self,
            worker,
            why,
            "{kind} {worker} is replaced: {why}"
        );
    }

    /// A worker process was stopped (SIGSTOP, a terminal): its tasks stand still.
    pub(super) fn stopped(self, worker: u64) {
        event!(
            WARN,
            "stopped",
            self,
            worker,
            "process {worker} was stopped by a signal"
        );
    }

    /// A stopped worker process goes on.
    pub(super) fn goes_on(self, worker: u64) {
        event!(INFO, "continued", self, worker, "process {worker} goes on");
    }
}

/// A crash file could not be written.
pub(super) fn crash_file_not_written(pid: u32, task_name: &str, why: &str) {
    emit(
        Level::WARN,
        || trace::warn!(target: TARGET, task = task_name, pid, "{why}"),
    );
}

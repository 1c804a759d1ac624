//! What a pass over the pool leaves to be done when its lock is free.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::call_target::CallTarget;
use super::context::EncodedContext;
use super::outcome::RawOutcome;
use super::result_cell::Wakeups;
use super::task::Task;
use crate::JoinError;
use crate::pool::policy::queue_and_retries::Attempts;
use crate::pool::policy::run::TaskRun;
use crate::sim::local::Instant;
use crate::task::symbols::Symbols;
use crate::task::time_limit::TimeLimit;
use crate::worker::process::host::death::Evidence;

/// What is to be done when the lock is free.
#[derive(Default)]
pub(super) struct Deferred {
    pub(super) wakeups: Wakeups,
    /// For the subscribers.
    pub(super) events: Vec<TraceEvent>,
    /// For the timeline.
    pub(super) drawings: Vec<Drawing>,
    /// Most passes have none. It lies elsewhere, as each task is worth a pass or two, and each of
    /// those makes, moves and drops this.
    rare: Option<Box<RareWork>>,
    /// The driver, which sleeps, has to look again.
    pub(super) wake_driver: bool,
}

/// What few passes leave to be done.
#[derive(Default)]
pub(super) struct RareWork {
    pub(super) dead_tasks: Vec<DeadTask>,
    pub(super) reports: Vec<CrashReport>,
    /// Results that are never taken: their destructors may be user code.
    pub(super) to_drop: Vec<RawOutcome>,
    /// Tasks to be dropped: they are many, and may have descriptors to be closed.
    pub(super) cancelled: Vec<Task>,
}

/// One pass over the pool: its time, and where it puts what is to be done later.
pub(super) struct Ctx<'d> {
    /// Read once: a clock is a large part of what a small task costs.
    pub(super) now: Instant,
    pub(super) deferred: &'d mut Deferred,
}

impl Deferred {
    pub(super) fn at(&mut self, now: Instant) -> Ctx<'_> {
        Ctx {
            now,
            deferred: self,
        }
    }

    /// To add to what few passes have.
    #[cold]
    pub(super) fn rare(&mut self) -> &mut RareWork {
        self.rare.get_or_insert_default()
    }

    /// Takes out what few passes have.
    pub(super) fn take_rare(&mut self) -> Option<Box<RareWork>> {
        self.rare.take()
    }

    /// Whether a task has died with its worker.
    pub(super) fn has_dead_tasks(&self) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| !rare.dead_tasks.is_empty())
    }
}

/// A task that died with its worker, and what is known of that. Its end is settled outside the
/// lock: names have to be looked up, and files written.
pub(super) struct DeadTask {
    pub(super) task: Task,
    pub(super) end: DeadOutcome,
}

/// How such a task is to end.
pub(super) enum DeadOutcome {
    Crashed(Evidence, Arc<Symbols>),
    Lost(Evidence, Arc<Symbols>),
    TimedOut(Evidence, Arc<Symbols>),
    Failed(JoinError),
}

/// A death whose task is run again: what is known of it is kept all the same.
pub(super) struct CrashReport {
    pub(super) target: CallTarget,
    pub(super) input: std::io::Result<Vec<u8>>,
    pub(super) descriptors: usize,
    pub(super) context: Option<Arc<EncodedContext>>,
    pub(super) attempts: Attempts,
    pub(super) evidence: Evidence,
    pub(super) symbols: Arc<Symbols>,
    pub(super) how: HowDied,
}

/// What such a worker died of.
pub(super) enum HowDied {
    /// What it did itself, or another did to it.
    Itself,
    /// The worker broke the protocol.
    Lost,
    /// The task ran over its time.
    TimedOut(TimeLimit),
}

/// What the timeline shows.
pub(super) enum Drawing {
    /// A run of this task has ended.
    Run(TaskRun, CallTarget),
    /// What has happened to the worker of this process, and why.
    Mark(u32, &'static str, Cow<'static, str>),
}

/// What happened, for the subscribers.
pub(super) enum TraceEvent {
    Submitted(u64, u32),
    /// A worker runs a task, which has waited for this time.
    Started(u32, u64, Duration),
    /// A worker was given a task that another had not begun.
    Moved {
        from: u32,
        to: u32,
        task: u64,
    },
    /// A task is run again, for in that worker it did this.
    Retried(u32, u64, &'static str),
    Ended(u64, &'static str, Duration),
    /// A worker is gone, and its place is taken by another.
    Replaced(u32, &'static str),
    /// A worker was stopped by a signal.
    Stopped(u32),
    /// The worker goes on.
    GoesOn(u32),
}

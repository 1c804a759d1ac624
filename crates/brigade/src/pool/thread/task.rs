//! A task that was submitted. The queue, its worker and its handle share it.

mod pending;

use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use super::callable::Callable;
use super::locks::lock;
use super::pool::{ThreadPool, ThreadRun};
use super::retry::{Retry, TaskInput};
use super::work::{AbandonReason, Rejection, RunOutcome, Work};
use super::worker::WorkerThread;
use crate::pool::events;
use crate::pool::policy::outcome::{RAN_OVER, TaskOutcome};
use crate::pool::policy::task_options::TaskOptions;
use crate::task::contain::contained;
use crate::task::error::joined_twice;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::task::time_limit::TimeLimit;
use crate::trace::Submission;
use crate::{JoinError, Kind, Message};

pub(super) struct PoolTask<A, R> {
    task: Callable<A, R>,
    call_site: &'static Location<'static>,
    /// The pool's number. Few need the pool: they look it up.
    pool_id: u64,
    pub(super) number: u64,
    /// By the pool's clock.
    submitted: u64,
    /// What it has otherwise than its pool; the deadline by the pool's clock. Most have nothing.
    pub(super) options: Option<Box<TaskOptions<u64>>>,
    inner: Mutex<TaskState<A, R>>,
    changed: Condvar,
    /// Set when the phase is `Ended`, for threads that only look.
    ended: AtomicBool,
}

struct TaskState<A, R> {
    phase: TaskPhase<A, R>,
    waiter: TaskWaiter,
    /// The encoded input, if the task may run again.
    retry: Option<Box<Retry>>,
    /// Where it was submitted, if that is to be known, until it ends.
    submission: Option<Submission>,
}

enum TaskPhase<A, R> {
    Queued(A),
    /// The task runs again, on the input that `retry` has.
    Requeued,
    Running {
        worker: u64,
        /// By the pool's clock, if tasks have a timeout or the pool has a timeline; else 0.
        began: u64,
    },
    Ended(Result<R, JoinError>),
    /// The handle has taken the result.
    Taken,
}

/// A task that was taken from its worker while it ran.
struct Abandoned {
    worker: u64,
    is_retried: bool,
}

/// What waits for the end. There is one handle, and most handles are never polled.
enum TaskWaiter {
    None,
    Thread,
    Waker(Box<Waker>),
}

impl<A: Message, R: Message> PoolTask<A, R> {
    pub(super) fn new(
        pool: &ThreadPool,
        task: Callable<A, R>,
        call_site: &'static Location<'static>,
        input: A,
        options: Option<Box<TaskOptions<u64>>>,
    ) -> PoolTask<A, R> {
        let retry = match &options {
            None => Retry::of(&pool.options, &input),
            Some(own) => Retry::for_task(
                own.retries(pool.options.retries),
                own.time_limit(pool.options.timeout),
                &input,
            ),
        };
        let number = pool.counters.submitted.fetch_add(1, Ordering::AcqRel);
        pool.events().submitted(number);
        PoolTask {
            task,
            call_site,
            pool_id: pool.pool_id,
            number,
            submitted: pool.now(),
            options,
            inner: Mutex::new(TaskState {
                phase: TaskPhase::Queued(input),
                waiter: TaskWaiter::None,
                retry,
                submission: pool.submission(),
            }),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
        }
    }

    fn deadline(&self) -> Option<u64> {
        self.options.as_ref()?.deadline
    }

    /// How long it may run.
    #[inline]
    fn time_limit(&self, pool: &ThreadPool) -> Option<Duration> {
        let of_pool = pool.options.timeout;
        let own = self.options.as_ref();
        own.map_or(of_pool, |own| own.time_limit(of_pool))
    }

    fn retries(&self, pool: &ThreadPool) -> u32 {
        let of_pool = pool.options.retries;
        let own = self.options.as_ref();
        own.map_or(of_pool, |own| own.retries(of_pool))
    }

    /// The error of a task that is ended for this reason while it runs.
    fn error(&self, pool: &ThreadPool, why: AbandonReason) -> JoinError {
        match why {
            AbandonReason::Cancelled => JoinError::Cancelled,
            AbandonReason::Expired => self.expired(pool, true),
            AbandonReason::TimedOut => {
                let time = self.time_limit(pool).unwrap_or_default();
                self.timed_out(pool, TimeLimit::Timeout(time))
            }
        }
    }

    /// The error of a task whose deadline has passed.
    pub(super) fn expired(&self, pool: &ThreadPool, had_begun: bool) -> JoinError {
        let nanos = self.deadline().unwrap_or_default();
        let after = Duration::from_nanos(nanos.saturating_sub(self.submitted));
        self.timed_out(pool, TimeLimit::Deadline { after, had_begun })
    }

    fn timed_out(&self, pool: &ThreadPool, limit: TimeLimit) -> JoinError {
        let name = pool.options.name.clone();
        let name = TaskName::at(self.task.address(), name, self.call_site);
        JoinError::TimedOut(pool.timeout(name, limit))
    }

    /// The worker begins the task. `None`: it has ended already.
    fn begin(&self, worker: &WorkerThread) -> Option<(TaskInput<A>, Option<Submission>)> {
        let mut inner = lock(&self.inner);
        let input = match std::mem::replace(&mut inner.phase, TaskPhase::Taken) {
            TaskPhase::Queued(input) => TaskInput::Value(input),
            TaskPhase::Requeued => match &inner.retry {
                Some(retry) => TaskInput::Bytes(retry.bytes(), retry.attempt()),
                None => unreachable!("who runs it again knows on what"),
            },
            other => {
                inner.phase = other;
                return None;
            }
        };
        inner.phase = TaskPhase::Running {
            worker: worker.id,
            began: worker.task_started(self.time_limit(&worker.pool)),
        };
        let submission = inner.submission.clone();
        drop(inner);
        worker.pool.capacity.release(1);
        if events::task_events_enabled() {
            let waited = worker.pool.now().saturating_sub(self.submitted);
            let waited = Duration::from_nanos(waited);
            (worker.pool.events()).started(worker.id, self.number, waited);
        }
        Some((input, submission))
    }

    /// The worker has a result. `Abandoned`: the task has ended without it.
    fn finish(
        &self,
        worker: &WorkerThread,
        began: u64,
        result: Result<R, JoinError>,
    ) -> RunOutcome {
        if worker.pool.is_fork_of_owner() {
            // The task forked, and its child has returned first. The child's thread ends, and with
            // it the child.
            contained(|| drop(result));
            return RunOutcome::Abandoned;
        }
        let now = worker.pool.now();
        let nanos = now.saturating_sub(self.submitted);
        let inner = lock(&self.inner);
        let since = match inner.phase {
            TaskPhase::Running { worker: id, began } if id == worker.id => began,
            _ => {
                drop(inner);
                contained(|| drop(result));
                return RunOutcome::Abandoned;
            }
        };
        // Before its end is counted: a thread that has seen all ends sees all times.
        worker.counters.record_latency(nanos, 1);
        worker.count_result(&result);
        worker.pool.task_time.record(now.saturating_sub(began));
        worker.add_busy(now);
        let outcome = TaskOutcome::of(&result);
        self.draw_run(&worker.pool, worker.id, since, outcome);
        self.end(&worker.pool, inner, result);
        self.emit_ended(outcome, nanos);
        RunOutcome::Done
    }

    /// Stores the end, and wakes the thread or the future that waits for it.
    fn end(
        &self,
        pool: &ThreadPool,
        mut inner: MutexGuard<'_, TaskState<A, R>>,
        result: Result<R, JoinError>,
    ) {
        inner.phase = TaskPhase::Ended(result);
        let waiter = std::mem::replace(&mut inner.waiter, TaskWaiter::None);
        self.ended.store(true, Ordering::Release);
        // Dropped when the lock is free, and the end is told.
        let _submission = inner.submission.take();
        drop(inner);
        if let Some(at) = self.deadline() {
            if let Some(monitor) = pool.timeout_monitor.get() {
                monitor.remove_deadline(at, self.number);
            }
        }
        match waiter {
            TaskWaiter::None => {}
            TaskWaiter::Thread => self.changed.notify_all(),
            TaskWaiter::Waker(waker) => contained(|| waker.wake()),
        }
    }

    /// Ends a task that has not begun, or has run and is to run again, with `why` as its end.
    /// `false`: it has begun.
    pub(super) fn end_if_queued(
        &self,
        pool: &ThreadPool,
        why: impl FnOnce(&Self, bool) -> JoinError,
    ) -> bool {
        let mut inner = lock(&self.inner);
        let input = match std::mem::replace(&mut inner.phase, TaskPhase::Taken) {
            TaskPhase::Queued(input) => Some(input),
            TaskPhase::Requeued => None,
            other => {
                inner.phase = other;
                return false;
            }
        };
        let error = why(self, input.is_none());
        let nanos = pool.now().saturating_sub(self.submitted);
        pool.counters.count_ended(&error, nanos, 1);
        let outcome = TaskOutcome::of_error(&error);
        self.end(pool, inner, Err(error));
        self.emit_ended(outcome, nanos);
        pool.capacity.release(1);
        contained(|| drop(input));
        true
    }

    /// Takes a running task from its worker: it ends, or is to run again.
    fn end_if_running(
        &self,
        pool: &ThreadPool,
        is_it: impl FnOnce(u64, u64) -> bool,
        why: AbandonReason,
    ) -> Option<Abandoned> {
        let mut inner = lock(&self.inner);
        let (worker, began) = match inner.phase {
            TaskPhase::Running { worker, began } if is_it(worker, began) => (worker, began),
            _ => return None,
        };
        let may_retry = |retry: &mut Box<Retry>| retry.again(self.retries(pool));
        if why == AbandonReason::TimedOut && inner.retry.as_mut().is_some_and(may_retry) {
            inner.phase = TaskPhase::Requeued;
            pool.count_abandoned(worker, None);
            drop(inner);
            self.draw_run(pool, worker, began, TaskOutcome::TimedOut);
            pool.draw_mark(worker, "retried", RAN_OVER);
            pool.events().retried(worker, self.number, RAN_OVER);
            pool.capacity.force_acquire();
            return Some(Abandoned {
                worker,
                is_retried: true,
            });
        }
        let error = self.error(pool, why);
        let outcome = TaskOutcome::of_error(&error);
        let nanos = pool.now().saturating_sub(self.submitted);
        pool.counters.record_latency(nanos, 1);
        pool.count_abandoned(worker, Some(&error));
        self.draw_run(pool, worker, began, outcome);
        self.end(pool, inner, Err(error));
        self.emit_ended(outcome, nanos);
        Some(Abandoned {
            worker,
            is_retried: false,
        })
    }

    #[inline]
    fn draw_run(&self, pool: &ThreadPool, worker: u64, began: u64, outcome: TaskOutcome) {
        if pool.options.timeline.is_some() {
            let run = ThreadRun {
                number: self.number,
                began,
                since_submitted: pool.now().saturating_sub(self.submitted),
                outcome: outcome.label(),
                function: (self.task.address(), self.call_site),
            };
            pool.draw_run(worker, run);
        }
    }

    fn emit_ended(&self, outcome: TaskOutcome, nanos: u64) {
        let elapsed = Duration::from_nanos(nanos);
        let of = events::PoolIdentity {
            pool: self.pool_id,
            kind: Kind::Thread,
        };
        of.ended(self.number, outcome.label(), elapsed);
    }

    fn take_result(inner: &mut TaskState<A, R>) -> Result<R, JoinError> {
        match std::mem::replace(&mut inner.phase, TaskPhase::Taken) {
            TaskPhase::Ended(result) => result,
            _ => joined_twice(),
        }
    }
}

impl<A: Message, R: Message> Work for PoolTask<A, R> {
    fn run(self: Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome {
        let began = worker.start_time();
        if self.deadline().is_some_and(|at| at <= worker.pool.now()) {
            self.end_if_queued(&worker.pool, |task, has_run| {
                task.expired(&worker.pool, has_run)
            });
            return RunOutcome::Done;
        }
        let Some((input, submission)) = self.begin(worker) else {
            return RunOutcome::Done;
        };
        let task = &self.task;
        let timed_out = || self.error(&worker.pool, AbandonReason::TimedOut);
        let run = || input.run(|input| task.call(input), timed_out);
        let result = match &submission {
            None => run(),
            Some(submission) => {
                let function = (self.task.address(), self.call_site);
                let name = || worker.name(function.0, function.1);
                (worker.pool).within_span(submission, worker.id, self.number, function, name, run)
            }
        };
        let result = result.unwrap_or_else(|unwound| {
            let name = worker.name(self.task.address(), self.call_site);
            Err(JoinError::panicked(
                name,
                unwound,
                Symbols::of_this_process(),
            ))
        });
        worker.task_stopped();
        self.finish(worker, began, result)
    }

    fn abandon(self: Arc<Self>, worker: &WorkerThread, before: u64, why: AbandonReason) -> bool {
        let is_it = |id, began| id == worker.id && began <= before;
        let Some(abandoned) = self.end_if_running(&worker.pool, is_it, why) else {
            return false;
        };
        if abandoned.is_retried {
            worker.pool.push(self);
        }
        true
    }

    fn reject(self: Arc<Self>, pool: &Arc<ThreadPool>, rejection: &Rejection) {
        self.end_if_queued(pool, |_, _| rejection.error());
    }

    fn expire(self: Arc<Self>, pool: &Arc<ThreadPool>) {
        if self.end_if_queued(pool, |task, has_run| task.expired(pool, has_run)) {
            pool.note_cancelled();
            return;
        }
        let abandoned = self.end_if_running(pool, |_, _| true, AbandonReason::Expired);
        if let Some(abandoned) = abandoned {
            pool.replace(abandoned.worker, AbandonReason::Expired);
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn function(&self) -> (usize, &'static Location<'static>) {
        (self.task.address(), self.call_site)
    }
}

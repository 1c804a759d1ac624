//! Taking tasks on, and refusing them.

use std::time::Duration;

use super::deferred::{Deferred, TraceEvent};
use super::driver::{Driver, WaitFor};
use super::outcome::RawOutcome;
use super::pool::{LockedPool, ProcessPool};
use super::result_cell::{EarlyEnd, HasResultCell};
use super::task::Task;
use crate::pool::policy::keys::{Lost, NotTaken};
use crate::pool::policy::outcome::TaskOutcome;
use crate::sim::local::{Instant, MutexGuard};
use crate::trace::Submission;
use crate::{JoinError, Timeout};

impl ProcessPool {
    /// Takes a task on, when there is room for it. `false`: the pool was closed.
    #[must_use = "a task that was not taken has a handle that would wait for ever"]
    pub(super) fn enqueue(&self, task: &mut Option<Task>) -> bool {
        let submission = self.submission();
        let Some(inner) = self.wait_for_room(None) else {
            return false;
        };
        self.enqueue_locked(inner, task, submission.as_ref());
        true
    }

    /// As [`enqueue`](Self::enqueue), but waits for room until the task's deadline at most.
    /// `false`: it has passed, and there was none; or the pool was closed.
    #[must_use = "a task that was not taken has a handle that would wait for ever"]
    pub(super) fn enqueue_by(&self, task: &mut Option<Task>) -> bool {
        let submission = self.submission();
        let deadline = task.as_ref().and_then(Task::deadline);
        let Some(inner) = self.wait_for_room(deadline) else {
            return false;
        };
        self.enqueue_locked(inner, task, submission.as_ref());
        true
    }

    /// Waits until the queue has room. `None`: it had none by the deadline, or the pool was closed.
    #[inline]
    fn wait_for_room(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, LockedPool>> {
        let mut inner = self.lock();
        while !inner.dispatcher.closing && inner.dispatcher.is_full() {
            drop(inner);
            if !self.wait(&mut WaitFor::Capacity, deadline) {
                return None;
            }
            inner = self.lock();
        }
        (!inner.dispatcher.closing).then_some(inner)
    }

    /// Ends a task whose deadline has passed while it waited for room.
    pub(super) fn reject_expired(&self, handle: &dyn HasResultCell) {
        handle.cell().set_early_end(EarlyEnd::Expired);
        let limit = handle.cell().exceeded(self.options.timeout, false);
        let why = JoinError::TimedOut(Timeout::new(self.name_of(handle.target()), limit));
        self.count_rejected(&why);
        handle
            .cell()
            .complete(RawOutcome::failed(why), &mut Default::default());
    }

    /// As [`enqueue_by`](Self::enqueue_by), of a task of a key. The error: the worker of that is
    /// gone, and the task was not taken.
    #[must_use = "a task that was not taken has a handle that would wait for ever"]
    pub(super) fn enqueue_keyed(&self, key: u64, task: &mut Option<Task>) -> Result<bool, Lost> {
        let submission = self.submission();
        // Deaths that the fork server has told of.
        self.poll();
        let deadline = task.as_ref().and_then(Task::deadline);
        let Some(inner) = self.wait_for_room(deadline) else {
            return Ok(false);
        };
        self.enqueue_pinned(inner, key, task, submission.as_ref())?;
        Ok(true)
    }

    /// As [`try_enqueue`](Self::try_enqueue), of a task of a key.
    #[must_use = "a task that was not taken has a handle that would wait for ever"]
    pub(super) fn try_enqueue_keyed(
        &self,
        key: u64,
        task: &mut Option<Task>,
    ) -> Result<(), NotTaken<()>> {
        let submission = self.submission();
        self.poll();
        let inner = self.lock();
        if inner.dispatcher.closing || inner.dispatcher.is_full() {
            return Err(NotTaken::Full(()));
        }
        let taken = self.enqueue_pinned(inner, key, task, submission.as_ref());
        taken.map_err(|Lost| NotTaken::Lost(()))
    }

    /// Takes a task of a key on, for which there is room.
    fn enqueue_pinned(
        &self,
        mut inner: MutexGuard<'_, LockedPool>,
        key: u64,
        task: &mut Option<Task>,
        submission: Option<&Submission>,
    ) -> Result<(), Lost> {
        if let Some(task) = task {
            task.pin = Some(inner.dispatcher.worker_for(key)?);
        }
        self.enqueue_locked(inner, task, submission);
        Ok(())
    }

    /// Takes a task on, if there is room for it and the pool was not closed.
    #[must_use = "a task that was not taken has a handle that would wait for ever"]
    pub(super) fn try_enqueue(&self, task: &mut Option<Task>) -> bool {
        let submission = self.submission();
        let inner = self.lock();
        if inner.dispatcher.closing || inner.dispatcher.is_full() {
            return false;
        }
        self.enqueue_locked(inner, task, submission.as_ref());
        true
    }

    fn enqueue_locked(
        &self,
        mut inner: MutexGuard<'_, LockedPool>,
        task: &mut Option<Task>,
        submission: Option<&Submission>,
    ) {
        let dispatcher = &mut inner.dispatcher;
        let Some(now) = task.as_ref().map(|task| task.submitted) else {
            return;
        };
        if dispatcher.give_in_burst(task, now) {
            return;
        }
        let Some(task) = task.take() else {
            return;
        };
        let mut deferred = Deferred::default();
        let halted = dispatcher.respawn.is_halted();
        // A caller that submits one task after another looks after the pool meanwhile.
        let looks = dispatcher.is_look_due(now);
        let number = dispatcher.next_number;
        if let (Some(spans), Some(submission)) = (&self.spans, submission) {
            spans.accepted(number, 1, task.target, submission);
        }
        dispatcher.accept(task);
        if dispatcher.is_traced {
            deferred.events.push(TraceEvent::Submitted(number, 1));
        }
        if halted || looks {
            dispatcher.poll(&mut deferred, false);
        } else {
            dispatcher.assign(&mut deferred.at(now));
        }
        if inner.driver == Driver::None {
            self.set_listener_wakeups(&mut inner, &mut deferred);
        } else {
            inner.dispatcher.update_timer();
        }
        self.unlock_and_run(inner, deferred);
    }

    /// Whether the queue is at its limit, now that everything was looked at.
    pub(super) fn is_full(&self) -> bool {
        self.poll();
        self.lock().dispatcher.is_full()
    }

    /// Counts a task that was rejected before it was queued: its input could not be encoded, or its
    /// deadline had passed.
    pub(super) fn count_rejected(&self, why: &JoinError) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        let dispatcher = &mut inner.dispatcher;
        dispatcher.stats.submitted += 1;
        dispatcher.stats.count_failure(why);
        if dispatcher.is_traced {
            let task = dispatcher.next_number;
            dispatcher.next_number += 1;
            deferred.events.push(TraceEvent::Submitted(task, 1));
            let outcome = TaskOutcome::of_error(why).label();
            let ended = TraceEvent::Ended(task, outcome, Duration::ZERO);
            deferred.events.push(ended);
        }
        self.unlock_and_run(inner, deferred);
    }
}

//! Ending tasks before their end: cancelled, over their time, not begun; and all of them.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::{Assignment, WorkerIndex};
use super::deferred::{Ctx, Drawing, TraceEvent};
use super::dispatcher::Dispatcher;
use super::outcome::RawOutcome;
use super::respawn::StartFailure;
use super::result_cell::{EarlyEnd, HasResultCell};
use super::task::{ResultSink, Task};
use super::worker_slot::{SlotStatus, Termination, WorkerSlot};
use crate::sim::local::{Instant, Ordering};
use crate::sys::process;
use crate::{JoinError, Timeout};

/// How long a worker may take to begin what it was given, before it is given to another that has
/// nothing to do.
const SLOW: Duration = Duration::from_millis(10);

/// How long a worker may take to begin what it was given, before it is ended: it runs something
/// that it hides, or is beyond help. Not counted is time in which it is stopped.
const STUCK: Duration = Duration::from_secs(10);

/// How a worker ends whose task is ended early.
fn termination(why: EarlyEnd) -> Termination {
    match why {
        EarlyEnd::Cancelled => Termination::Cancelled,
        EarlyEnd::Expired => Termination::TimedOut,
    }
}

impl Dispatcher {
    /// Cancels a task that has not ended.
    pub(super) fn cancel(&mut self, handle: &dyn HasResultCell, ctx: &mut Ctx<'_>) {
        self.end_early(handle, EarlyEnd::Cancelled, ctx);
        self.assign(ctx);
    }

    /// Cancels a task that no worker has begun.
    pub(super) fn cancel_unbegun(&mut self, handle: &dyn HasResultCell, ctx: &mut Ctx<'_>) {
        let cell = handle.cell();
        if let Some(Assignment { worker: i, number }) = cell.assignment() {
            let is_first = self
                .workers
                .get(i)
                .is_none_or(|slot| slot.first() == number);
            if self.workers.get(i).is_some_and(WorkerSlot::is_ready) {
                self.take_back(i, number, ctx);
            } else if !is_first {
                // Its worker is being ended: it does not go back into the queue then.
                cell.set_early_end(EarlyEnd::Cancelled);
            }
        }
        if !cell.is_done() && cell.assignment().is_none() {
            cell.set_early_end(EarlyEnd::Cancelled);
            self.end_queued(handle, EarlyEnd::Cancelled, ctx);
        }
        self.assign(ctx);
    }

    /// Ends the tasks whose deadline has passed.
    pub(super) fn enforce_deadlines(&mut self, ctx: &mut Ctx<'_>) {
        let mut ended = false;
        while let Some(of) = self.own_times.take_expired(ctx.now) {
            self.end_early(&*of, EarlyEnd::Expired, ctx);
            ended = true;
        }
        if ended {
            self.assign(ctx);
        }
    }

    fn end_early(&mut self, handle: &dyn HasResultCell, why: EarlyEnd, ctx: &mut Ctx<'_>) {
        let cell = handle.cell();
        if cell.is_done() {
            return;
        }
        cell.set_early_end(why);
        let Some(Assignment { worker: i, number }) = cell.assignment() else {
            return self.end_queued(handle, why, ctx);
        };
        if !self.workers.get(i).is_some_and(WorkerSlot::is_ready) {
            // It is being ended anyway, or its end is about to be settled.
            return;
        }
        // `take_back` has taken back and ended a task that had not begun.
        if self.take_back(i, number, ctx) && !cell.is_done() {
            self.terminate_running(i, number, termination(why), ctx);
        }
    }

    /// Ends a task, which is not to be run any more, and which no worker has.
    pub(super) fn fail_early(&mut self, task: Task, why: EarlyEnd, ctx: &mut Ctx<'_>) {
        match &task.sink {
            ResultSink::Handle(of) => {
                let of = Arc::clone(of);
                of.cell().set_early_end(why);
                let error = self.early_error(&*of, why);
                self.complete(task, RawOutcome::failed(error), ctx);
            }
            // It has no time of its own.
            ResultSink::Map(..) => self.fail(task, || JoinError::Cancelled, ctx),
        }
    }

    /// The error of a task that is not run any more.
    fn early_error(&self, handle: &dyn HasResultCell, why: EarlyEnd) -> JoinError {
        match why {
            EarlyEnd::Cancelled => JoinError::Cancelled,
            EarlyEnd::Expired => {
                let name = handle.target().name(&self.options);
                let limit = handle.cell().exceeded(self.options.timeout, false);
                JoinError::TimedOut(Timeout::new(name, limit))
            }
        }
    }

    /// Ends a task that no worker has. Its input is dropped now where that is soon done.
    fn end_queued(&mut self, handle: &dyn HasResultCell, why: EarlyEnd, ctx: &mut Ctx<'_>) {
        let cell = handle.cell();
        // A subscriber gets it by its number.
        let may_search = self.is_traced || self.queue.is_short();
        let removed = may_search.then(|| self.queue.remove(cell)).flatten();
        if let Some(task) = removed {
            return self.fail_early(task, why, ctx);
        }
        let error = self.early_error(handle, why);
        self.stats.count_failure(&error);
        self.own_times.remove(cell);
        self.stats
            .latencies
            .record(ctx.now.saturating_duration_since(cell.submitted()));
        self.changed = true;
        cell.complete(RawOutcome::failed(error), &mut ctx.deferred.wakeups);
        let cancelled = self.queue.count_cancelled();
        if !cancelled.is_empty() {
            ctx.deferred.rare().cancelled.extend(cancelled);
        }
    }

    /// Ends a worker that has begun this one of its tasks, and has nothing that it could begin
    /// next: unless it has finished that one meanwhile, for then it may have begun another, before
    /// all that was taken back.
    pub(super) fn terminate_running(
        &mut self,
        i: WorkerIndex,
        number: u32,
        termination: Termination,
        ctx: &mut Ctx<'_>,
    ) {
        // What it has begun last, it has begun after the results of all others were shown.
        self.collect_from(i, ctx);
        let slot = &self.workers[i];
        if slot.is_ready() && !slot.assigned.is_empty() && slot.first() == number {
            self.terminate(i, termination, self.grace);
        }
    }

    /// What runs was to be ended early while the result of the one before it was still to come.
    pub(super) fn apply_early_end(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let slot = &self.workers[i];
        if let Some(why) = slot.assigned.first().and_then(Task::early_end) {
            self.terminate_running(i, slot.first(), termination(why), ctx);
        }
    }

    /// Ends a worker that does not begin what it was given.
    fn terminate_stalled(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let first = self.workers[i].first();
        if !self.take_back(i, first, ctx) {
            return;
        }
        let slot = &mut self.workers[i];
        if slot.assigned.is_empty() {
            self.workers.end_idle(i);
            self.terminate(i, Termination::Stalled, Duration::ZERO);
        } else {
            // It has begun meanwhile.
            slot.front_since.1 = ctx.now;
        }
    }

    /// Gives what a worker has not begun for some time to those that have nothing to do: it may be
    /// stopped, or starved. Whether there may be more of that.
    pub(super) fn steal_from_stalled(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let mut unbegun = false;
        for i in self.workers.busy().to_vec() {
            let slot = &self.workers[i];
            let first = slot.first();
            let begun = slot
                .connection
                .as_ref()
                .and_then(|connection| connection.begun().ok());
            if !slot.is_ready() || begun != Some(first) || slot.assigned.is_empty() {
                continue;
            }
            unbegun = true;
            if let Some(connection) = &slot.connection {
                // It may sleep, and the word that says so be written over.
                connection.force_wake();
                // Where tasks have a time, so has a worker that was stopped, for those that wait in
                // its place.
                if slot.time_limit(self.options.timeout).is_some()
                    && !slot.assigned.is_first_doubted()
                    && ctx.now.saturating_duration_since(slot.front_since.1) >= SLOW
                    && process::is_stopped(connection.pid())
                {
                    self.terminate_stalled(i, ctx);
                    continue;
                }
            }
            let time = ctx.now.saturating_duration_since(slot.front_since.1);
            let is_doubted = slot.assigned.is_first_doubted();
            if time >= STUCK && !slot.pid().is_some_and(process::is_stopped) {
                match is_doubted {
                    true => self.on_protocol_error(i, ctx),
                    false => self.terminate_stalled(i, ctx),
                }
            } else if time >= SLOW && !is_doubted && !self.workers.idle().is_empty() {
                self.workers[i].is_stalled = true;
                self.take_back(i, first, ctx);
            }
        }
        if unbegun {
            self.assign(ctx);
        }
        unbegun
    }

    /// Whether the time is over of the first task of a worker.
    fn is_overdue(&mut self, i: WorkerIndex, timeout: Duration, now: Instant) -> bool {
        let slot = &mut self.workers[i];
        let is_over = |slot: &WorkerSlot| slot.over_at(timeout).is_some_and(|at| at <= now);
        let (Some(connection), true) = (&slot.connection, is_over(slot)) else {
            return false;
        };
        // The fork server, which tells of that, may be stopped itself.
        match (process::is_stopped(connection.pid()), slot.stopped) {
            (false, None) | (true, Some(_)) => true,
            (true, None) => {
                slot.stopped = Some(now);
                is_over(slot)
            }
            (false, Some(since)) => {
                slot.stopped = None;
                slot.record_stop(now.saturating_duration_since(since), timeout, now);
                is_over(slot)
            }
        }
    }

    /// This program could not run for the time `missed`, until now: no task's time is over because
    /// of that.
    pub(super) fn give_time_back(&mut self, missed: Duration, now: Instant) {
        if !missed.is_zero() {
            self.workers
                .iter_mut()
                .for_each(|slot| slot.give_time_back(missed, now));
        }
    }

    /// Takes notice of workers that were stopped, and of those that go on.
    pub(super) fn note_stops(&mut self, ctx: &mut Ctx<'_>) {
        let stops = self.server.exit_table.stops().load(Ordering::Acquire);
        if std::mem::replace(&mut self.stops, stops) == stops {
            return;
        }
        for slot in self.workers.iter_mut() {
            let Some((pid, (stopped, stood))) =
                slot.connection.as_ref().map(|l| (l.pid(), l.stop()))
            else {
                continue;
            };
            let before = std::mem::replace(&mut slot.stopped_before, stood);
            if let Some(timeout) = slot.time_limit(self.options.timeout) {
                slot.record_stop(stood.saturating_sub(before), timeout, ctx.now);
            }
            match (stopped, slot.stopped) {
                (true, None) => {
                    ctx.deferred.events.push(TraceEvent::Stopped(pid));
                    let mark = Drawing::Mark(pid, "stopped", "by a signal".into());
                    ctx.deferred.drawings.push(mark);
                }
                (false, Some(_)) => {
                    ctx.deferred.events.push(TraceEvent::GoesOn(pid));
                    let mark = Drawing::Mark(pid, "continued", "by a signal".into());
                    ctx.deferred.drawings.push(mark);
                }
                _ => {}
            }
            slot.stopped = stopped.then(|| slot.stopped.unwrap_or(ctx.now));
        }
    }

    fn end_starts_that_take_too_long(&mut self, woke: Instant, ctx: &mut Ctx<'_>) {
        let Some(limit) = self.options.time_to_get_ready() else {
            return;
        };
        for i in self.workers.indices() {
            let slot = &self.workers[i];
            if slot.status == SlotStatus::Starting
                && woke.saturating_duration_since(slot.last_progress) >= limit
            {
                let what = if self.options.initializer.is_some() {
                    "its initializer"
                } else {
                    "its preparation"
                };
                let why = format!("a worker was not ready: {what} took longer than {limit:?}");
                self.clear_slot(i, ctx.now);
                self.on_start_failure(i, StartFailure::spawn_failed(why), ctx);
            }
        }
    }

    /// Ends the tasks whose time was over when the listener `woke`, and workers that take too long
    /// to get ready. As of then, so that a stop of this program in the middle of this counts for no
    /// task.
    pub(super) fn enforce_timeouts(&mut self, woke: Instant, ctx: &mut Ctx<'_>) {
        let of_pool = self.options.timeout;
        if of_pool.is_none() && self.own_times.shortest_timeout().is_none() {
            return;
        }
        self.end_starts_that_take_too_long(woke, ctx);
        let mut taken = false;
        for at in (0..self.workers.busy().len()).rev() {
            let Some(&i) = self.workers.busy().get(at) else {
                continue;
            };
            let Some(timeout) = self.workers[i].time_limit(of_pool) else {
                continue;
            };
            if !self.is_overdue(i, timeout, woke) {
                continue;
            }
            let slot = &self.workers[i];
            let first = slot.first();
            let begun = slot
                .connection
                .as_ref()
                .map(|connection| connection.begun());
            match begun {
                Some(Ok(begun)) if begun != first || slot.assigned.is_first_doubted() => {
                    if self.take_back(i, first.wrapping_add(1), ctx) {
                        self.terminate_running(i, first, Termination::TimedOut, ctx);
                    }
                }
                // All this time it has not begun: it is stopped, or worse. Another worker will do
                // it.
                Some(Ok(_)) => {
                    self.terminate_stalled(i, ctx);
                }
                _ => self.on_protocol_error(i, ctx),
            }
            taken = true;
        }
        if taken {
            self.assign(ctx);
        }
    }

    /// Cancels everything.
    pub(super) fn cancel_all(&mut self, ctx: &mut Ctx<'_>) {
        self.aborting = true;
        for i in self.workers.busy().to_vec() {
            if !self.workers[i].is_ready() {
                continue;
            }
            let first = self.workers[i].first();
            if self.take_back(i, first, ctx) {
                self.collect_from(i, ctx);
                let first = self.workers[i].first();
                self.terminate_running(i, first, Termination::Cancelled, ctx);
            }
        }
        while let Some(task) = self.queue.pop_any() {
            if self.is_unwanted(&task) {
                self.discard(task, ctx);
            } else {
                self.fail(task, || JoinError::Cancelled, ctx);
            }
        }
    }

    /// The results of a map are not wanted any more: its tasks that have not begun never will.
    pub(super) fn close_map(&mut self, map: u32, ctx: &mut Ctx<'_>) {
        self.maps.close(map, ctx.deferred);
        for i in self.workers.busy().to_vec() {
            let slot = &self.workers[i];
            let mine = |t: &Task| matches!(t.sink, ResultSink::Map(of, _) if of == map);
            if slot.is_ready() && slot.assigned.count() > 1 && slot.assigned.iter().any(mine) {
                let first = slot.first();
                self.take_back(i, first.wrapping_add(1), ctx);
            }
        }
        for task in self.queue.remove_map(map) {
            self.fail(task, || JoinError::Cancelled, ctx);
        }
        self.assign(ctx);
    }
}

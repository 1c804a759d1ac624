//! Giving out what there is to do; and taking it back from one for another.

use std::time::Duration;

use super::assignment::WorkerIndex;
use super::deferred::{Ctx, TraceEvent};
use super::dispatcher::Dispatcher;
use super::outcome::{RawOutcome, TransferError};
use super::result_cell::EarlyEnd;
use super::task::{ResultSink, Task};
use super::worker_slot::{AssignRefusal, Given, Termination, WorkerSlot};
use crate::JoinError;
use crate::pool::policy::estimate::WORTH_WAKING;
use crate::sim::local::{Instant, spin};
use crate::sys::processors;
use crate::worker::process::host::events::WorkerEvents;

/// How many busy workers the dispatcher looks at for one that takes a tiny task beside those that
/// it has.
const MAX_BUSY_TRIED: usize = 4;

/// A worker that has not ended a task for this time, while tasks are tiny, runs something else; or
/// has no processor.
const STALLED_AFTER: Duration = Duration::from_millis(1);

/// How many tiny tasks a submitter writes to a busy worker before it offers them, in one step.
const OFFERED_TOGETHER: u32 = 16;

/// Busy workers notify the host to have their tasks shared with idle ones when they have `SHARED`
/// times the tasks that are worth waking a worker for.
const SHARED: usize = 4;

/// Where a worker's events are read, if it sends any.
fn events_of(slot: &WorkerSlot) -> Option<&WorkerEvents> {
    slot.connection.as_ref()?.events()
}

impl Dispatcher {
    /// Gives out what there is to do.
    pub(super) fn assign(&mut self, ctx: &mut Ctx<'_>) {
        loop {
            if self.queue.has_pinned() {
                self.assign_pinned(ctx);
            }
            if self.queue.is_empty() && !self.steal(ctx) {
                break;
            }
            let idle = self.workers.idle().len();
            self.fill_busy_first(ctx);
            self.assign_idle(ctx);
            self.prefetch(ctx);
            // A worker that got the tasks of another has some ahead now, which an idle worker may
            // take: again, until no worker has become busy.
            if !self.queue.is_empty() || self.workers.idle().len() == idle {
                break;
            }
        }
        self.offer_and_wake();
    }

    /// Gives tiny tasks to workers that are at work, as long as what they have would not have been
    /// worth waking another for: to wake one costs more than many such tasks, and on a machine
    /// with few processors the one that is woken takes the host's.
    fn fill_busy_first(&mut self, ctx: &mut Ctx<'_>) {
        let Some(enough) = self.estimate.worth_waking() else {
            return;
        };
        if self.workers.idle().is_empty() {
            return;
        }
        for at in 0..self.workers.busy().len().min(MAX_BUSY_TRIED) {
            if self.queue.is_empty() || self.front_is_for_an_empty_worker() {
                return;
            }
            let i = self.workers.busy()[at];
            let slot = &self.workers[i];
            let room = enough.saturating_sub(slot.assigned.count());
            let may_grow = slot.has_room() && !self.queue.has_pinned_to(i);
            if room > 0 && may_grow && !slot.seems_held_up(ctx.now) {
                self.assign_to(i, room, ctx);
            }
        }
    }

    /// How many workers what there is to do is for: of tiny tasks, as many as there are processors.
    pub(super) fn sharers(&self) -> usize {
        let all = self.workers.active();
        match self.estimate.worth_waking() {
            Some(_) => all.min(processors::usable()),
            None => all,
        }
    }

    /// How many of the first busy workers are given more. Of tiny tasks, those are as many as there
    /// are processors: others would only take one from them, and are left to finish what they have.
    fn workers_to_feed(&self, now: Instant) -> usize {
        let busy = self.workers.busy().len();
        if self.estimate.worth_waking().is_none() {
            return busy;
        }
        let last = self.at_work(now).take(processors::usable()).last();
        last.map_or(busy, |at| at + 1)
    }

    /// Whether as many workers run tiny tasks as there are processors.
    pub(super) fn has_enough_at_work(&self, now: Instant) -> bool {
        let last = processors::usable() - 1;
        self.estimate.worth_waking().is_some() && self.at_work(now).nth(last).is_some()
    }

    /// The places, among the busy ones, of workers that do not seem to run something long.
    fn at_work(&self, now: Instant) -> impl Iterator<Item = usize> {
        let busy = self.workers.busy().iter().enumerate();
        let at_work =
            busy.filter(move |&(_, &i)| !self.workers[i].is_held_up_for(STALLED_AFTER, now));
        at_work.map(|(at, _)| at)
    }

    /// Accepts a tiny task that follows others at once: it is given to a worker that is at work,
    /// which is offered several together, and not woken for them. That is made up for by the caller
    /// that looks next: a caller that waits, or submits a little later, or the listener, whose
    /// timer is set.
    ///
    /// `false`: it is not one of those, and stays where it is.
    // By reference: to move a task would cost more than the rest of this function.
    pub(super) fn give_in_burst(&mut self, task: &mut Option<Task>, now: Instant) -> bool {
        let (Some(enough), Some(new)) = (self.estimate.worth_waking(), task.as_mut()) else {
            return false;
        };
        if self.is_traced
            || new.has_options
            || new.pin.is_some()
            || self.queue.has_pinned()
            || !self.queue.is_empty()
            || now.saturating_duration_since(self.looked) >= WORTH_WAKING
        {
            return false;
        }
        let bytes = new.input.len();
        new.number = self.next_number;
        for at in 0..self.workers.busy().len().min(MAX_BUSY_TRIED) {
            let i = self.workers.busy()[at];
            let slot = &self.workers[i];
            if slot.assigned.count() >= enough || !slot.has_room() || slot.seems_held_up(now) {
                continue;
            }
            if !self.workers.assign_plain(i, task) {
                return false;
            }
            self.count_accepted(1, bytes);
            if let Some(connection) = &mut self.workers[i].connection {
                if connection.unoffered() >= OFFERED_TOGETHER {
                    connection.offer();
                }
            }
            self.update_timer_in_burst();
            return true;
        }
        false
    }

    /// Whether some of what busy workers have should be given to those that do nothing: they are to
    /// tell when that can be done.
    pub(super) fn has_work_to_share(&self) -> bool {
        let behind = self.workers.behind_first();
        let enough = self.estimate.worth_waking();
        // A caller that submits tiny tasks takes results now and then: most of these may have
        // ended.
        behind >= enough.map_or(1, |enough| SHARED * enough)
    }

    /// Those that do nothing, the one that was used last first.
    pub(super) fn assign_idle(&mut self, ctx: &mut Ctx<'_>) {
        let window = self.estimate.prefetch_depth();
        let ready = self.sharers();
        let mut at = self.workers.idle().len();
        let mut misses = 0;
        while at > 0 && !self.queue.is_empty() && misses <= self.queue.entries() {
            at -= 1;
            if self.has_enough_at_work(ctx.now) && !self.front_is_for_an_empty_worker() {
                break;
            }
            let share = (self.queue.tasks() / (2 * ready)).clamp(1, window);
            // A worker that cannot take it now asks for what it needs to do so later.
            let i = self.workers.idle()[at];
            if self.queue.has_pinned_to(i) || !self.assign_to(i, share, ctx) {
                misses += 1;
            }
        }
    }

    /// Whether the next task goes to a worker that has no other. One with descriptors does: a
    /// worker that it was taken back from would still have them in its descriptor socket, and a
    /// receiver at their other ends would wait in vain. And one that is
    /// [`isolated`](Task::isolated), or has a [deadline](Task::has_deadline).
    fn front_is_for_an_empty_worker(&self) -> bool {
        self.queue
            .first()
            .is_some_and(|task| task.isolated || task.has_deadline || task.input.descriptors() > 0)
    }

    /// Gives busy workers tasks ahead, so that a worker that ends one need not wait for the host.
    pub(super) fn prefetch(&mut self, ctx: &mut Ctx<'_>) {
        let window = self.estimate.prefetch_depth();
        let ready = self.sharers();
        let workers_to_feed = self.workers_to_feed(ctx.now);
        let mut seen = 0;
        while !self.queue.is_empty()
            && !self.front_is_for_an_empty_worker()
            && !self.workers.is_all_full()
            && seen < workers_to_feed
        {
            let i = self.workers.next_busy(workers_to_feed);
            let slot = &self.workers[i];
            let room = window.saturating_sub(slot.assigned.count());
            if room == 0 || !slot.has_room() || self.queue.has_pinned_to(i) {
                seen += 1;
                continue;
            }
            let share = self.queue.tasks().div_ceil(2 * ready).clamp(1, room);
            // Where it took none, the tasks that are first were cancelled: the next worker is
            // asked.
            seen = if self.assign_to(i, share, ctx) {
                0
            } else {
                seen + 1
            };
        }
        if seen > 0 && seen == workers_to_feed {
            self.workers.set_all_full(true);
        }
    }

    /// Gives a slot the next `count` tasks. `false`: it took none, and it is not idle any more.
    pub(super) fn assign_to(&mut self, i: WorkerIndex, count: usize, ctx: &mut Ctx<'_>) -> bool {
        self.assign_from(i, count, false, ctx)
    }

    /// As [`assign_to`](Self::assign_to); or (`pinned`) of the tasks that this slot alone is to
    /// run.
    pub(super) fn assign_from(
        &mut self,
        i: WorkerIndex,
        count: usize,
        pinned: bool,
        ctx: &mut Ctx<'_>,
    ) -> bool {
        let mut given = 0;
        while given < count {
            let Some(mut task) = self.next_for(i, count - given, pinned, ctx) else {
                break;
            };
            let (number, with) = (task.number, task.with);
            let connection = self.workers[i].connection.as_ref();
            let pid = connection.map_or(0, |connection| connection.pid());
            let mut position = 0;
            if self.is_traced {
                task.with = pid;
                position = connection.map_or(0, |connection| connection.next());
            }
            let Given {
                took,
                mut rest,
                refused,
            } = self.workers.assign(i, task);
            if self.is_traced {
                if let (Some(events), true) = (events_of(&self.workers[i]), took > 0) {
                    events.gave(position, took, number);
                }
                if let Some(rest) = &mut rest {
                    rest.with = with;
                }
                if with != 0 && with != pid {
                    let moved = (number..number + u64::from(took)).map(|task| TraceEvent::Moved {
                        from: with,
                        to: pid,
                        task,
                    });
                    ctx.deferred.events.extend(moved);
                }
            }
            given += took as usize;
            match (rest, refused) {
                (Some(rest), Some(refused)) => self.refuse(rest, &refused, ctx),
                (Some(rest), None) => {
                    self.queue.push_front(rest);
                    break;
                }
                (None, _) => {}
            }
        }
        if given > 0 {
            if self.workers.mark_busy(i, ctx.now) {
                let slot = &mut self.workers[i];
                slot.last_progress = ctx.now;
                slot.awaits_first_result = true;
                slot.front_since = (slot.first(), ctx.now);
                self.wakeups.mark_stale(i);
                // The one that sleeps does not know of this one.
                ctx.deferred.wake_driver = true;
            }
            return true;
        }
        self.look_why_none_taken(i, ctx);
        false
    }

    /// Takes from the queue the first task that this slot may run; of a batch, its first `most`
    /// tasks. Tasks before it that are not to run any more are ended.
    #[inline]
    fn next_for(
        &mut self,
        i: WorkerIndex,
        most: usize,
        pinned: bool,
        ctx: &mut Ctx<'_>,
    ) -> Option<Task> {
        loop {
            let assigned = &self.workers[i].assigned;
            let is_alone = pinned || self.front_is_for_an_empty_worker();
            if is_alone && !assigned.is_empty() || !assigned.may_grow() {
                return None;
            }
            let mut task = if pinned {
                self.queue.pop_pinned(i)?
            } else {
                self.queue.pop()?
            };
            if self.is_unwanted(&task) {
                self.discard(task, ctx);
                continue;
            }
            if task.has_deadline && task.deadline().is_some_and(|at| at <= ctx.now) {
                self.fail_early(task, EarlyEnd::Expired, ctx);
                continue;
            }
            let wanted = if task.isolated { 1 } else { most as u32 };
            if task.count() > wanted {
                if let Some(rest) = task.split_off(wanted) {
                    self.queue.push_front(rest);
                }
            }
            return Some(task);
        }
    }

    /// A slot took nothing that it was to be given: ends its worker if that can never take
    /// anything.
    fn look_why_none_taken(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        // What it cannot take now, for its descriptor socket is still to come, it can take when it
        // is called again.
        let is_busy = self.workers.is_busy(i);
        let slot = &mut self.workers[i];
        if slot.ring_full && !is_busy {
            slot.ring_full = false;
        }
        if slot.fd_socket_broken && !is_busy && slot.is_ready() {
            self.workers.end_idle(i);
            self.terminate(i, Termination::Stalled, Duration::ZERO);
        } else if slot.ring_broken && !is_busy && slot.is_ready() {
            self.on_protocol_error(i, ctx);
        }
    }

    /// A task in the queue was cancelled, and its handle has the end.
    pub(super) fn discard(&mut self, task: Task, ctx: &mut Ctx<'_>) {
        match &task.sink {
            ResultSink::Handle(_) => self.queue.drop_cancelled(task),
            ResultSink::Map(..) => self.fail(task, || JoinError::Cancelled, ctx),
        }
    }

    /// Ends a task, or several, that no worker can be given.
    fn refuse(&mut self, task: Task, refused: &AssignRefusal, ctx: &mut Ctx<'_>) {
        let name = task.target.name(&self.options);
        let has_context = task.context.as_ref().is_some_and(|it| !it.is_state());
        let why = refused.why(has_context);
        let end = || TransferError::Why(why.clone()).into_error(name.clone());
        self.fail(task, end, ctx);
    }

    /// Ends a task, or several, that never ran.
    pub(super) fn fail(&mut self, mut task: Task, why: impl Fn() -> JoinError, ctx: &mut Ctx<'_>) {
        while task.count() > 1 {
            let Some(one) = task.take_first() else { break };
            self.complete(one, RawOutcome::failed(why()), ctx);
        }
        self.complete(task, RawOutcome::failed(why()), ctx);
    }

    /// There is nothing in the queue, one worker has nothing to do, and another has more than
    /// the one task that it runs: takes back a part of what it has not begun. `false`: there is
    /// none.
    pub(super) fn steal(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if self.workers.idle().is_empty() || !self.workers.has_queued_behind() {
            return false;
        }
        let enough = if self.has_enough_at_work(ctx.now) {
            usize::MAX
        } else {
            self.estimate.worth_waking().unwrap_or(1)
        };
        let is_worth_it = |slot: &WorkerSlot| {
            let behind = slot.assigned.behind_first();
            behind >= enough || behind > 0 && slot.seems_held_up(ctx.now)
        };
        let loaded = self
            .workers
            .busy()
            .iter()
            .copied()
            .filter(|&i| self.workers[i].is_ready() && is_worth_it(&self.workers[i]))
            .max_by_key(|&i| self.workers[i].assigned.behind_first());
        let Some(i) = loaded else {
            return false;
        };
        let slot = &self.workers[i];
        // All but the one that it runs, shared with the workers that have nothing to do.
        let share = slot.assigned.behind_first() / (1 + self.workers.idle().len());
        let keep = slot.first().wrapping_add(1 + share as u32);
        self.take_back(i, keep, ctx);
        !self.queue.is_empty()
    }

    pub(super) fn offer_and_wake(&mut self) {
        for at in 0..self.workers.busy().len() {
            self.publish_to(self.workers.busy()[at]);
        }
    }

    pub(super) fn publish_to(&mut self, i: WorkerIndex) {
        // Whether there is a processor for a worker that only looks: one for each that works, and
        // one for us.
        let may_spin = self.workers.busy().len() < processors::usable() && spin::pays();
        let slot = &mut self.workers[i];
        if std::mem::take(&mut slot.unoffered) {
            if let Some(connection) = &mut slot.connection {
                connection.offer_and_wake(may_spin);
            }
        }
    }

    /// A worker has no task any more.
    pub(super) fn mark_idle(&mut self, i: WorkerIndex, now: Instant) {
        let leaves = self.workers[i].leaves;
        let Some(since) = self.workers.end_busy(i) else {
            return;
        };
        self.stats.busy += now.saturating_duration_since(since);
        let slot = &self.workers[i];
        if slot.is_ready() && slot.fd_socket_broken {
            self.terminate(i, Termination::Stalled, Duration::ZERO);
        } else if slot.is_ready() && leaves {
            self.dismiss(i, now);
        } else if slot.is_ready() && slot.is_stalled {
            self.workers.mark_idle_last(i);
        } else if slot.is_ready() {
            self.workers.mark_idle(i);
        }
    }
}

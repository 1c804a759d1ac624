//! Giving out what there is to do; and taking it back from one for another.

use std::time::Duration;

use super::assignment::WorkerIndex;
use super::deferred::{Ctx, Event};
use super::dispatcher::State;
use super::outcome::End;
use super::task::{Owner, Task};
use super::worker_slot::Doom;
use crate::JoinError;
use crate::sim::local::{Instant, spin};
use crate::sys::processors;

impl State {
    /// Gives out what there is to do.
    pub(super) fn feed(&mut self, ctx: &mut Ctx<'_>) {
        loop {
            if self.queue.is_empty() && !self.balance(ctx) {
                break;
            }
            let idle = self.workers.idle().len();
            self.feed_idle(ctx);
            self.feed_ahead(ctx);
            // What was taken from one for another is shared further, as long as there is somebody
            // who takes it.
            if !self.queue.is_empty() || self.workers.idle().len() == idle {
                break;
            }
        }
        self.publish();
    }

    /// Those that do nothing, the one that was used last first.
    pub(super) fn feed_idle(&mut self, ctx: &mut Ctx<'_>) {
        let window = self.pace.prefetch_depth();
        let ready = self.workers.active();
        let mut at = self.workers.idle().len();
        let mut misses = 0;
        while at > 0 && !self.queue.is_empty() && misses <= self.queue.entries() {
            at -= 1;
            let share = (self.queue.tasks() / (2 * ready)).clamp(1, window);
            // One that cannot take it now asks for what it needs to do so later.
            if !self.give(self.workers.idle()[at], share, ctx) {
                misses += 1;
            }
        }
    }

    /// Whether the next task brings descriptors. It is given to a worker that begins it at once:
    /// one that it was taken back from would still have them in its lane, and who waits for their
    /// other ends would wait in vain.
    fn next_needs_its_own(&self) -> bool {
        self.queue
            .first()
            .is_some_and(|task| task.input.descriptors() > 0)
    }

    /// Some ahead, so that nobody waits for us.
    pub(super) fn feed_ahead(&mut self, ctx: &mut Ctx<'_>) {
        let window = self.pace.prefetch_depth();
        let ready = self.workers.active();
        let mut seen = 0;
        while !self.queue.is_empty()
            && !self.next_needs_its_own()
            && !self.workers.is_all_full()
            && seen < self.workers.busy().len()
        {
            let i = self.workers.next_busy();
            let seat = &self.workers[i];
            let room = window.saturating_sub(seat.hand.count());
            if room == 0 || !seat.has_room() {
                seen += 1;
                continue;
            }
            let share = self.queue.tasks().div_ceil(2 * ready).clamp(1, room);
            // Of those that nobody wants it takes none.
            seen = if self.give(i, share, ctx) {
                0
            } else {
                seen + 1
            };
        }
        if seen > 0 && seen == self.workers.busy().len() {
            self.workers.set_all_full(true);
        }
    }

    /// Gives a seat so many of the next tasks. `false`: it took none, and it is not idle any more.
    pub(super) fn give(&mut self, i: WorkerIndex, count: usize, ctx: &mut Ctx<'_>) -> bool {
        let mut given = 0;
        while given < count {
            if self.next_needs_its_own() && self.workers[i].hand.count() > 0 {
                break;
            }
            let Some(mut task) = self.queue.pop() else {
                break;
            };
            if self.is_unwanted(&task) {
                self.drop_unwanted(task, ctx);
                continue;
            }
            let wanted = (count - given) as u32;
            if task.count() > wanted {
                if let Some(rest) = task.split_off(wanted) {
                    self.queue.push_front(rest);
                }
            }
            let (number, with) = (task.number, task.with);
            let pid = self.workers[i].line.as_ref().map_or(0, |l| l.pid());
            if self.heard {
                task.with = pid;
            }
            let (took, mut rest) = self.workers.assign(i, task);
            if self.heard {
                if let Some(rest) = &mut rest {
                    rest.with = with;
                }
                if with != 0 && with != pid {
                    let moved = (number..number + u64::from(took)).map(|task| Event::Moved {
                        from: with,
                        to: pid,
                        task,
                    });
                    ctx.deferred.events.extend(moved);
                }
            }
            given += took as usize;
            if let Some(rest) = rest {
                self.queue.push_front(rest);
                break;
            }
        }
        if given > 0 {
            if self.workers.mark_busy(i, ctx.now) {
                let seat = &mut self.workers[i];
                seat.mark = ctx.now;
                seat.head = (seat.first(), ctx.now);
                self.wakeups.mark_stale(i);
                // The one that sleeps does not know of this one.
                ctx.deferred.wake_driver = true;
            }
            return true;
        }
        // What it cannot take now, for its lane is still to come, it can take when it is called
        // again.
        let is_busy = self.workers.is_busy(i);
        let seat = &mut self.workers[i];
        if seat.full && !is_busy {
            seat.full = false;
        }
        if seat.unfit && !is_busy && seat.is_ready() {
            self.workers.end_idle(i);
            self.doom(i, Doom::Stuck, Duration::ZERO);
        }
        false
    }

    /// A task that nobody wants any more, in the queue: its end was told.
    pub(super) fn drop_unwanted(&mut self, task: Task, ctx: &mut Ctx<'_>) {
        match &task.owner {
            Owner::Handle(_) => self.queue.drop_cancelled(task),
            Owner::Map(..) => self.fail(task, || JoinError::Cancelled, ctx),
        }
    }

    /// Ends a task, or several, that never ran.
    pub(super) fn fail(&mut self, mut task: Task, why: impl Fn() -> JoinError, ctx: &mut Ctx<'_>) {
        while task.count() > 1 {
            let Some(one) = task.take_first() else { break };
            self.finish(one, End::failed(why()), ctx);
        }
        self.finish(task, End::failed(why()), ctx);
    }

    /// There is nothing in the queue, somebody has nothing to do, and somebody else has more than
    /// the one task that it runs: takes back a part of what it has not begun. `false`: there is
    /// none.
    pub(super) fn balance(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if self.workers.idle().is_empty() || !self.workers.has_queued_behind() {
            return false;
        }
        let loaded = self
            .workers
            .busy()
            .iter()
            .copied()
            .filter(|&i| self.workers[i].is_ready())
            .max_by_key(|&i| self.workers[i].hand.behind_first());
        let Some(i) = loaded.filter(|&i| self.workers[i].hand.behind_first() > 0) else {
            return false;
        };
        let seat = &self.workers[i];
        // All but the one that it runs, shared with those who have nothing to do.
        let share = seat.hand.behind_first() / (1 + self.workers.idle().len());
        let keep = seat.first().wrapping_add(1 + share as u32);
        self.take_back(i, keep, ctx);
        !self.queue.is_empty()
    }

    pub(super) fn publish(&mut self) {
        for at in 0..self.workers.busy().len() {
            self.publish_seat(self.workers.busy()[at]);
        }
    }

    pub(super) fn publish_seat(&mut self, i: WorkerIndex) {
        // Whether there is a processor for a worker that only looks: one for each that works, and
        // one for us.
        let may_spin = self.workers.busy().len() < processors::usable() && spin::pays();
        let seat = &mut self.workers[i];
        if std::mem::take(&mut seat.dirty) {
            if let Some(line) = &mut seat.line {
                line.publish(may_spin);
            }
        }
    }

    /// A seat has nothing in hand any more.
    pub(super) fn unlist(&mut self, i: WorkerIndex, now: Instant) {
        let Some(since) = self.workers.end_busy(i) else {
            return;
        };
        self.stats.busy += now.saturating_duration_since(since);
        let seat = &self.workers[i];
        if seat.is_ready() && seat.unfit {
            self.doom(i, Doom::Stuck, Duration::ZERO);
        } else if seat.is_ready() && seat.slow {
            self.workers.mark_idle_last(i);
        } else if seat.is_ready() {
            self.workers.mark_idle(i);
        }
    }
}

//! Ending tasks before their end: cancelled, over their time, not begun; and all of them.

use std::time::Duration;

use super::assignment::{Assignment, WorkerIndex};
use super::deferred::{Ctx, Event};
use super::dispatcher::State;
use super::outcome::End;
use super::respawn::Reason;
use super::result_cell::Slot;
use super::task::{Owner, Task};
use super::worker_slot::{Doom, Seat, Status};
use crate::JoinError;
use crate::sim::local::{Instant, Ordering};
use crate::sys::process;

/// How long a worker may take to begin what it was given, before it is given to another that has
/// nothing to do.
const SLOW: Duration = Duration::from_millis(10);

impl State {
    /// Cancels a task that has not ended.
    pub(super) fn cancel(&mut self, slot: &Slot, ctx: &mut Ctx<'_>) {
        let Some(Assignment { worker: i, number }) = slot.assignment() else {
            return self.cancel_queued(slot, ctx);
        };
        slot.set_cancelled();
        if !self.workers.get(i).is_some_and(Seat::is_ready) {
            // It is being ended anyway, or its end is about to be told.
            return;
        }
        // If it was not begun, it has ended with that.
        if self.take_back(i, number, ctx) && !slot.is_done() {
            self.doom_with(i, number, Doom::Cancelled, ctx);
        }
        self.feed(ctx);
    }

    /// Cancels a task that no worker has. Its input is dropped now where that is soon done.
    fn cancel_queued(&mut self, slot: &Slot, ctx: &mut Ctx<'_>) {
        // Whoever listens to events is told of it by its number.
        let may_search = self.heard || self.queue.is_short();
        let removed = may_search.then(|| self.queue.remove(slot)).flatten();
        if let Some(task) = removed {
            return self.fail(task, || JoinError::Cancelled, ctx);
        }
        self.stats.cancelled += 1;
        self.stats
            .latencies
            .record(ctx.now.saturating_duration_since(slot.submitted()));
        self.news = true;
        slot.settle(End::failed(JoinError::Cancelled), &mut ctx.deferred.wakeups);
        let cancelled = self.queue.count_cancelled();
        ctx.deferred.cancelled.extend(cancelled);
    }

    /// Ends a worker that has begun this one of its tasks, and has nothing that it could begin
    /// next: unless it has finished that one meanwhile, for then it may have begun another, before
    /// all that was taken back.
    pub(super) fn doom_with(&mut self, i: WorkerIndex, number: u32, doom: Doom, ctx: &mut Ctx<'_>) {
        // What it has begun last, it has begun after the results of all others were shown.
        self.drain_seat(i, ctx);
        let seat = &self.workers[i];
        if seat.is_ready() && !seat.hand.is_empty() && seat.first() == number {
            self.doom(i, doom, self.grace);
        }
    }

    /// What runs was cancelled while the result of the one before it was still to come.
    pub(super) fn end_cancelled(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let seat = &self.workers[i];
        if let Some(Owner::Handle(slot)) = seat.hand.first().map(|task| &task.owner) {
            if slot.slot().is_cancelled() {
                self.doom_with(i, seat.first(), Doom::Cancelled, ctx);
            }
        }
    }

    /// Ends a worker that does not begin what it was given.
    fn give_up(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let first = self.workers[i].first();
        if !self.take_back(i, first, ctx) {
            return;
        }
        let seat = &mut self.workers[i];
        if seat.hand.is_empty() {
            self.workers.end_idle(i);
            self.doom(i, Doom::Stuck, Duration::ZERO);
        } else {
            // It has begun meanwhile.
            seat.head.1 = ctx.now;
        }
    }

    /// Gives what a worker has not begun for some time to those that have nothing to do: it may be
    /// stopped, or starved. Whether there may be more of that.
    pub(super) fn relieve(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let mut unbegun = false;
        for i in self.workers.busy().to_vec() {
            let seat = &self.workers[i];
            let first = seat.first();
            let begun = seat.line.as_ref().and_then(|l| l.begun().ok());
            if !seat.is_ready() || begun != Some(first) || seat.hand.is_empty() {
                continue;
            }
            unbegun = true;
            if let Some(line) = &seat.line {
                // It may sleep, and the word that says so be written over.
                line.force_wake();
                // Where tasks have a time, so has a worker that was stopped, for those that wait in
                // its place.
                if self.options.timeout.is_some()
                    && ctx.now.saturating_duration_since(seat.head.1) >= SLOW
                    && process::is_stopped(line.pid())
                {
                    self.give_up(i, ctx);
                    continue;
                }
            }
            if ctx.now.saturating_duration_since(seat.head.1) >= SLOW
                && !self.workers.idle().is_empty()
            {
                self.workers[i].slow = true;
                self.take_back(i, first, ctx);
            }
        }
        if unbegun {
            self.feed(ctx);
        }
        unbegun
    }

    /// Whether the time is over of what a seat has first in its hand.
    fn is_overdue(&mut self, i: WorkerIndex, timeout: Duration, now: Instant) -> bool {
        let seat = &mut self.workers[i];
        let is_over = |seat: &Seat| seat.over_at(timeout).is_some_and(|at| at <= now);
        let (Some(line), true) = (&seat.line, is_over(seat)) else {
            return false;
        };
        // The fork server, which tells of that, may be stopped itself.
        match (process::is_stopped(line.pid()), seat.stopped) {
            (false, None) | (true, Some(_)) => true,
            (true, None) => {
                seat.stopped = Some(now);
                is_over(seat)
            }
            (false, Some(since)) => {
                seat.stopped = None;
                seat.went_on(now.saturating_duration_since(since), timeout, now);
                is_over(seat)
            }
        }
    }

    /// For so long, until now, this program could not run: nobody's time is over because of that.
    pub(super) fn give_time_back(&mut self, missed: Duration, now: Instant) {
        if !missed.is_zero() {
            self.workers
                .iter_mut()
                .for_each(|seat| seat.give_time_back(missed, now));
        }
    }

    /// Takes notice of workers that were stopped, and of those that go on.
    pub(super) fn note_stops(&mut self, ctx: &mut Ctx<'_>) {
        let stops = self.server.board.stops().load(Ordering::Acquire);
        if std::mem::replace(&mut self.stops, stops) == stops {
            return;
        }
        for seat in self.workers.iter_mut() {
            let Some((pid, (stopped, stood))) = seat.line.as_ref().map(|l| (l.pid(), l.stop()))
            else {
                continue;
            };
            let before = std::mem::replace(&mut seat.stood, stood);
            if let Some(timeout) = self.options.timeout {
                seat.went_on(stood.saturating_sub(before), timeout, ctx.now);
            }
            match (stopped, seat.stopped) {
                (true, None) => ctx.deferred.events.push(Event::Stopped(pid)),
                (false, Some(_)) => ctx.deferred.events.push(Event::GoesOn(pid)),
                _ => {}
            }
            seat.stopped = stopped.then(|| seat.stopped.unwrap_or(ctx.now));
        }
    }

    /// Ends the tasks whose time is over, and workers that take as long to get ready.
    pub(super) fn end_overdue(&mut self, ctx: &mut Ctx<'_>) {
        let Some(timeout) = self.options.timeout else {
            return;
        };
        for i in self.workers.indices() {
            let seat = &self.workers[i];
            if seat.status == Status::Starting
                && ctx.now.saturating_duration_since(seat.mark) >= timeout
            {
                let what = if self.options.initializer.is_some() {
                    "its initializer"
                } else {
                    "its preparation"
                };
                let why = format!("a worker was not ready: {what} took longer than {timeout:?}");
                self.vacate(i, ctx.now);
                self.no_worker(i, Reason::not_hired(why), ctx);
            }
        }
        let mut taken = false;
        for at in (0..self.workers.busy().len()).rev() {
            let Some(&i) = self.workers.busy().get(at) else {
                continue;
            };
            if !self.is_overdue(i, timeout, ctx.now) {
                continue;
            }
            let seat = &self.workers[i];
            let first = seat.first();
            let begun = seat.line.as_ref().map(|l| l.begun());
            match begun {
                Some(Ok(begun)) if begun != first => {
                    if self.take_back(i, first.wrapping_add(1), ctx) {
                        self.doom_with(i, first, Doom::TimedOut, ctx);
                    }
                }
                // All this time it has not begun: it is stopped, or worse. Somebody else will do
                // it.
                Some(Ok(_)) => {
                    self.give_up(i, ctx);
                }
                _ => self.lose(i, ctx),
            }
            taken = true;
        }
        if taken {
            self.feed(ctx);
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
                self.drain_seat(i, ctx);
                let first = self.workers[i].first();
                self.doom_with(i, first, Doom::Cancelled, ctx);
            }
        }
        while let Some(task) = self.queue.pop() {
            if self.is_unwanted(&task) {
                self.drop_unwanted(task, ctx);
            } else {
                self.fail(task, || JoinError::Cancelled, ctx);
            }
        }
    }

    /// Nobody wants the results of a map any more: what it has that was not begun never is.
    pub(super) fn close_inbox(&mut self, inbox: u32, ctx: &mut Ctx<'_>) {
        self.inboxes.close(inbox, ctx.deferred);
        for i in self.workers.busy().to_vec() {
            let seat = &self.workers[i];
            let mine = |t: &Task| matches!(t.owner, Owner::Map(of, _) if of == inbox);
            if seat.is_ready() && seat.hand.count() > 1 && seat.hand.iter().any(mine) {
                let first = seat.first();
                self.take_back(i, first.wrapping_add(1), ctx);
            }
        }
        for task in self.queue.remove_map(inbox) {
            self.fail(task, || JoinError::Cancelled, ctx);
        }
        self.feed(ctx);
    }
}

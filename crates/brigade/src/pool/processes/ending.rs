//! Ending tasks before their end: cancelled, over their time, not begun; and all of them.

use std::time::{Duration, Instant};

use super::seat::{Doom, Seat, Status};
use super::slot::{Place, Slot};
use super::state::{After, Reason, State};
use super::task::{End, Owner, Task};
use crate::JoinError;
use crate::sys::process;

/// How long a worker may take to begin what it was given, before it is given to another that has nothing to do.
const SLOW: Duration = Duration::from_millis(10);

impl State {
    /// Cancels a task that has not ended.
    pub(super) fn cancel(&mut self, slot: &Slot, now: Instant, after: &mut After) {
        let Some(Place { seat: i, number }) = slot.place() else {
            // In the queue, where it is thrown away when its turn comes.
            self.thrown += 1;
            self.stats.cancelled += 1;
            self.stats
                .latencies
                .record(now.saturating_duration_since(slot.submitted()));
            self.news = true;
            slot.settle(End::failed(JoinError::Cancelled), &mut after.wakes);
            return;
        };
        if !self.seats.get(i as usize).is_some_and(Seat::is_ready) {
            // It is being ended anyway, or its end is about to be told.
            return;
        }
        let running = self.isolate(i, now, after);
        if slot.is_done() {
            // It has ended meanwhile.
        } else if slot.place().is_none() {
            // It was not begun, and is in the queue again.
            self.cancel(slot, now, after);
        } else if running == Some(number) {
            self.doom(i, Doom::Cancelled, self.grace);
        }
        self.feed(now, after);
    }

    /// Leaves a worker with nothing but the task that it runs: takes back all that it has not begun, and takes what it has finished. Gives the number of that task;
    /// `None`: it runs none.
    ///
    /// Then the worker can be ended without harm to another task: it cannot begin one.
    fn isolate(&mut self, i: u32, now: Instant, after: &mut After) -> Option<u32> {
        let first = self.seats[i as usize].first();
        if !self.take_back(i, first, now, after) {
            return None;
        }
        // What was begun before that is finished, but for the last; and what is finished was shown.
        self.drain_seat(i, now, after);
        let seat = &self.seats[i as usize];
        (seat.is_ready() && seat.load == 1).then(|| seat.first())
    }

    /// Gives what a worker has not begun for some time to those that have nothing to do: it may be stopped, or starved. Whether there may be more of that.
    pub(super) fn relieve(&mut self, now: Instant, after: &mut After) -> bool {
        let mut unbegun = false;
        for i in self.busy.clone() {
            let seat = &self.seats[i as usize];
            let Some(line) = seat.line.as_ref().filter(|_| self.has_not_begun(i)) else {
                continue;
            };
            unbegun = true;
            // It may sleep, and the word that says so be written over.
            line.rouse();
            if now.saturating_duration_since(seat.head.1) < SLOW {
                continue;
            }
            // Where tasks have a time, so has a worker that was stopped, for those that wait in its place.
            if self.options.timeout.is_some() && process::is_stopped(line.pid()) {
                self.end_stuck(i, now, after);
            } else if !self.idle.is_empty() {
                self.seats[i as usize].slow = true;
                self.isolate(i, now, after);
            }
        }
        if unbegun {
            self.feed(now, after);
        }
        unbegun
    }

    /// Whether a worker was given something and has begun nothing of it.
    fn has_not_begun(&self, i: u32) -> bool {
        let seat = &self.seats[i as usize];
        let begun = seat.line.as_ref().and_then(|l| l.begun().ok());
        seat.is_ready() && !seat.hand.is_empty() && begun == Some(seat.first())
    }

    /// Ends a worker that begins nothing; unless it does now.
    fn end_stuck(&mut self, i: u32, now: Instant, after: &mut After) {
        let first = self.seats[i as usize].first();
        let running = self.isolate(i, now, after);
        let seat = &self.seats[i as usize];
        if running.is_none() && seat.is_ready() && seat.first() == first {
            self.idle.retain(|&s| s != i);
            self.doom(i, Doom::Stuck, Duration::ZERO);
        }
    }

    /// Ends the tasks whose time is over, and workers that take as long to get ready.
    pub(super) fn end_overdue(&mut self, now: Instant, after: &mut After) {
        let Some(timeout) = self.options.timeout else {
            return;
        };
        for i in 0..self.seats.len() as u32 {
            let seat = &self.seats[i as usize];
            if seat.status == Status::Starting
                && now.saturating_duration_since(seat.mark) >= timeout
            {
                let what = if self.options.initializer.is_some() {
                    "its initializer"
                } else {
                    "its preparation"
                };
                let why = format!("a worker was not ready: {what} took longer than {timeout:?}");
                self.vacate(i, now);
                self.no_worker(i, Reason::NotHired(why), now, after);
            }
        }
        for at in (0..self.busy.len()).rev() {
            let Some(&i) = self.busy.get(at) else {
                continue;
            };
            let seat = &self.seats[i as usize];
            if !seat.is_ready() || now.saturating_duration_since(seat.head.1) < timeout {
                continue;
            }
            if self.has_not_begun(i) {
                // All this time: it is stopped, or worse. Somebody else will do it.
                self.end_stuck(i, now, after);
                continue;
            }
            let overdue = seat.first();
            if self.isolate(i, now, after) == Some(overdue) {
                self.doom(i, Doom::TimedOut, self.grace);
            }
        }
        self.feed(now, after);
    }

    /// Cancels everything.
    pub(super) fn cancel_all(&mut self, now: Instant, after: &mut After) {
        for i in self.busy.clone() {
            if !self.seats[i as usize].is_ready() {
                continue;
            }
            if self.isolate(i, now, after).is_some() {
                self.doom(i, Doom::Cancelled, self.grace);
            }
        }
        while let Some(task) = self.unqueue() {
            if !self.is_unwanted(&task) || matches!(task.owner, Owner::Map(..)) {
                self.fail(task, || JoinError::Cancelled, now, after);
            }
        }
        self.thrown = 0;
    }

    /// Nobody wants the results of a map any more: what it has that was not begun never is.
    pub(super) fn close_inbox(&mut self, inbox: u32, now: Instant, after: &mut After) {
        self.inboxes.close(inbox, after);
        for i in self.busy.clone() {
            let seat = &self.seats[i as usize];
            let mine = |t: &Task| matches!(t.owner, Owner::Map(of, _) if of == inbox);
            if seat.is_ready() && seat.load > 1 && seat.hand.iter().any(mine) {
                let first = seat.first();
                self.take_back(i, first.wrapping_add(1), now, after);
            }
        }
        for task in std::mem::take(&mut self.queue) {
            if matches!(task.owner, Owner::Map(of, _) if of == inbox) {
                self.queued -= task.count() as usize;
                self.fail(task, || JoinError::Cancelled, now, after);
            } else {
                self.queue.push_back(task);
            }
        }
        self.feed(now, after);
    }
}

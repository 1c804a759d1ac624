//! Ending tasks before their end: cancelled, over their time, not begun; and all of them.

use std::time::Duration;

use super::seat::{Doom, Seat, Status};
use super::slot::{Place, Slot};
use super::state::{After, Reason, State};
use super::task::{End, Owner, Task};
use crate::JoinError;
use crate::sys::process;
use crate::worker::process::world::Instant;

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
        let first = self.seats[i as usize].first();
        if number == first {
            self.publish_seat(i);
            let begun = self.seats[i as usize].line.as_ref().map(|l| l.begun());
            if let Some(Ok(begun)) = begun
                && begun != first
            {
                // It runs: all others first, then it.
                if self.take_back(i, first.wrapping_add(1), now, after) {
                    self.doom(i, Doom::Cancelled, self.grace);
                }
                return;
            }
        }
        if !self.take_back(i, number, now, after) {
            return;
        }
        match slot.place() {
            // It was not begun, and is in the queue again.
            None => self.cancel(slot, now, after),
            // It was begun meanwhile.
            Some(_) => {
                if self.seats[i as usize].first() == number {
                    if self.take_back(i, number.wrapping_add(1), now, after) {
                        self.doom(i, Doom::Cancelled, self.grace);
                    }
                } else {
                    // It was begun because those before it are finished: that is heard first.
                    self.drain_seat(i, now, after);
                    if !slot.is_done() && self.seats[i as usize].first() == number {
                        self.doom(i, Doom::Cancelled, self.grace);
                    }
                }
            }
        }
        self.feed(now, after);
    }

    /// Gives what a worker has not begun for some time to those that have nothing to do: it may be stopped, or starved. Whether there may be more of that.
    pub(super) fn relieve(&mut self, now: Instant, after: &mut After) -> bool {
        let mut unbegun = false;
        for i in self.busy.clone() {
            let seat = &self.seats[i as usize];
            let first = seat.first();
            let begun = seat.line.as_ref().and_then(|l| l.begun().ok());
            if !seat.is_ready() || begun != Some(first) || seat.hand.is_empty() {
                continue;
            }
            unbegun = true;
            if let Some(line) = &seat.line {
                // It may sleep, and the word that says so be written over.
                line.rouse();
                // Where tasks have a time, so has a worker that was stopped, for those that wait in its place.
                if self.options.timeout.is_some()
                    && now.saturating_duration_since(seat.head.1) >= SLOW
                    && process::is_stopped(line.pid())
                {
                    if self.take_back(i, first, now, after) {
                        self.idle.retain(|&s| s != i);
                        self.doom(i, Doom::Stuck, Duration::ZERO);
                    }
                    continue;
                }
            }
            if now.saturating_duration_since(seat.head.1) >= SLOW && !self.idle.is_empty() {
                self.seats[i as usize].slow = true;
                self.take_back(i, first, now, after);
            }
        }
        if unbegun {
            self.feed(now, after);
        }
        unbegun
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
            let first = seat.first();
            let begun = seat.line.as_ref().map(|l| l.begun());
            match begun {
                Some(Ok(begun)) if begun != first => {
                    if self.take_back(i, first.wrapping_add(1), now, after) {
                        self.doom(i, Doom::TimedOut, self.grace);
                    }
                }
                // All this time it has not begun: it is stopped, or worse. Somebody else will do it.
                Some(Ok(_)) => {
                    if self.take_back(i, first, now, after) {
                        self.idle.retain(|&s| s != i);
                        self.doom(i, Doom::Stuck, Duration::ZERO);
                    }
                }
                _ => self.lose(i, now, after),
            }
        }
    }

    /// Cancels everything.
    pub(super) fn cancel_all(&mut self, now: Instant, after: &mut After) {
        for i in self.busy.clone() {
            if !self.seats[i as usize].is_ready() {
                continue;
            }
            let first = self.seats[i as usize].first();
            if self.take_back(i, first, now, after) && !self.seats[i as usize].hand.is_empty() {
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

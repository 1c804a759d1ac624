//! When nobody waits: the fork server's listener looks after the pool.

use std::time::Duration;

use super::deferred::Deferred;
use super::dispatcher::State;
use super::pool::{Driver, ProcessPool};
use super::worker_slot::Status;
use crate::sim::local::Instant;
use crate::worker::process::host::client::Employer;

/// When it is looked whether tasks that were given out are begun.
const UNBEGUN: Duration = Duration::from_millis(20);

/// When it is looked, while there are tasks, whether there is something that nobody was woken for.
const UNHEARD: Duration = Duration::from_millis(100);

/// When it is looked, while workers come or go, whether there is something that nobody has told.
const UNTOLD: Duration = Duration::from_secs(1);

/// The same, where somebody listens to what begins when.
const UNANNOUNCED: Duration = Duration::from_millis(1);

impl Employer for ProcessPool {
    fn attend(&self, missed: Duration) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.state.wakeups.clear_timer();
        inner.state.give_time_back(missed, Instant::now());
        inner.state.try_again();
        inner.state.look(&mut deferred, false);
        let ctx = &mut deferred.at(Instant::now());
        inner.state.note_stops(ctx);
        inner.state.end_overdue(ctx);
        let unbegun = inner.state.relieve(ctx);
        if inner.driver == Driver::Nobody {
            // Bells that were rung are silent now.
            inner.state.wakeups.mark_all_stale();
            self.arm(&mut inner, &mut deferred);
        }
        inner.state.set_alarm_if(unbegun);
        self.unlock(inner, deferred);
    }
}

impl State {
    /// What could not be done the last time may be possible now.
    pub(super) fn try_again(&mut self) {
        self.workers.set_all_full(false);
        for seat in self.workers.iter_mut() {
            seat.full = false;
        }
    }

    /// Has the listener call when a task's time may be over, or a worker is to be tried again.
    pub(super) fn set_alarm(&mut self) {
        let unbegun = self.workers.assigned() > 0;
        self.set_alarm_if(unbegun);
    }

    /// `unbegun`: there may be tasks that their workers do not begin.
    pub(super) fn set_alarm_if(&mut self, unbegun: bool) {
        let mut at: Option<Instant> = None;
        let mut sooner = |when: Instant| at = Some(at.map_or(when, |a| a.min(when)));
        let is_unset = !self.wakeups.has_timer() && !self.workers.busy().is_empty();
        if let Some(timeout) = self.options.timeout.filter(|_| is_unset) {
            // When a task begins is seen only when somebody looks: so that is done now and then.
            let period = (timeout / 10).clamp(Duration::from_millis(1), Duration::from_millis(50));
            let now = Instant::now();
            let busy = self.workers.busy().iter().map(|&i| &self.workers[i]);
            let first = busy.filter_map(|seat| seat.over_at(timeout)).min();
            sooner(first.map_or(now + period, |first| first.min(now + period)));
        }
        if is_unset {
            // A worker whose mailbox was written over does not ring.
            sooner(Instant::now() + if unbegun { UNBEGUN } else { UNHEARD });
        }
        if self.heard && (self.workers.busy().iter()).any(|&i| self.workers[i].is_unannounced()) {
            // Nobody rings when a task begins.
            sooner(Instant::now() + UNANNOUNCED);
        }
        if !self.workers.is_complete() {
            if let Some(timeout) = self.options.timeout {
                for seat in self.workers.iter().filter(|s| s.status == Status::Starting) {
                    sooner(seat.mark + timeout);
                }
            }
            // While the fork server has to tell something it is watched.
            if !self.wakeups.has_timer() && self.workers.iter().any(|s| s.is_in_transit()) {
                sooner(Instant::now() + UNTOLD);
            }
            for when in self.workers.iter().filter_map(|s| s.hire_at) {
                sooner(when);
            }
        }
        if let Some(at) = at.filter(|&at| self.wakeups.is_later_than(at)) {
            self.call_at(at);
        }
    }

    pub(super) fn call_at(&mut self, at: Instant) {
        self.wakeups.set_timer(at);
        self.server.call_at(self.employer, Some(at));
    }
}

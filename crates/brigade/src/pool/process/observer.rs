//! When no caller waits: the host's listener looks after the pool.

use std::time::Duration;

use super::deferred::Deferred;
use super::dispatcher::Dispatcher;
use super::driver::Driver;
use super::pool::ProcessPool;
use super::worker_slot::SlotStatus;
use crate::sim::local::{Instant, Ordering, deadline};
use crate::worker::process::host::client::PoolObserver;

/// How long until the listener checks whether tasks that were given out are begun.
const CHECK_BEGUN: Duration = Duration::from_millis(20);

/// How long until it checks whether a task turns out to be long, where tiny ones wait behind it
/// that another worker has time for.
const CHECK_LONG_TASK: Duration = Duration::from_millis(1);

/// How long until it checks, while there are tasks, whether there is something that no thread was
/// woken for, or whether they can be given to a worker now that could not take them.
const CHECK_LOST_WAKEUPS: Duration = Duration::from_millis(100);

/// How long until it checks, while workers come or go, whether there is something that no thread
/// How long until it checks, while workers come or go, whether there is something that no thread
/// has reported.
const CHECK_COMING_AND_GOING: Duration = Duration::from_secs(1);

/// As the interval above, where a subscriber listens to what begins when.
const CHECK_STARTED: Duration = Duration::from_millis(1);

impl PoolObserver for ProcessPool {
    fn on_event(&self, missed: Duration, woke: std::time::Instant) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.wakeups.clear_timer();
        inner.dispatcher.give_time_back(missed, Instant::now());
        inner.dispatcher.clear_full();
        inner.dispatcher.poll(&mut deferred, false);
        let ctx = &mut deferred.at(Instant::now());
        inner.dispatcher.note_stops(ctx);
        inner.dispatcher.enforce_timeouts(deadline(woke), ctx);
        inner.dispatcher.enforce_deadlines(ctx);
        if let Some(workers) = inner.dispatcher.follow_work(ctx) {
            self.size.store(workers as u32, Ordering::Relaxed);
            inner.dispatcher.poll(&mut deferred, false);
        }
        let ctx = &mut deferred.at(Instant::now());
        let unbegun = inner.dispatcher.steal_from_stalled(ctx);
        if inner.driver == Driver::None {
            // Wake-ups that came are taken now.
            inner.dispatcher.wakeups.mark_all_stale();
            self.set_listener_wakeups(&mut inner, &mut deferred);
        }
        inner.dispatcher.update_timer_if(unbegun);
        self.unlock_and_run(inner, deferred);
    }
}

impl Dispatcher {
    /// What could not be done the last time may be possible now.
    pub(super) fn clear_full(&mut self) {
        self.workers.set_all_full(false);
        for slot in self.workers.iter_mut() {
            slot.ring_full = false;
        }
    }

    /// Has the listener call when a task's time may be over, or a worker is to be tried again.
    pub(super) fn update_timer(&mut self) {
        let unbegun = self.workers.assigned() > 0;
        self.update_timer_if(unbegun);
    }

    /// `unbegun`: there may be tasks that their workers do not begin.
    pub(super) fn update_timer_if(&mut self, unbegun: bool) {
        let mut at: Option<Instant> = None;
        let mut sooner = |when: Instant| at = Some(at.map_or(when, |a| a.min(when)));
        let is_unset = !self.wakeups.has_timer() && !self.workers.busy().is_empty();
        if is_unset || !self.own_times.is_empty() {
            if let Some(when) = self.next_timeout() {
                sooner(when);
            }
            if let Some(when) = self.own_times.next_deadline() {
                sooner(when);
            }
        }
        if is_unset {
            // A worker whose mailbox was written over does not notify.
            sooner(
                Instant::now()
                    + if unbegun {
                        CHECK_BEGUN
                    } else {
                        CHECK_LOST_WAKEUPS
                    },
            );
        }
        if self.queue.has_any() && !self.workers.idle().is_empty() && !self.wakeups.has_timer() {
            // Something that it needs was not to be had: a descriptor, say.
            sooner(Instant::now() + CHECK_LOST_WAKEUPS);
        }
        let may_wait = self.workers.has_queued_behind() || self.queue.has_any();
        if may_wait && !self.wakeups.is_timer_soon() && self.estimate.worth_waking().is_some() {
            self.wakeups.mark_timer_soon();
            sooner(Instant::now() + CHECK_LONG_TASK);
        }
        if let Some(when) = self.next_look_at_size() {
            sooner(when);
        }
        if self.is_heard && (self.workers.busy().iter()).any(|&i| self.workers[i].is_unannounced())
        {
            // No worker notifies when a task begins.
            sooner(Instant::now() + CHECK_STARTED);
        }
        if !self.workers.is_complete() {
            if let Some(limit) = self.options.time_to_get_ready() {
                for slot in self
                    .workers
                    .iter()
                    .filter(|s| s.status == SlotStatus::Starting)
                {
                    sooner(slot.last_progress + limit);
                }
            }
            // While the fork server has to tell something it is watched.
            if !self.wakeups.has_timer() && self.workers.iter().any(|s| s.is_in_transit()) {
                sooner(Instant::now() + CHECK_COMING_AND_GOING);
            }
            for when in self.workers.iter().filter_map(|s| s.respawn_at) {
                sooner(when);
            }
        }
        if let Some(at) = at.filter(|&at| self.wakeups.is_later_than(at)) {
            self.set_timer(at);
        }
    }

    /// When it is to be looked whether a task has run over its time.
    fn next_timeout(&self) -> Option<Instant> {
        if self.workers.busy().is_empty() {
            return None;
        }
        let (of_pool, own) = (self.options.timeout, self.own_times.shortest_timeout());
        let shortest = of_pool.into_iter().chain(own).min()?;
        // When a task begins is seen only when a thread looks: so that is done now and then.
        let period = (shortest / 10).clamp(Duration::from_millis(1), Duration::from_millis(50));
        let in_time = Instant::now() + period;
        let busy = self.workers.busy().iter().map(|&i| &self.workers[i]);
        let over = busy.filter_map(|slot| slot.over_at(slot.time_limit(of_pool)?));
        Some(over.fold(in_time, Instant::min))
    }

    /// After a task was given whose worker has no request to notify of it.
    pub(super) fn update_timer_in_burst(&mut self) {
        if self.wakeups.is_timer_soon() {
            return;
        }
        self.wakeups.mark_timer_soon();
        let at = Instant::now() + CHECK_LONG_TASK;
        if self.wakeups.is_later_than(at) {
            self.set_timer(at);
        }
    }

    pub(super) fn set_timer(&mut self, at: Instant) {
        self.wakeups.set_timer(at);
        self.server.call_at(self.observer_id, Some(at));
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::pool::Backend;
    use crate::{JoinError, Kind, Pool};

    fn for_ever(_: ()) {
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn a_stop_in_the_middle_of_a_turn_counts_for_no_task() {
        const LIMIT: Duration = Duration::from_secs(60);
        let hours = |n: u64| Duration::from_secs(n * 3600);
        crate::init();
        let pool = Pool::builder(Kind::Process).workers(1).timeout(hours(1));
        let pool = pool.build().expect("a pool");
        let handle = pool.submit(for_ever, ());
        let began = Instant::now();
        while handle.pid().is_none() {
            assert!(began.elapsed() < LIMIT, "it does not begin");
            std::thread::yield_now();
        }
        let Backend::Process(processes) = &pool.backend else {
            panic!("it is of processes");
        };
        let woke = Instant::now();
        // For two hours after it woke the program was stopped.
        let enforce = |woke| {
            let mut deferred = Deferred::default();
            let mut inner = processes.lock();
            let ctx = &mut deferred.at(Instant::now() + hours(2));
            inner.dispatcher.enforce_timeouts(woke, ctx);
            processes.unlock_and_run(inner, deferred);
        };
        enforce(woke);
        let handle = handle.join_timeout(Duration::from_millis(200));
        let handle = handle.expect_err("it has its time");
        enforce(woke + hours(2));
        let ended = handle.join_timeout(LIMIT).expect("its time is over");
        assert!(matches!(ended, Err(JoinError::TimedOut(_))), "{ended:?}");
    }
}

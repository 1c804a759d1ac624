//! The driver: the one caller that looks after a pool of processes while it waits.
//!
//! Problem: a thread of the pool's own between callers and workers would cost two more switches for
//! each task. So a caller that waits looks after the pool meanwhile: it takes results, also
//! those of others, and gives out what there is to do. At most one does so at a time, the *driver*;
//! it looks for a moment, then sleeps until a worker notifies or ends. Others that wait sleep until
//! the driver wakes them, and when it leaves, one of them is the next. If no caller waits at all,
//! workers notify the host's listener, and only if something has to be done
//! (`set_listener_wakeups`).
//!
//! Nothing of the user's runs under the lock: results are decoded by the callers that asked for
//! them; wakers are woken, and crashes are reported, when it is free again.

use std::sync::Arc;

use super::deferred::Deferred;
use super::dispatcher::Dispatcher;
use super::pool::{LockedPool, ProcessPool};
use super::result_cell::ResultCell;
use crate::sim::local::thread;
use crate::sim::local::{Instant, MutexGuard, Ordering, futex, spin};
use crate::sys::processors;
use crate::worker::process::host::connection::WorkerConnection;
use crate::worker::process::ipc::mailbox::Mailbox;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    None,
    Spinning,
    Sleeping,
}

/// What a caller waits for.
pub(super) enum WaitFor<'a> {
    /// A task's end.
    Task(&'a ResultCell),
    /// A result of a map.
    MapResult { map: u32 },
    /// Room in the queue.
    Capacity,
    /// All workers, or that there is no hope of them.
    Startup,
    /// That everything is done.
    Drained,
}

impl WaitFor<'_> {
    fn is_satisfied(&self, dispatcher: &Dispatcher) -> bool {
        match self {
            WaitFor::Task(cell) => cell.is_done(),
            WaitFor::MapResult { map } => !dispatcher.maps.is_empty(*map),
            WaitFor::Capacity => !dispatcher.is_full() || dispatcher.closing,
            WaitFor::Startup => {
                dispatcher.respawn.has_build_failed() || dispatcher.workers.is_complete()
            }
            WaitFor::Drained => dispatcher.is_done(),
        }
    }
}

/// A worker that is about to finish what a caller waits for.
struct SpinTarget {
    mailbox: Arc<Mailbox>,
    seen: u64,
}

impl ProcessPool {
    /// Waits until what is wanted has come; this caller may drive the pool meanwhile. `false`: it
    /// had not come at the deadline.
    pub(super) fn wait(&self, want: &mut WaitFor<'_>, deadline: Option<Instant>) -> bool {
        let mut may_look = true;
        let mut inner = self.lock();
        loop {
            let mut deferred = Deferred::default();
            let more = matches!(want, WaitFor::MapResult { .. });
            inner.dispatcher.poll(&mut deferred, more);
            if deferred.has_dead_tasks() {
                // Told before any caller sleeps: it may be what is waited for.
                self.unlock_and_run(inner, deferred);
                inner = self.lock();
                if want.is_satisfied(&inner.dispatcher) {
                    let mut deferred = Deferred::default();
                    self.release_driver(&mut inner, &mut deferred);
                    self.unlock_and_run(inner, deferred);
                    return true;
                }
                continue;
            }
            let is_satisfied = want.is_satisfied(&inner.dispatcher);
            if is_satisfied || deadline.is_some_and(|at| at <= Instant::now()) {
                self.release_driver(&mut inner, &mut deferred);
                self.unlock_and_run(inner, deferred);
                return is_satisfied;
            }
            if more {
                inner.dispatcher.assign(&mut deferred.at(Instant::now()));
            }
            inner.dispatcher.update_timer();
            if inner.driver != Driver::None || !inner.dispatcher.fits_waitv() {
                inner = self.park(inner, deferred, want, deadline);
                may_look = true;
                continue;
            }
            if std::mem::take(&mut may_look) {
                if let Some(spin_target) = inner.dispatcher.spin_target(want) {
                    inner.driver = Driver::Spinning;
                    self.unlock_and_run(inner, deferred);
                    spin_target.spin();
                    inner = self.lock();
                    inner.driver = Driver::None;
                    continue;
                }
            }
            // Futures, and subscribers of events, are to hear of each task when it ends.
            let others = !inner.parked.is_empty()
                || inner.dispatcher.is_heard
                || inner.dispatcher.wakeups.notifies_each_result();
            let Some(words) = inner.dispatcher.set_driver_wakeups(want, others) else {
                inner.dispatcher.verify_counts(&mut deferred);
                self.unlock_and_run(inner, deferred);
                inner = self.lock();
                continue;
            };
            inner.driver_wakes_on_all = others;
            inner.driver = Driver::Sleeping;
            let server = Arc::clone(&inner.dispatcher.server);
            let driver_wakeup = self.driver_wakeup.load(Ordering::SeqCst);
            let epoch = inner.dispatcher.epoch();
            self.unlock_before_sleep(inner, deferred);
            let mut slept_on = Vec::with_capacity(words.len() + 2);
            slept_on.push((&self.driver_wakeup, driver_wakeup));
            slept_on.push((server.exit_table.epoch(), epoch));
            slept_on.extend(
                words
                    .iter()
                    .map(|(m, word)| (WorkerConnection::notify_word_of(m), *word)),
            );
            futex::wait_any(&slept_on, deadline);
            inner = self.lock();
            inner.driver = Driver::None;
        }
    }

    /// As [`unlock_and_run`](Self::unlock_and_run), by the driver, which need not wake itself.
    fn unlock_before_sleep(&self, mut inner: MutexGuard<'_, LockedPool>, mut deferred: Deferred) {
        if std::mem::take(&mut inner.dispatcher.changed) {
            deferred
                .wakeups
                .threads
                .append(&mut inner.parked_on_any_change);
        }
        deferred.wake_driver = false;
        self.unlock_and_run(inner, deferred);
    }

    /// Another caller drives, or there are too many notify words to sleep on, and the listener
    /// drives.
    fn park<'c>(
        &'c self,
        mut inner: MutexGuard<'c, LockedPool>,
        mut deferred: Deferred,
        want: &WaitFor<'_>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'c, LockedPool> {
        let me = thread::current();
        let id = me.id();
        match want {
            WaitFor::Task(cell) => cell.set_waiter(Some(me.clone())),
            WaitFor::MapResult { map } => inner.dispatcher.maps.set_waiter(*map, Some(me.clone())),
            WaitFor::Capacity | WaitFor::Startup | WaitFor::Drained => {
                inner.parked_on_any_change.push(me.clone())
            }
        }
        // It may have ended before it could see that we wait: that was under the lock, which we
        // have.
        inner.parked.push(me);
        match inner.driver {
            // It sleeps so that it hears of what it waits for itself: it has to hear of more.
            Driver::Sleeping if !inner.driver_wakes_on_all => {
                inner.driver_wakes_on_all = true;
                deferred.wake_driver = true;
            }
            Driver::Sleeping | Driver::Spinning => {}
            Driver::None => {
                inner.dispatcher.wakeups.notify_each_result();
                self.set_listener_wakeups(&mut inner, &mut deferred);
            }
        }
        self.unlock_and_run(inner, deferred);
        match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(left) => thread::park_timeout(left),
        }
        let mut inner = self.lock();
        inner.parked.retain(|t| t.id() != id);
        inner.parked_on_any_change.retain(|t| t.id() != id);
        match want {
            WaitFor::Task(cell) => cell.set_waiter(None),
            WaitFor::MapResult { map } => inner.dispatcher.maps.set_waiter(*map, None),
            WaitFor::Capacity | WaitFor::Startup | WaitFor::Drained => {}
        }
        inner
    }

    /// Gives up the driver role: wakes a parked caller to be the next driver or, if there is none,
    /// has workers notify the listener.
    pub(super) fn release_driver(&self, inner: &mut LockedPool, deferred: &mut Deferred) {
        if inner.driver != Driver::None {
            return;
        }
        match inner.parked.pop() {
            Some(next) => deferred.wakeups.threads.push(next),
            None => self.set_listener_wakeups(inner, deferred),
        }
    }

    /// Gives up the driver role for a moment. No parked caller need be woken, unless
    /// for others' sake.
    pub(super) fn release_driver_briefly(&self, inner: &mut LockedPool, deferred: &mut Deferred) {
        if inner.driver == Driver::None && inner.parked.is_empty() {
            self.set_listener_wakeups_for(inner, deferred, true);
        } else {
            self.release_driver(inner, deferred);
        }
    }

    pub(super) fn set_listener_wakeups(&self, inner: &mut LockedPool, deferred: &mut Deferred) {
        self.set_listener_wakeups_for(inner, deferred, false);
    }

    fn set_listener_wakeups_for(
        &self,
        inner: &mut LockedPool,
        deferred: &mut Deferred,
        soon: bool,
    ) {
        for _ in 0..4 {
            if inner.dispatcher.set_listener_wakeups(soon) {
                inner.dispatcher.update_timer();
                return;
            }
            inner.dispatcher.verify_counts(deferred);
            inner.dispatcher.poll(deferred, false);
        }
        // There is always something new: the listener looks soon.
        inner.dispatcher.set_timer(Instant::now());
    }
}

impl SpinTarget {
    fn spin(&self) {
        spin::until(|| WorkerConnection::has_replied(&self.mailbox, self.seen));
    }
}

impl Dispatcher {
    /// The worker that what is wanted comes from, if looking for it for a moment can pay: there is
    /// a processor for it and one for us.
    fn spin_target(&self, want: &WaitFor<'_>) -> Option<SpinTarget> {
        if self.workers.busy().is_empty()
            || self.workers.busy().len() >= processors::usable()
            || !spin::pays()
        {
            return None;
        }
        let i = match want {
            WaitFor::Task(cell) => cell.assignment()?.worker,
            _ => *self.workers.busy().first()?,
        };
        let connection = self.workers.get(i)?.connection.as_ref()?;
        if !connection.mailbox().runs_elsewhere() {
            return None;
        }
        Some(SpinTarget {
            mailbox: Arc::clone(connection.mailbox()),
            seen: connection.seen(),
        })
    }
}

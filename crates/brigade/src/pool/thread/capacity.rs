//! A semaphore that counts how many more tasks may wait in the queue.

use std::sync::{Condvar, Mutex, Weak};
use std::time::Instant;

use super::locks::{lock, wait_until};
use crate::pool::policy::queue_and_retries::QueueLimit;
use crate::task::waiters::FutureWaiters;

/// Room in the queue. Without a limit nothing is counted.
pub(super) struct Capacity(Option<LimitedCapacity>);

struct LimitedCapacity {
    state: Mutex<CapacityState>,
    freed: Condvar,
    /// Futures that wait.
    futures: FutureWaiters,
}

struct CapacityState {
    /// Negative where a task that was begun has returned to a full queue.
    free: isize,
    /// The pool takes nothing more: there is nothing to wait for.
    is_closed: bool,
    /// How many threads sleep on `freed`.
    blocked: usize,
    /// Those that wait for something else as well.
    waiters: Vec<Weak<dyn CapacityWaiter>>,
}

/// A waiter that waits for something else as well, and gets a call when there is room.
pub(super) trait CapacityWaiter: Send + Sync {
    fn capacity_freed(&self);
}

impl Capacity {
    pub(super) fn new(limit: QueueLimit) -> Capacity {
        Capacity(limit.get().map(|free| LimitedCapacity {
            state: Mutex::new(CapacityState {
                free: isize::try_from(free).unwrap_or(isize::MAX),
                is_closed: false,
                blocked: 0,
                waiters: Vec::new(),
            }),
            freed: Condvar::new(),
            futures: FutureWaiters::default(),
        }))
    }

    /// Takes room for one task, if there is some.
    pub(super) fn try_acquire(&self) -> bool {
        let Some(limited) = &self.0 else {
            return true;
        };
        let mut state = lock(&limited.state);
        let has = state.free > 0;
        state.free -= isize::from(has);
        has
    }

    /// Registers a waiter that gets a call when there is room. `false`: there is some now, or never
    /// will be.
    pub(super) fn register(&self, waiter: impl FnOnce() -> Weak<dyn CapacityWaiter>) -> bool {
        let Some(limited) = &self.0 else {
            return false;
        };
        let mut state = lock(&limited.state);
        let is_full = state.free <= 0 && !state.is_closed;
        if is_full {
            state.waiters.push(waiter());
        }
        is_full
    }

    /// Takes room for one task, and blocks until there is some, or until the deadline. `false`: it
    /// has passed, or the pool was closed.
    pub(super) fn acquire(&self, deadline: Option<Instant>) -> bool {
        let Some(limited) = &self.0 else {
            return true;
        };
        let mut state = lock(&limited.state);
        while state.free <= 0 {
            if state.is_closed {
                return false;
            }
            state.blocked += 1;
            let (guard, in_time) = wait_until(&limited.freed, state, deadline);
            state = guard;
            state.blocked -= 1;
            if !in_time {
                return false;
            }
        }
        state.free -= 1;
        true
    }

    /// The pool takes nothing more: those that wait for room need not wait.
    pub(super) fn close(&self) {
        let Some(limited) = &self.0 else {
            return;
        };
        let mut state = lock(&limited.state);
        state.is_closed = true;
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        limited.freed.notify_all();
        limited.futures.notify(usize::MAX);
        notify_all(waiters);
    }

    /// Takes room for a task that was begun and is queued again, whether there is some or not.
    pub(super) fn force_acquire(&self) {
        if let Some(limited) = &self.0 {
            lock(&limited.state).free -= 1;
        }
    }

    /// Returns the room of tasks that were begun, or never will be.
    pub(super) fn release(&self, tasks: usize) {
        let Some(limited) = &self.0 else {
            return;
        };
        let mut state = lock(&limited.state);
        state.free += tasks as isize;
        let waiters = std::mem::take(&mut state.waiters);
        let blocked = state.blocked > 0;
        drop(state);
        if blocked {
            if tasks == 1 {
                limited.freed.notify_one();
            } else {
                limited.freed.notify_all();
            }
        }
        limited.futures.notify(tasks);
        notify_all(waiters);
    }

    /// The futures that wait for room. `None`: there is no limit.
    pub(super) fn room_waiters(&self) -> Option<&FutureWaiters> {
        self.0.as_ref().map(|limited| &limited.futures)
    }
}

fn notify_all(waiters: Vec<Weak<dyn CapacityWaiter>>) {
    for waiter in waiters {
        if let Some(waiter) = waiter.upgrade() {
            waiter.capacity_freed();
        }
    }
}

//! How many tasks may wait that nobody has begun.

use std::sync::{Condvar, Mutex, Weak};

use super::locks::lock;
use crate::pool::policy::limits::QueueLimit;

/// Room in the queue. Where there is no limit nothing is counted.
pub(super) struct Capacity(Option<Limited>);

struct Limited {
    state: Mutex<CapacityState>,
    freed: Condvar,
}

struct CapacityState {
    /// Below nothing: what was begun and put back goes in, whether there is room or not.
    free: isize,
    /// Those who wait here.
    blocked: usize,
    /// Those who wait elsewhere.
    waiters: Vec<Weak<dyn CapacityWaiter>>,
}

/// Somebody to be told of room, who also waits for something else.
pub(super) trait CapacityWaiter: Send + Sync {
    fn capacity_freed(&self);
}

impl Capacity {
    pub(super) fn new(limit: QueueLimit) -> Capacity {
        Capacity(limit.get().map(|free| Limited {
            state: Mutex::new(CapacityState {
                free: isize::try_from(free).unwrap_or(isize::MAX),
                blocked: 0,
                waiters: Vec::new(),
            }),
            freed: Condvar::new(),
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

    /// Has `waiter` rung when there is room. `false`: there is some now.
    pub(super) fn register(&self, waiter: impl FnOnce() -> Weak<dyn CapacityWaiter>) -> bool {
        let Some(limited) = &self.0 else {
            return false;
        };
        let mut state = lock(&limited.state);
        let is_full = state.free <= 0;
        if is_full {
            state.waiters.push(waiter());
        }
        is_full
    }

    /// Takes room for one task, and waits until there is some.
    pub(super) fn acquire(&self) {
        let Some(limited) = &self.0 else {
            return;
        };
        let mut state = lock(&limited.state);
        while state.free <= 0 {
            state.blocked += 1;
            state = super::locks::wait(&limited.freed, state);
            state.blocked -= 1;
        }
        state.free -= 1;
    }

    /// A task that was begun waits again.
    pub(super) fn force_acquire(&self) {
        if let Some(limited) = &self.0 {
            lock(&limited.state).free -= 1;
        }
    }

    /// A task was begun, or will never be.
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
        for waiter in waiters {
            if let Some(waiter) = waiter.upgrade() {
                waiter.capacity_freed();
            }
        }
    }
}

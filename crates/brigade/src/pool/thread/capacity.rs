//! How many tasks may wait that nobody has begun.

use std::sync::{Condvar, Mutex, Weak};

use super::locks::lock;
use crate::pool::policy::limits::QueueLimit;

/// Room in the queue. Where there is no limit nothing is counted.
pub(super) struct Room(Option<Limited>);

struct Limited {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    /// Below nothing: what was begun and put back goes in, whether there is room or not.
    free: isize,
    /// Those who wait here.
    waiting: usize,
    /// Those who wait elsewhere.
    bells: Vec<Weak<dyn Ring>>,
}

/// Somebody to be told of room, who also waits for something else.
pub(super) trait Ring: Send + Sync {
    fn ring(&self);
}

impl Room {
    pub(super) fn new(limit: QueueLimit) -> Room {
        Room(limit.get().map(|free| Limited {
            state: Mutex::new(State {
                free: isize::try_from(free).unwrap_or(isize::MAX),
                waiting: 0,
                bells: Vec::new(),
            }),
            freed: Condvar::new(),
        }))
    }

    /// Takes room for one task, if there is some.
    pub(super) fn try_take(&self) -> bool {
        let Some(limited) = &self.0 else {
            return true;
        };
        let mut state = lock(&limited.state);
        let has = state.free > 0;
        state.free -= isize::from(has);
        has
    }

    /// Has `bell` rung when there is room. `false`: there is some now.
    pub(super) fn tell(&self, bell: impl FnOnce() -> Weak<dyn Ring>) -> bool {
        let Some(limited) = &self.0 else {
            return false;
        };
        let mut state = lock(&limited.state);
        let is_full = state.free <= 0;
        if is_full {
            state.bells.push(bell());
        }
        is_full
    }

    /// Takes room for one task, and waits until there is some.
    pub(super) fn take(&self) {
        let Some(limited) = &self.0 else {
            return;
        };
        let mut state = lock(&limited.state);
        while state.free <= 0 {
            state.waiting += 1;
            state = super::locks::wait(&limited.freed, state);
            state.waiting -= 1;
        }
        state.free -= 1;
    }

    /// A task that was begun waits again.
    pub(super) fn put_back(&self) {
        if let Some(limited) = &self.0 {
            lock(&limited.state).free -= 1;
        }
    }

    /// A task was begun, or will never be.
    pub(super) fn leave(&self, tasks: usize) {
        let Some(limited) = &self.0 else {
            return;
        };
        let mut state = lock(&limited.state);
        state.free += tasks as isize;
        let bells = std::mem::take(&mut state.bells);
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            if tasks == 1 {
                limited.freed.notify_one();
            } else {
                limited.freed.notify_all();
            }
        }
        for bell in bells {
            if let Some(bell) = bell.upgrade() {
                bell.ring();
            }
        }
    }
}

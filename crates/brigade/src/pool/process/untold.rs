//! Events that are not told yet. In any process that has the pool: the host.
//!
//! Problem: events are told without the pool's lock, for a subscriber is the program's own code,
//! and may call the pool. Two threads that have freed the lock one after the other could tell
//! theirs the other way round, and a task would end before it started. So events are put here under
//! the lock, and one thread at a time tells all that there are; another leaves its own to that one.

use std::sync::{Mutex, PoisonError, TryLockError};

/// Those of one pool, in the order in which it happened.
pub(super) struct Untold<E> {
    events: Mutex<Vec<E>>,
    /// Held by the thread that tells.
    telling: Mutex<()>,
}

impl<E> Default for Untold<E> {
    fn default() -> Untold<E> {
        Untold {
            events: Mutex::default(),
            telling: Mutex::default(),
        }
    }
}

impl<E> Untold<E> {
    /// While the pool is locked.
    pub(super) fn append(&self, events: &mut Vec<E>) {
        self.lock().append(events);
    }

    /// Tells all, unless another thread does: that one looks again when it has done so. A
    /// subscriber may come here from within `tell`.
    pub(super) fn tell(&self, mut tell: impl FnMut(E)) {
        while !self.lock().is_empty() {
            let _telling = match self.telling.try_lock() {
                Ok(telling) => telling,
                // A subscriber has panicked: that is its own affair.
                Err(TryLockError::Poisoned(telling)) => telling.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let events = std::mem::take(&mut *self.lock());
            events.into_iter().for_each(&mut tell);
        }
    }

    /// As [`tell`](Self::tell), and returns when all were told that were there. `tell` must be none
    /// of the program's own code: it could come here again, and wait for itself.
    pub(super) fn tell_all(&self, tell: impl FnMut(E)) {
        let telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let events = std::mem::take(&mut *self.lock());
        events.into_iter().for_each(tell);
        drop(telling);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<E>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::deferred::TraceEvent;
    use super::*;

    fn ended(task: u64) -> TraceEvent {
        TraceEvent::Ended(task, "returned", std::time::Duration::ZERO)
    }

    fn number(event: &TraceEvent) -> u64 {
        match event {
            TraceEvent::Ended(task, ..) => *task,
            _ => unreachable!("no other was put there"),
        }
    }

    #[test]
    fn what_happens_while_it_is_told_is_told_behind_it() {
        let untold = Untold::default();
        untold.append(&mut vec![ended(1), ended(2)]);
        let mut told = Vec::new();
        untold.tell(|event| {
            if number(&event) == 1 {
                untold.append(&mut vec![ended(3)]);
                // As a subscriber that asks the pool for something does.
                untold.tell(|event| panic!("{} out of turn", number(&event)));
            }
            told.push(number(&event));
        });
        assert_eq!(told, [1, 2, 3]);
    }
}

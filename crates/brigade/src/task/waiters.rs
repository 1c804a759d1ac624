//! Futures that wait for one thing: for room in a pool's queue or in a channel, or until a pool has
//! nothing to do.
//!
//! What makes room notifies them in the order in which they came, as many as there is room for. One
//! that was notified tries again; another caller may have been faster, and then it is the next to
//! be notified. A future that is dropped after it was notified notifies the next.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use crate::sim::futures::{AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::task::contain::contained;

/// The futures that wait for one thing.
#[derive(Debug, Default)]
pub(crate) struct FutureWaiters {
    /// How many wait, for those that only look.
    count: AtomicUsize,
    queue: Mutex<VecDeque<Arc<FutureWaiter>>>,
}

/// What is shared with one future.
#[derive(Debug, Default)]
pub(crate) struct FutureWaiter {
    /// Locked only under the lock of the queue.
    state: Mutex<WaiterState>,
}

#[derive(Debug, Default)]
enum WaiterState {
    /// The waiter was not in the queue yet.
    #[default]
    New,
    Waits(Waker),
    Told,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code of the program's runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FutureWaiters {
    /// Whether none waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// This one waits from here on, and is woken by that. The caller looks for room afterwards.
    pub(crate) fn wait(&self, waiter: &Arc<FutureWaiter>, waker: Waker) {
        let mut queue = lock(&self.queue);
        let before = std::mem::replace(&mut *lock(&waiter.state), WaiterState::Waits(waker));
        match before {
            WaiterState::New => queue.push_back(Arc::clone(waiter)),
            WaiterState::Told => queue.push_front(Arc::clone(waiter)),
            WaiterState::Waits(_) => {}
        }
        self.count.store(queue.len(), Ordering::Relaxed);
        drop(queue);
        // A waker that was replaced is the executor's.
        drop(before);
    }

    /// There is room for `room` more. Called without a lock of the pool's.
    #[inline(always)]
    pub(crate) fn notify(&self, room: usize) {
        if room > 0 && !self.is_empty() {
            self.notify_first(room);
        }
    }

    /// Notifies the first ones, at most `room`.
    #[cold]
    fn notify_first(&self, room: usize) {
        let mut queue = lock(&self.queue);
        let told = room.min(queue.len());
        let wakers: Vec<WaiterState> = queue
            .drain(..told)
            .map(|waiter| std::mem::replace(&mut *lock(&waiter.state), WaiterState::Told))
            .collect();
        self.count.store(queue.len(), Ordering::Relaxed);
        drop(queue);
        for waker in wakers {
            if let WaiterState::Waits(waker) = waker {
                // An executor's code: a panic in it is caught, and ignored.
                contained(|| waker.wake());
            }
        }
    }

    /// This one waits no longer. `was_served`: it has the room that it was notified of, if it was.
    pub(crate) fn leave(&self, waiter: &Arc<FutureWaiter>, was_served: bool) {
        let mut queue = lock(&self.queue);
        queue.retain(|other| !Arc::ptr_eq(other, waiter));
        self.count.store(queue.len(), Ordering::Relaxed);
        let state = std::mem::take(&mut *lock(&waiter.state));
        drop(queue);
        if matches!(state, WaiterState::Told) && !was_served {
            self.notify(1);
        }
    }
}

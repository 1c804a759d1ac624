//! Events of a pool, delivered in the order in which they happened. Runs in the host.
//!
//! Problem: events are delivered without the pool's lock, because a subscriber is the program's own
//! code and may call the pool. Two threads that free the lock one after the other could deliver
//! theirs the other way round, and a task would end before it started. So a thread appends its
//! events here under the lock, and one thread at a time delivers all of them; another thread leaves
//! its own to that one.

use std::sync::{Mutex, PoisonError, TryLockError};

/// The events of one pool that are not delivered yet, the oldest first.
pub(super) struct OrderedDelivery<E> {
    events: Mutex<Vec<E>>,
    /// Held by the thread that delivers.
    delivering: Mutex<()>,
}

impl<E> Default for OrderedDelivery<E> {
    fn default() -> OrderedDelivery<E> {
        OrderedDelivery {
            events: Mutex::default(),
            delivering: Mutex::default(),
        }
    }
}

impl<E> OrderedDelivery<E> {
    /// Adds events. The caller holds the pool's lock.
    pub(super) fn append(&self, events: &mut Vec<E>) {
        self.lock().append(events);
    }

    /// Passes each event to `receive`, unless another thread is at it: that one looks again when it
    /// is done. A subscriber may call this from within `receive`.
    pub(super) fn deliver(&self, mut receive: impl FnMut(E)) {
        while !self.lock().is_empty() {
            let _delivering = match self.delivering.try_lock() {
                Ok(delivering) => delivering,
                // A subscriber has panicked: that is its own affair.
                Err(TryLockError::Poisoned(delivering)) => delivering.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let events = std::mem::take(&mut *self.lock());
            events.into_iter().for_each(&mut receive);
        }
    }

    /// As [`deliver`](Self::deliver), and returns when all events that were there are delivered.
    /// `receive` must not run the program's own code: that could call this, and wait for itself.
    pub(super) fn deliver_all(&self, receive: impl FnMut(E)) {
        let delivering = self
            .delivering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let events = std::mem::take(&mut *self.lock());
        events.into_iter().for_each(receive);
        drop(delivering);
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
    fn an_event_during_a_delivery_is_delivered_after_it() {
        let delivery = OrderedDelivery::default();
        delivery.append(&mut vec![ended(1), ended(2)]);
        let mut delivered = Vec::new();
        delivery.deliver(|event| {
            if number(&event) == 1 {
                delivery.append(&mut vec![ended(3)]);
                // As a subscriber that asks the pool for something does.
                delivery.deliver(|event| panic!("{} out of turn", number(&event)));
            }
            delivered.push(number(&event));
        });
        assert_eq!(delivered, [1, 2, 3]);
    }
}

//! What wakes the tasks that await a message.
//!
//! One thread, `brigade-reactor`, started when a future is first polled, sleeps until any of the
//! awaited receivers' descriptors is readable or hung up, and wakes the futures that wait for it;
//! they try again themselves. A receiver is registered once, and told of each change (`EPOLLET`,
//! epoll(7)).

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::sys::epoll::Epoll;
use crate::sys::error::{Call, THREAD};
use crate::sys::opened;
use crate::sys::original::Original;
use crate::sys::per_process::PerProcess;
use crate::sys::signal::Blocked;
use crate::task::contain::contained;

/// A receiver's place with the reactor.
#[derive(Debug)]
pub(crate) struct ReactorRegistration {
    /// The process that it belongs to. A fork has a copy, and the same epoll(7) as its parent.
    process: Original,
    reactor: &'static Reactor,
    key: u64,
    waiting: Arc<Mutex<Vec<Waker>>>,
    /// Copies: one of the receiver's own may be there twice, and they are closed before this is.
    descriptors: [OwnedFd; 3],
}

impl ReactorRegistration {
    /// Of what can be read when there may be something to receive, the link, and what tells of
    /// left-overs.
    pub(crate) fn new(descriptors: [BorrowedFd<'_>; 3]) -> io::Result<ReactorRegistration> {
        let [readable, link, left_over] = descriptors;
        let reactor = Reactor::get()?;
        let registration = ReactorRegistration {
            process: Original::this_process(),
            reactor,
            key: reactor.next.fetch_add(1, Ordering::Relaxed),
            waiting: Arc::default(),
            descriptors: [
                opened::copy(readable)?,
                opened::copy(link)?,
                opened::copy(left_over)?,
            ],
        };
        let waiting = Arc::clone(&registration.waiting);
        reactor.waiting().insert(registration.key, waiting);
        // If one fails, dropping takes all back.
        let [readable, link, left_over] = &registration.descriptors;
        reactor.epoll.add_changes(readable, registration.key)?;
        reactor.epoll.add_hang_up(link, registration.key)?;
        reactor.epoll.add_changes(left_over, registration.key)?;
        Ok(registration)
    }

    pub(crate) fn wake_when_changed(&self, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|w| w.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl Drop for ReactorRegistration {
    fn drop(&mut self) {
        // A fork would take its parent's out: the descriptors are the same.
        if !self.process.is_this_process() {
            return;
        }
        for descriptor in &self.descriptors {
            self.reactor.epoll.remove(descriptor);
        }
        let waiting = self.reactor.waiting().remove(&self.key);
        // Wakers are the executor's: dropped outside the lock.
        drop(waiting);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type CapacityWakers = HashMap<u64, Arc<Mutex<Vec<Waker>>>>;

#[derive(Debug)]
struct Reactor {
    epoll: Epoll,
    next: AtomicU64,
    waiting: Mutex<CapacityWakers>,
}

impl Reactor {
    /// This process's.
    fn get() -> io::Result<&'static Reactor> {
        // A fork has not its parent's thread, and starts its own.
        static CURRENT: PerProcess<Mutex<Option<&'static Reactor>>> =
            PerProcess::new(Mutex::default);
        let mut current = lock(CURRENT.get());
        if let Some(reactor) = *current {
            return Ok(reactor);
        }
        let reactor: &'static Reactor = Box::leak(Box::new(Reactor {
            epoll: Epoll::new()?,
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
        }));
        // The program's signals are for its own threads.
        let blocked = Blocked::all();
        std::thread::Builder::new()
            .name("brigade-reactor".to_owned())
            .spawn(|| reactor.run())
            .call(THREAD)
            .needed_to("wake futures")?;
        drop(blocked);
        *current = Some(reactor);
        Ok(reactor)
    }

    fn waiting(&self) -> MutexGuard<'_, CapacityWakers> {
        lock(&self.waiting)
    }

    fn run(&self) {
        let mut ready = Vec::new();
        while self.epoll.wait(&mut ready, None).is_ok() {
            for key in ready.drain(..) {
                let waiting = self.waiting().get(&key).map(Arc::clone);
                let wakers = waiting.map(|w| std::mem::take(&mut *lock(&w)));
                for waker in wakers.into_iter().flatten() {
                    // An executor's code: a panic in it is caught, and ignored.
                    contained(|| waker.wake());
                }
            }
        }
    }
}

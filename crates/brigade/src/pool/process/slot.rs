//! The handle of a task in a pool of processes, and where it hears of the end.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::assignment::Assignment;
use super::core::{ProcessPool, Want};
use super::task::{Decode, End, Job};
use crate::worker::handle::{Pending, joined_twice};
use crate::worker::process::sim::thread::Thread;
use crate::worker::process::sim::{
    self, AtomicBool, AtomicU64, Instant, Mutex, MutexGuard, Ordering,
};
use crate::{JoinError, Kind};

/// Where a task's end is told. The handle waits here, and the pool settles it, once.
pub(super) struct Slot {
    done: AtomicBool,
    submitted: Instant,
    /// Somebody has cancelled it: it is not run any more, or again.
    cancelled: AtomicBool,
    /// An [`Assignment`], as a word.
    assignment: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    end: Option<End>,
    waker: Option<Waker>,
    waiter: Option<Thread>,
}

/// Those who are to be woken when nothing is locked any more: their code is their own.
#[derive(Default)]
pub(super) struct Wakes {
    pub(super) threads: Vec<Thread>,
    pub(super) wakers: Vec<Waker>,
}

impl Slot {
    pub(super) fn new() -> Slot {
        Slot {
            done: AtomicBool::new(false),
            submitted: Instant::now(),
            cancelled: AtomicBool::new(false),
            assignment: AtomicU64::new(0),
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code of the user's runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn submitted(&self) -> Instant {
        self.submitted
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// From now on, whatever becomes of its worker, it does not go back into the queue.
    pub(super) fn set_cancelled(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Tells the end. The first one counts.
    pub(super) fn settle(&self, end: End, wakes: &mut Wakes) {
        let mut inner = self.lock();
        if self.is_done() {
            drop(inner);
            // Its destructor may close descriptors.
            drop(end);
            return;
        }
        inner.end = Some(end);
        self.done.store(true, Ordering::Release);
        wakes.threads.extend(inner.waiter.take());
        wakes.wakers.extend(inner.waker.take());
    }

    pub(super) fn take(&self) -> Option<End> {
        self.lock().end.take()
    }

    /// Who is to be woken at the end; `None`: nobody waits any more.
    pub(super) fn set_waiter(&self, waiter: Option<Thread>) {
        let old = std::mem::replace(&mut self.lock().waiter, waiter);
        drop(old);
    }

    fn set_waker(&self, waker: &Waker) {
        // Cloned before, and dropped after: that is the executor's code.
        let waker = waker.clone();
        let old = self.lock().waker.replace(waker);
        drop(old);
    }

    pub(super) fn set_assignment(&self, assignment: Option<Assignment>) {
        let word = Assignment::to_word(assignment);
        self.assignment.store(word, Ordering::Release);
    }

    pub(super) fn assignment(&self) -> Option<Assignment> {
        Assignment::from_word(self.assignment.load(Ordering::Acquire))
    }
}

/// Has a slot, whatever the type of the result.
pub(super) trait Settle: Send + Sync {
    fn slot(&self) -> &Slot;
}

/// A task's handle, and its slot.
pub(super) struct Pooled<R> {
    slot: Slot,
    core: Arc<ProcessPool>,
    job: Job,
    decode: Decode<R>,
}

impl<R> Pooled<R> {
    pub(super) fn new(core: Arc<ProcessPool>, job: Job, decode: Decode<R>) -> Pooled<R> {
        Pooled {
            slot: Slot::new(),
            core,
            job,
            decode,
        }
    }

    /// In a fork of the program nothing comes any more, and what other threads had locked stays
    /// locked.
    fn is_lost(&self) -> bool {
        !self.core.is_ours()
    }

    fn take(&self) -> Result<R, JoinError> {
        let Some(end) = self.slot.take() else {
            joined_twice()
        };
        end.conclude(self.decode, || self.core.name_of(&self.job))
    }
}

impl<R> Settle for Pooled<R> {
    fn slot(&self) -> &Slot {
        &self.slot
    }
}

impl<R> Pending<R> for Pooled<R> {
    fn wait(&self, deadline: Option<std::time::Instant>) -> Option<Result<R, JoinError>> {
        let deadline = deadline.map(sim::deadline);
        if self.is_lost() {
            return Some(Err(JoinError::Closed));
        }
        if !self.slot.is_done() && !self.core.wait(&mut Want::Slot(&self.slot), deadline) {
            return None;
        }
        Some(self.take())
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if self.is_lost() {
            return Poll::Ready(Err(JoinError::Closed));
        }
        if !self.slot.is_done() {
            self.slot.set_waker(context.waker());
            self.core.watch(&self.slot);
            if !self.slot.is_done() {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.take())
    }

    fn is_finished(&self) -> bool {
        if self.is_lost() {
            return true;
        }
        if !self.slot.is_done() {
            self.core.look();
        }
        self.slot.is_done()
    }

    fn cancel(&self) {
        if !self.is_lost() && !self.slot.is_done() {
            self.core.cancel(&self.slot);
        }
    }

    fn kind(&self) -> Kind {
        Kind::Process
    }

    fn pid(&self) -> Option<u32> {
        if self.is_lost() || self.slot.is_done() {
            return None;
        }
        self.core.pid_of(&self.slot)
    }
}

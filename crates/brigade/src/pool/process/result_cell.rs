//! Where a task in a pool of processes hears of its end.

use std::sync::PoisonError;
use std::task::Waker;

use super::assignment::Assignment;
use super::outcome::RawOutcome;
use crate::sim::local::thread::Thread;
use crate::sim::local::{AtomicBool, AtomicU64, Instant, Mutex, MutexGuard, Ordering};

/// Where a task's end is told. The handle waits here, and the pool settles it, once.
pub(super) struct ResultCell {
    done: AtomicBool,
    submitted: Instant,
    /// Somebody has cancelled it: it is not run any more, or again.
    cancelled: AtomicBool,
    /// An [`Assignment`], as a word.
    assignment: AtomicU64,
    inner: Mutex<CellContent>,
}

#[derive(Default)]
struct CellContent {
    end: Option<RawOutcome>,
    waker: Option<Waker>,
    waiter: Option<Thread>,
}

/// Those who are to be woken when nothing is locked any more: their code is their own.
#[derive(Default)]
pub(super) struct Wakeups {
    pub(super) threads: Vec<Thread>,
    pub(super) wakers: Vec<Waker>,
}

impl ResultCell {
    pub(super) fn new() -> ResultCell {
        ResultCell {
            done: AtomicBool::new(false),
            submitted: Instant::now(),
            cancelled: AtomicBool::new(false),
            assignment: AtomicU64::new(0),
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CellContent> {
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
    pub(super) fn complete(&self, end: RawOutcome, wakeups: &mut Wakeups) {
        let mut inner = self.lock();
        if self.is_done() {
            drop(inner);
            // Its destructor may close descriptors.
            drop(end);
            return;
        }
        inner.end = Some(end);
        self.done.store(true, Ordering::Release);
        wakeups.threads.extend(inner.waiter.take());
        wakeups.wakers.extend(inner.waker.take());
    }

    pub(super) fn take(&self) -> Option<RawOutcome> {
        self.lock().end.take()
    }

    /// Who is to be woken at the end; `None`: nobody waits any more.
    pub(super) fn set_waiter(&self, waiter: Option<Thread>) {
        let old = std::mem::replace(&mut self.lock().waiter, waiter);
        drop(old);
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
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

/// Has a cell, whatever the type of the result.
pub(super) trait HasResultCell: Send + Sync {
    fn cell(&self) -> &ResultCell;
}

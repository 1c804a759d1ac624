//! Where a task in a pool of processes hears of its end.

use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

use super::assignment::Assignment;
use super::call_target::CallTarget;
use super::outcome::RawOutcome;
use crate::pool::policy::task_options::TaskOptions;
use crate::sim::local::thread::Thread;
use crate::sim::local::{AtomicBool, AtomicU32, AtomicU64, Instant, Mutex, MutexGuard, Ordering};
use crate::task::time_limit::TimeLimit;

/// Where a task's end is put. The handle waits here, and the pool settles it, once.
pub(super) struct ResultCell {
    done: AtomicBool,
    submitted: Instant,
    /// Whether it is not to be run any more, or again: an [`EarlyEnd`] as a word, or 0.
    early_end: AtomicU32,
    /// The task has run, in a worker that died or was ended, and is to be run again.
    has_run: AtomicBool,
    /// An [`Assignment`], as a word.
    assignment: AtomicU64,
    /// What the task has otherwise than its pool. Most have nothing.
    options: Option<Box<TaskOptions<Instant>>>,
    inner: Mutex<CellContent>,
}

/// Why a task is not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlyEnd {
    /// The task was cancelled.
    Cancelled = 1,
    /// The task's deadline has passed.
    Expired = 2,
}

#[derive(Default)]
struct CellContent {
    end: Option<RawOutcome>,
    waker: Option<Waker>,
    waiter: Option<Thread>,
}

/// The waiters to be woken when nothing is locked any more: their code is their own.
#[derive(Default)]
pub(super) struct Wakeups {
    pub(super) threads: Vec<Thread>,
    pub(super) wakers: Vec<Waker>,
}

impl ResultCell {
    pub(super) fn new(options: Option<Box<TaskOptions<Instant>>>) -> ResultCell {
        ResultCell {
            done: AtomicBool::new(false),
            submitted: Instant::now(),
            early_end: AtomicU32::new(0),
            has_run: AtomicBool::new(false),
            assignment: AtomicU64::new(0),
            options,
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

    /// Whether the task is not to be run any more, though its end was not settled, and why.
    pub(super) fn early_end(&self) -> Option<EarlyEnd> {
        match self.early_end.load(Ordering::Acquire) {
            0 => None,
            1 => Some(EarlyEnd::Cancelled),
            _ => Some(EarlyEnd::Expired),
        }
    }

    /// From now on, whatever becomes of its worker, it does not go back into the queue. The first
    /// reason counts. Called under the pool's lock.
    pub(super) fn set_early_end(&self, why: EarlyEnd) {
        if self.early_end().is_none() {
            self.early_end.store(why as u32, Ordering::Release);
        }
    }

    pub(super) fn has_run(&self) -> bool {
        self.has_run.load(Ordering::Relaxed)
    }

    /// The task is run again. Called under the pool's lock.
    pub(super) fn set_has_run(&self) {
        self.has_run.store(true, Ordering::Relaxed);
    }

    /// Which time of the task was over, in a pool with this timeout.
    pub(super) fn exceeded(&self, pool: Option<Duration>, had_begun: bool) -> TimeLimit {
        let own = self.options();
        let is_expired = self.early_end() == Some(EarlyEnd::Expired);
        match own.and_then(|own| own.deadline).filter(|_| is_expired) {
            Some(at) => TimeLimit::Deadline {
                after: at.saturating_duration_since(self.submitted),
                had_begun: had_begun || self.has_run(),
            },
            None => {
                let time = own.map_or(pool, |own| own.time_limit(pool));
                TimeLimit::Timeout(time.unwrap_or_default())
            }
        }
    }

    /// What the task has otherwise than its pool.
    pub(super) fn options(&self) -> Option<&TaskOptions<Instant>> {
        self.options.as_deref()
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

    /// The caller to wake at the end; `None`: no caller waits any more.
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

    /// What is run.
    fn target(&self) -> &CallTarget;
}

//! A task in a thread of its own: what the thread and the handle share, and the handle's side.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::JoinError;
use crate::sys::futex::{self, Wake};
use crate::sys::original::Original;
use crate::task::contain::contained;
use crate::task::entry::caught;
use crate::task::error::joined_twice;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;
use crate::task::symbols::Symbols;

/// States of a task, in the order they may follow.
const WAITING: u32 = 0;
const RUNNING: u32 = 1;
/// Cancelled: its result, if there will be one, is dropped by the thread.
const LET_GO: u32 = 2;
const ENDED: u32 = 3;

/// What the thread and the handle share.
pub(super) struct ThreadTaskState<R> {
    state: AtomicU32,
    ended: Mutex<EndedTask<R>>,
}

struct EndedTask<R> {
    result: Option<Result<R, Unwound>>,
    waker: Option<Waker>,
}

impl<R> ThreadTaskState<R> {
    pub(super) fn new() -> ThreadTaskState<R> {
        ThreadTaskState {
            state: AtomicU32::new(WAITING),
            ended: Mutex::new(EndedTask {
                result: None,
                waker: None,
            }),
        }
    }

    /// `true`: it panicked.
    pub(super) fn run(&self, task: impl FnOnce() -> R) -> bool {
        if self
            .state
            .compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // Cancelled before it began: what it has is dropped, as the task would have done.
            return false;
        }
        let result = caught(task);
        let panicked = result.is_err();
        self.lock().result = Some(result);
        if self
            .state
            .compare_exchange(RUNNING, ENDED, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // Dropped after the lock: its destructor is the task's own code.
            let unwanted = self.lock().result.take();
            drop(unwanted);
            return panicked;
        }
        futex::wake_all_private(&self.state);
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
        panicked
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.load(Ordering::Acquire) >= LET_GO
    }

    /// Waits until it is finished. `false`: not before the deadline.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state >= LET_GO {
                return true;
            }
            if futex::wait_private(&self.state, state, deadline) == Wake::TimedOut {
                return self.is_finished();
            }
        }
    }

    /// The result of a task that is finished.
    pub(super) fn take(&self, name: &TaskName) -> Result<R, JoinError> {
        if self.state.load(Ordering::Acquire) == LET_GO {
            return Err(JoinError::Cancelled);
        }
        let Some(result) = self.lock().result.take() else {
            joined_twice()
        };
        result.map_err(|unwound| {
            JoinError::panicked(name.clone(), unwound, Symbols::of_this_process())
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, EndedTask<R>> {
        // No destructor or other code of the user's runs under this lock.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle's side of a thread.
pub(crate) struct ThreadTask<R> {
    /// A fork of the process has no such thread.
    host: Original,
    shared: Arc<ThreadTaskState<R>>,
    thread: Option<std::thread::JoinHandle<()>>,
    name: TaskName,
}

impl<R> Drop for ThreadTask<R> {
    #[expect(clippy::mem_forget, reason = "it belongs to another process")]
    fn drop(&mut self) {
        if self.is_fork_of_owner() {
            std::mem::forget(self.thread.take());
        }
    }
}

impl<R> fmt::Debug for ThreadTask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadTask")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<R> ThreadTask<R> {
    pub(super) fn new(
        shared: Arc<ThreadTaskState<R>>,
        thread: std::thread::JoinHandle<()>,
        name: TaskName,
    ) -> ThreadTask<R> {
        ThreadTask {
            host: Original::this_process(),
            shared,
            thread: Some(thread),
            name,
        }
    }

    pub(crate) fn join(mut self) -> Result<R, JoinError> {
        if self.is_fork_of_owner() {
            return Err(JoinError::Closed);
        }
        // No caller can cancel any more: the handle is here. So, unless that has happened, the
        // thread will end, and its end is waited for as std does, including the destructors of its
        // locals.
        if self.shared.state.load(Ordering::Acquire) != LET_GO {
            if let Some(thread) = self.thread.take() {
                // The closure catches all panics of the task; one in a thread-local's destructor
                // aborts the program.
                let _ = thread.join();
            }
        }
        self.take()
    }

    fn is_fork_of_owner(&self) -> bool {
        !self.host.is_this_process()
    }

    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        if self.is_fork_of_owner() {
            return Some(Err(JoinError::Closed));
        }
        self.shared.wait(deadline).then(|| self.take())
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if self.is_fork_of_owner() {
            return Poll::Ready(Err(JoinError::Closed));
        }
        if !self.is_finished() {
            // Cloned before, and dropped after: that is the executor's code.
            let waker = context.waker().clone();
            let before = self.shared.lock().waker.replace(waker);
            drop(before);
            // It may have ended before it could see the waker.
            if !self.is_finished() {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.take())
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.shared.is_finished() || self.is_fork_of_owner()
    }

    pub(crate) fn cancel(&self) {
        if self.is_fork_of_owner() {
            return;
        }
        let state = &self.shared.state;
        for from in [WAITING, RUNNING] {
            if state
                .compare_exchange(from, LET_GO, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                futex::wake_all_private(state);
                let waker = self.shared.lock().waker.take();
                if let Some(waker) = waker {
                    // The canceller need not be the caller whose waker this is.
                    contained(|| waker.wake());
                }
                return;
            }
        }
    }

    fn take(&mut self) -> Result<R, JoinError> {
        self.shared.take(&self.name)
    }
}

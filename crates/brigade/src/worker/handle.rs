//! One handle for both kinds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Kind, process, thread};
use crate::JoinError;

/// A task that was started: wait for its result, ask about it, end it.
///
/// It is also a future, for any executor. Dropping it detaches the task, which runs on.
///
/// In a fork of the process that has started the task (by fork(2), past this library) the handle is
/// only a copy: it says that the task has ended with [`JoinError::Closed`], and does nothing to it.
#[doc(alias = "Future")]
#[doc(alias = "AsyncResult")]
#[must_use = "dropping the handle detaches the task"]
pub struct JoinHandle<R>(pub(crate) Task<R>);

/// What is behind the handle. Of pooled tasks there may be millions: nothing here is larger than
/// theirs.
pub(crate) enum Task<R> {
    Thread(Box<thread::ThreadTask<R>>),
    Process(Box<process::ProcessTask<R>>),
    Pooled(Arc<dyn Pending<R> + Send + Sync>),
    /// It was given to a pool of the process that this one is a fork of.
    Closed(Kind),
}

/// A task that was given to somebody who runs many. Its end is told once.
pub(crate) trait Pending<R> {
    /// Waits for the end. `None`: not before the deadline.
    fn wait(&self, deadline: Option<Instant>) -> Option<Result<R, JoinError>>;
    /// The end, or has the waker woken when it has come.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>>;
    fn is_finished(&self) -> bool;
    fn cancel(&self);
    fn kind(&self) -> Kind;
    fn pid(&self) -> Option<u32>;
}

impl<R> JoinHandle<R> {
    /// Waits until the task ends.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn join(self) -> Result<R, JoinError> {
        match self.0 {
            Task::Thread(task) => task.join(),
            Task::Process(mut task) => always(task.wait(None)),
            Task::Pooled(task) => always(task.wait(None)),
            Task::Closed(_) => Err(JoinError::Closed),
        }
    }

    /// Waits until the task ends, but no longer than `timeout`: then the handle comes back, and the
    /// task runs on.
    ///
    /// # Errors
    /// The outer error is the handle, if the time is over; the inner one says why there is no
    /// result.
    pub fn join_timeout(
        mut self,
        timeout: Duration,
    ) -> Result<Result<R, JoinError>, JoinHandle<R>> {
        // A time so long that the clock cannot say when it ends is for ever.
        let deadline = Instant::now().checked_add(timeout);
        let ended = match &mut self.0 {
            Task::Thread(task) => task.wait(deadline),
            Task::Process(task) => task.wait(deadline),
            Task::Pooled(task) => task.wait(deadline),
            Task::Closed(_) => Some(Err(JoinError::Closed)),
        };
        ended.ok_or(self)
    }

    /// Whether the task has ended, so that [`join`](Self::join) does not wait.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Task::Thread(task) => task.is_finished(),
            Task::Process(task) => task.is_finished(),
            Task::Pooled(task) => task.is_finished(),
            Task::Closed(_) => true,
        }
    }

    /// Ends the task: [`join`](Self::join) then gives [`JoinError::Cancelled`], unless it had
    /// already ended.
    ///
    /// A task that was not started never starts. A running process is killed, its children too, and
    /// is gone when `join` returns. A running thread cannot be killed: it is let go.
    #[doc(alias = "abort")]
    #[doc(alias = "kill")]
    #[doc(alias = "terminate")]
    pub fn cancel(&self) {
        match &self.0 {
            Task::Thread(task) => task.cancel(),
            Task::Process(task) => task.cancel(),
            Task::Pooled(task) => task.cancel(),
            Task::Closed(_) => {}
        }
    }

    /// Sends SIGTERM to the process that runs it, if one does: its end is told as it comes.
    pub(crate) fn terminate(&self) {
        if let Task::Process(task) = &self.0 {
            task.terminate();
        }
    }

    /// The same task, whose end is told when its process is gone, if it has one, and not when it has
    /// replied.
    pub(crate) fn told_when_gone(mut self) -> JoinHandle<R> {
        if let Task::Process(task) = &mut self.0 {
            task.tell_when_gone();
        }
        self
    }

    /// What kind of worker runs it.
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Task::Thread(_) => Kind::Thread,
            Task::Process(_) => Kind::Process,
            Task::Pooled(task) => task.kind(),
            Task::Closed(kind) => *kind,
        }
    }

    /// The worker process that runs it now. `None`: a thread, or it was not started.
    pub fn pid(&self) -> Option<u32> {
        match &self.0 {
            Task::Thread(_) | Task::Closed(_) => None,
            Task::Process(task) => task.pid(),
            Task::Pooled(task) => task.pid(),
        }
    }
}

/// A future was polled after it was ready: its result is with the one who polled it before.
#[track_caller]
pub(crate) fn joined_twice() -> ! {
    panic!("a task was joined twice: its handle was polled after it was ready")
}

fn always<T>(ended: Option<T>) -> T {
    match ended {
        Some(ended) => ended,
        None => unreachable!("a wait without a deadline does not time out"),
    }
}

// The result is moved out when the task has ended; nothing in a handle points into itself.
impl<R> Unpin for JoinHandle<R> {}

impl<R> Future for JoinHandle<R> {
    type Output = Result<R, JoinError>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Task::Thread(task) => task.poll(context),
            Task::Process(task) => task.poll(context),
            Task::Pooled(task) => task.poll(context),
            Task::Closed(_) => Poll::Ready(Err(JoinError::Closed)),
        }
    }
}

impl<R> fmt::Debug for JoinHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("kind", &self.kind())
            .field("pid", &self.pid())
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

//! One handle for both kinds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::cancel_on_drop::CancelOnDrop;
use super::kind::Kind;
use super::on_done;
use super::process::ProcessTask;
use super::thread::task::ThreadTask;
use crate::JoinError;

/// A task that was started: wait for its result, ask about it, end it.
///
/// It is also a future, for any executor. Dropping it detaches the task, which runs on, unless the
/// handle is to [cancel it](Self::cancel_on_drop).
///
/// In a fork of the process that has started the task (by fork(2), past this library) the handle is
/// only a copy: it says that the task has ended with [`JoinError::Closed`], and does nothing to it.
#[doc(alias = "Future")]
#[doc(alias = "AsyncResult")]
#[must_use = "dropping the handle detaches the task"]
pub struct JoinHandle<R>(pub(crate) HandleInner<R>);

/// What is behind the handle. Of pooled tasks there may be millions: nothing here is larger than
/// theirs.
pub(crate) enum HandleInner<R> {
    Thread(Box<ThreadTask<R>>),
    Process(Box<ProcessTask<R>>),
    Pooled(Arc<dyn Pending<R> + Send + Sync>),
    /// Any of the others, to be cancelled when the handle is dropped.
    CancelOnDrop(Box<CancelOnDrop<R>>),
    /// The task was given to a pool of the process that this one is a fork of.
    Closed(Kind),
}

/// A task that was given to a pool. A caller gets its end once.
pub(crate) trait Pending<R> {
    /// Waits for the end. `None`: not before the deadline.
    fn wait(&self, deadline: Option<Instant>) -> Option<Result<R, JoinError>>;
    /// The end, or has the waker woken when it has come.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>>;
    fn is_finished(&self) -> bool;
    fn cancel(&self);
    /// Cancels it, if it has not begun.
    fn cancel_unbegun(&self);
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
            HandleInner::Thread(task) => task.join(),
            HandleInner::Process(mut task) => always(task.wait(None)),
            HandleInner::Pooled(task) => always(task.wait(None)),
            HandleInner::CancelOnDrop(guarded) => guarded.disarmed().join(),
            HandleInner::Closed(_) => Err(JoinError::Closed),
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
        self.wait(deadline).ok_or(self)
    }

    /// Waits until the task ends. `None`: not before the deadline.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        match &mut self.0 {
            HandleInner::Thread(task) => task.wait(deadline),
            HandleInner::Process(task) => task.wait(deadline),
            HandleInner::Pooled(task) => task.wait(deadline),
            HandleInner::CancelOnDrop(guarded) => guarded.wait(deadline),
            HandleInner::Closed(_) => Some(Err(JoinError::Closed)),
        }
    }

    /// The same task, which is [cancelled](Self::cancel) when the handle is dropped, unless its end
    /// was taken by then: what no caller waits for any more need not run. In async code that is the
    /// future of a request whose client is gone, or one that `select!` has dropped.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = brigade::Pool::processes(1)?;
    /// let endless = pool.submit(|()| loop { std::hint::spin_loop() }, ()).cancel_on_drop();
    /// let _: brigade::JoinHandle<()> = endless; // dropped here, or by `?`, or by a panic
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "AbortOnDropHandle")]
    #[doc(alias = "kill_on_drop")]
    pub fn cancel_on_drop(self) -> JoinHandle<R> {
        match self.0 {
            guarded @ HandleInner::CancelOnDrop(_) => JoinHandle(guarded),
            _ => JoinHandle(HandleInner::CancelOnDrop(Box::new(CancelOnDrop::new(self)))),
        }
    }

    /// Has `callback` called with the result when the task has ended, once, however it ends. Takes
    /// the handle: the task is detached, and can no longer be cancelled by it.
    ///
    /// It is called in a thread of the library, `brigade-done`, which does nothing else, and which
    /// is made when this is first called. So it may block, or panic, without harm to any pool or
    /// task; but callbacks are called one after another, in the order in which the ends are found,
    /// and one that blocks holds up those behind it. It may be called before this returns, and
    /// after the pool is gone: to shut a pool down waits for tasks, not for callbacks. When the
    /// program ends, those that were not called yet are not.
    ///
    /// The result is decoded in that thread. Where the system has no thread left, this waits for
    /// the end and calls `callback` itself. In a fork of the program it is called with
    /// [`JoinError::Closed`]; a callback that was given before the fork is called in the program
    /// alone.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::mpsc;
    ///
    /// brigade::init();
    /// let pool = brigade::Pool::processes(2)?;
    /// let (done, results) = mpsc::channel();
    /// for n in 0..10 {
    ///     let done = done.clone();
    ///     pool.submit(|n: u32| n * n, n).on_done(move |result| {
    ///         let _ = done.send((n, result));
    ///     });
    /// }
    /// drop(done);
    /// for (n, result) in results {
    ///     assert_eq!(result?, n * n);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "add_done_callback")]
    #[doc(alias = "then")]
    pub fn on_done<F>(self, callback: F)
    where
        R: Send + 'static,
        F: FnOnce(Result<R, JoinError>) + Send + 'static,
    {
        on_done::call(self, callback);
    }

    /// Whether the task has ended, so that [`join`](Self::join) does not wait.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            HandleInner::Thread(task) => task.is_finished(),
            HandleInner::Process(task) => task.is_finished(),
            HandleInner::Pooled(task) => task.is_finished(),
            HandleInner::CancelOnDrop(guarded) => guarded.handle().is_finished(),
            HandleInner::Closed(_) => true,
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
            HandleInner::Thread(task) => task.cancel(),
            HandleInner::Process(task) => task.cancel(),
            HandleInner::Pooled(task) => task.cancel(),
            HandleInner::CancelOnDrop(guarded) => guarded.handle().cancel(),
            HandleInner::Closed(_) => {}
        }
    }

    /// Cancels the task, if it has not begun: one that runs runs on.
    pub(crate) fn cancel_unbegun(&self) {
        match &self.0 {
            HandleInner::Pooled(task) => task.cancel_unbegun(),
            HandleInner::CancelOnDrop(guarded) => guarded.handle().cancel_unbegun(),
            // It was started at once; or is another process's.
            HandleInner::Thread(_) | HandleInner::Process(_) | HandleInner::Closed(_) => {}
        }
    }

    /// Sends SIGTERM to the process that runs the task, if one does. The end is whatever comes of
    /// that.
    pub(crate) fn terminate(&self) {
        if let HandleInner::Process(task) = &self.0 {
            task.terminate();
        }
    }

    /// This handle, which gets the task's end when the process is gone, if it has one, and not when
    /// the process has replied.
    pub(crate) fn told_when_gone(mut self) -> JoinHandle<R> {
        if let HandleInner::Process(task) = &mut self.0 {
            task.tell_when_gone();
        }
        self
    }

    /// The end, or has the waker woken when it has come.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        match &mut self.0 {
            HandleInner::Thread(task) => task.poll(context),
            HandleInner::Process(task) => task.poll(context),
            HandleInner::Pooled(task) => task.poll(context),
            HandleInner::CancelOnDrop(guarded) => guarded.poll(context),
            HandleInner::Closed(_) => Poll::Ready(Err(JoinError::Closed)),
        }
    }

    /// What kind of worker runs it.
    pub fn kind(&self) -> Kind {
        match &self.0 {
            HandleInner::Thread(_) => Kind::Thread,
            HandleInner::Process(_) => Kind::Process,
            HandleInner::Pooled(task) => task.kind(),
            HandleInner::CancelOnDrop(guarded) => guarded.handle().kind(),
            HandleInner::Closed(kind) => *kind,
        }
    }

    /// The worker process that runs it now. `None`: a thread, or it was not started.
    pub fn pid(&self) -> Option<u32> {
        match &self.0 {
            HandleInner::Thread(_) | HandleInner::Closed(_) => None,
            HandleInner::Process(task) => task.pid(),
            HandleInner::Pooled(task) => task.pid(),
            HandleInner::CancelOnDrop(guarded) => guarded.handle().pid(),
        }
    }
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
        self.poll_end(context)
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

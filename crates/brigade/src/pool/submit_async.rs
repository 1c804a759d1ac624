//! Submitting without blocking: a future waits for room in the queue.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Pool;
use super::backend::Backend;
use crate::task::waiters::{FutureWaiter, FutureWaiters};
use crate::worker::handle::HandleInner;
use crate::{JoinHandle, Message};

/// A task that is submitted when there is room for it: see [`Pool::submit_async`].
///
/// Until it is polled it has done nothing. If it is dropped before it has given its handle, the
/// task was not submitted, and its input is dropped with it.
#[must_use = "futures do nothing unless they are awaited"]
pub struct SubmitAsync<A, R> {
    pool: Pool,
    task: fn(A) -> R,
    call_site: &'static Location<'static>,
    /// `None`: it was submitted.
    input: Option<A>,
    /// Set once this future has waited.
    waiter: Option<Arc<FutureWaiter>>,
}

// The input is moved, and never pinned.
impl<A, R> Unpin for SubmitAsync<A, R> {}

impl Pool {
    /// Gives the pool a task when its queue has room for it, and gives the task's handle. Neither
    /// this nor what it waits for needs a thread or a runtime: await it on any executor.
    ///
    /// Those that wait are served in the order in which they began to wait; calls of
    /// [`submit`](Self::submit) and [`try_submit`](Self::try_submit) may come first all the same.
    /// Without a [limit](crate::PoolBuilder::queue_limit) it never waits. When the pool is
    /// [closed](Self::close), the handle ends with [`JoinError::Closed`](crate::JoinError::Closed).
    ///
    /// It is cancel-safe: a future that is dropped has not submitted its task.
    ///
    /// # Examples
    /// ```
    /// use brigade::{JoinError, Kind, Pool};
    ///
    /// async fn handle_request(pool: &Pool, n: u64) -> Result<u64, JoinError> {
    ///     let handle = pool.submit_async(|n: u64| n * n, n).await; // waits for room
    ///     handle.await // and for the result
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// for kind in Kind::ALL {
    ///     let pool = Pool::builder(kind).workers(2).queue_limit(4).build()?;
    ///     # use pollster::block_on;
    ///     assert_eq!(block_on(handle_request(&pool, 12))?, 144);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn submit_async<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> SubmitAsync<A, R> {
        SubmitAsync::at(self.clone(), task, Location::caller(), input)
    }
}

impl<A, R> SubmitAsync<A, R> {
    /// As [`Pool::submit_async`], for a caller that was there.
    pub(super) fn at(
        pool: Pool,
        task: fn(A) -> R,
        call_site: &'static Location<'static>,
        input: A,
    ) -> SubmitAsync<A, R> {
        SubmitAsync {
            pool,
            task,
            call_site,
            input: Some(input),
            waiter: None,
        }
    }
}

impl<A: Message, R: Message> SubmitAsync<A, R> {
    /// Submits the task, if there is room for it, or if the pool takes nothing more.
    fn try_now(&mut self) -> Option<JoinHandle<R>> {
        let Some(input) = self.input.take() else {
            panic!("`SubmitAsync` was polled after it had given its handle");
        };
        if self.pool.is_closed() {
            return Some(JoinHandle(HandleInner::Closed(self.pool.kind())));
        }
        let tried = match &self.pool.backend {
            Backend::Thread(pool) => pool.try_submit_at(self.task, self.call_site, input),
            Backend::Process(pool) => pool.try_submit_at(self.task, self.call_site, input),
        };
        match tried {
            Ok(handle) => {
                if let (Some(waiter), Some(waiters)) = (self.waiter.take(), self.waiters()) {
                    waiters.leave(&waiter, true);
                }
                Some(handle)
            }
            Err(input) => {
                self.input = Some(input);
                None
            }
        }
    }
}

impl<A, R> SubmitAsync<A, R> {
    /// `None`: the queue has no limit.
    fn waiters(&self) -> Option<&FutureWaiters> {
        match &self.pool.backend {
            Backend::Thread(pool) => pool.room_waiters(),
            Backend::Process(pool) => pool.room_waiters(),
        }
    }
}

impl<A: Message, R: Message> Future for SubmitAsync<A, R> {
    type Output = JoinHandle<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JoinHandle<R>> {
        let this = &mut *self;
        if let Some(handle) = this.try_now() {
            return Poll::Ready(handle);
        }
        let waiter = Arc::clone(this.waiter.get_or_insert_default());
        if let Some(waiters) = this.waiters() {
            waiters.wait(&waiter, context.waker().clone());
        }
        if let Backend::Process(pool) = &this.pool.backend {
            pool.look_for_room();
        }
        // There may have been room before it was seen that this waits, or the pool was closed.
        match this.try_now() {
            Some(handle) => Poll::Ready(handle),
            None => Poll::Pending,
        }
    }
}

impl<A, R> Drop for SubmitAsync<A, R> {
    fn drop(&mut self) {
        // In a fork of the program the lock may be held by a thread that is not there.
        let waiter = self.waiter.take().filter(|_| !self.pool.is_fork_of_owner());
        if let (Some(waiter), Some(waiters)) = (waiter, self.waiters()) {
            waiters.leave(&waiter, false);
        }
    }
}

impl<A, R> fmt::Debug for SubmitAsync<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitAsync")
            .field("pool", &self.pool)
            .field("is_submitted", &self.input.is_none())
            .finish_non_exhaustive()
    }
}

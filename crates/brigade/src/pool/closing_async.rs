//! How a pool is waited for in async code: until it has nothing to do, or has ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use super::Pool;
use super::backend::Backend;
use crate::task::contain::contained;
use crate::task::waiters::{FutureWaiter, FutureWaiters};

/// Waits until a pool has nothing to do: see [`Pool::wait_idle_async`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct WaitIdleAsync {
    pool: Pool,
    /// Set once this future has waited.
    waiter: Option<Arc<FutureWaiter>>,
}

/// Ends a pool: see [`Pool::shutdown_async`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct ShutdownAsync {
    idle: WaitIdleAsync,
    step: ShutdownStep,
}

#[derive(Debug)]
enum ShutdownStep {
    Open,
    /// The pool was closed, and finishes what it has.
    Closed,
    /// The pool's workers are being ended, in another thread.
    Ends(Arc<Mutex<End>>),
    Ended,
}

#[derive(Debug, Default)]
struct End {
    has_come: bool,
    waker: Option<Waker>,
}

impl Pool {
    /// As [`wait_idle`](Self::wait_idle), without blocking. Neither this nor what it waits for
    /// needs a thread or a runtime: await it on any executor, and with your runtime's timeout if it
    /// is to have one.
    ///
    /// It is cancel-safe: to drop it changes nothing.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # use pollster::block_on;
    /// brigade::init();
    /// for pool in [brigade::Pool::threads(2)?, brigade::Pool::processes(2)?] {
    ///     for n in 0..100_u32 {
    ///         drop(pool.submit(|n| n * 2, n)); // detached
    ///     }
    ///     block_on(pool.wait_idle_async());
    ///     assert_eq!(pool.stats().done, 100);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_idle_async(&self) -> WaitIdleAsync {
        WaitIdleAsync {
            pool: self.clone(),
            waiter: None,
        }
    }

    /// As [`shutdown`](Self::shutdown), without blocking: [closes](Self::close) the pool when it is
    /// first polled, waits until what was accepted is finished, and until its workers are gone. For
    /// that last step alone there is a thread, `brigade-ends`. It needs no runtime.
    ///
    /// To give it no more than some time, as [`drain`](Self::drain) does, put your runtime's
    /// timeout around it. Where it is dropped before it has ended the pool is closed, and goes on
    /// with what it has: await it again, or [`abort`](Self::abort).
    ///
    /// # Examples
    /// A service that SIGTERM or a request asks to stop:
    /// ```
    /// use brigade::{JoinError, Pool};
    ///
    /// async fn stop(pool: &Pool) {
    ///     // tokio::time::timeout(Duration::from_secs(10), pool.shutdown_async()), say
    ///     pool.shutdown_async().await;
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # use pollster::block_on;
    /// brigade::init();
    /// for pool in [Pool::threads(2)?, Pool::processes(2)?] {
    ///     let accepted = pool.submit(|n: u32| n + 1, 1);
    ///     block_on(stop(&pool));
    ///     assert_eq!(accepted.join().unwrap(), 2);
    ///     let late = pool.submit(|n: u32| n + 1, 1);
    ///     assert!(matches!(late.join(), Err(JoinError::Closed)));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "drain_async")]
    #[doc(alias = "graceful")]
    pub fn shutdown_async(&self) -> ShutdownAsync {
        ShutdownAsync {
            idle: self.wait_idle_async(),
            step: ShutdownStep::Open,
        }
    }
}

impl WaitIdleAsync {
    fn waiters(&self) -> &FutureWaiters {
        match &self.pool.backend {
            Backend::Thread(pool) => pool.idle_waiters(),
            Backend::Process(pool) => pool.idle_waiters(),
        }
    }

    fn is_idle(&self) -> bool {
        match &self.pool.backend {
            Backend::Thread(pool) => pool.is_idle(),
            Backend::Process(pool) => pool.look_for_idle(),
        }
    }
}

impl Future for WaitIdleAsync {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_idle() {
            return Poll::Ready(());
        }
        let waiter = Arc::clone(self.waiter.get_or_insert_default());
        self.waiters().wait(&waiter, context.waker().clone());
        // It may have become so before it was seen that this waits.
        match self.is_idle() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for WaitIdleAsync {
    fn drop(&mut self) {
        // In a fork of the program the lock may be held by a thread that is not there.
        let waiter = self.waiter.take().filter(|_| !self.pool.is_fork_of_owner());
        if let Some(waiter) = waiter {
            self.waiters().leave(&waiter, true);
        }
    }
}

impl Future for ShutdownAsync {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.idle.pool.is_fork_of_owner() {
            return Poll::Ready(());
        }
        if let ShutdownStep::Open = self.step {
            self.idle.pool.close();
            self.step = ShutdownStep::Closed;
        }
        if let ShutdownStep::Closed = self.step {
            if Pin::new(&mut self.idle).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.step = end(&self.idle.pool);
        }
        if let ShutdownStep::Ends(end) = &self.step {
            // Cloned before, and dropped after, the lock: that is the executor's code.
            let waker = context.waker().clone();
            let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
            if !end.has_come {
                let before = end.waker.replace(waker);
                drop(end);
                drop(before);
                return Poll::Pending;
            }
            drop(end);
            self.step = ShutdownStep::Ended;
        }
        Poll::Ready(())
    }
}

/// Ends the workers of a pool that is idle.
fn end(pool: &Pool) -> ShutdownStep {
    if let Backend::Thread(threads) = &pool.backend {
        if threads.is_own() {
            // Another thread would wait for this one's task; this one does not wait for itself.
            pool.shutdown();
            return ShutdownStep::Ended;
        }
    }
    let end = Arc::new(Mutex::new(End::default()));
    let (backend, told) = (pool.backend.clone(), Arc::clone(&end));
    let waits = thread::Builder::new()
        .name("brigade-ends".to_owned())
        .spawn(move || {
            backend.finish();
            let mut end = told.lock().unwrap_or_else(PoisonError::into_inner);
            end.has_come = true;
            let waker = end.waker.take();
            drop(end);
            if let Some(waker) = waker {
                // An executor's code: a panic in it is caught, and ignored.
                contained(|| waker.wake());
            }
        });
    if waits.is_err() {
        // The system has no thread left.
        pool.shutdown();
        return ShutdownStep::Ended;
    }
    ShutdownStep::Ends(end)
}

impl fmt::Debug for WaitIdleAsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitIdleAsync")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ShutdownAsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownAsync")
            .field("pool", &self.idle.pool)
            .finish_non_exhaustive()
    }
}

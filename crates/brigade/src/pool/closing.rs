//! How a pool ends: closed, drained, shut down, aborted, or dropped.

use std::time::{Duration, Instant};

use super::Pool;
use super::backend::Backend;

impl Pool {
    /// The pool takes no more tasks, from any of its handles. What it has taken is finished, and
    /// its workers stay until the pool [ends](Self::shutdown). It does not wait.
    ///
    /// From then on [`submit`](Self::submit) gives handles that end with
    /// [`JoinError::Closed`](crate::JoinError::Closed), [`try_submit`](Self::try_submit) gives the
    /// input back, and the inputs that a [`map`](Self::map) has not taken end with `Closed`. So
    /// does a call of `submit` that waits for room in another thread.
    pub fn close(&self) {
        self.backend.close();
    }

    /// Whether it takes no more tasks: it was closed, or has ended.
    pub fn is_closed(&self) -> bool {
        match &self.backend {
            Backend::Thread(pool) => pool.is_closed(),
            Backend::Process(pool) => pool.is_closed(),
        }
    }

    /// Waits until the pool has nothing to do: nothing is queued and nothing runs. It may be given
    /// more meanwhile, and goes on afterwards.
    ///
    /// A task of a pool of threads that waits for its own pool does not wait for itself, nor for
    /// tasks that wait in the pool as well: those may wait for it.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// brigade::init();
    /// for pool in [brigade::Pool::threads(2)?, brigade::Pool::processes(2)?] {
    ///     for n in 0..100_u32 {
    ///         drop(pool.submit(|n| n * 2, n)); // detached
    ///     }
    ///     pool.wait_idle();
    ///     assert_eq!(pool.stats().done, 100);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "join")]
    pub fn wait_idle(&self) {
        self.backend.wait_idle(None);
    }

    /// [Closes](Self::close) the pool, and waits for at most `time` until what it has taken is
    /// finished; then it [ends](Self::shutdown). `false`: the time was not enough. The pool is
    /// closed then, and goes on with what it has: call this again, or [`abort`](Self::abort).
    ///
    /// # Examples
    /// A service that SIGTERM or a request asks to stop:
    /// ```
    /// use std::time::Duration;
    /// use brigade::{JoinError, Pool};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// brigade::init();
    /// for pool in [Pool::threads(2)?, Pool::processes(2)?] {
    ///     let handler = pool.clone(); // as each part of the service has one
    ///     let accepted = handler.submit(|n: u32| n + 1, 1);
    ///     if !pool.drain(Duration::from_secs(10)) {
    ///         pool.abort();
    ///     }
    ///     assert_eq!(accepted.join().unwrap(), 2);
    ///     let late = handler.submit(|n: u32| n + 1, 1);
    ///     assert!(matches!(late.join(), Err(JoinError::Closed)));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "graceful")]
    pub fn drain(&self, time: Duration) -> bool {
        self.backend.close();
        // A time so long that the clock cannot say when it ends is for ever.
        let finished = self.backend.wait_idle(Instant::now().checked_add(time));
        if finished {
            self.backend.finish();
        }
        finished
    }

    /// Ends the pool when all that was accepted is finished, and [closes](Self::close) it at once.
    /// Blocks until its workers are gone, and so does dropping the last handle.
    ///
    /// Several threads may do so at once: each waits until all is done. A task of a pool of threads
    /// may do so too: it does not wait for itself, nor for tasks that wait in the pool as well.
    pub fn shutdown(&self) {
        self.backend.finish();
    }

    /// Ends the pool now: everything that it has is cancelled. It is [closed](Self::close) at once.
    ///
    /// What was not started never starts; running processes are killed, their children too, and are
    /// gone when this returns; running threads are let go.
    pub fn abort(&self) {
        self.backend.abort();
        self.backend.finish();
    }
}

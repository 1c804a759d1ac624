//! Tasks of one key go to one worker.

mod error;
mod task;

use std::fmt;
use std::hash::Hash;

pub use self::error::{TrySubmitError, WorkerLost};
pub use self::task::KeyedTaskBuilder;
use super::Pool;
use super::policy::keys;
use super::state::{StatePool, StateTask};
use crate::{JoinHandle, Message};

/// The worker of a pool that has the tasks of one key. Made by [`Pool::worker_for`].
#[must_use = "it does nothing until a task is submitted"]
pub struct WorkerFor<'p> {
    pool: &'p Pool,
    key: u64,
}

/// The worker of a pool with a state that has the tasks of one key. Made by
/// [`StatePool::worker_for`].
#[must_use = "it does nothing until a task is submitted"]
pub struct StateWorkerFor<'p, S> {
    pool: &'p StatePool<S>,
    key: u64,
}

impl Pool {
    /// The worker that has the tasks of this key: they all go to that one, and run there one after
    /// another, in the order in which they were submitted, as long as it lives. So what one of them
    /// leaves there (a cache, a session, an open file) the next one finds.
    ///
    /// The first task of a key chooses the worker, the one that has the fewest keys. A worker has
    /// any number of keys, and other tasks of the pool too. Keys are compared by a hash of 64 bits.
    /// Of those that are not in use the pool remembers the 65,536 that were used last, at least,
    /// each with some 40 bytes; one that was forgotten may have another worker the next time.
    ///
    /// # When the worker is gone The next call for the key says so, once: [`WorkerLost`], which has
    /// the input. The call after it chooses another worker. A worker is gone when it died, its task
    /// ran over its time or was cancelled while it ran, it was
    /// [recycled](crate::PoolBuilder::recycle_after), it has lost its state, or the pool has
    /// [fewer](Self::resize) now. What was running in it ends as any task does. Tasks that had been
    /// taken and had not begun are not lost: another worker runs them, in their order. A death that
    /// the system has not reported yet is reported by a later call.
    ///
    /// # Costs
    /// In a pool of processes these tasks are given to the worker one by one, when it has no other,
    /// and a worker for which one waits is given nothing ahead: where tasks take a few microseconds
    /// that costs throughput. Without such tasks it costs nothing. A task that waits for one of its
    /// own key waits for ever, as does one that waits for a key of the same worker.
    ///
    /// # Examples
    /// ```
    /// use std::cell::RefCell;
    /// use std::collections::HashMap;
    /// use brigade::{Kind, Pool};
    ///
    /// thread_local! {
    ///     static CARTS: RefCell<HashMap<String, u32>> = RefCell::default();
    /// }
    ///
    /// fn add((user, articles): (String, u32)) -> u32 {
    ///     CARTS.with_borrow_mut(|carts| {
    ///         let cart = carts.entry(user).or_default();
    ///         *cart += articles;
    ///         *cart
    ///     })
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// for kind in [Kind::Thread, Kind::Process] {
    ///     let pool = Pool::new(kind, 4)?;
    ///     for (user, articles, total) in [("ann", 2, 2), ("bob", 5, 5), ("ann", 1, 3)] {
    ///         let input = (user.to_owned(), articles);
    ///         let cart = match pool.worker_for(user).submit(add, input) {
    ///             Ok(cart) => cart,
    ///             // Its worker is gone, and the cart with it: it is begun anew.
    ///             Err(lost) => pool.worker_for(user).submit(add, lost.into_input())?,
    ///         };
    ///         assert_eq!(cart.join()?, total);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "sticky")]
    #[doc(alias = "affinity")]
    #[doc(alias = "shard")]
    pub fn worker_for<K: Hash>(&self, key: K) -> WorkerFor<'_> {
        WorkerFor {
            pool: self,
            key: keys::number_of(&key),
        }
    }
}

impl<'p> WorkerFor<'p> {
    /// Gives the worker a task. As [`Pool::submit`].
    ///
    /// # Errors
    /// The worker that had the tasks of this key is gone: the input, which was not taken. The next
    /// call chooses another.
    #[track_caller]
    pub fn submit<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, WorkerLost<A>> {
        self.task(task).submit(input)
    }

    /// Gives the worker a task, unless the pool's queue is at its limit. As [`Pool::try_submit`].
    ///
    /// # Errors
    /// The queue is at its limit, or the pool is closed; or as [`submit`](Self::submit). The input
    /// is in it.
    ///
    /// # Examples
    /// ```
    /// use brigade::pool::TrySubmitError;
    /// use brigade::{Kind, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = Pool::builder(Kind::Process).workers(2).queue_limit(100).build()?;
    /// match pool.worker_for("ann").try_submit(|n: u32| n + 1, 1) {
    ///     Ok(handle) => assert_eq!(handle.join()?, 2),
    ///     Err(TrySubmitError::Lost(lost)) => eprintln!("ann's session is gone: {lost}"),
    ///     Err(busy) => eprintln!("try again later, with {}", busy.into_input()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn try_submit<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, TrySubmitError<A>> {
        self.task(task).try_submit(input)
    }

    /// A task for the worker that is to have options of its own: a timeout, a deadline, a number of
    /// retries.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = Pool::processes(2)?;
    /// let greet = pool.worker_for("ann").task(|name: String| format!("hello, {name}"));
    /// let greeting = greet.timeout(Duration::from_secs(5)).cancel_on_drop().submit("ann".into())?;
    /// assert_eq!(greeting.join()?, "hello, ann");
    /// # Ok(())
    /// # }
    /// ```
    pub fn task<A: Message, R: Message>(&self, task: fn(A) -> R) -> KeyedTaskBuilder<'p, A, R> {
        KeyedTaskBuilder::plain(self.pool, self.key, task)
    }
}

impl<S: 'static> StatePool<S> {
    /// The worker that has the tasks of this key, and its state: as [`Pool::worker_for`]. So each
    /// worker has a part of what there is, and its state is that part.
    ///
    /// # Examples
    /// ```
    /// use std::collections::HashMap;
    /// use brigade::{Kind, Pool};
    ///
    /// type Carts = HashMap<String, u32>;
    ///
    /// fn add(carts: &mut Carts, (user, articles): (String, u32)) -> u32 {
    ///     let cart = carts.entry(user).or_default();
    ///     *cart += articles;
    ///     *cart
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = Pool::builder(Kind::Process).workers(4).state(|()| Carts::new(), ()).build()?;
    /// for (user, articles, total) in [("ann", 2, 2), ("bob", 5, 5), ("ann", 1, 3)] {
    ///     let cart = pool.worker_for(user).submit_mut(add, (user.to_owned(), articles))?;
    ///     assert_eq!(cart.join()?, total);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker_for<K: Hash>(&self, key: K) -> StateWorkerFor<'_, S> {
        StateWorkerFor {
            pool: self,
            key: keys::number_of(&key),
        }
    }
}

impl<'p, S: 'static> StateWorkerFor<'p, S> {
    /// Gives the worker a task that borrows its state. As [`StatePool::submit`].
    ///
    /// # Errors
    /// As [`WorkerFor::submit`].
    #[track_caller]
    pub fn submit<A: Message, R: Message>(
        &self,
        task: fn(&S, A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, WorkerLost<A>> {
        self.task(task).submit(input)
    }

    /// Gives the worker a task that may change its state. As [`StatePool::submit_mut`].
    ///
    /// # Errors
    /// As [`WorkerFor::submit`].
    #[track_caller]
    pub fn submit_mut<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, WorkerLost<A>> {
        self.task_mut(task).submit(input)
    }

    /// Gives the worker a task that borrows its state, unless the pool's queue is at its limit.
    ///
    /// # Errors
    /// As [`WorkerFor::try_submit`].
    #[track_caller]
    pub fn try_submit<A: Message, R: Message>(
        &self,
        task: fn(&S, A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, TrySubmitError<A>> {
        self.task(task).try_submit(input)
    }

    /// Gives the worker a task that may change its state, unless the pool's queue is at its limit.
    ///
    /// # Errors
    /// As [`WorkerFor::try_submit`].
    #[track_caller]
    pub fn try_submit_mut<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, TrySubmitError<A>> {
        self.task_mut(task).try_submit(input)
    }

    /// A task for the worker that borrows its state, and is to have options of its own. As
    /// [`WorkerFor::task`].
    pub fn task<A: Message, R: Message>(&self, task: fn(&S, A) -> R) -> KeyedTaskBuilder<'p, A, R> {
        KeyedTaskBuilder::with_state(self.pool, self.key, StateTask::Borrows(task))
    }

    /// A task for the worker that may change its state, and is to have options of its own. As
    /// [`WorkerFor::task`].
    pub fn task_mut<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
    ) -> KeyedTaskBuilder<'p, A, R> {
        KeyedTaskBuilder::with_state(self.pool, self.key, StateTask::Changes(task))
    }
}

impl fmt::Debug for WorkerFor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFor")
            .field("pool", self.pool)
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for StateWorkerFor<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateWorkerFor")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

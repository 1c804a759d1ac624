//! Tasks of one key go to one worker.

use std::error::Error;
use std::fmt;
use std::hash::Hash;

use super::policy::keys;
use super::state::{StatePool, StateTask};
use super::thread::Callable;
use super::{Backend, Pool};
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
    /// # When the worker is gone
    /// The next call for the key says so, once: [`WorkerLost`], which has the input. The call after
    /// it chooses another worker. A worker is gone when it died, its task ran over its time or was
    /// cancelled while it ran, it was [recycled](crate::PoolBuilder::recycle_after), it has lost
    /// its state, or the pool has [fewer](Self::resize) now. What was running in it ends as any
    /// task does. Tasks that had been taken and had not begun are not lost: another worker runs
    /// them, in their order. A death that the system has not told of yet is said by a later call.
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

impl WorkerFor<'_> {
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
        let handle = match &self.pool.backend {
            Backend::Thread(pool) => pool.submit_keyed(self.key, Callable::Plain(task), input),
            Backend::Process(pool) => pool.submit_keyed(self.key, task, input),
        };
        handle.map_err(|input| WorkerLost { input })
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

impl<S: 'static> StateWorkerFor<'_, S> {
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
        self.submit_task(StateTask::Borrows(task), input)
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
        self.submit_task(StateTask::Changes(task), input)
    }

    #[track_caller]
    fn submit_task<A: Message, R: Message>(
        &self,
        task: StateTask<S, A, R>,
        input: A,
    ) -> Result<JoinHandle<R>, WorkerLost<A>> {
        let handle = match &self.pool.pool().backend {
            Backend::Thread(pool) => pool.submit_keyed(self.key, task.callable(), input),
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            Backend::Process(pool) => {
                pool.submit_keyed_planned(self.key, &task.plan(self.pool), input)
            }
            #[cfg(any(not(target_os = "linux"), brigade_portable))]
            Backend::Process(pool) => pool.never(),
        };
        handle.map_err(|input| WorkerLost { input })
    }
}

/// The worker that had the tasks of a key is gone, and what they have left there with it: see
/// [`Pool::worker_for`]. It has the input of the task that was not taken.
pub struct WorkerLost<A> {
    input: A,
}

impl<A> WorkerLost<A> {
    /// The input of the task that was not taken.
    pub fn input(&self) -> &A {
        &self.input
    }

    /// The input, to be submitted again.
    pub fn into_input(self) -> A {
        self.input
    }
}

impl<A> fmt::Display for WorkerLost<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the worker that had the tasks of this key is gone; the next call chooses another",
        )
    }
}

impl<A> fmt::Debug for WorkerLost<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLost").finish_non_exhaustive()
    }
}

impl<A> Error for WorkerLost<A> {}

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

//! A task that uses its worker's state; and one that has options of its own.

use std::fmt;
use std::time::{Duration, Instant};

use super::StatePool;
use crate::pool::policy::task_options::BuilderOptions;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
use crate::pool::process;
use crate::pool::thread::Callable;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
use crate::task::entry::Plan;
use crate::{JoinHandle, Message};

/// What such a task calls.
pub(in crate::pool) enum StateTask<S, A, R> {
    Borrows(fn(&S, A) -> R),
    Changes(fn(&mut S, A) -> R),
}

impl<S, A, R> Clone for StateTask<S, A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, A, R> Copy for StateTask<S, A, R> {}

impl<S: 'static, A: Message, R: Message> StateTask<S, A, R> {
    pub(in crate::pool) fn callable(self) -> Callable<A, R> {
        match self {
            StateTask::Borrows(task) => Callable::with_state(task),
            StateTask::Changes(task) => Callable::with_state_mut(task),
        }
    }

    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    pub(in crate::pool) fn plan(self, pool: &StatePool<S>) -> process::StatePlan {
        let (plan, address) = match self {
            StateTask::Borrows(task) => (Plan::with_state(task), task as usize),
            StateTask::Changes(task) => (Plan::with_state_mut(task), task as usize),
        };
        process::StatePlan {
            plan,
            address,
            state: pool.state.clone(),
        }
    }
}

/// One task that uses its worker's state, and has options of its own: a timeout, a
/// deadline, a number of retries. Made by [`StatePool::task`] and [`StatePool::task_mut`].
///
/// As [`TaskBuilder`](crate::pool::TaskBuilder).
#[must_use = "it is a task only when it is submitted"]
pub struct StateTaskBuilder<'p, S, A, R> {
    pool: &'p StatePool<S>,
    task: StateTask<S, A, R>,
    options: BuilderOptions,
}

impl<S: 'static> StatePool<S> {
    /// A task that borrows its worker's state, and is to have options of its own: a
    /// timeout, a deadline, a number of retries.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use brigade::{Kind, Pool};
    ///
    /// brigade::init();
    /// let pool = Pool::builder(Kind::Process).workers(2).state(|from: u32| from, 100).build()?;
    /// let add = pool.task(|from: &u32, n: u32| from + n).timeout(Duration::from_secs(5));
    /// assert_eq!(add.submit(1).join()?, 101);
    /// # Ok(())
    /// # }
    /// ```
    pub fn task<A: Message, R: Message>(
        &self,
        task: fn(&S, A) -> R,
    ) -> StateTaskBuilder<'_, S, A, R> {
        StateTaskBuilder::new(self, StateTask::Borrows(task))
    }

    /// A task that may change its worker's state. As [`task`](Self::task).
    pub fn task_mut<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
    ) -> StateTaskBuilder<'_, S, A, R> {
        StateTaskBuilder::new(self, StateTask::Changes(task))
    }
}

impl<'p, S: 'static, A: Message, R: Message> StateTaskBuilder<'p, S, A, R> {
    fn new(pool: &'p StatePool<S>, task: StateTask<S, A, R>) -> Self {
        StateTaskBuilder {
            pool,
            task,
            options: BuilderOptions::NONE,
        }
    }

    /// How long the task may run: as [`TaskBuilder::timeout`](crate::pool::TaskBuilder::timeout).
    ///
    /// *Default: the pool's.*
    pub fn timeout(mut self, time: Duration) -> Self {
        self.options.task.timeout = Some(time);
        self
    }

    /// When the task ends at the latest, whether it runs or waits: as
    /// [`TaskBuilder::deadline`](crate::pool::TaskBuilder::deadline).
    ///
    /// *Default: none.*
    pub fn deadline(mut self, at: Instant) -> Self {
        self.options.task.deadline = Some(at);
        self
    }

    /// How often the task is run again, instead of the pool's
    /// [retries](crate::PoolBuilder::retries): each time in a worker that has loaded its state
    /// anew, or in another that had its own.
    ///
    /// *Default: the pool's.*
    pub fn retries(mut self, times: u32) -> Self {
        self.options.task.retries = Some(times);
        self
    }

    /// The task is cancelled when its handle is dropped, as
    /// [`JoinHandle::cancel_on_drop`] does.
    ///
    /// *Default: it runs on, detached.*
    pub fn cancel_on_drop(mut self) -> Self {
        self.options.cancels_on_drop = true;
        self
    }

    /// Gives the pool the task, as [`StatePool::submit`] does.
    #[track_caller]
    pub fn submit(self, input: A) -> JoinHandle<R> {
        let handle = self.pool.submit_as(self.task, input, self.options.task);
        self.options.apply_to(handle)
    }

    /// Gives the pool the task, unless its queue is at its limit, as [`StatePool::try_submit`]
    /// does.
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit(self, input: A) -> Result<JoinHandle<R>, A> {
        let handle = self.pool.try_submit_as(self.task, input, self.options.task);
        handle.map(|handle| self.options.apply_to(handle))
    }
}

impl<S, A, R> fmt::Debug for StateTaskBuilder<'_, S, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("StateTaskBuilder");
        self.options
            .show(fields.field("pool", self.pool))
            .finish_non_exhaustive()
    }
}

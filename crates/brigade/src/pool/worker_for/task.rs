//! One task of a key, with options of its own.

use std::fmt;
use std::time::{Duration, Instant};

use super::error::{TrySubmitError, WorkerLost};
use crate::pool::Pool;
use crate::pool::backend::Backend;
use crate::pool::policy::keys::NotTaken;
use crate::pool::policy::task_options::BuilderOptions;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
use crate::pool::process::StatePlan;
use crate::pool::state::{StatePool, StateTask};
use crate::pool::thread::Callable;
use crate::{JoinHandle, Message};

/// One task for the worker of a key that has options of its own: a timeout, a deadline, a number of
/// retries. Made by [`WorkerFor::task`](super::WorkerFor::task),
/// [`StateWorkerFor::task`](super::StateWorkerFor::task) and
/// [`task_mut`](super::StateWorkerFor::task_mut).
///
/// As [`TaskBuilder`](crate::pool::TaskBuilder), but for the errors: the worker may be gone.
#[must_use = "it is a task only when it is submitted"]
pub struct KeyedTaskBuilder<'p, A, R> {
    pool: &'p Pool,
    key: u64,
    target: Target<A, R>,
    options: BuilderOptions,
}

/// What the task calls.
enum Target<A, R> {
    Plain(fn(A) -> R),
    /// With its worker's state, in a pool of threads.
    InThread(Callable<A, R>),
    /// With its worker's state, in a pool of processes.
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    InProcess(StatePlan),
}

impl<'p, A: Message, R: Message> KeyedTaskBuilder<'p, A, R> {
    fn new(pool: &'p Pool, key: u64, target: Target<A, R>) -> Self {
        KeyedTaskBuilder {
            pool,
            key,
            target,
            options: BuilderOptions::NONE,
        }
    }

    pub(super) fn plain(pool: &'p Pool, key: u64, task: fn(A) -> R) -> Self {
        KeyedTaskBuilder::new(pool, key, Target::Plain(task))
    }

    pub(super) fn with_state<S: 'static>(
        pool: &'p StatePool<S>,
        key: u64,
        task: StateTask<S, A, R>,
    ) -> Self {
        let target = match &pool.pool().backend {
            Backend::Thread(_) => Target::InThread(task.callable()),
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            Backend::Process(_) => Target::InProcess(task.plan(pool)),
            #[cfg(any(not(target_os = "linux"), brigade_portable))]
            Backend::Process(pool) => pool.never(),
        };
        KeyedTaskBuilder::new(pool.pool(), key, target)
    }

    /// How long the task may run: as [`TaskBuilder::timeout`](crate::pool::TaskBuilder::timeout).
    /// One that runs over it takes its worker along: the next call for the key reports the loss.
    ///
    /// *Default: the pool's.*
    pub fn timeout(mut self, time: Duration) -> Self {
        self.options.task.timeout = Some(time);
        self
    }

    /// When the task ends at the latest, whether it runs or waits: as
    /// [`TaskBuilder::deadline`](crate::pool::TaskBuilder::deadline). Where it passes while the
    /// task waits for those of its key before it, their worker stays.
    ///
    /// *Default: none.*
    pub fn deadline(mut self, at: Instant) -> Self {
        self.options.task.deadline = Some(at);
        self
    }

    /// How often the task is run again, instead of the pool's
    /// [retries](crate::PoolBuilder::retries): in the worker that comes after the one that it was
    /// lost with, before the tasks of its key behind it.
    ///
    /// *Default: the pool's.*
    pub fn retries(mut self, times: u32) -> Self {
        self.options.task.retries = Some(times);
        self
    }

    /// The task is cancelled when its handle is dropped, as [`JoinHandle::cancel_on_drop`] does. If
    /// it runs, its worker is gone with it.
    ///
    /// *Default: it runs on, detached.*
    pub fn cancel_on_drop(mut self) -> Self {
        self.options.cancels_on_drop = true;
        self
    }

    /// Gives the worker the task, as [`WorkerFor::submit`](super::WorkerFor::submit) does.
    ///
    /// # Errors
    /// The worker that had the tasks of this key is gone: the input, which was not taken.
    #[track_caller]
    pub fn submit(self, input: A) -> Result<JoinHandle<R>, WorkerLost<A>> {
        self.give(input, true).map_err(|why| match why {
            NotTaken::Lost(input) | NotTaken::Full(input) => WorkerLost { input },
        })
    }

    /// Gives the worker the task, unless the pool's queue is at its limit, as
    /// [`WorkerFor::try_submit`](super::WorkerFor::try_submit) does.
    ///
    /// # Errors
    /// The queue is at its limit, or the pool is closed; or as [`submit`](Self::submit). The input
    /// is in it.
    #[track_caller]
    pub fn try_submit(self, input: A) -> Result<JoinHandle<R>, TrySubmitError<A>> {
        self.give(input, false).map_err(TrySubmitError::from)
    }

    /// Gives the worker the task. `waits`: for room in the pool's queue, so that is never full.
    #[track_caller]
    fn give(self, input: A, waits: bool) -> Result<JoinHandle<R>, NotTaken<A>> {
        let (key, options) = (self.key, self.options.task);
        let handle = match (&self.pool.backend, self.target) {
            (Backend::Thread(pool), target) => {
                let task = match target {
                    Target::Plain(task) => Callable::Plain(task),
                    Target::InThread(task) => task,
                    #[cfg(all(target_os = "linux", not(brigade_portable)))]
                    Target::InProcess(_) => unreachable!("its target is of its pool's kind"),
                };
                match waits {
                    true => (pool.submit_keyed(key, task, input, options)).map_err(NotTaken::Lost),
                    false => pool.try_submit_keyed(key, task, input, options),
                }
            }
            (Backend::Process(pool), Target::Plain(task)) => match waits {
                true => (pool.submit_keyed(key, task, input, options)).map_err(NotTaken::Lost),
                false => pool.try_submit_keyed(key, task, input, options),
            },
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            (Backend::Process(pool), Target::InProcess(plan)) => match waits {
                true => {
                    (pool.submit_keyed_planned(key, &plan, input, options)).map_err(NotTaken::Lost)
                }
                false => pool.try_submit_keyed_planned(key, &plan, input, options),
            },
            (Backend::Process(_), Target::InThread(_)) => {
                unreachable!("its target is of its pool's kind")
            }
        };
        handle.map(|handle| self.options.apply_to(handle))
    }
}

impl<A, R> fmt::Debug for KeyedTaskBuilder<'_, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("KeyedTaskBuilder");
        self.options
            .show(fields.field("pool", self.pool))
            .finish_non_exhaustive()
    }
}

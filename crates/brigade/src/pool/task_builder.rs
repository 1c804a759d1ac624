//! One task, with options of its own.

use std::fmt;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::policy::task_options::BuilderOptions;
use super::process::TargetWithContext;
use super::thread::Callable;
use super::{Context, Pool};
use crate::{JoinHandle, Message};

/// One task that has options of its own: a timeout, a deadline, a number of retries.
/// Made by [`Pool::task`] and [`Pool::task_captured`].
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// use brigade::{JoinError, Pool};
///
/// fn render(page: u32) -> String {
///     format!("page {page}")
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let pool = Pool::processes(2)?; // or Pool::threads(2)
/// let until = Instant::now() + Duration::from_secs(5); // when the client gives up
/// let page = pool
///     .task(render)
///     .deadline(until) // in the queue, too
///     .timeout(Duration::from_secs(2)) // once it runs
///     .retries(1)
///     .cancel_on_drop() // when no caller waits any more
///     .submit(7);
/// match page.join() {
///     Ok(text) => assert_eq!(text, "page 7"),
///     Err(JoinError::TimedOut(over)) if !over.had_begun() => eprintln!("overloaded: {over}"),
///     Err(other) => return Err(other.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "it is a task only when it is submitted"]
pub struct TaskBuilder<'p, A, R> {
    pool: &'p Pool,
    task: What<A, R>,
    options: BuilderOptions,
}

/// What is called.
enum What<A, R> {
    Plain(fn(A) -> R),
    /// In a pool of threads: a function, and what it captures.
    Captured(Callable<A, R>),
    /// In a pool of processes.
    WithContext(TargetWithContext),
}

impl<'p, A: Message, R: Message> TaskBuilder<'p, A, R> {
    pub(super) fn new(pool: &'p Pool, task: fn(A) -> R) -> TaskBuilder<'p, A, R> {
        TaskBuilder {
            pool,
            task: What::Plain(task),
            options: BuilderOptions::NONE,
        }
    }

    #[track_caller]
    pub(super) fn of_captured<C: Message + Sync>(
        pool: &'p Pool,
        context: &Context<C>,
        task: fn(&C, A) -> R,
    ) -> TaskBuilder<'p, A, R> {
        let task = match &pool.backend {
            Backend::Thread(_) => What::Captured(Callable::with_context(context.clone(), task)),
            Backend::Process(pool) => What::WithContext(pool.target_with(context, task)),
        };
        TaskBuilder {
            pool,
            task,
            options: BuilderOptions::NONE,
        }
    }

    /// How long the task may run, instead of the pool's [timeout](crate::PoolBuilder::timeout):
    /// then it ends as with that. It may be shorter or longer, and the pool need have none;
    /// [`Duration::MAX`] is no timeout at all.
    ///
    /// *Default: the pool's.*
    pub fn timeout(mut self, time: Duration) -> Self {
        self.options.task.timeout = Some(time);
        self
    }

    /// When the task ends at the latest, whether it runs or waits: with
    /// [`TimedOut`](crate::JoinError::TimedOut), whose
    /// [`had_begun`](crate::Timeout::had_begun) says which.
    ///
    /// A task whose deadline passes while it waits never begins, also if it has passed already when
    /// it is submitted; [`submit`](Self::submit) waits no longer for room than until then. One that
    /// runs ends as with a [timeout](Self::timeout): a process is killed, a thread is let go. It is
    /// not run again. Unlike a timeout, a deadline is a moment: time in which the program or its
    /// worker is stopped counts.
    ///
    /// In a pool of processes such a task is not given to a worker ahead, for it could begin there
    /// after its deadline: where tasks take a few microseconds that costs throughput.
    ///
    /// *Default: none.*
    pub fn deadline(mut self, at: Instant) -> Self {
        self.options.task.deadline = Some(at);
        self
    }

    /// How often the task is run again, instead of the pool's
    /// [retries](crate::PoolBuilder::retries).
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

    /// Gives the pool the task, as [`Pool::submit`] does.
    #[track_caller]
    pub fn submit(self, input: A) -> JoinHandle<R> {
        let options = self.options.task;
        let handle = match (&self.pool.backend, self.task) {
            (Backend::Thread(pool), What::Plain(task)) => {
                pool.submit_as(Callable::Plain(task), input, options)
            }
            (Backend::Thread(pool), What::Captured(task)) => pool.submit_as(task, input, options),
            (Backend::Process(pool), What::Plain(task)) => pool.submit_as(task, input, options),
            (Backend::Process(pool), What::WithContext(task)) => {
                pool.submit_captured_as(task, input, options)
            }
            _ => other_kind(),
        };
        self.options.apply_to(handle)
    }

    /// Gives the pool the task, unless its queue is at its limit, as [`Pool::try_submit`] does.
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit(self, input: A) -> Result<JoinHandle<R>, A> {
        let options = self.options.task;
        let handle = match (&self.pool.backend, self.task) {
            (Backend::Thread(pool), What::Plain(task)) => {
                pool.try_submit_as(Callable::Plain(task), input, options)
            }
            (Backend::Thread(pool), What::Captured(task)) => {
                pool.try_submit_as(task, input, options)
            }
            (Backend::Process(pool), What::Plain(task)) => pool.try_submit_as(task, input, options),
            (Backend::Process(pool), What::WithContext(task)) => {
                pool.try_submit_captured_as(task, input, options)
            }
            _ => other_kind(),
        };
        handle.map(|handle| self.options.apply_to(handle))
    }
}

/// What was made for this pool is of its kind.
fn other_kind() -> ! {
    unreachable!("a task of a pool of the other kind")
}

impl<A, R> fmt::Debug for TaskBuilder<'_, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("TaskBuilder");
        self.options
            .show(fields.field("pool", self.pool))
            .finish_non_exhaustive()
    }
}

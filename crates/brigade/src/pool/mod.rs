//! Workers that stay: a [`Pool`] of threads or of processes, one word apart.

// The files:
// - context: what many tasks borrow; captured: a task and what it captures; scope: tasks that
//   borrow from the caller's stack
// - builder: configures and starts a pool; config: its options; pool_size: how many workers
// - task_builder: one task, with options of its own
// - closing: how a pool ends; map: results in the order of their inputs, or as they come; keyed:
//   with keys; map_ref: of inputs that the caller keeps; map_stream: in async code
// - submit_async: waits for room in the queue; closing_async: until there is nothing to do, or the
//   pool has ended
// - named: tasks of another program
// - stats: a pool's numbers; open_metrics: the same as a text for Prometheus; histogram: how long
//   tasks took; events: for subscribers of `tracing`
// - state: what each worker loads and keeps; actor: one worker with a state; worker_for: tasks of
//   one key go to one worker
// - stacks: what each worker does, and where
// - timeline: a pool's runs of tasks as a file for Perfetto; absent: where that feature is off
// - policy: what both kinds of pools decide alike
// - thread: a pool of threads; process: a pool of processes
// - crash_file: what `keep_crashes` writes, and what `BRIGADE_REPLAY` does with it

mod actor;
mod backend;
mod builder;
pub(crate) mod captured;
mod closing;
mod closing_async;
mod config;
mod context;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod crash_file;
mod events;
mod histogram;
mod input_item;
mod keyed;
mod map;
mod map_ref;
mod map_stream;
mod named;
mod open_metrics;
mod policy;
mod pool_size;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod process;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
#[path = "no_processes.rs"]
pub(crate) mod process;
mod refused_map;
mod scope;
mod stacks;
mod state;
mod stats;
mod submit_async;
mod task_builder;
#[cfg(feature = "tracing")]
mod task_names;
pub(crate) mod thread;
#[cfg(feature = "timeline")]
mod timeline;
#[cfg(not(feature = "timeline"))]
#[path = "timeline/absent.rs"]
mod timeline;
mod worker_for;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use actor::{Actor, ActorBuilder};
pub use builder::PoolBuilder;
pub use captured::Captured;
pub use closing_async::{ShutdownAsync, WaitIdleAsync};
pub use context::Context;
pub use histogram::Latencies;
pub use keyed::MapKeyed;
pub use map::{Map, MapUnordered};
pub use map_stream::MapStream;
pub use open_metrics::open_metrics;
pub use pool_size::PoolSize;
pub use stacks::{Stacks, WorkerStack};
pub use state::{StatePool, StatePoolBuilder, StateTaskBuilder};
pub use stats::PoolStats;
pub use submit_async::SubmitAsync;
pub use task_builder::TaskBuilder;
pub use thread::{PoolScope, ScopedTaskHandle};
pub use worker_for::{KeyedTaskBuilder, StateWorkerFor, TrySubmitError, WorkerFor, WorkerLost};

use self::backend::{Backend, LastHandle};
use self::input_item::InputItem;
use crate::{JoinHandle, Kind, Message};

/// Workers, threads or processes, that run one task after another.
///
/// Every task ends exactly once, with a typed result, and a crash costs only the task that was
/// running: its worker is replaced, and what waited goes to others.
///
/// A `Pool` is a handle: a clone is another handle of the same pool, and costs two counters. The
/// pool ends with [`shutdown`](Self::shutdown), [`drain`](Self::drain) or [`abort`](Self::abort),
/// for all its handles; or when the last one is dropped, which finishes what was accepted, as
/// `shutdown` does, and blocks until then. An iterator over the results of a [`map`](Self::map) has
/// a handle of its own. From then on nothing is taken: each task ends with
/// [`JoinError::Closed`](crate::JoinError::Closed).
///
/// - **A crash** costs the task that was running, and a new worker, which is forked in the
///   background while the others go on. Tasks that lay ahead of the dead worker had not begun, and
///   run elsewhere. What earlier tasks have left in that worker (caches, static variables) is gone
///   with it; an [`initializer`](PoolBuilder::initializer) brings it back.
/// - **Retries** are for crashes and timeouts, not for panics, which would only come again. A task
///   that is retried runs more than once: use them for tasks that may.
/// - **Recycling** is for what leaks. A worker ends between two tasks, so no task is lost by it.
///
/// In a fork of the process that made it (by fork(2), past this library) a pool is only a copy:
/// every task ends with [`JoinError::Closed`](crate::JoinError::Closed) at once, its numbers are
/// empty, and dropping it does nothing.
///
/// # Events
/// A pool tells what it does in events of [`tracing`](https://docs.rs/tracing), target
/// `brigade::pool`. Without a subscriber that is interested they cost nothing. Each has a name, a
/// message, the number of its `pool` and the `kind` of its workers.
///
/// | level | events |
/// |---|---|
/// | `TRACE` | a task was `submitted`; has `started` to run; was `moved` to another worker process before it began; is `retried`; has `ended` |
/// | `DEBUG` | a worker is `replaced`, and why |
/// | `INFO` | a stopped worker process has `continued` |
/// | `WARN` | a worker process has `crashed`; was `stopped` by a signal |
///
/// # Examples
/// ```
/// use brigade::{JoinError, Pool};
///
/// fn sum(v: Vec<u64>) -> u64 {
///     v.into_iter().sum()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let pool = Pool::processes(2)?; // or Pool::threads(2), or Pool::new(kind, 2)
/// assert_eq!(pool.submit(sum, vec![1, 2, 3]).join()?, 6);
/// for result in pool.map(sum, (0..1000).map(|i| vec![i, i])) {
///     match result {
///         Ok(total) => assert_eq!(total % 2, 0),
///         Err(JoinError::Crashed(crash)) => eprintln!("one task lost: {crash}"),
///         Err(other) => return Err(other.into()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "ThreadPool")]
#[doc(alias = "ProcessPool")]
#[doc(alias = "ThreadPoolExecutor")]
#[doc(alias = "ProcessPoolExecutor")]
#[doc(alias = "executor")]
#[doc(alias = "rayon")]
#[doc(alias = "multiprocessing")]
#[derive(Clone)]
pub struct Pool {
    /// Also in `_last`: one step less on the way to the workers.
    backend: Backend,
    _last: Arc<LastHandle>,
}

impl Pool {
    fn of(backend: Backend) -> Pool {
        Pool {
            _last: Arc::new(LastHandle::new(backend.clone())),
            backend,
        }
    }

    /// A pool of this many threads.
    ///
    /// # Errors
    /// As [`PoolBuilder::build`].
    pub fn threads(workers: usize) -> io::Result<Pool> {
        Pool::new(Kind::Thread, workers)
    }

    /// A pool of this many processes.
    ///
    /// # Errors
    /// As [`PoolBuilder::build`].
    pub fn processes(workers: usize) -> io::Result<Pool> {
        Pool::new(Kind::Process, workers)
    }

    /// A pool of this many workers of this kind.
    ///
    /// # Errors
    /// As [`PoolBuilder::build`].
    pub fn new(kind: Kind, workers: usize) -> io::Result<Pool> {
        Pool::builder(kind).workers(workers).build()
    }

    /// Configures a pool: its timeout, retries, queue limit and more.
    pub fn builder(kind: Kind) -> PoolBuilder {
        PoolBuilder::new(kind)
    }

    /// Gives the pool a task.
    ///
    /// Blocks while the queue is at its [limit](PoolBuilder::queue_limit): in async code use
    /// [`submit_async`](Self::submit_async) or [`try_submit`](Self::try_submit), or set no limit.
    /// Without a limit it never waits for a worker.
    ///
    /// It has no error of its own: an input that cannot be encoded, and a worker that cannot be
    /// made, are errors that the handle gives.
    #[doc(alias = "apply_async")]
    #[doc(alias = "spawn_blocking")]
    #[track_caller]
    pub fn submit<A: Message, R: Message>(&self, task: fn(A) -> R, input: A) -> JoinHandle<R> {
        match &self.backend {
            Backend::Thread(pool) => pool.submit(task, input),
            Backend::Process(pool) => pool.submit(task, input),
        }
    }

    /// Gives the pool a task, unless its queue is at its limit. Never waits for room.
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        match &self.backend {
            Backend::Thread(pool) => pool.try_submit(task, input),
            Backend::Process(pool) => pool.try_submit(task, input),
        }
    }

    /// A task that is to have options of its own: a timeout, a deadline, a number of
    /// retries.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// brigade::init();
    /// let pool = brigade::Pool::processes(2)?;
    /// let handle = pool.task(|n: u32| n + 1).timeout(Duration::from_secs(5)).submit(1);
    /// assert_eq!(handle.join()?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn task<A: Message, R: Message>(&self, task: fn(A) -> R) -> TaskBuilder<'_, A, R> {
        TaskBuilder::new(self, task)
    }

    /// Runs `task` on each input, and gives the results in the order of the inputs.
    ///
    /// Inputs are pulled as workers have room for them, and results are held back only as long as
    /// one before them is not there, so that memory does not grow with the number of inputs:
    /// `inputs` is at most 16,384 inputs ahead of the result that is asked for next. It is read in
    /// the thread that calls `next`; nothing is read before the first call. `next` blocks until the
    /// next result is there. When the iterator is dropped, what was not started never starts, and
    /// what runs runs on, detached. It has a handle of the pool, which goes on as long as the
    /// iterator is used. When the pool is [closed](Self::close), the inputs that were not taken end
    /// with [`JoinError::Closed`](crate::JoinError::Closed), each.
    ///
    /// # Panics
    /// `next` panics if `inputs` does. Inputs that were read before are run, and `next` may be
    /// called again.
    #[doc(alias = "imap")]
    #[doc(alias = "par_iter")]
    #[track_caller]
    pub fn map<A, R, I>(&self, task: fn(A) -> R, inputs: I) -> Map<A, R, I::IntoIter>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        Map::new(self.clone(), self.start_map(task, inputs.into_iter()))
    }

    /// Runs `task` on each input, and gives the results as they come, each with the number of its
    /// input, counted from 0.
    ///
    /// Otherwise as [`map`](Self::map).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = brigade::Pool::processes(2)?;
    /// let inputs = ["a", "bcd", "ef"].map(String::from);
    /// for (number, length) in pool.map_unordered(|text: String| text.len(), inputs.clone()) {
    ///     assert_eq!(length?, inputs[number].len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "imap_unordered")]
    #[doc(alias = "as_completed")]
    #[track_caller]
    pub fn map_unordered<A, R, I>(
        &self,
        task: fn(A) -> R,
        inputs: I,
    ) -> MapUnordered<A, R, I::IntoIter>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        MapUnordered::new(self.clone(), self.start_map(task, inputs.into_iter()))
    }

    #[track_caller]
    fn start_map<A: Message, R: Message, I: Iterator<Item: InputItem<A>>>(
        &self,
        task: fn(A) -> R,
        inputs: I,
    ) -> map::MapSource<A, R, I> {
        match &self.backend {
            Backend::Thread(pool) => map::MapSource::Threads(thread::Map::new(pool, task, inputs)),
            Backend::Process(pool) => {
                map::MapSource::Processes(process::Map::new(pool, task, inputs))
            }
        }
    }

    #[cfg(all(
        any(brigade_counts, all(test, not(any(loom, shuttle)))),
        target_os = "linux",
        not(brigade_portable)
    ))]
    pub(crate) fn processes_only(&self) -> Option<&Arc<process::ProcessPool>> {
        match &self.backend {
            Backend::Thread(_) => None,
            Backend::Process(pool) => Some(pool),
        }
    }

    /// Whether this process is a fork of the one that made it.
    fn is_fork_of_owner(&self) -> bool {
        match &self.backend {
            Backend::Thread(pool) => pool.is_fork_of_owner(),
            Backend::Process(pool) => pool.is_fork_of_owner(),
        }
    }

    /// What its workers are.
    pub fn kind(&self) -> Kind {
        match &self.backend {
            Backend::Thread(_) => Kind::Thread,
            Backend::Process(_) => Kind::Process,
        }
    }

    /// How many workers it has, or should have: those that take the place of others are counted.
    pub fn workers(&self) -> usize {
        match &self.backend {
            Backend::Thread(pool) => pool.workers(),
            Backend::Process(pool) => pool.workers(),
        }
    }

    /// Changes how many workers it has, while it runs: to a number from 1 to 4096, or to a range in
    /// which it [follows the work](PoolBuilder::workers) from now on.
    ///
    /// New workers are taken at once, and this does not wait for them: a process that cannot be
    /// made is tried again, as one that takes the place of a dead one. A worker that is one too
    /// many is given no more tasks, and loses none: it ends when it has ended the task that it
    /// runs, and those that had nothing to do end now (threads within a tenth of a second). What
    /// lay ahead of it goes to others. Workers that leave so are no restarts in the
    /// [numbers](Self::stats), whose `workers` are how many there should be, from now on.
    ///
    /// # Errors
    /// The number makes no sense, or the pool is an [actor's](crate::Actor) and it is not 1; or the
    /// system has no more threads, of which as many are started as there are.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = brigade::Pool::processes(1)?;
    /// pool.resize(3)?; // for the rush hour
    /// assert_eq!(pool.map(|n: u32| n + 1, 0..100).count(), 100);
    /// pool.resize(1)?;
    /// assert_eq!(pool.workers(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resize(&self, workers: impl Into<PoolSize>) -> io::Result<()> {
        let size = workers.into();
        size.check()?;
        match &self.backend {
            Backend::Thread(pool) => pool.resize(&size),
            Backend::Process(pool) => pool.resize(&size),
        }
    }

    /// The processes that are its workers now. Empty for a pool of threads.
    pub fn pids(&self) -> Vec<u32> {
        match &self.backend {
            Backend::Thread(_) => Vec::new(),
            Backend::Process(pool) => pool.pids(),
        }
    }

    /// What it has done, and what it has to do.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = brigade::Pool::processes(2)?;
    /// assert_eq!(pool.map(|n: u32| n, 0..100).count(), 100);
    /// let stats = pool.stats();
    /// assert_eq!((stats.submitted, stats.done, stats.failed()), (100, 100, 0));
    /// println!("99 of 100 took at most {:?}", stats.latencies.quantile(0.99));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> PoolStats {
        match &self.backend {
            Backend::Thread(pool) => pool.stats(),
            Backend::Process(pool) => pool.stats(),
        }
    }

    /// What each worker does now: its task, for how long, and the calls on its stack. For a service
    /// that seems to hang: print it when a signal or a request asks for it.
    ///
    /// A worker process is asked by a signal, `SIGRTMAX-9`, whose handler notes the calls; that
    /// takes some 0.1 ms, and this waits for no more than 50 ms (for each 64 workers). Tasks go on:
    /// system calls that the signal interrupts are restarted, but for those that
    /// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html) names, which return `EINTR`
    /// after any handler: `poll`, `select`, `epoll_wait`, `nanosleep` and a few others. The
    /// standard library tries those again. Of a worker that cannot answer, the answer has what the
    /// system shows of it from outside.
    ///
    /// Threads are asked in a pool that was built with
    /// [`thread_stacks`](PoolBuilder::thread_stacks); otherwise the answer has their tasks, and no
    /// stacks.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// brigade::init();
    /// let pool = brigade::Pool::processes(2)?;
    /// println!("{}", pool.stacks());
    /// for worker in pool.stacks() {
    ///     let (Some(task), Some(age)) = (worker.task(), worker.age()) else {
    ///         continue; // it has nothing to do
    ///     };
    ///     if age.as_secs() > 60 {
    ///         eprintln!("{task} hangs:\n{}", worker.backtrace().unwrap_or_default());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "thread_dump")]
    pub fn stacks(&self) -> Stacks {
        Stacks::new(match &self.backend {
            Backend::Thread(pool) => pool.stacks(),
            Backend::Process(pool) => pool.stacks(),
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("kind", &self.kind())
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}

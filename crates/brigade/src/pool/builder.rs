//! Configures a pool and starts it.

mod reports;

use std::io;
use std::panic::Location;
#[cfg(feature = "timeline")]
use std::path::Path;
#[cfg(feature = "timeline")]
use std::sync::Arc;
use std::time::Duration;

use super::backend::Backend;
use super::config::Options;
use super::policy::queue_and_retries::QueueLimit;
use super::policy::size::SHRINK_AFTER;
use super::pool_size::PoolSize;
#[cfg(feature = "timeline")]
use super::timeline::Timeline;
use super::{Pool, process as process_pool, thread};
use crate::sys::processors;
use crate::{Kind, process};

/// So long that a clock can say when it ends.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Configures a [`Pool`]. Made by [`Pool::builder`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brigade::{JoinError, Kind, Pool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let pool = Pool::builder(Kind::Process).workers(1).timeout(Duration::from_millis(100)).build()?;
/// let endless = pool.submit(|()| loop { std::hint::spin_loop() }, ());
/// let result: Result<(), JoinError> = endless.join();
/// assert!(matches!(result, Err(JoinError::TimedOut(_)))); // and its process is gone
/// assert_eq!(pool.submit(|n: u32| n + 1, 1).join()?, 2); // another has taken its place
/// # Ok(())
/// # }
/// ```
///
/// All that there is:
/// ```no_run
/// use std::time::Duration;
/// use brigade::{JoinError, Kind, Pool, process};
///
/// fn load_tables() {}
///
/// fn decode(file: Vec<u8>) -> Result<usize, String> {
///     std::str::from_utf8(&file).map(str::len).map_err(|e| e.to_string())
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     brigade::init();
///     let pool = Pool::builder(Kind::Process)
///         .workers(4)
///         .name("decoder")
///         .initializer(load_tables) // once in every worker, before its first task
///         .timeout(Duration::from_secs(5)) // for each task, from when it runs
///         .retries(1) // after a crash or a timeout
///         .queue_limit(1000) // then `submit` blocks, and `try_submit` gives the input back
///         .recycle_after(10_000) // a new worker after this many tasks,
///         .recycle_above(1 << 30) // or when one has more memory than this
///         .keep_crashes("crashes") // a file for each crash
///         .process(process::Builder::new().env("LANG", "C").current_dir("/"))
///         .build()?; // each worker is ready, or here is why not
///
///     let files = std::env::args().skip(1).filter_map(|name| std::fs::read(name).ok());
///     for (number, result) in pool.map_unordered(decode, files) {
///         match result {
///             Ok(Ok(length)) => println!("{number}: {length} bytes of text"),
///             Ok(Err(why)) => eprintln!("{number}: {why}"), // the task's own error
///             Err(JoinError::Crashed(crash)) => {
///                 eprintln!("{number}: {crash}\n{}", crash.backtrace().unwrap_or_default());
///             }
///             Err(other) => eprintln!("{number}: {other}"),
///         }
///     }
///     Ok(())
/// }
/// ```
#[doc(alias = "ThreadPoolBuilder")]
#[doc(alias = "ThreadPoolExecutor")]
#[doc(alias = "ProcessPoolExecutor")]
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing by itself"]
pub struct PoolBuilder {
    pub(super) kind: Kind,
    pub(super) options: Options,
}

impl PoolBuilder {
    #[track_caller]
    pub(super) fn new(kind: Kind) -> PoolBuilder {
        PoolBuilder {
            kind,
            options: Options {
                size: PoolSize::from(processors::count()),
                shrink_after: SHRINK_AFTER,
                name: None,
                timeout: None,
                retries: 0,
                queue_limit: QueueLimit::default(),
                initializer: None,
                initializer_at: Location::caller(),
                state: None,
                recycle_after: None,
                fresh_per_task: false,
                recycle_above: None,
                memory_limit: None,
                processes_limit: None,
                keep_crashes: None,
                #[cfg(feature = "tracing")]
                forward_tracing: None,
                thread_stacks: false,
                process: process::Builder::new(),
                #[cfg(feature = "timeline")]
                trace: None,
                timeline: None,
            },
        }
    }

    /// How many workers the pool has, from 1 to 4096: a number, or a range, such as `2..=16`.
    /// [`Pool::resize`] changes that later.
    ///
    /// With a range the number follows the work. The pool starts with the least. It gets more when
    /// tasks wait longer than it takes to start a worker, 1 ms: then as many as tasks wait, and no
    /// more than twice as many as before, until there are the most. A worker that was not needed
    /// for [some time](Self::shrink_after) leaves, down to the least. No task is lost by either.
    /// [`Pool::workers`] tells how many there are. Such a pool of threads has one thread beside its
    /// workers, as one with a [timeout](Self::timeout).
    ///
    /// *Default: the number of processors that this process may use
    /// ([`std::thread::available_parallelism`]).*
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use brigade::{Kind, Pool};
    ///
    /// brigade::init();
    /// let pool = Pool::builder(Kind::Process).workers(1..=4).build()?;
    /// assert_eq!(pool.workers(), 1);
    /// let slow = |n: u64| {
    ///     std::thread::sleep(std::time::Duration::from_millis(n)); // stands for a slow server
    ///     n
    /// };
    /// assert_eq!(pool.map(slow, [50; 12]).count(), 12);
    /// assert!((2..=4).contains(&pool.workers()));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "num_threads")]
    #[doc(alias = "max_workers")]
    #[doc(alias = "autoscale")]
    pub fn workers(mut self, workers: impl Into<PoolSize>) -> PoolBuilder {
        self.options.size = workers.into();
        self
    }

    /// How long a worker is not needed before it leaves, in a pool whose number of workers
    /// [follows the work](Self::workers). That is looked at once in this time, so it may be up to
    /// twice as long. In others it does nothing.
    ///
    /// *Default: 10 s.*
    #[doc(alias = "keep_alive")]
    #[doc(alias = "idle_timeout")]
    pub fn shrink_after(mut self, time: Duration) -> PoolBuilder {
        self.options.shrink_after = time.min(NEVER);
        self
    }

    /// The name of its workers, as `ps`, debuggers and errors show it. The kernel keeps the first
    /// 15 bytes.
    ///
    /// *Default: `brigade-worker` for processes, `brigade-pool` for threads.*
    #[doc(alias = "thread_name")]
    #[doc(alias = "thread_name_prefix")]
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.options.name = Some(name.into().into());
        self
    }

    /// How long a task may run: then it ends with [`TimedOut`](crate::JoinError::TimedOut).
    ///
    /// A process is killed at once, its children too, and is gone when the caller gets the error;
    /// the [`grace`](process::Builder::grace) of its builder, if that is set, comes first. A thread
    /// is let go, a new one takes its place, and its late result is dropped.
    ///
    /// The time begins when the task runs: time in the queue does not count, nor does time in which
    /// the program is stopped (SIGSTOP, Ctrl-Z, a suspended machine). Nor does time in which its
    /// worker process is stopped, up to as much as this at a time, and ten times that in all: one
    /// that stays stopped ends too.
    ///
    /// *Default: no timeout.*
    pub fn timeout(mut self, time: Duration) -> PoolBuilder {
        self.options.timeout = Some(time);
        self
    }

    /// How often a task is run again after its worker died or its time was over. It still ends
    /// once.
    ///
    /// A task that panicked is not run again. Neither is one in a thread whose input cannot be
    /// encoded, or brings descriptors: inputs are moved, not copied. In a pool of threads with a
    /// timeout, retries cost an encoding of each input.
    ///
    /// *Default: 0.*
    #[doc(alias = "max_retries")]
    pub fn retries(mut self, times: u32) -> PoolBuilder {
        self.options.retries = times;
        self
    }

    /// How many tasks that have not begun the pool holds: at the limit [`submit`](Pool::submit)
    /// blocks, and [`try_submit`](Pool::try_submit) gives the input back.
    ///
    /// *Default: no limit; `submit` never blocks for room.*
    #[doc(alias = "backpressure")]
    #[doc(alias = "bounded")]
    pub fn queue_limit(mut self, tasks: usize) -> PoolBuilder {
        self.options.queue_limit = QueueLimit::new(tasks);
        self
    }

    /// A function that runs once in every worker before its first task, also in those that come
    /// later: to load tables, open files, set statics.
    ///
    /// It is a plain `fn()`, and there is no `initargs` as in Python: it captures nothing and takes
    /// no arguments. What it needs from the program comes as environment variables
    /// ([`process::Builder::env`]) or from files; what differs from task to task comes in the
    /// input.
    ///
    /// One that panics or crashes is an error of [`build`](Self::build). Later it is tried again in
    /// another worker; if no worker is left and none can be made, what is queued ends with that
    /// error. A [`timeout`](Self::timeout) counts for it in a process, too, and there for all that
    /// a worker does before its first task.
    ///
    /// *Default: none.*
    #[doc(alias = "initargs")]
    #[doc(alias = "start_handler")]
    #[track_caller]
    pub fn initializer(mut self, initializer: fn()) -> PoolBuilder {
        self.options.initializer = Some(initializer);
        self.options.initializer_at = Location::caller();
        self
    }

    /// After how many tasks a worker is replaced by a new one.
    ///
    /// *Default: never.*
    #[doc(alias = "maxtasksperchild")]
    #[doc(alias = "max_tasks_per_child")]
    pub fn recycle_after(mut self, tasks: u64) -> PoolBuilder {
        self.options.recycle_after = Some(tasks);
        self
    }

    /// Each task has a worker that no task was in before, so that none can read what another has
    /// left, or change what it finds. In processes that costs about as much as
    /// [`process::spawn`](crate::process::spawn) does, and the initializer runs for each task.
    /// Threads are new too, but share the program's memory.
    ///
    /// The same as [`recycle_after`](Self::recycle_after) with 1, whatever that is given.
    ///
    /// *Default: `false`.*
    pub fn fresh_per_task(mut self, yes: bool) -> PoolBuilder {
        self.options.fresh_per_task = yes;
        self
    }

    /// A worker process that has more than this many bytes of memory after a task is replaced by a
    /// new one (resident memory, looked at once a millisecond at most). Threads share the program's
    /// memory: for them it does nothing.
    ///
    /// *Default: never.*
    #[doc(alias = "max_memory")]
    pub fn recycle_above(mut self, bytes: u64) -> PoolBuilder {
        self.options.recycle_above = Some(bytes);
        self
    }

    /// The memory that the pool's worker processes, with their children, may have together, in
    /// bytes. When they would have more, the kernel kills the worker that has most: its task ends
    /// with [`Cause::OutOfMemory`](crate::Cause::OutOfMemory), another takes its place, and the
    /// pool goes on. Each worker can have a [limit of its own](process::Builder::memory_limit) as
    /// well.
    ///
    /// By a control group around those of the workers: where the program may make none
    /// ([`limited_by`](process::limited_by) tells), the pool is not built.
    ///
    /// *Default: no limit.*
    pub fn memory_limit(mut self, bytes: u64) -> PoolBuilder {
        self.options.memory_limit = Some(bytes);
        self
    }

    /// How many processes and threads the pool's worker processes, with their children, may be
    /// together. Beyond it no other can be made: `EAGAIN`. Each worker is one at least, and the
    /// pool's own workers are always made.
    ///
    /// By a control group, as [`memory_limit`](Self::memory_limit).
    ///
    /// *Default: no limit.*
    pub fn processes_limit(mut self, count: u64) -> PoolBuilder {
        self.options.processes_limit = Some(count);
        self
    }

    /// Configures its processes: their environment, directory, grace. Its name, if it has one, is
    /// overridden by [`name`](Self::name). For threads it does nothing.
    ///
    /// *Default: [`process::Builder::new`].*
    pub fn process(mut self, process: process::Builder) -> PoolBuilder {
        self.options.process = process;
        self
    }

    /// Draws a timeline of the pool into this file: a row for each worker, a slice for each run of
    /// a task, and marks for crashes, retries, workers that are replaced and workers that are
    /// stopped. Open it at <https://ui.perfetto.dev> (it stays in the browser), or query it by
    /// PyPI's `perfetto`; files of several pools can be put together by cat(1). The format is
    /// Perfetto's own, TrackEvent.
    ///
    /// The file is created, or emptied, and has to be a regular one. It is written meanwhile, and
    /// can be read; what a program that is killed loses is the last tenth of a second, or 64 KiB.
    /// It grows by some 100 bytes for each task. If it cannot be written any more it ends there,
    /// and an [event](crate::Pool#events) tells why. A task costs less than a microsecond more, and
    /// each result is taken when it is there, as where events of tasks are listened to. The times
    /// of a run are the worker's own; those of a run whose worker died are what the program saw.
    ///
    /// *Default: no timeline.*
    ///
    /// # Examples
    /// ```
    /// use brigade::{Kind, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let file = std::env::temp_dir().join(format!("{}.perfetto-trace", std::process::id()));
    /// let pool = Pool::builder(Kind::Process).workers(2).name("sums").trace(&file).build()?;
    /// assert_eq!(pool.map(|n: u64| (0..n).sum::<u64>(), 0..100).count(), 100);
    /// drop(pool); // now all of it is in the file
    /// assert!(std::fs::metadata(&file)?.len() > 1000);
    /// # std::fs::remove_file(&file)?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "timeline")]
    #[doc(alias = "perfetto")]
    #[doc(alias = "chrome_tracing")]
    pub fn trace(mut self, file: impl AsRef<Path>) -> PoolBuilder {
        self.options.trace = Some(file.as_ref().to_owned());
        self
    }

    /// Starts the workers, and returns when each is ready.
    ///
    /// # Errors
    /// The workers could not be started; the initializer panicked or crashed; the directory for
    /// crash files, or the file of the timeline, cannot be made or written to; a limit cannot be
    /// had: of processes here, or of threads anywhere; [`thread_stacks`](Self::thread_stacks)
    /// cannot be had; a number makes no sense (no workers, a queue of no tasks).
    pub fn build(self) -> io::Result<Pool> {
        let options = self.options;
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        options.size.check()?;
        if options.queue_limit.get() == Some(0) {
            return invalid("a pool's queue limit must be at least 1".to_owned());
        }
        if options.recycle_after == Some(0) {
            return invalid("`recycle_after` must be at least 1".to_owned());
        }
        if options.timeout == Some(Duration::ZERO) {
            return invalid("a pool's timeout must be longer than zero".to_owned());
        }
        let whole = [
            ("memory", options.memory_limit),
            ("processes", options.processes_limit),
        ];
        for (what, limit) in whole {
            match (self.kind, limit) {
                (Kind::Process, Some(0)) => {
                    return invalid(format!("a pool cannot run with its {what} limited to 0"));
                }
                (Kind::Thread, Some(_)) => {
                    let why = format!(
                        "a pool of threads cannot have its {what} limited: threads share the program's"
                    );
                    return Err(io::Error::new(io::ErrorKind::Unsupported, why));
                }
                _ => {}
            }
        }
        #[cfg(feature = "timeline")]
        let options = match &options.trace {
            Some(file) => {
                let timeline = Timeline::create(file, self.kind, options.name.as_deref())?;
                Options {
                    timeline: Some(Arc::new(timeline)),
                    ..options
                }
            }
            None => options,
        };
        let backend = match self.kind {
            Kind::Thread => Backend::Thread(thread::ThreadPool::start(options)?),
            Kind::Process => Backend::Process(process_pool::ProcessPool::start(options)?),
        };
        Ok(Pool::of(backend))
    }
}

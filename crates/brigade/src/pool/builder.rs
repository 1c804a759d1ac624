//! How a pool is to be.

use std::io;
use std::panic::Location;
use std::path::Path;
use std::time::Duration;

use super::config::Options;
use super::{Crew, Pool, crash_file, process as process_pool, thread};
use crate::{Kind, process};

/// Workers that one pool may have.
const MOST: usize = 4096;

/// What a [`Pool`] is to be like. Made by [`Pool::builder`].
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
/// let ended: Result<(), JoinError> = endless.join();
/// assert!(matches!(ended, Err(JoinError::TimedOut(_)))); // and its process is gone
/// assert_eq!(pool.submit(|n: u32| n + 1, 1).join()?, 2); // another has taken its place
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing by itself"]
pub struct PoolBuilder {
    kind: Kind,
    options: Options,
}

impl PoolBuilder {
    #[track_caller]
    pub(super) fn new(kind: Kind) -> PoolBuilder {
        PoolBuilder {
            kind,
            options: Options {
                workers: std::thread::available_parallelism().map_or(1, usize::from),
                name: None,
                timeout: None,
                retries: 0,
                queue_limit: None,
                initializer: None,
                initializer_at: Location::caller(),
                recycle_after: None,
                recycle_above: None,
                keep_crashes: None,
                process: process::Builder::new(),
            },
        }
    }

    /// How many workers. As many as this process may use processors, if nothing is said.
    pub fn workers(mut self, workers: usize) -> PoolBuilder {
        self.options.workers = workers;
        self
    }

    /// The name of its workers, as `ps` and debuggers show it, and as errors tell it. The kernel
    /// keeps the first 15 bytes.
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.options.name = Some(name.into().into());
        self
    }

    /// How long a task may run: then it ends with [`TimedOut`](crate::JoinError::TimedOut). A
    /// process is killed, its children too, and is gone when the caller hears of it; a thread is
    /// let go, and a new one takes its place. Time in the queue does not count, nor does time in
    /// which the program is stopped (SIGSTOP, Ctrl-Z, a suspended machine). Nor does time in which
    /// its worker process is, up to as much as this at a time, and ten times that in all: one that
    /// stays stopped ends too.
    pub fn timeout(mut self, time: Duration) -> PoolBuilder {
        self.options.timeout = Some(time);
        self
    }

    /// How often a task is run again after its worker died or its time was over. It still ends
    /// once. None, if nothing is said.
    ///
    /// A task that panicked is not run again. Neither is one in a thread whose input cannot be
    /// encoded, or brings descriptors: inputs are moved, not copied.
    pub fn retries(mut self, times: u32) -> PoolBuilder {
        self.options.retries = times;
        self
    }

    /// How many tasks may wait that nobody has begun: one more has [`submit`](Pool::submit) wait,
    /// and [`try_submit`](Pool::try_submit) give the input back. There is no limit if nothing is
    /// said.
    pub fn queue_limit(mut self, tasks: usize) -> PoolBuilder {
        self.options.queue_limit = Some(tasks);
        self
    }

    /// Runs once in every worker before its first task, also in those that come later.
    ///
    /// One that panics or crashes is an error of [`build`](Self::build). Later it is tried again in
    /// another worker; if no worker is left and none comes, what is queued ends with what it died
    /// of. A [`timeout`](Self::timeout) counts for it in a process, too.
    #[track_caller]
    pub fn initializer(mut self, initializer: fn()) -> PoolBuilder {
        self.options.initializer = Some(initializer);
        self.options.initializer_at = Location::caller();
        self
    }

    /// A worker is replaced by a new one when it has run so many tasks.
    pub fn recycle_after(mut self, tasks: u64) -> PoolBuilder {
        self.options.recycle_after = Some(tasks);
        self
    }

    /// A worker process is replaced by a new one when it has more than so many bytes of memory
    /// after a task (resident, looked at once a millisecond at most). Threads share the program's
    /// memory: for them it does nothing.
    pub fn recycle_above(mut self, bytes: u64) -> PoolBuilder {
        self.options.recycle_above = Some(bytes);
        self
    }

    /// Writes a file into this directory for each task whose worker process died: what it was, its
    /// input, and all that is known of the death. With `BRIGADE_REPLAY` it is run again, in a
    /// debugger if you like: see [`init`](crate::init).
    ///
    /// The file is a text, for people first, and [`Crash::file`](crate::Crash::file) says where it
    /// is. The directory is made if it is missing. Only the program's user can read what is in it:
    /// inputs may be secret, and so may the variables that the pool's [`process`](Self::process)
    /// sets, which are in the file too. A task that panicked, ran over its time or was cancelled
    /// leaves none; with [`retries`](Self::retries) there is one for each crash, and those before
    /// the last may come a moment after the task's end, but before the pool's. An input that came
    /// with descriptors (ends of channels, [`Shared`](crate::Shared) memory, files) is told of, but
    /// cannot be replayed. For threads it does nothing: their crash is the program's.
    ///
    /// # Examples
    /// ```
    /// use brigade::{JoinError, Kind, Pool};
    ///
    /// fn peek(address: usize) -> u8 {
    ///     // A C library's mistake, in one line.
    ///     unsafe { std::ptr::read_volatile(address as *const u8) }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let crashes = std::env::temp_dir().join(format!("crashes-{}", std::process::id()));
    /// let pool = Pool::builder(Kind::Process).workers(1).keep_crashes(&crashes).build()?;
    /// if let Err(JoinError::Crashed(crash)) = pool.submit(peek, 0x10).join() {
    ///     let file = crash.file().expect("there is room for it");
    ///     eprintln!("{crash}; once more: BRIGADE_REPLAY={} {}", file.display(), std::env::current_exe()?.display());
    /// #   assert!(std::fs::read_to_string(file)?.contains("peek"));
    /// }
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&crashes)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_crashes(mut self, dir: impl AsRef<Path>) -> PoolBuilder {
        self.options.keep_crashes = Some(dir.as_ref().to_owned());
        self
    }

    /// How its processes are to be. For threads it does nothing.
    pub fn process(mut self, process: process::Builder) -> PoolBuilder {
        self.options.process = process;
        self
    }

    /// Starts the workers, and returns when each is ready.
    ///
    /// # Errors
    /// The workers could not be started; the initializer panicked or crashed; the directory for
    /// crash files cannot be made or written to; a number makes no sense (no workers, a queue of no
    /// tasks).
    pub fn build(self) -> io::Result<Pool> {
        let mut options = self.options;
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if options.workers == 0 {
            return invalid("a pool has at least one worker".to_owned());
        }
        if options.workers > MOST {
            return invalid(format!(
                "a pool has at most {MOST} workers, not {}",
                options.workers
            ));
        }
        if options.queue_limit == Some(0) {
            return invalid("a queue has room for at least one task".to_owned());
        }
        if options.recycle_after == Some(0) {
            return invalid("a worker runs at least one task before it is replaced".to_owned());
        }
        if options.timeout == Some(Duration::ZERO) {
            return invalid("a task has more time than none".to_owned());
        }
        if let (Kind::Process, Some(dir)) = (self.kind, &mut options.keep_crashes) {
            *dir = crash_file::prepare(dir)?;
        }
        let crew = match self.kind {
            Kind::Thread => Crew::Threads(thread::Crew::start(options)?),
            Kind::Process => Crew::Processes(process_pool::Crew::start(options)?),
        };
        Ok(Pool { crew })
    }
}

//! A task ran over its time: what it was, and where it was stuck.

use std::fmt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::crash::Phase;
use super::name::TaskName;
use super::time_limit::TimeLimit;
use super::whereabouts::Whereabouts;

/// A task ran over its time.
///
/// Before a worker process is killed for that it is asked where it is:
/// [`backtrace`](Self::backtrace) and [`blocked`](Self::blocked) tell where the task was stuck, and
/// the text of this error names the function. The worker has 10 ms to answer, and is killed then,
/// whether it has or not.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brigade::{JoinError, Kind, Phase, Pool};
///
/// fn endless(_: ()) {
///     loop {
///         std::hint::spin_loop();
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// brigade::init();
/// let pool = Pool::builder(Kind::Process).workers(1).timeout(Duration::from_millis(100)).build()?;
/// let Err(JoinError::TimedOut(timeout)) = pool.submit(endless, ()).join() else {
///     panic!("it has no end");
/// };
/// assert_eq!(timeout.phase(), Some(Phase::Running));
/// assert!(timeout.pid().is_some());
/// // task `app::endless` ran longer than its timeout of 100ms, in app::endless at src/main.rs:5
/// eprintln!("{timeout}\n{}", timeout.backtrace().unwrap_or("no backtrace"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Timeout(Arc<Expired>);

struct Expired {
    task: TaskName,
    limit: TimeLimit,
    place: Option<Whereabouts>,
    stderr: String,
    /// Where all of this was written to, or why it was not, though it should have been.
    file: Option<Result<PathBuf, String>>,
}

impl Timeout {
    pub(crate) fn new(task: TaskName, limit: TimeLimit) -> Timeout {
        Timeout(Arc::new(Expired {
            task,
            limit,
            place: None,
            stderr: String::new(),
            file: None,
        }))
    }

    /// Of a worker that was asked where it was, and what it wrote to stderr last.
    pub(crate) fn at(
        task: TaskName,
        limit: TimeLimit,
        place: Whereabouts,
        stderr: String,
    ) -> Timeout {
        Timeout(Arc::new(Expired {
            task,
            limit,
            place: Some(place),
            stderr,
            file: None,
        }))
    }

    /// The same, of a task of this name, where no other code has it.
    pub(crate) fn named(mut self, task: TaskName) -> Timeout {
        if let Some(expired) = Arc::get_mut(&mut self.0) {
            expired.task = task;
        }
        self
    }

    /// Of one that no other code has yet.
    pub(crate) fn set_file(&mut self, file: Result<PathBuf, String>) {
        if let Some(expired) = Arc::get_mut(&mut self.0) {
            expired.file = Some(file);
        }
    }

    /// Which time was over.
    pub(crate) fn limit(&self) -> TimeLimit {
        self.0.limit
    }

    pub(crate) fn place(&self) -> Option<&Whereabouts> {
        self.0.place.as_ref()
    }

    /// The task's function.
    pub fn task(&self) -> &str {
        self.0.task.get()
    }

    /// Where the task was started, which tells it from another where both functions have the same
    /// code: a compiler or linker may merge those, and what is left has one name for all.
    pub fn started_at(&self) -> &'static Location<'static> {
        self.0.task.started()
    }

    /// The time that it had: its own [`timeout`](crate::pool::TaskBuilder::timeout) or the
    /// [pool's](crate::PoolBuilder::timeout), from when it began; or, where its
    /// [`deadline`](crate::pool::TaskBuilder::deadline) has passed, the time from its submission to
    /// that.
    pub fn after(&self) -> Duration {
        self.0.limit.time()
    }

    /// Whether the task had begun. `false`: its [`deadline`](crate::pool::TaskBuilder::deadline)
    /// has passed while it waited, and it never ran.
    pub fn had_begun(&self) -> bool {
        self.0.limit.had_begun()
    }

    /// How far it had come. `None`: it ran in a thread, or never began.
    pub fn phase(&self) -> Option<Phase> {
        self.place()?.phase
    }

    /// The process that ran it, and was killed. `None`: it ran in a thread, or never began. The
    /// number may belong to another process by now.
    pub fn pid(&self) -> Option<u32> {
        self.place()?.pid
    }

    /// The calls that the task was in, innermost first, one a line. Names are looked up now, which
    /// takes some milliseconds the first time; [`Crash::backtrace`](crate::Crash::backtrace) says
    /// what their detail depends on.
    ///
    /// `None`: it is not known. A process could not answer in 10 ms: it was stopped, its task
    /// blocks signals or was in an uninterruptible wait, or the machine had no processor for it.
    pub fn backtrace(&self) -> Option<&str> {
        self.place()?.backtrace()
    }

    /// What the task waited for in the kernel, as seen from outside: `in read(2) on descriptor 5, a
    /// pipe`, `stopped by a signal`. `None`: it was running, the kernel does not tell, or it ran in
    /// a thread.
    pub fn blocked(&self) -> Option<&str> {
        self.place()?.blocked()
    }

    /// The last lines that the worker process wrote to its stderr during the task: at most 4 KiB,
    /// whole lines unless one alone is longer. Empty for threads.
    pub fn stderr(&self) -> &str {
        &self.0.stderr
    }

    /// The file that tells of it, and that [`init`](crate::init) can run the task from again; of a
    /// pool that [keeps crashes](crate::PoolBuilder::keep_crashes).
    pub fn file(&self) -> Option<&Path> {
        let written = self.0.file.as_ref()?.as_ref();
        written.ok().map(PathBuf::as_path)
    }

    /// Why there is no such file, though the pool keeps crashes.
    pub fn file_error(&self) -> Option<&str> {
        let written = self.0.file.as_ref()?.as_ref();
        written.err().map(String::as_str)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task `{}` {}", self.0.task, self.0.limit)?;
        match self.place() {
            Some(place) => write!(f, "{place}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("task", &self.0.task)
            .field("limit", &self.0.limit)
            .field("phase", &self.phase())
            .field("pid", &self.pid())
            .field("blocked", &self.blocked())
            .finish_non_exhaustive()
    }
}

//! A pool's options, as its builder collects them.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::policy::queue_and_retries::QueueLimit;
use super::pool_size::PoolSize;
use super::timeline::Timeline;
use crate::task::name::TaskName;
#[cfg(feature = "tracing")]
use crate::trace::Level;
use crate::{JoinError, process};

/// The options of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(super) size: PoolSize,
    /// How long a worker is not needed before it leaves.
    pub(super) shrink_after: Duration,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(super) queue_limit: QueueLimit,
    pub(crate) initializer: Option<fn()>,
    /// Where the program set the initializer.
    pub(super) initializer_at: &'static Location<'static>,
    /// What each worker loads when it starts.
    pub(crate) state: Option<StateOptions>,
    pub(super) recycle_after: Option<u64>,
    pub(super) fresh_per_task: bool,
    pub(crate) recycle_above: Option<u64>,
    /// Of the pool as a whole, in bytes.
    pub(crate) memory_limit: Option<u64>,
    /// Of the pool as a whole, threads too.
    pub(crate) processes_limit: Option<u64>,
    pub(crate) keep_crashes: Option<PathBuf>,
    /// Up to which level the events of tasks have the task's span as their parent, and workers send
    /// theirs.
    #[cfg(feature = "tracing")]
    pub(crate) forward_tracing: Option<Level>,
    /// Threads may be asked for their stacks.
    pub(crate) thread_stacks: bool,
    pub(crate) process: process::Builder,
    /// Where the timeline is to be.
    #[cfg(feature = "timeline")]
    pub(super) trace: Option<PathBuf>,
    /// The timeline, once the pool is started.
    pub(super) timeline: Option<Arc<Timeline>>,
}

/// A state that each worker of a pool loads when it starts.
#[derive(Clone)]
pub(crate) struct StateOptions {
    /// Loads it, in a thread.
    pub(crate) load: Arc<dyn Fn() -> Box<dyn Any> + Send + Sync>,
    /// As it travels to processes; a pool of threads has none.
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    pub(crate) encoded: Option<Arc<super::process::EncodedContext>>,
    /// The function that loads it, and where the program said so.
    pub(crate) function: (usize, &'static Location<'static>),
    /// There is one at most: no other thread runs tasks while one waits within its task.
    pub(crate) is_single: bool,
}

impl fmt::Debug for StateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateOptions").finish_non_exhaustive()
    }
}

impl Options {
    /// Whether the pool may have `workers` workers from now on.
    pub(super) fn check_resize(&self, workers: usize) -> io::Result<()> {
        let is_single = self.state.as_ref().is_some_and(|state| state.is_single);
        if is_single && workers != 1 {
            let why = format!("an actor has one worker, not {workers}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(())
    }

    /// Why there is no pool: what its workers do first has failed.
    pub(super) fn start_failed(&self, why: JoinError) -> io::Error {
        match self.state {
            None => InitializerFailed(why).into(),
            Some(_) => io::Error::other(StateFailed(why)),
        }
    }

    /// How many workers the pool starts with.
    pub(super) fn workers(&self) -> usize {
        self.size.least
    }

    /// After how many tasks a worker leaves.
    pub(crate) fn most_tasks(&self) -> Option<u64> {
        if self.fresh_per_task {
            return Some(1);
        }
        self.recycle_after
    }

    /// The name of what each worker does first: of the load of its state, or of the initializer.
    pub(super) fn initializer_name(&self) -> Option<TaskName> {
        let initializer = self.initializer.map(|f| (f as usize, self.initializer_at));
        let (address, at) = self
            .state
            .as_ref()
            .map(|state| state.function)
            .or(initializer)?;
        Some(TaskName::at(address, self.name.clone(), at))
    }
}

/// Why a pool could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the pool's initializer failed: {0}")]
pub(super) struct InitializerFailed(#[source] JoinError);

/// Why a pool could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the pool's state could not be loaded: {0}")]
pub(super) struct StateFailed(#[source] JoinError);

impl From<InitializerFailed> for io::Error {
    fn from(why: InitializerFailed) -> io::Error {
        io::Error::other(why)
    }
}

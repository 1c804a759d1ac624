//! A pool's options, as its builder collects them.

use std::io;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::policy::limits::QueueLimit;
use super::timeline::Timeline;
use crate::task::name::TaskName;
use crate::{JoinError, process};

/// The options of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(super) queue_limit: QueueLimit,
    pub(crate) initializer: Option<fn()>,
    /// Where the program set the initializer.
    pub(super) initializer_at: &'static Location<'static>,
    pub(super) recycle_after: Option<u64>,
    pub(super) fresh_per_task: bool,
    pub(crate) recycle_above: Option<u64>,
    /// Of the pool as a whole, in bytes.
    pub(crate) memory_limit: Option<u64>,
    /// Of the pool as a whole, threads too.
    pub(crate) processes_limit: Option<u64>,
    pub(crate) keep_crashes: Option<PathBuf>,
    /// Threads may be asked for their stacks.
    pub(crate) thread_stacks: bool,
    pub(crate) process: process::Builder,
    /// Where the timeline is to be.
    #[cfg(feature = "timeline")]
    pub(super) trace: Option<PathBuf>,
    /// It, once the pool is started.
    pub(super) timeline: Option<Arc<Timeline>>,
}

impl Options {
    /// After how many tasks a worker leaves.
    pub(crate) fn most_tasks(&self) -> Option<u64> {
        if self.fresh_per_task {
            return Some(1);
        }
        self.recycle_after
    }

    /// The initializer's name, if there is one.
    pub(super) fn initializer_name(&self) -> Option<TaskName> {
        let address = self.initializer? as usize;
        let worker = self.name.clone();
        Some(TaskName::at(address, worker, self.initializer_at))
    }
}

/// Why a pool could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the pool's initializer failed: {0}")]
pub(super) struct InitializerFailed(#[source] pub(super) JoinError);

impl From<InitializerFailed> for io::Error {
    fn from(why: InitializerFailed) -> io::Error {
        io::Error::other(why)
    }
}

//! What a pool has done.

use std::time::Duration;

use super::histogram::Latencies;
use crate::{Cause, JoinError};

/// A pool's numbers at one moment. Those that count go up only; together they account for every
/// task: `submitted` is `queued + running + done + failed()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Workers that it should have.
    pub workers: usize,
    /// Worker processes that are stopped now: by a signal (SIGSTOP), or a debugger that came and
    /// left. Their tasks wait with them, unless they have a
    /// [`timeout`](crate::PoolBuilder::timeout) or are cancelled. Threads are stopped with the
    /// program only.
    pub stopped: usize,
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Tasks that have not begun.
    pub queued: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that returned.
    pub done: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks whose worker died, by what it died of.
    pub crashed: Vec<(Cause, u64)>,
    /// Tasks whose time was over.
    pub timed_out: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks whose input or result could not be carried.
    pub undeliverable: u64,
    /// Tasks that the pool was shut down before, or that it could make no worker for.
    pub closed: u64,
    /// How often a task was run again.
    pub retried: u64,
    /// Workers that were gone before their time, for others to take their places: one for each task
    /// that crashed, whose time was over or that was run again, and the two below. (One that wrote
    /// over its mailbox may have taken several tasks along.) Not those that
    /// [`abort`](crate::Pool::abort) ended.
    pub restarts: u64,
    /// Of them, those that were ended because their task was cancelled.
    pub interrupted: u64,
    /// Of them, those that died with no task begun, or did not begin what they were given.
    pub died_idle: u64,
    /// Workers that never were ready: they could not be made, or their initializer failed.
    pub not_ready: u64,
    /// Workers that ended by themselves, between two tasks, and were replaced: by `recycle_after`
    /// and `recycle_above`, or because tasks had left them unfit for others (they closed their
    /// descriptors, left a thread behind that holds stdout, or more than 64 ended processes that
    /// nothing waits for).
    pub recycled: u64,
    /// Time that workers have had tasks, summed over all of them.
    pub busy: Duration,
    /// Bytes of encoded inputs that were carried to workers.
    pub bytes_in: u64,
    /// Bytes of encoded results that were carried back.
    pub bytes_out: u64,
    /// Bytes of encoded [contexts](crate::pool::Context) that were carried to workers: each once to
    /// each worker that had a task for it.
    pub context_bytes: u64,
    /// From a task's submission to its end.
    pub latencies: Latencies,
}

impl PoolStats {
    /// Tasks that ended otherwise than by returning.
    pub fn failed(&self) -> u64 {
        let crashed: u64 = self.crashed.iter().map(|(_, n)| n).sum();
        self.panicked + crashed + self.timed_out + self.cancelled + self.undeliverable + self.closed
    }

    /// Counts a task that has ended without a result.
    pub(super) fn count_failure(&mut self, why: &JoinError) {
        match why {
            JoinError::Panicked(_) => self.panicked += 1,
            JoinError::Crashed(crash) => self.count_crash(crash.cause()),
            JoinError::TimedOut(_) => self.timed_out += 1,
            JoinError::Cancelled => self.cancelled += 1,
            JoinError::Undeliverable(_) => self.undeliverable += 1,
            JoinError::Closed => self.closed += 1,
        }
    }

    fn count_crash(&mut self, cause: &Cause) {
        match self.crashed.iter_mut().find(|(c, _)| c == cause) {
            Some((_, n)) => *n += 1,
            None => self.crashed.push((cause.clone(), 1)),
        }
    }
}

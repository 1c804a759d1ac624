//! The handle of a task in a pool of processes.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::call_target::CallTarget;
use super::driver::WaitFor;
use super::pool::ProcessPool;
use super::result_cell::{HasResultCell, ResultCell};
use crate::pool::policy::task_options::TaskOptions;
use crate::sim;
use crate::task::error::joined_twice;
use crate::worker::handle::Pending;
use crate::worker::process::host::result::Decode;
use crate::{JoinError, Kind};

/// A task's handle, and its cell.
pub(super) struct PoolTaskHandle<R> {
    cell: ResultCell,
    pool: Arc<ProcessPool>,
    target: CallTarget,
    decode: Decode<R>,
}

impl<R> PoolTaskHandle<R> {
    pub(super) fn new(
        pool: Arc<ProcessPool>,
        target: CallTarget,
        decode: Decode<R>,
        options: Option<Box<TaskOptions<sim::local::Instant>>>,
    ) -> PoolTaskHandle<R> {
        PoolTaskHandle {
            cell: ResultCell::new(options),
            pool,
            target,
            decode,
        }
    }

    /// In a fork of the program nothing comes any more, and what other threads had locked stays
    /// locked.
    fn is_lost(&self) -> bool {
        self.pool.is_fork_of_owner()
    }

    fn take(&self) -> Result<R, JoinError> {
        let Some(end) = self.cell.take() else {
            joined_twice()
        };
        end.into_result(self.decode, || self.pool.name_of(&self.target))
    }
}

impl<R> HasResultCell for PoolTaskHandle<R> {
    fn cell(&self) -> &ResultCell {
        &self.cell
    }

    fn target(&self) -> &CallTarget {
        &self.target
    }
}

impl<R> Pending<R> for PoolTaskHandle<R> {
    fn wait(&self, deadline: Option<std::time::Instant>) -> Option<Result<R, JoinError>> {
        let deadline = deadline.map(sim::local::deadline);
        if self.is_lost() {
            return Some(Err(JoinError::Closed));
        }
        if !self.cell.is_done() && !self.pool.wait(&mut WaitFor::Task(&self.cell), deadline) {
            return None;
        }
        Some(self.take())
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if self.is_lost() {
            return Poll::Ready(Err(JoinError::Closed));
        }
        if !self.cell.is_done() {
            self.cell.set_waker(context.waker());
            self.pool.register_async(&self.cell);
            if !self.cell.is_done() {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.take())
    }

    fn is_finished(&self) -> bool {
        if self.is_lost() {
            return true;
        }
        if !self.cell.is_done() {
            self.pool.poll();
        }
        self.cell.is_done()
    }

    fn cancel(&self) {
        if !self.is_lost() && !self.cell.is_done() {
            self.pool.cancel(self);
        }
    }

    fn cancel_unbegun(&self) {
        if !self.is_lost() && !self.cell.is_done() {
            self.pool.cancel_unbegun(self);
        }
    }

    fn kind(&self) -> Kind {
        Kind::Process
    }

    fn pid(&self) -> Option<u32> {
        if self.is_lost() || self.cell.is_done() {
            return None;
        }
        self.pool.pid_of(&self.cell)
    }
}

//! The handle of a task in a pool of processes.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::pool::{ProcessPool, Want};
use super::result_cell::{Settle, Slot};
use super::task::Job;
use crate::sim;
use crate::worker::handle::{Pending, joined_twice};
use crate::worker::process::host::result::Decode;
use crate::{JoinError, Kind};

/// A task's handle, and its slot.
pub(super) struct Pooled<R> {
    slot: Slot,
    core: Arc<ProcessPool>,
    job: Job,
    decode: Decode<R>,
}

impl<R> Pooled<R> {
    pub(super) fn new(core: Arc<ProcessPool>, job: Job, decode: Decode<R>) -> Pooled<R> {
        Pooled {
            slot: Slot::new(),
            core,
            job,
            decode,
        }
    }

    /// In a fork of the program nothing comes any more, and what other threads had locked stays
    /// locked.
    fn is_lost(&self) -> bool {
        !self.core.is_ours()
    }

    fn take(&self) -> Result<R, JoinError> {
        let Some(end) = self.slot.take() else {
            joined_twice()
        };
        end.conclude(self.decode, || self.core.name_of(&self.job))
    }
}

impl<R> Settle for Pooled<R> {
    fn slot(&self) -> &Slot {
        &self.slot
    }
}

impl<R> Pending<R> for Pooled<R> {
    fn wait(&self, deadline: Option<std::time::Instant>) -> Option<Result<R, JoinError>> {
        let deadline = deadline.map(sim::local::deadline);
        if self.is_lost() {
            return Some(Err(JoinError::Closed));
        }
        if !self.slot.is_done() && !self.core.wait(&mut Want::Slot(&self.slot), deadline) {
            return None;
        }
        Some(self.take())
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if self.is_lost() {
            return Poll::Ready(Err(JoinError::Closed));
        }
        if !self.slot.is_done() {
            self.slot.set_waker(context.waker());
            self.core.watch(&self.slot);
            if !self.slot.is_done() {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.take())
    }

    fn is_finished(&self) -> bool {
        if self.is_lost() {
            return true;
        }
        if !self.slot.is_done() {
            self.core.look();
        }
        self.slot.is_done()
    }

    fn cancel(&self) {
        if !self.is_lost() && !self.slot.is_done() {
            self.core.cancel(&self.slot);
        }
    }

    fn kind(&self) -> Kind {
        Kind::Process
    }

    fn pid(&self) -> Option<u32> {
        if self.is_lost() || self.slot.is_done() {
            return None;
        }
        self.core.pid_of(&self.slot)
    }
}

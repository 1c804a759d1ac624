//! A handle that ends its task when it is dropped.

use std::task::{Context, Poll};
use std::time::Instant;

use super::handle::HandleInner;
use super::kind::Kind;
use crate::{JoinError, JoinHandle};

/// A handle that ends its task when it is dropped, unless the end has been taken.
pub(crate) struct CancelOnDrop<R> {
    handle: JoinHandle<R>,
    is_armed: bool,
}

impl<R> CancelOnDrop<R> {
    pub(super) fn new(handle: JoinHandle<R>) -> CancelOnDrop<R> {
        CancelOnDrop {
            handle,
            is_armed: true,
        }
    }

    pub(super) fn handle(&self) -> &JoinHandle<R> {
        &self.handle
    }

    /// The handle alone, which ends nothing.
    pub(super) fn disarmed(mut self) -> JoinHandle<R> {
        self.is_armed = false;
        std::mem::replace(
            &mut self.handle,
            JoinHandle(HandleInner::Closed(Kind::Thread)),
        )
    }

    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        let ended = self.handle.wait(deadline);
        self.is_armed &= ended.is_none();
        ended
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        let polled = self.handle.poll_end(context);
        self.is_armed &= polled.is_pending();
        polled
    }
}

impl<R> Drop for CancelOnDrop<R> {
    fn drop(&mut self) {
        if self.is_armed {
            self.handle.cancel();
        }
    }
}

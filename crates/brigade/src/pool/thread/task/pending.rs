//! A task as its handle sees it: what waits for its end, and what ends it early.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use super::{PoolTask, TaskPhase, TaskWaiter};
use crate::pool::thread::locks::{lock, wait_until};
use crate::pool::thread::work::AbandonReason;
use crate::pool::thread::{current, registry};
use crate::worker::handle::Pending;
use crate::{JoinError, Kind, Message};

impl<A: Message, R: Message> Pending<R> for PoolTask<A, R> {
    fn wait(&self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        if registry::is_fork_of_owner(self.pool_id) {
            return Some(Err(JoinError::Closed));
        }
        let is_over = || self.ended.load(Ordering::Acquire);
        if !is_over() && !current::spin_until(deadline, is_over) {
            let _blocked = current::block();
            current::throttle(deadline, || {
                registry::get(self.pool_id).map_or(0, |pool| pool.queued_ns())
            });
            let _record = current::RecordWake;
            let mut inner = lock(&self.inner);
            while !matches!(inner.phase, TaskPhase::Ended(_) | TaskPhase::Taken) {
                let before = std::mem::replace(&mut inner.waiter, TaskWaiter::Thread);
                if let TaskWaiter::Waker(waker) = before {
                    // The waker is the user's: it is not dropped under the lock.
                    drop(inner);
                    drop(waker);
                    inner = lock(&self.inner);
                    continue;
                }
                let (guard, in_time) = wait_until(&self.changed, inner, deadline);
                inner = guard;
                if !in_time && !matches!(inner.phase, TaskPhase::Ended(_)) {
                    inner.waiter = TaskWaiter::None;
                    return None;
                }
            }
        }
        Some(Self::take_result(&mut lock(&self.inner)))
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if registry::is_fork_of_owner(self.pool_id) {
            return Poll::Ready(Err(JoinError::Closed));
        }
        if !self.is_finished() {
            let mut waker = Some(Box::new(context.waker().clone()));
            let mut inner = lock(&self.inner);
            if !matches!(inner.phase, TaskPhase::Ended(_) | TaskPhase::Taken) {
                let waiter = waker.take().map_or(TaskWaiter::None, TaskWaiter::Waker);
                let before = std::mem::replace(&mut inner.waiter, waiter);
                drop(inner);
                drop(before);
                return Poll::Pending;
            }
            drop(inner);
        }
        Poll::Ready(Self::take_result(&mut lock(&self.inner)))
    }

    fn is_finished(&self) -> bool {
        self.ended.load(Ordering::Acquire) || registry::is_fork_of_owner(self.pool_id)
    }

    fn cancel(&self) {
        // A pool that is gone has nothing queued and nothing running.
        let Some(pool) = registry::get(self.pool_id) else {
            return;
        };
        if self.end_if_queued(&pool, |_, _| JoinError::Cancelled) {
            pool.note_cancelled();
            return;
        }
        let abandoned = self.end_if_running(&pool, |_, _| true, AbandonReason::Cancelled);
        if let Some(abandoned) = abandoned {
            pool.replace(abandoned.worker, AbandonReason::Cancelled);
        }
    }

    fn cancel_unbegun(&self) {
        let Some(pool) = registry::get(self.pool_id) else {
            return;
        };
        if self.end_if_queued(&pool, |_, _| JoinError::Cancelled) {
            pool.note_cancelled();
        }
    }

    fn kind(&self) -> Kind {
        Kind::Thread
    }

    fn pid(&self) -> Option<u32> {
        None
    }
}

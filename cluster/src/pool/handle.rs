//! A task that was submitted.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use brigade::exported::{self, Failure};
use brigade::{JoinError, Message};

use super::job::{Job, Task};
use crate::Error;

/// A task that was submitted: a future of its result, as [`brigade::JoinHandle`] is.
///
/// Dropping it detaches the task, which runs nevertheless; its result is kept for
/// [`reattach`](crate::Pool::reattach).
#[must_use = "it is a future; dropping it detaches the task"]
pub struct JoinHandle<R>(Inner<R>);

enum Inner<R> {
    /// With the name under which the task is exported: elsewhere its errors have that.
    Local(brigade::JoinHandle<R>, &'static str),
    Remote {
        job: Arc<Job>,
        task: Task,
        result: Pin<Box<dyn Future<Output = Result<R, JoinError>> + Send>>,
    },
    /// It was never accepted.
    Refused(Option<JoinError>),
}

impl<R: Message> JoinHandle<R> {
    pub(super) fn local(handle: brigade::JoinHandle<R>, name: &'static str) -> JoinHandle<R> {
        JoinHandle(Inner::Local(handle, name))
    }

    pub(super) fn remote(
        job: Arc<Job>,
        task: Task,
        result: impl Future<Output = Result<R, JoinError>> + Send + 'static,
    ) -> JoinHandle<R> {
        JoinHandle(Inner::Remote {
            job,
            task,
            result: Box::pin(result),
        })
    }

    pub(super) fn refused(why: String) -> JoinHandle<R> {
        JoinHandle(Inner::Refused(Some(JoinError::Undeliverable(why))))
    }

    /// The task's number in its [job](crate::Pool::job): the tasks of a pool are counted from 0.
    /// `None`: it is a local one, or was never accepted.
    pub fn number(&self) -> Option<u64> {
        match &self.0 {
            Inner::Remote { task, .. } => Some(task.number),
            Inner::Local(..) | Inner::Refused(_) => None,
        }
    }

    /// Cancels the task, unless it has ended: one that has not begun never runs; one that runs is
    /// cancelled on its machine, at its next sign of life, which is a third of
    /// [`ack_wait`](crate::Settings::ack_wait) away at most. The handle gives
    /// [`Cancelled`](JoinError::Cancelled) at once.
    ///
    /// # Errors
    /// The servers did not answer; then it is not known whether the task is cancelled.
    pub async fn cancel(&self) -> Result<(), Error> {
        match &self.0 {
            Inner::Local(handle, _) => handle.cancel(),
            Inner::Remote { job, task, .. } => {
                let how = Failure::of(&JoinError::Cancelled);
                job.end(task, how).await?;
            }
            Inner::Refused(_) => {}
        }
        Ok(())
    }
}

impl<R: Message> Future for JoinHandle<R> {
    type Output = Result<R, JoinError>;

    /// # Panics
    /// It is asked again after it has given the result.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Local(handle, name) => {
                let polled = Pin::new(handle).poll(context);
                polled.map_err(|error| exported::with_name(error, name))
            }
            Inner::Remote { result, .. } => result.as_mut().poll(context),
            Inner::Refused(why) => match why.take() {
                Some(why) => Poll::Ready(Err(why)),
                None => panic!("the handle has given its result already"),
            },
        }
    }
}

impl<R> fmt::Debug for JoinHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("JoinHandle");
        if let Inner::Remote { task, .. } = &self.0 {
            told.field("task", &task.name).field("number", &task.number);
        }
        told.finish_non_exhaustive()
    }
}

// The future is boxed and pinned, and nothing else is pinned.
impl<R> Unpin for JoinHandle<R> {}

//! Awaiting a message.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{Receiver, RecvError, TryRecvError, Undeliverable};
use crate::Message;

/// The next message, to be awaited: see [`Receiver::recv_async`].
///
/// Dropping it loses no message.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Recv<'r, T> {
    receiver: &'r Receiver<T>,
}

impl<'r, T> Recv<'r, T> {
    pub(super) fn new(receiver: &'r Receiver<T>) -> Recv<'r, T> {
        Recv { receiver }
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv")
            .field("receiver", self.receiver)
            .finish()
    }
}

impl<T: Message> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.receiver.poll_recv(context)
    }
}

/// Each message until all senders are gone; one that is lost is an error in its place. As
/// [`iter`](Receiver::iter), for async code.
///
/// Dropping it, or a future of its next message, loses no message.
impl<T: Message> Stream for Receiver<T> {
    type Item = Result<T, Undeliverable>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(context).map(|received| match received {
            Ok(message) => Some(Ok(message)),
            Err(RecvError::Undeliverable(why)) => Some(Err(Undeliverable(why))),
            Err(RecvError::Disconnected) => None,
        })
    }
}

impl<T: Message> Receiver<T> {
    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        loop {
            match self.try_recv() {
                Ok(message) => return Poll::Ready(Ok(message)),
                Err(TryRecvError::Disconnected) => {
                    return Poll::Ready(Err(RecvError::Disconnected));
                }
                Err(TryRecvError::Undeliverable(why)) => {
                    return Poll::Ready(Err(RecvError::Undeliverable(why)));
                }
                Err(TryRecvError::Empty) => {}
            }
            match self.side().wake_when_changed(context.waker()) {
                Ok(true) => return Poll::Pending,
                Ok(false) => {}
                // No descriptor or no thread to be had. The executor tries again, and goes on doing
                // so: slow, but nothing is lost.
                Err(_) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}

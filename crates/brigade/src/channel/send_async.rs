//! Sending without blocking: a future waits for room in the channel.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::error::NotAccepted;
use super::send_side::{SendSide, Unsent};
use super::sender::{give_scratch_back, note_fault, take_scratch};
use super::{Offered, SendError};
use crate::Message;
use crate::sys::original::Original;
use crate::task::codec;
use crate::task::waiters::FutureWaiter;

/// A message that is sent when there is room for it: see
/// [`Sender::send_async`](super::Sender::send_async).
///
/// Until it is polled it has done nothing. If it is dropped before it has ended, the message was
/// not sent, and is dropped with it.
#[must_use = "futures do nothing unless they are awaited"]
pub struct SendAsync<T> {
    side: Arc<SendSide>,
    /// `None`: it was sent, or given back.
    message: Option<T>,
    encoded: Option<EncodedMessage>,
    waiting: Option<Waiting>,
}

struct EncodedMessage {
    scratch: Vec<u8>,
    unsent: Unsent,
}

/// The place of a future that has waited.
struct Waiting {
    waiter: Arc<FutureWaiter>,
    /// The process in which it did. A fork of that has a copy, for which nothing was made.
    process: Original,
}

// The message is moved, and never pinned.
impl<T> Unpin for SendAsync<T> {}

impl<T> SendAsync<T> {
    pub(super) fn new(side: Arc<SendSide>, message: T) -> SendAsync<T> {
        SendAsync {
            side,
            message: Some(message),
            encoded: None,
            waiting: None,
        }
    }

    /// Does not send the message, and gives it back. `None`: it was sent already, or came back in
    /// the error.
    ///
    /// # Examples
    /// ```
    /// use std::pin::{Pin, pin};
    /// use std::task::{Context, Waker};
    ///
    /// let (sender, receiver) = brigade::channel::shm(1)?;
    /// sender.send(1)?;
    /// let mut second = sender.send_async(2);
    /// // In a runtime: `timeout(Duration::from_secs(1), &mut second).await.is_err()`.
    /// assert!(Pin::new(&mut second).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    /// assert_eq!(second.into_message(), Some(2));
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert!(receiver.try_recv().is_err(), "it was not sent");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_message(mut self) -> Option<T> {
        self.message.take()
    }

    /// This future waits no longer. `sent`: it has used the room that it was notified of, if it
    /// was. `is_gone`: it has found the receiver gone.
    fn leave(&mut self, sent: bool, is_gone: bool) {
        // In a fork of the program the lock may be held by a thread that is not there.
        let waiting = self.waiting.take();
        let Some(waiting) = waiting.filter(|waiting| waiting.process.is_this_process()) else {
            return;
        };
        let Ok(waiters) = self.side.room_waiters() else {
            return;
        };
        waiters.leave(&waiting.waiter, sent);
        if is_gone {
            // The others need not wait until each finds it.
            waiters.notify(usize::MAX);
        } else if sent && self.side.has_room() {
            // One was notified of what may have been room for several.
            waiters.notify(1);
        }
    }
}

impl<T: Message> SendAsync<T> {
    fn offer(&mut self) -> Result<Offered, NotAccepted> {
        let Some(message) = &self.message else {
            panic!("`SendAsync` was polled after it had ended");
        };
        if self.encoded.is_none() {
            let mut scratch = take_scratch();
            let (_, carried) =
                codec::encode_frame(message, &mut scratch).map_err(NotAccepted::Failed)?;
            let unsent = Unsent::new(carried);
            self.encoded = Some(EncodedMessage { scratch, unsent });
        }
        let Some(EncodedMessage { scratch, unsent }) = &mut self.encoded else {
            unreachable!("it was encoded above")
        };
        let bytes = codec::encoded_frame(message, scratch);
        self.side.offer(bytes, unsent)
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NotAccepted>> {
        match self.offer()? {
            Offered::Sent => return Poll::Ready(Ok(())),
            Offered::Full => {}
            Offered::Contended => return try_again(context),
        }
        let waiting = self.waiting.take();
        let waiting = waiting.filter(|waiting| waiting.process.is_this_process());
        let waiter = &self
            .waiting
            .insert(waiting.unwrap_or_else(Waiting::new))
            .waiter;
        // No memory or no thread to be had for it: slow, but nothing is lost.
        let Ok(waiters) = self.side.room_waiters() else {
            return try_again(context);
        };
        waiters.wait(waiter, context.waker().clone());
        self.side.announce_wait();
        // There may have been room before it was seen that this waits.
        match self.offer()? {
            Offered::Sent => Poll::Ready(Ok(())),
            // A receiver that was lost before changes no word.
            Offered::Full if self.side.is_hung_up() => Poll::Ready(Err(NotAccepted::Gone)),
            Offered::Full => Poll::Pending,
            Offered::Contended => try_again(context),
        }
    }
}

/// The executor tries again.
fn try_again<R>(context: &mut Context<'_>) -> Poll<R> {
    context.waker().wake_by_ref();
    Poll::Pending
}

impl Waiting {
    fn new() -> Waiting {
        Waiting {
            waiter: Arc::default(),
            process: Original::this_process(),
        }
    }
}

impl<T: Message> Future for SendAsync<T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Poll::Ready(sent) = this.poll_sent(context) else {
            return Poll::Pending;
        };
        let is_gone = matches!(sent, Err(NotAccepted::Gone));
        let sent = note_fault::<T, _>(&this.side, sent).is_ok();
        this.leave(sent, is_gone);
        if let Some(encoded) = this.encoded.take() {
            give_scratch_back(encoded.scratch);
        }
        match this.message.take() {
            Some(message) if !sent => Poll::Ready(Err(SendError(message))),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<T> Drop for SendAsync<T> {
    fn drop(&mut self) {
        self.leave(false, false);
    }
}

impl<T> fmt::Debug for SendAsync<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAsync")
            .field("transport", &self.side.over())
            .field("has_ended", &self.message.is_none())
            .finish_non_exhaustive()
    }
}

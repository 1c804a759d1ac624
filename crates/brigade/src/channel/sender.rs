//! The sending end, as the program has it.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::NotAccepted;
use super::send_side::{SendSide, Unsent};
use super::{Patience, SendAsync, SendError, SendTimeoutError, Transport, TrySendError};
use crate::Message;
use crate::task::codec;

/// Sends messages into a channel. Clone it for each thread or task that sends.
///
/// All clones in a process, and all that were sent to it, share one set of descriptors.
pub struct Sender<T> {
    side: Arc<SendSide>,
    messages: PhantomData<fn(T)>,
}

thread_local! {
    /// Where messages are encoded.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What a thread keeps of it between messages.
const SCRATCH_KEPT: usize = 2 << 20;

impl<T> Sender<T> {
    pub(super) fn new(side: Arc<SendSide>) -> Sender<T> {
        Sender {
            side,
            messages: PhantomData,
        }
    }

    pub(super) fn side(&self) -> &Arc<SendSide> {
        &self.side
    }

    /// What carries the messages.
    pub fn transport(&self) -> Transport {
        self.side.over()
    }

    /// How many messages may be on their way.
    pub fn capacity(&self) -> usize {
        usize::try_from(self.side.capacity()).unwrap_or(usize::MAX)
    }

    /// How many messages are on their way now: sent, and not received.
    pub fn len(&self) -> usize {
        usize::try_from(self.side.in_flight()).unwrap_or(usize::MAX)
    }

    /// Whether everything that was sent has been received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why the last message that came back as [`SendError`] or as `Disconnected` came back, if not
    /// because the receiver is gone: it could not be encoded, there was no memory or no descriptor
    /// for it. The channel is as good as before, and the next message may well be sent.
    ///
    /// The last of this thread; if all of this thread's were sent, of any thread that sends into
    /// this channel from this process. `None`: the receiver is gone, or nothing came back.
    pub fn fault(&self) -> Option<String> {
        self.side.fault().get()
    }
}

impl<T: Message> Sender<T> {
    /// Sends a message; blocks while the channel is full. In async code use
    /// [`send_async`](Self::send_async).
    ///
    /// # Errors
    /// The receiver is gone, or goes while this waits; or the message cannot be carried, which
    /// [`fault`](Self::fault) tells. The message comes back.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.encode_and_send(&message, Patience::Until(None)) {
            Ok(()) => Ok(()),
            Err(_) => Err(SendError(message)),
        }
    }

    /// Sends a copy of a message that the caller keeps, to send another one in the same buffer,
    /// say; waits while the channel is full.
    ///
    /// # Errors
    /// As [`send`](Self::send). There is nothing to come back.
    pub fn send_ref(&self, message: &T) -> Result<(), SendError<()>> {
        match self.encode_and_send(message, Patience::Until(None)) {
            Ok(()) => Ok(()),
            Err(_) => Err(SendError(())),
        }
    }

    /// Sends a message, if the channel has room for it now.
    ///
    /// # Errors
    /// It has none; or as [`send`](Self::send). The message comes back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match self.encode_and_send(&message, Patience::None) {
            Ok(()) => Ok(()),
            Err(NotAccepted::Full) => Err(TrySendError::Full(message)),
            Err(_) => Err(TrySendError::Disconnected(message)),
        }
    }

    /// Sends a message; waits no longer than `timeout` while the channel is full.
    ///
    /// # Errors
    /// It was full all the time; or as [`send`](Self::send). The message comes back.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        let deadline = Instant::now().checked_add(timeout);
        match self.encode_and_send(&message, Patience::Until(deadline)) {
            Ok(()) => Ok(()),
            Err(NotAccepted::Full) => Err(SendTimeoutError::Timeout(message)),
            Err(_) => Err(SendTimeoutError::Disconnected(message)),
        }
    }

    /// Sends a message when the channel has room for it. Neither this nor what it waits for needs a
    /// thread or a runtime: await it on any executor.
    ///
    /// Those that wait in one process are served in the order in which they began to wait; other
    /// calls, and other processes, may come first all the same.
    ///
    /// It is cancel-safe: a future that is dropped has not sent its message. One whose time is over
    /// gives it [back](SendAsync::into_message).
    ///
    /// The message is encoded once, when the future is first polled. The future is a sending end of
    /// the channel until it is dropped.
    ///
    /// # Errors
    /// As [`send`](Self::send): the message comes back.
    ///
    /// # Examples
    /// ```
    /// use brigade::channel::{self, Receiver};
    /// use brigade::process;
    ///
    /// # use pollster::block_on;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let (to_worker, orders) = channel::shm::<u32>(2)?;
    /// let sum = |orders: Receiver<u32>| orders.iter().flatten().sum::<u32>();
    /// let worker = process::spawn(sum, orders)?;
    /// block_on(async {
    ///     for order in 0..100 {
    ///         to_worker.send_async(order).await?; // waits while two are on their way
    ///     }
    ///     drop(to_worker);
    ///     assert_eq!(worker.await?, 4950);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn send_async(&self, message: T) -> SendAsync<T> {
        SendAsync::new(Arc::clone(&self.side), message)
    }

    fn encode_and_send(&self, message: &T, patience: Patience) -> Result<(), NotAccepted> {
        let mut scratch = take_scratch();
        let sent = match codec::encode_frame(message, &mut scratch) {
            Ok((bytes, descriptors)) => {
                let mut unsent = Unsent::new(descriptors);
                self.side.send_frame(bytes, &mut unsent, patience)
            }
            Err(why) => Err(NotAccepted::Failed(why)),
        };
        give_scratch_back(scratch);
        note_fault::<T, _>(&self.side, sent)
    }
}

/// Where this thread's next message is encoded.
#[inline(always)]
pub(super) fn take_scratch() -> Vec<u8> {
    // In a destructor of the thread's own it may be gone already.
    SCRATCH.try_with(Cell::take).unwrap_or_default()
}

#[inline(always)]
pub(super) fn give_scratch_back(scratch: Vec<u8>) {
    if scratch.capacity() <= SCRATCH_KEPT {
        // The same: then it is dropped.
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    }
}

/// Has the side remember why a message was not sent; the receiver is gone or as good as gone for
/// it.
#[inline(always)]
pub(super) fn note_fault<T, R>(
    side: &SendSide,
    sent: Result<R, NotAccepted>,
) -> Result<R, NotAccepted> {
    match sent {
        Err(NotAccepted::Failed(why)) => {
            let (what, over) = (std::any::type_name::<T>(), side.over());
            side.fault().set(Some(format!(
                "a message of type {what}, to be sent over a channel ({over}), {why}"
            )));
            Err(NotAccepted::Gone)
        }
        Err(NotAccepted::Gone) => {
            side.fault().set(None);
            Err(NotAccepted::Gone)
        }
        sent => sent,
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender::new(Arc::clone(&self.side))
    }
}

// A panic in the middle of sending or receiving leaves no message half-done: the lock is let go of,
// and what was not put was not sent.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("transport", &self.transport())
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

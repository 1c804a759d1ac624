//! The receiving end, as the program has it.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use super::receive_side::{Frame, ReceiveSide};
use super::{Iter, Patience, Recv, RecvError, RecvTimeoutError, Transport, TryIter, TryRecvError};
use crate::Message;

thread_local! {
    /// Where messages come in.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What a thread keeps of it for the next message.
const BODY_KEPT: usize = 2 << 20;

/// Receives the messages of a channel. There is one for each channel; it can be sent on.
///
/// Several threads may share it, and each message goes to one of them.
pub struct Receiver<T> {
    side: ReceiveSide,
    messages: PhantomData<fn() -> T>,
}

impl<T> Receiver<T> {
    pub(super) fn new(side: ReceiveSide) -> Receiver<T> {
        Receiver {
            side,
            messages: PhantomData,
        }
    }

    pub(super) fn side(&self) -> &ReceiveSide {
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

    /// Why nothing more can be received though senders may be there: a process has written over
    /// the channel itself, and where the next message begins cannot be known. One receive said so,
    /// with [`Undeliverable`](RecvError::Undeliverable); all later ones say that the channel is
    /// disconnected. `None`: the channel is in order. A message that was lost alone is no fault.
    pub fn fault(&self) -> Option<String> {
        self.side.fault()
    }
}

impl<T: Message> Receiver<T> {
    /// Receives the next message; waits for it.
    ///
    /// # Errors
    /// Everything that was sent has been received, and all senders are gone; or this message cannot
    /// be made out, and is lost: the channel goes on with the next.
    ///
    /// # Panics
    /// As the message's own `Deserialize` does. That message is lost, the channel goes on.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.receive(Patience::Until(None)).map_err(|e| match e {
            TryRecvError::Undeliverable(why) => RecvError::Undeliverable(why),
            // A wait without a deadline does not end with nothing.
            TryRecvError::Disconnected | TryRecvError::Empty => RecvError::Disconnected,
        })
    }

    /// Receives the next message, if it is here.
    ///
    /// # Errors
    /// There is none; or as [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.receive(Patience::None)
    }

    /// Receives the next message; waits for it no longer than `timeout`.
    ///
    /// # Errors
    /// None came in time; or as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let deadline = Instant::now().checked_add(timeout);
        self.receive(Patience::Until(deadline))
            .map_err(|e| match e {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                TryRecvError::Undeliverable(why) => RecvTimeoutError::Undeliverable(why),
            })
    }

    /// Awaits the next message, in any executor.
    ///
    /// # Examples
    /// ```
    /// # use pollster::block_on;
    /// let (sender, receiver) = brigade::channel::pipe(4)?;
    /// let sending = brigade::thread::spawn(|to: brigade::channel::Sender<u8>| to.send(7).is_ok(), sender)?;
    /// block_on(async {
    ///     assert_eq!(receiver.recv_async().await, Ok(7));
    ///     assert_eq!(sending.await.ok(), Some(true));
    ///     assert!(receiver.recv_async().await.is_err(), "its end is gone");
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_async(&self) -> Recv<'_, T> {
        Recv::new(self)
    }

    /// Each message, until all senders are gone. Waits for each. In async code a receiver is a
    /// [`Stream`](futures_core::Stream) of the same. One that cannot be made out is an
    /// error in its place, and the next follows.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = brigade::channel::shm(4)?;
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// drop(sender);
    /// let mut sum = 0;
    /// for number in &receiver {
    ///     sum += number?;
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// Each message that is here, and each loss of one. Does not wait.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter::new(self)
    }

    fn receive(&self, patience: Patience) -> Result<T, TryRecvError> {
        // In a destructor of the thread's own it may be gone already.
        let mut frame = Frame::new(SCRATCH.try_with(Cell::take).unwrap_or_default());
        self.side.receive_frame(&mut frame, patience)?;
        // Outside the lock: a message's decoding is its own code, and may take its time, and panic.
        let decoded = frame.decode();
        if frame.content.body.capacity() <= BODY_KEPT {
            // The same: then it is dropped.
            let _ = SCRATCH.try_with(|scratch| scratch.set(frame.content.body));
        }
        decoded.map_err(|why| {
            let (what, over) = (std::any::type_name::<T>(), self.side.over());
            TryRecvError::Undeliverable(format!(
                "a message of type {what}, received over a channel ({over}), {why}"
            ))
        })
    }
}

// A panic in the middle of sending or receiving leaves no message half-done: the lock is let go of,
// and what was not put was not sent.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("transport", &self.transport())
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

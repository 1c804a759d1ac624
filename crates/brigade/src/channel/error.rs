//! Why nothing was sent or received. Names and shapes are crossbeam's; what was not sent comes
//! back.

use std::error::Error;
use std::fmt;

use super::fault;

/// Why a message stays with its sender.
pub(super) enum NotAccepted {
    Full,
    Gone,
    /// Not because the receiver is gone.
    Failed(String),
}

/// The message was not sent, and waiting would not help; it comes back.
///
/// The receiver is gone; or this message cannot be carried, and the channel is as good as before:
/// [`Sender::fault`](super::Sender::fault) tells which. The shape is crossbeam's, and has no room
/// for the reason. Displayed, it says the reason of the last message that the calling thread could
/// not send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The message was not sent, for it would have had to wait; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// As many messages are on their way as the channel holds.
    Full(T),
    /// As [`SendError`].
    Disconnected(T),
}

/// The message was not sent in time; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel was full all the time.
    Timeout(T),
    /// As [`SendError`].
    Disconnected(T),
}

/// A message came and could not be made out. It is lost, and the channel goes on with the next.
///
/// It could not be decoded, in serde's own words; or its descriptors or its bytes could not be had.
/// One that says that the channel itself is broken is the last, and the disconnect follows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undeliverable(
    /// Why, in one sentence.
    pub String,
);

/// No message was received, and none will come; or one was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// Nothing is left to receive, and all senders are gone.
    #[error("receiving from a channel that is empty and disconnected")]
    Disconnected,
    /// As [`Undeliverable`]: this message could not be made out; the channel goes on with the next.
    #[error("{0}")]
    Undeliverable(String),
}

/// There is nothing to receive now, or a message was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// There is nothing, but there may be later.
    #[error("receiving from an empty channel")]
    Empty,
    /// As [`RecvError::Disconnected`].
    #[error("receiving from a channel that is empty and disconnected")]
    Disconnected,
    /// As [`RecvError::Undeliverable`].
    #[error("{0}")]
    Undeliverable(String),
}

/// Nothing came in time, or a message was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvTimeoutError {
    /// Nothing came, but something may come later.
    #[error("timed out waiting on a channel")]
    Timeout,
    /// As [`RecvError::Disconnected`].
    #[error("receiving from a channel that is empty and disconnected")]
    Disconnected,
    /// As [`RecvError::Undeliverable`].
    #[error("{0}")]
    Undeliverable(String),
}

impl<T> SendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> TrySendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        }
    }

    /// Whether the channel was full.
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full(_))
    }

    /// Whether the receiver is gone, or this message cannot be carried: as for [`SendError`].
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::Disconnected(_))
    }
}

impl<T> SendTimeoutError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Disconnected(message) => message,
        }
    }

    /// Whether the time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendTimeoutError::Timeout(_))
    }

    /// Whether the receiver is gone, or this message cannot be carried: as for [`SendError`].
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendTimeoutError::Disconnected(_))
    }
}

impl RecvError {
    /// Whether nothing will come any more.
    pub fn is_disconnected(&self) -> bool {
        *self == RecvError::Disconnected
    }
}

impl TryRecvError {
    /// Whether there is nothing now, but may be later. Not after a lost message: the next may be
    /// here.
    pub fn is_empty(&self) -> bool {
        *self == TryRecvError::Empty
    }

    /// Whether nothing will come any more.
    pub fn is_disconnected(&self) -> bool {
        *self == TryRecvError::Disconnected
    }
}
impl RecvTimeoutError {
    /// Whether the time was over.
    pub fn is_timeout(&self) -> bool {
        *self == RecvTimeoutError::Timeout
    }

    /// Whether nothing will come any more.
    pub fn is_disconnected(&self) -> bool {
        *self == RecvTimeoutError::Disconnected
    }
}

/// A `SendError` has room for nothing but the message. What this thread knows is said: why the last
/// message that it could not send was not sent.
fn not_sent(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fault::last() {
        Some(None) => f.write_str("sending on a disconnected channel"),
        Some(Some(why)) => write!(
            f,
            "a message was not sent; of this thread's last that was not: {why}"
        ),
        None => f.write_str(
            "sending on a disconnected channel, or a message that cannot be carried (see \
             `Sender::fault`)",
        ),
    }
}

// Messages need not be `Debug`, and are not shown.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        not_sent(f)
    }
}

impl<T> Error for SendError<T> {}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySendError::Full(_) => f.write_str("sending on a full channel"),
            TrySendError::Disconnected(_) => not_sent(f),
        }
    }
}

impl<T> Error for TrySendError<T> {}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendTimeoutError::Timeout(_) => f.write_str("timed out waiting on a full channel"),
            SendTimeoutError::Disconnected(_) => not_sent(f),
        }
    }
}

impl<T> Error for SendTimeoutError<T> {}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(SendError(message): SendError<T>) -> TrySendError<T> {
        TrySendError::Disconnected(message)
    }
}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(SendError(message): SendError<T>) -> SendTimeoutError<T> {
        SendTimeoutError::Disconnected(message)
    }
}

impl From<RecvError> for TryRecvError {
    fn from(e: RecvError) -> TryRecvError {
        match e {
            RecvError::Disconnected => TryRecvError::Disconnected,
            RecvError::Undeliverable(why) => TryRecvError::Undeliverable(why),
        }
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(e: RecvError) -> RecvTimeoutError {
        match e {
            RecvError::Disconnected => RecvTimeoutError::Disconnected,
            RecvError::Undeliverable(why) => RecvTimeoutError::Undeliverable(why),
        }
    }
}

impl From<Undeliverable> for RecvError {
    fn from(Undeliverable(why): Undeliverable) -> RecvError {
        RecvError::Undeliverable(why)
    }
}

impl From<Undeliverable> for TryRecvError {
    fn from(Undeliverable(why): Undeliverable) -> TryRecvError {
        TryRecvError::Undeliverable(why)
    }
}

impl From<Undeliverable> for RecvTimeoutError {
    fn from(Undeliverable(why): Undeliverable) -> RecvTimeoutError {
        RecvTimeoutError::Undeliverable(why)
    }
}

//! Channels: the same ends over four real mechanisms, between threads and between processes.
//!
//! A channel has any number of [`Sender`]s and one [`Receiver`]. Both are [`Message`]s themselves:
//! give one to a task as its input, get one as its result, send one through another channel. Which
//! mechanism carries the messages is a value, [`Transport`]; order, bounds and errors are the same
//! for all.
//!
//! ```
//! use brigade::channel::{self, Sender};
//! use brigade::process;
//!
//! fn count(to: Sender<u32>) {
//!     for n in 0..3 {
//!         to.send(n).expect("the receiver is there");
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     brigade::init();
//!     let (sender, receiver) = channel::shm(16)?;
//!     let counter = process::spawn(count, sender)?;
//!     // Ends when the counter's end is gone: it has returned, or it was killed.
//!     let counted: Result<Vec<u32>, _> = receiver.iter().collect();
//!     assert_eq!(counted?, [0, 1, 2]);
//!     counter.join()?;
//!     Ok(())
//! }
//! ```
//!
//! To ask and be answered, [`request`] makes a pair of a [`Client`] and a [`Server`].
//!
//! # What holds for all four
//!
//! - **Order**: messages of one sender arrive in the order in which they were sent; messages of
//!   several are never mixed up.
//! - **Size**: any, up to 2 GiB encoded. What does not fit the mechanism goes in a memory file,
//!   whose descriptor goes through it.
//! - **Bounds**: no more than `capacity` messages are on their way; the next waits. There is a
//!   bound in bytes too, of 4 MiB, beyond what the mechanism itself holds: what the capacity allows
//!   and a pipe, a socket or a queue has no room for waits in memory beside it. Large messages, and
//!   those that carry descriptors, wait for the mechanism's own room.
//! - **No message is lost in silence**: one that cannot be decoded, or whose descriptors the
//!   receiver has no room for, is an error of its own, [`Undeliverable`], in its place, and the
//!   next is received as if nothing had been. If a process has written over the channel itself, so
//!   that no more can be made out, that is such an error too, and then the disconnect. A message
//!   was sent when `send` has returned `Ok`: a message whose sender is killed before that is not
//!   received.
//! - **The end**: a receiver whose senders are all gone gets what was sent, and then
//!   [`RecvError::Disconnected`]. A sender whose receiver is gone gets its message back. It makes
//!   no difference whether an end was dropped or its process was killed, also in the middle of a
//!   message; a waiting thread is woken. Over shared memory and queues, where nothing tells a
//!   sender that does not wait, it may send a few messages more before it hears of it.
//! - **In async code** both sides are awaited, on any executor: [`Receiver::recv_async`], or the
//!   receiver as a `Stream`; [`Sender::send_async`]. A future that is dropped has received nothing
//!   and sent nothing, so both go into a `select!`, or under a timeout. What ends a wait of a
//!   thread ends that of a future, the death of the other side's last process included.
//! - **Ends on their way** count: a channel whose only sender is inside a message that was not
//!   received yet is not disconnected.
//!
//! # After fork(2)
//!
//! A program that forks itself, past this library, has each of its ends twice.
//!
//! - **Senders** send in both, as any two do.
//! - **A receiver** is for one of the two, as if it had moved: whichever receives with it first.
//!   The other one may drop it, which disconnects no sender; if it receives too, messages are lost
//!   to both. A copy of one with which another thread of the parent was receiving at that moment
//!   receives nothing, and says so.
//! - **Dropping** a copy closes it in that process only. A channel is disconnected when the last
//!   end of a side is gone in both; a copy that the child does not need, and keeps, keeps it
//!   connected.
//! - **`select`, `recv_async` and `send_async`** work in the child; it starts its own threads for
//!   them.
//!
//! A fork that is made by the bare system call, without the C library's fork(3), is noticed by what
//! it does itself, but its death is not: what it had locked when it died stays locked, and its
//! parent must not drop a receiver that the child is to go on with.
//!
//! # Which transport?
//!
//! [`SharedMemory`](Transport::SharedMemory), unless there is a reason: it needs no system call for
//! a message while both sides are at work. The other three make system calls for each message.
//!
//! | | take it | mind that |
//! |---|---|---|
//! | shared memory | first | a channel has a region of 4 MiB, of which only what was ever needed is taken from the system |
//! | socket | where most messages bring descriptors: they go with the message itself | |
//! | pipe | to see the traffic with strace(1), or to compare | a sender that writes nonsense into it ends the channel, and does not lose that message alone |
//! | queue | to compare | the system limits the queues of a user, by default to some ten |
//!
//! Sources: pipe(7), unix(7), mq_overview(7), memfd_create(2), poll(2).

#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod ends;
mod error;
mod fault;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod frame;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
mod in_program;
mod iter;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod receive_side;
mod receiver;
mod recv;
mod request;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod room;
mod select;
mod send_async;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod send_side;
mod sender;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod senders;
#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests;

#[cfg(any(not(target_os = "linux"), brigade_portable))]
use in_program::{self as ends, self as receive_side, self as send_side};

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{TryLockError, TryLockResult};
use std::time::Instant;

#[cfg(fuzzing)]
pub(crate) use ends::parts;
pub use error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    Undeliverable,
};
pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use recv::Recv;
pub use request::{CallError, Client, Responder, Server, request};
pub use select::{Select, SelectTimeoutError, select};
pub use send_async::SendAsync;
pub use sender::Sender;

use crate::Message;
use crate::sys::error::Call;

/// What carries a channel's messages. [Which transport?](self#which-transport)
#[doc(alias = "ipc")]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Transport {
    /// A pipe. pipe(7).
    Pipe,
    /// A pair of Unix sockets. unix(7).
    Socket,
    /// A POSIX message queue. mq_overview(7).
    Queue,
    /// A ring in memory that both sides map: no system call while both are at work.
    SharedMemory,
}

impl Transport {
    /// All four, to do the same thing over each.
    pub const ALL: [Transport; 4] = [
        Transport::Pipe,
        Transport::Socket,
        Transport::Queue,
        Transport::SharedMemory,
    ];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Transport::Pipe => "pipe",
            Transport::Socket => "socket",
            Transport::Queue => "queue",
            Transport::SharedMemory => "shm",
        })
    }
}

/// The word was none of `pipe`, `socket`, `queue` and `shm`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a transport: expected `pipe`, `socket`, `queue` or `shm`")]
pub struct ParseTransportError(String);

impl FromStr for Transport {
    type Err = ParseTransportError;

    fn from_str(word: &str) -> Result<Transport, ParseTransportError> {
        Transport::ALL
            .into_iter()
            .find(|t| t.to_string() == word)
            .ok_or_else(|| ParseTransportError(word.to_owned()))
    }
}

/// A channel that holds up to `capacity` messages, over the mechanism that you name.
///
/// # Errors
/// A capacity of 0; no more descriptors (a channel takes up to six) or memory; for a queue, more
/// than the system allows (see [`queue`]).
///
/// # Examples
/// ```
/// use brigade::channel::{self, Transport};
///
/// for transport in Transport::ALL {
///     let (sender, receiver) = channel::channel(transport, 4)?;
///     sender.send("hello".to_owned())?;
///     drop(sender);
///     assert_eq!(receiver.recv().as_deref(), Ok("hello"));
///     assert!(receiver.recv().is_err(), "the last sender is gone");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "mpsc")]
#[doc(alias = "bounded")]
#[doc(alias = "sync_channel")]
pub fn channel<T: Message>(
    over: Transport,
    capacity: usize,
) -> io::Result<(Sender<T>, Receiver<T>)> {
    ends::create(over, capacity).needed_to("make a channel")
}

/// A channel over a pipe. pipe(7).
///
/// # Errors
/// As [`channel`].
#[doc(alias = "Pipe")]
pub fn pipe<T: Message>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    channel(Transport::Pipe, capacity)
}

/// A channel over a pair of Unix sockets. unix(7).
///
/// # Errors
/// As [`channel`].
#[doc(alias = "socketpair")]
pub fn socket<T: Message>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    channel(Transport::Socket, capacity)
}

/// A channel over a POSIX message queue. mq_overview(7).
///
/// # Errors
/// As [`channel`]; and the system sets bounds to queues: the messages in one
/// (/proc/sys/fs/mqueue/msg_max, 10 by default, which a process with CAP_SYS_RESOURCE may exceed),
/// and the bytes of all that a user has (`RLIMIT_MSGQUEUE`). The error says which it was.
#[doc(alias = "mq_open")]
pub fn queue<T: Message>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    channel(Transport::Queue, capacity)
}

/// A channel over shared memory: the fastest one, and the one to begin with.
///
/// # Errors
/// As [`channel`].
#[doc(alias = "mpsc")]
#[doc(alias = "Queue")]
pub fn shm<T: Message>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    channel(Transport::SharedMemory, capacity)
}

/// What came of trying once to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offered {
    Sent,
    /// There is no room.
    Full,
    /// Another sender is in the middle of its message.
    Contended,
}

/// How long to wait.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Option<Instant>),
}

fn usable<G>(locked: TryLockResult<G>) -> Option<G> {
    match locked {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn check_capacity(capacity: usize) -> io::Result<()> {
    if capacity == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a channel holds at least one message: capacity 0 would let none pass",
        ));
    }
    Ok(())
}

// Promised: both ends are messages.
const _: () = {
    const fn is_message<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static>() {}
    is_message::<Sender<Receiver<u8>>>();
    is_message::<Receiver<Sender<u8>>>();
};

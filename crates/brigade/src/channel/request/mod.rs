//! Questions and their answers over one channel: how they find each other.
//!
//! Problem: an answer has to find the thread that asked. A channel for each answer costs six
//! descriptors a question. So a client has *one* channel for all of its answers, made for its first
//! question and carried by that one; each question has a number, and its answer bears it.
//!
//! 1. A client's first question brings the sender of its channel; the server keeps it, by the
//!    client's identity.
//! 2. Of the threads that wait for answers of one client, one receives. An answer that is another's
//!    it puts where that one looks, and wakes it. When it has its own, another one receives.
//! 3. A question that the server cannot decode, or drops unanswered, is answered by a refusal: what
//!    bears its number is decoded first, and noted ([`Noted`]).
//!
//! Ends: the server has the only senders of its clients' channels. With it they are gone, and each
//! call ends. Clients that are gone are struck out when the next one asks for the first time, after
//! as many questions as there are clients, and before the server is sent on.
//!
//! A call holds a place in the client's channel until its answer was received, also when the caller
//! has stopped waiting for it. So there is room for the answer to an honest client.

mod client;
mod server;
#[cfg(all(test, target_os = "linux", not(any(miri, brigade_portable))))]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::thread::LocalKey;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Sender, Transport, channel};
use crate::Message;

pub use client::Client;
pub use server::{Responder, Server};

/// A pair that asks and answers: `client.call(question)` waits for what the server answers to it.
///
/// Both ends are [`Message`]s, and the client can be cloned: any number of threads and processes
/// ask, one at a time answers. `capacity` is how many questions may be on their way to the server,
/// and how many calls of one client may be open. A client costs the descriptors of one channel, for
/// all of its calls.
///
/// # Errors
/// As [`channel`].
///
/// ```
/// use brigade::channel::{self, Server, Transport};
/// use brigade::Kind;
///
/// fn double(server: Server<u64, u64>) {
///     server.serve(|n| n * 2);
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// for kind in [Kind::Thread, Kind::Process] {
/// #   if !cfg!(target_os = "linux") { continue }
///     let (client, server) = channel::request(Transport::SharedMemory, 16)?;
///     let doubler = kind.spawn(double, server)?;
///     assert_eq!(client.call(21)?, 42);
///     drop(client); // the last one: there is nothing left to serve
///     doubler.join()?;
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "rpc")]
#[doc(alias = "oneshot")]
pub fn request<Q: Message, A: Message>(
    over: Transport,
    capacity: usize,
) -> io::Result<(Client<Q, A>, Server<Q, A>)> {
    let (questions, asked) = channel(over, capacity)?;
    Ok((Client::new(questions), Server::new(asked)))
}

/// What tells a client from the others: its process's token, and two numbers that no other client
/// of that process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Identity {
    process: u32,
    count: u64,
    /// A stranger cannot guess it.
    nonce: u64,
}

/// What goes before a question: the client that asks, the number of the question, and with the
/// first one where the answers go.
type NumberedQuestion<Q, A> = (Noted<Asked>, Option<Sender<NumberedAnswer<A>>>, Q);

/// What is answered to which question: a refusal says why.
type NumberedAnswer<A> = (Noted<RequestNumber>, Result<A, String>);

/// Which question of which client.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Asked {
    client: Identity,
    number: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct RequestNumber(u64);

thread_local! {
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
    static NUMBER: Cell<Option<RequestNumber>> = const { Cell::new(None) };
}

/// Where this thread notes the last one that it has decoded.
trait HasNote: Copy + 'static {
    fn note() -> &'static LocalKey<Cell<Option<Self>>>;
}

impl HasNote for Asked {
    fn note() -> &'static LocalKey<Cell<Option<Asked>>> {
        &ASKED
    }
}

impl HasNote for RequestNumber {
    fn note() -> &'static LocalKey<Cell<Option<RequestNumber>>> {
        &NUMBER
    }
}

/// What is noted when it is decoded: so it is known also if what follows it cannot be.
#[derive(Clone, Copy, Debug)]
struct Noted<T>(T);

impl<T: HasNote> Noted<T> {
    /// Forgets the last one; before a message is received.
    fn forget() {
        let _ = T::note().try_with(|note| note.set(None));
    }

    /// The last one of this thread.
    fn last() -> Option<T> {
        T::note().try_with(Cell::take).ok().flatten()
    }
}

impl<T: Serialize> Serialize for Noted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + HasNote> Deserialize<'de> for Noted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded = T::deserialize(deserializer)?;
        let _ = T::note().try_with(|note| note.set(Some(decoded)));
        Ok(Noted(decoded))
    }
}

/// Why a call has no answer.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq)]
pub enum CallError<Q> {
    /// No answer came in time. `Some`: there was no room for the question, and it was not sent.
    Timeout(Option<Q>),
    /// The server is gone. `Some`: the question was not sent, for that or because it cannot be
    /// carried.
    Disconnected(Option<Q>),
    /// The server has dropped the question unanswered, or could not decode it.
    Refused(String),
    /// The answer could not be decoded.
    Undeliverable(String),
}

impl<Q> fmt::Display for CallError<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Timeout(_) => f.write_str("timed out waiting for an answer"),
            CallError::Disconnected(None) => f.write_str("the server is gone without an answer"),
            CallError::Disconnected(Some(_)) => {
                f.write_str("the question could not be sent to the server")
            }
            CallError::Refused(why) => write!(f, "the server refused: {why}"),
            CallError::Undeliverable(why) => write!(f, "the answer {why}"),
        }
    }
}

impl<Q> fmt::Debug for CallError<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Timeout(_) => f.write_str("Timeout(..)"),
            CallError::Disconnected(_) => f.write_str("Disconnected(..)"),
            CallError::Refused(why) => f.debug_tuple("Refused").field(why).finish(),
            CallError::Undeliverable(why) => f.debug_tuple("Undeliverable").field(why).finish(),
        }
    }
}

impl<Q> std::error::Error for CallError<Q> {}

// Promised: both ends are messages.
const _: () = {
    const fn is_message<T: Message>() {}
    is_message::<Client<String, u8>>();
    is_message::<Server<u8, String>>();
};

//! The end that answers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
};
use super::{Asked, Identity, Noted, NumberedAnswer, NumberedQuestion, RequestNumber};
use crate::Message;

/// How long [`Responder::answer`] waits for room, which an honest client always has.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// The end of a [`request`](super::request) pair that answers. There is one; it can be sent on.
///
/// It has the descriptors of a sender for each client that has asked and is there still, and no
/// more than as many of clients that are gone as it has received questions since. Nothing bounds
/// how many clients there are: a worker that is not trusted can make itself as many as it has
/// descriptors, and is better given a pair of its own.
pub struct Server<Q, A> {
    questions: Receiver<NumberedQuestion<Q, A>>,
    clients: Mutex<Clients<A>>,
}

/// Those that have asked.
struct Clients<A> {
    senders: HashMap<Identity, Sender<NumberedAnswer<A>>>,
    /// How many questions have come since those that are gone were struck out.
    unswept: usize,
}

impl<A> Clients<A> {
    fn new(senders: HashMap<Identity, Sender<NumberedAnswer<A>>>) -> Mutex<Clients<A>> {
        let unswept = 0;
        Mutex::new(Clients { senders, unswept })
    }

    /// Takes out those that are gone.
    fn extract_gone(&mut self) -> Vec<Sender<NumberedAnswer<A>>> {
        self.unswept = 0;
        let gone: Vec<Identity> = self
            .senders
            .iter()
            .filter(|(_, answers)| answers.side().is_gone())
            .map(|(client, _)| *client)
            .collect();
        let taken = gone.iter().filter_map(|client| self.senders.remove(client));
        taken.collect()
    }
}

impl<Q: Message, A: Message> Server<Q, A> {
    pub(super) fn new(questions: Receiver<NumberedQuestion<Q, A>>) -> Server<Q, A> {
        Server {
            questions,
            clients: Clients::new(HashMap::new()),
        }
    }

    fn clients(&self) -> MutexGuard<'_, Clients<A>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next question, and gives it with what answers it.
    ///
    /// # Errors
    /// All clients are gone, and their questions answered; or this question could not be decoded:
    /// its caller hears of it, and the next one can be received.
    pub fn recv(&self) -> Result<(Q, Responder<A>), RecvError> {
        Noted::<Asked>::forget();
        match self.questions.recv() {
            Ok(question) => Ok(self.accept(question)),
            Err(e) => {
                if let RecvError::Undeliverable(why) = &e {
                    self.refuse(why);
                }
                Err(e)
            }
        }
    }

    /// As [`recv`](Self::recv), and waits no longer than `timeout`.
    ///
    /// # Errors
    /// None came in time; or as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<(Q, Responder<A>), RecvTimeoutError> {
        Noted::<Asked>::forget();
        match self.questions.recv_timeout(timeout) {
            Ok(question) => Ok(self.accept(question)),
            Err(e) => {
                if let RecvTimeoutError::Undeliverable(why) = &e {
                    self.refuse(why);
                }
                Err(e)
            }
        }
    }

    /// As [`recv`](Self::recv), and does not wait.
    ///
    /// # Errors
    /// There is none now; or as [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<(Q, Responder<A>), TryRecvError> {
        Noted::<Asked>::forget();
        match self.questions.try_recv() {
            Ok(question) => Ok(self.accept(question)),
            Err(e) => {
                if let TryRecvError::Undeliverable(why) = &e {
                    self.refuse(why);
                }
                Err(e)
            }
        }
    }

    /// Answers one question after another, until all clients are gone. A question that cannot be
    /// decoded is refused.
    pub fn serve(&self, mut answer: impl FnMut(Q) -> A) {
        loop {
            match self.recv() {
                Ok((question, responder)) => {
                    // A client that is gone by now has no need of it.
                    let _ = responder.answer(answer(question));
                }
                Err(RecvError::Undeliverable(_)) => {}
                Err(RecvError::Disconnected) => return,
            }
        }
    }

    fn accept(&self, (asked, answers, question): NumberedQuestion<Q, A>) -> (Q, Responder<A>) {
        let client = asked.0.client;
        let mut clients = self.clients();
        clients.unswept += 1;
        // One look for each question, on average: a client may be the last that ever asks.
        let gone = match answers.is_some() || clients.unswept > clients.senders.len() {
            true => clients.extract_gone(),
            false => Vec::new(),
        };
        if let Some(answers) = answers {
            // A client that is known keeps its channel: another process may have sent its number.
            clients.senders.entry(client).or_insert(answers);
        }
        let to = clients.senders.get(&client).cloned();
        drop(clients);
        drop(gone);
        let responder = Responder {
            to,
            number: asked.0.number,
        };
        (question, responder)
    }

    /// What could not be decoded is answered too, if it is known which client sent it.
    fn refuse(&self, why: &str) {
        let Some(asked) = Noted::<Asked>::last() else {
            return;
        };
        let to = self.clients().senders.get(&asked.client).cloned();
        let mut responder = Responder {
            to,
            number: asked.number,
        };
        responder.refuse(format!("the question {why}"));
    }
}

impl<Q, A> fmt::Debug for Server<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("questions", &self.questions)
            .finish_non_exhaustive()
    }
}

impl<Q: Message, A: Message> Serialize for Server<Q, A> {
    /// With the clients that it has heard of and that are there.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut clients = self.clients();
        let gone = clients.extract_gone();
        let there = clients.senders.iter();
        let there: Vec<_> = there
            .map(|(client, answers)| (*client, answers.clone()))
            .collect();
        drop(clients);
        drop(gone);
        (&self.questions, there).serialize(serializer)
    }
}

impl<'de, Q: Message, A: Message> Deserialize<'de> for Server<Q, A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (questions, clients) = <(
            Receiver<NumberedQuestion<Q, A>>,
            Vec<(Identity, Sender<NumberedAnswer<A>>)>,
        )>::deserialize(deserializer)?;
        Ok(Server {
            questions,
            clients: Clients::new(clients.into_iter().collect()),
        })
    }
}

/// Answers one question. Dropped, it tells the caller that there is no answer.
pub struct Responder<A: Message> {
    to: Option<Sender<NumberedAnswer<A>>>,
    number: u64,
}

impl<A: Message> Responder<A> {
    /// Answers. Waits a second at the most for room: there is always some for a client that
    /// receives its answers.
    ///
    /// # Errors
    /// The client is gone, receives nothing, or the answer cannot be carried. It comes back; in the
    /// last case the caller hears of it.
    pub fn answer(mut self, answer: A) -> Result<(), SendError<A>> {
        let Some(to) = self.to.take() else {
            return Err(SendError(answer));
        };
        let answer = (Noted(RequestNumber(self.number)), Ok(answer));
        let (_, answer) = match to.send_timeout(answer, ROOM_WITHIN) {
            Ok(()) => return Ok(()),
            Err(SendTimeoutError::Timeout(answer)) => answer,
            Err(SendTimeoutError::Disconnected(answer)) => {
                // Where the client is there, it is the answer that cannot be carried.
                if let Some(why) = to.fault() {
                    self.to = Some(to);
                    self.refuse(why);
                }
                answer
            }
        };
        match answer {
            Ok(answer) => Err(SendError(answer)),
            Err(_) => unreachable!("what was sent is an answer"),
        }
    }

    fn refuse(&mut self, why: String) {
        if let Some(to) = self.to.take() {
            // One that has no room for it waits for nothing.
            let _ = to.try_send((Noted(RequestNumber(self.number)), Err(why)));
        }
    }
}

impl<A: Message> Drop for Responder<A> {
    fn drop(&mut self) {
        self.refuse("it dropped the question unanswered".to_owned());
    }
}

impl<A: Message> fmt::Debug for Responder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

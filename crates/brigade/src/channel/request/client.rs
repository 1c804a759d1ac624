//! The end that asks.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, channel};
use super::{Asked, CallError, Identity, Noted, NumberedAnswer, NumberedQuestion, RequestNumber};
use crate::Message;
use crate::sync::Token;

/// What a wait without a deadline waits for at a time.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The end of a [`request`](super::request) pair that asks. Threads may share it; each clone, and
/// each one that is sent to a worker, has a channel for its answers, made by its first call.
pub struct Client<Q, A> {
    questions: Sender<NumberedQuestion<Q, A>>,
    inbox: Mutex<Option<Arc<AnswerInbox<A>>>>,
}

/// Where the answers to one client come in.
struct AnswerInbox<A> {
    identity: Identity,
    answers: Receiver<NumberedAnswer<A>>,
    first: Mutex<First<A>>,
    first_changed: Condvar,
    calls: Mutex<OpenCalls<A>>,
    changed: Condvar,
}

/// The first question, which brings the sender of the answers, and goes before all others.
enum First<A> {
    ToBeSent(Sender<NumberedAnswer<A>>),
    /// A thread sends it, under no lock: there may be no room for it.
    BeingSent,
    Sent,
}

/// The calls that are open.
struct OpenCalls<A> {
    /// Of those whose callers wait, what has come for them.
    waiting: HashMap<u64, Option<AnswerOutcome<A>>>,
    /// Those whose answers have not been received, whether a caller waits for them or not. A server
    /// may answer what it was not asked, or twice: that is not counted.
    open: HashSet<u64>,
    next: u64,
    /// A thread receives, for all.
    is_received: bool,
    is_over: bool,
}

enum AnswerOutcome<A> {
    Answered(A),
    Refused(String),
    Undeliverable(String),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: Message> AnswerInbox<A> {
    fn new<Q: Message>(
        questions: &Sender<NumberedQuestion<Q, A>>,
    ) -> std::io::Result<Arc<AnswerInbox<A>>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (to_send, answers) = channel(questions.transport(), questions.capacity())?;
        let identity = Identity {
            process: Token::mine().to_bits(),
            count: COUNT.fetch_add(1, Ordering::Relaxed),
            nonce: RandomState::new().hash_one(()),
        };
        Ok(Arc::new(AnswerInbox {
            identity,
            answers,
            first: Mutex::new(First::ToBeSent(to_send)),
            first_changed: Condvar::new(),
            calls: Mutex::new(OpenCalls {
                waiting: HashMap::new(),
                open: HashSet::new(),
                next: 0,
                is_received: false,
                is_over: false,
            }),
            changed: Condvar::new(),
        }))
    }

    /// Opens a call, when there is room for its answer. `None`: there was none until the deadline,
    /// or will be none.
    fn open(&self, deadline: Option<Instant>) -> Option<u64> {
        let mut calls = locked(&self.calls);
        while calls.open.len() >= self.answers.capacity() && !calls.is_over {
            calls = self.wait_once(calls, deadline)?;
        }
        if calls.is_over {
            return None;
        }
        let number = calls.next;
        calls.next += 1;
        calls.open.insert(number);
        calls.waiting.insert(number, None);
        Some(number)
    }

    /// The question was not sent.
    fn close(&self, number: u64) {
        let mut calls = locked(&self.calls);
        calls.waiting.remove(&number);
        calls.open.remove(&number);
        drop(calls);
        self.changed.notify_all();
    }

    /// `Err`: whether the server is gone, else the time is over.
    fn wait(&self, number: u64, deadline: Option<Instant>) -> Result<AnswerOutcome<A>, bool> {
        let mut calls = locked(&self.calls);
        loop {
            match calls.waiting.get_mut(&number).map(Option::take) {
                Some(Some(outcome)) => {
                    calls.waiting.remove(&number);
                    return Ok(outcome);
                }
                Some(None) if calls.is_over => {
                    calls.waiting.remove(&number);
                    return Err(true);
                }
                _ => {}
            }
            match self.wait_once(calls, deadline) {
                Some(again) => calls = again,
                None => {
                    let late = locked(&self.calls).waiting.remove(&number).flatten();
                    // It may have come just now.
                    return late.ok_or(false);
                }
            }
        }
    }

    /// Receives what comes next, or waits for another thread that does. `None`: the deadline has
    /// passed.
    fn wait_once<'i>(
        &'i self,
        mut calls: MutexGuard<'i, OpenCalls<A>>,
        deadline: Option<Instant>,
    ) -> Option<MutexGuard<'i, OpenCalls<A>>> {
        let left = match deadline {
            None => LONGEST_WAIT,
            Some(at) => at.checked_duration_since(Instant::now())?,
        };
        if calls.is_received {
            let waited = self.changed.wait_timeout(calls, left);
            return Some(waited.unwrap_or_else(PoisonError::into_inner).0);
        }
        calls.is_received = true;
        drop(calls);
        let receiving = Receiving(self);
        Noted::<RequestNumber>::forget();
        let received = self.answers.recv_timeout(left);
        let (number, outcome) = match received {
            Ok((number, Ok(answer))) => (Some(number.0.0), Some(AnswerOutcome::Answered(answer))),
            Ok((number, Err(why))) => (Some(number.0.0), Some(AnswerOutcome::Refused(why))),
            Err(RecvTimeoutError::Undeliverable(why)) => {
                let number = Noted::<RequestNumber>::last().map(|number| number.0);
                (number, Some(AnswerOutcome::Undeliverable(why)))
            }
            Err(RecvTimeoutError::Timeout) => (None, None),
            Err(RecvTimeoutError::Disconnected) => {
                locked(&self.calls).is_over = true;
                (None, None)
            }
        };
        let mut unwanted = None;
        if let (Some(number), Some(outcome)) = (number, outcome) {
            let mut calls = locked(&self.calls);
            let was_open = calls.open.remove(&number);
            match calls.waiting.get_mut(&number).filter(|_| was_open) {
                Some(place) => unwanted = place.replace(outcome),
                None => unwanted = Some(outcome),
            }
        }
        drop(receiving);
        // Not under the lock: it is the user's own.
        drop(unwanted);
        Some(locked(&self.calls))
    }
}

/// This thread receives; also a panic of the answer's own `Deserialize` ends that.
struct Receiving<'i, A>(&'i AnswerInbox<A>);

impl<A> Drop for Receiving<'_, A> {
    fn drop(&mut self) {
        locked(&self.0.calls).is_received = false;
        self.0.changed.notify_all();
    }
}

/// This thread sends the first question. Unless that was done when this is dropped, also in a panic
/// of the question's own `Serialize`, the next question is the first.
struct FirstQuestion<'i, A> {
    inbox: &'i AnswerInbox<A>,
    /// What it brings.
    answers: Option<Sender<NumberedAnswer<A>>>,
}

impl<'i, A> FirstQuestion<'i, A> {
    /// Before a question is sent that waits for its turn. `None`: it has not come before the
    /// deadline. `Some(None)`: the question is not the first.
    fn begin(
        inbox: &'i AnswerInbox<A>,
        deadline: Option<Instant>,
    ) -> Option<Option<FirstQuestion<'i, A>>> {
        let mut first = locked(&inbox.first);
        loop {
            match std::mem::replace(&mut *first, First::BeingSent) {
                First::Sent => {
                    *first = First::Sent;
                    return Some(None);
                }
                First::ToBeSent(answers) => {
                    let answers = Some(answers);
                    return Some(Some(FirstQuestion { inbox, answers }));
                }
                First::BeingSent => {}
            }
            let left = match deadline {
                None => LONGEST_WAIT,
                Some(at) => at.checked_duration_since(Instant::now())?,
            };
            let waited = inbox.first_changed.wait_timeout(first, left);
            first = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn was_sent(mut self) {
        // The server is to have the only ones.
        self.answers = None;
    }
}

impl<A> Drop for FirstQuestion<'_, A> {
    fn drop(&mut self) {
        let next = self.answers.take().map_or(First::Sent, First::ToBeSent);
        *locked(&self.inbox.first) = next;
        self.inbox.first_changed.notify_all();
    }
}

/// A call whose question was not sent. When this is dropped, also in a panic of the question's own
/// `Serialize`, its place is free for another call.
struct UnsentCall<'i, A: Message> {
    /// `None`: it was sent.
    inbox: Option<&'i AnswerInbox<A>>,
    number: u64,
}

impl<A: Message> UnsentCall<'_, A> {
    /// The request was sent: its place is free when it was answered.
    fn was_sent(mut self) {
        self.inbox = None;
    }
}

impl<A: Message> Drop for UnsentCall<'_, A> {
    fn drop(&mut self) {
        if let Some(inbox) = self.inbox {
            inbox.close(self.number);
        }
    }
}

impl<Q: Message, A: Message> Client<Q, A> {
    pub(super) fn new(questions: Sender<NumberedQuestion<Q, A>>) -> Client<Q, A> {
        Client {
            questions,
            inbox: Mutex::new(None),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The server is gone, or goes while this waits; it refuses; the question or the answer cannot
    /// be carried.
    pub fn call(&self, question: Q) -> Result<A, CallError<Q>> {
        self.call_until(question, None)
    }

    /// Asks, and waits for the answer, no longer than `timeout` in all. An answer that comes later
    /// is dropped.
    ///
    /// # Errors
    /// No answer came in time; or as [`call`](Self::call).
    pub fn call_timeout(&self, question: Q, timeout: Duration) -> Result<A, CallError<Q>> {
        self.call_until(question, Instant::now().checked_add(timeout))
    }

    fn call_until(&self, question: Q, deadline: Option<Instant>) -> Result<A, CallError<Q>> {
        let Ok(inbox) = self.inbox() else {
            // No more descriptors.
            return Err(CallError::Disconnected(Some(question)));
        };
        let Some(number) = inbox.open(deadline) else {
            return Err(match locked(&inbox.calls).is_over {
                true => CallError::Disconnected(Some(question)),
                false => CallError::Timeout(Some(question)),
            });
        };
        let unsent = UnsentCall {
            inbox: Some(&inbox),
            number,
        };
        self.send(&inbox, number, question, deadline)?;
        unsent.was_sent();
        match inbox.wait(number, deadline) {
            Ok(AnswerOutcome::Answered(answer)) => Ok(answer),
            Ok(AnswerOutcome::Refused(why)) => Err(CallError::Refused(why)),
            Ok(AnswerOutcome::Undeliverable(why)) => Err(CallError::Undeliverable(why)),
            Err(true) => Err(CallError::Disconnected(None)),
            Err(false) => Err(CallError::Timeout(None)),
        }
    }

    fn send(
        &self,
        inbox: &AnswerInbox<A>,
        number: u64,
        question: Q,
        deadline: Option<Instant>,
    ) -> Result<(), CallError<Q>> {
        let asked = Noted(Asked {
            client: inbox.identity,
            number,
        });
        let Some(first) = FirstQuestion::begin(inbox, deadline) else {
            return Err(CallError::Timeout(Some(question)));
        };
        let answers = first.as_ref().and_then(|first| first.answers.clone());
        let sent = self.send_question((asked, answers, question), deadline);
        if let Some(first) = first.filter(|_| sent.is_ok()) {
            first.was_sent();
        }
        sent
    }

    fn send_question(
        &self,
        question: NumberedQuestion<Q, A>,
        deadline: Option<Instant>,
    ) -> Result<(), CallError<Q>> {
        let left = deadline.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        match self.questions.send_timeout(question, left) {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Timeout((.., question))) => {
                Err(CallError::Timeout(Some(question)))
            }
            Err(SendTimeoutError::Disconnected((.., question))) => {
                Err(CallError::Disconnected(Some(question)))
            }
        }
    }

    /// Where answers come in: made at the first call, in a fork of the process that has made it,
    /// and when nothing more can come in there.
    fn inbox(&self) -> std::io::Result<Arc<AnswerInbox<A>>> {
        let mut inbox = locked(&self.inbox);
        if let Some(inbox) = &*inbox {
            let is_ours = inbox.identity.process == Token::mine().to_bits();
            if is_ours && !locked(&inbox.calls).is_over {
                return Ok(Arc::clone(inbox));
            }
        }
        let made = AnswerInbox::new(&self.questions)?;
        let old = inbox.replace(Arc::clone(&made));
        drop(inbox);
        drop(old);
        Ok(made)
    }
}

impl<Q, A> Clone for Client<Q, A> {
    fn clone(&self) -> Client<Q, A> {
        Client {
            questions: self.questions.clone(),
            inbox: Mutex::new(None),
        }
    }
}

impl<Q, A> fmt::Debug for Client<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("questions", &self.questions)
            .finish_non_exhaustive()
    }
}

impl<Q: Message, A: Message> Serialize for Client<Q, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.questions.serialize(serializer)
    }
}

impl<'de, Q: Message, A: Message> Deserialize<'de> for Client<Q, A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Client::new(Sender::deserialize(deserializer)?))
    }
}

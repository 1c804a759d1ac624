//! One worker with a state, which is asked one thing after another.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Pool;
use super::backend::Backend;
use super::state::{StatePool, StatePoolBuilder};
use crate::{JoinError, JoinHandle, Kind, Message};

/// One worker, a thread or a process, with a state that calls borrow and change, one after another,
/// in the order in which they were made.
///
/// A call that crashes its process, panics or runs over its time ends with that, and the state with
/// it: it is loaded again, and the next call meets the new one. One that has lost its state too
/// often within some time ([`restarts`](ActorBuilder::restarts)) is closed.
///
/// A call within which an actor calls itself waits for ever.
///
/// # Examples
/// ```
/// use brigade::{Actor, JoinError, Kind};
///
/// struct Account {
///     balance: i64,
/// }
///
/// fn open(balance: i64) -> Account {
///     Account { balance }
/// }
///
/// fn withdraw(account: &mut Account, amount: i64) -> i64 {
///     if amount == 13 {
///         std::process::abort(); // a C library's mistake, say
///     }
///     account.balance -= amount;
///     account.balance
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let account = Actor::new(Kind::Process, open, 100)?;
/// assert_eq!(account.call(withdraw, 30)?, 70);
/// assert_eq!(account.call(withdraw, 30)?, 40);
/// assert!(matches!(account.call(withdraw, 13), Err(JoinError::Crashed(_))));
/// assert_eq!(account.call(withdraw, 1)?, 99); // it was opened again
/// # Ok(())
/// # }
/// ```
#[doc(alias = "GenServer")]
#[doc(alias = "Agent")]
pub struct Actor<S> {
    pool: StatePool<S>,
    restarts: Restarts,
}

/// Configures an [`Actor`]. Made by [`Actor::builder`].
#[must_use = "a builder starts nothing by itself"]
pub struct ActorBuilder<S> {
    state: StatePoolBuilder<S>,
    most: u64,
    within: Duration,
}

impl<S: 'static> Actor<S> {
    /// An actor that has made its state of `config`.
    ///
    /// # Errors
    /// As [`StatePoolBuilder::build`].
    #[track_caller]
    pub fn new<C: Message>(kind: Kind, load: fn(C) -> S, config: C) -> io::Result<Actor<S>> {
        let builder = Pool::builder(kind).workers(1);
        Actor::of(builder.state(load, config)).build()
    }

    /// An actor of this pool, whose number of workers has to be one: for a timeout, limits, a
    /// sandbox, crash files, of its calls.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Actor, Kind, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = Pool::builder(Kind::Process).workers(1).timeout(Duration::from_secs(5));
    /// let counter = Actor::builder(pool.state(|from: u64| from, 10)).build()?;
    /// let next = |counter: &mut u64, by: u64| { *counter += by; *counter };
    /// assert_eq!(counter.call(next, 2)?, 12);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(state: StatePoolBuilder<S>) -> ActorBuilder<S> {
        Actor::of(state)
    }

    fn of(state: StatePoolBuilder<S>) -> ActorBuilder<S> {
        ActorBuilder {
            state,
            most: 3,
            within: Duration::from_secs(5),
        }
    }

    /// Calls it, and waits for its reply.
    ///
    /// # Errors
    /// As [`JoinHandle::join`]. [`Closed`](JoinError::Closed): it has lost its state too often.
    #[track_caller]
    pub fn call<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
        input: A,
    ) -> Result<R, JoinError> {
        self.call_async(task, input)?.join()
    }

    /// Calls it. The handle is a future, and can be joined; calls are run in the order in which
    /// they were made, whether they are waited for or not.
    ///
    /// # Errors
    /// [`Closed`](JoinError::Closed): it has lost its state too often.
    #[track_caller]
    pub fn call_async<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, JoinError> {
        if self.restarts.are_too_many(self.losses()) {
            return Err(JoinError::Closed);
        }
        Ok(self.pool.submit_mut(task, input))
    }

    /// How often its state was lost.
    fn losses(&self) -> u64 {
        match &self.pool.pool().backend {
            Backend::Thread(pool) => {
                let stats = pool.stats();
                stats.restarts + stats.panicked
            }
            Backend::Process(pool) => pool.losses(),
        }
    }

    /// The actor's pool, of one worker: for its numbers and its process.
    pub fn pool(&self) -> &Pool {
        self.pool.pool()
    }
}

impl<S: 'static> ActorBuilder<S> {
    /// How often the actor's state may be lost within the time `within`; once more, and each
    /// further call is [`Closed`](JoinError::Closed).
    ///
    /// *Default: 3 times within 5 s.*
    pub fn restarts(mut self, most: u64, within: Duration) -> ActorBuilder<S> {
        (self.most, self.within) = (most, within);
        self
    }

    /// Starts it, and returns when it has loaded its state.
    ///
    /// # Errors
    /// As [`StatePoolBuilder::build`]; the pool would have more than one worker.
    pub fn build(self) -> io::Result<Actor<S>> {
        let pool = self.state.single()?.build()?;
        Ok(Actor {
            pool,
            restarts: Restarts {
                most: self.most,
                within: self.within,
                seen: Mutex::default(),
            },
        })
    }
}

/// How often the state was lost.
struct Restarts {
    most: u64,
    within: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Losses, as of the last look.
    losses: u64,
    /// When those were seen that count: no more than one over the limit.
    at: VecDeque<Instant>,
    is_closed: bool,
}

impl Restarts {
    fn are_too_many(&self, losses: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_closed {
            return true;
        }
        let new = losses.saturating_sub(seen.losses);
        if new == 0 {
            return false;
        }
        seen.losses = losses;
        let now = Instant::now();
        let old = |at: &Instant| now.saturating_duration_since(*at) > self.within;
        while seen.at.front().is_some_and(old) {
            seen.at.pop_front();
        }
        let counted = new.min(self.most.saturating_add(1));
        seen.at.extend((0..counted).map(|_| now));
        seen.is_closed = seen.at.len() as u64 > self.most;
        seen.is_closed
    }
}

impl<S> fmt::Debug for Actor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Actor").field(&self.pool).finish()
    }
}

impl<S> fmt::Debug for ActorBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorBuilder")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

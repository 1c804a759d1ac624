//! Waiting for several receivers at once.

use std::fmt;
use std::time::{Duration, Instant};

use super::receive_side::{ReceiveSide, sleep_until_any};
use super::{Receiver, RecvError, TryRecvError};
use crate::Message;

/// Waits for several receivers, of any transports and messages, until one of them has something.
///
/// # Examples
/// ```
/// use brigade::channel::{self, Select};
///
/// let (numbers, from_numbers) = channel::shm::<u32>(4)?;
/// let (words, from_words) = channel::socket::<String>(4)?;
/// words.send("hello".to_owned())?;
///
/// let mut select = Select::new();
/// let a = select.recv(&from_numbers);
/// let b = select.recv(&from_words);
/// match select.ready() {
///     i if i == a => println!("{:?}", from_numbers.try_recv()),
///     i if i == b => assert_eq!(from_words.try_recv().as_deref(), Ok("hello")),
///     _ => unreachable!(),
/// }
/// # drop(numbers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Select<'r> {
    receivers: Vec<&'r ReceiveSide>,
    /// Which to look at first: each in its turn, so that a busy one does not hide the others.
    first: usize,
}

/// None was ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out waiting for several channels")]
pub struct SelectTimeoutError;

impl<'r> Select<'r> {
    /// Of none yet.
    pub fn new() -> Select<'r> {
        Select::default()
    }

    /// One more. Gives its number: 0 for the first, and so on.
    pub fn recv<T>(&mut self, receiver: &'r Receiver<T>) -> usize {
        self.receivers.push(receiver.side());
        self.receivers.len() - 1
    }

    /// Waits until one is ready, and gives its number. It has a message, or has lost one, or is
    /// disconnected; use [`Receiver::try_recv`], which may also find that another thread was
    /// quicker.
    ///
    /// # Panics
    /// When there are no receivers: the wait would never end.
    pub fn ready(&mut self) -> usize {
        assert!(
            !self.receivers.is_empty(),
            "nothing to wait for: no receiver was added"
        );
        match self.wait(None) {
            Ok(ready) => ready,
            Err(SelectTimeoutError) => unreachable!("a wait without a deadline does not time out"),
        }
    }

    /// As [`ready`](Self::ready), but waits no longer than `timeout`.
    ///
    /// # Errors
    /// None was ready in time.
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, SelectTimeoutError> {
        self.wait(Instant::now().checked_add(timeout))
    }

    /// As [`ready`](Self::ready), but does not wait.
    ///
    /// # Errors
    /// None is ready now.
    pub fn try_ready(&mut self) -> Result<usize, SelectTimeoutError> {
        self.look().ok_or(SelectTimeoutError)
    }

    fn look(&mut self) -> Option<usize> {
        let count = self.receivers.len();
        let order = (self.first..count).chain(0..self.first.min(count));
        let found = order.into_iter().find(|&i| self.receivers[i].is_ready())?;
        self.first = (found + 1) % count;
        Some(found)
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Result<usize, SelectTimeoutError> {
        loop {
            if let Some(ready) = self.look() {
                return Ok(ready);
            }
            let woken = sleep_until_any(&self.receivers, deadline);
            // A peer can see to it that there is always something to look at.
            if !woken || deadline.is_some_and(|at| at <= Instant::now()) {
                return self.look().ok_or(SelectTimeoutError);
            }
        }
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select")
            .field("receivers", &self.receivers.len())
            .finish_non_exhaustive()
    }
}

/// Waits for several receivers of the same messages, and receives from the first that is ready:
/// which one, and what.
///
/// # Panics
/// When there are none.
///
/// # Examples
/// ```
/// use brigade::channel;
///
/// let (a, from_a) = channel::pipe::<u32>(4)?;
/// let (b, from_b) = channel::queue::<u32>(4)?;
/// b.send(7)?;
/// assert_eq!(channel::select(&[&from_a, &from_b]), (1, Ok(7)));
/// # drop(a);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn select<T: Message>(receivers: &[&Receiver<T>]) -> (usize, Result<T, RecvError>) {
    let mut select = Select::new();
    for receiver in receivers {
        select.recv(receiver);
    }
    loop {
        let ready = select.ready();
        match receivers[ready].try_recv() {
            Ok(message) => return (ready, Ok(message)),
            Err(TryRecvError::Disconnected) => return (ready, Err(RecvError::Disconnected)),
            Err(TryRecvError::Undeliverable(why)) => {
                return (ready, Err(RecvError::Undeliverable(why)));
            }
            Err(TryRecvError::Empty) => {}
        }
    }
}

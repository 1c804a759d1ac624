//! A receiver's messages, one after the other.

use super::{Receiver, RecvError, TryRecvError, Undeliverable};
use crate::Message;

/// The next message, and the loss of one as such. `None`: all senders are gone.
fn next<T: Message>(receiver: &Receiver<T>) -> Option<Result<T, Undeliverable>> {
    match receiver.recv() {
        Ok(message) => Some(Ok(message)),
        Err(RecvError::Undeliverable(why)) => Some(Err(Undeliverable(why))),
        Err(RecvError::Disconnected) => None,
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'r, T> {
    receiver: &'r Receiver<T>,
}

impl<'r, T> Iter<'r, T> {
    pub(super) fn new(receiver: &'r Receiver<T>) -> Iter<'r, T> {
        Iter { receiver }
    }
}

impl<T: Message> Iterator for Iter<'_, T> {
    type Item = Result<T, Undeliverable>;

    fn next(&mut self) -> Option<Self::Item> {
        next(self.receiver)
    }
}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'r, T> {
    receiver: &'r Receiver<T>,
}

impl<'r, T> TryIter<'r, T> {
    pub(super) fn new(receiver: &'r Receiver<T>) -> TryIter<'r, T> {
        TryIter { receiver }
    }
}

impl<T: Message> Iterator for TryIter<'_, T> {
    type Item = Result<T, Undeliverable>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.receiver.try_recv() {
            Ok(message) => Some(Ok(message)),
            Err(TryRecvError::Undeliverable(why)) => Some(Err(Undeliverable(why))),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}

/// Each message of a receiver that is used up, until all senders are gone. Waits for each; one that
/// is lost is an error in its place.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T: Message> Iterator for IntoIter<T> {
    type Item = Result<T, Undeliverable>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&self.receiver)
    }
}

impl<T: Message> IntoIterator for Receiver<T> {
    type Item = Result<T, Undeliverable>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'r, T: Message> IntoIterator for &'r Receiver<T> {
    type Item = Result<T, Undeliverable>;
    type IntoIter = Iter<'r, T>;

    fn into_iter(self) -> Iter<'r, T> {
        self.iter()
    }
}

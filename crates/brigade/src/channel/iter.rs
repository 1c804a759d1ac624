//! A receiver's messages, one after the other.

use super::Receiver;
use crate::Message;

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
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
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
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// Each message of a receiver that is used up, until all senders are gone. Waits for each.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T: Message> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T: Message> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'r, T: Message> IntoIterator for &'r Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'r, T>;

    fn into_iter(self) -> Iter<'r, T> {
        self.iter()
    }
}

//! Results of `map`: in the order of their inputs, or as they come.

use std::collections::VecDeque;
use std::iter::FusedIterator;

use super::policy::limits::MAP_WINDOW;
use super::{process, thread};
use crate::{JoinError, Message};

/// A map over a pool of either kind.
pub(super) enum Source<'p, A, R, I> {
    Threads(thread::Map<'p, A, R, I>),
    Processes(process::Map<'p, A, R, I>),
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Source<'_, A, R, I> {
    /// The next result that comes. No input is pulled whose number is `horizon` or more. `None`:
    /// there are no more.
    fn next_within(&mut self, horizon: usize) -> Option<(usize, Result<R, JoinError>)> {
        match self {
            Source::Threads(map) => map.next_within(horizon),
            Source::Processes(map) => map.next_within(horizon),
        }
    }
}

/// In a fork of the process that made the pool, where nothing is run.
impl<A: Message, R: Message, I: Iterator<Item = A>> Source<'_, A, R, I> {
    fn is_copy(&self) -> bool {
        match self {
            Source::Threads(map) => map.is_copy(),
            Source::Processes(map) => map.is_copy(),
        }
    }

    /// What was there before the fork.
    fn next_ready(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        match self {
            Source::Threads(map) => map.next_ready(),
            Source::Processes(map) => map.next_ready(),
        }
    }

    /// Pulls an input that nobody will run. Gives its number.
    fn pass_over(&mut self) -> Option<usize> {
        match self {
            Source::Threads(map) => map.pass_over(),
            Source::Processes(map) => map.pass_over(),
        }
    }

    fn pulled(&self) -> usize {
        match self {
            Source::Threads(map) => map.pulled(),
            Source::Processes(map) => map.pulled(),
        }
    }
}

/// Results as they come.
pub(super) struct Unordered<'p, A, R, I> {
    source: Source<'p, A, R, I>,
    ended: bool,
}

impl<'p, A, R, I> Unordered<'p, A, R, I> {
    pub(super) fn new(source: Source<'p, A, R, I>) -> Self {
        Unordered {
            source,
            ended: false,
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Iterator for Unordered<'_, A, R, I> {
    type Item = (usize, Result<R, JoinError>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = if self.source.is_copy() {
            // What was under way at the fork is the other process's.
            let ready = self.source.next_ready();
            ready.or_else(|| Some((self.source.pass_over()?, Err(JoinError::Closed))))
        } else {
            self.source.next_within(usize::MAX)
        };
        self.ended = next.is_none();
        next
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> FusedIterator for Unordered<'_, A, R, I> {}

/// Results in the order of their inputs.
pub(super) struct Ordered<'p, A, R, I> {
    source: Source<'p, A, R, I>,
    /// The number of the first of `waiting`.
    next: usize,
    /// Those that came too early.
    waiting: VecDeque<Option<Result<R, JoinError>>>,
    ended: bool,
}

impl<'p, A, R, I> Ordered<'p, A, R, I> {
    pub(super) fn new(source: Source<'p, A, R, I>) -> Self {
        Ordered {
            source,
            next: 0,
            waiting: VecDeque::new(),
            ended: false,
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Ordered<'_, A, R, I> {
    /// It waits until it is the next.
    fn put(&mut self, number: usize, result: Result<R, JoinError>) {
        let at = number - self.next;
        if self.waiting.len() <= at {
            self.waiting.resize_with(at + 1, || None);
        }
        self.waiting[at] = Some(result);
    }

    /// What was there before the fork; then an error for each input that it lacks.
    fn next_of_copy(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        if let Some(ready) = self.source.next_ready() {
            return Some(ready);
        }
        if self.next == self.source.pulled() {
            self.source.pass_over()?;
        }
        Some((self.next, Err(JoinError::Closed)))
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Iterator for Ordered<'_, A, R, I> {
    type Item = Result<R, JoinError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let is_copy = self.source.is_copy();
        loop {
            if let Some(Some(_)) = self.waiting.front() {
                self.next += 1;
                return self.waiting.pop_front().flatten();
            }
            if is_copy {
                let Some((number, result)) = self.next_of_copy() else {
                    self.ended = true;
                    return None;
                };
                self.put(number, result);
                continue;
            }
            let Some((number, result)) = self.source.next_within(self.next + MAP_WINDOW) else {
                self.ended = true;
                return None;
            };
            if number == self.next && self.waiting.is_empty() {
                self.next += 1;
                return Some(result);
            }
            self.put(number, result);
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> FusedIterator for Ordered<'_, A, R, I> {}

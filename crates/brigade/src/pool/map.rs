//! Results of `map`: in the order of their inputs, or as they come.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;

use super::input_item::InputItem;
use super::policy::queue_and_retries::MAP_WINDOW;
use super::refused_map::RefusedMap;
use super::{Pool, process, thread};
use crate::{JoinError, Message};

/// A map over a pool of either kind.
pub(super) enum MapSource<A, R, I> {
    Threads(thread::Map<A, R, I>),
    Processes(process::Map<A, R, I>),
    /// No worker has the task.
    Refused(RefusedMap<I>),
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> MapSource<A, R, I> {
    /// The next result that comes. No input is pulled whose number is `horizon` or more. `None`:
    /// there are no more.
    fn next_within(&mut self, horizon: usize) -> Option<(usize, Result<R, JoinError>)> {
        match self {
            MapSource::Threads(map) => map.next_within(horizon),
            MapSource::Processes(map) => map.next_within(horizon),
            MapSource::Refused(map) => map.next_within(horizon),
        }
    }
}

/// In a fork of the process that made the pool, where nothing is run.
impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> MapSource<A, R, I> {
    fn is_fork_of_owner(&self) -> bool {
        match self {
            MapSource::Threads(map) => map.is_fork_of_owner(),
            MapSource::Processes(map) => map.is_fork_of_owner(),
            MapSource::Refused(map) => map.is_fork_of_owner(),
        }
    }

    /// What was there before the fork.
    fn next_ready(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        match self {
            MapSource::Threads(map) => map.next_ready(),
            MapSource::Processes(map) => map.next_ready(),
            MapSource::Refused(map) => map.next_ready(),
        }
    }

    /// Pulls an input that will not run. Gives its number.
    fn pass_over(&mut self) -> Option<usize> {
        match self {
            MapSource::Threads(map) => map.pass_over(),
            MapSource::Processes(map) => map.pass_over(),
            MapSource::Refused(map) => map.pass_over(),
        }
    }

    /// How many results are to come, where `given` were given.
    fn size_hint(&self, given: usize, ended: bool) -> (usize, Option<usize>) {
        if ended {
            return (0, Some(0));
        }
        let (least, most) = match self {
            MapSource::Threads(map) => map.inputs_left(),
            MapSource::Processes(map) => map.inputs_left(),
            MapSource::Refused(map) => map.inputs_left(),
        };
        // Each input that was pulled has one.
        let due = self.pulled() - given;
        (
            least.saturating_add(due),
            most.and_then(|most| most.checked_add(due)),
        )
    }

    fn pulled(&self) -> usize {
        match self {
            MapSource::Threads(map) => map.pulled(),
            MapSource::Processes(map) => map.pulled(),
            MapSource::Refused(map) => map.pulled(),
        }
    }
}

/// The results of [`Pool::map_unordered`], as they come, each with the number of its input.
///
/// It has a handle of its pool, so that it borrows nothing.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct MapUnordered<A, R, I> {
    source: MapSource<A, R, I>,
    /// Results that were given.
    given: usize,
    ended: bool,
    /// Dropped after the source, which gives its tasks back to the pool.
    pool: Pool,
}

impl<A, R, I> MapUnordered<A, R, I> {
    pub(super) fn new(pool: Pool, source: MapSource<A, R, I>) -> Self {
        MapUnordered {
            source,
            given: 0,
            ended: false,
            pool,
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> Iterator for MapUnordered<A, R, I> {
    type Item = (usize, Result<R, JoinError>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = if self.source.is_fork_of_owner() {
            // What was under way at the fork is the other process's.
            let ready = self.source.next_ready();
            ready.or_else(|| Some((self.source.pass_over()?, Err(JoinError::Closed))))
        } else {
            self.source.next_within(usize::MAX)
        };
        self.ended = next.is_none();
        self.given += usize::from(next.is_some());
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.source.size_hint(self.given, self.ended)
    }
}

impl<A: Message, R: Message, I: ExactSizeIterator<Item: InputItem<A>>> ExactSizeIterator
    for MapUnordered<A, R, I>
{
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> FusedIterator
    for MapUnordered<A, R, I>
{
}

/// The results of [`Pool::map`], in the order of their inputs.
///
/// It has a handle of its pool, so that it borrows nothing.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Map<A, R, I> {
    source: MapSource<A, R, I>,
    /// The number of the first of `waiting`.
    next: usize,
    /// Those that came too early.
    waiting: VecDeque<Option<Result<R, JoinError>>>,
    ended: bool,
    /// Dropped after the source, which gives its tasks back to the pool.
    pool: Pool,
}

impl<A, R, I> Map<A, R, I> {
    pub(super) fn new(pool: Pool, source: MapSource<A, R, I>) -> Self {
        Map {
            source,
            next: 0,
            waiting: VecDeque::new(),
            ended: false,
            pool,
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> Map<A, R, I> {
    /// Keeps a result until it is the next.
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

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> Iterator for Map<A, R, I> {
    type Item = Result<R, JoinError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let is_fork_of_owner = self.source.is_fork_of_owner();
        loop {
            if let Some(Some(_)) = self.waiting.front() {
                self.next += 1;
                return self.waiting.pop_front().flatten();
            }
            if is_fork_of_owner {
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

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.source.size_hint(self.next, self.ended)
    }
}

impl<A: Message, R: Message, I: ExactSizeIterator<Item: InputItem<A>>> ExactSizeIterator
    for Map<A, R, I>
{
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> FusedIterator for Map<A, R, I> {}

impl<A, R, I> fmt::Debug for MapUnordered<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered")
            .field("pool", &self.pool)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl<A, R, I> fmt::Debug for Map<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("pool", &self.pool)
            .field("given", &self.next)
            .finish_non_exhaustive()
    }
}

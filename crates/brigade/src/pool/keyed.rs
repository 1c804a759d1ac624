//! Maps whose results come with keys of the caller's own.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::{Arc, Mutex, PoisonError};

use super::map::MapUnordered;
use super::{Pool, map};
use crate::{JoinError, Message};

/// The results of [`Pool::map_keyed`], as they come, each with the key of its input.
///
/// It has a handle of its pool, so that it borrows nothing.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct MapKeyed<K, A, R, I> {
    results: MapUnordered<A, R, Values<K, I>>,
    keys: Arc<Mutex<PulledKeys<K>>>,
}

/// The keys of the inputs that were pulled and whose results were not given.
struct PulledKeys<K> {
    /// The number of the first of `waiting`.
    first: usize,
    waiting: VecDeque<Option<K>>,
}

impl<K> PulledKeys<K> {
    fn take(&mut self, number: usize) -> Option<K> {
        let key = self
            .waiting
            .get_mut(number.checked_sub(self.first)?)?
            .take();
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        key
    }
}

/// Inputs without their keys, which are put aside.
pub(super) struct Values<K, I> {
    inputs: I,
    keys: Arc<Mutex<PulledKeys<K>>>,
}

impl<K, A, I: Iterator<Item = (K, A)>> Iterator for Values<K, I> {
    type Item = A;

    fn next(&mut self) -> Option<A> {
        let (key, input) = self.inputs.next()?;
        // No code of the program's runs under this lock.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.waiting.push_back(Some(key));
        Some(input)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inputs.size_hint()
    }
}

impl<K, A, I: ExactSizeIterator<Item = (K, A)>> ExactSizeIterator for Values<K, I> {}

impl<K, A, R, I> Iterator for MapKeyed<K, A, R, I>
where
    A: Message,
    R: Message,
    I: Iterator<Item = (K, A)>,
{
    type Item = (K, Result<R, JoinError>);

    fn next(&mut self) -> Option<Self::Item> {
        let (number, result) = self.results.next()?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let key = keys.take(number);
        drop(keys);
        let Some(key) = key else {
            unreachable!("each input has one result");
        };
        Some((key, result))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.results.size_hint()
    }
}

impl<K, A, R, I> ExactSizeIterator for MapKeyed<K, A, R, I>
where
    A: Message,
    R: Message,
    I: ExactSizeIterator<Item = (K, A)>,
{
}

impl<K, A, R, I> FusedIterator for MapKeyed<K, A, R, I>
where
    A: Message,
    R: Message,
    I: Iterator<Item = (K, A)>,
{
}

impl<K, A, R, I> fmt::Debug for MapKeyed<K, A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapKeyed")
            .field("results", &self.results)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Runs `task` on each input, and gives the results as they come, each with the key of its
    /// input. Keys stay in this process, so they may be of any type.
    ///
    /// Otherwise as [`map`](Self::map).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let texts = [("one", "a"), ("two", "bcd")];
    /// for pool in [brigade::Pool::threads(2)?, brigade::Pool::processes(2)?] {
    ///     let inputs = texts.map(|(key, text)| (key, text.to_owned()));
    ///     for (key, length) in pool.map_keyed(|text: String| text.len(), inputs) {
    ///         assert_eq!(length?, if key == "one" { 1 } else { 3 });
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn map_keyed<K, A, R, I>(
        &self,
        task: fn(A) -> R,
        inputs: I,
    ) -> MapKeyed<K, A, R, I::IntoIter>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = (K, A)>,
    {
        let keys = Arc::new(Mutex::new(PulledKeys {
            first: 0,
            waiting: VecDeque::new(),
        }));
        let values = Values {
            inputs: inputs.into_iter(),
            keys: Arc::clone(&keys),
        };
        let source: map::MapSource<A, R, _> = self.start_map(task, values);
        MapKeyed {
            results: MapUnordered::new(self.clone(), source),
            keys,
        }
    }
}

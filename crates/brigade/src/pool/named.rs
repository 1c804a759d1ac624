//! Tasks of another program, by name, in a pool of its workers.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use super::backend::Backend;
use super::refused_map::RefusedMap;
use super::{Pool, map, process as process_pool};
use crate::process::NamedTask;
use crate::worker::handle::{HandleInner, Pending};
use crate::{JoinError, JoinHandle, Kind, Message};

impl Pool {
    /// Gives the pool a task of the program whose workers it has: see
    /// [`process::Program`](crate::process::Program).
    ///
    /// Otherwise as [`submit`](Self::submit). Where the pool's workers are not that program's (its
    /// [builder](crate::PoolBuilder::process) names another or none, or they are threads) the
    /// handle gives [`Undeliverable`](JoinError::Undeliverable).
    #[track_caller]
    pub fn submit_named<A: Message, R: Message>(
        &self,
        task: &NamedTask<A, R>,
        input: A,
    ) -> JoinHandle<R> {
        match &self.backend {
            Backend::Thread(_) => refused(task),
            Backend::Process(pool) => pool.submit_named(task, input),
        }
    }

    /// As [`submit_named`](Self::submit_named), unless the queue is at its limit:
    /// [`try_submit`](Self::try_submit).
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit_named<A: Message, R: Message>(
        &self,
        task: &NamedTask<A, R>,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        match &self.backend {
            Backend::Thread(_) => Ok(refused(task)),
            Backend::Process(pool) => pool.try_submit_named(task, input),
        }
    }

    /// Runs a task of the program whose workers the pool has on each input, and gives the results
    /// in the order of the inputs: [`map`](Self::map), of [`submit_named`](Self::submit_named).
    #[track_caller]
    pub fn map_named<A, R, I>(
        &self,
        task: &NamedTask<A, R>,
        inputs: I,
    ) -> map::Map<A, R, I::IntoIter>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        map::Map::new(self.clone(), self.start_named(task, inputs.into_iter()))
    }

    /// As [`map_named`](Self::map_named), with results as they come, each with the number of its
    /// input: see [`map_unordered`](Self::map_unordered).
    #[track_caller]
    pub fn map_unordered_named<A, R, I>(
        &self,
        task: &NamedTask<A, R>,
        inputs: I,
    ) -> map::MapUnordered<A, R, I::IntoIter>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        let source = self.start_named(task, inputs.into_iter());
        map::MapUnordered::new(self.clone(), source)
    }

    /// Where the results of a map over a named task come from.
    #[track_caller]
    fn start_named<A: Message, R: Message, I: Iterator<Item = A>>(
        &self,
        task: &NamedTask<A, R>,
        inputs: I,
    ) -> map::MapSource<A, R, I> {
        match &self.backend {
            Backend::Thread(_) => map::MapSource::Refused(RefusedMap::new(why_not(task), inputs)),
            Backend::Process(pool) => {
                map::MapSource::Processes(process_pool::Map::named(pool, task, inputs))
            }
        }
    }
}

/// Why threads do not run it.
fn why_not<A, R>(task: &NamedTask<A, R>) -> String {
    format!(
        "task `{}` is one of the program {}, and the pool's workers are threads of this one",
        task.name(),
        task.program.path().display()
    )
}

fn refused<A, R: Message>(task: &NamedTask<A, R>) -> JoinHandle<R> {
    let why = JoinError::Undeliverable(why_not(task));
    JoinHandle(HandleInner::Pooled(Arc::new(RefusedTask(Mutex::new(
        Some(why),
    )))))
}

/// A task that no thread runs: why not, until a caller takes the error.
struct RefusedTask(Mutex<Option<JoinError>>);

impl RefusedTask {
    fn take<R>(&self) -> Result<R, JoinError> {
        let mut why = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Err(why
            .take()
            .unwrap_or_else(|| crate::task::error::joined_twice()))
    }
}

impl<R> Pending<R> for RefusedTask {
    fn wait(&self, _: Option<Instant>) -> Option<Result<R, JoinError>> {
        Some(self.take())
    }

    fn poll(&self, _: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        Poll::Ready(self.take())
    }

    fn is_finished(&self) -> bool {
        true
    }

    fn cancel(&self) {}

    fn cancel_unbegun(&self) {}

    fn kind(&self) -> Kind {
        Kind::Thread
    }

    fn pid(&self) -> Option<u32> {
        None
    }
}

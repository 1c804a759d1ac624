//! A pool of processes.

use std::io;
use std::marker::PhantomData;

use super::builder::Options;
use crate::{JoinError, JoinHandle, Message, PoolStats};

/// The workers of a pool, and what they have to do.
pub(crate) struct Crew {
    options: Options,
}

impl Crew {
    /// Starts the workers, and waits until each is ready.
    pub(super) fn start(options: Options) -> io::Result<Crew> {
        Ok(Crew { options })
    }

    #[track_caller]
    pub(super) fn submit<A: Message, R: Message>(
        &self,
        _task: fn(A) -> R,
        _input: A,
    ) -> JoinHandle<R> {
        todo!()
    }

    #[track_caller]
    pub(super) fn try_submit<A: Message, R: Message>(
        &self,
        _task: fn(A) -> R,
        _input: A,
    ) -> Result<JoinHandle<R>, A> {
        todo!()
    }

    #[track_caller]
    pub(super) fn map<A: Message, R: Message, I: Iterator<Item = A>>(
        &self,
        _task: fn(A) -> R,
        _inputs: I,
    ) -> Map<'_, A, R, I> {
        todo!()
    }

    pub(super) fn workers(&self) -> usize {
        self.options.workers
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        todo!()
    }

    pub(super) fn stats(&self) -> PoolStats {
        todo!()
    }

    /// Finishes what was accepted, and ends the workers.
    pub(super) fn shutdown(&self) {}

    /// Cancels everything, and ends the workers. `shutdown` is called after it.
    pub(super) fn abort(&self) {}
}

/// A map over the pool.
pub(super) struct Map<'p, A, R, I> {
    _all: PhantomData<(&'p Crew, A, R, I)>,
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Map<'_, A, R, I> {
    /// The next result that comes; no input is pulled whose number is `horizon` or more, counted from 0. `None`: there are no more.
    pub(super) fn next_within(
        &mut self,
        _horizon: usize,
    ) -> Option<(usize, Result<R, JoinError>)> {
        todo!()
    }
}

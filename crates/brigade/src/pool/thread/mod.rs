//! A pool of threads.

// The files:
// - shared: the queue, and what all see; roster: who is there; dispatch: who comes, goes and
//   sleeps; ending: how a pool ends
// - worker: one thread; spinning: how long it looks before it sleeps; here: what a thread is to a
//   pool
// - work: what waits in the queue; slot: a task that was submitted; retry: what it takes to run it
//   again
// - job, chunk, map: many inputs for one function
// - room: the limit of the queue; keeper: the time that tasks have; tally: what is counted
// - registry: pools by their numbers; primitive: what threads meet in

mod chunk;
mod dispatch;
mod ending;
mod here;
mod job;
mod keeper;
mod map;
mod primitive;
mod registry;
mod retry;
mod room;
mod roster;
mod shared;
mod slot;
mod spinning;
mod tally;
#[cfg(test)]
mod tests;
mod work;
mod worker;

use std::io;
use std::panic::Location;
use std::sync::Arc;

use super::config::Options;
use crate::worker::handle::Task;
use crate::{JoinHandle, Kind, Message, PoolStats};

pub(in crate::pool) use map::Map;
use shared::Shared;
use slot::Slot;

/// The workers of a pool, and what they have to do.
pub(crate) struct Crew {
    shared: Arc<Shared>,
}

impl Crew {
    /// Starts the workers, and waits until each is ready.
    pub(super) fn start(options: Options) -> io::Result<Crew> {
        let shared = Arc::new(Shared::new(options));
        registry::enter(&shared);
        shared.build()?;
        Ok(Crew { shared })
    }

    #[track_caller]
    pub(super) fn submit<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> JoinHandle<R> {
        let started = Location::caller();
        if self.shared.is_copy() {
            return JoinHandle(Task::Closed(Kind::Thread));
        }
        if !self.shared.room.try_take() {
            let _blocked = here::block();
            self.shared.room.take();
        }
        self.accept(task, started, input)
    }

    #[track_caller]
    pub(super) fn try_submit<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        let started = Location::caller();
        if self.shared.is_copy() || !self.shared.room.try_take() {
            return Err(input);
        }
        Ok(self.accept(task, started, input))
    }

    /// There is room for it.
    fn accept<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        started: &'static Location<'static>,
        input: A,
    ) -> JoinHandle<R> {
        let slot = Arc::new(Slot::new(&self.shared, task, started, input));
        self.shared.push(Arc::clone(&slot) as Arc<dyn work::Work>);
        JoinHandle(Task::Pooled(slot))
    }

    #[track_caller]
    pub(super) fn map<A: Message, R: Message, I: Iterator<Item = A>>(
        &self,
        task: fn(A) -> R,
        inputs: I,
    ) -> Map<'_, A, R, I> {
        Map::new(&self.shared, task, Location::caller(), inputs)
    }

    pub(super) fn workers(&self) -> usize {
        self.shared.options.workers
    }

    pub(super) fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// Finishes what was accepted, and ends the workers.
    pub(super) fn shutdown(&self) {
        if !self.shared.is_copy() {
            self.shared.shutdown();
        }
    }

    /// Cancels everything, and ends the workers. `shutdown` is called after it.
    pub(super) fn abort(&self) {
        if !self.shared.is_copy() {
            self.shared.abort();
        }
    }
}

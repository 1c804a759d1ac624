//! Ways in for `scripts/counts`: the library's hot paths in one thread, where no thread waits, so
//! that their instructions can be counted.
//!
//! What is counted is the library's own code, both halves of it. `benches/counts` says what, and
//! how.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::pool::process::{self, Now};
use crate::task::codec;
use crate::{JoinError, Message, Pool};

pub use crate::worker::process::doubles::counted::{CountedWorker, OneThread, StayingWorker};

/// Appends a value as a task's input or result goes, and gives the descriptors that belong to it.
#[inline]
pub fn encode<T: Message>(value: &T, into: &mut Vec<u8>) -> Option<Vec<OwnedFd>> {
    codec::encode(value, into).ok()
}

/// Such a value.
#[inline]
pub fn decode<T: Message>(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Option<T> {
    codec::decode(bytes, descriptors).ok()
}

/// A map over a pool of processes that does not wait.
pub struct Map<A, R, I>(process::Map<A, R, I>);

impl<A: Message, R: Message, I: Iterator<Item = A>> Map<A, R, I> {
    /// `None`: the pool is not one of processes.
    #[track_caller]
    pub fn new(pool: &Pool, task: fn(A) -> R, inputs: I) -> Option<Self> {
        Some(Map(process::Map::new(pool.processes_only()?, task, inputs)))
    }

    /// The next result that comes, if it is there. `None`: there are no more.
    pub fn next_now(&mut self) -> Option<Option<Result<R, JoinError>>> {
        match self.0.next_now(usize::MAX) {
            Now::Next(next) => next.map(|(_, result)| Some(result)),
            Now::NoResult | Now::NoRoom => Some(None),
        }
    }
}

impl<A, R, I> fmt::Debug for Map<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").finish_non_exhaustive()
    }
}

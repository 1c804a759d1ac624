//! WHO waits: locks that work between threads and between processes, and survive their holder.
//!
//! - [`roster`]: who is alive, and how to sleep until somebody is not
//! - [`raw`]: a lock of one word, on which the others stand
//! - [`shares`]: who has how many of something that several may have

mod barrier;
mod condvar;
#[cfg(loom)]
mod model;
#[cfg(all(loom, test))]
mod models;
mod mutex;
mod once;
mod poison;
pub(crate) mod raw;
mod readers;
pub(crate) mod roster;
mod rwlock;
mod semaphore;
mod shares;
mod watch;

pub use barrier::{Barrier, BarrierTimeoutError, BarrierWaitResult, BrokenBarrier};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit};

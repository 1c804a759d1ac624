//! Locks that work between threads and between processes, and survive their holder.
//!
//! **Where the lock lies decides what shares it.** One in a `static` or on the heap is one lock for
//! each process: threads of that process share it, and every worker process has its own. One inside
//! a [`Shared`](crate::Shared) is one lock for all processes that have the region.
//!
//! They have std's names, std's shapes and std's poisoning, and three things more:
//!
//! - They have no pointers in them, and all zero bytes are a fresh one; so each works in a
//!   `static`, on the heap, and in memory that processes share.
//! - A process may die at any instruction, also while it holds a lock. A waiting thread is woken,
//!   gets the lock, and learns what std would tell it of a thread that panicked: the lock is
//!   *poisoned*, as what it guards may be half-written. What the dead process only *had*, a read
//!   lock or a permit, is given back.
//! - Every wait has a form that ends: [`Mutex::lock_timeout`], [`RwLock::read_timeout`],
//!   [`Condvar::wait_timeout`], [`Semaphore::acquire_timeout`], [`Barrier::wait_timeout`],
//!   [`Once::wait_timeout`].
//!
//! | | a process dies that | and the others |
//! |---|---|---|
//! | [`Mutex`] | holds it | get it, poisoned |
//! | [`RwLock`] | writes | get it, poisoned |
//! | [`RwLock`] | reads | get it |
//! | [`Condvar`] | should have notified, or was notified | are woken, and look again |
//! | [`Semaphore`] | has permits | can have them |
//! | [`Barrier`] | has arrived, or took part in the last round | get the error that it is broken |
//! | [`Once`] | runs | panic, as for a thread that panicked; [`call_once_force`](Once::call_once_force) repairs |
//!
//! A lock without contention costs two locked instructions, one to take and one to let go.
//! The words are futexes (futex(2)), shared ones, also where only threads use them.
//!
//! # What they do not do
//!
//! - None is fair: a thread that comes along may take the lock before one that was woken.
//! - None is recursive: a thread that takes a lock which it has waits for itself.
//! - A holder that lives and does not let go, stopped or in an endless loop, is waited for; that is
//!   what the timeouts are for.
//! - Threads of one process are not told apart: one that ends without dropping its guard
//!   (`mem::forget`) holds on until its *process* ends.
//! - A program that forks itself (fork(2), past this library) and its child are two that exclude
//!   each other, and each other's workers, in memory that both have; each learns of the other's
//!   death. But a guard that was held at that moment is there twice: the child must not drop its
//!   copy, for that lets go of what the parent holds. And in memory that the child has for itself
//!   (a `static`, the heap), what another thread of the parent had locked stays locked, as with
//!   std's.

mod barrier;
mod condvar;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod liveness;
#[cfg(all(loom, test))]
mod loom_tests;
mod mutex;
mod once;
mod poison;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
mod portable;
mod process_counts;
pub(crate) mod raw_lock;
mod raw_rwlock;
mod rwlock;
mod semaphore;
#[cfg(test)]
pub(crate) mod testing;

use std::time::{Duration, Instant};

#[cfg(loom)]
pub(crate) use crate::sim::loom_os::{DeathWatch, Token};
#[cfg(all(target_os = "linux", not(any(loom, brigade_portable))))]
pub(crate) use liveness::{DeathWatch, Token};
#[cfg(any(not(target_os = "linux"), brigade_portable))]
pub(crate) use portable::{DeathWatch, Token};

pub use barrier::{Barrier, BarrierTimeoutError, BarrierWaitResult, BrokenBarrier};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit};

/// When a wait of this long is over. `None`: never, as far as a clock can say.
fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

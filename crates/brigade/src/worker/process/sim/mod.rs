//! The world as a pool of processes sees it: where its workers come from, what its threads meet in,
//! how to sleep and how to wake, and what time it is.
//!
//! It is the fork server, std and the kernel's futex; in models (`scripts/shuttle`) their
//! [twins](crate::worker::process::sim::shuttled).

#[cfg(any(brigade_counts, all(test, not(any(loom, shuttle)))))]
pub(crate) mod counted;
#[cfg(shuttle)]
pub(crate) mod shuttled;

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    sync::{Mutex, MutexGuard},
    thread,
    time::Instant,
};

#[cfg(not(shuttle))]
pub(crate) use crate::sys::{futex, spin};
#[cfg(not(shuttle))]
pub(crate) use crate::worker::process::host::client::{ForkServer, Hired};

#[cfg(shuttle)]
pub(crate) use crate::sync::shuttled::{
    AtomicBool, AtomicU32, AtomicU64, Instant, Mutex, MutexGuard, Ordering, deadline, futex, spin,
    thread,
};
#[cfg(shuttle)]
pub(crate) use crate::worker::process::sim::shuttled::{ForkServer, Hired};

/// When a caller's wait is over.
#[cfg(not(shuttle))]
pub(crate) fn deadline(at: Instant) -> Instant {
    at
}

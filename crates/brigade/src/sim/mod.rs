//! What the library stands on, so that a model checker can stand in for it: std, the kernel's futex
//! and the clock; or, in models, what loom and shuttle look through.
//!
//! A *model* is a test that runs the library's own code in many orders of its steps. All that such
//! code takes from outside, it takes from here:
//!
//! | module | whose | real | `scripts/loom` | `scripts/shuttle` |
//! |---|---|---|---|---|
//! | [`shared`] | words in memory that processes share: `sync`, `transport` | std, kernel | `loom_os` | as real |
//! | [`claims`] | the claims of a worker and its host: `worker/process/ipc/{claims,handoff}.rs` | std, kernel | `loom_os` | `shuttle_os` |
//! | [`local`] | threads of one process: `pool/process` | std, kernel | as real | `shuttle_os` |
//! | [`futures`] | futures of one process and what notifies them: `task/waiters.rs`, `channel/room.rs` | std, kernel | `loom_os` | as real |
//!
//! Two stand-ins are chosen in the layer that they belong to: `DeathWatch` and `Token`, in
//! [`sync`](crate::sync) (the liveness table, `loom_os`, or `portable` on systems without
//! processes), and the fork server, in
//! [`worker::process::doubles`](crate::worker::process::doubles).

#[cfg(loom)]
pub(crate) mod loom_os;
#[macro_use]
pub(crate) mod shared;
#[cfg(shuttle)]
pub(crate) mod shuttle_os;

/// The words in which a worker and its host meet. Shuttle's models have them in the mailbox itself
/// (`ipc/mailbox.rs`), for its atomics are made at run time.
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod claims {
    pub(crate) use super::shared::fence_after_rmw;
    #[cfg(not(shuttle))]
    pub(crate) use super::shared::{AtomicU32, AtomicU64, Ordering, fence, futex, store_over};
    #[cfg(shuttle)]
    pub(crate) use super::shuttle_os::{
        AtomicU32, AtomicU64, Ordering, claims_futex as futex, fence, store_over,
    };
}

/// What futures of one process and the thread that notifies them meet in.
pub(crate) mod futures {
    pub(crate) use super::shared::Ordering;
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    pub(crate) use super::shared::{AtomicU32, fence, futex};
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize};
    #[cfg(loom)]
    pub(crate) use loom::sync::{Mutex, MutexGuard};
    #[cfg(all(target_os = "linux", not(any(loom, brigade_portable))))]
    pub(crate) use std::sync::atomic::AtomicBool;
    #[cfg(not(loom))]
    pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicUsize};
}

/// What the threads of a host meet in, how they sleep and wake, and what time it is.
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod local {
    #[cfg(shuttle)]
    pub(crate) use super::shuttle_os::{
        AtomicBool, AtomicU32, AtomicU64, Instant, Mutex, MutexGuard, Ordering, deadline, futex,
        spin, thread,
    };
    #[cfg(not(shuttle))]
    pub(crate) use crate::sys::{futex, spin};
    #[cfg(not(shuttle))]
    pub(crate) use std::{
        sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        sync::{Mutex, MutexGuard},
        thread,
        time::Instant,
    };

    /// When a caller's wait is over.
    #[cfg(not(shuttle))]
    pub(crate) fn deadline(at: Instant) -> Instant {
        at
    }
}

//! The pools of this process by their numbers. A task keeps its pool's number, which costs nothing
//! to copy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::locks::lock;
use super::pool::ThreadPool;
use crate::sys::per_process::PerProcess;

struct Registry {
    /// The first number of this process. Lower ones belong to the process that this one was forked
    /// from.
    first: u64,
    pools: Mutex<BTreeMap<u64, Weak<ThreadPool>>>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);
static POOLS: PerProcess<Registry> = PerProcess::new(|| Registry {
    first: NEXT.load(Ordering::Relaxed),
    pools: Mutex::new(BTreeMap::new()),
});

/// A number for a pool.
pub(super) fn next_id() -> u64 {
    // Before the number is taken, so that the number is not below `first`.
    POOLS.get();
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn register(pool: &Arc<ThreadPool>) {
    lock(&POOLS.get().pools).insert(pool.pool_id, Arc::downgrade(pool));
}

pub(super) fn unregister(number: u64) {
    lock(&POOLS.get().pools).remove(&number);
}

pub(super) fn get(number: u64) -> Option<Arc<ThreadPool>> {
    lock(&POOLS.get().pools)
        .get(&number)
        .and_then(Weak::upgrade)
}

/// Whether the pool belongs to the process that this one was forked from: this one has none of its
/// threads, and what they had locked stays locked.
pub(super) fn is_fork_of_owner(number: u64) -> bool {
    number < POOLS.get().first
}

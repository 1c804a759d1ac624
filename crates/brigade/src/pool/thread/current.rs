//! The worker that the calling thread is, and how a thread waits for a pool.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adaptive_spin::{self, AdaptiveSpin};
use super::worker::WorkerThread;
use crate::sys::{futex, spin};

thread_local! {
    static CURRENT: RefCell<Option<Arc<WorkerThread>>> = const { RefCell::new(None) };
    /// The number of the pool that the thread was made by, also in the destructors of its locals;
    /// 0: none.
    static POOL: Cell<u64> = const { Cell::new(0) };
}

/// The calling thread is this worker from here on.
pub(super) fn set(worker: &Arc<WorkerThread>) {
    CURRENT.with(|current| *current.borrow_mut() = Some(Arc::clone(worker)));
    POOL.set(worker.pool.pool_id);
}

/// Whether the calling thread was made by this pool to run tasks, or to watch over their time.
pub(super) fn was_made_by(pool: u64) -> bool {
    POOL.get() == pool
}

/// The calling thread is the timeout monitor of this pool.
pub(super) fn set_monitor_of(pool: u64) {
    POOL.set(pool);
}

pub(super) fn clear() {
    let worker = CURRENT.with(RefCell::take);
    drop(worker);
}

/// The worker that the calling thread is.
pub(super) fn worker() -> Option<Arc<WorkerThread>> {
    // In the destructors of a thread's locals it is none any more.
    let worker = CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten();
    // In a fork of the program it is none either.
    worker.filter(|worker| !worker.pool.is_fork_of_owner())
}

/// Marks the calling worker as blocked until the guard is dropped: the pool may run another thread
/// meanwhile.
#[must_use]
pub(in crate::pool) struct BlockedGuard(Option<Arc<WorkerThread>>);

/// Called before a thread waits for tasks.
pub(in crate::pool) fn block() -> BlockedGuard {
    let worker = worker().filter(|worker| {
        let state = &worker.pool.options.state;
        // Another would have a state of its own.
        let has_others = !state.as_ref().is_some_and(|state| state.is_single);
        has_others && worker.pool.block(worker.id)
    });
    BlockedGuard(worker)
}

impl Drop for BlockedGuard {
    fn drop(&mut self) {
        if let Some(worker) = &self.0 {
            worker.pool.unblock(worker.id);
        }
    }
}

thread_local! {
    static SPIN: Cell<AdaptiveSpin> = const { Cell::new(AdaptiveSpin::new()) };
}

/// Looks until it is so, for a moment, if that pays. `false`: it was not.
pub(in crate::pool) fn spin_until(deadline: Option<Instant>, is_so: impl Fn() -> bool) -> bool {
    let is_soon = |at: Instant| at.saturating_duration_since(Instant::now()) < spin::LIMIT;
    if deadline.is_some_and(is_soon) {
        return is_so();
    }
    SPIN.try_with(|spin| {
        let mut mine = spin.take();
        let is_so = mine.spin_until(adaptive_spin::has_idle_processor(), is_so);
        spin.set(mine);
        is_so
    })
    .unwrap_or(false)
}

/// A backlog of this many nanoseconds is long: a sleep within it delays nothing.
const LONG_BACKLOG_NS: u64 = 200_000;

thread_local! {
    static LAST_WAKE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Records, when it is dropped, that the calling thread has just waited for a task.
pub(super) struct RecordWake;

impl Drop for RecordWake {
    fn drop(&mut self) {
        let _ = LAST_WAKE.try_with(|last_wake| last_wake.set(Some(Instant::now())));
    }
}

/// Sleeps for a part of the backlog, in nanoseconds, if that is long and the calling thread was
/// woken just now. A thread that joins one task after another would otherwise be woken for each,
/// and take the processor from the next.
pub(super) fn throttle(deadline: Option<Instant>, backlog: impl FnOnce() -> u64) {
    let Some(last_wake) = LAST_WAKE.try_with(Cell::get).ok().flatten() else {
        return;
    };
    let now = Instant::now();
    if cfg!(shuttle) || now.saturating_duration_since(last_wake) > spin::LIMIT {
        return;
    }
    let backlog = backlog();
    if backlog < LONG_BACKLOG_NS {
        return;
    }
    let throttle = Duration::from_nanos((backlog / 4).min(LONG_BACKLOG_NS));
    let left = deadline.map_or(throttle, |at| at.saturating_duration_since(now));
    futex::rest(throttle.min(left));
}

//! What this thread is to a pool.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adaptive_spin::{self, AdaptiveSpin};
use super::worker::WorkerThread;
use crate::sys::{futex, spin};

thread_local! {
    static CURRENT: RefCell<Option<Arc<WorkerThread>>> = const { RefCell::new(None) };
}

/// This thread is a worker from here on.
pub(super) fn set(worker: &Arc<WorkerThread>) {
    CURRENT.with(|current| *current.borrow_mut() = Some(Arc::clone(worker)));
}

pub(super) fn clear() {
    let worker = CURRENT.with(RefCell::take);
    drop(worker);
}

/// The worker that this thread is.
pub(super) fn worker() -> Option<Arc<WorkerThread>> {
    // In the destructors of a thread's locals it is none any more.
    let worker = CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten();
    // In a fork of the program it is none either.
    worker.filter(|worker| !worker.pool.is_copy())
}

/// This thread waits, and if it is a worker, another may work in its place until this is dropped.
#[must_use]
pub(in crate::pool) struct Blocked(Option<Arc<WorkerThread>>);

/// To be called before a thread waits for tasks.
pub(in crate::pool) fn block() -> Blocked {
    Blocked(worker().filter(|worker| worker.pool.block(worker.id)))
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(worker) = &self.0 {
            worker.pool.unblock(worker.id);
        }
    }
}

thread_local! {
    static SPIN: Cell<AdaptiveSpin> = const { Cell::new(AdaptiveSpin::new()) };
}

/// Looks for a moment, if that pays. `false`: it was not so.
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

/// So much work has to be ahead for a nap to make no difference.
const LONG_BACKLOG_NS: u64 = 200_000;

thread_local! {
    static LAST_WAKE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// This thread waited for a task, until now.
pub(super) struct RecordWake;

impl Drop for RecordWake {
    fn drop(&mut self) {
        let _ = LAST_WAKE.try_with(|last_wake| last_wake.set(Some(Instant::now())));
    }
}

/// One that waits for one task after another, while the pool has many, would be woken for each, and
/// take the processor from the next. If it was woken just now, and a lot is ahead (`backlog`, in
/// nanoseconds), it sleeps for a part of that time first.
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

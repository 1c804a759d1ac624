//! What this thread is to a pool.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adaptive_spin::{self, Patience};
use super::worker::Worker;
use crate::sys::{futex, spin};

thread_local! {
    static HERE: RefCell<Option<Arc<Worker>>> = const { RefCell::new(None) };
}

/// This thread is a worker from here on.
pub(super) fn enter(worker: &Arc<Worker>) {
    HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(worker)));
}

pub(super) fn leave() {
    let worker = HERE.with(RefCell::take);
    drop(worker);
}

/// The worker that this thread is.
pub(super) fn worker() -> Option<Arc<Worker>> {
    // In the destructors of a thread's locals it is none any more.
    let worker = HERE.try_with(|here| here.borrow().clone()).ok().flatten();
    // In a fork of the program it is none either.
    worker.filter(|worker| !worker.crew.is_copy())
}

/// This thread waits, and if it is a worker, another may work in its place until this is dropped.
#[must_use]
pub(in crate::pool) struct Blocked(Option<Arc<Worker>>);

/// To be called before a thread waits for tasks.
pub(in crate::pool) fn block() -> Blocked {
    Blocked(worker().filter(|worker| worker.crew.block(worker.id)))
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(worker) = &self.0 {
            worker.crew.unblock(worker.id);
        }
    }
}

thread_local! {
    static PATIENCE: Cell<Patience> = const { Cell::new(Patience::new()) };
}

/// Looks for a moment, if that pays. `false`: it was not so.
pub(in crate::pool) fn look(deadline: Option<Instant>, is_so: impl Fn() -> bool) -> bool {
    let is_short = |at: Instant| at.saturating_duration_since(Instant::now()) < spin::LIMIT;
    if deadline.is_some_and(is_short) {
        return is_so();
    }
    PATIENCE
        .try_with(|patience| {
            let mut mine = patience.take();
            let is_so = mine.until(adaptive_spin::has_idle_processor(), is_so);
            patience.set(mine);
            is_so
        })
        .unwrap_or(false)
}

/// So much work has to be ahead for a nap to make no difference.
const FAR_AHEAD: u64 = 200_000;

thread_local! {
    static WOKEN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// This thread waited for a task, until now.
pub(super) struct Woken;

impl Drop for Woken {
    fn drop(&mut self) {
        let _ = WOKEN.try_with(|woken| woken.set(Some(Instant::now())));
    }
}

/// One that waits for one task after another, while the pool has many, would be woken for each, and
/// take the processor from the next. If it was woken just now, and a lot is ahead (`backlog`, in
/// nanoseconds), it sleeps for a part of that time first.
pub(super) fn nap(deadline: Option<Instant>, backlog: impl FnOnce() -> u64) {
    let Some(woken) = WOKEN.try_with(Cell::get).ok().flatten() else {
        return;
    };
    let now = Instant::now();
    if cfg!(shuttle) || now.saturating_duration_since(woken) > spin::LIMIT {
        return;
    }
    let backlog = backlog();
    if backlog < FAR_AHEAD {
        return;
    }
    let nap = Duration::from_nanos((backlog / 4).min(FAR_AHEAD));
    let left = deadline.map_or(nap, |at| at.saturating_duration_since(now));
    futex::rest(nap.min(left));
}

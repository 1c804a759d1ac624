//! What this thread is to a pool.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use super::spinning::{self, Patience};
use super::worker::Worker;

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
    HERE.try_with(|here| here.borrow().clone()).ok().flatten()
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
    let is_short = |at: Instant| at.saturating_duration_since(Instant::now()) < spinning::LONGEST;
    if deadline.is_some_and(is_short) {
        return is_so();
    }
    PATIENCE
        .try_with(|patience| {
            let mut mine = patience.take();
            let is_so = mine.until(spinning::may_wait(), is_so);
            patience.set(mine);
            is_so
        })
        .unwrap_or(false)
}

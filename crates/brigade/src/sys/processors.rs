//! How many processors this process may use.

use std::sync::atomic::{AtomicUsize, Ordering};

/// As they were counted last; 0: never.
static USABLE: AtomicUsize = AtomicUsize::new(0);

/// Counts the processors that this process may use, which reads files. A builder of a pool does so,
/// for they may be others than when the pool before it was built.
pub(crate) fn count() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    USABLE.store(usable, Ordering::Relaxed);
    usable
}

/// The processors that this process may use, as they were counted last.
pub(crate) fn usable() -> usize {
    match USABLE.load(Ordering::Relaxed) {
        0 => count(),
        usable => usable,
    }
}

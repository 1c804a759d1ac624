//! The threads that pools need in order to go on: the host's listener, and those that watch
//! over the time of tasks. The program's code runs there too, in wakers and destructors, and
//! nothing that it drops may wait for a pool there.

use std::cell::Cell;

thread_local! {
    static IS_ONE: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread is one from here on.
pub(crate) fn mark() {
    // The threads of a model may all be the same one of the system's.
    if !cfg!(any(loom, shuttle)) {
        IS_ONE.set(true);
    }
}

/// Whether the calling thread is one.
pub(crate) fn is_this() -> bool {
    IS_ONE.get()
}

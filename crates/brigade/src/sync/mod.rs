//! WHO waits: locks that work between threads and between processes, and survive their holder.
//!
//! - [`roster`]: who is alive, and how to sleep until somebody is not
//! - [`raw`]: a lock of one word, on which the others stand

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the locks that stand on it come next")
)]
pub(crate) mod raw;
pub(crate) mod roster;
#[cfg_attr(
    not(test),
    expect(unused_imports, reason = "the locks that stand on it come next")
)]
mod watch;

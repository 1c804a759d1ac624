//! WHO waits: locks that work between threads and between processes, and survive their holder.
//!
//! - [`roster`]: who is alive, and how to sleep until somebody is not

pub(crate) mod roster;

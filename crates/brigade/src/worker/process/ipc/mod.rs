//! What host, fork server and workers say to each other, and where.
//!
//! - `protocol`: datagrams between host and fork server; what a worker gets before its tasks
//! - `mailbox`: a worker's memory: rings, state, crash record
//! - `order`, `reply`: what the host and a worker write into those rings
//! - `claims`: which tasks a worker has begun; `handoff`: that, and which side sleeps;
//!   `loom_tests`: what must hold of it
//! - `exit_table`: how each worker ended
//! - `fd_socket`: a socket to each worker, for descriptors and large values
//! - `wake_socket`: how workers wake the host's listener
//! - `stderr_count`: how much of each worker's stderr was read
//! - `events`: events of `tracing`, and records of `log`, on their way
//! - `streams`: where its standard streams go; lines on their way

pub(crate) mod claims;
#[cfg(feature = "tracing")]
pub(crate) mod events;
pub(crate) mod exit_table;
pub(crate) mod fd_socket;
pub(crate) mod handoff;
#[cfg(all(loom, test))]
mod loom_tests;
pub(crate) mod mailbox;
pub(crate) mod order;
pub(crate) mod protocol;
pub(crate) mod reply;
pub(crate) mod stderr_count;
pub(crate) mod streams;
pub(crate) mod wake_socket;

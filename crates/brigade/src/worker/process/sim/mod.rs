//! The fork server as a pool of processes sees it: the real one, or, in models (`scripts/shuttle`),
//! its [stand-in](self::fork_server); and the one of [`counts`](crate::counts).

#[cfg(any(brigade_counts, all(test, not(any(loom, shuttle)))))]
pub(crate) mod counted;
#[cfg(shuttle)]
pub(crate) mod fork_server;
#[cfg(shuttle)]
pub(crate) mod worker;

#[cfg(not(shuttle))]
pub(crate) use crate::worker::process::host::client::{ForkServer, Question, SpareWorker};
#[cfg(shuttle)]
pub(crate) use fork_server::{ForkServer, Question, SpareWorker};

//! Which fork server and which workers the host's side works with: the real ones
//! ([`host::client`](crate::worker::process::host::client)), those of a model (`scripts/shuttle`),
//! or, where instructions are counted ([`counts`](crate::counts)), a counted worker.
//! `pool/process` and `host/connection.rs` take them from here and nowhere else.

#[cfg(any(brigade_counts, all(test, not(any(loom, shuttle)))))]
pub(crate) mod counted;
#[cfg(shuttle)]
pub(crate) mod model;

#[cfg(not(shuttle))]
pub(crate) use crate::worker::process::host::client::{ForkServerClient, Question, SpareWorker};
#[cfg(shuttle)]
pub(crate) use model::fork_server::{ForkServerClient, Question, SpareWorker};

//! Test doubles of the fork server and of workers: threads of a model (`scripts/shuttle`), and a
//! worker whose instructions are counted ([`counts`](crate::counts)); and the choice between them
//! and the real ones ([`host::client`](crate::worker::process::host::client)). `pool/process` and
//! `host/connection.rs` take either from here and nowhere else.

#[cfg(any(brigade_counts, all(test, not(any(loom, shuttle)))))]
pub(crate) mod counted;
#[cfg(shuttle)]
pub(crate) mod model;

#[cfg(not(shuttle))]
pub(crate) use crate::worker::process::host::client::{ForkServerClient, Question, SpareWorker};
#[cfg(shuttle)]
pub(crate) use model::fork_server::{ForkServerClient, Question, SpareWorker};

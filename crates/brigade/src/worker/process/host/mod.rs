//! What runs in the program itself: how it has worker processes made, and gives them tasks.
//!
//! - `client`: the host's side of the fork server: spares, pools that have workers, descriptors
//!   asked for. `client/listener` is the thread that hears the fork server; `outgoing` what is sent
//!   to it; `lanes` the workers' sockets; `privilege` what workers may do; `watch` whether the fork
//!   server still answers
//! - `connection`: the host's side of a worker that stays
//! - `one_shot`: the handle's side of a task in a process of its own; `one_shot/worker`: that worker;
//!   `one_shot/outcome`: how the task ended
//! - `result`: a result's bytes, decoded
//! - `death`: why a worker died
//! - `setup`: what a builder asks for, as a worker is told it
//! - `start_method`: whether workers are forked or executed

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod death;
pub(crate) mod one_shot;
pub(crate) mod result;
mod setup;
pub(super) mod start_method;

/// What this worker's sandbox is made of; `None`: it has none, or this is no worker.
#[cfg(feature = "sandbox")]
pub(crate) fn applied_in_this_worker() -> Option<crate::sandbox::Applied> {
    super::child::lockdown::applied()
}

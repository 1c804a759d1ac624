//! What runs in the program itself: how it has worker processes made, and gives them tasks.
//!
//! - `client`: the host's side of the fork server. `client/spares` has the workers made ahead;
//!   `observers` the pools, whose workers stay; `listener` is the thread that hears the fork
//!   server; `outgoing` what is sent to it; `fd_sockets` the workers' sockets; `privilege`
//!   what workers may do; `watch` whether the fork server still answers, `watch/endings`
//!   the workers that are to end
//! - `connection`: the host's side of a worker of a pool
//! - `one_shot`: the handle's side of a task in a process of its own; `one_shot/worker`: that
//!   worker; `one_shot/outcome`: how the task ended
//! - `program`: another program whose workers this one has
//! - `result`: a result's bytes, decoded
//! - `death`: why a worker died
//! - `groups`: where workers may have control groups of their own; `groups/of_pool`: those of a
//!   pool that is limited as a whole
//! - `setup`: from a builder to what it asks for its workers, `worker_setup`
//! - `streams`: what workers' standard streams are; `lines`: the lines that they write there
//! - `events`: what workers send to the program's subscriber of `tracing`; `no_events`: where the
//!   feature is off
//! - `start_method`: whether workers are forked or executed

use crate::process::{Enforcement, Limit};

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod death;
#[cfg_attr(not(feature = "tracing"), path = "no_events.rs")]
pub(crate) mod events;
pub(crate) mod groups;
pub(crate) mod lines;
pub(crate) mod one_shot;
pub(crate) mod program;
pub(crate) mod result;
mod setup;
pub(super) mod start_method;
pub(crate) mod streams;
pub(crate) mod worker_setup;

/// How workers of this program are limited.
pub(super) fn limited_by(limit: Limit) -> Enforcement {
    let groups = match limit {
        Limit::Memory => &groups::here().memory,
        Limit::Processes => &groups::here().processes,
        Limit::Cpu => {
            let by = "each process has its own time, by a timer that a hostile task can take off";
            return Enforcement::Partial(by.to_owned());
        }
        Limit::OpenFiles | Limit::FileSize => {
            return Enforcement::Enforced("setrlimit(2)".to_owned());
        }
    };
    let why = match groups {
        Ok(place) => {
            let place = place.display();
            return Enforcement::Enforced(format!("control groups below {place}"));
        }
        Err(why) => why,
    };
    match limit {
        Limit::Memory => Enforcement::Partial(format!(
            "address space, not memory, of each process for itself, by setrlimit(2), and what a worker has with its children, looked at every 20 to 320 ms: {why}"
        )),
        _ if rustix::process::geteuid().is_root() => {
            Enforcement::Unavailable(format!("root's are not counted by setrlimit(2), and {why}"))
        }
        _ => Enforcement::Partial(format!(
            "all processes of the user are counted, by setrlimit(2): {why}"
        )),
    }
}

/// What this worker's sandbox is made of; `None`: it has none, or this is no worker.
#[cfg(feature = "sandbox")]
pub(crate) fn applied_in_this_worker() -> Option<crate::sandbox::Applied> {
    super::child::lockdown::applied()
}

//! What runs in a worker process.
//!
//! - `startup`: from the fork to the end; `warm_up`: what is touched before the first task comes
//! - `worker`: what a worker has; `this_worker`: which one this process is, for signal handlers
//! - `setup`: what it does to itself before its first task
//! - `one_shot`: its first orders: a single task, or to stay
//! - `worker_loop`: a worker of a pool, and runs one task after another
//! - `task`: one task, in either; `contexts`: what tasks of a pool borrow
//! - `flush`: how what a task has printed gets out
//! - `streams`: the standard streams that its builder gives it, and its tasks told in them
//! - `events`: its events of `tracing`, and records of `log`, sent to the program
//! - `stderr_mark`: where in its stderr the text of a task begins
//! - `oom_score`: how soon the kernel kills it where memory has run out, if its builder says so
//! - `limits`: what it may use; `groups`: its control groups
//! - `lockdown`: its sandbox
//! - `zombies`: when it leaves because of ended processes that tasks have left behind

mod busy_timer;
mod contexts;
#[cfg(feature = "tracing")]
pub(super) mod events;
mod flush;
mod groups;
mod limits;
#[cfg(feature = "sandbox")]
pub(super) mod lockdown;
mod one_shot;
pub(in crate::worker::process) mod oom_score;
mod setup;
pub(super) mod startup;
pub(super) mod stderr_mark;
mod streams;
mod task;
pub(super) mod this_worker;
pub(super) mod warm_up;
pub(super) mod worker;
pub(super) mod worker_loop;
mod zombies;

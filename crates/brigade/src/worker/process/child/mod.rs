//! What runs in a worker process.
//!
//! - `startup`: from the fork to the end; a worker with a single task
//! - `worker_loop`: a worker that runs one task after another
//! - `flush`: how what a task has printed gets out
//! - `stderr_mark`: where in its stderr the text of a task begins
//! - `oom_score`: how soon the kernel kills it where memory has run out, if its builder says so
//! - `lockdown`: its sandbox
//! - `zombies`: when it leaves because of ended processes that tasks have left behind

mod flush;
#[cfg(feature = "sandbox")]
pub(super) mod lockdown;
pub(in crate::worker::process) mod oom_score;
pub(super) mod startup;
pub(super) mod stderr_mark;
pub(super) mod worker_loop;
mod zombies;

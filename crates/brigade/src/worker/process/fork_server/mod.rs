//! What runs in the fork server, a process with one thread that makes the workers.
//!
//! - `bootstrap`: how a start of the program becomes one, or a worker; `start`: how it is started
//! - `main_program`: whether the library is part of the program that would be started
//! - `prepare`: what it does to itself first
//! - `event_loop`: what it waits for, and what the host asks for; `event_loop/workers` makes
//!   workers, `endings` reaps them and ends what they left, `output` passes on what they
//!   write,
//!   `outbox` tells the host
//! - `exec`: workers that are made by executing the program
//! - `orphans`: what dead workers leave behind
//! - `streams`: what workers write to stderr, and to stdout in a sandbox, passed on by whole lines
//! - `groups`: the control groups of workers that are limited
//! - `oom`: whether the kernel's OOM killer was at work
//! - `memory_watch`: workers whose memory no control group limits
//! - `oom_score`: that it takes workers first

pub(crate) mod bootstrap;
mod event_loop;
mod exec;
mod groups;
mod main_program;
mod memory_watch;
mod oom;
mod oom_score;
pub(super) mod orphans;
mod prepare;
pub(super) mod start;
pub(super) mod streams;

//! Ended processes that tasks have left in a worker of a pool.
//!
//! A worker adopts the orphans among its descendants, so that it is known whose they are. One that
//! has ended stays in the process table until the worker waits for it, or has ended itself; and
//! nothing tells it from a child of the task's own that the task, or a later one, still waits for
//! (see the README). So a worker never reaps; one that has many of them leaves between two tasks,
//! and the fork server reaps them with it.

use std::time::{Duration, Instant};

use crate::sys::process;
use crate::worker::process::fork_server::orphans::Children;

/// A worker that has more leaves.
const MAX_ZOMBIES: usize = 64;

/// How often they are counted, at the most.
const COUNTING: Duration = Duration::from_millis(20);

/// A worker's.
#[derive(Debug, Default)]
pub(super) struct Zombies {
    counted: Option<Instant>,
}

impl Zombies {
    /// Costs a system call where there are none.
    pub(super) fn are_too_many(&mut self) -> bool {
        if process::peek_ended().is_none() {
            return false;
        }
        let now = Instant::now();
        if (self.counted).is_some_and(|at| now.saturating_duration_since(at) < COUNTING) {
            return false;
        }
        self.counted = Some(now);
        let mut all = Vec::new();
        let Ok(mut children) = Children::of_this_process() else {
            return false;
        };
        children.list(&mut all);
        let mut zombies = all.iter().filter(|&&pid| process::is_zombie(pid));
        all.len() > MAX_ZOMBIES && zombies.nth(MAX_ZOMBIES).is_some()
    }
}

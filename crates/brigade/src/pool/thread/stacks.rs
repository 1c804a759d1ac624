//! What each thread does now.

use super::pool::ThreadPool;
use crate::Kind;
use crate::pool::stacks::WorkerStack;

/// Why no thread is asked.
const NOT_ALLOWED: &str =
    "threads are asked only in a pool that was built with `PoolBuilder::thread_stacks(true)`";

impl ThreadPool {
    pub(in crate::pool) fn stacks(&self) -> Vec<WorkerStack> {
        if self.is_copy() {
            return Vec::new();
        }
        let name = self.options.name.as_ref();
        let stacks = self.seen_workers().into_iter().map(|seen| {
            let picture = seen.worker.picture(seen.is_blocked, seen.is_ready);
            let runs = picture.task.is_some();
            let stack = WorkerStack::new(Kind::Thread, &picture, name, None);
            if runs {
                return stack.without_stack(NOT_ALLOWED);
            }
            stack
        });
        stacks.collect()
    }
}

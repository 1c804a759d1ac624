//! What is published of a pool of threads.

use std::sync::Arc;

use super::pool::ThreadPool;
use super::worker::WorkerThread;
use crate::Kind;
use crate::publish::{PoolPicture, PoolSource};

/// A thread, as the table has it.
pub(super) struct SeenWorker {
    pub(super) worker: Arc<WorkerThread>,
    pub(super) is_blocked: bool,
    pub(super) is_ready: bool,
}

impl ThreadPool {
    /// The threads that there are, by their numbers.
    pub(super) fn seen_workers(&self) -> Vec<SeenWorker> {
        let table = self.lock_table();
        let mut threads: Vec<_> = (table.threads.values())
            .map(|entry| SeenWorker {
                worker: Arc::clone(&entry.worker),
                is_blocked: entry.blocked,
                is_ready: entry.ready,
            })
            .collect();
        drop(table);
        threads.sort_unstable_by_key(|seen| seen.worker.id);
        threads
    }
}

impl PoolSource for ThreadPool {
    fn picture(&self) -> PoolPicture {
        let stats = self.stats();
        let workers = self.seen_workers();
        let pictures = workers.iter();
        PoolPicture {
            kind: Kind::Thread,
            name: self.options.name.clone(),
            fork_server: None,
            stats,
            workers: pictures
                .map(|seen| seen.worker.picture(seen.is_blocked, seen.is_ready))
                .collect(),
        }
    }
}

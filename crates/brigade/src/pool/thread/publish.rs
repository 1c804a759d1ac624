//! What is published of a pool of threads.

use std::sync::Arc;

use super::pool::ThreadPool;
use crate::Kind;
use crate::publish::{PoolPicture, Source};

impl Source for ThreadPool {
    fn publish(&self) -> PoolPicture {
        let stats = self.stats();
        let table = self.lock_table();
        let mut threads: Vec<_> = (table.threads.iter())
            .map(|(&id, entry)| (id, Arc::clone(&entry.worker), entry.blocked, entry.ready))
            .collect();
        drop(table);
        threads.sort_unstable_by_key(|(id, ..)| *id);
        let pictures = threads.iter();
        PoolPicture {
            kind: Kind::Thread,
            name: self.options.name.clone(),
            fork_server: None,
            stats,
            workers: pictures
                .map(|(_, worker, blocked, ready)| worker.picture(*blocked, *ready))
                .collect(),
        }
    }
}

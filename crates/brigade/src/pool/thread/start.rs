//! How many threads a pool has: it starts with them, and is given another size.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::locks::{lock, wait};
use super::pool::ThreadPool;
use super::registry;
use super::worker::WorkerThread;
use crate::pool::config::Options;
use crate::pool::policy::size::Following;
use crate::pool::pool_size::PoolSize;
use crate::sys::asking;
use crate::task::symbols::Symbols;
use crate::{JoinError, Kind};

impl ThreadPool {
    /// Starts the workers, and waits until the initializer of each has returned.
    pub(in crate::pool) fn start(options: Options) -> io::Result<Arc<ThreadPool>> {
        let pool = Arc::new(ThreadPool::new(options));
        registry::register(&pool);
        pool.build()?;
        Ok(pool)
    }

    fn build(self: &Arc<Self>) -> io::Result<()> {
        if let Some(name) = &self.options.name {
            Kind::Thread.check_name(name)?;
        }
        if self.options.thread_stacks {
            asking::begin_in_program()?;
        }
        let built = self.start_workers();
        if built.is_err() {
            self.abort();
            self.shutdown();
        }
        built
    }

    fn start_workers(self: &Arc<Self>) -> io::Result<()> {
        if self.options.timeout.is_some() || self.options.size.least < self.options.size.most {
            self.ensure_timeout_monitor()?;
        }
        for _ in 0..self.options.workers() {
            let worker = self.with_table(|table| table.add(self.new_worker()));
            self.start_thread(worker)?;
        }
        let mut table = self.lock_table();
        loop {
            if let Some((name, unwound)) = table.build_failure.take() {
                let symbols = Symbols::of_this_process();
                let why = JoinError::panicked(name, unwound, symbols);
                return Err(self.options.start_failed(why));
            }
            if table.ready == self.options.workers() {
                table.building = false;
                return Ok(());
            }
            table = wait(&self.changed, table);
        }
    }

    pub(super) fn new_worker(self: &Arc<Self>) -> impl FnOnce(u64) -> Arc<WorkerThread> {
        let pool = Arc::clone(self);
        |id| Arc::new(WorkerThread::new(id, pool))
    }

    /// Sets how many threads there should be from now on, or that there be as many as the work
    /// needs.
    pub(in crate::pool) fn resize(self: &Arc<Self>, size: &PoolSize) -> io::Result<()> {
        if self.is_fork_of_owner() {
            return Ok(());
        }
        self.options.check_resize(size.most)?;
        let new = Following::new(size.range(), self.options.shrink_after);
        if new.is_some() {
            self.ensure_timeout_monitor()?;
        }
        let mut following = lock(&self.following);
        *following = new;
        self.most.store(size.most, Ordering::Relaxed);
        let result = self.set_size(size.nearest(self.workers()));
        drop(following);
        if let Some(monitor) = self.timeout_monitor.get() {
            monitor.wake();
        }
        result
    }

    /// Sets how many threads there should be from now on. Called with the lock on `following`.
    pub(super) fn set_size(self: &Arc<Self>, workers: usize) -> io::Result<()> {
        let (sleepers, started, without_keys) = self.with_table(|table| {
            let ends = table.shutting_down && self.queue_is_empty();
            if ends || table.aborted || table.over {
                return (Vec::new(), Vec::new(), Vec::new());
            }
            table.workers = workers;
            self.size.store(workers, Ordering::Relaxed);
            table.clear_any_sentry();
            let there = table.threads.len() - table.blocked;
            // Threads that sleep exit when they have slept in vain once more, the one that was used
            // last in the end. Those that run something see that they are too many when it ends.
            let surplus = there.saturating_sub(workers).min(table.sleepers.len());
            let sleepers: Vec<_> = table.sleepers.drain(..surplus).collect();
            let lacks = workers.saturating_sub(there);
            let started: Vec<_> = (0..lacks).map(|_| table.add(self.new_worker())).collect();
            (sleepers, started, table.take_surplus_keys())
        });
        for worker in without_keys {
            worker.give_up_keys(false);
        }
        for worker in sleepers {
            worker.wake();
        }
        let mut result = Ok(());
        for worker in started {
            result = result.and(self.start_thread(worker));
        }
        // Threads that were to exit, and sleep until then, are needed again.
        if !self.queue_is_empty() {
            self.wake_or_start();
        }
        result
    }
}

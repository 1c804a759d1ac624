//! How a pool ends. README.md has the steps, and what races with them.

use std::sync::Arc;
use std::thread;

use super::current;
use super::pool::ThreadPool;
use super::thread_table::ThreadTable;
use super::work::{AbandonReason, Rejection};
use super::worker::WorkerThread;
use crate::task::panic::contained;

/// How often shutdown looks again whether it is complete.
const RECHECK: std::time::Duration = std::time::Duration::from_millis(20);

impl ThreadPool {
    /// The threads that belong to the pool.
    pub(super) fn live_workers(&self) -> Vec<Arc<WorkerThread>> {
        let table = self.lock_table();
        let live = table.threads.values();
        live.map(|entry| Arc::clone(&entry.worker)).collect()
    }

    /// Whether the pool has shut down, and has no threads and no work any more.
    pub(super) fn is_over(&self) -> bool {
        let table = self.lock_table();
        table.shutting_down && table.threads.is_empty() && self.queue_is_empty()
    }

    /// Has the threads exit when there is nothing left to do.
    fn begin_shutdown(&self, aborted: bool) {
        let sleepers = self.with_table(|table| {
            table.shutting_down = true;
            table.aborted |= aborted;
            table.clear_any_sentry();
            std::mem::take(&mut table.sleepers)
        });
        for worker in sleepers {
            worker.wake();
        }
        if let Some(monitor) = self.timeout_monitor.get() {
            monitor.wake();
        }
    }

    /// Finishes what was accepted, ends the threads and waits for them.
    pub(in crate::pool) fn shutdown(self: &Arc<Self>) {
        if self.is_copy() {
            return;
        }
        self.begin_shutdown(false);
        if !self.queue_is_empty() {
            self.wake_or_start();
        }
        let own = current::worker().filter(|worker| Arc::ptr_eq(&worker.pool, self));
        // A thread of the pool that shuts it down cannot wait for itself. Threads that are blocked
        // may wait for this one.
        let blocked = own.as_ref().map(|_| current::block());
        let is_complete = |table: &ThreadTable| {
            let left = if own.is_some() { table.blocked } else { 0 };
            table.threads.len() <= left && self.queue_is_empty()
        };
        let mut table = self.lock_table();
        while !is_complete(&table) {
            // An item may come when the last thread is about to exit: it is not left behind.
            if table.active() == 0 && !self.queue_is_empty() {
                let aborted = table.aborted;
                drop(table);
                if aborted {
                    self.reject_queue(&Rejection::Cancelled);
                } else {
                    self.wake_or_start();
                }
                table = self.lock_table();
                continue;
            }
            table = match self.changed.wait_timeout(table, RECHECK) {
                Ok((table, _)) => table,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let exited = std::mem::take(&mut table.exited);
        let monitor = table.monitor.take();
        drop(table);
        drop(blocked);
        self.join(exited);
        if let Some(monitor) = monitor.filter(|_| own.is_none()) {
            if let Some(monitor) = self.timeout_monitor.get() {
                monitor.wake();
            }
            self.join(vec![monitor]);
        }
    }

    fn join(&self, threads: Vec<thread::JoinHandle<()>>) {
        let this = thread::current().id();
        for thread in threads {
            if thread.thread().id() != this {
                // No panic leaves a thread's main function.
                let _ = thread.join();
            }
        }
    }

    /// Cancels everything that waits and runs. [`shutdown`](Self::shutdown) is called after it.
    pub(in crate::pool) fn abort(self: &Arc<Self>) {
        if self.is_copy() {
            return;
        }
        self.begin_shutdown(true);
        self.reject_queue(&Rejection::Cancelled);
        for worker in self.live_workers() {
            let Some(item) = worker.current_work() else {
                continue;
            };
            // Its item has not begun, or runs: one of the two ends it.
            contained(|| Arc::clone(&item).reject(self, &Rejection::Cancelled));
            if item.abandon(&worker, u64::MAX, AbandonReason::Cancelled) {
                self.replace(worker.id, AbandonReason::Cancelled);
            }
        }
        // Threads whose initializer still runs are not waited for.
        let removed = self.with_table(|table| {
            let unready = table.threads.iter().filter(|(_, entry)| !entry.ready);
            let unready: Vec<u64> = unready.map(|(id, _)| *id).collect();
            let removed = unready.into_iter().filter_map(|id| table.remove(id));
            removed.collect::<Vec<_>>()
        });
        drop(removed);
        self.changed.notify_all();
    }
}

//! How a pool ends. README.md has the steps, and what races with them.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::current;
use super::locks::{wait, wait_until};
use super::pool::ThreadPool;
use super::thread_table::{CLOSED, ThreadTable};
use super::work::{AbandonReason, Rejection};
use super::worker::WorkerThread;
use crate::task::contain::contained;
use crate::task::waiters::FutureWaiters;

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
        table.over || table.shutting_down && table.threads.is_empty() && !self.has_queued()
    }

    /// Takes nothing more. What was accepted is finished.
    pub(in crate::pool) fn close(&self) {
        if self.is_fork_of_owner() {
            return;
        }
        self.with_table(|table| table.closed = true);
        self.capacity.close();
    }

    /// Whether it takes nothing more.
    #[inline]
    pub(in crate::pool) fn is_closed(&self) -> bool {
        self.wake_hint() & CLOSED != 0 || self.is_fork_of_owner()
    }

    /// A new item was queued after the pool was closed, and was rejected: if the pool has no thread
    /// any more, the queue is emptied here.
    #[cold]
    pub(super) fn clear_after_close(self: &Arc<Self>) {
        let table = self.lock_table();
        let has_ended = table.shutting_down && table.threads.is_empty();
        drop(table);
        if has_ended {
            self.reject_queue(&Rejection::Closed);
            self.tell_changed();
            if let Some(monitor) = self.timeout_monitor.get() {
                monitor.wake();
            }
        }
    }

    /// Whether the calling thread runs a task of the pool.
    pub(in crate::pool) fn is_own(self: &Arc<Self>) -> bool {
        self.own_worker().is_some()
    }

    /// The calling thread, if it is one of the pool's.
    fn own_worker(self: &Arc<Self>) -> Option<Arc<WorkerThread>> {
        current::worker().filter(|worker| Arc::ptr_eq(&worker.pool, self))
    }

    /// Waits until nothing is queued and nothing runs. `false`: not before the deadline.
    pub(in crate::pool) fn wait_idle(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        if self.is_fork_of_owner() {
            return true;
        }
        // As in `shutdown`: it cannot wait for itself, nor for those that may wait for it.
        let own = self.own_worker();
        let _blocked = own.as_ref().map(|_| current::block());
        let mut table = self.lock_table();
        table.idle_waiters += 1;
        let is_idle = loop {
            let left = if own.is_some() { table.blocked } else { 0 };
            if table.is_idle_but_for(left) && !self.has_queued() {
                break true;
            }
            let in_time;
            (table, in_time) = wait_until(&self.changed, table, deadline);
            if !in_time {
                let left = if own.is_some() { table.blocked } else { 0 };
                break table.is_idle_but_for(left) && !self.has_queued();
            }
        };
        table.idle_waiters -= 1;
        is_idle
    }

    /// The futures that wait until there is nothing to do.
    pub(in crate::pool) fn idle_waiters(&self) -> &FutureWaiters {
        &self.idle
    }

    /// Whether nothing is queued and nothing runs, but for the caller's own task and those that
    /// may wait for it.
    pub(in crate::pool) fn is_idle(self: &Arc<Self>) -> bool {
        if self.is_fork_of_owner() {
            return true;
        }
        let own = self.own_worker();
        let table = self.lock_table();
        let left = own.map_or(0, |own| {
            let entry = table.threads.get(&own.id);
            let is_counted = entry.is_some_and(|entry| !entry.blocked);
            table.blocked + usize::from(is_counted)
        });
        table.is_idle_but_for(left) && !self.has_queued()
    }

    /// The pool may be idle now, or a thread has come or gone: those that wait for that look.
    pub(super) fn tell_changed(&self) {
        self.changed.notify_all();
        self.idle.notify(usize::MAX);
    }

    /// Has the threads exit when there is nothing left to do.
    fn begin_shutdown(&self, aborted: bool) {
        let sleepers = self.with_table(|table| {
            table.closed = true;
            table.shutting_down = true;
            table.aborted |= aborted;
            table.clear_any_sentry();
            std::mem::take(&mut table.sleepers)
        });
        self.capacity.close();
        for worker in sleepers {
            worker.wake();
        }
        if let Some(monitor) = self.timeout_monitor.get() {
            monitor.wake();
        }
    }

    /// Finishes what was accepted, ends the threads and waits for them. Several may do so at once:
    /// each returns when all is done.
    pub(in crate::pool) fn shutdown(self: &Arc<Self>) {
        if self.is_fork_of_owner() {
            return;
        }
        self.begin_shutdown(false);
        if !self.queue_is_empty() {
            self.wake_or_start();
        }
        let own = self.own_worker();
        // A thread of the pool that shuts it down cannot wait for itself. Threads that are blocked
        // may wait for this one.
        let blocked = own.as_ref().map(|_| current::block());
        let is_complete = |table: &ThreadTable| {
            let left = if own.is_some() { table.blocked } else { 0 };
            table.threads.len() <= left && !self.has_queued()
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
        table.over |= table.threads.is_empty();
        let mut exited = std::mem::take(&mut table.exited);
        // The monitor watches this thread's own task.
        exited.extend(table.monitor.take_if(|_| own.is_none()));
        table.joining += 1;
        drop(table);
        drop(blocked);
        if let Some(monitor) = self.timeout_monitor.get() {
            monitor.wake();
        }
        self.join(exited);
        let mut table = self.lock_table();
        table.joining -= 1;
        self.changed.notify_all();
        // Another caller may join what this one has not found. One of the pool's own threads, which
        // may be what the other joins, does not wait for it.
        while table.joining > 0 && !current::was_made_by(self.pool_id) {
            table = wait(&self.changed, table);
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
        if self.is_fork_of_owner() {
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
        self.tell_changed();
    }
}

//! How many threads there are, where that follows the work. The timeout monitor looks.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use super::locks::lock;
use super::pool::ThreadPool;
use super::timeouts::TimeoutMonitor;
use crate::pool::policy::size::{GROW_AFTER, Load};

/// When the monitor looks next whether the number of threads still fits.
pub(super) struct NextLook {
    at: Option<Instant>,
    /// Tasks are queued, and there may be more threads: whether they wait, or are about to be taken
    /// by threads that are free, is known when it is looked again.
    has_backlog: bool,
}

impl ThreadPool {
    /// How many threads there may be at the most, if as many are needed.
    #[inline]
    pub(super) fn most_workers(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// There may be tasks that wait: the monitor looks whether they do so for long, unless it looks
    /// soon in any case.
    #[inline]
    pub(super) fn note_backlog(&self) {
        if self.most_workers() > self.workers() {
            if let Some(monitor) = self.timeout_monitor.get() {
                monitor.on_backlog();
            }
        }
    }

    /// What there is to do. What was needed is counted anew from here on.
    fn load(&self) -> Load {
        let mut table = self.lock_table();
        let active = table.active();
        let busy = std::mem::replace(&mut table.most_active, active).max(active);
        let workers = table.workers;
        let entries = table.threads.values().filter(|entry| !entry.blocked);
        let running = entries.filter(|entry| entry.worker.is_busy()).count();
        drop(table);
        let queued = self.queue_len();
        // A thread that was woken or started takes a queued task as soon as it has a processor:
        // those tasks do not count as waiting.
        let waiting = queued.saturating_sub(workers.saturating_sub(running));
        let submitted = self.counters.submitted.load(Ordering::Relaxed);
        Load {
            workers,
            busy,
            waiting,
            begun: submitted.saturating_sub(queued as u64),
        }
    }

    /// Has as many threads as the work needs. `None`: their number does not follow it.
    fn follow_work(self: &Arc<Self>) -> Option<NextLook> {
        let mut following = lock(&self.following);
        let size = following.as_mut()?;
        let now = Instant::now();
        let mut load = self.load();
        if let Some(workers) = size.look(load, now) {
            // Where the system has no more threads, it goes on with what there are.
            let _ = self.set_size(workers);
            load = self.load();
        }
        Some(NextLook {
            at: size.observe(load, now),
            has_backlog: !self.queue_is_empty() && load.workers < self.most_workers(),
        })
    }
}

impl TimeoutMonitor {
    /// Tasks may wait: wakes the monitor, unless it looks soon.
    #[inline]
    fn on_backlog(&self) {
        if self.awaits_backlog.load(Ordering::Relaxed)
            && self.awaits_backlog.swap(false, Ordering::AcqRel)
        {
            self.wake();
        }
    }

    /// Has as many threads as the work needs. Returns when that is to be looked at next, by the
    /// pool's clock. `told_at`: when a thread last told the monitor of a backlog, if that is some
    /// time ago.
    pub(super) fn follow_work(
        &self,
        pool: &Arc<ThreadPool>,
        told_at: &mut Option<Instant>,
    ) -> Option<u64> {
        let mut next = pool.follow_work()?;
        if !self.awaits_backlog.load(Ordering::Relaxed) {
            let now = Instant::now();
            // For some time no thread tells it again, for each call wakes a thread.
            let until = *told_at.get_or_insert(now) + GROW_AFTER;
            if !next.has_backlog && until <= now {
                *told_at = None;
                self.awaits_backlog.store(true, Ordering::SeqCst);
                // Store–fence–load (README.md): a thread that adds work does so and then looks
                // whether it has to tell the monitor; the monitor does it the other way round.
                fence(Ordering::SeqCst);
                next = pool.follow_work()?;
                if next.has_backlog {
                    self.awaits_backlog.store(false, Ordering::Relaxed);
                    *told_at = Some(now);
                }
            }
            if told_at.is_some() {
                let again = now + GROW_AFTER;
                next.at = Some(next.at.map_or(again, |at| at.min(again)));
            }
        }
        let left = next.at?.saturating_duration_since(Instant::now());
        Some(pool.now().saturating_add(super::timeouts::nanos(left)))
    }
}

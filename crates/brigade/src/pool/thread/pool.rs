//! A pool of threads, as its threads and its owner share it: the queue, and the table of threads.

use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_deque::{Injector, Steal};

use super::adaptive_spin;
use super::capacity::Capacity;
use super::counters::{self, PoolCounters, ThreadCounters};
use super::keyed::KeyedThread;
use super::locks::lock;
use super::registry;
use super::thread_table::{HAS_SENTRY, NEED_WORKER, ThreadTable};
use super::timeouts::TimeoutMonitor;
use super::work::Work;
use crate::pool::config::Options;
use crate::pool::events;
use crate::pool::policy::estimate::SharedEstimate;
use crate::pool::policy::keys::Keys;
use crate::pool::policy::queue_and_retries::should_remove_cancelled;
use crate::pool::policy::run::{RunTimes, TaskRun};
use crate::pool::policy::size::Following;
#[cfg(feature = "tracing")]
use crate::pool::task_names::TaskNames;
use crate::sys::original::Original;
use crate::sys::{clock, spin};
use crate::task::contain::contained;
use crate::task::name::TaskName;
use crate::task::waiters::FutureWaiters;
use crate::{Kind, PoolStats};

/// A backlog of this many nanoseconds is too long for the active threads, even if a sentry looks
/// soon.
pub(super) const BACKLOG_WAKE_NS: u64 = spin::LIMIT.as_nanos() as u64;

/// A pool of threads.
pub(in crate::pool) struct ThreadPool {
    /// The pool's number in this process.
    pub(super) pool_id: u64,
    creator: Original,
    pub(super) options: Options,
    queue: Injector<Arc<dyn Work>>,
    /// Tasks in the queue that were cancelled.
    cancelled: AtomicUsize,
    pub(super) capacity: Capacity,
    table: Mutex<ThreadTable>,
    /// How many threads should be active, as the table has it.
    pub(super) size: AtomicUsize,
    /// How many there may be at the most: more than that where the number follows the work.
    pub(super) most: AtomicUsize,
    /// That it does. Locked before the table.
    pub(super) following: Mutex<Option<Following<Instant>>>,
    /// What the table's hint was when the table was last unlocked.
    wake_hint: AtomicU32,
    /// Notified when a thread becomes ready, leaves the table or is blocked.
    pub(super) changed: Condvar,
    /// Which thread has the tasks of which key.
    pub(super) keys: Mutex<Keys<KeyedThread>>,
    /// How many tasks wait that one thread alone runs.
    pub(super) pinned: AtomicUsize,
    /// Futures that wait until there is nothing to do.
    pub(super) idle: FutureWaiters,
    pub(super) counters: PoolCounters,
    /// How long tasks take.
    pub(super) task_time: SharedEstimate,
    /// The counters of threads that have left the table. Written under the table's lock.
    pub(super) counters_of_left: ThreadCounters,
    /// Made with the pool if that has a timeout, or for the first task that has a time of its own.
    pub(super) timeout_monitor: OnceLock<TimeoutMonitor>,
    #[cfg(feature = "tracing")]
    pub(super) task_names: TaskNames,
}

/// A run of a task in a thread.
pub(super) struct ThreadRun {
    pub(super) number: u64,
    /// By the pool's clock.
    pub(super) began: u64,
    /// In nanoseconds.
    pub(super) since_submitted: u64,
    pub(super) outcome: &'static str,
    /// The function's address, and where the task was started.
    pub(super) function: (usize, &'static Location<'static>),
}

impl ThreadPool {
    pub(in crate::pool) fn workers(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    pub(super) fn new(options: Options) -> ThreadPool {
        ThreadPool {
            pool_id: registry::next_id(),
            creator: Original::this_process(),
            queue: Injector::new(),
            cancelled: AtomicUsize::new(0),
            capacity: Capacity::new(options.queue_limit),
            table: Mutex::new(ThreadTable::new(options.workers())),
            size: AtomicUsize::new(options.workers()),
            most: AtomicUsize::new(options.size.most),
            following: Mutex::new(Following::new(options.size.range(), options.shrink_after)),
            wake_hint: AtomicU32::new(0),
            changed: Condvar::new(),
            keys: Mutex::default(),
            pinned: AtomicUsize::new(0),
            idle: FutureWaiters::default(),
            counters: PoolCounters::new(),
            task_time: SharedEstimate::default(),
            counters_of_left: ThreadCounters::new(),
            timeout_monitor: OnceLock::new(),
            #[cfg(feature = "tracing")]
            task_names: TaskNames::default(),
            options,
        }
    }

    /// The source of the pool's events.
    pub(super) fn events(&self) -> events::PoolIdentity {
        events::PoolIdentity {
            pool: self.pool_id,
            kind: Kind::Thread,
        }
    }

    /// Writes what the timeline holds back, if there is one. Threads that were let go, and handles,
    /// may hold the rest of the pool for longer.
    pub(in crate::pool) fn flush_timeline(&self) {
        if let Some(timeline) = &self.options.timeline {
            timeline.flush();
        }
    }

    /// Into the timeline, if there is one: a run of a task has ended, which began then, with the
    /// nanoseconds since its task was submitted.
    #[inline]
    pub(super) fn draw_run(&self, worker: u64, run: ThreadRun) {
        if let Some(timeline) = &self.options.timeline {
            let now = self.now();
            let ran = TaskRun {
                row: worker,
                pid: 0,
                task: run.number,
                times: RunTimes::Told(run.began, now),
                since_submitted: Duration::from_nanos(run.since_submitted),
                outcome: run.outcome,
            };
            let (address, call_site) = run.function;
            let key = (address, std::ptr::from_ref(call_site) as usize);
            let name = || TaskName::at(address, self.options.name.clone(), call_site);
            timeline.ran(&ran, key, name);
        }
    }

    /// Into the timeline, if there is one.
    pub(super) fn draw_mark(&self, worker: u64, what: &str, why: &str) {
        if let Some(timeline) = &self.options.timeline {
            timeline.mark(worker, what, why);
        }
    }

    /// Into the timeline, if there is one: another thread takes this one's place.
    pub(super) fn draw_replaced(&self, worker: u64, why: &str) {
        if let Some(timeline) = &self.options.timeline {
            timeline.end_row(worker, why);
        }
    }

    /// Whether this process is a fork of the one that made the pool.
    pub(in crate::pool) fn is_fork_of_owner(&self) -> bool {
        !self.creator.is_this_process()
    }

    /// The pool's clock, in nanoseconds; never 0.
    pub(super) fn now(&self) -> u64 {
        clock::nanos()
    }

    pub(super) fn wake_hint(&self) -> u32 {
        self.wake_hint.load(Ordering::Relaxed)
    }

    pub(super) fn queue_is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How long the queue is, cancelled tasks included.
    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Takes the next item out of the queue.
    pub(super) fn next_work(&self) -> Option<Arc<dyn Work>> {
        loop {
            match self.queue.steal() {
                Steal::Success(item) => return Some(item),
                Steal::Empty => return None,
                Steal::Retry => std::hint::spin_loop(),
            }
        }
    }

    /// Adds an item to the queue, and wakes a worker if that is needed.
    pub(super) fn push(self: &Arc<Self>, item: Arc<dyn Work>) {
        self.queue.push(item);
        // Store–fence–load (README.md): this thread adds an item and then reads the hint; a thread
        // that goes to sleep changes the hint and then looks at the queue.
        fence(Ordering::SeqCst);
        let wake_hint = self.wake_hint();
        if wake_hint & (NEED_WORKER | HAS_SENTRY) != 0
            && (wake_hint & NEED_WORKER != 0 || self.queued_ns() > BACKLOG_WAKE_NS)
        {
            self.wake_or_start();
        }
        self.note_backlog();
    }

    /// A queued task was cancelled. Nothing can be taken out of the middle of the queue, so its
    /// item stays there, until there are enough of them to go through the whole queue.
    pub(super) fn note_cancelled(self: &Arc<Self>) {
        let cancelled = self.cancelled.fetch_add(1, Ordering::Relaxed) + 1;
        if !should_remove_cancelled(cancelled, self.queue.len()) {
            return;
        }
        let cancelled = self.cancelled.swap(0, Ordering::Relaxed);
        if !should_remove_cancelled(cancelled, 0) {
            // Another thread goes through the queue.
            return;
        }
        for _ in 0..self.queue.len() {
            let Some(item) = self.next_work() else {
                return;
            };
            if item.has_ended() {
                contained(|| drop(item));
            } else {
                self.push(item);
            }
        }
    }

    /// Locks the table, changes it, and publishes what follows: the hint, and how many threads are
    /// awake.
    pub(super) fn with_table<T>(&self, change: impl FnOnce(&mut ThreadTable) -> T) -> T {
        let mut table = lock(&self.table);
        let before = table.active();
        let result = change(&mut table);
        let (after, wake_hint) = (table.active(), table.hint());
        table.most_active = after.max(table.most_active);
        if before != after {
            adaptive_spin::awake_changed(before, after);
        }
        if wake_hint != self.wake_hint() {
            self.wake_hint.store(wake_hint, Ordering::SeqCst);
        }
        let left = std::mem::take(&mut table.left);
        drop(table);
        for worker in left {
            worker.give_up_keys(true);
        }
        result
    }

    pub(super) fn lock_table(&self) -> MutexGuard<'_, ThreadTable> {
        lock(&self.table)
    }

    /// How long the queued tasks will take, in nanoseconds, if they are like those before them.
    pub(super) fn queued_ns(&self) -> u64 {
        self.estimate_ns(self.queue.len() as u64)
    }

    pub(super) fn estimate_ns(&self, tasks: u64) -> u64 {
        (tasks as f64 * self.task_time.get().nanos() / self.workers() as f64) as u64
    }

    pub(in crate::pool) fn stats(&self) -> PoolStats {
        if self.is_fork_of_owner() {
            return PoolStats {
                workers: self.workers(),
                ..PoolStats::default()
            };
        }
        // Under the lock no thread comes or goes.
        let table = lock(&self.table);
        let live = table.threads.values().map(|entry| &entry.worker.counters);
        let (workers, limit) = (table.workers, self.options.queue_limit);
        counters::snapshot(workers, limit, &self.counters, live, &self.counters_of_left)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        registry::unregister(self.pool_id);
    }
}

//! What the threads of a pool and its owner share: the queue, and who is there to work on it.

use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crossbeam_deque::{Injector, Steal};
use rustix::time::{ClockId, clock_gettime};

use super::adaptive_spin;
use super::capacity::Capacity;
use super::counters::{self, Counters, Tally};
use super::current;
use super::locks::lock;
use super::registry;
use super::scheduler::MUCH;
use super::task::Slot;
use super::thread_table::{HELP, Roster, WATCHED};
use super::timeouts::Keeper;
use super::work::Work;
use crate::pool::config::Options;
use crate::pool::events;
use crate::pool::policy::estimate::SharedEstimate;
use crate::pool::policy::limits::should_remove_cancelled;
use crate::sys::original::Original;
use crate::task::panic::contained;
use crate::worker::handle::Task;
use crate::{JoinHandle, Kind, Message, PoolStats};

/// The threads of a pool, and what they have to do.
pub(in crate::pool) struct Shared {
    /// The pool's, in this process.
    pub(super) number: u64,
    original: Original,
    pub(super) options: Options,
    queue: Injector<Arc<dyn Work>>,
    /// Those in the queue that have ended.
    shells: AtomicUsize,
    pub(super) capacity: Capacity,
    roster: Mutex<Roster>,
    /// As the roster says when it is unlocked.
    hint: AtomicU32,
    /// A thread has become ready or ended, or waits.
    pub(super) changed: Condvar,
    pub(super) counters: Counters,
    /// How long tasks take.
    pub(super) task_time: SharedEstimate,
    /// What those have counted that have ended or were let go. Written under the roster's lock.
    pub(super) past: Tally,
    pub(super) keeper: Option<Keeper>,
}

impl Shared {
    /// Starts the workers, and waits until each is ready.
    pub(in crate::pool) fn start(options: Options) -> io::Result<Arc<Shared>> {
        let pool = Arc::new(Shared::new(options));
        registry::enter(&pool);
        pool.build()?;
        Ok(pool)
    }

    #[track_caller]
    pub(in crate::pool) fn submit<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
    ) -> JoinHandle<R> {
        let started = Location::caller();
        if self.is_copy() {
            return JoinHandle(Task::Closed(Kind::Thread));
        }
        if !self.capacity.try_acquire() {
            let _blocked = current::block();
            self.capacity.acquire();
        }
        self.accept(task, started, input)
    }

    #[track_caller]
    pub(in crate::pool) fn try_submit<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        let started = Location::caller();
        if self.is_copy() || !self.capacity.try_acquire() {
            return Err(input);
        }
        Ok(self.accept(task, started, input))
    }

    /// There is room for it.
    fn accept<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        started: &'static Location<'static>,
        input: A,
    ) -> JoinHandle<R> {
        let slot = Arc::new(Slot::new(self, task, started, input));
        self.push(Arc::clone(&slot) as Arc<dyn Work>);
        JoinHandle(Task::Pooled(slot))
    }

    pub(in crate::pool) fn workers(&self) -> usize {
        self.options.workers
    }

    fn new(options: Options) -> Shared {
        Shared {
            number: registry::number(),
            original: Original::this_process(),
            queue: Injector::new(),
            shells: AtomicUsize::new(0),
            capacity: Capacity::new(options.queue_limit),
            roster: Mutex::new(Roster::new(options.workers)),
            hint: AtomicU32::new(0),
            changed: Condvar::new(),
            counters: Counters::new(),
            task_time: SharedEstimate::default(),
            past: Tally::new(),
            keeper: options.timeout.map(Keeper::new),
            options,
        }
    }

    /// What it tells those who listen.
    pub(super) fn events(&self) -> events::EventSource {
        events::EventSource {
            pool: self.number,
            kind: Kind::Thread,
        }
    }

    /// Whether this process is a fork of the one that made the pool.
    pub(super) fn is_copy(&self) -> bool {
        !self.original.is_this_process()
    }

    /// The pool's clock, in nanoseconds; never 0.
    pub(super) fn now(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        // It counts from the start of the machine: neither is below nothing.
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    pub(super) fn hint(&self) -> u32 {
        self.hint.load(Ordering::Relaxed)
    }

    pub(super) fn queue_is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many wait, shells included.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The next of the queue.
    pub(super) fn next(&self) -> Option<Arc<dyn Work>> {
        loop {
            match self.queue.steal() {
                Steal::Success(item) => return Some(item),
                Steal::Empty => return None,
                Steal::Retry => std::hint::spin_loop(),
            }
        }
    }

    /// Puts it into the queue, and sees to it that somebody comes.
    pub(super) fn push(self: &Arc<Self>, item: Arc<dyn Work>) {
        self.queue.push(item);
        // A thread that lies down says so and then looks at the queue; we do it the other way
        // round.
        fence(Ordering::SeqCst);
        let hint = self.hint();
        if hint & (HELP | WATCHED) != 0 && (hint & HELP != 0 || self.backlog() > MUCH) {
            self.help();
        }
    }

    /// One that is queued has ended: only its shell is left, for a queue gives nothing back from
    /// its middle. When there are too many of them, they are sorted out.
    pub(super) fn leaves_shell(self: &Arc<Self>) {
        let shells = self.shells.fetch_add(1, Ordering::Relaxed) + 1;
        if !should_remove_cancelled(shells, self.queue.len()) {
            return;
        }
        let shells = self.shells.swap(0, Ordering::Relaxed);
        if !should_remove_cancelled(shells, 0) {
            // Somebody else is at it.
            return;
        }
        for _ in 0..self.queue.len() {
            let Some(item) = self.next() else {
                return;
            };
            if item.is_over() {
                contained(|| drop(item));
            } else {
                self.push(item);
            }
        }
    }

    /// Changes who is there.
    pub(super) fn roster<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        let mut roster = lock(&self.roster);
        let before = roster.active();
        let result = change(&mut roster);
        let (after, hint) = (roster.active(), roster.hint());
        if before != after {
            adaptive_spin::awake_changed(before, after);
        }
        if hint != self.hint() {
            self.hint.store(hint, Ordering::SeqCst);
        }
        result
    }

    pub(super) fn lock_roster(&self) -> MutexGuard<'_, Roster> {
        lock(&self.roster)
    }

    /// Nanoseconds that what is queued will take, if it is as what was before it.
    pub(super) fn backlog(&self) -> u64 {
        self.time_for(self.queue.len() as u64)
    }

    pub(super) fn time_for(&self, tasks: u64) -> u64 {
        (tasks as f64 * self.task_time.get().nanos() / self.options.workers as f64) as u64
    }

    pub(in crate::pool) fn stats(&self) -> PoolStats {
        if self.is_copy() {
            return PoolStats {
                workers: self.options.workers,
                ..PoolStats::default()
            };
        }
        // Nobody comes or goes meanwhile.
        let roster = lock(&self.roster);
        let live = roster.live.values().map(|member| &member.worker.tally);
        let (workers, limit) = (self.options.workers, self.options.queue_limit);
        counters::sum(workers, limit, &self.counters, live, &self.past)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        registry::leave(self.number);
    }
}

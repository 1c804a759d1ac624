//! One thread of a pool.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::adaptive_spin::{self, AdaptiveSpin};
use super::counters::ThreadCounters;
use super::current;
use super::keyed::PinnedTasks;
use super::locks::lock;
use super::pool::ThreadPool;
use super::state;
use super::thread_table::{ABORTED, Idle, SHUTTING_DOWN, SURPLUS};
use super::timeouts;
use super::work::{Rejection, RunOutcome, Work};
use crate::JoinError;
use crate::publish::{TaskPicture, WorkerPicture};
use crate::sys::process::thread_number;
use crate::task::contain::contained;
use crate::task::entry::caught;
use crate::task::name::TaskName;

/// How long a thread that is one too many sleeps before it exits: it may be needed again.
const IDLE_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the sentry sleeps between two looks, and after how many in vain it sleeps for good.
const SENTRY_PERIOD: Duration = Duration::from_micros(100);
const SENTRY_TICKS: u32 = 20;

pub(super) struct WorkerThread {
    pub(super) id: u64,
    pub(super) pool: Arc<ThreadPool>,
    thread: OnceLock<thread::Thread>,
    /// What the system calls it; 0 before it runs.
    tid: AtomicU32,
    /// Another thread took this one off the list of sleepers.
    woken: AtomicBool,
    /// When its task began, by the pool's clock; 0 while it runs none. Kept only where tasks have a
    /// timeout.
    pub(super) task_began: AtomicU64,
    /// How long that task may run, in nanoseconds.
    pub(super) time_limit: AtomicU64,
    /// When it ended the task before, or began to be busy, by the pool's clock; 0 while it is idle.
    busy_since: AtomicU64,
    /// The item that it works on, for threads that may have to abandon or reject it.
    current_work: Mutex<Option<Arc<dyn Work>>>,
    pub(super) counters: ThreadCounters,
    /// Tasks that it alone runs.
    pub(super) pinned: PinnedTasks,
}

impl WorkerThread {
    pub(super) fn new(id: u64, pool: Arc<ThreadPool>) -> WorkerThread {
        WorkerThread {
            id,
            pool,
            thread: OnceLock::new(),
            tid: AtomicU32::new(0),
            woken: AtomicBool::new(false),
            task_began: AtomicU64::new(0),
            time_limit: AtomicU64::new(u64::MAX),
            busy_since: AtomicU64::new(0),
            current_work: Mutex::new(None),
            counters: ThreadCounters::new(),
            pinned: PinnedTasks::default(),
        }
    }

    /// The thread's main function.
    pub(super) fn main(self: Arc<Self>) {
        let _ = self.thread.set(thread::current());
        self.tid.store(thread_number(), Ordering::Relaxed);
        current::set(&self);
        if let Some(Err(unwound)) = self.pool.options.initializer.map(caught) {
            self.pool.on_init_failed(&self, unwound);
            return;
        }
        if let Some(state) = &self.pool.options.state {
            match caught(|| (state.load)()) {
                Ok(loaded) => state::set(loaded),
                Err(unwound) => return self.pool.on_init_failed(&self, unwound),
            }
        }
        if self.pool.on_init_done(self.id) {
            self.run_loop();
        }
        // A destructor of the program's, in the thread that it is of.
        contained(state::drop_it);
        current::clear();
    }

    fn run_loop(self: &Arc<Self>) {
        // Whether this thread is the one that searches for work. A thread that has just started is
        // not: it was not woken to search.
        let mut searching = false;
        let mut spin = AdaptiveSpin::new();
        // Whether the last item was one that only this thread runs.
        let mut was_pinned = false;
        loop {
            if self.pool.wake_hint() & SURPLUS != 0 && !searching && !self.has_pinned() {
                if self.sleep(&mut searching, true) {
                    continue;
                }
                return;
            }
            let Some(item) = self.next_item(&mut was_pinned) else {
                if self.idle(&mut searching, &mut spin) {
                    continue;
                }
                return;
            };
            if searching {
                searching = false;
                self.pool.end_search();
            }
            if self.run(item) == RunOutcome::Abandoned {
                return;
            }
            if self.at_task_limit() {
                self.pool.recycle(self);
                return;
            }
        }
    }

    /// Takes the next item: of those that it alone runs, or of the queue, in turn.
    #[inline]
    fn next_item(&self, was_pinned: &mut bool) -> Option<Arc<dyn Work>> {
        if !self.has_pinned() {
            return self.pool.next_work();
        }
        *was_pinned = !*was_pinned;
        if *was_pinned {
            self.next_pinned().or_else(|| self.pool.next_work())
        } else {
            self.pool.next_work().or_else(|| self.next_pinned())
        }
    }

    fn run(self: &Arc<Self>, item: Arc<dyn Work>) -> RunOutcome {
        let mut outcome = RunOutcome::Done;
        // A panic may come out of a destructor of a value that nothing takes, or out of a waker.
        // The task has ended by then.
        contained(|| {
            self.set_current_work(Arc::clone(&item));
            // `ThreadPool::abort` sets the flag first and then looks at each current item.
            if self.pool.wake_hint() & ABORTED != 0 {
                item.reject(&self.pool, &Rejection::Cancelled);
            } else {
                outcome = item.run(self);
            }
        });
        outcome
    }

    /// The worker works on nothing any more.
    fn clear_current_work(&self) {
        let item = lock(&self.current_work).take();
        contained(|| drop(item));
    }

    /// The worker works on something else now.
    pub(super) fn set_current_work(&self, item: Arc<dyn Work>) {
        let before = lock(&self.current_work).replace(item);
        // This may be the last reference to a result that nothing takes.
        contained(|| drop(before));
    }

    /// The item that it works on.
    pub(super) fn current_work(&self) -> Option<Arc<dyn Work>> {
        lock(&self.current_work).clone()
    }

    /// Whether it has run as many tasks as a thread of this pool may, or has no state any more.
    pub(super) fn at_task_limit(&self) -> bool {
        let options = &self.pool.options;
        (options.most_tasks())
            .is_some_and(|most| self.counters.begun.load(Ordering::Relaxed) >= most)
            || options.state.is_some() && state::is_lost()
    }

    /// What the system calls it; 0: it does not run yet.
    pub(super) fn system_number(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// The item that it works on, and when it began its task, by the pool's clock, if that is kept:
    /// to be compared with later, and for nothing else.
    pub(super) fn work_mark(&self) -> (usize, u64, u64) {
        let work = lock(&self.current_work);
        let item = work
            .as_ref()
            .map_or(0, |work| Arc::as_ptr(work).cast::<()>() as usize);
        let begun = self.counters.begun.load(Ordering::Relaxed);
        (item, begun, self.task_began.load(Ordering::Relaxed))
    }

    /// What is published of it.
    pub(super) fn picture(&self, is_blocked: bool, is_ready: bool) -> WorkerPicture {
        let busy_since = self.busy_since.load(Ordering::Relaxed);
        let function = lock(&self.current_work)
            .as_ref()
            .map(|work| work.function());
        let task = function.filter(|_| busy_since != 0);
        WorkerPicture {
            id: self.tid.load(Ordering::Relaxed),
            state: match task {
                _ if !is_ready => "starting",
                Some(_) if is_blocked => "waiting",
                Some(_) => "running",
                None => "idle",
            },
            task: task.map(|(function, call_site)| TaskPicture {
                function,
                call_site,
                since: Duration::from_nanos(self.pool.now().saturating_sub(busy_since)),
            }),
            ahead: 0,
        }
    }

    /// Counts a task of this thread that ended by itself.
    pub(super) fn count_result<R>(&self, result: &Result<R, JoinError>) {
        match result {
            Ok(_) => super::counters::add_unshared(&self.counters.done, 1),
            Err(JoinError::Panicked(_)) => {
                super::counters::add_unshared(&self.counters.panicked, 1)
            }
            Err(error) => self.pool.with_table(|_| {
                self.count_external();
                self.pool.counters.count(error, 1);
            }),
        }
    }

    /// The end of one of its tasks is counted elsewhere. Called under the table's lock.
    pub(super) fn count_external(&self) {
        super::counters::add_unshared(&self.counters.external, 1);
    }

    /// Whether it runs a task, or has just ended one and looks for the next.
    pub(super) fn is_busy(&self) -> bool {
        self.busy_since.load(Ordering::Relaxed) != 0
    }

    /// When its next task begins, by the pool's clock.
    pub(super) fn start_time(&self) -> u64 {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => {
                let now = self.pool.now();
                self.busy_since.store(now, Ordering::Relaxed);
                now
            }
            busy_since => busy_since,
        }
    }

    /// The worker was busy until `now`.
    pub(super) fn add_busy(&self, now: u64) {
        let busy_since = self.busy_since.load(Ordering::Relaxed);
        super::counters::add_unshared(&self.counters.busy, now.saturating_sub(busy_since));
        self.busy_since.store(now, Ordering::Relaxed);
    }

    /// A task begins, which may run for the time `limit`. Returns when, by the pool's clock, if
    /// tasks have a timeout or the pool has a timeline; else 0.
    pub(super) fn task_started(&self, limit: Option<Duration>) -> u64 {
        super::counters::add_unshared(&self.counters.begun, 1);
        let Some(monitor) = self.pool.timeout_monitor.get() else {
            return match self.pool.options.timeline {
                Some(_) => self.pool.now(),
                None => 0,
            };
        };
        let now = self.pool.now();
        let Some(limit) = limit else {
            return now;
        };
        self.time_limit
            .store(timeouts::nanos(limit), Ordering::Relaxed);
        self.task_began.store(now, Ordering::Release);
        // Store–fence–load (README.md): either the monitor sees that a task runs, or this thread
        // sees that the monitor is parked.
        fence(Ordering::SeqCst);
        monitor.on_task_start(self.pool.options.timeout != Some(limit));
        now
    }

    /// The task has returned: the monitor does not watch what comes after it.
    pub(super) fn task_stopped(&self) {
        if self.pool.timeout_monitor.get().is_some() {
            self.task_began.store(0, Ordering::Relaxed);
        }
    }

    #[cold]
    pub(super) fn name(&self, task: usize, call_site: &'static Location<'static>) -> TaskName {
        TaskName::at(task, self.pool.options.name.clone(), call_site)
    }

    /// There is nothing to do: searches for a while, if no other thread does, and sleeps. `false`:
    /// the pool does not need the thread any more.
    fn idle(self: &Arc<Self>, searching: &mut bool, spin: &mut AdaptiveSpin) -> bool {
        self.busy_since.store(0, Ordering::Relaxed);
        // Tasks often come one right after another: a short look saves going through the table.
        if adaptive_spin::has_idle_processor()
            && adaptive_spin::spin_briefly(|| !self.pool.queue_is_empty() || self.has_pinned())
        {
            return true;
        }
        self.clear_current_work();
        if !*searching {
            *searching = self.pool.begin_search();
        }
        let pool = &self.pool;
        let has_work = || !pool.queue_is_empty() || self.has_pinned();
        let has_come = || has_work() || pool.wake_hint() & SHUTTING_DOWN != 0;
        if *searching
            && spin.spin_until(adaptive_spin::has_idle_processor(), has_come)
            && has_work()
        {
            return true;
        }
        let idle_since = Instant::now();
        let goes_on = self.sleep(searching, false);
        spin.on_wake(idle_since.elapsed());
        goes_on
    }

    /// Sleeps until another thread wakes it. `false`: the pool does not need the thread any more.
    fn sleep(self: &Arc<Self>, searching: &mut bool, surplus: bool) -> bool {
        let idle = match self
            .pool
            .enter_idle(self, std::mem::take(searching), surplus)
        {
            Idle::Resume => return true,
            Idle::Exit => return false,
            idle => idle,
        };
        if !surplus {
            // Store–fence–load (README.md): a thread that added work before it could see that this
            // one sleeps has woken no thread.
            fence(Ordering::SeqCst);
            if !self.pool.queue_is_empty() {
                self.pool.wake_or_start();
            }
        }
        // A thread that gave it a task before it could be seen to sleep has not woken it.
        if self.has_pinned() && self.end_sleep() {
            return true;
        }
        let mut ticks = if idle == Idle::Sentry {
            SENTRY_TICKS
        } else {
            0
        };
        let mut until = (idle != Idle::Sleep).then(|| Instant::now() + IDLE_TIMEOUT);
        loop {
            if self.woken.swap(false, Ordering::Acquire) {
                *searching = true;
                return true;
            }
            if ticks > 0 {
                thread::park_timeout(SENTRY_PERIOD);
                ticks -= 1;
                self.pool.sentry_tick(self, ticks == 0);
            } else if let Some(at) = until {
                let left = at.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    thread::park_timeout(left);
                } else if self.pool.try_exit(self) {
                    return false;
                } else {
                    // It is needed, or another thread is about to wake it.
                    until = None;
                }
            } else if self.pool.wake_hint() & SHUTTING_DOWN != 0 {
                // It has gone to sleep since shutdown woke all sleepers: it is woken for work only.
                if self.pool.queue_is_empty() && self.pool.try_exit(self) {
                    return false;
                }
                thread::park_timeout(SENTRY_PERIOD);
            } else {
                thread::park();
            }
        }
    }

    /// Wakes the thread, which the caller took off the list of sleepers.
    pub(super) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

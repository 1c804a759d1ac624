//! One thread of the pool.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::adaptive_spin::{self, AdaptiveSpin};
use super::counters::ThreadCounters;
use super::current;
use super::locks::lock;
use super::pool::ThreadPool;
use super::scheduler::Idle;
use super::thread_table::{ABORTED, SHUTTING_DOWN, SURPLUS};
use super::work::{Rejection, RunOutcome, Work};
use crate::JoinError;
use crate::task::entry::caught;
use crate::task::name::TaskName;
use crate::task::panic::contained;

/// How long a thread that is one too many sleeps before it ends: it may be wanted again.
const IDLE_TIMEOUT: Duration = Duration::from_millis(100);

/// How long one that stands by sleeps between two looks, and how many are in vain before it sleeps
/// for good.
const SENTRY_PERIOD: Duration = Duration::from_micros(100);
const SENTRY_TICKS: u32 = 20;

pub(super) struct WorkerThread {
    pub(super) id: u64,
    pub(super) pool: Arc<ThreadPool>,
    thread: OnceLock<thread::Thread>,
    /// Somebody took it off the list of sleepers.
    woken: AtomicBool,
    /// When the task that it runs began, by the pool's clock; 0 while it runs none. Kept only where
    /// tasks have a time.
    pub(super) task_began: AtomicU64,
    /// Since when it is at what it is at, which is when it ended what was before that, by the
    /// pool's clock; 0 if it has waited since.
    busy_since: AtomicU64,
    /// What it is at. For those who may have to end that.
    current_work: Mutex<Option<Arc<dyn Work>>>,
    pub(super) counters: ThreadCounters,
}

impl WorkerThread {
    pub(super) fn new(id: u64, pool: Arc<ThreadPool>) -> WorkerThread {
        WorkerThread {
            id,
            pool,
            thread: OnceLock::new(),
            woken: AtomicBool::new(false),
            task_began: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            current_work: Mutex::new(None),
            counters: ThreadCounters::new(),
        }
    }

    /// The thread's main function.
    pub(super) fn main(self: Arc<Self>) {
        let _ = self.thread.set(thread::current());
        current::set(&self);
        if let Some(Err(unwound)) = self.pool.options.initializer.map(caught) {
            self.pool.on_init_failed(&self, unwound);
            return;
        }
        if self.pool.on_init_done(self.id) {
            self.run_loop();
        }
        current::clear();
    }

    fn run_loop(self: &Arc<Self>) {
        // Whether the pool counts on it to look for work. One that was just started has not been
        // waited for.
        let mut searching = false;
        let mut spin = AdaptiveSpin::new();
        loop {
            if self.pool.wake_hint() & SURPLUS != 0 && !searching {
                if self.sleep(&mut searching, true) {
                    continue;
                }
                return;
            }
            let Some(item) = self.pool.next_work() else {
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

    fn run(self: &Arc<Self>, item: Arc<dyn Work>) -> RunOutcome {
        let mut outcome = RunOutcome::Done;
        // A destructor of a value that nobody wants, or a waker, may panic: its task has ended by
        // then.
        contained(|| {
            self.set_current_work(Arc::clone(&item));
            // Who aborts the pool says so before he looks at the desk.
            if self.pool.wake_hint() & ABORTED != 0 {
                item.reject(&self.pool, &Rejection::Cancelled);
            } else {
                outcome = item.run(self);
            }
        });
        outcome
    }

    /// It is at nothing any more.
    fn clear_current_work(&self) {
        let item = lock(&self.current_work).take();
        contained(|| drop(item));
    }

    /// It is at something else now.
    pub(super) fn set_current_work(&self, item: Arc<dyn Work>) {
        let before = lock(&self.current_work).replace(item);
        // Its result may have been nobody's.
        contained(|| drop(before));
    }

    /// What it is at.
    pub(super) fn current_work(&self) -> Option<Arc<dyn Work>> {
        lock(&self.current_work).clone()
    }

    /// Whether it has run as many tasks as a thread of this pool may.
    pub(super) fn at_task_limit(&self) -> bool {
        (self.pool.options.recycle_after)
            .is_some_and(|most| self.counters.begun.load(Ordering::Relaxed) >= most)
    }

    /// A task of its ended by itself.
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

    /// The end of a task of its is counted, but not by it. Under the roster's lock.
    pub(super) fn count_external(&self) {
        super::counters::add_unshared(&self.counters.external, 1);
    }

    /// When what it does next begins, by the pool's clock.
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

    /// It was busy until now.
    pub(super) fn add_busy(&self, now: u64) {
        let busy_since = self.busy_since.load(Ordering::Relaxed);
        super::counters::add_unshared(&self.counters.busy, now.saturating_sub(busy_since));
        self.busy_since.store(now, Ordering::Relaxed);
    }

    /// A task begins: now, by the pool's clock.
    pub(super) fn task_started(&self) -> u64 {
        super::counters::add_unshared(&self.counters.begun, 1);
        let Some(monitor) = &self.pool.timeout_monitor else {
            return 0;
        };
        let now = self.pool.now();
        self.task_began.store(now, Ordering::Relaxed);
        // Either it sees that somebody runs something, or we see that it sleeps.
        fence(Ordering::SeqCst);
        monitor.on_task_start();
        now
    }

    /// It has ended, or what was begun after it is not watched.
    pub(super) fn task_stopped(&self) {
        if self.pool.timeout_monitor.is_some() {
            self.task_began.store(0, Ordering::Relaxed);
        }
    }

    #[cold]
    pub(super) fn name(&self, task: usize, call_site: &'static Location<'static>) -> TaskName {
        TaskName::at(task, self.pool.options.name.clone(), call_site)
    }

    /// There is nothing to do: looks for a while, if nobody else does, and sleeps. `false`: it is
    /// not needed any more.
    fn idle(self: &Arc<Self>, searching: &mut bool, spin: &mut AdaptiveSpin) -> bool {
        self.busy_since.store(0, Ordering::Relaxed);
        // Tasks that come one right after another are not worth a word to the others.
        if adaptive_spin::has_idle_processor()
            && adaptive_spin::spin_briefly(|| !self.pool.queue_is_empty())
        {
            return true;
        }
        self.clear_current_work();
        if !*searching {
            *searching = self.pool.begin_search();
        }
        let pool = &self.pool;
        let has_come = || !pool.queue_is_empty() || pool.wake_hint() & SHUTTING_DOWN != 0;
        if *searching
            && spin.spin_until(adaptive_spin::has_idle_processor(), has_come)
            && !pool.queue_is_empty()
        {
            return true;
        }
        let idle_since = Instant::now();
        let goes_on = self.sleep(searching, false);
        spin.on_wake(idle_since.elapsed());
        goes_on
    }

    /// `false`: it is not needed any more.
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
            // Who gave the pool something before it could know that we sleep counted on us.
            fence(Ordering::SeqCst);
            if !self.pool.queue_is_empty() {
                self.pool.wake_or_start();
            }
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
                    // It is needed, or somebody is about to wake it.
                    until = None;
                }
            } else if self.pool.wake_hint() & SHUTTING_DOWN != 0 {
                // It has lain down since the sleepers were told: nobody wakes it any more, unless
                // for work.
                if self.pool.queue_is_empty() && self.pool.try_exit(self) {
                    return false;
                }
                thread::park_timeout(SENTRY_PERIOD);
            } else {
                thread::park();
            }
        }
    }

    /// It is off the list of sleepers.
    pub(super) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

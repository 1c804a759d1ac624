//! The timeout monitor: a thread that ends tasks which run over their timeout, or past their
//! deadline.
//!
//! Most tasks share one timeout, the pool's, so one that begins while the monitor sleeps cannot
//! expire before the monitor wakes: it sleeps until the first task that runs expires, or for less.
//! The start of such a task needs no notification. Only when no task was begun while it slept does
//! the monitor park for good; then the next thread that begins a task wakes it. A task with a
//! timeout of its own always does.
//!
//! Only time counts in which the program could run. The clock is `CLOCK_MONOTONIC`, which stands
//! still while the machine is suspended, but not while the program is stopped (SIGSTOP, Ctrl-Z, a
//! frozen control group), and the kernel does not tell the program of that. So while tasks run the
//! monitor sleeps for a part of the timeout at a time ([`SLEEP_LIMITS`]). If it wakes much later
//! than it asked for, the program was stopped in between, and the monitor gives the tasks that time
//! back. A stop that is shorter than one sleep may go unseen. A deadline is a moment: nothing is
//! given back of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::current;
use super::locks::lock;
use super::pool::ThreadPool;
use super::stacks;
use super::work::{AbandonReason, Work};
use crate::sys::error::{Call, THREAD};
use crate::sys::service_thread;
use crate::task::contain::contained;
use crate::task::whereabouts::Whereabouts;

/// The least and the most that the monitor sleeps at a time while tasks run, in nanoseconds.
const SLEEP_LIMITS: (u64, u64) = (1_000_000, 10_000_000);
const SLEEPS_PER_TIMEOUT: u64 = 16;

/// A sleep that is longer by this many nanoseconds than was asked for was a stop of the program.
const MIN_MISSED: u64 = 2_000_000;

/// How long a thread that is to be let go may take to tell where it is.
const ANSWERS_WITHIN: Duration = Duration::from_millis(10);

/// How much time was given back to each running task: thread, when its task began, nanoseconds.
type TimeGivenBack = Vec<(u64, u64, u64)>;

pub(super) struct TimeoutMonitor {
    /// The monitor sleeps until it is woken.
    is_parked: AtomicBool,
    /// The monitor wants a call when tasks wait, for the number of threads follows the work.
    pub(super) awaits_backlog: AtomicBool,
    /// Tasks that have not ended and have a deadline, by that and by their number.
    deadlines: Mutex<BTreeMap<(u64, u64), Weak<dyn Work>>>,
    /// Where the thread is whose task the monitor is about to end, if threads may be asked.
    place: Mutex<Option<Whereabouts>>,
    thread: thread::Thread,
}

/// What the running tasks are watched for.
#[derive(Clone, Copy)]
struct Watched {
    /// When the first of them expires.
    expires: u64,
    /// The shortest time that one has.
    shortest: u64,
}

/// As the pool's clock counts.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl ThreadPool {
    /// The monitor, started if there is none. Its thread exits when the pool has shut down and has
    /// no threads any more.
    pub(super) fn ensure_timeout_monitor(self: &Arc<Self>) -> io::Result<&TimeoutMonitor> {
        if let Some(monitor) = self.timeout_monitor.get() {
            return Ok(monitor);
        }
        let mut table = self.lock_table();
        if let Some(monitor) = self.timeout_monitor.get() {
            return Ok(monitor);
        }
        let theirs = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("brigade-timeouts".to_owned())
            .spawn(move || {
                current::set_monitor_of(theirs.pool_id);
                service_thread::mark();
                // The thread that starts this one has the lock until the monitor is there.
                drop(theirs.lock_table());
                if let Some(monitor) = theirs.timeout_monitor.get() {
                    monitor.run(&theirs);
                }
            })
            .call(THREAD)
            .needed_to("end tasks over their timeout")?;
        let monitor = TimeoutMonitor {
            is_parked: AtomicBool::new(false),
            awaits_backlog: AtomicBool::new(false),
            deadlines: Mutex::default(),
            place: Mutex::new(None),
            thread: thread.thread().clone(),
        };
        table.monitor = Some(thread);
        Ok(self.timeout_monitor.get_or_init(|| monitor))
    }
}

impl TimeoutMonitor {
    /// Where the thread was, for the error of the task that the monitor ends now.
    pub(super) fn take_place(&self) -> Option<Whereabouts> {
        // Another thread makes the error of a task that the monitor does not end.
        let is_monitor = thread::current().id() == self.thread.id();
        is_monitor.then(|| lock(&self.place).take()).flatten()
    }

    /// A task has begun: wakes the monitor if it is parked, or if the task has a time of its own,
    /// which may be shorter than the monitor sleeps.
    pub(super) fn on_task_start(&self, has_own_time: bool) {
        let is_parked = self.is_parked.load(Ordering::Relaxed);
        if has_own_time || is_parked && self.is_parked.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        self.thread.unpark();
    }

    /// A task was accepted that has a deadline.
    pub(super) fn add_deadline(&self, at: u64, number: u64, task: Weak<dyn Work>) {
        let mut deadlines = lock(&self.deadlines);
        deadlines.insert((at, number), task);
        let is_first = deadlines.keys().next() == Some(&(at, number));
        drop(deadlines);
        if is_first {
            self.wake();
        }
    }

    /// Such a task has ended.
    pub(super) fn remove_deadline(&self, at: u64, number: u64) {
        lock(&self.deadlines).remove(&(at, number));
    }

    /// Ends the tasks whose deadline has passed. Returns when the next one does.
    fn enforce_deadlines(&self, pool: &Arc<ThreadPool>) -> Option<u64> {
        loop {
            let now = pool.now();
            let mut deadlines = lock(&self.deadlines);
            let first = deadlines.first_entry()?;
            let at = first.key().0;
            if at > now {
                return Some(at);
            }
            let task = first.remove();
            drop(deadlines);
            if let Some(task) = task.upgrade() {
                // A panic in the user's destructor must not end the monitor.
                contained(|| task.expire(pool));
            }
        }
    }

    fn run(&self, pool: &Arc<ThreadPool>) {
        let mut given = TimeGivenBack::new();
        let mut woke = pool.now();
        let mut told_at = None;
        loop {
            if pool.is_over() {
                return;
            }
            let deadline = self.enforce_deadlines(pool);
            let look = self.follow_work(pool, &mut told_at);
            let deadline = deadline.into_iter().chain(look).min();
            let watched = self.scan(pool, &given, woke);
            let watched = watched.or_else(|| {
                self.is_parked.store(true, Ordering::SeqCst);
                // Store–fence–load (README.md): a thread that begins a task says so and then looks
                // whether the monitor is parked; the monitor does it the other way round.
                fence(Ordering::SeqCst);
                let watched = self.scan(pool, &given, woke);
                if watched.is_some() {
                    self.is_parked.store(false, Ordering::Relaxed);
                }
                watched
            });
            match watched {
                // The last thread of the pool wakes the monitor when it exits.
                None if pool.is_over() => return,
                None => {
                    match deadline {
                        None => thread::park(),
                        Some(at) => {
                            let left = at.saturating_sub(pool.now());
                            thread::park_timeout(Duration::from_nanos(left));
                        }
                    }
                    woke = pool.now();
                    // All tasks that run were begun a moment ago, or the program was stopped in
                    // that moment.
                    give_back(pool, &mut given, u64::MAX, woke);
                }
                Some(watched) => {
                    let until = deadline.map_or(watched.expires, |at| at.min(watched.expires));
                    let longest = watched.shortest / SLEEPS_PER_TIMEOUT;
                    let longest = longest.clamp(SLEEP_LIMITS.0, SLEEP_LIMITS.1);
                    let sleep = until.saturating_sub(woke).min(longest);
                    thread::park_timeout(Duration::from_nanos(sleep));
                    let before = std::mem::replace(&mut woke, pool.now());
                    let missed = (woke - before).saturating_sub(sleep);
                    if missed >= MIN_MISSED {
                        give_back(pool, &mut given, missed, woke);
                    }
                }
            }
        }
    }

    /// Ends the tasks that have run over their timeout by `now`. That is when the monitor woke, so
    /// that a stop in the middle of this counts for no task. Returns what those that run on are
    /// watched for.
    fn scan(&self, pool: &Arc<ThreadPool>, given: &TimeGivenBack, now: u64) -> Option<Watched> {
        let workers = pool.live_workers();
        let mut watched: Option<Watched> = None;
        for worker in workers {
            // The limit is stored before.
            let began = worker.task_began.load(Ordering::Acquire);
            if began == 0 {
                continue;
            }
            let limit = worker.time_limit.load(Ordering::Relaxed);
            let mut watch = |since: u64| {
                let expires = since.saturating_add(limit);
                let of_others = watched.unwrap_or(Watched {
                    expires,
                    shortest: limit,
                });
                watched = Some(Watched {
                    expires: of_others.expires.min(expires),
                    shortest: of_others.shortest.min(limit),
                });
            };
            let counts_from = began + given_back(given, worker.id, began);
            if now.saturating_sub(counts_from) < limit {
                watch(counts_from);
                continue;
            }
            let item = worker.current_work();
            // The task may end meanwhile, and this be the last reference to it. A panic in the
            // user's destructor must not end the monitor.
            let kept = item.clone();
            if pool.options.thread_stacks {
                *lock(&self.place) = Some(stacks::ask(&worker, Instant::now() + ANSWERS_WITHIN));
            }
            let abandoned =
                item.is_some_and(|item| item.abandon(&worker, began, AbandonReason::TimedOut));
            drop(self.take_place());
            contained(|| drop(kept));
            if abandoned {
                pool.replace(worker.id, AbandonReason::TimedOut);
            } else {
                // It has ended meanwhile, and the next may have begun.
                watch(now);
            }
        }
        watched
    }
}

/// How much was given back to the task of a thread that began then.
fn given_back(given: &TimeGivenBack, thread: u64, began: u64) -> u64 {
    let entry = given.iter().find(|g| (g.0, g.1) == (thread, began));
    entry.map_or(0, |g| g.2)
}

/// Nothing could run for `missed` nanoseconds, until `now`.
fn give_back(pool: &ThreadPool, given: &mut TimeGivenBack, missed: u64, now: u64) {
    let running = pool.live_workers().into_iter().filter_map(|worker| {
        let began = worker.task_began.load(Ordering::Relaxed);
        (began != 0).then_some((worker.id, began))
    });
    *given = running
        .map(|(thread, began)| {
            let most = now.saturating_sub(began);
            let returned = given_back(given, thread, began)
                .saturating_add(missed)
                .min(most);
            (thread, began, returned)
        })
        .collect();
}

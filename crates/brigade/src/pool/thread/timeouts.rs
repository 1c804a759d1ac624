//! The timeout monitor: a thread that ends tasks which run over the pool's timeout.
//!
//! All tasks share one timeout, so a task that begins while the monitor sleeps cannot expire before
//! the monitor wakes: it sleeps until the oldest task that runs expires, or for a whole timeout.
//! The start of a task needs no notification. Only when no task was begun while it slept does the
//! monitor park for good; then the next thread that begins a task wakes it.
//!
//! Only time counts in which the program could run. The clock is `CLOCK_MONOTONIC`, which stands
//! still while the machine is suspended, but not while the program is stopped (SIGSTOP, Ctrl-Z, a
//! frozen control group), and the kernel does not tell the program of that. So while tasks run the
//! monitor sleeps for a part of the timeout at a time ([`SLEEP_LIMITS`]). If it wakes much later
//! than it asked for, the program was stopped in between, and the monitor gives the tasks that time
//! back. A stop that is shorter than one sleep may go unseen.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use super::pool::ThreadPool;
use super::work::AbandonReason;
use crate::sys::error::{Call, THREAD};
use crate::task::panic::contained;

/// The least and the most that the monitor sleeps at a time while tasks run, in nanoseconds.
const SLEEP_LIMITS: (u64, u64) = (1_000_000, 10_000_000);
const SLEEPS_PER_TIMEOUT: u64 = 16;

/// A sleep that is longer by so many nanoseconds than was asked for was a stop of the program.
const MIN_MISSED: u64 = 2_000_000;

/// How much time was given back to each running task: thread, when its task began, nanoseconds.
type TimeGivenBack = Vec<(u64, u64, u64)>;

pub(super) struct TimeoutMonitor {
    pub(super) timeout: Duration,
    /// The monitor sleeps until it is woken.
    is_parked: AtomicBool,
    thread: OnceLock<thread::Thread>,
}

impl TimeoutMonitor {
    pub(super) fn new(timeout: Duration) -> TimeoutMonitor {
        TimeoutMonitor {
            timeout,
            is_parked: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// Starts the thread. It exits when the pool has shut down and has no threads any more.
    pub(super) fn start(&self, pool: &Arc<ThreadPool>) -> io::Result<()> {
        let theirs = Arc::clone(pool);
        let thread = thread::Builder::new()
            .name("brigade-keeper".to_owned())
            .spawn(move || {
                if let Some(monitor) = &theirs.timeout_monitor {
                    monitor.run(&theirs);
                }
            })
            .call(THREAD)
            .needed_to("keep a pool's limit of time")?;
        let _ = self.thread.set(thread.thread().clone());
        pool.lock_table().monitor = Some(thread);
        Ok(())
    }

    /// A task has begun: wakes the monitor if it is parked.
    pub(super) fn on_task_start(&self) {
        if self.is_parked.load(Ordering::Relaxed) && self.is_parked.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, pool: &Arc<ThreadPool>) {
        let time = u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX);
        let longest_sleep = (time / SLEEPS_PER_TIMEOUT).clamp(SLEEP_LIMITS.0, SLEEP_LIMITS.1);
        let mut given = TimeGivenBack::new();
        let mut woke = pool.now();
        loop {
            if pool.is_over() {
                return;
            }
            let oldest = self.scan(pool, time, &given, woke);
            let oldest = oldest.or_else(|| {
                self.is_parked.store(true, Ordering::SeqCst);
                // Store–fence–load (README.md): a thread that begins a task says so and then looks
                // whether the monitor is parked; the monitor does it the other way round.
                fence(Ordering::SeqCst);
                let oldest = self.scan(pool, time, &given, woke);
                if oldest.is_some() {
                    self.is_parked.store(false, Ordering::Relaxed);
                }
                oldest
            });
            match oldest {
                // The last thread of the pool wakes the monitor when it exits.
                None if pool.is_over() => return,
                None => {
                    thread::park();
                    woke = pool.now();
                    // All tasks that run were begun a moment ago, or the program was stopped in
                    // that moment.
                    give_back(pool, &mut given, u64::MAX, woke);
                }
                Some(oldest) => {
                    let until = oldest.saturating_add(time);
                    let sleep = until.saturating_sub(woke).min(longest_sleep);
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

    /// Ends the tasks that have expired by `now`. That is when the monitor woke, so that a stop in
    /// the middle of this counts for no task. Returns when the oldest began of those that run on,
    /// later by what it was given back.
    fn scan(
        &self,
        pool: &Arc<ThreadPool>,
        time: u64,
        given: &TimeGivenBack,
        now: u64,
    ) -> Option<u64> {
        let workers = pool.live_workers();
        let mut oldest = None;
        for worker in workers {
            let began = worker.task_began.load(Ordering::Relaxed);
            if began == 0 {
                continue;
            }
            let counts_from = began + given_back(given, worker.id, began);
            if now.saturating_sub(counts_from) < time {
                oldest = Some(oldest.map_or(counts_from, |oldest: u64| oldest.min(counts_from)));
                continue;
            }
            let item = worker.current_work();
            // The task may end meanwhile, and this be the last reference to it. A panic in the
            // user's destructor must not end the monitor.
            let kept = item.clone();
            let abandoned =
                item.is_some_and(|item| item.abandon(&worker, began, AbandonReason::TimedOut));
            contained(|| drop(kept));
            if abandoned {
                pool.replace(worker.id, AbandonReason::TimedOut);
            } else {
                // It has ended meanwhile, and the next may have begun.
                oldest = Some(oldest.map_or(now, |oldest: u64| oldest.min(now)));
            }
        }
        oldest
    }
}

/// How much was given back to the task of a thread that began then.
fn given_back(given: &TimeGivenBack, thread: u64, began: u64) -> u64 {
    let entry = given.iter().find(|g| (g.0, g.1) == (thread, began));
    entry.map_or(0, |g| g.2)
}

/// Nothing could run for so long, until `now`.
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

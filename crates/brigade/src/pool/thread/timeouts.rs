//! Keeps the time: one thread that ends tasks whose time is over.
//!
//! Every task of a pool has the same time, so one that begins while the keeper sleeps cannot be
//! over before the keeper wakes: it sleeps until the time of the oldest that runs is over, or, from
//! now on, for as long as a task may run. Nobody has to wake it for a task. When nothing was begun
//! while it slept, it sleeps for good, and who begins a task then wakes it.
//!
//! Only time counts in which the program could run. The clock is `CLOCK_MONOTONIC`, which stands
//! still while the machine is suspended, but not while the program is stopped (SIGSTOP, Ctrl-Z, a
//! frozen control group), of which nobody tells. So the keeper, as long as tasks run, never sleeps
//! longer than a [`SLEEP_LIMITS`]; and if it wakes much later than it wanted to, what is more was not
//! theirs: they are given it back. A stop that is shorter than a beat may go unseen.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use super::pool::ThreadPool;
use super::work::AbandonReason;
use crate::sys::error::{Call, THREAD};
use crate::task::panic::contained;

/// How long it sleeps at a time while tasks run, in nanoseconds: a part of their time, but no less
/// than the one and no more than the other.
const SLEEP_LIMITS: (u64, u64) = (1_000_000, 10_000_000);
const SLEEPS_PER_TIMEOUT: u64 = 16;

/// No sleep is so much longer than it was to be, in nanoseconds, unless the program could not run.
const MIN_MISSED: u64 = 2_000_000;

/// The tasks that run, and what they were given back of their time: the thread, when its task
/// began, and how much.
type TimeGivenBack = Vec<(u64, u64, u64)>;

pub(super) struct TimeoutMonitor {
    pub(super) timeout: Duration,
    /// It sleeps until it is woken.
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

    /// Starts the thread. It ends when the pool ends and has no threads any more.
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

    /// A task has begun.
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
                // Who begins a task says so and then looks whether we sleep; we do it the other way
                // round.
                fence(Ordering::SeqCst);
                let oldest = self.scan(pool, time, &given, woke);
                if oldest.is_some() {
                    self.is_parked.store(false, Ordering::Relaxed);
                }
                oldest
            });
            match oldest {
                // Whoever is told of the end of the last thread wakes us too.
                None if pool.is_over() => return,
                None => {
                    thread::park();
                    woke = pool.now();
                    // All that runs was begun a moment ago, or the program was stopped in that
                    // moment.
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

    /// Ends what has run too long by `now`: when the keeper woke, so that a stop in the middle of
    /// this is nobody's time. When the oldest began that runs on, or as if it had, where it was
    /// given time back.
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
            // It may end meanwhile, and then we are the last who have it: what a destructor of the
            // program's does must not end the keeper.
            let kept = item.clone();
            let abandoned =
                item.is_some_and(|item| item.abandon(&worker, began, AbandonReason::TimedOut));
            contained(|| drop(kept));
            if abandoned {
                pool.replace(worker.id, AbandonReason::TimedOut);
            } else {
                // It has ended meanwhile, and perhaps the next has begun.
                oldest = Some(oldest.map_or(now, |oldest: u64| oldest.min(now)));
            }
        }
        oldest
    }
}

/// How much a thread's task was given back that began then.
fn given_back(given: &TimeGivenBack, thread: u64, began: u64) -> u64 {
    let entry = given.iter().find(|g| (g.0, g.1) == (thread, began));
    entry.map_or(0, |g| g.2)
}

/// For so long, until `now`, nothing could run.
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

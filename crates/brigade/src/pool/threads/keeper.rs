//! Keeps the time: one thread that ends tasks whose time is over.
//!
//! Every task of a pool has the same time, so one that begins while the keeper sleeps cannot be over before the keeper wakes: it sleeps until
//! the time of the oldest that runs is over, or, from now on, for as long as a task may run. Nobody has to wake it for a task. When nothing
//! was begun while it slept, it sleeps for good, and who begins a task then wakes it.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::primitive::{AtomicBool, Ordering, fence, thread};
use super::shared::Shared;
use super::work::Why;

pub(super) struct Keeper {
    pub(super) timeout: Duration,
    /// It sleeps until it is woken.
    dormant: AtomicBool,
    thread: OnceLock<thread::Thread>,
}

impl Keeper {
    pub(super) fn new(timeout: Duration) -> Keeper {
        Keeper {
            timeout,
            dormant: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// Starts the thread. It ends when the pool ends and has no threads any more.
    pub(super) fn start(&self, crew: &Arc<Shared>) -> io::Result<()> {
        let theirs = Arc::clone(crew);
        let thread = thread::Builder::new()
            .name("brigade-keeper".to_owned())
            .spawn(move || {
                if let Some(keeper) = &theirs.keeper {
                    keeper.keep(&theirs);
                }
            })?;
        let _ = self.thread.set(thread.thread().clone());
        crew.lock_roster().keeper = Some(thread);
        Ok(())
    }

    /// A task has begun.
    pub(super) fn notice(&self) {
        if self.dormant.load(Ordering::Relaxed) && self.dormant.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn keep(&self, crew: &Arc<Shared>) {
        let time = u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX);
        loop {
            if crew.is_deserted() {
                return;
            }
            let oldest = self.look(crew, time);
            let oldest = oldest.or_else(|| {
                self.dormant.store(true, Ordering::SeqCst);
                // Who begins a task says so and then looks whether we sleep; we do it the other way round.
                fence(Ordering::SeqCst);
                let oldest = self.look(crew, time);
                if oldest.is_some() {
                    self.dormant.store(false, Ordering::Relaxed);
                }
                oldest
            });
            match oldest {
                // Whoever is told of the end of the last thread wakes us too.
                None if crew.is_deserted() => return,
                None => thread::park(),
                Some(oldest) => {
                    let until = oldest.saturating_add(time);
                    let left = until.saturating_sub(crew.now());
                    thread::park_timeout(Duration::from_nanos(left));
                }
            }
        }
    }

    /// Ends what has run too long. When the oldest began that runs on.
    fn look(&self, crew: &Arc<Shared>, time: u64) -> Option<u64> {
        let workers = crew.members();
        let mut oldest = None;
        for worker in workers {
            let began = worker.began.load(Ordering::Relaxed);
            if began == 0 {
                continue;
            }
            let now = crew.now();
            let Some(before) = now.checked_sub(time).filter(|before| began <= *before) else {
                oldest = Some(oldest.map_or(began, |oldest: u64| oldest.min(began)));
                continue;
            };
            let item = worker.desk();
            if item.is_some_and(|item| item.let_go(&worker, before, Why::TimedOut)) {
                crew.replace(worker.id, Why::TimedOut);
            } else {
                // It has ended meanwhile, and perhaps the next has begun.
                oldest = Some(oldest.map_or(now, |oldest: u64| oldest.min(now)));
            }
        }
        oldest
    }
}

//! Who is there: the threads of a pool that live, sleep and are blocked, and what has to be done
//! about it.
//!
//! Everything here is under one lock, which is taken when a thread begins or ends to sleep, to look
//! for work or to be blocked, and not for each task. Who gives the pool a task reads one word,
//! [`ThreadTable::hint`], that says whether anybody has to be woken.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use super::worker::WorkerThread;
use crate::pool::policy::limits::StartFailures;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;

/// Somebody has to come: no thread looks for work, and one more may.
pub(super) const NEED_WORKER: u32 = 1;
/// More threads are awake than there should be: the next that has ended its task lies down.
pub(super) const SURPLUS: u32 = 2;
/// The pool ends: who finds nothing to do ends.
pub(super) const SHUTTING_DOWN: u32 = 4;
/// The pool was aborted: nothing is begun any more.
pub(super) const ABORTED: u32 = 8;
/// Nobody has to come unless there is much to do: one stands by.
pub(super) const HAS_SENTRY: u32 = 16;

pub(super) struct ThreadTable {
    /// As many threads as should be awake and not blocked.
    pub(super) workers: usize,
    /// Threads that belong to the pool: neither ended nor let go.
    pub(super) threads: HashMap<u64, ThreadEntry>,
    /// How many of them wait inside a task for another task.
    pub(super) blocked: usize,
    /// Those that sleep; the last is woken first.
    pub(super) sleepers: Vec<Arc<WorkerThread>>,
    /// Somebody looks for work, or was woken to look.
    pub(super) searching: bool,
    /// The sleeper that stands by: while others are at work, it looks from time to time whether
    /// that is enough.
    sentry: Option<u64>,
    pub(super) shutting_down: bool,
    pub(super) aborted: bool,
    /// Threads that are through with their initializer.
    pub(super) ready: usize,
    /// The pool is being built: a panic in an initializer ends that.
    pub(super) building: bool,
    pub(super) build_failure: Option<(TaskName, Unwound)>,
    /// Initializers that panicked since one did not.
    pub(super) init_failures: StartFailures,
    /// The number of the next thread.
    next_id: u64,
    /// Threads that have ended, or are about to.
    pub(super) exited: Vec<thread::JoinHandle<()>>,
    /// The thread that keeps the time.
    pub(super) monitor: Option<thread::JoinHandle<()>>,
}

/// A thread that belongs to the pool.
pub(super) struct ThreadEntry {
    pub(super) worker: Arc<WorkerThread>,
    /// It comes a moment after the thread itself.
    pub(super) thread: Option<thread::JoinHandle<()>>,
    pub(super) blocked: bool,
    /// Its initializer has returned.
    pub(super) ready: bool,
}

/// What has to be done when the lock is no longer held.
#[must_use]
pub(super) enum WakeAction {
    Nothing,
    Wake(Arc<WorkerThread>),
    /// It is counted already.
    Start(Arc<WorkerThread>),
}

impl ThreadTable {
    pub(super) fn new(workers: usize) -> ThreadTable {
        ThreadTable {
            workers,
            threads: HashMap::new(),
            blocked: 0,
            sleepers: Vec::new(),
            searching: false,
            sentry: None,
            shutting_down: false,
            aborted: false,
            ready: 0,
            building: true,
            build_failure: None,
            init_failures: StartFailures::as_many_as(3, workers),
            next_id: 0,
            exited: Vec::new(),
            monitor: None,
        }
    }

    /// Threads that are awake and not blocked.
    pub(super) fn active(&self) -> usize {
        self.threads.len() - self.blocked - self.sleepers.len()
    }

    /// Nobody looks for work, and one more may.
    fn needs_worker(&self) -> bool {
        self.active() < self.workers && !self.searching
    }

    /// Somebody will look soon whether those who are at work are enough.
    fn has_sentry(&self) -> bool {
        self.sentry.is_some() && self.active() > 0
    }

    pub(super) fn hint(&self) -> u32 {
        let active = self.active();
        let mut hint = 0;
        if self.needs_worker() {
            hint |= if self.has_sentry() {
                HAS_SENTRY
            } else {
                NEED_WORKER
            };
        }
        if active > self.workers {
            hint |= SURPLUS;
        }
        if self.shutting_down {
            hint |= SHUTTING_DOWN;
        }
        if self.aborted {
            hint |= ABORTED;
        }
        hint
    }

    /// There is work, perhaps much, and one more may do it, unless somebody looks for some already.
    pub(super) fn wake_or_start(
        &mut self,
        is_long: bool,
        make: impl FnOnce(u64) -> Arc<WorkerThread>,
    ) -> WakeAction {
        if self.aborted || !self.needs_worker() || self.has_sentry() && !is_long {
            return WakeAction::Nothing;
        }
        match self.sleepers.pop() {
            Some(worker) => {
                self.clear_sentry(worker.id);
                self.searching = true;
                WakeAction::Wake(worker)
            }
            None => WakeAction::Start(self.add(make)),
        }
    }

    /// One more.
    pub(super) fn add(&mut self, make: impl FnOnce(u64) -> Arc<WorkerThread>) -> Arc<WorkerThread> {
        self.next_id += 1;
        let worker = make(self.next_id);
        let entry = ThreadEntry {
            worker: Arc::clone(&worker),
            thread: None,
            blocked: false,
            ready: false,
        };
        self.threads.insert(self.next_id, entry);
        worker
    }

    /// One fewer. It was awake.
    pub(super) fn remove(&mut self, id: u64) -> Option<ThreadEntry> {
        let entry = self.threads.remove(&id)?;
        if entry.blocked {
            self.blocked -= 1;
        }
        Some(entry)
    }

    /// The thread ends by itself, now.
    pub(super) fn retire(&mut self, id: u64) {
        let Some(entry) = self.remove(id) else {
            return;
        };
        // Those of before are through by now; who ends the pool waits for the rest.
        self.exited.retain(|thread| !thread.is_finished());
        self.exited.extend(entry.thread);
    }

    /// One that has just lain down may stand by, if somebody is at work and nobody else does. Tasks
    /// are so short that to be woken for each would cost more than it helps: those who are at work
    /// may be enough for what comes.
    pub(super) fn set_sentry(&mut self, id: u64) -> bool {
        let may = self.sentry.is_none() && self.active() > 0;
        if may {
            self.sentry = Some(id);
        }
        may
    }

    pub(super) fn clear_sentry(&mut self, id: u64) {
        if self.sentry == Some(id) {
            self.sentry = None;
        }
    }

    pub(super) fn clear_any_sentry(&mut self) {
        self.sentry = None;
    }

    /// Takes a sleeper out of the list. `false`: somebody has woken it.
    pub(super) fn remove_sleeper(&mut self, id: u64) -> bool {
        let at = self.sleepers.iter().position(|w| w.id == id);
        at.map(|at| self.sleepers.remove(at)).is_some()
    }
}

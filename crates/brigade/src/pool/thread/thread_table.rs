//! Which threads a pool has, and which of them are active, blocked or asleep.
//!
//! One lock guards the table. A thread takes it when it starts or stops to sleep, to search for
//! work or to be blocked, and not for each task. A thread that submits a task reads one word
//! instead, [`ThreadTable::hint`], which says whether it has to wake a worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use super::worker::WorkerThread;
use crate::pool::policy::queue_and_retries::StartFailures;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;

/// No active thread searches for work, and one more may run: adding work wakes or starts one.
pub(super) const NEED_WORKER: u32 = 1;
/// More threads are active than the pool has workers: the next that has ended its task goes to
/// sleep.
pub(super) const SURPLUS: u32 = 2;
/// The pool shuts down: a thread that finds no work exits.
pub(super) const SHUTTING_DOWN: u32 = 4;
/// The pool was aborted: no thread begins anything any more.
pub(super) const ABORTED: u32 = 8;
/// As `NEED_WORKER`, but a sentry is up: adding work wakes a worker only for a long backlog.
pub(super) const HAS_SENTRY: u32 = 16;
/// The pool was closed: it takes nothing more.
pub(super) const CLOSED: u32 = 32;

pub(super) struct ThreadTable {
    /// How many threads should be active.
    pub(super) workers: usize,
    /// The threads that belong to the pool: those that have neither exited nor been abandoned.
    pub(super) threads: HashMap<u64, ThreadEntry>,
    /// How many of them are blocked: they wait inside a task for the pool.
    pub(super) blocked: usize,
    /// How many were active at once, since that was looked at last.
    pub(super) most_active: usize,
    /// The threads that sleep. The last is woken first.
    pub(super) sleepers: Vec<Arc<WorkerThread>>,
    /// A thread searches for work, or was woken to do so.
    pub(super) searching: bool,
    /// The thread that sleeps as the sentry: while others are active, it looks from time to time
    /// whether they keep up with the queue.
    sentry: Option<u64>,
    /// The pool takes nothing more.
    pub(super) closed: bool,
    pub(super) shutting_down: bool,
    pub(super) aborted: bool,
    /// The pool has shut down: no thread is started any more.
    pub(super) over: bool,
    /// Callers of `shutdown` that join the threads which have exited.
    pub(super) joining: usize,
    /// Threads that wait until nothing is left to do.
    pub(super) idle_waiters: usize,
    /// How many initializers have returned.
    pub(super) ready: usize,
    /// The pool is being built: then the first initializer that panics fails the build.
    pub(super) building: bool,
    pub(super) build_failure: Option<(TaskName, Unwound)>,
    /// Initializers that panicked since the last that returned.
    pub(super) init_failures: StartFailures,
    /// The id of the next thread.
    next_id: u64,
    /// Handles of the threads that have exited, or are about to.
    pub(super) exited: Vec<thread::JoinHandle<()>>,
    /// Threads that have just left the table: others go on with the tasks that they alone were to
    /// run.
    pub(super) left: Vec<Arc<WorkerThread>>,
    /// The timeout monitor's thread.
    pub(super) monitor: Option<thread::JoinHandle<()>>,
}

/// A thread that belongs to the pool.
pub(super) struct ThreadEntry {
    pub(super) worker: Arc<WorkerThread>,
    /// The thread's handle, which is stored a moment after the thread has started.
    pub(super) thread: Option<thread::JoinHandle<()>>,
    pub(super) blocked: bool,
    /// The thread's initializer has returned.
    pub(super) ready: bool,
    /// How many keys were given to it.
    pub(super) keys: u64,
}

/// What the caller has to do when it has released the lock.
#[must_use]
pub(super) enum WakeAction {
    Nothing,
    Wake(Arc<WorkerThread>),
    /// This worker is in the table already.
    Start(Arc<WorkerThread>),
}

/// What a thread without a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// The thread searches again: there is work after all, or it is not one too many any more.
    Resume,
    /// The thread exits.
    Exit,
    /// The thread sleeps, and exits if no other thread wakes it for some time.
    SleepThenExit,
    /// The thread sleeps, and looks from time to time whether the active threads keep up.
    Sentry,
    Sleep,
}

impl ThreadTable {
    pub(super) fn new(workers: usize) -> ThreadTable {
        ThreadTable {
            workers,
            threads: HashMap::new(),
            blocked: 0,
            most_active: 0,
            sleepers: Vec::new(),
            searching: false,
            sentry: None,
            closed: false,
            shutting_down: false,
            aborted: false,
            over: false,
            joining: 0,
            idle_waiters: 0,
            ready: 0,
            building: true,
            build_failure: None,
            init_failures: StartFailures::as_many_as(3, workers),
            next_id: 0,
            exited: Vec::new(),
            left: Vec::new(),
            monitor: None,
        }
    }

    /// Threads that are awake and not blocked.
    pub(super) fn active(&self) -> usize {
        self.threads.len() - self.blocked - self.sleepers.len()
    }

    /// No thread searches for work, and one more may run.
    fn needs_worker(&self) -> bool {
        self.active() < self.workers && !self.searching
    }

    /// The sentry will soon see whether the active threads keep up.
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
        if self.closed {
            hint |= CLOSED;
        }
        if self.shutting_down {
            hint |= SHUTTING_DOWN;
        }
        if self.aborted {
            hint |= ABORTED;
        }
        hint
    }

    /// Whether nothing runs, but for what waits inside `blocked` tasks. What is queued is seen
    /// elsewhere.
    pub(super) fn is_idle_but_for(&self, blocked: usize) -> bool {
        // One whose initializer runs has no task.
        let ready = self.threads.values().filter(|entry| entry.ready).count();
        ready.saturating_sub(self.sleepers.len()) <= blocked
    }

    /// There is work. Picks a thread to do it, if one more may run and none searches for work
    /// already. `is_long`: the backlog is so long that a sentry's next look is too late.
    pub(super) fn wake_or_start(
        &mut self,
        is_long: bool,
        make: impl FnOnce(u64) -> Arc<WorkerThread>,
    ) -> WakeAction {
        if self.aborted || self.over || !self.needs_worker() || self.has_sentry() && !is_long {
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

    /// Adds a thread.
    pub(super) fn add(&mut self, make: impl FnOnce(u64) -> Arc<WorkerThread>) -> Arc<WorkerThread> {
        self.next_id += 1;
        let worker = make(self.next_id);
        let entry = ThreadEntry {
            worker: Arc::clone(&worker),
            thread: None,
            blocked: false,
            ready: false,
            keys: 0,
        };
        self.threads.insert(self.next_id, entry);
        worker
    }

    /// Removes a thread, which was awake.
    pub(super) fn remove(&mut self, id: u64) -> Option<ThreadEntry> {
        let entry = self.threads.remove(&id)?;
        if entry.blocked {
            self.blocked -= 1;
        }
        self.left.push(Arc::clone(&entry.worker));
        Some(entry)
    }

    /// How many threads were given keys.
    pub(super) fn with_keys(&self) -> usize {
        let entries = self.threads.values();
        entries.filter(|entry| entry.keys > 0).count()
    }

    /// There are fewer threads from now on: those that have keys beyond their number have none any
    /// more.
    pub(super) fn take_surplus_keys(&mut self) -> Vec<Arc<WorkerThread>> {
        let entries = self.threads.values_mut();
        let mut with_keys: Vec<_> = entries.filter(|entry| entry.keys > 0).collect();
        with_keys.sort_by_key(|entry| entry.keys);
        let surplus = with_keys.len().saturating_sub(self.workers);
        let surplus = with_keys.into_iter().take(surplus);
        surplus
            .map(|entry| {
                entry.keys = 0;
                Arc::clone(&entry.worker)
            })
            .collect()
    }

    /// Whether a thread may leave because there are more than there should be. One that has keys
    /// stays where others can leave.
    pub(super) fn is_surplus(&self, id: u64) -> bool {
        let has_keys = self.threads.get(&id).is_some_and(|entry| entry.keys > 0);
        self.threads.len() > self.workers && !(has_keys && self.with_keys() <= self.workers)
    }

    /// A thread exits by itself, now.
    pub(super) fn remove_exited(&mut self, id: u64) {
        let Some(entry) = self.remove(id) else {
            return;
        };
        // The threads that exited before are through by now. Shutdown joins the rest.
        self.exited.retain(|thread| !thread.is_finished());
        self.exited.extend(entry.thread);
    }

    /// Makes a thread that has just gone to sleep the sentry, if others are active and there is no
    /// sentry. The caller has seen that tasks are shorter than a wake-up: the active threads may be
    /// enough.
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

    /// Takes a thread off the list of sleepers. `false`: another thread has woken it.
    pub(super) fn remove_sleeper(&mut self, id: u64) -> bool {
        let at = self.sleepers.iter().position(|w| w.id == id);
        at.map(|at| self.sleepers.remove(at)).is_some()
    }
}

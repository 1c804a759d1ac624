//! Which threads of a pool start, search, sleep and exit. README.md describes the steps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;

use super::pool::{BACKLOG_WAKE_NS, ThreadPool};
use super::state;
use super::thread_table::{HAS_SENTRY, Idle, SHUTTING_DOWN, ThreadTable, WakeAction};
use super::work::{AbandonReason, Rejection};
use super::worker::WorkerThread;
use crate::JoinError;
use crate::pool::policy::outcome::replaced;
use crate::sys::error::{Call, THREAD};
use crate::task::contain::contained;
use crate::task::panic::Unwound;

impl ThreadPool {
    /// There is work: wakes or starts a thread, if one more may run.
    #[cold]
    pub(super) fn wake_or_start(self: &Arc<Self>) {
        self.wake_or_start_for(self.queued_ns());
    }

    /// As [`wake_or_start`](Self::wake_or_start), for a backlog of `backlog` nanoseconds.
    #[cold]
    fn wake_or_start_for(self: &Arc<Self>, backlog: u64) {
        let is_long = backlog > BACKLOG_WAKE_NS;
        let action = self.with_table(|table| table.wake_or_start(is_long, self.new_worker()));
        if matches!(action, WakeAction::Nothing) {
            self.note_backlog();
        }
        self.apply(action);
    }

    /// `inputs` inputs of a map wait behind its map items, where the queue's length does not show
    /// them.
    pub(super) fn on_map_backlog(self: &Arc<Self>, inputs: usize) {
        if self.wake_hint() & HAS_SENTRY != 0 {
            let backlog = self.estimate_ns(inputs as u64);
            if backlog > BACKLOG_WAKE_NS && !self.queue_is_empty() {
                self.wake_or_start_for(backlog);
            }
        }
    }

    fn apply(self: &Arc<Self>, action: WakeAction) {
        match action {
            WakeAction::Nothing => {}
            WakeAction::Wake(worker) => worker.wake(),
            WakeAction::Start(worker) => {
                // The system has no thread for us. Another thread may do the work. If the pool has
                // none, the work is rejected.
                if self.start_thread(worker).is_err() {
                    self.reject_queue_if_no_threads(&Rejection::Closed);
                }
            }
        }
    }

    /// Starts the thread of a worker that is in the table. If that fails, removes it from the
    /// table.
    pub(super) fn start_thread(self: &Arc<Self>, worker: Arc<WorkerThread>) -> io::Result<()> {
        let id = worker.id;
        let name = self.options.name.as_deref().unwrap_or("brigade-pool");
        let started = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || worker.main())
            .call(THREAD)
            .needed_to("run a pool's tasks");
        self.with_table(|table| match started {
            Ok(thread) => {
                match table.threads.get_mut(&id) {
                    Some(entry) => entry.thread = Some(thread),
                    // It has exited already, or was abandoned.
                    None => table.exited.push(thread),
                }
                Ok(())
            }
            Err(error) => {
                table.remove(id);
                Err(error)
            }
        })
    }

    /// A thread's initializer has returned. `false`: the pool does not need the thread any more.
    pub(super) fn on_init_done(&self, id: u64) -> bool {
        let goes_on = self.with_table(|table| {
            table.init_failures.reset();
            table.ready += 1;
            let Some(entry) = table.threads.get_mut(&id) else {
                return false;
            };
            entry.ready = true;
            let goes_on = !table.shutting_down || !self.queue_is_empty();
            if !goes_on {
                table.remove_exited(id);
            }
            goes_on
        });
        self.tell_changed();
        goes_on
    }

    /// A thread's initializer has panicked: starts another thread, up to a number of failures in a
    /// row.
    pub(super) fn on_init_failed(self: &Arc<Self>, worker: &WorkerThread, unwound: Unwound) {
        let name = self.options.initializer_name();
        self.counters.not_ready.fetch_add(1, Ordering::AcqRel);
        let (action, gives_up) = self.with_table(|table| {
            table.remove_exited(worker.id);
            if table.building {
                table.build_failure = name.clone().map(|name| (name, unwound.clone()));
                return (WakeAction::Nothing, false);
            }
            table.init_failures.record();
            if table.init_failures.is_over_limit() {
                table.init_failures.reset();
                return (WakeAction::Nothing, true);
            }
            let wanted = if table.shutting_down {
                !self.queue_is_empty() && table.active() < table.workers
            } else {
                table.threads.len() < table.workers
            };
            if wanted {
                (WakeAction::Start(table.add(self.new_worker())), false)
            } else {
                (WakeAction::Nothing, false)
            }
        });
        self.notify_exit();
        self.apply(action);
        if let Some(name) = name.filter(|_| gives_up) {
            self.reject_queue_if_no_threads(&Rejection::Initializer(name, unwound));
        }
    }

    /// Rejects what is queued, if the pool has no thread that could run it.
    fn reject_queue_if_no_threads(self: &Arc<Self>, rejection: &Rejection) {
        // A thread that adds work from here on starts a worker.
        fence(Ordering::SeqCst);
        let mut left = self.queue_len();
        // Each item is taken under the lock, so that no thread starts meanwhile. To reject one may
        // take long, for its input's destructor is the user's code. What is queued until then is
        // left alone, and so is the rest as soon as the pool has a thread again.
        let next = || {
            self.with_table(|table| {
                (table.active() + table.sleepers.len() == 0).then(|| self.next_work())
            })
        };
        while left > 0 {
            let Some(Some(item)) = next() else { break };
            left -= 1;
            contained(move || item.reject(self, rejection));
        }
        self.tell_changed();
    }

    pub(super) fn reject_queue(self: &Arc<Self>, rejection: &Rejection) {
        while let Some(item) = self.next_work() {
            contained(move || item.reject(self, rejection));
        }
    }

    /// A thread has nothing to do. `true`: it is the one that searches for work.
    pub(super) fn begin_search(&self) -> bool {
        self.with_table(|table| {
            let may = !table.searching && table.active() <= table.workers;
            table.searching |= may;
            may
        })
    }

    /// The thread that searched has found work. There may be more: wakes the next.
    pub(super) fn end_search(self: &Arc<Self>) {
        self.with_table(|table| table.searching = false);
        fence(Ordering::SeqCst);
        if !self.queue_is_empty() {
            self.wake_or_start();
        }
    }

    /// A thread has nothing to do, or is one too many (`surplus`). Decides what it does.
    pub(super) fn enter_idle(
        &self,
        worker: &Arc<WorkerThread>,
        searching: bool,
        surplus: bool,
    ) -> Idle {
        let mut tell = false;
        let idle = self.with_table(|table| {
            if searching {
                table.searching = false;
            }
            if surplus && table.active() <= table.workers {
                return Idle::Resume;
            }
            if table.shutting_down && (surplus || self.queue_is_empty()) {
                table.remove_exited(worker.id);
                self.counters_of_left.merge(&worker.counters);
                return Idle::Exit;
            }
            table.sleepers.push(Arc::clone(worker));
            tell = table.idle_waiters > 0 || !self.idle.is_empty();
            if !surplus
                && !table.shutting_down
                && self.task_time.is_short()
                && table.set_sentry(worker.id)
            {
                Idle::Sentry
            } else if table.threads.len() > table.workers {
                Idle::SleepThenExit
            } else {
                Idle::Sleep
            }
        });
        if idle == Idle::Exit {
            self.notify_exit();
        } else if tell {
            self.tell_changed();
        }
        idle
    }

    /// The sentry looks. If there is work, it wakes a thread, itself as a rule. After its `last`
    /// look it sleeps for good.
    pub(super) fn sentry_tick(self: &Arc<Self>, worker: &WorkerThread, last: bool) {
        let has_come = !self.queue_is_empty();
        if !has_come && !last {
            return;
        }
        self.with_table(|table| table.clear_sentry(worker.id));
        fence(Ordering::SeqCst);
        if !self.queue_is_empty() {
            self.wake_or_start();
        }
    }

    /// A thread has slept for its time. `true`: it exits. `false`: another has woken it, or it is
    /// needed.
    pub(super) fn try_exit(&self, worker: &WorkerThread) -> bool {
        let ends = self.with_table(|table| {
            let ends = (table.shutting_down || table.is_surplus(worker.id))
                && table.remove_sleeper(worker.id);
            if ends {
                table.remove_exited(worker.id);
                self.counters_of_left.merge(&worker.counters);
            }
            ends
        });
        if ends {
            self.notify_exit();
        }
        ends
    }

    /// A thread has left the table: tells those that wait for that.
    fn notify_exit(&self) {
        self.tell_changed();
        if self.wake_hint() & SHUTTING_DOWN != 0 {
            if let Some(monitor) = self.timeout_monitor.get() {
                monitor.wake();
            }
        }
    }

    /// A thread has run as many tasks as it may: another takes its place.
    pub(super) fn recycle(self: &Arc<Self>, worker: &WorkerThread) {
        let why = if state::is_lost() {
            replaced::SPOILED
        } else {
            replaced::TASK_LIMIT
        };
        let action = self.with_table(|table| {
            table.remove_exited(worker.id);
            self.counters_of_left.merge(&worker.counters);
            self.counters.recycled.fetch_add(1, Ordering::Relaxed);
            self.pick_replacement(table)
        });
        self.notify_exit();
        self.draw_replaced(worker.id, why);
        self.events().replaced(worker.id, why);
        self.apply(action);
    }

    /// Counts the end of a task that runs in a worker about to be abandoned; or (`None`) that it is
    /// run again. This comes before the end is settled, so that a caller that has the end finds it
    /// in the numbers.
    pub(super) fn count_abandoned(&self, id: u64, how: Option<&JoinError>) {
        self.with_table(|table| {
            let interrupted = matches!(how, Some(JoinError::Cancelled));
            if !(interrupted && table.aborted) {
                self.counters.restarts.fetch_add(1, Ordering::AcqRel);
                let interrupted = u64::from(interrupted);
                self.counters
                    .interrupted
                    .fetch_add(interrupted, Ordering::AcqRel);
            }
            if let Some(entry) = table.threads.get(&id) {
                // The worker itself counts this task no more.
                entry.worker.count_external();
                entry.worker.add_busy(self.now());
                // Before the task's end is settled: a caller that has it sees this, too.
                entry.worker.begin_to_leave();
            }
            match how {
                Some(error) => self.counters.count(error, 1),
                None => {
                    self.counters.retried.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
    }

    /// A worker was abandoned with its task: another takes its place.
    pub(super) fn replace(self: &Arc<Self>, id: u64, why: AbandonReason) {
        let (action, entry) = self.with_table(|table| {
            let entry = table.remove(id);
            let Some(entry) = entry else {
                return (WakeAction::Nothing, None);
            };
            self.counters_of_left.merge(&entry.worker.counters);
            (self.pick_replacement(table), Some(entry))
        });
        // Its thread is detached: nothing waits for it.
        drop(entry);
        self.notify_exit();
        let why = match why {
            AbandonReason::TimedOut | AbandonReason::Expired => replaced::TIMED_OUT,
            AbandonReason::Cancelled => replaced::CANCELLED,
        };
        self.draw_replaced(id, why);
        self.events().replaced(id, why);
        self.apply(action);
    }

    /// Picks a thread in place of one that has just left the table.
    fn pick_replacement(self: &Arc<Self>, table: &mut ThreadTable) -> WakeAction {
        let wanted = if table.aborted {
            false
        } else if table.shutting_down {
            !self.queue_is_empty() && table.active() < table.workers
        } else {
            table.threads.len() < table.workers
        };
        if wanted {
            WakeAction::Start(table.add(self.new_worker()))
        } else if !self.queue_is_empty() {
            table.wake_or_start(true, self.new_worker())
        } else {
            WakeAction::Nothing
        }
    }

    /// A worker is about to wait inside its task: another may run meanwhile. `false`: it belongs to
    /// the pool no more, or is blocked already.
    pub(super) fn block(self: &Arc<Self>, id: u64) -> bool {
        let mut tell = false;
        let is_ours = self.with_table(|table| {
            let entry = table.threads.get_mut(&id).filter(|entry| !entry.blocked);
            let is_ours = entry.map(|entry| entry.blocked = true).is_some();
            table.blocked += usize::from(is_ours);
            tell = table.idle_waiters > 0 || !self.idle.is_empty();
            is_ours
        });
        if is_ours {
            if tell || self.wake_hint() & SHUTTING_DOWN != 0 {
                self.tell_changed();
            }
            fence(Ordering::SeqCst);
            if !self.queue_is_empty() {
                self.wake_or_start();
            }
        }
        is_ours
    }

    /// A worker goes on after it was blocked.
    pub(super) fn unblock(&self, id: u64) {
        self.with_table(|table| {
            let entry = table.threads.get_mut(&id).filter(|entry| entry.blocked);
            if let Some(entry) = entry {
                entry.blocked = false;
                table.blocked -= 1;
            }
        });
    }
}

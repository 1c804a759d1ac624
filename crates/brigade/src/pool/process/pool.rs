//! Who looks after a pool, and who sleeps meanwhile.
//!
//! Problem: a thread of the pool's own between callers and workers would cost two more switches for
//! each task. So whoever waits for something looks after the pool meanwhile: it takes results, also
//! those of others, and gives out what there is to do. At most one does so at a time, the *driver*;
//! it looks for a moment, then sleeps until a worker rings or ends. Others that wait sleep until
//! the driver wakes them, and when it leaves, one of them is the next. If nobody waits at all,
//! workers ring for the fork server's listener, and only if something has to be done (`arm`).
//!
//! Nothing of the user's runs under the lock: results are decoded by those who asked for them;
//! wakers are woken, and crashes are told, when it is free again.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::deferred::{Deferred, Event};
use super::dispatcher::State;
use super::respawn::Reason;
use super::result_cell::Slot;
use super::task::{Job, Task};
use crate::JoinError;
use crate::pool::config::Options;
use crate::pool::events;
use crate::pool::policy::outcome::TaskOutcome;
use crate::sim::local::thread::{self, Thread};
use crate::sim::local::{AtomicU32, AtomicU64, Instant, Mutex, MutexGuard, Ordering, futex, spin};
use crate::sys::original::Original;
use crate::sys::processors;
use crate::task::name::TaskName;
use crate::worker::process::host::connection::WorkerConnection;
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::Setup;
use crate::worker::process::sim::ForkServer;

/// A pool of processes, as its handles share it.
pub(crate) struct ProcessPool {
    pub(super) options: Arc<Options>,
    /// What it is called in events.
    pub(super) number: u64,
    /// What its workers do to themselves.
    pub(super) setup: Setup,
    original: Original,
    inner: Mutex<Inner>,
    /// What the driver sleeps on beside the bells: changed by whoever has news for it.
    pub(super) nudge: AtomicU32,
}

pub(super) struct Inner {
    pub(super) state: State,
    pub(super) driver: Driver,
    /// The driver sleeps so that it hears of each result.
    pub(super) attentive: bool,
    /// Those that sleep because somebody else drives.
    pub(super) waiters: Vec<Thread>,
    /// Of them, those that are to be woken by any news.
    pub(super) watchers: Vec<Thread>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    Nobody,
    Looking,
    Asleep,
}

/// What somebody waits for.
pub(super) enum Want<'a> {
    /// A task's end.
    Slot(&'a Slot),
    /// A result of a map.
    Results { inbox: u32 },
    /// Room in the queue.
    Room,
    /// All workers, or that there is no hope of them.
    Ready,
    /// That everything is done.
    Done,
}

impl Want<'_> {
    fn is_met(&self, state: &State) -> bool {
        match self {
            Want::Slot(slot) => slot.is_done(),
            Want::Results { inbox } => !state.inboxes.is_empty(*inbox),
            Want::Room => !state.is_full(),
            Want::Ready => state.respawn.has_build_failed() || state.workers.is_complete(),
            Want::Done => state.is_done(),
        }
    }
}

/// A worker that is about to finish what somebody waits for.
struct Prospect {
    mailbox: Arc<Mailbox>,
    seen: u64,
}

impl ProcessPool {
    pub(super) fn new(
        options: Arc<Options>,
        setup: Setup,
        make: impl FnOnce(std::sync::Weak<ProcessPool>) -> State,
    ) -> Arc<ProcessPool> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new_cyclic(|core| ProcessPool {
            options,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            setup,
            original: Original::this_process(),
            inner: Mutex::new(Inner {
                state: make(core.clone()),
                driver: Driver::Nobody,
                attentive: false,
                waiters: Vec::new(),
                watchers: Vec::new(),
            }),
            nudge: AtomicU32::new(0),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Asked before: the answer is the listener's own code.
        let heard = events::task_events_enabled();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.state.heard = heard;
        if heard {
            inner.state.wakeups.ring_for_each_result();
        }
        inner
    }

    /// Waits until it is so. `false`: not before the deadline.
    pub(super) fn wait(&self, want: &mut Want<'_>, deadline: Option<Instant>) -> bool {
        let mut may_look = true;
        let mut inner = self.lock();
        loop {
            let mut deferred = Deferred::default();
            let more = matches!(want, Want::Results { .. });
            inner.state.look(&mut deferred, more);
            if !deferred.casualties.is_empty() {
                // Told before anybody sleeps: it may be what is waited for.
                self.unlock(inner, deferred);
                inner = self.lock();
                continue;
            }
            let is_met = want.is_met(&inner.state);
            if is_met || deadline.is_some_and(|at| at <= Instant::now()) {
                self.leave(&mut inner, &mut deferred);
                self.unlock(inner, deferred);
                return is_met;
            }
            if more {
                inner.state.feed(&mut deferred.at(Instant::now()));
            }
            inner.state.set_alarm();
            if inner.driver != Driver::Nobody || !inner.state.has_few_bells() {
                inner = self.sleep_as_waiter(inner, deferred, want, deadline);
                may_look = true;
                continue;
            }
            if std::mem::take(&mut may_look) {
                if let Some(prospect) = inner.state.prospect(want) {
                    inner.driver = Driver::Looking;
                    self.unlock(inner, deferred);
                    prospect.look();
                    inner = self.lock();
                    inner.driver = Driver::Nobody;
                    continue;
                }
            }
            // Who listens is to hear of each task when it ends.
            let others = !inner.waiters.is_empty() || inner.state.heard;
            let Some(bells) = inner.state.prepare_sleep(want, others) else {
                inner.state.check_words(&mut deferred);
                self.unlock(inner, deferred);
                inner = self.lock();
                continue;
            };
            inner.attentive = others;
            inner.driver = Driver::Asleep;
            let server = Arc::clone(&inner.state.server);
            let nudge = self.nudge.load(Ordering::SeqCst);
            let epoch = inner.state.epoch();
            self.unlock_asleep(inner, deferred);
            let mut words = Vec::with_capacity(bells.len() + 2);
            words.push((&self.nudge, nudge));
            words.push((server.board.epoch(), epoch));
            words.extend(
                bells
                    .iter()
                    .map(|(m, word)| (WorkerConnection::notify_word_of(m), *word)),
            );
            futex::wait_any(&words, deadline);
            inner = self.lock();
            inner.driver = Driver::Nobody;
        }
    }

    /// As [`unlock`](Self::unlock), by the driver itself, which is no news to itself.
    fn unlock_asleep(&self, mut inner: MutexGuard<'_, Inner>, mut deferred: Deferred) {
        if std::mem::take(&mut inner.state.news) {
            deferred.wakeups.threads.append(&mut inner.watchers);
        }
        deferred.wake_driver = false;
        self.unlock(inner, deferred);
    }

    /// Somebody else drives, or there are too many bells to sleep on, and the listener drives.
    fn sleep_as_waiter<'c>(
        &'c self,
        mut inner: MutexGuard<'c, Inner>,
        mut deferred: Deferred,
        want: &Want<'_>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'c, Inner> {
        let me = thread::current();
        let id = me.id();
        match want {
            Want::Slot(slot) => slot.set_waiter(Some(me.clone())),
            Want::Results { inbox } => inner.state.inboxes.set_waiter(*inbox, Some(me.clone())),
            Want::Room | Want::Ready | Want::Done => inner.watchers.push(me.clone()),
        }
        // It may have ended before it could see that we wait: that was under the lock, which we
        // have.
        inner.waiters.push(me);
        match inner.driver {
            // It sleeps so that it hears of what it waits for itself: it has to hear of more.
            Driver::Asleep if !inner.attentive => {
                inner.attentive = true;
                deferred.wake_driver = true;
            }
            Driver::Asleep | Driver::Looking => {}
            Driver::Nobody => {
                inner.state.wakeups.ring_for_each_result();
                self.arm(&mut inner, &mut deferred);
            }
        }
        self.unlock(inner, deferred);
        match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(left) => thread::park_timeout(left),
        }
        let mut inner = self.lock();
        inner.waiters.retain(|t| t.id() != id);
        inner.watchers.retain(|t| t.id() != id);
        match want {
            Want::Slot(slot) => slot.set_waiter(None),
            Want::Results { inbox } => inner.state.inboxes.set_waiter(*inbox, None),
            Want::Room | Want::Ready | Want::Done => {}
        }
        inner
    }

    /// One that has looked after the pool does so no longer: another does, or the listener.
    pub(super) fn leave(&self, inner: &mut Inner, deferred: &mut Deferred) {
        if inner.driver != Driver::Nobody {
            return;
        }
        match inner.waiters.pop() {
            Some(next) => deferred.wakeups.threads.push(next),
            None => self.arm(inner, deferred),
        }
    }

    /// One that has looked after the pool will do so again soon: nobody else need be woken, unless
    /// for others' sake.
    pub(super) fn step_aside(&self, inner: &mut Inner, deferred: &mut Deferred) {
        if inner.driver == Driver::Nobody && inner.waiters.is_empty() {
            self.arm_for(inner, deferred, true);
        } else {
            self.leave(inner, deferred);
        }
    }

    pub(super) fn arm(&self, inner: &mut Inner, deferred: &mut Deferred) {
        self.arm_for(inner, deferred, false);
    }

    fn arm_for(&self, inner: &mut Inner, deferred: &mut Deferred, soon: bool) {
        for _ in 0..4 {
            if inner.state.arm(soon) {
                inner.state.set_alarm();
                return;
            }
            inner.state.check_words(deferred);
            inner.state.look(deferred, false);
        }
        // There is always something new: the listener looks soon.
        inner.state.call_at(Instant::now());
    }

    /// Takes a task on, when there is room for it.
    pub(super) fn enqueue(&self, task: Task) {
        let mut inner = self.lock();
        while inner.state.is_full() {
            drop(inner);
            self.wait(&mut Want::Room, None);
            inner = self.lock();
        }
        self.enqueue_locked(inner, task);
    }

    /// Takes a task on, if there is room for it.
    pub(super) fn try_enqueue(&self, task: Task) -> bool {
        let inner = self.lock();
        if inner.state.is_full() {
            return false;
        }
        self.enqueue_locked(inner, task);
        true
    }

    /// Whether this process is the one that made the pool, and not a fork of it: the workers are
    /// the other's.
    pub(super) fn is_ours(&self) -> bool {
        self.original.is_this_process()
    }

    fn enqueue_locked(&self, mut inner: MutexGuard<'_, Inner>, task: Task) {
        let mut deferred = Deferred::default();
        let now = task.submitted;
        let halted = inner.state.respawn.is_halted();
        let number = inner.state.next_number;
        inner.state.accept(task);
        if inner.state.heard {
            deferred.events.push(Event::Submitted(number, 1));
        }
        if halted {
            inner.state.look(&mut deferred, false);
        } else {
            inner.state.feed(&mut deferred.at(now));
        }
        if inner.driver == Driver::Nobody {
            self.arm(&mut inner, &mut deferred);
        } else {
            inner.state.set_alarm();
        }
        self.unlock(inner, deferred);
    }

    /// Whether the queue is at its limit, now that everything was looked at.
    pub(super) fn is_full(&self) -> bool {
        self.look();
        self.lock().state.is_full()
    }

    /// A task that never was one, for its input cannot be carried.
    pub(super) fn refuse(&self, why: &JoinError) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        let state = &mut inner.state;
        state.stats.submitted += 1;
        state.stats.count_failure(why);
        if state.heard {
            let task = state.next_number;
            state.next_number += 1;
            deferred.events.push(Event::Submitted(task, 1));
            let outcome = TaskOutcome::of_error(why).label();
            let ended = Event::Ended(task, outcome, Duration::ZERO);
            deferred.events.push(ended);
        }
        self.unlock(inner, deferred);
    }

    /// Looks, for somebody who does not wait.
    pub(super) fn look(&self) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.state.look(&mut deferred, false);
        self.leave(&mut inner, &mut deferred);
        self.unlock(inner, deferred);
    }

    /// A future waits for this slot.
    pub(super) fn watch(&self, slot: &Slot) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.state.look(&mut deferred, false);
        if !slot.is_done() && inner.state.wakeups.ring_for_each_result() {
            deferred.wake_driver = true;
        }
        self.leave(&mut inner, &mut deferred);
        self.unlock(inner, deferred);
    }

    pub(super) fn cancel(&self, slot: &Slot) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.state.look(&mut deferred, false);
        if !slot.is_done() {
            inner.state.cancel(slot, &mut deferred.at(Instant::now()));
        }
        self.leave(&mut inner, &mut deferred);
        self.unlock(inner, deferred);
    }

    /// The worker that runs it.
    pub(super) fn pid_of(&self, slot: &Slot) -> Option<u32> {
        // What is before it may be done, and not be taken.
        self.look();
        let assignment = slot.assignment()?;
        let inner = self.lock();
        let seat = inner.state.workers.get(assignment.worker)?;
        let line = seat.line.as_ref()?;
        // The last that it has begun.
        let begun = line.begun().ok().filter(|&begun| begun != line.taken());
        let runs = slot.assignment() == Some(assignment)
            && !slot.is_done()
            && begun.is_some_and(|begun| begun.wrapping_sub(1) == assignment.number);
        runs.then(|| line.pid())
    }

    pub(super) fn name_of(&self, job: &Job) -> TaskName {
        job.name(self.options.name.as_ref())
    }

    /// Waits until every worker is ready.
    pub(super) fn wait_ready(&self) -> Result<(), Reason> {
        self.wait(&mut Want::Ready, None);
        self.lock().state.respawn.end_build()
    }

    /// Ends all workers, and waits until they are gone.
    pub(super) fn dismiss(&self) {
        let mut inner = self.lock();
        inner.state.closing = true;
        inner.state.server.leave(inner.state.employer);
        let lines: Vec<WorkerConnection> = inner
            .state
            .workers
            .iter_mut()
            .filter_map(|seat| seat.line.take())
            .collect();
        drop(inner);
        for line in &lines {
            line.kill(Duration::ZERO);
        }
        // Longer than the fork server waits for their children.
        let deadline = Instant::now() + Duration::from_secs(5);
        for line in &lines {
            line.wait_ended(Some(deadline));
        }
    }
}

impl Prospect {
    fn look(&self) {
        spin::until(|| WorkerConnection::has_replied(&self.mailbox, self.seen));
    }
}

impl State {
    /// The worker that what is wanted comes from, if looking for it for a moment can pay: there is
    /// a processor for it and one for us.
    fn prospect(&self, want: &Want<'_>) -> Option<Prospect> {
        if self.workers.busy().is_empty()
            || self.workers.busy().len() >= processors::usable()
            || !spin::pays()
        {
            return None;
        }
        let i = match want {
            Want::Slot(slot) => slot.assignment()?.worker,
            _ => *self.workers.busy().first()?,
        };
        let line = self.workers.get(i)?.line.as_ref()?;
        if !line.mailbox().runs_elsewhere() {
            return None;
        }
        Some(Prospect {
            mailbox: Arc::clone(line.mailbox()),
            seen: line.seen(),
        })
    }
}

/// A fork server whose workers have what this thread has, started if there is none.
pub(super) fn server(setup: &Setup) -> std::io::Result<Arc<ForkServer>> {
    ForkServer::like_us(Setup::inheritance(Some(setup)))
}

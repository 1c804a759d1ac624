//! Who comes, who goes, who sleeps. The steps are in README.md.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;

use super::locks::wait;
use super::pool::Shared;
use super::thread_table::{Act, ENDING, Roster, WATCHED};
use super::work::{Refusal, Why};
use super::worker::Worker;
use crate::pool::config::InitializerFailed;
use crate::pool::policy::outcome::replaced;
use crate::sys::error::{Call, THREAD};
use crate::sys::spin;
use crate::task::panic::{Unwound, contained};
use crate::task::symbols::Symbols;
use crate::{JoinError, Kind};

/// So many nanoseconds of work are too much for those who are awake, even if one stands by who will
/// look soon.
pub(super) const MUCH: u64 = spin::LIMIT.as_nanos() as u64;

/// What a thread does that has no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// There is something to do after all.
    Resume,
    /// The pool needs it no more.
    Exit,
    /// It sleeps, and exits if nobody needs it for some time.
    SleepThenExit,
    /// It sleeps, and looks from time to time whether the others are enough.
    Sentry,
    Sleep,
}

impl Shared {
    /// Starts the workers, and waits until each is ready.
    pub(super) fn build(self: &Arc<Self>) -> io::Result<()> {
        if let Some(name) = &self.options.name {
            Kind::Thread.check_name(name)?;
        }
        let built = self.start_all();
        if built.is_err() {
            self.abort();
            self.shutdown();
        }
        built
    }

    fn start_all(self: &Arc<Self>) -> io::Result<()> {
        if let Some(keeper) = &self.keeper {
            keeper.start(self)?;
        }
        for _ in 0..self.options.workers {
            let worker = self.roster(|r| r.enlist(self.make()));
            self.start_thread(worker)?;
        }
        let mut roster = self.lock_roster();
        loop {
            if let Some((name, unwound)) = roster.failed.take() {
                return Err(InitializerFailed(JoinError::panicked(
                    name,
                    unwound,
                    Symbols::of_this_process(),
                ))
                .into());
            }
            if roster.ready == self.options.workers {
                roster.building = false;
                return Ok(());
            }
            roster = wait(&self.changed, roster);
        }
    }

    fn make(self: &Arc<Self>) -> impl FnOnce(u64) -> Arc<Worker> {
        let crew = Arc::clone(self);
        |id| Arc::new(Worker::new(id, crew))
    }

    /// There is work: wakes somebody or starts one more, unless that would be one too many.
    #[cold]
    pub(super) fn help(self: &Arc<Self>) {
        self.help_with(self.backlog());
    }

    /// As [`help`](Self::help), with so many nanoseconds of work.
    #[cold]
    fn help_with(self: &Arc<Self>, backlog: u64) {
        let is_much = backlog > MUCH;
        let act = self.roster(|r| r.help(is_much, self.make()));
        self.act(act);
    }

    /// So many inputs of a map wait behind its tickets: nobody sees them in the queue.
    pub(super) fn inputs_wait(self: &Arc<Self>, inputs: usize) {
        if self.hint() & WATCHED != 0 {
            let backlog = self.time_for(inputs as u64);
            if backlog > MUCH && !self.queue_is_empty() {
                self.help_with(backlog);
            }
        }
    }

    fn act(self: &Arc<Self>, act: Act) {
        match act {
            Act::Nothing => {}
            Act::Wake(worker) => worker.wake(),
            Act::Start(worker) => {
                // The system has no thread for us. Somebody else may do the work; if there is
                // nobody, it is refused.
                if self.start_thread(worker).is_err() {
                    self.refuse_if_deserted(&Refusal::Closed);
                }
            }
        }
    }

    /// Starts the thread of one that is counted already. If that fails it is no longer counted.
    pub(super) fn start_thread(self: &Arc<Self>, worker: Arc<Worker>) -> io::Result<()> {
        let id = worker.id;
        let name = self.options.name.as_deref().unwrap_or("brigade-pool");
        let started = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || worker.main())
            .call(THREAD)
            .needed_to("run a pool's tasks");
        self.roster(|r| match started {
            Ok(thread) => {
                match r.live.get_mut(&id) {
                    Some(member) => member.thread = Some(thread),
                    // It has ended already, or was let go.
                    None => r.ended.push(thread),
                }
                Ok(())
            }
            Err(error) => {
                r.strike(id);
                Err(error)
            }
        })
    }

    /// Its initializer has returned. `false`: it is not needed any more.
    pub(super) fn ready(&self, id: u64) -> bool {
        let goes_on = self.roster(|r| {
            r.failures.reset();
            r.ready += 1;
            let Some(member) = r.live.get_mut(&id) else {
                return false;
            };
            member.ready = true;
            let goes_on = !r.ending || !self.queue_is_empty();
            if !goes_on {
                r.leave(id);
            }
            goes_on
        });
        self.changed.notify_all();
        goes_on
    }

    /// Its initializer has panicked: another is tried, but not for ever.
    pub(super) fn failed(self: &Arc<Self>, worker: &Worker, unwound: Unwound) {
        let name = self.options.initializer_name();
        self.counters.not_ready.fetch_add(1, Ordering::AcqRel);
        let (act, gives_up) = self.roster(|r| {
            r.leave(worker.id);
            if r.building {
                r.failed = name.clone().map(|name| (name, unwound.clone()));
                return (Act::Nothing, false);
            }
            r.failures.record();
            if r.failures.is_over_limit() {
                r.failures.reset();
                return (Act::Nothing, true);
            }
            let wanted = if r.ending {
                !self.queue_is_empty() && r.active() < r.workers
            } else {
                r.live.len() < r.workers
            };
            if wanted {
                (Act::Start(r.enlist(self.make())), false)
            } else {
                (Act::Nothing, false)
            }
        });
        self.leaves();
        self.act(act);
        if let Some(name) = name.filter(|_| gives_up) {
            self.refuse_if_deserted(&Refusal::Initializer(name, unwound));
        }
    }

    /// If there is no thread that could do it, all that waits is refused.
    fn refuse_if_deserted(self: &Arc<Self>, refusal: &Refusal) {
        // Who puts something into the queue now starts a thread himself.
        fence(Ordering::SeqCst);
        let mut left = self.queued();
        // Taken under the lock, so that nobody comes meanwhile. To refuse one may take long (its
        // input's destructor is the user's): what comes until then is not for us to refuse, nor is
        // what is left once there is a thread again.
        let next = || self.roster(|r| (r.active() + r.sleepers.len() == 0).then(|| self.next()));
        while left > 0 {
            let Some(Some(item)) = next() else { break };
            left -= 1;
            contained(move || item.refuse(self, refusal));
        }
        self.changed.notify_all();
    }

    pub(super) fn refuse_all(self: &Arc<Self>, refusal: &Refusal) {
        while let Some(item) = self.next() {
            contained(move || item.refuse(self, refusal));
        }
    }

    /// A thread has nothing to do. `true`: it may look for something.
    pub(super) fn search(&self) -> bool {
        self.roster(|r| {
            let may = !r.searching && r.active() <= r.workers;
            r.searching |= may;
            may
        })
    }

    /// One that looked has found something. Where that is, there may be more.
    pub(super) fn found(self: &Arc<Self>) {
        self.roster(|r| r.searching = false);
        fence(Ordering::SeqCst);
        if !self.queue_is_empty() {
            self.help();
        }
    }

    /// It has nothing to do, or is one too many (`surplus`).
    pub(super) fn lie_down(&self, worker: &Arc<Worker>, searching: bool, surplus: bool) -> Idle {
        let idle = self.roster(|r| {
            if searching {
                r.searching = false;
            }
            if surplus && r.active() <= r.workers {
                return Idle::Resume;
            }
            if r.ending && (surplus || self.queue_is_empty()) {
                r.leave(worker.id);
                self.past.absorb(&worker.tally);
                return Idle::Exit;
            }
            r.sleepers.push(Arc::clone(worker));
            if !surplus && !r.ending && self.task_time.is_short() && r.stand_by(worker.id) {
                Idle::Sentry
            } else if r.live.len() > r.workers {
                Idle::SleepThenExit
            } else {
                Idle::Sleep
            }
        });
        if idle == Idle::Exit {
            self.leaves();
        }
        idle
    }

    /// One that stands by looks. If there is something to do it is woken, unless somebody else was.
    /// The last time it sleeps for good.
    pub(super) fn stands_by(self: &Arc<Self>, worker: &Worker, last: bool) {
        let has_come = !self.queue_is_empty();
        if !has_come && !last {
            return;
        }
        self.roster(|r| r.stand_down(worker.id));
        fence(Ordering::SeqCst);
        if !self.queue_is_empty() {
            self.help();
        }
    }

    /// It has slept long enough. `true`: it ends. `false`: it was woken, or is needed.
    pub(super) fn leave_bed(&self, worker: &Worker) -> bool {
        let ends = self.roster(|r| {
            let ends = (r.live.len() > r.workers || r.ending) && r.rouse(worker.id);
            if ends {
                r.leave(worker.id);
                self.past.absorb(&worker.tally);
            }
            ends
        });
        if ends {
            self.leaves();
        }
        ends
    }

    /// Somebody is gone: for those who wait for that.
    fn leaves(&self) {
        self.changed.notify_all();
        if self.hint() & ENDING != 0 {
            if let Some(keeper) = &self.keeper {
                keeper.wake();
            }
        }
    }

    /// It has run as many tasks as a thread may: another takes its place.
    pub(super) fn recycle(self: &Arc<Self>, worker: &Worker) {
        let act = self.roster(|r| {
            r.leave(worker.id);
            self.past.absorb(&worker.tally);
            self.counters.recycled.fetch_add(1, Ordering::Relaxed);
            self.successor(r)
        });
        self.leaves();
        self.events().replaced(worker.id, replaced::TASK_LIMIT);
        self.act(act);
    }

    /// A worker is about to be let go, because its task ends like this, or (`None`) is to be run
    /// again. Before anybody hears of that, so that the numbers are right when he does.
    pub(super) fn counts_parting(&self, id: u64, how: Option<&JoinError>) {
        self.roster(|r| {
            let interrupted = matches!(how, Some(JoinError::Cancelled));
            if !(interrupted && r.aborted) {
                self.counters.restarts.fetch_add(1, Ordering::AcqRel);
                let interrupted = u64::from(interrupted);
                self.counters
                    .interrupted
                    .fetch_add(interrupted, Ordering::AcqRel);
            }
            if let Some(member) = r.live.get(&id) {
                // It counts nothing any more itself.
                member.worker.counts_elsewhere();
                member.worker.was_busy(self.now());
            }
            match how {
                Some(error) => self.counters.count(error, 1),
                None => {
                    self.counters.retried.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
    }

    /// Its task was ended without it: another takes its place.
    pub(super) fn replace(self: &Arc<Self>, id: u64, why: Why) {
        let (act, member) = self.roster(|r| {
            let member = r.strike(id);
            let Some(member) = member else {
                return (Act::Nothing, None);
            };
            self.past.absorb(&member.worker.tally);
            (self.successor(r), Some(member))
        });
        // Detached: nobody waits for it any more.
        drop(member);
        self.leaves();
        let why = match why {
            Why::TimedOut => replaced::TIMED_OUT,
            Why::Cancelled => replaced::CANCELLED,
        };
        self.events().replaced(id, why);
        self.act(act);
    }

    /// The one who takes the place of one that has just left.
    fn successor(self: &Arc<Self>, r: &mut Roster) -> Act {
        let wanted = if r.aborted {
            false
        } else if r.ending {
            !self.queue_is_empty() && r.active() < r.workers
        } else {
            r.live.len() < r.workers
        };
        if wanted {
            Act::Start(r.enlist(self.make()))
        } else if !self.queue_is_empty() {
            r.help(true, self.make())
        } else {
            Act::Nothing
        }
    }

    /// A thread of the pool is about to wait inside its task: another may run meanwhile. `false`:
    /// it is none any more.
    pub(super) fn block(self: &Arc<Self>, id: u64) -> bool {
        let is_ours = self.roster(|r| {
            let member = r.live.get_mut(&id).filter(|member| !member.blocked);
            let is_ours = member.map(|member| member.blocked = true).is_some();
            r.blocked += usize::from(is_ours);
            is_ours
        });
        if is_ours {
            if self.hint() & ENDING != 0 {
                self.changed.notify_all();
            }
            fence(Ordering::SeqCst);
            if !self.queue_is_empty() {
                self.help();
            }
        }
        is_ours
    }

    /// It goes on.
    pub(super) fn unblock(&self, id: u64) {
        self.roster(|r| {
            let member = r.live.get_mut(&id).filter(|member| member.blocked);
            if let Some(member) = member {
                member.blocked = false;
                r.blocked -= 1;
            }
        });
    }
}

//! Who is there: the threads of a pool that live, sleep and are blocked, and what has to be done
//! about it.
//!
//! Everything here is under one lock, which is taken when a thread begins or ends to sleep, to look
//! for work or to be blocked, and not for each task. Who gives the pool a task reads one word,
//! [`Roster::hint`], that says whether anybody has to be woken.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use super::worker::Worker;
use crate::pool::policy::limits::StartFailures;
use crate::task::name::TaskName;
use crate::task::panic::Unwound;

/// Somebody has to come: no thread looks for work, and one more may.
pub(super) const HELP: u32 = 1;
/// More threads are awake than there should be: the next that has ended its task lies down.
pub(super) const SURPLUS: u32 = 2;
/// The pool ends: who finds nothing to do ends.
pub(super) const ENDING: u32 = 4;
/// The pool was aborted: nothing is begun any more.
pub(super) const ABORTED: u32 = 8;
/// Nobody has to come unless there is much to do: one stands by.
pub(super) const WATCHED: u32 = 16;

pub(super) struct Roster {
    /// As many threads as should be awake and not blocked.
    pub(super) workers: usize,
    /// Threads that belong to the pool: neither ended nor let go.
    pub(super) live: HashMap<u64, Member>,
    /// How many of them wait inside a task for another task.
    pub(super) blocked: usize,
    /// Those that sleep; the last is woken first.
    pub(super) sleepers: Vec<Arc<Worker>>,
    /// Somebody looks for work, or was woken to look.
    pub(super) searching: bool,
    /// The sleeper that stands by: while others are at work, it looks from time to time whether
    /// that is enough.
    sentry: Option<u64>,
    pub(super) ending: bool,
    pub(super) aborted: bool,
    /// Threads that are through with their initializer.
    pub(super) ready: usize,
    /// The pool is being built: a panic in an initializer ends that.
    pub(super) building: bool,
    pub(super) failed: Option<(TaskName, Unwound)>,
    /// Initializers that panicked since one did not.
    pub(super) failures: StartFailures,
    /// The number of the next thread.
    next: u64,
    /// Threads that have ended, or are about to.
    pub(super) ended: Vec<thread::JoinHandle<()>>,
    /// The thread that keeps the time.
    pub(super) keeper: Option<thread::JoinHandle<()>>,
}

/// A thread that belongs to the pool.
pub(super) struct Member {
    pub(super) worker: Arc<Worker>,
    /// It comes a moment after the thread itself.
    pub(super) thread: Option<thread::JoinHandle<()>>,
    pub(super) blocked: bool,
    /// Its initializer has returned.
    pub(super) ready: bool,
}

/// What has to be done when the lock is no longer held.
#[must_use]
pub(super) enum Act {
    Nothing,
    Wake(Arc<Worker>),
    /// It is counted already.
    Start(Arc<Worker>),
}

impl Roster {
    pub(super) fn new(workers: usize) -> Roster {
        Roster {
            workers,
            live: HashMap::new(),
            blocked: 0,
            sleepers: Vec::new(),
            searching: false,
            sentry: None,
            ending: false,
            aborted: false,
            ready: 0,
            building: true,
            failed: None,
            failures: StartFailures::as_many_as(3, workers),
            next: 0,
            ended: Vec::new(),
            keeper: None,
        }
    }

    /// Threads that are awake and not blocked.
    pub(super) fn active(&self) -> usize {
        self.live.len() - self.blocked - self.sleepers.len()
    }

    /// Nobody looks for work, and one more may.
    fn is_short_handed(&self) -> bool {
        self.active() < self.workers && !self.searching
    }

    /// Somebody will look soon whether those who are at work are enough.
    fn is_watched(&self) -> bool {
        self.sentry.is_some() && self.active() > 0
    }

    pub(super) fn hint(&self) -> u32 {
        let active = self.active();
        let mut hint = 0;
        if self.is_short_handed() {
            hint |= if self.is_watched() { WATCHED } else { HELP };
        }
        if active > self.workers {
            hint |= SURPLUS;
        }
        if self.ending {
            hint |= ENDING;
        }
        if self.aborted {
            hint |= ABORTED;
        }
        hint
    }

    /// There is work, perhaps much, and one more may do it, unless somebody looks for some already.
    pub(super) fn help(&mut self, is_much: bool, make: impl FnOnce(u64) -> Arc<Worker>) -> Act {
        if self.aborted || !self.is_short_handed() || self.is_watched() && !is_much {
            return Act::Nothing;
        }
        match self.sleepers.pop() {
            Some(worker) => {
                self.stand_down(worker.id);
                self.searching = true;
                Act::Wake(worker)
            }
            None => Act::Start(self.enlist(make)),
        }
    }

    /// One more.
    pub(super) fn enlist(&mut self, make: impl FnOnce(u64) -> Arc<Worker>) -> Arc<Worker> {
        self.next += 1;
        let worker = make(self.next);
        let member = Member {
            worker: Arc::clone(&worker),
            thread: None,
            blocked: false,
            ready: false,
        };
        self.live.insert(self.next, member);
        worker
    }

    /// One fewer. It was awake.
    pub(super) fn strike(&mut self, id: u64) -> Option<Member> {
        let member = self.live.remove(&id)?;
        if member.blocked {
            self.blocked -= 1;
        }
        Some(member)
    }

    /// The thread ends by itself, now.
    pub(super) fn leave(&mut self, id: u64) {
        let Some(member) = self.strike(id) else {
            return;
        };
        // Those of before are through by now; who ends the pool waits for the rest.
        self.ended.retain(|thread| !thread.is_finished());
        self.ended.extend(member.thread);
    }

    /// One that has just lain down may stand by, if somebody is at work and nobody else does. Tasks
    /// are so short that to be woken for each would cost more than it helps: those who are at work
    /// may be enough for what comes.
    pub(super) fn stand_by(&mut self, id: u64) -> bool {
        let may = self.sentry.is_none() && self.active() > 0;
        if may {
            self.sentry = Some(id);
        }
        may
    }

    pub(super) fn stand_down(&mut self, id: u64) {
        if self.sentry == Some(id) {
            self.sentry = None;
        }
    }

    pub(super) fn stand_down_all(&mut self) {
        self.sentry = None;
    }

    /// Takes a sleeper out of the list. `false`: somebody has woken it.
    pub(super) fn rouse(&mut self, id: u64) -> bool {
        let at = self.sleepers.iter().position(|w| w.id == id);
        at.map(|at| self.sleepers.remove(at)).is_some()
    }
}

//! The watch over the fork server: whether it still answers, and what is done in its place while it
//! does not.
//!
//! Problem: a fork server may be stopped (SIGSTOP, a debugger, a frozen control group), and says
//! nothing then, not even that it is stopped. No caller may wait for it for ever; but one that is
//! only slow, or a program that was itself stopped meanwhile, is no reason to end all work.
//!
//! While a task of ours runs, or anything is asked for, the listener wakes once a second and *asks*
//! it whether it is there. Idle, it is not woken: the timer is set and stopped by the listener
//! itself, after what it was awake for anyway. So a pool's first task costs its caller no timer but
//! the timer's, and the last call of the timer, 20 to 100 ms after the last task, ends the watch,
//! too.
//!
//! 1. A second after a question without an answer, or as soon as /proc says that it is stopped, it
//!    *stalls*: workers that are to be ended are ended from here (`endings`), so that
//!    timeouts, cancels and the ends of pools come in their time.
//! 2. After [`GIVE_UP`] without a word it is killed, with everything that descends from it, and so
//!    gone: its workers' tasks are lost, and the next caller that needs a worker starts another
//!    fork server.
//!
//! Only time counts in which this process could run: of the time between two looks no more than
//! [`MAX_COUNTED_PAUSE`], whatever the clock says. The clock is `CLOCK_MONOTONIC`, which stands
//! still while the machine is suspended.

mod endings;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::endings::WorkerEnding;
use super::{ClientState, ForkServerClient};
use crate::sys::{fds, process};
use crate::worker::process::fork_server::orphans;
use crate::worker::process::ipc::protocol::Request;

/// How often the fork server is asked whether it is there.
pub(super) const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// The most that the time between two looks counts: where it was longer, this program was stopped,
/// and the fork server is not blamed for the rest.
const MAX_COUNTED_PAUSE: Duration = Duration::from_millis(1500);
/// After this time without an answer the host ends workers in its place.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// After this time without an answer the fork server is killed.
const GIVE_UP: Duration = Duration::from_secs(10);
/// When it is looked, for the first time, whether a worker that is to be ended has.
const FIRST_CHECK: Duration = Duration::from_millis(50);
/// How often it is looked whether a worker that was killed from here is dead.
const KILL_CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a worker may take to end after its only reply was taken.
const EXIT_AFTER_REPLY: Duration = Duration::from_millis(500);

/// A worker, by the number of its slot and its own.
type Who = (u32, u32);

/// What the watch knows. Part of the fork server's state, and under its lock.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the timer goes off.
    due: Option<Instant>,
    /// The last look.
    looked: Option<Instant>,
    /// How many questions were asked, and when the last one was.
    asked: u64,
    asked_at: Option<Instant>,
    /// A question without an answer, and how long that has been so.
    unanswered: Option<(u64, Duration)>,
    /// Workers with a single task that a caller waits for.
    in_use: usize,
    /// Those whose tasks no caller waits for any more.
    detached: Vec<Who>,
    /// Those whose only reply was taken: they end by themselves. And those that had not at the last
    /// look.
    replied: Vec<Who>,
    lingering: Vec<Who>,
    endings: Vec<WorkerEnding>,
}

impl Watch {
    /// A caller has a worker for a single task.
    pub(super) fn takes_worker(&mut self) {
        self.in_use += 1;
    }

    /// The fork server has said something.
    pub(super) fn heard(&mut self, here: Option<u64>) {
        match (&mut self.unanswered, here) {
            (Some((asked, _)), Some(number)) if *asked == number => self.unanswered = None,
            // It may have been said before the question; if there is no more, it counts from here.
            (Some((_, since)), _) => *since = Duration::ZERO,
            (None, _) => {}
        }
    }
}

impl ClientState {
    /// Whether there is something that only the fork server can do or tell.
    fn depends(&self) -> bool {
        let watch = &self.watch;
        watch.in_use + self.waiting + self.expected > 0
            || !(watch.detached.is_empty() && watch.replied.is_empty())
            || !(watch.lingering.is_empty() && watch.endings.is_empty())
            || watch.unanswered.is_some()
            || self
                .observers
                .values()
                .any(|observer| observer.call_at.is_some() || observer.missing > 0)
    }

    fn is_worker(&self, (slot, pid): Who) -> bool {
        self.last
            .get(slot as usize)
            .is_some_and(|last| last.pid == pid)
    }
}

impl ForkServerClient {
    /// Whether the fork server has something to do, or a request to get yet.
    fn is_needed(&self, state: &ClientState) -> bool {
        state.depends() || !self.outgoing.is_empty()
    }

    /// From now on something depends on the fork server.
    pub(super) fn watch(&self, state: &mut ClientState) {
        if state.watch.due.is_none() && !state.gone {
            self.look_at(state, Instant::now(), ASK_INTERVAL);
        }
    }

    /// Begins to look where something depends on the fork server, and stops where nothing does any
    /// more: for the listener, after it was awake for something else, so that nothing wakes it a
    /// last time when no caller needs that.
    pub(super) fn watch_if_needed(&self) {
        let mut state = self.lock();
        if self.is_needed(&state) {
            self.watch(&mut state);
        } else if state.watch.due.is_some() && self.watch.stop().is_ok() {
            state.watch.due = None;
            state.watch.looked = None;
        }
    }

    /// Has the listener look when the time `after` has passed, at the latest.
    fn look_at(&self, state: &mut ClientState, now: Instant, after: Duration) {
        let at = now + after;
        if state.watch.due.is_some_and(|due| due <= at) {
            return;
        }
        // It can fail only if the program has closed a descriptor that is not its own.
        let set = self.watch.set(after);
        state.watch.due = set.is_ok().then_some(at);
    }

    /// The listener, when the timer has gone off, and after it has heard all that there is.
    /// `false`: the fork server is given up, and has been killed.
    pub(super) fn look_after(&self) -> bool {
        let now = Instant::now();
        self.send_kept();
        let mut state = self.lock();
        let before = state.watch.looked.replace(now).unwrap_or(now);
        state.watch.due = None;
        let could_run = now.saturating_duration_since(before).min(MAX_COUNTED_PAUSE);
        if let Some((_, since)) = &mut state.watch.unanswered {
            *since += could_run;
            if *since >= GIVE_UP {
                drop(state);
                self.end_all();
                return false;
            }
        }
        self.look_at_lists(&mut state);
        for (slot, pid) in std::mem::take(&mut state.watch.lingering) {
            // It has said that its task has ended, and runs on.
            self.end(&mut state, slot, pid, Duration::ZERO);
        }
        state.watch.lingering = std::mem::take(&mut state.watch.replied);
        let dead = self.look_at_endings(&mut state, now);
        if self.is_needed(&state) {
            self.ask(&mut state, now);
            let after = self.next_look(&state, now);
            self.look_at(&mut state, now, after);
        } else {
            state.watch.looked = None;
        }
        drop(state);
        self.tell_dead(&dead);
        true
    }

    /// Asks whether it is there, unless it still has to answer, or has just answered and no caller
    /// waits for it.
    fn ask(&self, state: &mut ClientState, now: Instant) {
        let watch = &mut state.watch;
        let lately = watch.asked_at.is_some_and(|at| now < at + ASK_INTERVAL);
        if watch.unanswered.is_some() || lately && watch.endings.is_empty() {
            return;
        }
        watch.asked += 1;
        watch.asked_at = Some(now);
        watch.unanswered = Some((watch.asked, Duration::ZERO));
        let number = watch.asked;
        // One that could not be asked does not answer.
        let _ = self.send(Request::AreYouThere { number });
    }

    /// Forgets those that have ended.
    fn look_at_lists(&self, state: &mut ClientState) {
        let mut watch = std::mem::take(&mut state.watch);
        let lives = |who: Who| !self.exit_table.has_ended(who.0) && state.is_worker(who);
        watch.detached.retain(|&who| lives(who));
        watch.replied.retain(|&who| lives(who));
        watch.lingering.retain(|&who| lives(who));
        watch.endings.retain(|ending| lives(ending.who));
        state.watch = watch;
    }

    fn next_look(&self, state: &ClientState, now: Instant) -> Duration {
        let watch = &state.watch;
        let soonest = watch.endings.iter().map(|ending| match ending {
            WorkerEnding {
                sent: Some(Signal::KILL),
                ..
            } => KILL_CHECK_INTERVAL,
            WorkerEnding {
                kill_at: Some(at), ..
            } => at
                .saturating_duration_since(now)
                .clamp(FIRST_CHECK, ASK_INTERVAL),
            _ => ASK_INTERVAL,
        });
        let lingering = (!watch.lingering.is_empty()).then_some(EXIT_AFTER_REPLY);
        let kept = (!self.outgoing.is_empty()).then_some(FIRST_CHECK);
        soonest
            .chain(lingering)
            .chain(kept)
            .min()
            .unwrap_or(ASK_INTERVAL)
    }

    /// Whether the fork server does not do what the host asks of it.
    fn stalls(&self, state: &ClientState) -> bool {
        let unanswered = state.watch.unanswered;
        unanswered.is_some_and(|(_, since)| since >= STALLED_AFTER) || process::is_stopped(self.pid)
    }

    /// Whether the fork server has ended, reaped or not.
    pub(super) fn has_ended(&self) -> bool {
        fds::wait_readable(&self.process, Duration::ZERO).unwrap_or(false)
    }

    /// Kills the fork server, and first all that descends from it: when it is gone, no process
    /// could tell whose children they are.
    pub(super) fn end_all(&self) {
        orphans::end_descendants(self.pid, || self.has_ended());
        let _ = rustix::process::pidfd_send_signal(self.process.as_fd(), Signal::KILL);
    }
}

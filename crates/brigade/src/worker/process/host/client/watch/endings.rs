//! Workers that are to end: the host asks the fork server to end them, and ends them itself where
//! that stalls.
//!
//! **Whose number is it?** A worker is killed through a pidfd, which is taken when it is needed:
//! after it was opened, the worker's parent must still be the fork server, and the fork server must
//! not have said (on the exit table) that it may have reaped it. A number that was not reaped
//! before is not another's, so the descriptor is the worker's.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::{FIRST_CHECK, Who};
use crate::sys::{fds, opened, process};
use crate::task::contain::contained;
use crate::worker::process::host::client::listener::mark_dead;
use crate::worker::process::host::client::{ClientState, ForkServerClient};
use crate::worker::process::ipc::protocol::{ANSWERS_WITHIN, Request};

/// A worker that the fork server is to end.
#[derive(Debug)]
pub(super) struct WorkerEnding {
    pub(super) who: Who,
    /// When it is to be killed; `None`: never.
    pub(super) kill_at: Option<Instant>,
    /// The signal that the worker got from here: SIGTERM, or SIGKILL.
    pub(super) sent: Option<Signal>,
    /// The worker, when it had to be ended from here.
    process: Option<OwnedFd>,
}

impl ForkServerClient {
    /// No caller has this worker with a single task any more. `replied`: it is about to end by
    /// itself; otherwise its task goes on.
    pub(crate) fn stop_waiting_for_worker(&self, slot: u32, pid: u32, replied: bool) {
        let mut state = self.lock();
        let sleeper = state.async_waiters.remove(&slot);
        let watch = &mut state.watch;
        watch.in_use = watch.in_use.saturating_sub(1);
        let list = if replied {
            &mut watch.replied
        } else {
            &mut watch.detached
        };
        if list.len() >= 64 && list.len() == list.capacity() {
            list.retain(|&(slot, _)| !self.exit_table.has_ended(slot));
        }
        list.push((slot, pid));
        self.watch(&mut state);
        drop(state);
        // A waker is an executor's code: a panic in its destructor is caught, and ignored.
        contained(|| drop(sleeper));
    }

    /// Ends a worker and its children: now, or after a SIGTERM and this time of grace. Its end
    /// comes on the exit table.
    pub(crate) fn kill(&self, slot: u32, pid: u32, grace: Duration) {
        if !self.is_fork_of_owner() {
            self.end(&mut self.lock(), slot, pid, grace);
        }
    }

    /// As [`kill`](Self::kill), of a worker that was asked, in its mailbox, where it is: it has
    /// [`ANSWERS_WITHIN`] to tell that first. A fork server that is stopped cannot ask.
    pub(crate) fn ask_and_kill(&self, slot: u32, pid: u32, grace: Duration) {
        if !self.is_fork_of_owner() {
            self.end_asked(&mut self.lock(), slot, pid, grace, true);
        }
    }

    /// Has a worker, which was asked in its mailbox where it is, hear of that.
    pub(crate) fn ask_where(&self, slot: u32, pid: u32) {
        // One that is gone has no workers.
        let _ = self.send(Request::Ask { slot, pid });
    }

    /// As [`kill`](Self::kill), under the lock.
    pub(in crate::worker::process::host::client) fn end(
        &self,
        state: &mut ClientState,
        slot: u32,
        pid: u32,
        grace: Duration,
    ) {
        self.end_asked(state, slot, pid, grace, false);
    }

    fn end_asked(&self, state: &mut ClientState, slot: u32, pid: u32, grace: Duration, asks: bool) {
        let grace_ms = u64::try_from(grace.as_micros().div_ceil(1000))
            .unwrap_or(u64::MAX / 4)
            .min(u64::MAX / 4);
        let now = Instant::now();
        let answers = if asks { ANSWERS_WITHIN } else { Duration::ZERO };
        let kill_at = now.checked_add(grace).map(|at| at + answers);
        let endings = &mut state.watch.endings;
        match endings.iter_mut().find(|e| e.who == (slot, pid)) {
            Some(ending)
                if ending
                    .kill_at
                    .is_none_or(|at| kill_at.is_some_and(|k| k < at)) =>
            {
                ending.kill_at = kill_at;
            }
            Some(_) => {}
            None => endings.push(WorkerEnding {
                who: (slot, pid),
                kill_at,
                sent: None,
                process: None,
            }),
        }
        self.look_at(state, now, FIRST_CHECK);
        // If the fork server is gone, so are its workers; if the request cannot be sent, the watch
        // ends this one.
        let _ = self.send(Request::Kill {
            slot,
            pid,
            grace_ms,
            asks,
        });
    }

    /// Ends, in a stalled fork server's place, those whose time has come. Gives those that are
    /// dead.
    pub(super) fn look_at_endings(&self, state: &mut ClientState, now: Instant) -> Vec<Who> {
        if state.watch.endings.is_empty() || !self.stalls(state) {
            return Vec::new();
        }
        let mut endings = std::mem::take(&mut state.watch.endings);
        let mut dead = Vec::new();
        endings.retain_mut(|ending| {
            let ends = self.end_from_here(ending, now);
            if ends {
                dead.push(ending.who);
            }
            !ends
        });
        state.watch.endings = endings;
        dead
    }

    /// `true`: it is dead.
    fn end_from_here(&self, ending: &mut WorkerEnding, now: Instant) -> bool {
        let (slot, pid) = ending.who;
        // It is a zombie, or was.
        if self.exit_table.is_reaped(slot) {
            return true;
        }
        if ending.process.is_none() {
            // Not now: it is tried again at the next look.
            ending.process = self.find(slot, pid).ok();
        }
        let Some(worker) = &ending.process else {
            return false;
        };
        if ending.kill_at.is_some_and(|at| at <= now) {
            if ending.sent != Some(Signal::KILL) {
                process::kill_through(worker, pid, libc::SIGKILL);
                ending.sent = Some(Signal::KILL);
            }
        } else if ending.sent.is_none() {
            let _ = rustix::process::pidfd_send_signal(worker, Signal::TERM);
            if process::is_stopped(pid) {
                let _ = rustix::process::pidfd_send_signal(worker, Signal::CONT);
            }
            ending.sent = Some(Signal::TERM);
        }
        fds::wait_readable(worker, Duration::ZERO).unwrap_or(false)
    }

    /// A worker's pidfd, which is certain to be that worker's: see the top of this file.
    fn find(&self, slot: u32, pid: u32) -> io::Result<OwnedFd> {
        let id = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
        let found = opened::pidfd(id)?;
        let is_it = process::is_child(pid, self.pid)
            && !self.exit_table.is_reaped(slot)
            && !self.has_ended();
        is_it.then_some(found).ok_or(io::ErrorKind::NotFound.into())
    }

    /// These are dead, and the fork server does not say so: it is said in its place.
    pub(super) fn tell_dead(&self, dead: &[Who]) {
        if dead.is_empty() {
            return;
        }
        let tokens: Vec<_> = {
            let state = self.lock();
            let last = dead.iter().filter(|&&who| state.is_worker(who));
            last.filter_map(|&(slot, _)| state.last.get(slot as usize))
                .map(|last| last.token)
                .collect()
        };
        mark_dead(tokens);
        for &(slot, _) in dead {
            self.exit_table.lose(slot);
        }
        self.wake_ready();
        self.call_observers(Duration::ZERO, Instant::now());
    }
}

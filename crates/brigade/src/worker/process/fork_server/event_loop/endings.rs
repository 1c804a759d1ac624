//! Workers that have ended, or are to: they are reaped, what they left behind is ended, and the
//! host learns of it. The end of all of them, when the host is gone.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::{Closing, EventLoop, Gone, MainThread, PATIENCE};
use crate::sys::numbers::Numbers;
use crate::sys::process::Ended;
use crate::sys::{fds, process};
use crate::worker::process::child::startup;
use crate::worker::process::child::worker::EXIT_NOT_STARTED;
use crate::worker::process::fork_server::oom;
use crate::worker::process::fork_server::streams::{NOBODY_READS, Stream, StreamWriter};

/// How many workers are looked at in a turn, at the most, for each takes some microseconds. Where
/// there are more they take turns.
const MAX_LOOKS: usize = 256;

impl EventLoop<'_> {
    /// Reaps what has ended, and ends what the dead left behind.
    pub(super) fn reap_ended(&mut self) {
        let mut info = [0_u8; 128];
        while rustix::io::read(&self.child_events, &mut info[..]).is_ok() {}
        self.note_stopped();
        while let Some(pid) = process::peek_ended() {
            // Before it is reaped: while it is a zombie, its group's number is no other's.
            if let Some((slot, token)) = self.workers.get(&pid).map(|w| (w.slot, w.token)) {
                // None of its threads runs any more: this is when its locks are free for others.
                self.mark_dead(token);
                process::kill_group(pid, libc::SIGKILL);
                self.exit_table.reap(slot);
            }
            let Some(ended) = process::reap(pid) else {
                break;
            };
            if let Some(worker) = self.workers.remove(&pid) {
                let ended = of_main_thread(worker.main_thread, ended);
                self.closing.push(Closing {
                    pid,
                    worker,
                    ended,
                    since: Instant::now(),
                });
            }
        }
    }

    /// Takes notice of workers that were stopped, and of those that go on.
    pub(super) fn note_stopped(&mut self) {
        let mut news = false;
        while let Some((pid, stopped)) = process::stopped_child() {
            let Some(worker) = self.workers.get_mut(&pid) else {
                continue;
            };
            let now = Instant::now();
            let before = std::mem::replace(&mut worker.stopped, stopped.then_some(now));
            let stood = before.map_or(Duration::ZERO, |since| now - since);
            self.exit_table.note_stop(worker.slot, stopped, stood);
            // It was asked to end before we heard of its stop: it is to hear of that.
            if stopped && worker.kill_at.is_some() {
                process::kill(pid, libc::SIGCONT);
            }
            news = true;
        }
        if news {
            self.call_host();
        }
    }

    /// Ends the workers whose main thread has ended while others of the process live. Tasks run
    /// in the main thread, and nothing tells of its end: to waitid(2), to a pidfd and to the parent
    /// a process ends with its last thread. So it is looked at, once a second while a task runs
    /// anywhere: whenever the host asks whether this process is there.
    pub(super) fn end_without_main_thread(&mut self) {
        let Ok(numbers) = Numbers::of_proc() else {
            return;
        };
        let first = self.looked_at % self.workers.len().max(1);
        let mut turn = 0;
        for (&pid, worker) in self.workers.iter_mut().skip(first).take(MAX_LOOKS) {
            turn += 1;
            let looks = numbers.there(pid).and_then(process::main_thread_ended);
            worker.main_thread = match (worker.main_thread, looks) {
                (MainThread::Followed(ended), _) => MainThread::Followed(ended),
                // For a moment it looks so when another thread executes a program: execve(2).
                (MainThread::SeenEnded(ended), Some(_)) => {
                    end(pid);
                    MainThread::Followed(ended)
                }
                (_, Some(ended)) => MainThread::SeenEnded(ended),
                (_, None) => MainThread::Lives,
            };
        }
        self.looked_at = first + turn;
    }

    /// Tells of the workers whose children are gone too.
    pub(super) fn close_finished(&mut self) {
        if self.closing.is_empty() {
            return;
        }
        // Where a worker's groups are is said before it can make any: it may not have been read
        // yet. That the host is gone shows at the next turn.
        self.requests();
        let orphans = self.kill_orphans();
        if !orphans.is_empty() {
            if self.closing.iter().all(|c| c.since.elapsed() < PATIENCE) {
                return;
            }
            self.given_up.extend(orphans);
        }
        let mut closing = std::mem::take(&mut self.closing);
        for Closing {
            pid,
            mut worker,
            ended,
            ..
        } in closing.drain(..)
        {
            // Its last words come before the news of its end.
            worker.drain(&mut self.outputs);
            let oom_killed = ended == Ended::Signaled(libc::SIGKILL)
                && (worker.memory.as_ref().is_some_and(|m| m.is_over)
                    || self.groups.was_killed_for_memory(pid)
                    || oom::is_more(self.oom.count(), worker.oom_kills));
            self.groups.remove(pid);
            let unstarted = (ended == Ended::Exited(EXIT_NOT_STARTED))
                .then(|| startup::why_not_started(&worker.fd_socket))
                .flatten();
            let (notify, free) = match unstarted {
                Some(why) => self.exit_table.end_unstarted(worker.slot, &why),
                None => {
                    let tail = worker.written.stderr.tail();
                    self.exit_table
                        .end(worker.slot, Some(ended), oom_killed, tail)
                }
            };
            for input in worker.written.iter() {
                self.epoll.remove(input.pipe());
            }
            for own in worker.redirected.into_iter().flatten() {
                if let Some(fd) = own.fd().filter(|_| own.blocked) {
                    self.epoll.remove(fd);
                }
                self.keep_lines(*own);
            }
            if free {
                self.free_slots.push(worker.slot);
            } else {
                let fd_socket = holds_data(&worker.fd_socket).then_some(worker.fd_socket);
                self.unreleased.push(Gone {
                    slot: worker.slot,
                    pid,
                    fd_socket,
                });
            }
            if notify {
                self.call_host();
            }
        }
        // Its memory is used again.
        self.closing = closing;
        self.collect_released();
        for stream in Stream::ALL {
            self.watch_output(stream);
        }
    }

    /// Kills every child that is no worker, and gives those that there are hopes of; their ends
    /// come as events.
    pub(super) fn kill_orphans(&mut self) -> Vec<u32> {
        let mut all = Vec::new();
        self.children.list(&mut all);
        self.given_up.retain(|pid| all.contains(pid));
        let is_relay = |pid| self.outputs.iter().any(|output| output.relay == Some(pid));
        all.retain(|&pid| !self.workers.contains_key(&pid) && !is_relay(pid));
        for &pid in &all {
            process::kill(pid, libc::SIGKILL);
        }
        all.retain(|pid| !self.given_up.contains(pid));
        all
    }

    pub(super) fn kill_overdue(&mut self) {
        let now = Instant::now();
        let asked = self.workers.iter().filter_map(|(&pid, worker)| {
            let (_, grace) = worker.ends_at.filter(|(at, _)| *at <= now)?;
            Some((worker.slot, pid, grace))
        });
        for (slot, pid, grace) in asked.collect::<Vec<_>>() {
            self.kill(slot, pid, grace, false);
        }
        for (&pid, worker) in &mut self.workers {
            if worker.kill_at.is_some_and(|at| at <= now) {
                worker.kill_at = None;
                end(pid);
            }
        }
    }

    /// The host is gone: so is everything that was done for it. Or it has another fork server.
    pub(super) fn end_all(&mut self) {
        let host_is_gone = !(self.retired && self.has_nothing_left());
        for &pid in self.workers.keys() {
            end(pid);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.reap_ended();
            let orphans = self.kill_orphans();
            if (self.workers.is_empty() && orphans.is_empty()) || Instant::now() >= deadline {
                break;
            }
            // Needs no descriptor of its own: there may be none left.
            let _ = fds::wait_readable(&self.child_events, Duration::from_millis(20));
        }
        for closing in &mut self.closing {
            closing.worker.drain(&mut self.outputs);
        }
        self.groups.end(host_is_gone);
        for output in self.outputs.iter_mut() {
            output.finish();
        }
        self.end_relays();
    }

    /// The relays pass on what they were given; for the last of it they get a moment.
    pub(super) fn end_relays(&mut self) {
        for output in self.outputs.iter() {
            output.wait_for_relay();
        }
        let relays: Vec<u32> = self
            .outputs
            .iter_mut()
            .filter_map(StreamWriter::close)
            .collect();
        let deadline = Instant::now() + NOBODY_READS;
        for pid in relays {
            self.end_relay(pid, deadline);
        }
    }

    fn end_relay(&mut self, pid: u32, deadline: Instant) {
        while process::reap(pid).is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                process::kill(pid, libc::SIGKILL);
                break;
            }
            let _ = fds::wait_readable(&self.child_events, left);
            let mut info = [0_u8; 128];
            while rustix::io::read(&self.child_events, &mut info[..]).is_ok() {}
        }
    }
}

fn holds_data(fd_socket: &OwnedFd) -> bool {
    fds::wait_readable(fd_socket, Duration::ZERO).unwrap_or(false)
}

/// How a worker has ended, of which that is the status. Where it was killed because its main thread
/// had ended, it has ended as that.
fn of_main_thread(main_thread: MainThread, status: Ended) -> Ended {
    match main_thread {
        MainThread::Followed(ended) if status == Ended::Signaled(libc::SIGKILL) => ended,
        _ => status,
    }
}

/// Kills a worker and its group; it may have left the group.
pub(super) fn end(pid: u32) {
    process::kill_group(pid, libc::SIGKILL);
    process::kill(pid, libc::SIGKILL);
}

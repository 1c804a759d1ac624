//! Making workers, on request; asking one to end; its descriptor socket, for the host.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Pid;

use super::endings::end;
use super::keys::{About, key_of};
use super::{EventLoop, ForkedWorker, MainThread};
use crate::sync::liveness::{LivenessTable, Token};
use crate::sys::error::Call;
use crate::sys::process::Fork;
use crate::sys::{asking, blocked, opened, process};
use crate::worker::process::child::startup;
use crate::worker::process::child::startup::{Surplus, WorkerArgs};
use crate::worker::process::fork_server::memory_watch::WatchedWorker;
use crate::worker::process::fork_server::streams::{self, PerStream, Stream, StreamReader};
use crate::worker::process::ipc::exit_table::SLOTS;
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::{ANSWERS_WITHIN, ForkServerEvent};

impl EventLoop<'_> {
    /// Ends a worker. `asks`: it is asked first where it is; one that answers is ended a moment
    /// later, and one that is to be killed then does that itself.
    pub(super) fn kill(&mut self, slot: u32, pid: u32, grace: Duration, asks: bool) {
        if asks && self.ask(slot, pid) {
            if let Some(worker) = self.workers.get_mut(&pid) {
                worker.ends_at = Some((Instant::now() + ANSWERS_WITHIN, grace));
            }
            return;
        }
        let Some(worker) = self.workers.get_mut(&pid).filter(|w| w.slot == slot) else {
            return;
        };
        worker.ends_at = None;
        if grace.is_zero() {
            return end(pid);
        }
        process::kill(pid, libc::SIGTERM);
        if worker.stopped.is_some() {
            // Or it would not hear of it before its time of grace is over.
            process::kill(pid, libc::SIGCONT);
        }
        worker.kill_at = Instant::now().checked_add(grace);
    }

    /// Asks a worker where it is, and notes how it looks from outside. `false`: it cannot answer.
    pub(super) fn ask(&mut self, slot: u32, pid: u32) -> bool {
        if self.workers.get(&pid).is_none_or(|w| w.slot != slot) {
            return false;
        }
        let look = blocked::look(pid, pid);
        self.exit_table.note_look(slot, &look);
        // Its parent is this process, which has not reaped it: the number is its own.
        look.cannot_answer.is_none() && asking::ask(pid, pid)
    }

    /// From now on it is looked how much memory this worker has.
    pub(super) fn watch_memory(&mut self, slot: u32, pid: u32, bytes: u64) {
        if let Some(worker) = self.workers.get_mut(&pid).filter(|w| w.slot == slot) {
            worker.memory = Some(WatchedWorker::to(bytes));
            self.looks.begin();
        }
    }

    /// Ends the workers that have too much, when it is time to look.
    pub(super) fn look_at_memory(&mut self) {
        if !self.looks.is_due() {
            return;
        }
        let (mut none, mut changed) = (true, false);
        for (&pid, worker) in &mut self.workers {
            let Some(limited) = &mut worker.memory else {
                continue;
            };
            (none, changed) = (false, changed | limited.look(pid));
            if limited.is_over {
                end(pid);
            }
        }
        self.looks.end(none, changed);
    }

    pub(super) fn fd_socket(&self, slot: u32, pid: u32) -> Option<Arc<OwnedFd>> {
        let alive = self.workers.get(&pid).filter(|w| w.slot == slot);
        let closing = self
            .closing
            .iter()
            .find(|c| c.pid == pid && c.worker.slot == slot)
            .map(|c| &c.worker);
        let gone = self
            .unreleased
            .iter()
            .find(|g| g.pid == pid && g.slot == slot);
        alive
            .or(closing)
            .map(|w| Arc::clone(&w.fd_socket))
            .or_else(|| gone?.fd_socket.clone())
    }

    /// Makes a worker, which sleeps until the host gives it something to do.
    pub(super) fn make_worker(
        &mut self,
        token: Option<Token>,
        oom_kills: Option<u64>,
    ) -> io::Result<(u32, u32, OwnedFd)> {
        let slot = self.take_slot()?;
        let made = self.fork_worker(slot, token, oom_kills);
        match made.needed_to("make a worker process") {
            Ok((pid, mailbox)) => Ok((slot, pid, mailbox)),
            Err(e) => {
                self.free_slots.push(slot);
                Err(e)
            }
        }
    }

    pub(super) fn fork_worker(
        &mut self,
        slot: u32,
        token: Option<Token>,
        oom_kills: Option<u64>,
    ) -> io::Result<(u32, OwnedFd)> {
        let mailbox = Mailbox::file()?;
        let (fd_socket, their_fd_socket) = opened::socket_pair()?;
        let (stderr, their_stderr) = streams::pipe()?;
        let stdout = self.outputs.stdout.as_ref().map(|_| streams::pipe());
        let (stdout, their_stdout) = stdout.transpose()?.unzip();
        let count = self.stderr_counts.begin(slot);
        let args = WorkerArgs {
            server: self.pid,
            stderr_count: self.stderr_counts.seen_by_worker(slot),
            mailbox: &mailbox,
            fd_socket: &their_fd_socket,
            stdout: their_stdout.as_ref(),
            stderr: &their_stderr,
            wake_socket: &self.wake_socket,
            token,
            open_files: self.open_files,
            groups: self.groups.of_spares(),
            oom_score_adj: self.oom_score.for_worker(),
            surplus: Surplus::All,
        };
        let pid = match &self.executing {
            Some(executing) => executing.make(&args, slot, self.stderr_counts.file())?,
            None => match process::fork_single_threaded()? {
                Fork::Child => startup::run(&args),
                Fork::Parent(pid) => pid,
            },
        };
        self.make_leader(pid)?;
        let worker = Box::new(ForkedWorker {
            slot,
            token,
            fd_socket: Arc::new(fd_socket),
            written: PerStream {
                stdout: stdout.map(|pipe| StreamReader::new(pipe, None)),
                stderr: StreamReader::new(stderr, Some(count)),
            },
            redirected: [None, None],
            oom_kills,
            kill_at: None,
            ends_at: None,
            stopped: None,
            main_thread: MainThread::Lives,
            memory: None,
        });
        self.exit_table.reset(slot);
        for stream in Stream::ALL {
            let Some(input) = worker.written.of(stream) else {
                continue;
            };
            if !self.is_blocked(stream) {
                // If there is no memory to watch it, it is tried again: a worker whose pipe is not
                // read would wait for ever.
                let added = self
                    .epoll
                    .add_readable(input.pipe(), key_of(slot, About::Written(stream)));
                self.unwatched |= added.is_err();
            }
        }
        self.workers.insert(pid, worker);
        Ok((pid, mailbox))
    }

    /// Makes a new worker the leader of its process group, or kills it.
    fn make_leader(&self, pid: u32) -> io::Result<()> {
        // Both sides do it, so that it is done before either relies on it. The worker has no task
        // yet, and has not become another program; so this fails only where it is denied.
        let id = Pid::from_raw(pid as i32);
        let leads = match self.executing {
            None => rustix::process::setpgid(id, id),
            // It has done so before it became the program, or was refused.
            Some(_) => match rustix::process::getpgid(id) {
                Ok(group) if Some(group) == id => Ok(()),
                Ok(_) => Err(Errno::PERM),
                Err(e) => Err(e),
            },
        };
        if let Err(e) = leads {
            // An orphan like any other from here on.
            process::kill(pid, libc::SIGKILL);
            return Err(e)
                .call("setpgid(2)")
                .needed_to("end a worker with what it has started");
        }
        Ok(())
    }

    /// This worker is dead, or was not made: each process that waits for what it held looks again.
    pub(super) fn mark_dead(&mut self, token: Option<Token>) {
        match (token, &self.liveness_writer) {
            (Some(token), Some(liveness_writer)) => liveness_writer.mark_dead(token),
            // Sent before the loop waits again.
            (Some(token), None) => {
                let token = token.to_bits();
                self.outbox.push(ForkServerEvent::Dead { token }, None);
            }
            (None, _) => {
                if let Ok(liveness) = LivenessTable::get() {
                    liveness.announce_change();
                }
            }
        }
    }

    pub(super) fn take_slot(&mut self) -> io::Result<u32> {
        if self.free_slots.is_empty() {
            self.collect_released();
        }
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.next_slot == SLOTS {
            return Err(io::Error::other(format!(
                "a fork server has no more than {SLOTS} worker processes"
            )));
        }
        self.next_slot += 1;
        Ok(self.next_slot - 1)
    }

    pub(super) fn collect_released(&mut self) {
        self.unreleased.retain(|gone| {
            let is_free = self.exit_table.is_free(gone.slot);
            if is_free {
                self.free_slots.push(gone.slot);
            }
            !is_free
        });
    }
}

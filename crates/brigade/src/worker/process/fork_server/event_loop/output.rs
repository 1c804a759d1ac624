//! What workers write to their stderr, passed on to the host's.

use std::io;
use std::time::Instant;

use super::{FIRST_SLOT, STDERR_FREE, Server};
use crate::worker::process::fork_server::stderr::Found;

impl Server<'_> {
    pub(super) fn stderr_of(&mut self, slot: u32) {
        // Few workers write at a time; a map by slot would have to be kept for all.
        let Some(worker) = self.workers.values_mut().find(|w| w.slot == slot) else {
            return;
        };
        if worker.stderr.pass(&mut self.output) == Found::End {
            self.epoll.remove(worker.stderr.pipe());
        }
        self.watch_output();
    }

    /// Passes on the beginnings of lines whose ends have not come.
    pub(super) fn pass_held(&mut self) {
        if self.stderr_blocked {
            return;
        }
        let now = Instant::now();
        for worker in self.workers.values_mut() {
            if worker.stderr.held_until().is_some_and(|at| at <= now) {
                worker.stderr.pass_held(&mut self.output);
            }
        }
        self.watch_output();
    }

    /// While too much waits for the host's stderr, workers' pipes are left alone.
    pub(super) fn watch_output(&mut self) {
        if self.stderr_blocked {
            return;
        }
        let Some(fd) = self.output.blocked_on() else {
            return;
        };
        if self.epoll.add_writable(fd, STDERR_FREE).is_ok() {
            self.stderr_blocked = true;
            for worker in self.workers.values() {
                self.epoll.remove(worker.stderr.pipe());
            }
        }
    }

    pub(super) fn stderr_free(&mut self) {
        if let Some(fd) = self.output.blocked_on() {
            self.epoll.remove(fd);
        }
        self.stderr_blocked = false;
        self.output.flush();
        self.watch_output();
        if !self.stderr_blocked {
            self.watch_workers();
        }
    }

    /// Has the loop read what workers write. Those that it reads already are an error, too, which
    /// is none.
    pub(super) fn watch_workers(&mut self) {
        self.unwatched = false;
        for worker in self.workers.values() {
            let key = FIRST_SLOT + u64::from(worker.slot);
            let added = self.epoll.add_readable(worker.stderr.pipe(), key);
            self.unwatched |= added.is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists);
        }
    }
}

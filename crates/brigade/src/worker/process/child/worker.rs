//! What a worker of either sort has: its mailbox, its rings and its sockets.

use std::io;
use std::os::fd::BorrowedFd;

use super::streams::Marks;
use super::warm_up::warm_up;
use crate::sys::fds::Pinned;
use crate::sys::last_word;
use crate::worker::process::ipc::mailbox::{Mailbox, WorkerRings};
use crate::worker::process::ipc::reply::Reply;
use crate::worker::process::ipc::stderr_count::StderrCount;
use crate::worker::process::ipc::wake_socket;

/// The exit status of a process that could not become a worker. It never had a task.
pub(in crate::worker::process) const EXIT_NOT_STARTED: i32 = 70;

/// The exit status of a worker that broke off: what the host says makes no sense.
pub(in crate::worker::process) const EXIT_PROTOCOL_BROKEN: i32 = 71;

/// A worker, as its own process sees it.
pub(in crate::worker::process) struct Worker {
    pub(in crate::worker::process) mailbox: &'static Mailbox,
    pub(in crate::worker::process) ends: WorkerRings,
    fd_socket: Pinned,
    pub(in crate::worker::process) wake_socket: Pinned,
    pub(in crate::worker::process) stderr_count: StderrCount,
    pub(in crate::worker::process::child) marks: Marks,
}

/// Wakes the host's event loop. An error: the task has closed the way to do that.
pub(in crate::worker::process) fn wake_events(wake_socket: &Pinned) -> io::Result<()> {
    let Some(wake_socket) = wake_socket.get() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    wake_socket::wake(wake_socket)
}

impl Worker {
    pub(in crate::worker::process) fn new(
        mailbox: &'static Mailbox,
        fd_socket: Pinned,
        wake_socket: Pinned,
        stderr_count: StderrCount,
    ) -> Worker {
        Worker {
            mailbox,
            ends: WorkerRings::new(mailbox),
            fd_socket,
            wake_socket,
            stderr_count,
            marks: Marks::default(),
        }
    }

    /// Touches what the first task will. After a fork every page is a fault at its first touch; the
    /// task, which a caller waits for, then finds them all there. (18 faults, some 25 µs.)
    pub(in crate::worker::process) fn warm_up(&mut self) {
        self.mailbox.warm();
        warm_up();
        // Written where the first reply will be, and never published.
        let _ = Reply::Returned(&[0; 64]).push(&mut WorkerRings::new(self.mailbox).replies);
        let _ = (self.mailbox.wants_events(), self.wake_socket.get());
    }

    /// Whether the fork server has ended: then this worker is about to be killed.
    #[inline]
    pub(in crate::worker::process) fn has_lost_fork_server(&self) -> bool {
        last_word::is_left(self.stderr_count.last_word())
    }

    pub(in crate::worker::process) fn fd_socket(&self) -> io::Result<BorrowedFd<'_>> {
        self.fd_socket
            .get()
            .ok_or_else(|| io::Error::other("the task closed a descriptor that was not its own"))
    }
}

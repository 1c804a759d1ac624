//! A stand-in for the fork server, and workers that run in the calling thread, one step for each
//! call: for [`counts`](crate::counts).
//!
//! Problem: what a task costs is to be counted in one thread of one process, where no thread may
//! wait for another. The host's half and the worker's are the library's own, on one mailbox that is
//! mapped twice; only the fork server is replaced. Nothing here is a hot path.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::sys::fds::Pinned;
use crate::sys::opened;
use crate::sys::privilege::Privilege;
use crate::task::symbols::Symbols;
use crate::worker::process::Inheritance;
use crate::worker::process::child::worker_loop::WorkerLoop;
use crate::worker::process::child::{this_worker, worker};
use crate::worker::process::host::client::{ForkServerClient, ForkServerLinks, Origin, servers_of};
use crate::worker::process::host::start_method::StartMethod;
use crate::worker::process::ipc::exit_table::{ExitTable, SLOTS};
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::{self, ForkServerEvent};
use crate::worker::process::ipc::stderr_count::StderrCounts;
use crate::worker::process::ipc::wake_socket;

/// What this process takes for its fork server.
pub struct OneThread {
    server: Arc<ForkServerClient>,
    /// The fork server's end of the line. What is asked for there is not answered.
    theirs: OwnedFd,
    /// The workers' end of the wake socket.
    wake_socket: OwnedFd,
    stderr_counts: StderrCounts,
    slot: Cell<u32>,
}

impl fmt::Debug for OneThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneThread").finish_non_exhaustive()
    }
}

impl OneThread {
    /// From here on, a caller that starts a process in this process gets a worker of
    /// [`add_worker`](Self::add_worker).
    ///
    /// # Errors
    /// The kernel's.
    pub fn begin() -> io::Result<OneThread> {
        let (ours, theirs) = opened::socket_pair()?;
        let exit_table = ExitTable::map(ExitTable::file()?)?;
        let events = opened::event()?;
        let (host_end, wake_socket) = wake_socket::pair()?;
        let symbols = Symbols::new(Vec::new());
        // No process has the number 0, and this is no pidfd: no process is ever ended.
        let process = opened::event()?;
        let server = ForkServerClient::new(
            0,
            process,
            Privilege::of_this_thread()?,
            ForkServerLinks {
                socket: ours,
                exit_table,
                events,
                wake_socket: host_end,
            },
            symbols,
            StartMethod::Fork,
        )?;
        let server = Arc::new(server);
        *servers_of(Origin::own(Inheritance::Environment))
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&server));
        this_worker::become_the_worker_of(Mailbox::map(Mailbox::file()?)?);
        Ok(OneThread {
            server,
            theirs,
            wake_socket,
            stderr_counts: StderrCounts::new()?,
            slot: Cell::new(0),
        })
    }

    /// Has the host take in a worker that has nothing to do yet.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_worker(&self) -> io::Result<CountedWorker> {
        let slot = self.slot.get();
        self.slot.set((slot + 1) % SLOTS);
        let file = Mailbox::file()?;
        // A worker's mailbox is mapped for as long as its process lives.
        let mailbox = Box::leak(Box::new(Mailbox::map(&file)?));
        let (_, fd_socket) = opened::socket_pair()?;
        self.stderr_counts.begin(slot);
        let worker = worker::Worker::new(
            mailbox,
            Pinned::leaked(fd_socket)?,
            Pinned::new(&self.wake_socket)?,
            self.stderr_counts.seen_by_worker(slot),
        );
        self.server.exit_table.reset(slot);
        protocol::send(
            &self.theirs,
            &ForkServerEvent::Forked { slot, pid: 0 },
            &[file.as_fd()],
        )?;
        self.server.hear();
        Ok(CountedWorker(worker))
    }

    /// Does what the listener does when a worker has woken it: has the pools look after their
    /// workers.
    pub fn listen(&self) {
        self.server
            .call_observers(Duration::ZERO, std::time::Instant::now());
    }
}

/// A worker that has not been given anything to do.
pub struct CountedWorker(worker::Worker);

impl CountedWorker {
    /// Does what a worker does at first: touches what the first task will.
    pub fn warm_up(&mut self) {
        self.0.warm_up();
    }

    /// Obeys, until a task is done; or until an order makes it a pool's worker. It waits if there
    /// is nothing to obey.
    pub fn serve(mut self) -> Option<StayingWorker> {
        let pool = self.0.serve()?;
        Some(StayingWorker(WorkerLoop::new(self.0, pool)))
    }
}

/// A worker of a pool.
pub struct StayingWorker(WorkerLoop);

impl StayingWorker {
    /// Runs what it was given, as if it had waited for that, until it finds nothing more to do. It
    /// does not sleep then. `false`: it has left.
    pub fn serve(&mut self) -> bool {
        let mut has_begun = self.0.begin_after_wait() || self.0.begin_at_once();
        while has_begun {
            if !self.0.serve_begun() {
                return false;
            }
            has_begun = self.0.begin_at_once();
        }
        true
    }
}

impl fmt::Debug for CountedWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl fmt::Debug for StayingWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StayingWorker").finish_non_exhaustive()
    }
}

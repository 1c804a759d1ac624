//! A worker process: from the fork to its end.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit};

use super::this_worker::become_the_worker_of;
use super::worker::{EXIT_NOT_STARTED, Worker};
use super::worker_loop::WorkerLoop;
use super::{groups, oom_score};
use crate::sync::liveness::{self, LivenessTable, Token};
use crate::sys::error;
use crate::sys::fds::Pinned;
use crate::sys::remote_error::RemoteError;
use crate::sys::value_file::kept;
use crate::sys::{fds, futex, process, profile, signal};
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol;
use crate::worker::process::ipc::stderr_count::StderrCount;

/// What a worker is born with.
#[derive(Debug)]
pub(crate) struct WorkerArgs<'a> {
    pub(crate) server: u32,
    pub(crate) mailbox: &'a OwnedFd,
    pub(crate) fd_socket: &'a OwnedFd,
    /// `None`: it has its stdout already.
    pub(crate) stdout: Option<&'a OwnedFd>,
    pub(crate) stderr: &'a OwnedFd,
    /// How much of that the fork server has read.
    pub(crate) stderr_count: StderrCount,
    /// The workers' end of what wakes the host's event loop.
    pub(crate) wake_socket: &'a OwnedFd,
    /// The worker's token in the liveness table; `None`: it is an outsider there.
    pub(crate) token: Option<Token>,
    /// What the fork server's limit of descriptors was before it raised it.
    pub(crate) open_files: Option<Rlimit>,
    /// Below these it makes control groups of its own.
    pub(crate) groups: &'a [PathBuf],
    /// How soon the kernel kills it where memory has run out; `None`: it was forked with that.
    pub(crate) oom_score_adj: Option<i16>,
    pub(crate) surplus: Surplus,
}

/// The descriptors that a worker does not keep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Surplus {
    /// All others: they are copies of the fork server's.
    All,
    /// These: others may be those of a library.
    These([RawFd; 3]),
}

/// Lives and ends as a worker.
pub(crate) fn run(args: &WorkerArgs<'_>) -> ! {
    let (mailbox, mut worker) = begin(args).unwrap_or_else(|e| could_not_start(args.fd_socket, e));
    worker.warm_up();
    if let Some(pool) = worker.serve() {
        WorkerLoop::new(worker, pool).run();
    }
    // Ending takes the kernel longer than the task may have taken, and the caller that got the
    // reply may be waiting for this very processor.
    if mailbox.may_delay_exit() {
        futex::rest(EXIT_DELAY);
    }
    process::exit_now(0)
}

/// Ends a process that could not become a worker, and says why in its descriptor socket: it has no
/// task, so that nothing else of it is there.
pub(in crate::worker::process) fn could_not_start(fd_socket: &OwnedFd, why: io::Error) -> ! {
    let why = error::needed("start a worker process", why);
    let _ = protocol::send_last(fd_socket, &RemoteError::from(&why));
    process::exit_now(EXIT_NOT_STARTED)
}

/// Becomes a worker.
fn begin(args: &WorkerArgs<'_>) -> io::Result<(&'static Mailbox, Worker)> {
    profile::begin();
    process::die_with_parent();
    // The fork server may have died before that took effect.
    if process::parent()? != args.server {
        process::exit_now(0);
    }
    // A group of its own, so that it and its children can be ended together; and orphans among them
    // come to it, and at its end to the fork server. If the one is refused, the fork server sees
    // it; the other was allowed to the fork server.
    let _ = rustix::process::setpgid(None, None);
    let _ = process::adopt_orphans();
    if let Some(value) = args.oom_score_adj {
        // Any process may raise it; where it is refused (no /proc), the kernel chooses as it does
        // among others.
        let _ = oom_score::set(value);
    }
    process::set_name(c"brigade-worker");
    let mailbox = become_the_worker_of(Mailbox::map(args.mailbox)?);
    let (fd_socket, wake_socket) = (Pinned::new(args.fd_socket)?, Pinned::new(args.wake_socket)?);
    let liveness = LivenessTable::get()?;
    let token = args.token.map_or_else(Token::outsider, Ok)?;
    args.stdout.map_or(Ok(()), fds::become_stdout)?;
    fds::become_stderr(args.stderr)?;
    liveness::become_worker(token);
    kept::keep_nothing_yet();
    match args.surplus {
        Surplus::All => {
            fds::close_all_but(&[
                fd_socket.number(),
                wake_socket.number(),
                liveness.file().number(),
            ]);
        }
        Surplus::These(numbers) => fds::close_all(&numbers),
    }
    // Lowers it, which any process may. If it is denied altogether, it was never raised.
    if let Some(open_files) = args.open_files {
        let _ = rustix::process::setrlimit(Resource::Nofile, open_files);
    }
    signal::unblock_all();
    groups::enter_ahead(args.groups);
    let worker = Worker::new(mailbox, fd_socket, wake_socket, args.stderr_count);
    Ok((mailbox, worker))
}

/// The fork server: why a worker that ended with [`EXIT_NOT_STARTED`] was none, as it has said in
/// its descriptor socket. What is there is left there: it may be a result, which is shorter, of a
/// task that has ended its process with the same status.
pub(in crate::worker::process) fn why_not_started(fd_socket: &OwnedFd) -> Option<RemoteError> {
    /// As long as what goes with the descriptors of a value: see [`fd_socket`].
    const SHORT: usize = 8;
    let mut bytes = [0; 512];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let look = |bytes: &mut [u8]| rustix::net::recv(fd_socket, bytes, flags);
    let (len, _) = match look(&mut bytes) {
        // Told first, and once: the host has sent it something that it has not read.
        Err(Errno::CONNRESET) => look(&mut bytes),
        looked => looked,
    }
    .ok()?;
    let said = bytes.get(..len).filter(|said| said.len() > SHORT)?;
    postcard::from_bytes(said).ok()
}

/// How long a worker stays after its reply.
const EXIT_DELAY: Duration = Duration::from_millis(1);

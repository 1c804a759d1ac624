//! A worker process: from the fork to its end.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit};

use crate::sync::liveness::{self, LivenessTable, Token};
use crate::sys::error;
use crate::sys::fds::Pinned;
use crate::sys::remote_error::RemoteError;
use crate::sys::signal::Fault;
use crate::sys::value_file::kept;
use crate::sys::{asking, fds, futex, process, profile, signal, spin};
use crate::task::codec::{self, Encoded};
use crate::task::entry::{EncodedResult, Outcome, Plan};
use crate::worker::process::child::flush::{self, Streams};
use crate::worker::process::child::groups;
use crate::worker::process::child::streams::Marks;
use crate::worker::process::child::worker_loop::WorkerLoop;
use crate::worker::process::ipc::mailbox::{Mailbox, WorkerRings};
use crate::worker::process::ipc::protocol;
use crate::worker::process::ipc::reply::Reply;
use crate::worker::process::ipc::stderr_count::Seen;
use crate::worker::process::ipc::wake_socket;

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
    pub(crate) stderr_count: Seen,
    /// The workers' end of what wakes the host's event loop.
    pub(crate) wake_socket: &'a OwnedFd,
    /// Its token in the liveness table; `None`: it is an outsider there.
    pub(crate) token: Option<Token>,
    /// What the fork server's limit of descriptors was before it raised it.
    pub(crate) open_files: Option<Rlimit>,
    /// Below these it makes control groups of its own.
    pub(crate) groups: &'a [PathBuf],
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

/// This worker's identity; the signal handler's way to the crash record.
static WORKER: OnceLock<WorkerIdentity> = OnceLock::new();

#[derive(Debug)]
struct WorkerIdentity {
    /// A process that the task forked has all of this too, and another number.
    pid: u32,
    mailbox: Mailbox,
}

impl WorkerIdentity {
    fn is_this_process(&self) -> bool {
        self.pid == std::process::id()
    }
}

/// From here on this process is the worker that this mailbox belongs to.
pub(in crate::worker::process) fn become_the_worker_of(mailbox: Mailbox) -> &'static Mailbox {
    let identity = WORKER.get_or_init(|| WorkerIdentity {
        pid: std::process::id(),
        mailbox,
    });
    &identity.mailbox
}

/// Lives and ends as a worker.
pub(crate) fn run(birth: &WorkerArgs<'_>) -> ! {
    let (mailbox, mut worker) =
        begin(birth).unwrap_or_else(|e| could_not_start(birth.fd_socket, e));
    worker.warm_up();
    if let Some(pool) = worker.serve() {
        WorkerLoop::new(worker, pool).run();
    }
    // Ending takes the kernel longer than the task may have taken, and whoever got the reply may be
    // waiting for this very processor.
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
fn begin(birth: &WorkerArgs<'_>) -> io::Result<(&'static Mailbox, Worker)> {
    profile::begin();
    process::die_with_parent();
    // The fork server may have died before that took effect.
    if process::parent()? != birth.server {
        process::exit_now(0);
    }
    // A group of its own, so that it and its children can be ended together; and orphans among them
    // come to it, and at its end to the fork server. If the one is refused, the fork server sees
    // it; the other was allowed to the fork server.
    let _ = rustix::process::setpgid(None, None);
    let _ = process::adopt_orphans();
    process::set_name(c"brigade-worker");
    let mailbox = become_the_worker_of(Mailbox::map(birth.mailbox)?);
    let (fd_socket, wake_socket) = (
        Pinned::new(birth.fd_socket)?,
        Pinned::new(birth.wake_socket)?,
    );
    let liveness = LivenessTable::get()?;
    let token = birth.token.map_or_else(Token::outsider, Ok)?;
    birth.stdout.map_or(Ok(()), fds::become_stdout)?;
    fds::become_stderr(birth.stderr)?;
    liveness::become_worker(token);
    kept::in_worker();
    match birth.surplus {
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
    if let Some(open_files) = birth.open_files {
        let _ = rustix::process::setrlimit(Resource::Nofile, open_files);
    }
    signal::unblock_all();
    groups::enter_ahead(birth.groups);
    let worker = Worker::new(mailbox, fd_socket, wake_socket, birth.stderr_count);
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

/// Runs a task that does nothing and tells no peer. In the fork server too, once: what the loader
/// and the libraries do at a first call (symbols, the panic hook, the C library's and std's
/// streams) is then done for all workers.
pub(crate) fn warm_up() {
    let _ = run_nothing();
    flush::flush(Streams::All);
    let _ = rustix::thread::sched_getcpu();
    let _ = process::has_had_threads();
    // A worker that is woken would read a file for it, and the host waits.
    let _ = spin::pays();
}

/// The fork server, when it has what it keeps: what a worker allocates before its task is there,
/// side by side, so that none looks for it all over the heap, which after a fork is a fault a page.
pub(crate) fn leave_memory() {
    drop([(); 4].map(|()| Vec::<u8>::with_capacity(SMALL)));
}

/// Runs a task that does nothing, as any other: one whose input is refused would have an error made
/// up instead, which takes more of the program than a task does.
fn run_nothing() -> Option<Outcome> {
    fn nothing((): ()) {}
    let plan = Plan::of(nothing as fn(())).ok()?;
    let mut input = Vec::with_capacity(SMALL);
    codec::encode(&(), &mut input).ok()?;
    let mut result = EncodedResult::default();
    result.bytes.reserve(SMALL);
    Some(plan.run(Encoded::Here(&input), Vec::new(), &mut result, &|_| {}))
}

/// Bytes that a plan and a small input fit, or a small result.
pub(in crate::worker::process::child) const SMALL: usize = 64;

/// How long a worker stays after its reply.
const EXIT_DELAY: Duration = Duration::from_millis(1);

/// The exit status of a process that could not become a worker. It never had a task.
pub(in crate::worker::process) const EXIT_NOT_STARTED: i32 = 70;

/// The exit status of a worker that broke off: what the host says makes no sense.
pub(in crate::worker::process) const EXIT_PROTOCOL_BROKEN: i32 = 71;

pub(in crate::worker::process) struct Worker {
    pub(in crate::worker::process) mailbox: &'static Mailbox,
    pub(in crate::worker::process) ends: WorkerRings,
    fd_socket: Pinned,
    pub(in crate::worker::process) wake_socket: Pinned,
    pub(in crate::worker::process) stderr_count: Seen,
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
        stderr_count: Seen,
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

    pub(in crate::worker::process) fn fd_socket(&self) -> io::Result<BorrowedFd<'_>> {
        self.fd_socket
            .get()
            .ok_or_else(|| io::Error::other("the task closed a descriptor that was not its own"))
    }
}

pub(in crate::worker::process) fn is_the_worker() -> bool {
    WORKER.get().is_some_and(WorkerIdentity::is_this_process)
}

/// Says that this worker is about to do something else than it is.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn set_phase_of_this_worker(phase: crate::task::crash::Phase) {
    if let Some(worker) = WORKER.get() {
        worker.mailbox.set_phase(phase);
    }
}

/// Says that this worker has not begun what it runs.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn unsay_begun() {
    if let Some(worker) = WORKER.get() {
        worker.mailbox.handoff().claims.unsay();
    }
}

/// Says that this worker has taken so many bytes out of its ring, after its setup.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn pretend_to_have_taken(bytes: u64) {
    if let Some(worker) = WORKER.get() {
        worker.mailbox.pretend_to_have_taken(bytes);
    }
}

/// How many tasks this worker has that it has not begun.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn offered_ahead() -> u32 {
    let worker = WORKER.get();
    worker.map_or(0, |worker| worker.mailbox.handoff().claims.ahead())
}

/// The observer of fatal signals: in the fork server, and in a child of a task, it does nothing.
pub(crate) fn note_fault(fault: &Fault) {
    if let Some(worker) = WORKER.get().filter(|w| w.is_this_process()) {
        worker.mailbox.note(fault, signal::is_stack_overflow(fault));
    }
}

/// What a worker does when it is asked where it is.
pub(crate) const ANSWER: asking::Answer = asking::Answer {
    walk: |instruction| {
        if let Some(worker) = worker_in_its_thread() {
            worker.mailbox.begin_answer(instruction);
        }
    },
    finish: || {
        if worker_in_its_thread().is_some_and(|worker| worker.mailbox.finish_answer()) {
            // What it has started is ended by the fork server, which hears of it.
            process::kill(std::process::id(), libc::SIGKILL);
        }
    },
};

/// This worker, in the thread that runs tasks: in the fork server, in a child of a task and in
/// threads that a task has started there is nothing to tell.
fn worker_in_its_thread() -> Option<&'static WorkerIdentity> {
    let worker = WORKER.get().filter(|worker| worker.is_this_process());
    worker.filter(|worker| process::thread_number() == worker.pid)
}

/// What this worker's sandbox will have refused if it ends the worker and cannot say what it was:
/// the kernel does it alone where a thread has blocked the signal, and for calls of another
/// processor's kind.
#[cfg(feature = "sandbox")]
pub(in crate::worker::process::child) fn note_sandbox() {
    if let Some(worker) = WORKER.get().filter(|w| w.is_this_process()) {
        worker.mailbox.note_refused("a system call");
    }
}

/// The handler of what a sandbox refuses: as [`note_fault`], with what it was.
#[cfg(feature = "sandbox")]
pub(in crate::worker::process::child) fn note_refused(fault: &Fault, what: &str) {
    if let Some(worker) = WORKER.get().filter(|w| w.is_this_process()) {
        worker.mailbox.note_refused(what);
        worker.mailbox.note(fault, false);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_warms_a_worker_up_is_a_task_that_returns() {
        let outcome = run_nothing();
        assert!(matches!(outcome, Some(Outcome::Returned(_))), "{outcome:?}");
    }
}

//! A worker process: from the fork to its end.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit};

use crate::sync::roster::{self, Roster, Token};
use crate::sys::error::{self, Call};
use crate::sys::fds::Pinned;
use crate::sys::remote_error::RemoteError;
use crate::sys::signal::Fault;
use crate::sys::{environment, fds, futex, process, profile, signal, spin};
use crate::task::crash::Phase;
use crate::task::entry::{self, Outcome, Plan};
use crate::task::text::floor_char_boundary;
use crate::worker::process::child::flush::{self, Streams};
use crate::worker::process::child::oom_score;
use crate::worker::process::ipc::bell;
use crate::worker::process::ipc::lane;
use crate::worker::process::ipc::mailbox::{INLINE_MAX, Mailbox, WorkerEnds, order, reply};
use crate::worker::process::ipc::protocol::{self, NotReady, Setup, Stay};
use crate::worker::process::ipc::stderr_count::Seen;

/// What a worker is born with.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    pub(crate) server: u32,
    pub(crate) mailbox: &'a OwnedFd,
    pub(crate) lane: &'a OwnedFd,
    pub(crate) stderr: &'a OwnedFd,
    /// How much of that the fork server has read.
    pub(crate) stderr_count: Seen,
    /// The workers' end of what wakes the host's event loop.
    pub(crate) bell: &'a OwnedFd,
    /// Who it is in the roster; `None`: an outsider there.
    pub(crate) token: Option<Token>,
    /// What the fork server's limit of descriptors was before it raised it.
    pub(crate) open_files: Option<Rlimit>,
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

/// Who this worker is; the signal handler's way to the crash record.
static WORKER: OnceLock<Identity> = OnceLock::new();

#[derive(Debug)]
struct Identity {
    /// A process that the task forked has all of this too, and another number.
    pid: u32,
    mailbox: Mailbox,
}

impl Identity {
    fn is_this_process(&self) -> bool {
        self.pid == std::process::id()
    }
}

/// From here on this process is the worker that this mailbox belongs to.
pub(in crate::worker::process) fn become_the_worker_of(mailbox: Mailbox) -> &'static Mailbox {
    let identity = WORKER.get_or_init(|| Identity {
        pid: std::process::id(),
        mailbox,
    });
    &identity.mailbox
}

/// Lives and ends as a worker.
pub(crate) fn run(birth: &Birth<'_>) -> ! {
    let (mailbox, mut worker) = begin(birth).unwrap_or_else(|e| could_not_start(birth.lane, e));
    worker.rehearse();
    if let Some(stay) = worker.serve() {
        worker.stay(&stay);
    }
    // Ending takes the kernel longer than the task may have taken, and whoever got the reply may be
    // waiting for this very processor.
    if mailbox.may_rest() {
        futex::rest(LINGER);
    }
    process::exit_now(0)
}

/// Ends a process that could not become a worker, and says why in its lane: it has no task, so that
/// nothing else of it is there.
pub(in crate::worker::process) fn could_not_start(lane: &OwnedFd, why: io::Error) -> ! {
    let why = error::needed("start a worker process", why);
    let _ = protocol::send_last(lane, &RemoteError::from(&why));
    process::exit_now(NOT_STARTED)
}

/// Becomes a worker.
fn begin(birth: &Birth<'_>) -> io::Result<(&'static Mailbox, Worker)> {
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
    let (lane, bell) = (Pinned::new(birth.lane)?, Pinned::new(birth.bell)?);
    let roster = Roster::get()?;
    let token = birth.token.map_or_else(Token::outsider, Ok)?;
    fds::become_stderr(birth.stderr)?;
    roster::become_worker(token);
    match birth.surplus {
        Surplus::All => {
            fds::close_all_but(&[lane.number(), bell.number(), roster.file().number()]);
        }
        Surplus::These(numbers) => fds::close_all(&numbers),
    }
    // Lowers it, which anybody may. If it is denied altogether, it was never raised.
    if let Some(open_files) = birth.open_files {
        let _ = rustix::process::setrlimit(Resource::Nofile, open_files);
    }
    signal::unblock_all();
    let worker = Worker::new(mailbox, lane, bell, birth.stderr_count);
    Ok((mailbox, worker))
}

/// The fork server: why a worker that ended with [`NOT_STARTED`] was none, as it has said in its
/// lane. What is there is left there: it may be a result, which is shorter, of a task that has
/// ended its process with the same status.
pub(in crate::worker::process) fn why_not_started(lane: &OwnedFd) -> Option<RemoteError> {
    /// As long as what goes with the descriptors of a value: see [`lane`].
    const SHORT: usize = 8;
    let mut bytes = [0; 512];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let look = |bytes: &mut [u8]| rustix::net::recv(lane, bytes, flags);
    let (len, _) = match look(&mut bytes) {
        // Told first, and once: the host has sent it something that it has not read.
        Err(Errno::CONNRESET) => look(&mut bytes),
        looked => looked,
    }
    .ok()?;
    let said = bytes.get(..len).filter(|said| said.len() > SHORT)?;
    postcard::from_bytes(said).ok()
}

/// Runs a task that does nothing and tells nobody. In the fork server too, once: what the loader
/// and the libraries do at a first call (symbols, the panic hook, the C library's and std's
/// streams) is then done for all workers.
pub(crate) fn rehearse() {
    fn nothing((): ()) {}
    if let Ok(plan) = Plan::of(nothing as fn(())) {
        let mut result = Vec::with_capacity(64);
        plan.run(&[], Vec::new(), &mut result, &|_| {});
        flush::flush(Streams::All);
        let _ = rustix::thread::sched_getcpu();
        let _ = process::has_had_threads();
        // A worker that is woken would read a file for it, and the host waits.
        let _ = spin::pays();
    }
}

/// How long a worker that was called looks for its order: longer than the host takes to compare
/// privileges when it has slept, which is 80 µs, and as long again to prepare the order.
const CALLED: Duration = Duration::from_micros(200);

/// How long a worker stays after its reply.
const LINGER: Duration = Duration::from_millis(1);

/// The exit status of a process that could not become a worker. It never had a task.
pub(in crate::worker::process) const NOT_STARTED: i32 = 70;

pub(in crate::worker::process) struct Worker {
    pub(in crate::worker::process) mailbox: &'static Mailbox,
    pub(in crate::worker::process) ends: WorkerEnds,
    lane: Pinned,
    pub(in crate::worker::process) bell: Pinned,
    pub(in crate::worker::process) stderr_count: Seen,
}

/// Wakes the host's event loop. An error: the task has closed the way to do that.
pub(in crate::worker::process) fn wake_events(bell: &Pinned) -> io::Result<()> {
    let Some(bell) = bell.get() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    bell::ring(bell)
}

impl Worker {
    pub(in crate::worker::process) fn new(
        mailbox: &'static Mailbox,
        lane: Pinned,
        bell: Pinned,
        stderr_count: Seen,
    ) -> Worker {
        Worker {
            mailbox,
            ends: WorkerEnds::new(mailbox),
            lane,
            bell,
            stderr_count,
        }
    }

    /// Touches what the first task will. After a fork every page is a fault at its first touch; the
    /// task, which somebody waits for, then finds them all there. (18 faults, some 25 µs.)
    pub(in crate::worker::process) fn rehearse(&mut self) {
        self.mailbox.warm();
        rehearse();
        // Written where the first reply will be, and never published.
        let _ = WorkerEnds::new(self.mailbox)
            .replies
            .push(reply::READY, &[0; 64]);
        let _ = (self.mailbox.wants_events(), self.bell.get());
    }

    /// Obeys one order after another, until a task is done; or until it is told to stay, and how.
    pub(in crate::worker::process) fn serve(&mut self) -> Option<Stay> {
        let mut frame = Vec::new();
        loop {
            self.mailbox.note_processor();
            self.wait_for_order();
            match self.ends.orders.pop(&mut frame) {
                Ok(None) => {}
                Ok(Some(order::SETUP)) => {
                    let mut stay = None;
                    let answer = match postcard::from_bytes::<Setup>(&frame) {
                        Ok(mut setup) => {
                            stay = setup.stay.take();
                            #[cfg(feature = "sandbox")]
                            let rules = setup.sandbox.take();
                            let ready = set_up(setup).and_then(|()| initialize(stay.as_ref()));
                            #[cfg(feature = "sandbox")]
                            let ready = ready.and_then(|()| shut_in(rules.as_deref()));
                            ready
                        }
                        Err(e) => Err(NotReady {
                            why: RemoteError::other(e.to_string()),
                            panic: None,
                        }),
                    };
                    let failed = answer.is_err();
                    // Never nothing, which would say that it is ready: of what makes no sense, the
                    // host says so.
                    let bytes = answer.map_or_else(
                        |e| postcard::to_stdvec(&e).unwrap_or_else(|_| vec![0]),
                        |()| Vec::new(),
                    );
                    if !failed {
                        // Before anybody hears that it is ready: what it is killed by from now on
                        // finds it without a task.
                        self.mailbox.set_phase(Phase::Idle);
                    }
                    self.reply(reply::READY, &bytes);
                    if failed || stay.is_some() {
                        return stay.filter(|_| !failed);
                    }
                    self.mailbox.set_phase(Phase::Starting);
                }
                Ok(Some(order::TASK)) => {
                    self.task(&frame, None, Vec::new());
                    return None;
                }
                Ok(Some(order::ACCOMPANIED_TASK)) => {
                    self.mailbox.set_phase(Phase::Decoding);
                    match self.lane().and_then(|lane| lane::recv(lane, true)) {
                        Ok(descriptors) => self.task(&frame, None, descriptors),
                        Err(e) => {
                            let why = format!("the descriptors of its input did not arrive: {e}");
                            self.reply(reply::UNDELIVERABLE, why.as_bytes());
                        }
                    }
                    return None;
                }
                Ok(Some(order::LARGE_TASK)) => {
                    let len = word(&frame, 2);
                    self.mailbox.set_phase(Phase::Decoding);
                    match self
                        .lane()
                        .and_then(|lane| lane::recv_large(lane, len, true))
                    {
                        Ok((input, descriptors)) => self.task(&frame, Some(input), descriptors),
                        Err(e) => {
                            let why = format!("its input of {len} bytes did not arrive: {e}");
                            self.reply(reply::UNDELIVERABLE, why.as_bytes());
                        }
                    }
                    return None;
                }
                // The host is of the same build and no enemy; this cannot be.
                Ok(Some(_)) | Err(_) => process::exit_now(71),
            }
        }
    }

    /// Sleeps until there is an order. The host calls this worker before it has the order ready, so
    /// that the two take less time than one after the other: a worker that is woken and finds no
    /// order looks for it for a moment.
    fn wait_for_order(&self) {
        let orders = &self.ends.orders;
        while !orders.is_ready() {
            orders.sleep_once();
            let _ = spin::until_within(CALLED, || orders.is_ready());
        }
    }

    fn task(&mut self, frame: &[u8], large: Option<Vec<u8>>, descriptors: Vec<OwnedFd>) {
        self.mailbox.note_processor();
        let plan = Plan::from_words([word(frame, 0), word(frame, 1)]);
        let input = large
            .as_deref()
            .unwrap_or_else(|| frame.get(16..).unwrap_or_default());
        let mut result = Vec::new();
        let outcome = plan.run(input, descriptors, &mut result, &|phase| {
            self.mailbox.set_phase(phase)
        });
        // The task forked, and this is its child, which came back first: it is not the one to
        // reply.
        if !is_the_worker() {
            process::exit_now(0);
        }
        // What it wrote is out before anybody hears that it is done.
        if !flush::flush(Streams::All) {
            self.mailbox.note_unflushed();
        }
        profile::write();
        match outcome {
            Outcome::Returned(descriptors) => self.returned(&result, descriptors),
            Outcome::Undeliverable(mut why) => {
                why.truncate(floor_char_boundary(&why, INLINE_MAX));
                self.reply(reply::UNDELIVERABLE, why.as_bytes());
            }
            Outcome::Panicked(mut unwound) => {
                unwound
                    .message
                    .truncate(floor_char_boundary(&unwound.message, INLINE_MAX / 2));
                match postcard::to_stdvec(&unwound) {
                    Ok(bytes) => self.reply(reply::PANICKED, &bytes),
                    Err(e) => self.reply(reply::UNDELIVERABLE, e.to_string().as_bytes()),
                }
            }
        }
    }

    fn returned(&mut self, result: &[u8], descriptors: Vec<OwnedFd>) {
        if result.len() <= INLINE_MAX && descriptors.is_empty() {
            return self.reply(reply::RETURNED, result);
        }
        let len = result.len();
        let sent = self.lane().and_then(|lane| {
            if len <= INLINE_MAX {
                lane::send(lane, &descriptors)
            } else {
                lane::send_large(lane, result, descriptors)
            }
        });
        match sent {
            Ok(()) if len <= INLINE_MAX => self.reply(reply::ACCOMPANIED_RETURNED, result),
            Ok(()) => self.reply(reply::LARGE_RETURNED, &(len as u64).to_ne_bytes()),
            Err(e) => {
                let why = format!("its result of {len} bytes could not be sent: {e}");
                self.reply(reply::UNDELIVERABLE, why.as_bytes());
            }
        }
    }

    /// Tells the host. One task's replies always fit the ring.
    fn reply(&mut self, tag: u32, bytes: &[u8]) {
        if self.ends.replies.push(tag, bytes).is_err() {
            process::exit_now(71);
        }
        if tag != reply::READY {
            self.mailbox.set_phase(Phase::Idle);
        }
        self.ends.replies.publish();
        if self.mailbox.wants_events() {
            // A worker that does one task ends in a moment, which is heard.
            let _ = wake_events(&self.bell);
        }
    }

    pub(in crate::worker::process) fn lane(&self) -> io::Result<BorrowedFd<'_>> {
        self.lane
            .get()
            .ok_or_else(|| io::Error::other("the task closed a descriptor that was not its own"))
    }
}

pub(in crate::worker::process) fn is_the_worker() -> bool {
    WORKER.get().is_some_and(Identity::is_this_process)
}

/// Says that this worker is about to do something else than it is.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn set_phase_of_this_worker(phase: Phase) {
    if let Some(worker) = WORKER.get() {
        worker.mailbox.set_phase(phase);
    }
}

pub(in crate::worker::process) fn word(frame: &[u8], index: usize) -> u64 {
    frame
        .get(index * 8..index * 8 + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(u64::MAX, u64::from_ne_bytes)
}

fn set_up(setup: Setup) -> Result<(), NotReady> {
    use std::ffi::OsString;
    if let Some(name) = setup.name {
        // A name with a zero byte was refused where it was given.
        process::set_name(&CString::new(name).unwrap_or_default());
    }
    environment::set_environment(
        setup.env_clear,
        setup
            .env
            .into_iter()
            .map(|(key, value)| (OsString::from_vec(key), OsString::from_vec(value))),
    );
    if let Some(value) = setup.oom_score_adj {
        oom_score::set(value)
            .needed_to("set it")
            .at(|| format!("cannot have an oom_score_adj of {value}"))
            .map_err(|e| NotReady::because(&e))?;
    }
    if let Some(dir) = setup.current_dir {
        let dir = OsString::from_vec(dir);
        std::env::set_current_dir(&dir)
            .call("chdir(2)")
            .needed_to("enter it")
            .at(|| format!("cannot enter the directory {}", Path::new(&dir).display()))
            .map_err(|e| NotReady::because(&e))?;
    }
    Ok(())
}

/// Puts the worker's sandbox in force, if it has one.
#[cfg(feature = "sandbox")]
fn shut_in(rules: Option<&crate::sandbox::Rules>) -> Result<(), NotReady> {
    let locked = rules.map_or(Ok(()), super::lockdown::lock);
    let locked = locked.map_err(|e| error::placed("the sandbox cannot be had", e));
    locked.map_err(|e| NotReady::because(&e))
}

/// Runs the initializer of a worker that stays.
fn initialize(stay: Option<&Stay>) -> Result<(), NotReady> {
    let Some(offset) = stay.and_then(|s| s.initializer) else {
        return Ok(());
    };
    let failed = |what: &str, panic| NotReady {
        why: RemoteError::other(what),
        panic,
    };
    let ended = entry::run_initializer(offset);
    if !is_the_worker() {
        process::exit_now(0);
    }
    flush::flush(Streams::All);
    match ended {
        Some(Ok(())) => Ok(()),
        Some(Err(mut unwound)) => {
            unwound
                .message
                .truncate(floor_char_boundary(&unwound.message, INLINE_MAX / 2));
            Err(failed("its initializer panicked", Some(unwound)))
        }
        None => Err(failed(
            "its initializer is not part of this worker's program",
            None,
        )),
    }
}

/// The observer of fatal signals: in the fork server, and in a child of a task, it does nothing.
pub(crate) fn note_fault(fault: &Fault) {
    if let Some(worker) = WORKER.get().filter(|w| w.is_this_process()) {
        worker.mailbox.note(fault, signal::is_stack_overflow(fault));
    }
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

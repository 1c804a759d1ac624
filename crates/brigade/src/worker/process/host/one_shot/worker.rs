//! The host's side of a worker with a single task: it is taken from the spares, given its task, and
//! heard.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sys::error;
use crate::sys::remote_error::RemoteError;
use crate::sys::{futex, spin};
use crate::task::entry::Plan;
use crate::task::library;
use crate::task::name::TaskName;
use crate::transport::attachment;
use crate::worker::process::host::client::{ForkServerClient, Origin, SpareWorker};
use crate::worker::process::host::death::Evidence;
use crate::worker::process::host::worker_setup::WorkerSetup;
use crate::worker::process::ipc::fd_socket;
use crate::worker::process::ipc::mailbox::{HostRings, INLINE_MAX};
use crate::worker::process::ipc::order::{Order, Payload};
use crate::worker::process::ipc::protocol::{self, NotReady};
use crate::worker::process::ipc::reply::{self, Reply, ReplyTag};

/// How often another fork server is tried.
const MAX_FORK_SERVERS: u32 = 8;

/// The number of the only attachment that a worker with one task gets.
const ATTACHMENT: u64 = 0;

/// A worker with a task of ours.
pub(super) struct OneShotWorker {
    pub(super) server: Arc<ForkServerClient>,
    pub(super) slot: u32,
    pub(super) pid: u32,
    pub(super) ends: HostRings,
    /// Whether it was given its task. Otherwise it will never have one.
    task_sent: bool,
    /// What the worker has said of the task's end, where the caller cannot have that yet.
    pub(super) held: Option<HeldEnd>,
    /// The worker's only reply was taken.
    pub(super) replied: bool,
    /// The worker sends its events.
    pub(super) forwards: bool,
}

/// What a wait for a worker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitOutcome {
    /// A reply, which was taken.
    Reply(ReplyTag),
    Ended,
    Corrupt,
    TimedOut,
}

/// An end that is known, and waits for the fork server.
pub(super) enum HeldEnd {
    /// A reply, of which a part comes through the descriptor socket, which was asked for under
    /// this request number.
    FdSocket {
        tag: ReplyTag,
        frame: Vec<u8>,
        request_number: u64,
    },
    /// The worker has ended, or broken the protocol (`true`); its end is reported when it is gone.
    Gone(bool),
}

impl Drop for OneShotWorker {
    fn drop(&mut self) {
        if self.server.is_fork_of_owner() {
            return;
        }
        if !self.task_sent {
            self.kill(Duration::ZERO);
        }
        if let Some(HeldEnd::FdSocket { request_number, .. }) = self.held {
            self.server.forget_fd_socket(request_number);
        }
        // If it has replied it ends by itself, in a moment. The reply may be a lie: then it is
        // ended.
        let replied = self.replied || self.held.is_some() || self.ends.replies.is_ready();
        self.server
            .stop_waiting_for_worker(self.slot, self.pid, replied);
        // A result that was not fetched may be all that keeps a channel's end, or a file, open.
        if self.server.exit_table.release(self.slot)
            && (self.ends.replies.is_ready() || self.server.is_retired())
        {
            self.server.released();
        }
    }
}

/// A worker with the privileges of this thread, from a new fork server if the old one has others,
/// or ended just now: no task was given to it yet.
fn take_worker(of: Origin<'_>) -> io::Result<(Arc<ForkServerClient>, SpareWorker)> {
    for _ in 0..MAX_FORK_SERVERS {
        let server = ForkServerClient::get(of)?;
        let spare = match server.take_worker() {
            Err(_) if server.is_gone() || server.is_retired() => continue,
            spare => spare?,
        };
        // It wakes up while we compare.
        spare.mailbox.call();
        match server.is_still_like_us() {
            Ok(true) => return Ok((server, spare)),
            Ok(false) => server.dismiss(&spare),
            Err(e) => {
                server.dismiss(&spare);
                return Err(e);
            }
        }
        ForkServerClient::renew(of, &server)?;
    }
    Err(io::Error::other(
        "no process could be started: each time it was tried the fork server ended, or the program changed its privileges",
    ))
}

/// An encoded input.
pub(super) enum OneShotInput<'a> {
    Bytes(&'a [u8]),
    /// The value's memory file, and its length in bytes.
    File(OwnedFd, u64),
}

impl OneShotWorker {
    /// One that has nothing to do yet.
    pub(super) fn take(of: Origin<'_>) -> io::Result<OneShotWorker> {
        let (server, SpareWorker { slot, pid, mailbox }) = take_worker(of)?;
        let mut worker = OneShotWorker {
            server,
            slot,
            pid,
            ends: HostRings::new(mailbox),
            task_sent: false,
            held: None,
            replied: false,
            forwards: false,
        };
        // Another program has none of this one's.
        if of.program.is_none() {
            for library in library::all() {
                worker.write(Order::Library(&Order::encoded(&library)?))?;
            }
        }
        Ok(worker)
    }

    pub(super) fn kill(&self, grace: Duration) {
        self.server.kill(self.slot, self.pid, grace);
    }

    /// Sends the task's attachment through the descriptor socket. A worker that has ended has none;
    /// the wait returns its end.
    fn send_attachment(&self, descriptors: &[OwnedFd]) -> io::Result<()> {
        let request_number = self.server.ask_for_fd_socket(self.slot, self.pid)?;
        let Some(fd_socket) = self
            .server
            .wait_for_fd_socket(request_number, None)
            .transpose()?
            .flatten()
        else {
            return Ok(());
        };
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        match fd_socket::send_numbered(fd_socket, ATTACHMENT, &descriptors) {
            Err(e) if protocol::is_hang_up(&e) => Ok(()),
            sent => sent,
        }
    }

    /// Writes its only task, and wakes it. What goes through the descriptor socket goes before.
    pub(super) fn give(
        &mut self,
        plan: Plan,
        input: OneShotInput<'_>,
        mut descriptors: Vec<OwnedFd>,
        name: &TaskName,
    ) -> io::Result<()> {
        self.write(Order::Plan(plan))?;
        let input = match input {
            OneShotInput::Bytes(bytes) if bytes.len() > INLINE_MAX => {
                OneShotInput::File(attachment::file_of(&[bytes])?, bytes.len() as u64)
            }
            input => input,
        };
        let attachment = ATTACHMENT;
        let payload = match input {
            OneShotInput::File(file, len) => {
                descriptors.insert(0, file);
                self.send_attachment(&descriptors)?;
                Payload::Large { attachment, len }
            }
            OneShotInput::Bytes(bytes) if descriptors.is_empty() => Payload::Inline(bytes),
            OneShotInput::Bytes(bytes) => {
                self.send_attachment(&descriptors)?;
                Payload::Accompanied { attachment, bytes }
            }
        };
        self.write(Order::Task(payload))?;
        self.ends.orders.publish();
        self.task_sent = true;
        self.server.replace_spare(self.slot, name);
        Ok(())
    }

    /// Writes an order, which the worker sees when the ring is published.
    fn write(&mut self, order: Order<'_>) -> io::Result<()> {
        order
            .push(&mut self.ends.orders)
            .map_err(|_| io::Error::other("the worker's mailbox is too small"))
    }

    /// Has the worker prepare itself, and waits until it has.
    pub(super) fn set_up(&mut self, setup: &WorkerSetup) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&setup.setup).map_err(io::Error::other)?;
        if bytes.len() > INLINE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the environment for a process is over 32 KiB",
            ));
        }
        self.server
            .tell_limits(&setup.setup.limits, self.slot, self.pid)?;
        let (routes, events) = setup.routes(self.pid, self.ends.mailbox())?;
        self.server.tell_streams(routes, self.slot, self.pid)?;
        self.forwards = events.is_some();
        self.write(Order::SetUp(&bytes))?;
        self.ends.orders.publish();
        let mut frame = Vec::new();
        let failed =
            |why: RemoteError| Err(error::placed("a process could not be prepared", why.into()));
        let other = |what: &str| RemoteError::other(what);
        let found = self.next_reply(&mut frame, None);
        let reply = match found {
            WaitOutcome::Reply(tag) => Some(tag.read(&frame)),
            _ => None,
        };
        match reply {
            Some(Reply::Ready) => Ok(()),
            Some(Reply::NotReady(why)) => match reply::decoded::<NotReady>(why) {
                Some(not) => failed(not.why),
                None => failed(other("the worker broke the protocol")),
            },
            _ => failed(
                self.why_not_started()
                    .map_or_else(|| other("the worker ended before it was ready"), |why| *why),
            ),
        }
    }

    /// Whether a reply has come, or the worker has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.ends.replies.is_ready() || self.server.exit_table.has_ended(self.slot)
    }

    /// What there is, without waiting.
    pub(super) fn look(&mut self, frame: &mut Vec<u8>) -> Option<WaitOutcome> {
        // Asked before the ring: what it said last, it said before it ended.
        let ended = self.server.exit_table.has_ended(self.slot);
        match reply::pop(&mut self.ends.replies, frame) {
            Ok(Some(tag)) => Some(WaitOutcome::Reply(tag)),
            Err(_) => Some(WaitOutcome::Corrupt),
            Ok(None) => ended.then_some(WaitOutcome::Ended),
        }
    }

    /// The next reply, or the worker's end.
    pub(super) fn next_reply(
        &mut self,
        frame: &mut Vec<u8>,
        deadline: Option<Instant>,
    ) -> WaitOutcome {
        let mut may_spin = spin::pays() && self.ends.mailbox().runs_elsewhere();
        loop {
            if let Some(found) = self.look(frame) {
                return found;
            }
            if std::mem::take(&mut may_spin) {
                let (exit_table, replies) = (&self.server.exit_table, &self.ends.replies);
                spin::until(|| replies.is_ready() || exit_table.has_ended(self.slot));
                continue;
            }
            if !self.ends.replies.prepare_to_wait() {
                continue;
            }
            if let Some(alive) = self.server.exit_table.still_alive(self.slot) {
                let woken = self.ends.replies.sleep_or(alive, deadline);
                if woken == futex::Wake::TimedOut && !self.is_finished() {
                    return WaitOutcome::TimedOut;
                }
            }
        }
    }

    /// Waits until the process is gone.
    pub(super) fn wait_ended(&self, deadline: Option<Instant>) -> bool {
        while let Some((word, value)) = self.server.exit_table.still_alive(self.slot) {
            if futex::wait_shared(word, value, deadline) == futex::Wake::TimedOut
                && !self.server.exit_table.has_ended(self.slot)
            {
                return false;
            }
        }
        true
    }

    /// Why it could not become a worker, if it has ended and says so.
    pub(super) fn why_not_started(&self) -> Option<Box<RemoteError>> {
        let exit_table = &self.server.exit_table;
        let ended = exit_table.has_ended(self.slot);
        ended
            .then(|| exit_table.exit_record(self.slot).unstarted)
            .flatten()
    }

    pub(super) fn evidence(&self) -> Evidence {
        let exit_record = self.server.exit_table.exit_record(self.slot);
        Evidence::gather(self.pid, self.ends.mailbox(), exit_record)
    }
}

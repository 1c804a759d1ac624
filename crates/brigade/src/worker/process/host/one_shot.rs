//! The handle's side of a task that has a process of its own.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::sys::error;
use crate::sys::remote_error::RemoteError;
use crate::sys::{futex, spin};
use crate::task::codec;
use crate::task::entry::{Plan, caught};
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::worker::handle::joined_twice;
use crate::worker::process::host::client::{ForkServer, Hired};
use crate::worker::process::host::death::Evidence;
use crate::worker::process::host::result::{Decode, decoded};
use crate::worker::process::ipc::lane;
use crate::worker::process::ipc::mailbox::{HostEnds, INLINE_MAX};
use crate::worker::process::ipc::order::{Order, Payload};
use crate::worker::process::ipc::protocol::{self, NotReady, Setup};
use crate::worker::process::ipc::reply::{self, Reply, ReplyTag};
use crate::{JoinError, Message};

/// How often another fork server is tried.
const HIRES: u32 = 8;

/// The number of the only parcel that a worker with one task gets.
const PARCEL: u64 = 0;

/// Nobody cancelled it.
const WANTED: u8 = 0;
/// Cancelled before it had replied: whatever it may still say, it was cancelled.
const CANCELLED: u8 = 1;
/// Cancelled when it seemed to have replied. If there is no reply after all, it was killed by us.
const TOO_LATE: u8 = 2;

/// A task, and the process that runs it.
pub(crate) struct Running<R> {
    name: TaskName,
    state: State,
    cancelled: AtomicU8,
    grace: Duration,
    result: PhantomData<fn() -> R>,
    decode: Decode<R>,
}

/// The encoded result of a task, and its descriptors; or why there is none.
type Outcome = Result<(Vec<u8>, Vec<OwnedFd>), JoinError>;

enum State {
    /// With a worker.
    Worker(Box<Worker>),
    /// It never got one: the input could not be encoded.
    Stillborn(JoinError),
    /// Its end has been told.
    Told,
}

/// A worker with a task of ours.
struct Worker {
    server: Arc<ForkServer>,
    slot: u32,
    pid: u32,
    ends: HostEnds,
    /// Whether it was given its task. Otherwise nobody will ever give it one.
    employed: bool,
    /// What it has said of its end, where that cannot be told yet.
    held: Option<Held>,
    /// Its only reply was taken.
    replied: bool,
}

/// An end that is known, and waits for the fork server.
enum Held {
    /// A reply, of which a part comes through the lane, which was asked for with this ticket.
    Lane {
        tag: ReplyTag,
        frame: Vec<u8>,
        ticket: u64,
    },
    /// It has ended, or broken the protocol (`true`), and is told of when it is gone.
    Gone(bool),
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.server.is_ours() {
            return;
        }
        if !self.employed {
            self.kill(Duration::ZERO);
        }
        if let Some(Held::Lane { ticket, .. }) = self.held {
            self.server.forget_lane(ticket);
        }
        // If it has replied it ends by itself, in a moment. The reply may be a lie: then it is
        // ended.
        let replied = self.replied || self.held.is_some() || self.ends.replies.is_ready();
        self.server.retire(self.slot, self.pid, replied);
        // A result that nobody fetched may be all that keeps a channel's end, or a file, open.
        if self.server.board.release(self.slot)
            && (self.ends.replies.is_ready() || self.server.is_retired())
        {
            self.server.released();
        }
    }
}

impl<R> fmt::Debug for Running<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<R: Message> Running<R> {
    #[track_caller]
    pub(crate) fn start<A: Message>(
        task: fn(A) -> R,
        input: A,
        setup: Option<&Setup>,
        worker_name: Option<Arc<str>>,
        grace: Duration,
    ) -> io::Result<Running<R>> {
        // First, so that a program that cannot start processes hears of it, whatever the input.
        ForkServer::get()?;
        let plan = Plan::of(task)?;
        let name = TaskName::new(task as usize, worker_name);
        let running = |state| Running {
            name: name.clone(),
            state,
            cancelled: AtomicU8::new(WANTED),
            grace,
            result: PhantomData,
            decode: codec::decode::<R>,
        };

        let mut encoded_input = Vec::with_capacity(64);
        let encoded = caught(|| codec::encode(&input, &mut encoded_input));
        drop(input);
        let descriptors = match encoded {
            Ok(Ok(descriptors)) => descriptors,
            Ok(Err(why)) => {
                return Ok(running(State::Stillborn(JoinError::Undeliverable(
                    format!("task `{name}`: its input {why}"),
                ))));
            }
            Err(unwound) => {
                let symbols = Symbols::of_this_process();
                let why = JoinError::panicked(name.clone(), unwound, symbols);
                return Ok(running(State::Stillborn(why)));
            }
        };
        let (server, Hired { slot, pid, mailbox }) = hire()?;
        let mut worker = Worker {
            server,
            slot,
            pid,
            ends: HostEnds::new(mailbox),
            employed: false,
            held: None,
            replied: false,
        };
        if let Some(setup) = setup {
            worker.set_up(setup)?;
        }
        worker.give(plan, &encoded_input, descriptors)?;
        worker.employed = true;
        worker.server.replace_spare();
        Ok(running(State::Worker(Box::new(worker))))
    }
}

/// A worker with the privileges of this thread, from a new fork server if the old one has others,
/// or ended just now: no task was given to anybody yet.
fn hire() -> io::Result<(Arc<ForkServer>, Hired)> {
    for _ in 0..HIRES {
        let server = ForkServer::get()?;
        let hired = match server.hire() {
            Err(_) if server.is_gone() || server.is_retired() => continue,
            hired => hired?,
        };
        // It wakes up while we compare.
        hired.mailbox.call();
        match server.is_still_like_us() {
            Ok(true) => return Ok((server, hired)),
            Ok(false) => server.dismiss(&hired),
            Err(e) => {
                server.dismiss(&hired);
                return Err(e);
            }
        }
        ForkServer::renew(&server)?;
    }
    Err(io::Error::other(
        "no process could be started: each time it was tried the fork server ended, or the program changed its privileges",
    ))
}

impl Worker {
    fn kill(&self, grace: Duration) {
        self.server.kill(self.slot, self.pid, grace);
    }

    /// Sends the task's parcel through the lane. A worker that has ended has none; its end is told
    /// by the wait.
    fn pass(&self, descriptors: &[OwnedFd]) -> io::Result<()> {
        let ticket = self.server.ask_for_lane(self.slot, self.pid)?;
        let Some(lane) = self
            .server
            .wait_for_lane(ticket, None)
            .transpose()?
            .flatten()
        else {
            return Ok(());
        };
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        match lane::send_numbered(lane, PARCEL, &descriptors) {
            Err(e) if protocol::is_hang_up(&e) => Ok(()),
            sent => sent,
        }
    }

    /// Writes its only task, and wakes it. What goes through the lane goes before.
    fn give(&mut self, plan: Plan, input: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.write(Order::Plan(plan))?;
        let payload = if input.len() > INLINE_MAX {
            self.pass(&lane::with_file(input, descriptors)?)?;
            let len = input.len() as u64;
            Payload::Large {
                parcel: PARCEL,
                len,
            }
        } else if descriptors.is_empty() {
            Payload::Inline(input)
        } else {
            self.pass(&descriptors)?;
            Payload::Accompanied {
                parcel: PARCEL,
                bytes: input,
            }
        };
        self.write(Order::Task(payload))?;
        self.ends.orders.publish();
        Ok(())
    }

    /// Writes an order, which the worker sees when the ring is published.
    fn write(&mut self, order: Order<'_>) -> io::Result<()> {
        order
            .push(&mut self.ends.orders)
            .map_err(|_| io::Error::other("the worker's mailbox is too small"))
    }

    /// Has the worker prepare itself, and waits until it has.
    fn set_up(&mut self, setup: &Setup) -> io::Result<()> {
        let bytes = postcard::to_stdvec(setup).map_err(io::Error::other)?;
        if bytes.len() > INLINE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the environment for a process is over 32 KiB",
            ));
        }
        self.write(Order::SetUp(&bytes))?;
        self.ends.orders.publish();
        let mut frame = Vec::new();
        let failed =
            |why: RemoteError| Err(error::placed("a process could not be prepared", why.into()));
        let other = |what: &str| RemoteError::other(what);
        let found = self.next_reply(&mut frame, None);
        let reply = match found {
            Found::Reply(tag) => Some(tag.read(&frame)),
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

    /// Whether there is a reply, or no hope of one.
    fn is_finished(&self) -> bool {
        self.ends.replies.is_ready() || self.server.board.has_ended(self.slot)
    }

    /// What there is, without waiting.
    fn look(&mut self, frame: &mut Vec<u8>) -> Option<Found> {
        // Asked before the ring: what it said last, it said before it ended.
        let ended = self.server.board.has_ended(self.slot);
        match reply::pop(&mut self.ends.replies, frame) {
            Ok(Some(tag)) => Some(Found::Reply(tag)),
            Err(_) => Some(Found::Corrupt),
            Ok(None) => ended.then_some(Found::Ended),
        }
    }

    /// The next reply, or the worker's end.
    fn next_reply(&mut self, frame: &mut Vec<u8>, deadline: Option<Instant>) -> Found {
        let mut may_spin = spin::pays() && self.ends.mailbox().runs_elsewhere();
        loop {
            if let Some(found) = self.look(frame) {
                return found;
            }
            if std::mem::take(&mut may_spin) {
                let (board, replies) = (&self.server.board, &self.ends.replies);
                spin::until(|| replies.is_ready() || board.has_ended(self.slot));
                continue;
            }
            if !self.ends.replies.prepare_to_wait() {
                continue;
            }
            if let Some(alive) = self.server.board.still_alive(self.slot) {
                let woken = self.ends.replies.sleep_or(alive, deadline);
                if woken == futex::Wake::TimedOut && !self.is_finished() {
                    return Found::TimedOut;
                }
            }
        }
    }

    /// Waits until the process is gone.
    fn wait_ended(&self, deadline: Option<Instant>) -> bool {
        while let Some((word, value)) = self.server.board.still_alive(self.slot) {
            if futex::wait_shared(word, value, deadline) == futex::Wake::TimedOut
                && !self.server.board.has_ended(self.slot)
            {
                return false;
            }
        }
        true
    }

    /// Why it could not become a worker, if it has ended and says so.
    fn why_not_started(&self) -> Option<Box<RemoteError>> {
        let board = &self.server.board;
        let ended = board.has_ended(self.slot);
        ended.then(|| board.obituary(self.slot).unstarted).flatten()
    }

    fn evidence(&self) -> Evidence {
        let obituary = self.server.board.obituary(self.slot);
        Evidence::gather(self.pid, self.ends.mailbox(), obituary)
    }

    /// The task's end, from the worker's last reply. `None`: it cannot be told before the deadline.
    fn conclude(
        &mut self,
        found: Found,
        frame: Vec<u8>,
        deadline: Option<Instant>,
        name: &TaskName,
    ) -> Option<Outcome> {
        let undeliverable = |why: &str| JoinError::Undeliverable(format!("task `{name}`: {why}"));
        if self.ends.mailbox().is_unflushed() {
            crate::trace::warn!(
                target: "brigade::process",
                pid = self.pid,
                task = name.get(),
                "the task has left a thread behind that holds a stream, and what was printed there is lost"
            );
        }
        let tag = match found {
            Found::Reply(tag) => tag,
            Found::Ended => return self.died(deadline, name),
            // Garbage in the mailbox of a worker that has ended by itself: the kernel's word says
            // more.
            Found::Corrupt if self.server.board.has_ended(self.slot) => {
                return self.died(deadline, name);
            }
            Found::Corrupt | Found::TimedOut => return self.lost(deadline, name),
        };
        let ended = match tag.read(&frame) {
            Reply::Returned(_) => Ok((frame, Vec::new())),
            Reply::AccompaniedReturned(_) | Reply::LargeReturned(_) => {
                let ticket = match self.server.ask_for_lane(self.slot, self.pid) {
                    Ok(ticket) => ticket,
                    Err(e) => return Some(Err(not_received(name, &e))),
                };
                self.held = Some(Held::Lane { tag, frame, ticket });
                return self.release(deadline, name);
            }
            Reply::Panicked(unwound) => match reply::decoded(unwound) {
                Some(unwound) => Err(JoinError::panicked(
                    name.clone(),
                    unwound,
                    &self.server.symbols,
                )),
                None => return self.lost(deadline, name),
            },
            Reply::Undeliverable(why) => Err(undeliverable(&String::from_utf8_lossy(why))),
            Reply::Ready | Reply::NotReady(_) | Reply::Leaving | Reply::Unknown(_) => {
                return self.lost(deadline, name);
            }
        };
        self.replied = true;
        Some(ended)
    }

    /// Tells the end that was held back, if what it waits for has come.
    fn release(&mut self, deadline: Option<Instant>, name: &TaskName) -> Option<Outcome> {
        match self.held.take()? {
            Held::Gone(lied) => {
                if !self.wait_ended(deadline) {
                    self.held = Some(Held::Gone(lied));
                    return None;
                }
                if let Some(why) = self.why_not_started() {
                    let why = format!("task `{name}`: there is no worker process: {why}");
                    return Some(Err(JoinError::Undeliverable(why)));
                }
                let (evidence, symbols) = (self.evidence(), &self.server.symbols);
                Some(Err(JoinError::Crashed(if lied {
                    evidence.into_lost(name.clone(), symbols)
                } else {
                    evidence.into_crash(name.clone(), symbols)
                })))
            }
            Held::Lane { tag, frame, ticket } => {
                let Some(lane) = self.server.wait_for_lane(ticket, deadline) else {
                    self.held = Some(Held::Lane { tag, frame, ticket });
                    return None;
                };
                self.replied = true;
                let lane = match lane {
                    Ok(Some(lane)) => lane,
                    // What was sent is kept until we release the worker: there was nothing, or the
                    // fork server has ended.
                    Ok(None) => return self.died(deadline, name),
                    Err(e) => return Some(Err(not_received(name, &e))),
                };
                let received = lane::recv(lane).and_then(|descriptors| match tag.read(&frame) {
                    Reply::LargeReturned(len) => {
                        lane::open_large(descriptors, len.unwrap_or(u64::MAX))
                    }
                    Reply::AccompaniedReturned(_) => Ok((frame, descriptors)),
                    _ => Err(io::ErrorKind::InvalidData.into()),
                });
                match received {
                    Ok(received) => Some(Ok(received)),
                    // It sent before it replied, so it would be there.
                    Err(e)
                        if matches!(
                            e.kind(),
                            io::ErrorKind::InvalidData | io::ErrorKind::WouldBlock
                        ) =>
                    {
                        self.lost(deadline, name)
                    }
                    Err(e) => Some(Err(not_received(name, &e))),
                }
            }
        }
    }

    fn died(&mut self, deadline: Option<Instant>, name: &TaskName) -> Option<Outcome> {
        self.held = Some(Held::Gone(false));
        self.release(deadline, name)
    }

    /// It broke the protocol: it is ended, and nothing that it said is believed.
    fn lost(&mut self, deadline: Option<Instant>, name: &TaskName) -> Option<Outcome> {
        self.kill(Duration::ZERO);
        self.held = Some(Held::Gone(true));
        self.release(deadline, name)
    }
}

fn not_received(name: &TaskName, why: &io::Error) -> JoinError {
    JoinError::Undeliverable(format!(
        "task `{name}`: its result could not be received: {why}"
    ))
}

/// What a wait for a worker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// A reply, which was taken.
    Reply(ReplyTag),
    Ended,
    Corrupt,
    TimedOut,
}

impl<R> Running<R> {
    /// Waits for the end. `None`: not before the deadline.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        self.end(deadline, |worker, cancelled, frame| {
            if cancelled {
                worker.wait_ended(deadline).then_some(Found::Ended)
            } else {
                Some(worker.next_reply(frame, deadline)).filter(|&found| found != Found::TimedOut)
            }
        })
    }

    /// The end, if it has come.
    fn look(&mut self) -> Option<Result<R, JoinError>> {
        self.end(Some(Instant::now()), |worker, cancelled, frame| {
            if cancelled {
                worker
                    .server
                    .board
                    .has_ended(worker.slot)
                    .then_some(Found::Ended)
            } else {
                worker.look(frame)
            }
        })
    }

    /// Tells the end, once, if `find` finds it, and it can be told before the deadline.
    fn end(
        &mut self,
        deadline: Option<Instant>,
        find: impl FnOnce(&mut Worker, bool, &mut Vec<u8>) -> Option<Found>,
    ) -> Option<Result<R, JoinError>> {
        if self.is_copy() {
            return Some(Err(JoinError::Closed));
        }
        let mut worker = match std::mem::replace(&mut self.state, State::Told) {
            State::Told => joined_twice(),
            State::Stillborn(why) => return Some(Err(why)),
            State::Worker(worker) => worker,
        };
        let cancelled = *self.cancelled.get_mut();
        let ended = if worker.held.is_some() {
            worker.release(deadline, &self.name)
        } else {
            let mut frame = Vec::new();
            match find(&mut worker, cancelled == CANCELLED, &mut frame) {
                None => None,
                Some(Found::Ended) if cancelled != WANTED => Some(Err(JoinError::Cancelled)),
                Some(found) => worker.conclude(found, frame, deadline, &self.name),
            }
        };
        let Some(ended) = ended else {
            self.state = State::Worker(worker);
            return None;
        };
        Some(ended.and_then(|(bytes, descriptors)| {
            decoded(&bytes, descriptors, self.decode, || self.name.clone())
        }))
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if let Some(ended) = self.look() {
            return Poll::Ready(ended);
        }
        if let State::Worker(worker) = &self.state {
            let (server, slot) = (&worker.server, worker.slot);
            let hears =
                worker.held.is_none() && self.cancelled.load(Ordering::Acquire) != CANCELLED;
            let replied = worker.ends.replied_since_now();
            let board = Arc::clone(server);
            let (lane, is_held) = match worker.held {
                Some(Held::Lane { ticket, .. }) => (Some(ticket), true),
                _ => (None, false),
            };
            let ready = move || !is_held && ((hears && replied()) || board.board.has_ended(slot));
            server.wake_when(slot, Box::new(ready), lane, context.waker().clone());
            worker.ends.mailbox().ask_for_events();
            server.board.ask_for_events(slot);
        }
        // It may have ended before it could see that we asked.
        self.look().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether this process is a fork of the one that started the task: what it shares with the
    /// worker is the other's.
    fn is_copy(&self) -> bool {
        matches!(&self.state, State::Worker(worker) if !worker.server.is_ours())
    }

    pub(crate) fn is_finished(&self) -> bool {
        if self.is_copy() {
            return true;
        }
        let State::Worker(worker) = &self.state else {
            return true;
        };
        match worker.held {
            Some(Held::Lane { ticket, .. }) => worker.server.has_lane(ticket),
            Some(Held::Gone(_)) => worker.server.board.has_ended(worker.slot),
            None if self.cancelled.load(Ordering::Acquire) == CANCELLED => {
                worker.server.board.has_ended(worker.slot)
            }
            None => worker.is_finished(),
        }
    }

    pub(crate) fn cancel(&self) {
        let State::Worker(worker) = &self.state else {
            return;
        };
        if self.is_copy() {
            return;
        }
        // The mailbox may say that it has replied when it has not: it is killed in any case. One
        // that has is ending anyway.
        let now = if worker.held.is_some() || worker.is_finished() {
            TOO_LATE
        } else {
            CANCELLED
        };
        if self
            .cancelled
            .compare_exchange(WANTED, now, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            worker.kill(self.grace);
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Worker(worker) if !self.is_copy() => Some(worker.pid),
            _ => None,
        }
    }
}

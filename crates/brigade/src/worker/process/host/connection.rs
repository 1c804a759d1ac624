//! The host's side of a worker of a pool.

mod attachments;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::sim::local::{AtomicU32, Instant, futex};
use crate::sys::process;
use crate::task::entry::Plan;
use crate::task::library;
use crate::transport::ring::{Corrupt, NextFrame};
use crate::worker::process::doubles::{ForkServerClient, Question, SpareWorker};
use crate::worker::process::host::death::Evidence;
use crate::worker::process::host::events::WorkerEvents;
use crate::worker::process::host::streams::GivenStreams;
use crate::worker::process::host::worker_setup::WorkerSetup;
use crate::worker::process::ipc::handoff::{BusyPeriod, Notify};
use crate::worker::process::ipc::mailbox::{HostRings, Mailbox};
use crate::worker::process::ipc::order::{Order, Payload};
use crate::worker::process::ipc::reply::{self, ReplyTag};

/// A worker of a pool, as the host sees it. Tasks are counted from its first on, in 32 bits that
/// wrap.
pub(crate) struct WorkerConnection {
    server: Arc<ForkServerClient>,
    slot: u32,
    pid: u32,
    ends: HostRings,
    /// Tasks that it may begin.
    offered: u32,
    /// The worker was not woken when some of those were offered.
    owes_wake: bool,
    /// Tasks that were written, and not offered yet.
    written: u32,
    /// Results that were taken.
    taken: u32,
    /// When the worker is to wake this side, by the last request. It may have done so since.
    notify: u32,
    spin_hint: u32,
    attachments: u64,
    fd_socket: FdSocketState,
    /// Replies whose descriptors are in the descriptor socket still, for it could not be opened.
    unfetched: u32,
    /// The number of the question for its call stack that was sent before it was killed.
    asked: Option<u32>,
    streams: GivenStreams,
    /// Where its events are read, if it sends any.
    events: Option<Arc<WorkerEvents>>,
}

enum FdSocketState {
    Closed,
    /// Asked for, under this request number.
    Coming(u64),
    Open(OwnedFd),
    /// There is none any more.
    Gone,
}

/// Why something cannot be done now.
#[derive(Debug)]
pub(crate) enum NotNow {
    /// There is no room in the ring, until more results are taken.
    Full,
    /// There is no room in the descriptor socket, until the worker receives something.
    FdSocketFull,
    /// The descriptor socket is not open yet: the fork server was asked for it.
    FdSocketComing,
    /// The worker has ended, or is about to.
    Gone,
    Failed(io::Error),
}

/// Descriptors that go with a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment<'a> {
    /// A large input, which is in this file then, and its length.
    pub(crate) file: Option<(BorrowedFd<'a>, u64)>,
    pub(crate) descriptors: &'a [OwnedFd],
}

impl WorkerConnection {
    /// Takes a worker, for good: its setup says that it is a pool's.
    pub(crate) fn open(
        server: Arc<ForkServerClient>,
        spare: SpareWorker,
        setup: &WorkerSetup,
    ) -> io::Result<WorkerConnection> {
        let bytes = postcard::to_stdvec(&setup.setup).map_err(io::Error::other)?;
        let SpareWorker { slot, pid, mailbox } = spare;
        server.tell_limits(&setup.setup.limits, slot, pid)?;
        let (routes, events) = setup.routes(pid, &mailbox)?;
        server.tell_streams(routes, slot, pid)?;
        let mut connection = WorkerConnection {
            server,
            slot,
            pid,
            ends: HostRings::new(mailbox),
            offered: 0,
            owes_wake: false,
            written: 0,
            taken: 0,
            notify: 0,
            spin_hint: 0,
            attachments: 0,
            fd_socket: FdSocketState::Closed,
            unfetched: 0,
            asked: None,
            streams: setup.streams.clone(),
            events,
        };
        connection.server.exit_table.ask_for_events(slot);
        connection.ends.mailbox().ask_for_events();
        // What the setup has to call may lie in one.
        if setup.tells_libraries {
            for library in library::all() {
                let told = connection.push(Order::Library(&Order::encoded(&library)?));
                told.map_err(|_| io::Error::other("the worker's mailbox is too small"))?;
            }
        }
        let pushed = Order::SetUp(&bytes).push(&mut connection.ends.orders);
        pushed.map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the environment for a process is over 32 KiB",
            )
        })?;
        connection.ends.orders.publish();
        Ok(connection)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn server(&self) -> &Arc<ForkServerClient> {
        &self.server
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        self.ends.mailbox()
    }

    /// How many results were taken.
    pub(crate) fn taken(&self) -> u32 {
        self.taken
    }

    /// The task that is written next.
    pub(crate) fn next(&self) -> u32 {
        self.written
    }

    /// The streams that it was given.
    pub(crate) fn streams(&self) -> &GivenStreams {
        &self.streams
    }

    /// Where its events are read, if it sends any.
    pub(crate) fn events(&self) -> Option<&WorkerEvents> {
        self.events.as_deref()
    }

    // ---- tasks

    /// Writes what the tasks after this have in common.
    pub(crate) fn write_plan(&mut self, plan: [u64; 2]) -> Result<(), NotNow> {
        self.write_libraries(plan)?;
        self.push(Order::Plan(Plan::from_words(plan)))
    }

    /// Writes which libraries a plan's functions lie in, if they do.
    fn write_libraries(&mut self, plan: [u64; 2]) -> Result<(), NotNow> {
        for library in library::needed_by(plan) {
            let encoded = Order::encoded(&library).map_err(NotNow::Failed)?;
            self.push(Order::Library(&encoded))?;
        }
        Ok(())
    }

    /// Writes which run of the tasks after this it is, if it is not the first.
    pub(crate) fn write_attempt(&mut self, attempt: u32) -> Result<(), NotNow> {
        self.push(Order::Attempt(attempt))
    }

    #[inline(always)]
    fn push(&mut self, order: Order<'_>) -> Result<(), NotNow> {
        order.push(&mut self.ends.orders).map_err(|_| NotNow::Full)
    }

    /// Where the next task will lie, for [`take_back_orders`](Self::take_back_orders).
    pub(crate) fn position(&self) -> u64 {
        self.ends.orders.position()
    }

    /// Writes a task; it is begun after [`publish`](Self::publish).
    pub(crate) fn write(&mut self, input: &[u8]) -> Result<(), NotNow> {
        self.push(Order::Task(Payload::Inline(input)))?;
        self.written = self.written.wrapping_add(1);
        Ok(())
    }

    /// Bytes of tasks that there is room for, where `bytes` are to be written.
    pub(crate) fn room_for(&mut self, bytes: usize) -> usize {
        self.ends.orders.room_for(bytes)
    }

    /// Writes `count` tasks at once, as
    /// [`task_frame`](crate::worker::process::ipc::order::task_frame) has made them.
    pub(crate) fn write_frames(&mut self, frames: &[u8], count: u32) -> Result<(), NotNow> {
        let pushed = self.ends.orders.push_frames(frames);
        pushed.map_err(|_| NotNow::Full)?;
        self.written = self.written.wrapping_add(count);
        Ok(())
    }

    /// How many tasks were written and not offered yet.
    pub(crate) fn unoffered(&self) -> u32 {
        self.written.wrapping_sub(self.offered)
    }

    /// Offers what was written, and does not wake the worker if it sleeps: that is done by the next
    /// [`publish`](Self::publish).
    pub(crate) fn offer(&mut self) {
        self.ends.mailbox().handoff().claims.offer(self.unoffered());
        self.offered = self.written;
        self.owes_wake = true;
    }

    /// Offers what was written, and wakes the worker if it sleeps. `may_spin`: whether it may look
    /// for a while when it has nothing to do.
    pub(crate) fn offer_and_wake(&mut self, may_spin: bool) {
        let count = self.unoffered();
        let owes_wake = std::mem::take(&mut self.owes_wake);
        if count == 0 && !owes_wake {
            return;
        }
        let handoff = self.ends.mailbox().handoff();
        let spin_hint = if may_spin {
            rustix::thread::sched_getcpu() as u32 + 1
        } else {
            0
        };
        if spin_hint != self.spin_hint {
            self.spin_hint = spin_hint;
            handoff.set_spin_hint(spin_hint);
        }
        handoff.offer_and_wake(count);
        self.offered = self.written;
    }

    /// Wakes the worker, if it sleeps, whatever its mailbox says.
    pub(crate) fn force_wake(&self) {
        self.ends.mailbox().handoff().force_wake();
    }

    /// How many tasks it has begun.
    pub(crate) fn begun(&self) -> Result<u32, Corrupt> {
        self.ends
            .mailbox()
            .handoff()
            .claims
            .begun(self.taken, self.offered)
    }

    /// Takes back what is not begun, but for the first `keep` of all that were ever written. Gives
    /// how many are left with it, of all.
    ///
    /// What was taken back lies from its own place on, and the caller passes the earliest of them
    /// to [`take_back_orders`](Self::take_back_orders).
    pub(crate) fn take_back(&mut self, keep: u32) -> Result<u32, Corrupt> {
        // What is not offered yet goes with it.
        let left =
            self.ends
                .mailbox()
                .handoff()
                .claims
                .take_back(keep, self.taken, self.offered)?;
        self.offered = left;
        self.written = left;
        Ok(left)
    }

    /// Whether it says that it has taken the order that lies there out of its ring.
    pub(crate) fn has_taken_order(&self, at: u64) -> bool {
        self.ends.orders.is_taken(at)
    }

    /// What lies from there on was taken back: it is written over.
    pub(crate) fn take_back_orders(&mut self, at: u64) {
        self.ends.orders.take_back(at);
    }

    // ---- results

    /// The next reply, which is to be taken. One that answers a task is counted by
    /// [`count_result`](Self::count_result).
    #[inline]
    pub(crate) fn next_reply(
        &mut self,
    ) -> Result<Option<(ReplyTag, NextFrame<'_, 'static>)>, Corrupt> {
        reply::next(&mut self.ends.replies)
    }

    /// Takes the replies that come next and are short results, at most `most`, and counts them.
    /// Gives how many they are, and how many bytes the results are.
    pub(crate) fn take_returned(&mut self, most: u32, into: &mut Vec<u8>) -> (u32, usize) {
        let (count, bytes) = reply::take_returned(&mut self.ends.replies, most, into);
        self.taken = self.taken.wrapping_add(count);
        (count, bytes)
    }

    pub(crate) fn count_result(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// Where the next reply will be: for [`has_replied`](Self::has_replied) without this.
    pub(crate) fn seen(&self) -> u64 {
        self.ends.replies.position()
    }

    pub(crate) fn has_replied(mailbox: &Mailbox, seen: u64) -> bool {
        HostRings::has_replied(mailbox, seen)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ends.replies.is_ready()
    }

    /// After results were taken: a worker that waits for room goes on.
    pub(crate) fn made_room(&self) {
        self.ends.mailbox().handoff().made_room();
    }

    /// What the worker says that it has finished. More than was taken, after everything was taken
    /// that is there, is a lie.
    pub(crate) fn finished(&self) -> u32 {
        self.ends.mailbox().handoff().finished()
    }

    /// How long the tasks took that the worker ran without a wait, by its own word; once.
    pub(crate) fn take_busy_period(&self) -> Option<BusyPeriod> {
        self.ends.mailbox().handoff().take_busy_period()
    }

    // ---- waking

    /// Tells the worker when to wake this side. `false`: what it is to wake this side for is there
    /// already.
    ///
    /// `again`: also if the last request was the same, and it may have done so since.
    pub(crate) fn set_notify(&mut self, notify: Notify, again: bool) -> bool {
        if !again && notify == Notify::ListenerIfFull && self.notify == notify.to_word() {
            return true;
        }
        let handoff = self.ends.mailbox().handoff();
        let counts = (self.taken, self.offered);
        let (word, quiet) = handoff.set_notify_and_check(notify, counts, || self.is_ready());
        self.notify = word;
        // A reply that this side would have been woken for, had the worker had the request in time.
        quiet && !(again && notify == Notify::ListenerIfFull && self.is_ready())
    }

    /// The mailbox whose word to sleep on, and what that word was set to.
    pub(crate) fn notify_word(&self) -> (Arc<Mailbox>, u32) {
        (Arc::clone(self.ends.mailbox()), self.notify)
    }

    /// The word of a mailbox that the host sleeps on.
    #[cfg(not(loom))]
    pub(crate) fn notify_word_of(mailbox: &Mailbox) -> &AtomicU32 {
        mailbox.handoff().notify_word()
    }

    #[cfg(loom)]
    pub(crate) fn notify_word_of(_mailbox: &Mailbox) -> &AtomicU32 {
        unreachable!("no mailbox is mapped in models")
    }

    // ---- its end

    pub(crate) fn kill(&self, grace: Duration) {
        self.server.kill(self.slot, self.pid, grace);
    }

    /// As [`kill`](Self::kill), but the worker may tell first where it is, for some milliseconds:
    /// [`evidence`](Self::evidence) has it then.
    pub(crate) fn ask_and_kill(&mut self, grace: Duration) {
        // With a time of grace it is to go on, and to hear of SIGTERM.
        self.asked = Some(self.mailbox().ask(grace.is_zero()));
        self.server.ask_and_kill(self.slot, self.pid, grace);
    }

    /// A question where it is.
    pub(crate) fn question(&self) -> Question {
        Question::new(&self.server, (self.slot, self.pid), self.mailbox())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.server.exit_table.has_ended(self.slot)
    }

    /// Whether it has not ended, as far as the kernel says now.
    pub(crate) fn is_alive(&self) -> bool {
        !self.server.is_gone()
            && !self.has_ended()
            && process::is_there(self.pid)
            && !process::is_zombie(self.pid)
    }

    /// Whether it is stopped, and how long it has been before, all in all.
    pub(crate) fn stop(&self) -> (bool, Duration) {
        self.server.exit_table.stop(self.slot)
    }

    /// Waits until the process is gone.
    pub(crate) fn wait_ended(&self, deadline: Option<Instant>) {
        while let Some((word, value)) = self.server.exit_table.still_alive(self.slot) {
            if futex::wait_shared(word, value, deadline) == futex::Wake::TimedOut {
                return;
            }
        }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        let exit_record = self.server.exit_table.exit_record(self.slot);
        let mut evidence = Evidence::gather(self.pid, self.ends.mailbox(), exit_record);
        let answer = |question| self.ends.mailbox().answer(question);
        evidence.calls = self.asked.and_then(answer);
        evidence
    }
}

impl Drop for WorkerConnection {
    fn drop(&mut self) {
        if self.server.is_fork_of_owner() {
            return;
        }
        if let FdSocketState::Coming(request_number) = self.fd_socket {
            self.server.forget_fd_socket(request_number);
        }
        // It is given nothing to do any more.
        if !self.has_ended() {
            self.kill(Duration::ZERO);
        }
        if self.server.exit_table.release(self.slot) {
            self.server.released();
        }
    }
}

//! A worker of a pool: one task after another, until it is killed or has had enough.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::busy_timer::BusyTimer;
use super::contexts::Contexts;
use super::zombies::Zombies;
use crate::sys::error::errno_of;
use crate::sys::fds::Pinned;
use crate::sys::original::Original;
use crate::sys::value_file::kept;
use crate::sys::{clock, fds, futex, process, profile, spin};
use crate::task::attempt;
use crate::task::crash::Phase;
use crate::task::entry::{EncodedResult, Plan};
use crate::transport::ring::Corrupt;
use crate::worker::process::child::flush::FlushedStreams;
use crate::worker::process::child::setup::PoolWorker;
use crate::worker::process::child::stderr_mark::StderrMark;
use crate::worker::process::child::task::{self, Service};
use crate::worker::process::child::worker::{EXIT_PROTOCOL_BROKEN, Worker, wake_events};
use crate::worker::process::ipc::fd_socket;
use crate::worker::process::ipc::handoff::NotifyEvent;
use crate::worker::process::ipc::mailbox::{INLINE_MAX, Mailbox};
use crate::worker::process::ipc::order::{Order, OrderFrame, Payload, STATE};
use crate::worker::process::ipc::reply::Reply;

/// How often its memory is looked at, at the most.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// A worker of a pool: until when, and what it has in hand.
pub(in crate::worker::process) struct WorkerLoop {
    worker: Worker,
    /// Tasks until it leaves.
    left: u64,
    recycle_above: Option<ResidentLimit>,
    tells_times: bool,
    /// The process that serves, and no child of a task.
    original: Original,
    stderr: StderrMark,
    zombies: Zombies,
    /// Tasks that it has begun.
    begun: u32,
    /// Results that it has shown.
    finished: u32,
    timer: BusyTimer,
    plan: Option<Plan>,
    /// The number of the context that tasks of this plan use, if they use one.
    uses: Option<u64>,
    contexts: Contexts,
    /// The frame of the task, and the result: kept, so that they need not be allocated each time.
    frame: OrderFrame,
    result: EncodedResult,
}

impl WorkerLoop {
    pub(in crate::worker::process) fn new(worker: Worker, pool: PoolWorker) -> WorkerLoop {
        let PoolWorker { setup: pool, state } = pool;
        if pool.bytes.is_none() {
            kept::give_back_between_tasks();
        }
        let mut stderr = StderrMark::new(worker.stderr_count);
        stderr.begin(worker.mailbox);
        WorkerLoop {
            worker,
            left: pool.tasks.unwrap_or(u64::MAX),
            recycle_above: pool.bytes.map(ResidentLimit::new),
            tells_times: pool.tells_times,
            original: Original::this_process(),
            stderr,
            zombies: Zombies::default(),
            begun: 0,
            finished: 0,
            timer: BusyTimer::new(),
            plan: None,
            uses: None,
            contexts: Contexts::new(state),
            frame: OrderFrame::default(),
            result: EncodedResult::default(),
        }
    }

    /// Serves until it is to leave.
    pub(in crate::worker::process) fn run(mut self) {
        loop {
            if !self.begin_at_once() {
                self.begin_later();
            }
            if !self.serve_begun() {
                return;
            }
        }
    }

    /// Begins the next task, if there is one.
    pub(in crate::worker::process) fn begin_at_once(&mut self) -> bool {
        let Worker {
            mailbox,
            wake_socket,
            ..
        } = &self.worker;
        let handoff = mailbox.handoff();
        let (timer, finished) = (&mut self.timer, self.finished);
        let first = handoff.begin_or_notify(
            self.begun,
            finished,
            || timer.end(finished),
            || write_wake_socket(wake_socket),
        );
        let has_begun = self.has_begun(first);
        if has_begun {
            self.timer.begin(finished);
        }
        has_begun
    }

    /// Begins the next task, when there is one.
    fn begin_later(&mut self) {
        self.timer.is_ready();
        let mailbox = self.worker.mailbox;
        let handoff = mailbox.handoff();
        loop {
            self.spin_for_tasks(|| handoff.claims.has_more(self.begun));
            self.stderr.waited(mailbox);
            if self.begin_after_wait() {
                return;
            }
            mailbox.note_processor();
            if kept::has_kept() && !handoff.sleep_for_more(self.begun, kept::KEPT_FOR) {
                kept::give_back();
                continue;
            }
            handoff.sleep_until_more(self.begun);
            mailbox.note_processor();
            self.timer.is_ready();
        }
    }

    /// Begins the next task, if there is one, after a wait for it.
    pub(in crate::worker::process) fn begin_after_wait(&mut self) -> bool {
        let begun = self.worker.mailbox.handoff().claims.begin(self.begun);
        self.has_begun(begun)
    }

    /// Runs the task that was begun. `false`: it was the last; the host knows from a reply that
    /// this worker leaves.
    pub(in crate::worker::process) fn serve_begun(&mut self) -> bool {
        let served = self.serve_one();
        let was_long = self.stderr.task_ended(self.worker.mailbox);
        self.left -= 1;
        let had_enough = self.left == 0
            || self
                .recycle_above
                .as_mut()
                .is_some_and(ResidentLimit::is_over)
            || was_long && self.zombies.are_too_many()
            || self.uses == Some(STATE) && self.contexts.is_state_spoiled();
        if served && !had_enough {
            return true;
        }
        profile::write();
        self.worker.reply_in_turn(Reply::Leaving);
        self.worker.ends.replies.show();
        let Worker {
            mailbox,
            wake_socket,
            ..
        } = &self.worker;
        mailbox.handoff().leave(|| write_wake_socket(wake_socket));
        false
    }

    fn has_begun(&mut self, begun: Result<bool, Corrupt>) -> bool {
        let Ok(begun) = begun else {
            self.worker.break_off()
        };
        self.begun = self.begun.wrapping_add(u32::from(begun));
        begun
    }

    fn spin_for_tasks(&self, is_there: impl Fn() -> bool) {
        let handoff = self.worker.mailbox.handoff();
        let Some(host) = handoff.spin_hint() else {
            return;
        };
        if !spin::pays() || host == rustix::thread::sched_getcpu() as u32 {
            return;
        }
        // The host may find another use for this processor.
        spin::until(|| is_there() || handoff.spin_hint().is_none());
    }

    /// Runs the task that was begun. `false`: no other can be run here. Either this one was not,
    /// for a task before it has closed the way that its input comes; or it has left a thread behind
    /// that holds stdout.
    fn serve_one(&mut self) -> bool {
        if kept::has_kept() {
            kept::give_back();
        }
        let worker = &mut self.worker;
        let mailbox = worker.mailbox;
        let payload = loop {
            // A task that was begun says that its frame is there.
            worker.ends.orders.assume_next_frame();
            if self.frame.take(&mut worker.ends.orders) != Ok(true) {
                worker.break_off();
            }
            match self.frame.order() {
                Order::Task(payload) => break payload,
                Order::Plan(plan) => {
                    (self.plan, self.uses) = (Some(plan), None);
                    worker.follow(plan);
                }
                Order::PlanWith(plan, context) => {
                    (self.plan, self.uses) = (Some(plan), Some(context));
                    worker.follow(plan);
                }
                Order::Attempt(attempt) => attempt::set(attempt),
                Order::Library(library) => {
                    if task::receive_library(library).is_none() {
                        worker.break_off();
                    }
                }
                Order::Context(number, payload) => self.contexts.receive(worker, number, payload),
                Order::KeepContexts(numbers) => self.contexts.keep(numbers),
                Order::SetUp(_) | Order::Unknown(_) => worker.break_off(),
            }
        };
        mailbox.set_phase(Phase::Decoding);
        let begin = self.tells_times.then(clock::nanos);
        let Some(plan) = self.plan else {
            worker.break_off()
        };
        let is_inline = matches!(payload, Payload::Inline(_));
        if !is_inline && worker.fd_socket().is_err() {
            return false;
        }
        let (input, descriptors) = match task::receive(worker, payload) {
            Ok(received) => received,
            Err(why) => return self.reply_undeliverable(&why),
        };
        let kept = match self.uses.map(|number| self.contexts.get(number)) {
            None => None,
            Some(Ok(kept)) => Some(kept),
            Some(Err(why)) => {
                drop(input);
                return self.reply_undeliverable(&why);
            }
        };
        if !is_inline {
            // The host may close its copies now.
            worker.notify_must_look();
        }
        self.result.clear();
        let mut one_of_many = OneOfMany {
            worker,
            original: &self.original,
        };
        let result = &mut self.result;
        let outcome = task::run(&one_of_many, plan, kept, input, descriptors, result);
        let is_flushed = task::flush(&one_of_many);
        // It may be killed as soon as the host has its last result.
        if profile::is_linked() && !mailbox.handoff().claims.has_more(self.begun) {
            profile::write();
        }
        if let Some(begin) = begin {
            // A copy of this process that the task has made says nothing.
            if self.original.is_this_process() {
                one_of_many.reply(Reply::Ran(Some([begin, clock::nanos()])));
            }
        }
        let went_through_fd_socket =
            task::reply_outcome(&mut one_of_many, outcome, &mut self.result);
        if self.result.bytes.capacity() > INLINE_MAX {
            self.result = EncodedResult::default();
        }
        self.show();
        if went_through_fd_socket || !is_inline {
            self.worker.notify_must_look();
        }
        // The task that prints here next would wait for the same.
        is_flushed
    }

    /// The task cannot run, for its input or what it borrows is not to be had. The next one may.
    #[cold]
    fn reply_undeliverable(&mut self, why: &str) -> bool {
        self.worker
            .reply_in_turn(Reply::Undeliverable(why.as_bytes()));
        self.show();
        true
    }

    /// Shows the host the reply to the task.
    fn show(&mut self) {
        debug_assert!(self.finished != self.begun);
        self.worker.ends.replies.show();
        // Not before: one that has begun and is idle has not run its task.
        self.worker.mailbox.set_phase(Phase::Idle);
        self.finished = self.finished.wrapping_add(1);
        self.worker.mailbox.handoff().finish(self.finished);
    }
}

impl Worker {
    /// What is in the mailbox makes no sense: the task before has written over it. What was begun
    /// was not run.
    fn break_off(&self) -> ! {
        self.mailbox.set_phase(Phase::Starting);
        process::exit_now(EXIT_PROTOCOL_BROKEN)
    }

    /// The tasks that follow are of this plan, and run for the first time.
    #[inline(always)]
    fn follow(&self, plan: Plan) {
        self.marks.write(plan.to_words());
        attempt::set(1);
    }

    /// Wakes the host, whatever it waits for, to look at what was shown.
    #[inline(always)]
    fn notify_must_look(&self) {
        self.mailbox.handoff().full_fence();
        self.notify(NotifyEvent::MustLook);
    }

    /// Wakes the host, if it wants to be.
    fn notify(&self, event: NotifyEvent) {
        let handoff = self.mailbox.handoff();
        handoff.wake_host(event, || write_wake_socket(&self.wake_socket));
    }

    /// Writes a reply, when there is room.
    #[inline(always)]
    fn reply_in_turn(&mut self, reply: Reply<'_>) {
        while reply.push(&mut self.ends.replies).is_err() {
            self.wait_for_room(reply.len());
        }
    }

    /// Waits until there may be room for a reply of `bytes` bytes.
    #[cold]
    fn wait_for_room(&mut self, bytes: usize) {
        let (replies, wake_socket) = (&mut self.ends.replies, &self.wake_socket);
        let handoff = self.mailbox.handoff();
        handoff.wait_for_room(
            || replies.has_room(bytes),
            || write_wake_socket(wake_socket),
        );
    }
}

/// A worker, and one of its tasks.
struct OneOfMany<'w> {
    worker: &'w mut Worker,
    original: &'w Original,
}

impl Service for OneOfMany<'_> {
    /// This is asked for after each task.
    const STREAMS: FlushedStreams = FlushedStreams::Stdout;

    fn mailbox(&self) -> &'static Mailbox {
        self.worker.mailbox
    }

    fn is_the_worker(&self) -> bool {
        self.original.is_this_process()
    }

    #[inline(always)]
    fn has_lost_fork_server(&self) -> bool {
        self.worker.has_lost_fork_server()
    }

    /// When there is room.
    fn send_descriptors(&mut self, descriptors: &[OwnedFd]) -> io::Result<()> {
        loop {
            let fd_socket = self.worker.fd_socket()?;
            let full = match fd_socket::send(fd_socket, descriptors) {
                Err(e) => e,
                sent => return sent,
            };
            self.worker.mailbox.handoff().full_fence();
            self.worker.notify(NotifyEvent::Full);
            match errno_of(&full) {
                // For a moment: the host may have gone to sleep without having seen that this is
                // stuck, and is then told again.
                Some(libc::EAGAIN) => {
                    let again = Instant::now() + Duration::from_millis(1);
                    fds::poll_until(&mut [PollFd::new(&fd_socket, PollFlags::OUT)], Some(again))?;
                }
                // As many descriptors are on their way as this user may have. Nothing says when
                // that is over.
                Some(libc::ETOOMANYREFS | libc::ENOBUFS) => futex::rest(Duration::from_millis(1)),
                _ => return Err(full),
            }
        }
    }

    #[inline(always)]
    fn reply(&mut self, reply: Reply<'_>) {
        self.worker.reply_in_turn(reply);
    }
}

/// Wakes the host through the wake socket. Without a way to do that there is no sense in going on;
/// the host learns of this worker's end.
fn write_wake_socket(wake_socket: &Pinned) {
    if wake_events(wake_socket).is_err() {
        process::exit_now(0);
    }
}

/// How much memory this process has, looked at now and then. The second number of /proc/self/statm,
/// proc(5): pages that are resident.
struct ResidentLimit {
    max_pages: u64,
    last: Instant,
}

impl ResidentLimit {
    fn new(bytes: u64) -> ResidentLimit {
        ResidentLimit {
            max_pages: bytes / rustix::param::page_size() as u64,
            last: Instant::now(),
        }
    }

    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.last) < MEMORY_CHECK_INTERVAL {
            return false;
        }
        self.last = now;
        // Where that cannot be read (a task has left no descriptor free, or has changed the root
        // directory), the most that it ever had stands in for it: it may leave too early then, but
        // does not grow without end.
        resident_pages().unwrap_or_else(process::most_resident_pages) > self.max_pages
    }
}

fn resident_pages() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

//! One worker of a pool: how far it has come, and which tasks it has.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::assigned_tasks::AssignedTasks;
use super::assignment::{Assignment, WorkerIndex};
use super::context::WorkerContexts;
use super::input::EncodedInput;
use super::outcome::Bytes;
use super::task::{ResultSink, Task};
use crate::pool::policy::estimate::WORTH_WAKING;
use crate::sim::local::Instant;
use crate::sys::error::errno_of;
use crate::worker::process::host::connection::{NotNow, WorkerConnection};
use crate::worker::process::ipc::protocol;
use crate::worker::process::ipc::reply::ReplyTag;

/// Why a worker is terminated, and its task with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Termination {
    /// The time of the worker's task is over.
    TimedOut,
    /// The worker's task was cancelled.
    Cancelled,
    /// The worker broke the protocol.
    ProtocolError,
    /// The worker does not begin its tasks. They are not to blame, and were taken back.
    Stalled,
    /// There are more workers than there should be, and it has no task.
    Surplus,
}

/// What came of giving a worker a task, or several.
pub(super) struct Given {
    /// How many there was room for.
    pub(super) took: u32,
    /// What there was none for, or not yet.
    pub(super) rest: Option<Task>,
    /// Why no worker can be given that.
    pub(super) refused: Option<AssignRefusal>,
}

/// Why no worker can be given a task.
#[derive(Debug)]
pub(super) enum AssignRefusal {
    /// The task could not be sent, and it would be no use to try again.
    Failed(io::Error),
    /// One worker after another was alive, and had closed the socket that it would come through.
    Unreachable,
}

impl AssignRefusal {
    /// As it goes on after the name of the task.
    pub(super) fn why(&self, has_context: bool) -> String {
        let what = match has_context {
            true => "its input, or its context,",
            false => "its input",
        };
        match self {
            AssignRefusal::Failed(e) => format!("{what} could not be sent to a worker: {e}"),
            AssignRefusal::Unreachable => format!(
                "{what} could not be sent to any worker: each has closed the socket through which inputs arrive, in an initializer or in a task"
            ),
        }
    }
}

/// Whether an error tells of too little memory or too few descriptors, of which there may be more
/// in a moment.
fn is_scarcity(error: &io::Error) -> bool {
    matches!(errno_of(error), Some(libc::EMFILE | libc::ENFILE)) || protocol::is_temporary(error)
}

/// What the worker of a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotStatus {
    /// The slot has no worker.
    Vacant,
    /// The worker is getting ready.
    Starting,
    /// The worker takes tasks.
    Ready,
    /// The worker begins no more tasks, and ends by itself.
    Leaving,
    /// The host has asked the worker to end, or has killed it.
    Terminating(Termination),
}

/// A worker's entry in the table of its pool; another worker takes it over when this one is gone.
pub(super) struct WorkerSlot {
    pub(super) status: SlotStatus,
    pub(super) connection: Option<WorkerConnection>,
    /// The tasks assigned to it, oldest first: that one it runs, or will next.
    pub(super) assigned: AssignedTasks,
    /// Something was written to its mailbox that is not offered yet.
    pub(super) unoffered: bool,
    /// There is no room in its mailbox.
    pub(super) ring_full: bool,
    /// The plan of the task that was written last, the number of the context that it uses, or 0,
    /// and which run of it that was.
    last_plan: Option<([u64; 2], u64, u32)>,
    /// The contexts that its worker has.
    pub(super) contexts: WorkerContexts,
    /// A reply of which a part is still to come through the descriptor socket.
    pub(super) pending_reply: Option<(ReplyTag, Bytes)>,
    /// The worker has answered for its first task, but the reply broke the protocol, or came after
    /// the worker was terminated.
    pub(super) bad_reply: bool,
    /// When it got something to do, or finished something.
    pub(super) last_progress: Instant,
    /// Since it was given tasks while it had none. It may have slept then.
    pub(super) awaits_first_result: bool,
    /// How many results had been taken, and since when the next task is the worker's first. The
    /// time is moved forward by that in which this program or the worker was stopped.
    pub(super) front_since: (u32, Instant),
    /// Since when its worker is stopped, as far as one has seen.
    pub(super) stopped: Option<Instant>,
    /// How long its worker had been stopped before, all in all.
    pub(super) stopped_before: Duration,
    /// What its first task, by its number, was given back of its time because of that.
    given: (u32, Duration),
    /// How many tasks the subscribers know to have begun.
    pub(super) announced: u32,
    /// When its first task ran, as its worker tells before the reply.
    pub(super) ran: Option<[u64; 2]>,
    /// The worker did not begin its tasks for a while: others are used first.
    pub(super) is_stalled: bool,
    /// The worker's descriptor socket is unusable: a task has closed it, or descriptors that were
    /// taken back are still in it. The worker is given no more, and is terminated when it has no
    /// task.
    pub(super) fd_socket_broken: bool,
    /// The worker has no task, and says that there is no room in its ring: it has written over the
    /// count.
    pub(super) ring_broken: bool,
    /// There are more workers than there should be: it is given no more, and is terminated when it
    /// has no task.
    pub(super) leaves: bool,
    /// No new worker is taken before this.
    pub(super) respawn_at: Option<Instant>,
}

impl WorkerSlot {
    pub(super) fn vacant(now: Instant) -> WorkerSlot {
        WorkerSlot {
            status: SlotStatus::Vacant,
            connection: None,
            assigned: AssignedTasks::default(),
            unoffered: false,
            ring_full: false,
            last_plan: None,
            contexts: WorkerContexts::default(),
            pending_reply: None,
            bad_reply: false,
            last_progress: now,
            awaits_first_result: false,
            front_since: (0, now),
            stopped: None,
            stopped_before: Duration::ZERO,
            given: (0, Duration::ZERO),
            announced: 0,
            ran: None,
            is_stalled: false,
            fd_socket_broken: false,
            ring_broken: false,
            leaves: false,
            respawn_at: None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.status == SlotStatus::Ready
    }

    /// Whether it has a worker, or is about to have one, that is not to leave.
    pub(super) fn stays(&self) -> bool {
        matches!(self.status, SlotStatus::Starting | SlotStatus::Ready) && !self.leaves
    }

    /// Whether its worker comes or goes.
    pub(super) fn is_in_transit(&self) -> bool {
        self.connection.is_some() && !self.is_ready()
    }

    /// How long the first of its tasks may run, in a pool with this timeout.
    pub(super) fn time_limit(&self, pool: Option<Duration>) -> Option<Duration> {
        let first = self.assigned.first();
        first.map_or(pool, |task| task.time_limit(pool))
    }

    /// When the time is over of the first of the slot's tasks: it may run for `timeout`, and its
    /// worker may be stopped meanwhile for as long, at a time. `None`: that one has ended, or is
    /// being ended.
    pub(super) fn over_at(&self, timeout: Duration) -> Option<Instant> {
        let is_running = self.is_ready() && self.pending_reply.is_none();
        is_running.then(|| match self.stopped {
            Some(since) => since + timeout.min(self.may_be_given(timeout)),
            None => self.front_since.1 + timeout,
        })
    }

    /// What its first task was given back of its time, because its worker was stopped.
    fn given(&self) -> Duration {
        if self.given.0 == self.front_since.0 {
            self.given.1
        } else {
            Duration::ZERO
        }
    }

    /// How much more of its time that one may be given back because of that: it could have itself
    /// stopped and continued for ever.
    fn may_be_given(&self, timeout: Duration) -> Duration {
        timeout
            .saturating_mul(MOST_STOPS)
            .saturating_sub(self.given())
    }

    /// The worker was stopped for `time`, and goes on.
    pub(super) fn record_stop(&mut self, time: Duration, timeout: Duration, now: Instant) {
        let time = time.min(self.may_be_given(timeout));
        self.given = (self.front_since.0, self.given() + time);
        self.give_time_back(time, now);
    }

    /// So much of the time until now does not count.
    pub(super) fn give_time_back(&mut self, time: Duration, now: Instant) {
        for at in [&mut self.front_since.1, &mut self.last_progress]
            .into_iter()
            .chain(&mut self.stopped)
        {
            *at = (*at + time).min(now);
        }
    }

    /// Whether it can be given more.
    pub(super) fn has_room(&self) -> bool {
        self.is_ready()
            && !self.ring_full
            && !self.fd_socket_broken
            && !self.leaves
            && self.assigned.may_grow()
    }

    /// Whether its first task takes long, as far as was seen when results were taken last: what
    /// lies behind it should not wait.
    pub(super) fn seems_held_up(&self, now: Instant) -> bool {
        self.is_held_up_for(WORTH_WAKING, now)
    }

    pub(super) fn is_held_up_for(&self, time: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.last_progress) >= time
    }

    /// Whether there is nothing that the worker could notify of: the host learns in another way of
    /// what the worker waits for, or of its end.
    pub(super) fn cannot_notify(&self) -> bool {
        self.pending_reply.is_some()
            || self.bad_reply
            || self.status == SlotStatus::Terminating(Termination::ProtocolError)
    }

    /// Whether the subscribers do not know yet that its first task runs.
    pub(super) fn is_unannounced(&self) -> bool {
        self.announced.wrapping_sub(self.first()) as i32 <= 0
    }

    /// Those of the slot's tasks that its worker has begun, `begun` since it came, and that no
    /// subscriber knows of: each with when it was submitted.
    pub(super) fn announce(&mut self, begun: u32) -> Vec<(u64, Instant)> {
        let first = self.first();
        let known = (self.announced.wrapping_sub(first) as i32).max(0);
        let begun = (begun.wrapping_sub(first) as i32).max(known);
        self.announced = first.wrapping_add(begun as u32);
        let tasks = self.assigned.iter().flat_map(|task| {
            (0..u64::from(task.count())).map(|n| (task.number + n, task.submitted))
        });
        let (known, begun) = (known as usize, begun as usize);
        tasks.take(begun).skip(known).collect()
    }

    /// Whether its worker has begun its first task.
    pub(super) fn has_begun(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|c| c.begun() != Ok(c.taken()))
    }

    /// Whether its worker says that it has not begun its first task, and has taken that out of its
    /// ring all the same.
    pub(super) fn has_lied_about_begun(&self) -> bool {
        let (Some(connection), Some(first)) = (&self.connection, self.assigned.first()) else {
            return false;
        };
        // In this order: an honest one begins a task, and then takes it.
        connection.has_taken_order(first.begin()) && connection.begun() == Ok(connection.taken())
    }

    /// The number of its first task.
    pub(super) fn first(&self) -> u32 {
        self.connection.as_ref().map_or(0, WorkerConnection::taken)
    }

    /// The process of its worker.
    pub(super) fn pid(&self) -> Option<u32> {
        self.connection.as_ref().map(WorkerConnection::pid)
    }

    /// Writes a task, or several, into its mailbox.
    pub(super) fn give(&mut self, mut task: Task, worker: WorkerIndex) -> Given {
        let (took, rest) = match self.write(&mut task) {
            Ok((took, rest)) => (took, rest),
            Err(why) => {
                let refused = self.note_not_given(&mut task, why);
                return Given {
                    took: 0,
                    rest: Some(task),
                    refused,
                };
            }
        };
        self.note_assignment(&task, worker);
        self.ring_full |= rest.is_some();
        self.assigned.push(task);
        self.unoffered = true;
        Given {
            took,
            rest,
            refused: None,
        }
    }

    /// A task could not be written. Gives the reason, if it is that of any worker.
    fn note_not_given(&mut self, task: &mut Task, why: NotNow) -> Option<AssignRefusal> {
        self.ring_full = true;
        match why {
            // The longest task fits a ring of which all was taken.
            NotNow::Full => {
                self.ring_broken |= self.assigned.is_empty();
                None
            }
            NotNow::FdSocketComing => None,
            // A worker that has no task has received all that it will: what is in there belongs to
            // tasks that were taken back from it.
            NotNow::FdSocketFull => {
                self.fd_socket_broken |= self.assigned.is_empty();
                None
            }
            NotNow::Gone => {
                self.fd_socket_broken = true;
                // One that is alive has closed it, as the next may do.
                let is_alive = self
                    .connection
                    .as_ref()
                    .is_some_and(WorkerConnection::is_alive);
                task.unreachable += u8::from(is_alive);
                (task.unreachable > MAX_UNREACHABLE).then_some(AssignRefusal::Unreachable)
            }
            // It passes: some are closed with each result.
            NotNow::Failed(e) if is_scarcity(&e) => None,
            NotNow::Failed(e) => Some(AssignRefusal::Failed(e)),
        }
    }

    /// As [`give`](Self::give), of one task without descriptors. `false`: that cannot be done now,
    /// and it stays where it is.
    pub(super) fn give_plain(&mut self, task: &mut Option<Task>, worker: WorkerIndex) -> bool {
        let Some(new) = task else {
            return false;
        };
        if !matches!(new.input, EncodedInput::Inline(_)) || self.write(new).is_err() {
            return false;
        }
        self.note_assignment(new, worker);
        self.assigned.push_one(task.take());
        self.unoffered = true;
        true
    }

    /// The task that was written last can be found by its handle.
    fn note_assignment(&self, task: &Task, worker: WorkerIndex) {
        if let (ResultSink::Handle(cell), Some(connection)) = (&task.sink, &self.connection) {
            let number = connection.next().wrapping_sub(1);
            let assignment = Assignment { worker, number };
            cell.cell().set_assignment(Some(assignment));
        }
    }

    /// As many as there is room for; the task is then only those. If that is none, nothing of it is
    /// left in the ring: the worker reads no order before it has a task, so that what is left there
    /// would take up room for as long as it has none.
    fn write(&mut self, task: &mut Task) -> Result<(u32, Option<Task>), NotNow> {
        let Some(connection) = &self.connection else {
            return Err(NotNow::Gone);
        };
        let begin = connection.position();
        let written = self.write_from(begin, task);
        if written.is_err() {
            self.take_back_orders(begin, u64::MAX);
        }
        written
    }

    /// Takes back what lies in the ring from `begin` on, of which a task is what lies from `at` on.
    fn take_back_orders(&mut self, begin: u64, at: u64) {
        let from = self.contexts.end_of_sent(begin, at);
        if let Some(connection) = &mut self.connection {
            connection.take_back_orders(from);
        }
        self.fd_socket_broken |= self.contexts.take_back(from);
        self.last_plan = None;
    }

    fn write_from(&mut self, begin: u64, task: &mut Task) -> Result<(u32, Option<Task>), NotNow> {
        let Some(connection) = &mut self.connection else {
            return Err(NotNow::Gone);
        };
        let (plan, context) = (task.target.plan, task.context_number());
        let attempt = task.attempts.current();
        if self.last_plan != Some((plan, context, attempt)) {
            self.last_plan = None;
            self.contexts.prepare(task.context.as_ref(), connection)?;
            match context {
                0 => connection.write_plan(plan)?,
                context => connection.write_plan_with(plan, context)?,
            }
            if attempt > 1 {
                connection.write_attempt(attempt)?;
            }
            let target = &task.target;
            connection
                .streams()
                .name(plan, |worker, program| target.name_by(worker, program));
            self.last_plan = Some((plan, context, attempt));
        }
        let at = connection.position();
        let mut rest = None;
        let mut given = 1;
        match &task.input {
            EncodedInput::Inline(bytes) => connection.write(bytes)?,
            EncodedInput::WithDescriptors(carried) => {
                connection.write_with_attachment(carried.bytes(), carried.attachment())?
            }
            EncodedInput::Batch(batch) => {
                let room = connection.room_for(batch.size());
                let (frames, fit) = batch.fitting(room);
                if fit == 0 {
                    return Err(NotNow::Full);
                }
                connection.write_frames(frames, fit)?;
                given = fit;
            }
        }
        task.at = at;
        task.prefix = (at - begin) as u32;
        if given < task.count() {
            rest = task.split_off(given);
        }
        Ok((given, rest))
    }

    /// Closes our copies of the descriptors of a task that was begun, and that no other worker will
    /// run. `retries`: the pool's.
    pub(super) fn close_copies(&mut self, retries: u32) {
        let first = self.first();
        let Some(task) = self.assigned.first_mut() else {
            return;
        };
        let may_run_again = task.retries(retries) > 0;
        let EncodedInput::WithDescriptors(carried) = &mut task.input else {
            return;
        };
        if !may_run_again && carried.has_descriptors() {
            let begun = self.connection.as_ref().map(WorkerConnection::begun);
            if matches!(begun, Some(Ok(begun)) if begun != first) {
                carried.close();
            }
        }
    }

    /// Takes out those of its tasks that are no longer with its worker: all but the first `left`,
    /// counted as the worker does.
    pub(super) fn split_off(&mut self, left: u32) -> VecDeque<Task> {
        let back = self.assigned.split_off(left.wrapping_sub(self.first()));
        if let Some(first) = back.front() {
            self.take_back_orders(first.begin(), first.at);
        }
        // They are in its descriptor socket, and open there until it ends.
        self.fd_socket_broken |= back.iter().any(|task| task.input.descriptors() > 0);
        self.ring_full = false;
        back
    }
}

/// As many workers may have closed the socket that a task would come through, before it is not
/// tried with another.
const MAX_UNREACHABLE: u8 = 4;

/// A task's worker may be stopped for as many times its timeout, all in all.
const MOST_STOPS: u32 = 10;

//! The handle's side of a task that has a process of its own.

mod outcome;
mod worker;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::task::codec::{self, Encoded};
use crate::task::entry::{Plan, caught};
use crate::task::error::joined_twice;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::transport::attachment;
use crate::worker::process::host::client::{ForkServerClient, Origin};
use crate::worker::process::host::events;
use crate::worker::process::host::result::{Decode, decoded};
use crate::worker::process::host::worker_setup::WorkerSetup;
use crate::worker::process::ipc::protocol::Setup;
use crate::{JoinError, Message};
use outcome::Stored;
use worker::{HeldEnd, OneShotInput, OneShotWorker, WaitOutcome};

/// How long a caller waits for the subscriber that is told what its task has sent.
const UNTIL_TOLD: Duration = Duration::from_secs(1);

/// The task was not cancelled.
const NOT_CANCELLED: u8 = 0;
/// Cancelled before it had replied: whatever it may still say, it was cancelled.
const CANCELLED: u8 = 1;
/// Cancelled when it seemed to have replied. If there is no reply after all, it was killed by us.
const CANCELLED_LATE: u8 = 2;

/// A task, and the process that runs it.
pub(crate) struct ProcessTask<R> {
    name: TaskName,
    state: TaskStage,
    cancelled: AtomicU8,
    grace: Duration,
    /// The caller gets the end when the process is gone, and not when it has replied.
    told_when_gone: bool,
    result: PhantomData<fn() -> R>,
    decode: Decode<R>,
}

enum TaskStage {
    /// With a worker.
    Started(Box<OneShotWorker>),
    /// The task never got a process: the input could not be encoded.
    NotStarted(JoinError),
    /// A caller has taken the end.
    Taken,
}

impl<R> fmt::Debug for ProcessTask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessTask")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<R: Message> ProcessTask<R> {
    pub(crate) fn start<A: Message>(
        task: fn(A) -> R,
        input: A,
        setup: Option<&WorkerSetup>,
        name: TaskName,
        grace: Duration,
    ) -> io::Result<ProcessTask<R>> {
        let of = Origin::own(Setup::inheritance(setup.map(|setup| &setup.setup)));
        // First, so that a program that cannot start processes hears of it, whatever the input.
        ForkServerClient::get(of)?;
        ProcessTask::start_plan(of, Plan::of(task)?, input, setup, name, grace)
    }

    /// As [`start`](Self::start), of a task of that program.
    pub(crate) fn start_plan<A: Message>(
        of: Origin<'_>,
        plan: Plan,
        input: A,
        setup: Option<&WorkerSetup>,
        name: TaskName,
        grace: Duration,
    ) -> io::Result<ProcessTask<R>> {
        let running = |state| ProcessTask {
            name: name.clone(),
            state,
            cancelled: AtomicU8::new(NOT_CANCELLED),
            grace,
            told_when_gone: false,
            result: PhantomData,
            decode: codec::decode_encoded::<R>,
        };

        let mut encoded_input = Vec::with_capacity(64);
        let encoded = match codec::large_vector(&input) {
            Some(vector) => Ok(attachment::file_of(&vector.parts())
                .map(|file| (OneShotInput::File(file, vector.len() as u64), Vec::new()))
                .map_err(|e| format!("of {} bytes could not be carried: {e}", vector.len()))),
            None => caught(|| codec::encode(&input, &mut encoded_input))
                .map(|encoded| encoded.map(|with| (OneShotInput::Bytes(&encoded_input), with))),
        };
        drop(input);
        let (input, descriptors) = match encoded {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(why)) => {
                return Ok(running(TaskStage::NotStarted(JoinError::Undeliverable(
                    format!("task `{name}`: its input {why}"),
                ))));
            }
            Err(unwound) => {
                let symbols = Symbols::of_this_process();
                let why = JoinError::panicked(name.clone(), unwound, symbols);
                return Ok(running(TaskStage::NotStarted(why)));
            }
        };
        let mut worker = OneShotWorker::take(of)?;
        if let Some(setup) = setup {
            worker.set_up(setup)?;
            setup.streams.name(plan.to_words(), |_, _| name.clone());
        }
        worker.give(plan, input, descriptors, &name)?;
        Ok(running(TaskStage::Started(Box::new(worker))))
    }
}

impl<R> ProcessTask<R> {
    /// Waits for the end. `None`: not before the deadline.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        let forwards = matches!(&self.state, TaskStage::Started(worker) if worker.forwards);
        let forwards = forwards && !self.is_fork_of_owner();
        let ended = self.wait_for_end(deadline);
        if forwards && ended.is_some() {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            // A program that ends now has told all of it.
            events::wait_until_told(left.unwrap_or(UNTIL_TOLD).min(UNTIL_TOLD));
        }
        ended
    }

    fn wait_for_end(&mut self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        self.end(deadline, |worker, cancelled, frame| {
            if cancelled {
                worker.wait_ended(deadline).then_some(WaitOutcome::Ended)
            } else {
                Some(worker.next_reply(frame, deadline))
                    .filter(|&found| found != WaitOutcome::TimedOut)
            }
        })
    }

    /// The end, if it has come.
    fn look(&mut self) -> Option<Result<R, JoinError>> {
        self.end(Some(Instant::now()), |worker, cancelled, frame| {
            if cancelled {
                worker
                    .server
                    .exit_table
                    .has_ended(worker.slot)
                    .then_some(WaitOutcome::Ended)
            } else {
                worker.look(frame)
            }
        })
    }

    /// Returns the end, once, if `find` finds it, and it can be had before the deadline.
    fn end(
        &mut self,
        deadline: Option<Instant>,
        find: impl FnOnce(&mut OneShotWorker, bool, &mut Vec<u8>) -> Option<WaitOutcome>,
    ) -> Option<Result<R, JoinError>> {
        if self.is_fork_of_owner() {
            return Some(Err(JoinError::Closed));
        }
        let mut worker = match std::mem::replace(&mut self.state, TaskStage::Taken) {
            TaskStage::Taken => joined_twice(),
            TaskStage::NotStarted(why) => return Some(Err(why)),
            TaskStage::Started(worker) => worker,
        };
        let cancelled = *self.cancelled.get_mut();
        let ended = if worker.held.is_some() {
            worker.release(deadline, &self.name)
        } else if self.told_when_gone && !worker.wait_ended(deadline) {
            None
        } else {
            let mut frame = Vec::new();
            match find(&mut worker, cancelled == CANCELLED, &mut frame) {
                None => None,
                Some(WaitOutcome::Ended) if cancelled != NOT_CANCELLED => {
                    Some(Err(JoinError::Cancelled))
                }
                Some(found) => worker.conclude(found, frame, deadline, &self.name),
            }
        };
        let Some(ended) = ended else {
            self.state = TaskStage::Started(worker);
            return None;
        };
        Some(ended.and_then(|(stored, descriptors)| {
            let encoded = match stored {
                Stored::Here(ref bytes) => Encoded::Here(bytes),
                Stored::File(file) => Encoded::File(file),
            };
            decoded(encoded, descriptors, self.decode, || self.name.clone())
        }))
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if let Some(ended) = self.look() {
            return Poll::Ready(ended);
        }
        if let TaskStage::Started(worker) = &self.state {
            let (server, slot) = (&worker.server, worker.slot);
            let hears = worker.held.is_none()
                && !self.told_when_gone
                && self.cancelled.load(Ordering::Acquire) != CANCELLED;
            let replied = worker.ends.replied_since_now();
            let exit_table = Arc::clone(server);
            let (fd_socket, is_held) = match worker.held {
                Some(HeldEnd::FdSocket { request_number, .. }) => (Some(request_number), true),
                _ => (None, false),
            };
            let ready =
                move || !is_held && ((hears && replied()) || exit_table.exit_table.has_ended(slot));
            server.wake_when(slot, Box::new(ready), fd_socket, context.waker().clone());
            worker.ends.mailbox().ask_for_events();
            server.exit_table.ask_for_events(slot);
        }
        // It may have ended before it could see that we asked.
        self.look().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether this process is a fork of the one that started the task: what it shares with the
    /// worker is the other's.
    fn is_fork_of_owner(&self) -> bool {
        matches!(&self.state, TaskStage::Started(worker) if worker.server.is_fork_of_owner())
    }

    pub(crate) fn is_finished(&self) -> bool {
        if self.is_fork_of_owner() {
            return true;
        }
        let TaskStage::Started(worker) = &self.state else {
            return true;
        };
        match worker.held {
            Some(HeldEnd::FdSocket { request_number, .. }) => {
                worker.server.has_fd_socket(request_number)
            }
            Some(HeldEnd::Gone(_)) => worker.server.exit_table.has_ended(worker.slot),
            None if self.told_when_gone || self.cancelled.load(Ordering::Acquire) == CANCELLED => {
                worker.server.exit_table.has_ended(worker.slot)
            }
            None => worker.is_finished(),
        }
    }

    pub(crate) fn cancel(&self) {
        let TaskStage::Started(worker) = &self.state else {
            return;
        };
        if self.is_fork_of_owner() {
            return;
        }
        // The mailbox may say that it has replied when it has not: it is killed in any case. One
        // that has is ending anyway.
        let now = if worker.held.is_some() || worker.is_finished() {
            CANCELLED_LATE
        } else {
            CANCELLED
        };
        if self
            .cancelled
            .compare_exchange(NOT_CANCELLED, now, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            worker.kill(self.grace);
        }
    }

    /// Sends the process SIGTERM. What becomes of it is reported as if another process had sent
    /// that.
    pub(crate) fn terminate(&self) {
        match &self.state {
            TaskStage::Started(worker) if !self.is_fork_of_owner() => worker.kill(Duration::MAX),
            _ => {}
        }
    }

    /// From now on the caller gets the end when the process is gone: its descriptors, its locks and
    /// its memory are free then. Otherwise that comes a moment after.
    pub(crate) fn tell_when_gone(&mut self) {
        self.told_when_gone = true;
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.state {
            TaskStage::Started(worker) if !self.is_fork_of_owner() => Some(worker.pid),
            _ => None,
        }
    }
}

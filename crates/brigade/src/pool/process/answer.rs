//! Answers: what a worker's reply says of its task, and the end that the task has by that.

use std::os::fd::OwnedFd;

use super::assignment::WorkerIndex;
use super::collect::ReplyAction;
use super::deaths::MAX_FREE_REQUEUES;
use super::deferred::{Ctx, TraceEvent};
use super::dispatcher::Dispatcher;
use super::outcome::{Bytes, RawOutcome, ResultPlace, ResultWithDescriptors, TransferError};
use super::task::{ResultSink, Task};
use crate::JoinError;
use crate::sys::error::errno_of;
use crate::task::panic::Unwound;
use crate::transport::attachment;
use crate::transport::bounds::{MAX_BYTES, Unclaimed};
use crate::worker::process::host::connection::NotNow;
use crate::worker::process::ipc::reply::{self, Reply, ReplyTag};

/// What a reply says of its task.
enum TaskAnswer {
    Returned(RawOutcome),
    Panicked(Unwound),
    Undeliverable(String),
}

impl Dispatcher {
    /// The first task that a worker has is done.
    pub(super) fn on_end(
        &mut self,
        i: WorkerIndex,
        tag: ReplyTag,
        frame: Bytes,
        ctx: &mut Ctx<'_>,
    ) -> ReplyAction {
        if self.workers[i].assigned.is_empty() {
            return ReplyAction::ProtocolError;
        }
        let answer = match self.answer(i, tag, frame) {
            Ok(answer) => answer,
            Err(heard) => return heard,
        };
        let Some(task) = self.take_answered(i) else {
            return ReplyAction::ProtocolError;
        };
        let name = || task.target.name(&self.options);
        let end = match answer {
            TaskAnswer::Returned(end) => end,
            TaskAnswer::Panicked(unwound) => {
                RawOutcome::failed(JoinError::panicked(name(), unwound, &self.server.symbols))
            }
            TaskAnswer::Undeliverable(why) => {
                RawOutcome::failed(TransferError::Why(why).into_error(name()))
            }
        };
        self.note_run(i, &task, end.outcome().label(), ctx);
        self.complete(task, end, ctx);
        ReplyAction::Continue
    }

    /// What a reply says of its task.
    fn answer(
        &mut self,
        i: WorkerIndex,
        tag: ReplyTag,
        frame: Bytes,
    ) -> Result<TaskAnswer, ReplyAction> {
        match tag.read(&frame) {
            Reply::Returned(result) => {
                self.stats.bytes_out += result.len() as u64;
                Ok(TaskAnswer::Returned(RawOutcome::Returned(frame)))
            }
            Reply::AccompaniedReturned(_) | Reply::LargeReturned(_) => {
                self.answer_with_descriptors(i, tag, frame)
            }
            Reply::Panicked(unwound) => match reply::decoded(unwound) {
                Some(unwound) => Ok(TaskAnswer::Panicked(unwound)),
                None => Err(ReplyAction::ProtocolError),
            },
            Reply::Undeliverable(why) => {
                let why = String::from_utf8_lossy(why).into_owned();
                Ok(TaskAnswer::Undeliverable(why))
            }
            Reply::Ready
            | Reply::NotReady(_)
            | Reply::Leaving
            | Reply::Ran(_)
            | Reply::Unknown(_) => Err(ReplyAction::ProtocolError),
        }
    }

    /// A result whose descriptors come through the descriptor socket.
    fn answer_with_descriptors(
        &mut self,
        i: WorkerIndex,
        tag: ReplyTag,
        frame: Bytes,
    ) -> Result<TaskAnswer, ReplyAction> {
        let slot = &mut self.workers[i];
        let connection = slot.connection.as_mut().ok_or(ReplyAction::ProtocolError)?;
        let not_received = |why: &dyn std::fmt::Display| {
            TaskAnswer::Undeliverable(format!("its result could not be received: {why}"))
        };
        let descriptors = match connection.fetch() {
            Ok(descriptors) => descriptors,
            Err(NotNow::FdSocketComing) => {
                slot.pending_reply = Some((tag, frame));
                return Err(ReplyAction::Pause);
            }
            Err(NotNow::Failed(e)) if matches!(errno_of(&e), Some(libc::EMFILE | libc::ENFILE)) => {
                return Ok(not_received(&e));
            }
            // It sent before it replied, so it would be there.
            Err(_) => return Err(ReplyAction::ProtocolError),
        };
        let content = match tag.read(&frame) {
            Reply::LargeReturned(Some(len)) if len <= MAX_BYTES as u64 => ResultPlace::File(len),
            Reply::AccompaniedReturned(_) => ResultPlace::Here(frame),
            _ => return Err(ReplyAction::ProtocolError),
        };
        let len = content.len() as u64;
        match delivered(content, descriptors) {
            Ok(delivered) => {
                self.stats.bytes_out += len;
                Ok(TaskAnswer::Returned(RawOutcome::WithDescriptors(Box::new(
                    delivered,
                ))))
            }
            Err(why) => Ok(not_received(&why)),
        }
    }

    /// A worker could not be given a task that it had begun: another tries, but not for ever.
    pub(super) fn requeue_refused(&mut self, mut task: Task, ctx: &mut Ctx<'_>) {
        task.free_requeues += 1;
        if task.free_requeues <= MAX_FREE_REQUEUES {
            self.requeue(task, ctx);
            return;
        }
        let name = task.target.name(&self.options);
        let why = "no worker could be given its input: in each, a task has closed the socket through which inputs arrive";
        let end = TransferError::Why(why.to_owned()).into_error(name);
        self.complete(task, RawOutcome::failed(end), ctx);
    }

    /// The task that a reply is for.
    pub(super) fn take_answered(&mut self, i: WorkerIndex) -> Option<Task> {
        let task = self.workers.take_first(i)?;
        self.workers[i].connection.as_mut()?.count_result();
        Some(task)
    }

    /// A task has ended.
    pub(super) fn complete(&mut self, task: Task, end: RawOutcome, ctx: &mut Ctx<'_>) {
        match &end {
            RawOutcome::Returned(_) | RawOutcome::WithDescriptors(_) => self.stats.done += 1,
            RawOutcome::Failed(why) => self.stats.count_failure(why),
        }
        let time = ctx.now.saturating_duration_since(task.submitted);
        self.stats.latencies.record(time);
        if self.is_traced {
            let ended = TraceEvent::Ended(task.number, end.outcome().label(), time);
            ctx.deferred.events.push(ended);
        }
        match task.sink {
            ResultSink::Handle(cell) => {
                if task.has_options {
                    self.own_times.remove(cell.cell());
                }
                cell.cell().complete(end, &mut ctx.deferred.wakeups);
            }
            ResultSink::Map(map, index) => self.maps.put(map, index, end, ctx.deferred),
        }
        self.changed = true;
    }
}

/// A result with its descriptors, of which the first is the file of a large one.
fn delivered(
    content: ResultPlace,
    descriptors: Vec<OwnedFd>,
) -> Result<ResultWithDescriptors, String> {
    match (Unclaimed::hold(descriptors), content) {
        (Ok(descriptors), content) => Ok(ResultWithDescriptors {
            content,
            descriptors,
        }),
        // A result that needs a descriptor only to be read can do without.
        (Err(too_many), ResultPlace::File(len)) if too_many.descriptors.len() == 1 => {
            let mapped =
                attachment::map(&too_many.descriptors[0], len).map_err(|e| e.to_string())?;
            Ok(ResultWithDescriptors {
                content: ResultPlace::Mapped(mapped),
                descriptors: Unclaimed::none(),
            })
        }
        (Err(too_many), _) => Err(too_many.why()),
    }
}

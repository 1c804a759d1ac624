//! A task on its way through a pool of processes: what is run, on what, and where its end is put.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::WorkerIndex;
use super::call_target::CallTarget;
use super::context::EncodedContext;
use super::input::EncodedInput;
use super::outcome::Bytes;
use super::result_cell::{EarlyEnd, HasResultCell};
use crate::pool::policy::queue_and_retries::Attempts;
use crate::pool::policy::task_options::TaskOptions;
use crate::sim::local::Instant;
use crate::task::time_limit::TimeLimit;

/// How often a task goes back because its worker says that it has not begun it. A task can have its
/// worker say so, and would be run again each time. Without that, it takes as many workers in a row
/// that are starved, or die, at just that moment.
const MAX_DOUBTS: u8 = 16;

/// A task that was accepted and has not ended; or several of a map, one after another.
pub(super) struct Task {
    pub(super) target: CallTarget,
    /// What it borrows, beside its input.
    pub(super) context: Option<Arc<EncodedContext>>,
    pub(super) input: EncodedInput,
    pub(super) sink: ResultSink,
    /// How often it was run and did not end.
    pub(super) attempts: Attempts,
    /// How often its worker died and said that it had not run it.
    pub(super) free_requeues: u8,
    /// How often it went back from a worker that it was the next of, and that says that it had not
    /// begun it.
    pub(super) doubts: u8,
    /// How many workers had closed the socket that it would have come through.
    pub(super) unreachable: u8,
    /// The task was with a worker of which it cannot be known what it had begun: some task has
    /// written over that. It is given to a worker that has no other, so that the next time it is
    /// known.
    pub(super) isolated: bool,
    /// The cell of the task's handle has [options](super::result_cell::ResultCell::options) for it.
    pub(super) has_options: bool,
    /// One of those is a deadline. It is given to a worker that has no other, which begins it at
    /// once: one that lay ahead of a worker could begin after its deadline.
    pub(super) has_deadline: bool,
    /// The process of the worker that was given it last, where a subscriber listens; or 0.
    pub(super) with: u32,
    /// The place of the one worker that is to run it. It is given to that when it has no other
    /// task.
    pub(super) pin: Option<WorkerIndex>,
    pub(super) submitted: Instant,
    /// Where it lies in its worker's mailbox.
    pub(super) at: u64,
    /// Bytes before that, of orders that were written for it and that are of no use without it.
    pub(super) prefix: u32,
    pub(super) number: u64,
}

/// What gets the task's end.
pub(super) enum ResultSink {
    Handle(Arc<dyn HasResultCell>),
    /// A map, and the number of the input, or of the first.
    Map(u32, u64),
}

impl Task {
    /// A task that no worker has had, as most are.
    #[inline]
    pub(super) fn new(
        target: CallTarget,
        context: Option<Arc<EncodedContext>>,
        input: EncodedInput,
        sink: ResultSink,
        submitted: Instant,
    ) -> Task {
        Task {
            target,
            context,
            input,
            sink,
            attempts: Attempts::default(),
            free_requeues: 0,
            doubts: 0,
            unreachable: 0,
            isolated: false,
            has_options: false,
            has_deadline: false,
            with: 0,
            pin: None,
            submitted,
            at: 0,
            prefix: 0,
            number: 0,
        }
    }

    /// The task goes back to the queue, and nothing but its worker's word says that it was not
    /// begun.
    pub(super) fn doubt(&mut self) {
        self.doubts = self.doubts.saturating_add(1);
    }

    /// Whether a worker's word that it was not begun is no longer believed.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubts >= MAX_DOUBTS
    }

    /// What it has otherwise than its pool.
    pub(super) fn options(&self) -> Option<&TaskOptions<Instant>> {
        match &self.sink {
            ResultSink::Handle(of) if self.has_options => of.cell().options(),
            _ => None,
        }
    }

    /// How long it may run, in a pool with this timeout.
    pub(super) fn time_limit(&self, pool: Option<Duration>) -> Option<Duration> {
        (self.options()).map_or(pool, |own| own.time_limit(pool))
    }

    /// How often the task is run again, in a pool whose tasks have `pool` retries.
    pub(super) fn retries(&self, pool: u32) -> u32 {
        self.options().map_or(pool, |own| own.retries(pool))
    }

    /// The task's deadline, if it has one.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.options()?.deadline
    }

    /// Which time of it was over, in a pool with this timeout.
    pub(super) fn exceeded(&self, pool: Option<Duration>, had_begun: bool) -> TimeLimit {
        match &self.sink {
            ResultSink::Handle(of) => of.cell().exceeded(pool, had_begun),
            ResultSink::Map(..) => TimeLimit::Timeout(pool.unwrap_or_default()),
        }
    }

    /// Why the task is not to be run any more, though its end was not settled.
    pub(super) fn early_end(&self) -> Option<EarlyEnd> {
        match &self.sink {
            ResultSink::Handle(of) => of.cell().early_end(),
            ResultSink::Map(..) => None,
        }
    }

    /// The number of its context; 0: it has none.
    #[inline]
    pub(super) fn context_number(&self) -> u64 {
        self.context.as_ref().map_or(0, |context| context.number())
    }

    /// Where the orders begin that were written for it alone.
    pub(super) fn begin(&self) -> u64 {
        self.at - u64::from(self.prefix)
    }

    /// How many tasks this is.
    pub(super) fn count(&self) -> u32 {
        match &self.input {
            EncodedInput::Batch(batch) => batch.count(),
            _ => 1,
        }
    }

    /// Of several tasks, keeps the first `keep`, and gives the others.
    pub(super) fn split_off(&mut self, keep: u32) -> Option<Task> {
        let (EncodedInput::Batch(batch), ResultSink::Map(map, index)) =
            (&mut self.input, &self.sink)
        else {
            return None;
        };
        let (rest, kept) = batch.split_off(keep);
        let sink = ResultSink::Map(*map, index + u64::from(keep));
        Some(Task {
            at: self.at + kept as u64,
            number: self.number + u64::from(keep),
            ..self.part(EncodedInput::Batch(rest), sink)
        })
    }

    /// Of several tasks: the map that they are of, and the number of the first.
    pub(super) fn of_map(&self) -> Option<(u32, u64)> {
        match (&self.input, &self.sink) {
            (EncodedInput::Batch(_), ResultSink::Map(map, index)) => Some((*map, *index)),
            _ => None,
        }
    }

    /// Of several tasks, lets go of the first `count`, which are done.
    pub(super) fn drop_completed(&mut self, count: u32) {
        if let (EncodedInput::Batch(batch), ResultSink::Map(_, index)) =
            (&mut self.input, &mut self.sink)
        {
            self.at += batch.advance_by(count) as u64;
            self.prefix = 0;
            self.number += u64::from(count);
            *index += u64::from(count);
        }
    }

    /// Of several tasks, lets go of the first, which is done. Gives whose it was.
    pub(super) fn pop_completed(&mut self) -> Option<(u32, u64)> {
        let (EncodedInput::Batch(batch), ResultSink::Map(map, index)) =
            (&mut self.input, &mut self.sink)
        else {
            return None;
        };
        self.at += batch.advance() as u64;
        self.prefix = 0;
        self.number += 1;
        *index += 1;
        Some((*map, *index - 1))
    }

    /// Of several tasks, takes the first out, to be one by itself.
    pub(super) fn take_first(&mut self) -> Option<Task> {
        let (EncodedInput::Batch(batch), ResultSink::Map(map, index)) = (&self.input, &self.sink)
        else {
            return None;
        };
        let input = EncodedInput::Inline(Bytes::from_slice(batch.first()));
        let one = Task {
            at: self.at,
            prefix: self.prefix,
            number: self.number,
            ..self.part(input, ResultSink::Map(*map, *index))
        };
        self.pop_completed();
        Some(one)
    }

    /// Some of several tasks, as a task by itself.
    fn part(&self, input: EncodedInput, sink: ResultSink) -> Task {
        Task {
            attempts: self.attempts,
            isolated: self.isolated,
            with: self.with,
            ..Task::new(
                self.target,
                self.context.clone(),
                input,
                sink,
                self.submitted,
            )
        }
    }
}

//! A map over a pool of processes.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::StatePlan;
use super::call_target::CallTarget;
use super::context::EncodedContext;
use super::deferred::{Deferred, TraceEvent};
use super::driver::WaitFor;
use super::input::{EncodedInput, TaskBatch};
use super::map_results::{ResultBuffer, ResultRef};
use super::outcome::{RawOutcome, TransferError};
use super::pool::ProcessPool;
use super::task::{ResultSink, Task};
use crate::pool::context::Context;
use crate::pool::input_item::InputItem;
use crate::process::NamedTask;
use crate::sim::local::Instant;
use crate::task::codec;
use crate::task::codec::Encoded;
use crate::task::entry::caught;
use crate::trace::Submission;
use crate::worker::process::host::result::{Decode, decoded};
use crate::worker::process::ipc::mailbox::INLINE_MAX;
use crate::worker::process::ipc::order::{FRAME_HEADER, task_frame};
use crate::{JoinError, Message};

/// How long inputs are pulled before those that were are given out: a slow iterator does not hold
/// up its first ones.
const PULLING: Duration = Duration::from_micros(50);

/// Inputs that are pulled at a time, at the most: they stay in the processor's cache until they are
/// given out.
const CHUNK: usize = 128;

/// Bytes of inputs that are given out together, at the most: a part of what a mailbox holds.
const BATCH_BYTES: usize = 16 * 1024;

/// Bytes of large inputs after which those that were pulled are given out.
const MOST_PULLED: u64 = 8 << 20;

/// Bytes of results that may wait to be fetched, beyond which no more inputs are pulled.
const MOST_BYTES: usize = 64 << 20;

/// Results as they come.
pub(crate) struct Map<A, R, I> {
    pool: Arc<ProcessPool>,
    target: Result<CallTarget, String>,
    context: Option<Arc<EncodedContext>>,
    decode: Decode<R>,
    inputs: I,
    exhausted: bool,
    map: u32,
    /// Inputs that were pulled.
    pulled: usize,
    /// Results that were given.
    given: usize,
    /// Results that were fetched.
    ready: ResultBuffer,
    /// Tasks that are about to be given out.
    tasks: Vec<Task>,
    /// Inputs that are about to be: how many, the number of the first, and when they were pulled.
    batch: Vec<u8>,
    batch_count: u32,
    strip_first: u64,
    /// Bytes of inputs that were too large for a batch.
    carried: u64,
    /// Where it was begun, if that is to be known.
    submission: Option<Submission>,
    types: PhantomData<fn(A)>,
}

/// What asking for the next result comes to at once.
pub(crate) enum Now<R> {
    /// The result, with the number of its input; or there are no more.
    Next(Option<(usize, Result<R, JoinError>)>),
    /// The result is not there yet.
    NoResult,
    /// Others have taken all the room.
    NoRoom,
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> Map<A, R, I> {
    #[track_caller]
    pub(crate) fn new(pool: &Arc<ProcessPool>, task: fn(A) -> R, inputs: I) -> Map<A, R, I> {
        Map::of(pool, pool.target(task), None, inputs)
    }

    /// Of a task of the workers' program.
    #[track_caller]
    pub(crate) fn named(
        pool: &Arc<ProcessPool>,
        task: &NamedTask<A, R>,
        inputs: I,
    ) -> Map<A, R, I> {
        Map::of(pool, pool.named_target(task), None, inputs)
    }

    /// Of tasks that borrow a context.
    #[track_caller]
    pub(crate) fn with_context<C: Message + Sync>(
        pool: &Arc<ProcessPool>,
        context: &Context<C>,
        task: fn(&C, A) -> R,
        inputs: I,
    ) -> Map<A, R, I> {
        let (target, context) = pool.target_with(context, task).parts();
        Map::of(pool, target, context, inputs)
    }

    /// Of tasks that use their workers' state.
    #[track_caller]
    pub(in crate::pool) fn planned(
        pool: &Arc<ProcessPool>,
        plan: &StatePlan,
        inputs: I,
    ) -> Map<A, R, I> {
        Map::of(pool, pool.target_of(plan), plan.state.clone(), inputs)
    }

    fn of(
        pool: &Arc<ProcessPool>,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        inputs: I,
    ) -> Map<A, R, I> {
        let map = if pool.is_fork_of_owner() {
            u32::MAX
        } else {
            pool.lock().dispatcher.maps.open()
        };
        let submission = if pool.is_fork_of_owner() {
            None
        } else {
            pool.submission()
        };
        Map {
            pool: Arc::clone(pool),
            target,
            context,
            decode: codec::decode_encoded::<R>,
            inputs,
            exhausted: false,
            map,
            pulled: 0,
            given: 0,
            ready: ResultBuffer::default(),
            tasks: Vec::new(),
            batch: Vec::new(),
            batch_count: 0,
            strip_first: 0,
            carried: 0,
            submission,
            types: PhantomData,
        }
    }

    /// The next result that comes; no input is pulled whose number is `horizon` or more, counted
    /// from 0. `None`: there are no more.
    pub(crate) fn next_within(&mut self, horizon: usize) -> Option<(usize, Result<R, JoinError>)> {
        loop {
            match self.next_now(horizon) {
                Now::Next(next) => return next,
                Now::NoResult => {
                    let mut want = WaitFor::MapResult { map: self.map };
                    self.pool.wait(&mut want, None);
                }
                Now::NoRoom => {
                    self.pool.wait(&mut WaitFor::Capacity, None);
                    if !self.pool.is_closed() {
                        self.pull(1);
                    }
                }
            }
        }
    }

    /// As [`next_within`](Self::next_within), and does not wait.
    pub(crate) fn next_now(&mut self, horizon: usize) -> Now<R> {
        loop {
            if let Some(result) = self.next_ready() {
                return Now::Next(Some(result));
            }
            if let Err(why) = &self.target {
                // No worker could find the function: every input ends with that.
                if self.inputs.next().is_none() {
                    return Now::Next(None);
                }
                let why = JoinError::Undeliverable(why.clone());
                self.pulled += 1;
                return Now::Next(Some((self.pulled - 1, Err(why))));
            }
            let room = self.exchange(horizon);
            if !self.ready.is_empty() {
                continue;
            }
            if self.pulled < horizon && self.pool.is_closed() {
                if let Some(number) = self.pass_over() {
                    self.given += 1;
                    return Now::Next(Some((number, Err(JoinError::Closed))));
                }
            }
            if room > 0 && !self.exhausted {
                self.pull(room);
                continue;
            }
            if self.exhausted && self.pulled == self.given && !self.has_pulled() {
                return Now::Next(None);
            }
            if self.has_pulled() {
                continue;
            }
            return if self.pulled > self.given {
                Now::NoResult
            } else {
                Now::NoRoom
            };
        }
    }

    /// The next of the results that were fetched.
    pub(in crate::pool) fn next_ready(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        let (index, taken) = self.ready.take()?;
        self.given += 1;
        let pool = &self.pool;
        let target = &self.target;
        let name = || match target {
            Ok(target) => pool.name_of(target),
            Err(_) => unreachable!("nothing is run that has no name"),
        };
        let result = match taken {
            ResultRef::Bytes(bytes) => match codec::decode_scalar(bytes) {
                Some(value) => Ok(value),
                None => decoded(Encoded::Here(bytes), Vec::new(), self.decode, name),
            },
            ResultRef::Other(end) => end.into_result(self.decode, name),
        };
        Some((index as usize, result))
    }

    /// Whether this process is a fork of the one whose pool it is.
    pub(in crate::pool) fn is_fork_of_owner(&self) -> bool {
        self.pool.is_fork_of_owner()
    }

    /// Pulls an input that will not run. Gives its number.
    pub(in crate::pool) fn pass_over(&mut self) -> Option<usize> {
        if self.exhausted || self.inputs.next().is_none() {
            self.exhausted = true;
            return None;
        }
        self.pulled += 1;
        Some(self.pulled - 1)
    }

    /// How many inputs were pulled.
    pub(in crate::pool) fn pulled(&self) -> usize {
        self.pulled
    }

    /// How many inputs are left to be pulled.
    pub(in crate::pool) fn inputs_left(&self) -> (usize, Option<usize>) {
        if self.exhausted {
            (0, Some(0))
        } else {
            self.inputs.size_hint()
        }
    }

    /// Whether there are inputs that were pulled and not given out.
    fn has_pulled(&self) -> bool {
        self.batch_count > 0 || !self.tasks.is_empty()
    }

    /// Gives out what was pulled, and fetches what is there. Gives how many more inputs there is
    /// room for.
    fn exchange(&mut self, horizon: usize) -> usize {
        self.end_strip();
        let mut deferred = Deferred::default();
        let mut inner = self.pool.lock();
        let dispatcher = &mut inner.dispatcher;
        let more = !self.exhausted;
        let mut refused = Vec::new();
        if dispatcher.closing {
            refused = std::mem::take(&mut self.tasks);
        } else if !self.tasks.is_empty() {
            for task in self.tasks.drain(..) {
                dispatcher.maps.expect(self.map, task.count());
                if dispatcher.is_traced {
                    let submitted = TraceEvent::Submitted(dispatcher.next_number, task.count());
                    deferred.events.push(submitted);
                }
                if let (Some(spans), Some(submission)) = (&self.pool.spans, &self.submission) {
                    let (first, count) = (dispatcher.next_number, task.count());
                    spans.accepted(first, count, task.target, submission);
                }
                dispatcher.accept(task);
            }
            if dispatcher.workers.busy().is_empty() {
                dispatcher.assign(&mut deferred.at(Instant::now()));
            }
        }
        dispatcher.poll(&mut deferred, more);
        dispatcher.maps.fetch(self.map, &mut self.ready);
        let room = dispatcher.room_for_more();
        self.pool.release_driver_briefly(&mut inner, &mut deferred);
        self.pool.unlock_and_run(inner, deferred);
        for task in refused {
            self.refuse(&task);
        }
        let ahead = horizon.saturating_sub(self.pulled);
        let few = self.pulled - self.given < 2 * self.pool.workers();
        if self.ready.size() > MOST_BYTES && !few {
            return 0;
        }
        // As many inputs as have `MOST_BYTES` bytes, as far as one can tell from those before them.
        let each = (self.carried / self.pulled.max(1) as u64).max(1);
        let most = ((MOST_BYTES as u64 / each) as usize).max(2 * self.pool.workers());
        room.min(ahead)
            .min(CHUNK)
            .min(most.saturating_sub(self.pulled - self.given))
    }

    /// The pool was closed before this was given out.
    fn refuse(&mut self, task: &Task) {
        if let ResultSink::Map(_, first) = task.sink {
            for n in 0..u64::from(task.count()) {
                let end = RawOutcome::failed(JoinError::Closed);
                self.ready.put(first + n, end);
            }
        }
    }

    /// What was pulled is to be given out together.
    fn end_strip(&mut self) {
        let Ok(target) = self.target else {
            return;
        };
        if self.batch_count == 0 {
            return;
        }
        // The next one is likely to be as long.
        let next = Vec::with_capacity(self.batch.len());
        let frames = std::mem::replace(&mut self.batch, next);
        let batch = EncodedInput::Batch(TaskBatch::new(frames, self.batch_count));
        let sink = ResultSink::Map(self.map, self.strip_first);
        let context = self.context.clone();
        self.tasks
            .push(Task::new(target, context, batch, sink, Instant::now()));
        self.batch_count = 0;
    }

    /// Pulls at most `room` inputs, and encodes them.
    fn pull(&mut self, room: usize) {
        let Ok(target) = self.target else {
            return;
        };
        let begun = Instant::now();
        let before = self.carried;
        for n in 1..=room {
            // The iterator's own code, which may panic: then what was pulled before it is here, and
            // is given out when the caller asks again.
            let Some(input) = self.inputs.next() else {
                self.exhausted = true;
                return;
            };
            let index = self.pulled as u64;
            self.pulled += 1;
            self.add(target, index, input);
            if self.carried - before > MOST_PULLED
                || (n.is_power_of_two() || n % 32 == 0) && begun.elapsed() > PULLING
            {
                return;
            }
        }
    }

    /// An input was added to the batch.
    fn note_in_strip(&mut self, index: u64) {
        if self.batch_count == 0 {
            self.strip_first = index;
        }
        self.batch_count += 1;
        if self.batch.len() >= BATCH_BYTES {
            self.end_strip();
        }
    }

    /// Encodes an input once: into the batch, where it stays if it is small and has no descriptors.
    fn add(&mut self, target: CallTarget, index: u64, input: I::Item) {
        let value = Borrow::<A>::borrow(&input);
        // A plain value: no code of the program's runs, which could panic.
        let plain = task_frame(&mut self.batch, |into| {
            codec::encode_scalar(value, into).then_some(()).ok_or(())
        });
        if plain.is_ok() {
            self.note_in_strip(index);
            return;
        }
        let start = self.batch.len();
        // The frame is padded, and its header holds 32 bits of the length: the end of the input
        // itself is noted here.
        let mut end = start;
        let encoded = caught(|| {
            task_frame(&mut self.batch, |into| {
                let descriptors = codec::encode(value, into)?;
                end = into.len();
                Ok::<_, String>(descriptors)
            })
        });
        let fits = self.batch.len() - start <= INLINE_MAX;
        let encoded = match encoded {
            Ok(Ok(descriptors)) if descriptors.is_empty() && fits => {
                self.note_in_strip(index);
                return;
            }
            Ok(Ok(descriptors)) => {
                EncodedInput::from_encoded(&self.batch[start + FRAME_HEADER..end], descriptors)
            }
            Ok(Err(why)) => Err(TransferError::Why(format!("its input {why}"))),
            Err(unwound) => Err(TransferError::Panicked(unwound)),
        };
        // It is a task by itself, or none. A panic may have left a part of it in the batch.
        self.batch.truncate(start);
        // The next inputs may be small, and those before it keep this memory until they have ended.
        self.batch.shrink_to(BATCH_BYTES + INLINE_MAX);
        self.end_strip();
        match encoded {
            Ok(input) => {
                self.carried += input.len();
                let sink = ResultSink::Map(self.map, index);
                let context = self.context.clone();
                self.tasks
                    .push(Task::new(target, context, input, sink, Instant::now()));
            }
            Err(refused) => {
                let why = refused.into_error(self.pool.name_of(&target));
                self.pool.count_rejected(&why);
                self.ready.put(index, RawOutcome::failed(why));
            }
        }
    }
}

impl<A, R, I> Drop for Map<A, R, I> {
    fn drop(&mut self) {
        let pool = &self.pool;
        if pool.is_fork_of_owner() {
            return;
        }
        let mut deferred = Deferred::default();
        let mut inner = pool.lock();
        inner
            .dispatcher
            .close_map(self.map, &mut deferred.at(Instant::now()));
        pool.release_driver(&mut inner, &mut deferred);
        pool.unlock_and_run(inner, deferred);
    }
}

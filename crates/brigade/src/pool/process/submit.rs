//! Submitting: a task is encoded in the caller's thread, gets its handle, and goes to the queue.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use super::call_target::CallTarget;
use super::captured::TargetWithContext;
use super::context::EncodedContext;
use super::handle::PoolTaskHandle;
use super::input::EncodedInput;
use super::outcome::RawOutcome;
use super::pool::ProcessPool;
use super::result_cell::HasResultCell;
use super::task::{ResultSink, Task};
use crate::pool::context::Context;
use crate::pool::policy::keys::{Lost, NotTaken};
use crate::pool::policy::task_options::TaskOptions;
use crate::process::NamedTask;
use crate::sim::local::{self, Instant};
use crate::task::codec;
use crate::task::entry::Plan;
use crate::task::name::TaskName;
use crate::worker::handle::HandleInner;
use crate::{JoinError, JoinHandle, Kind, Message};

/// What is to be called of a task that uses its worker's state.
pub(in crate::pool) struct StatePlan {
    pub(in crate::pool) plan: io::Result<Plan>,
    /// Where the function is.
    pub(in crate::pool) address: usize,
    pub(in crate::pool) state: Option<Arc<EncodedContext>>,
}

thread_local! {
    /// Where inputs are encoded, before it is known how large they are.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl ProcessPool {
    /// Why no worker can find a task's function.
    #[track_caller]
    fn nowhere(&self, function: usize, why: &dyn fmt::Display) -> String {
        let name = TaskName::new(function, self.options.name.clone());
        format!("task `{name}`: {why}")
    }

    /// What is to be called of a task without a context.
    #[track_caller]
    #[inline]
    pub(super) fn target<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
    ) -> Result<CallTarget, String> {
        // No closures: the caller's place goes through none.
        let target = match self.options.process.check_own("it") {
            Ok(()) => CallTarget::new(task),
            Err(e) => Err(e),
        };
        match target {
            Ok(target) => Ok(target),
            Err(e) => Err(self.nowhere(task as usize, &e)),
        }
    }

    /// What is to be called of a task of the workers' program; or why it is none of theirs.
    #[track_caller]
    pub(super) fn named_target<A, R>(&self, task: &NamedTask<A, R>) -> Result<CallTarget, String> {
        let target = CallTarget::of(Plan::from_words(task.plan));
        let program = self.options.process.named_program();
        program
            .and_then(|program| task.check_program(program.map(|program| &program.0)))
            .map(|()| target)
            .map_err(|e| e.to_string())
    }

    /// The call target of a task with a context, and the encoded context.
    #[track_caller]
    pub(in crate::pool) fn target_with<C: Message + Sync, A: Message, R: Message>(
        &self,
        context: &Context<C>,
        task: fn(&C, A) -> R,
    ) -> TargetWithContext {
        TargetWithContext(self.find_with(context, task))
    }

    #[track_caller]
    fn find_with<C: Message + Sync, A: Message, R: Message>(
        &self,
        context: &Context<C>,
        task: fn(&C, A) -> R,
    ) -> Result<(CallTarget, Arc<EncodedContext>), String> {
        let address = task as usize;
        let own = self.options.process.check_own("it");
        own.map_err(|e| self.nowhere(address, &e))?;
        let plan = Plan::with_context(task).map_err(|e| self.nowhere(address, &e))?;
        let encoded = context.encoded();
        let encoded = encoded.map_err(|why| self.nowhere(address, &why))?;
        Ok((CallTarget::of(plan), encoded))
    }

    /// A task, encoded, and its handle.
    #[track_caller]
    #[inline]
    fn encode_task<A: Message, R: Message>(
        self: &Arc<Self>,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: &A,
        options: Option<Box<TaskOptions<Instant>>>,
    ) -> (Arc<PoolTaskHandle<R>>, Option<Task>) {
        let target = match target {
            Ok(target) => target,
            Err(why) => {
                let target = CallTarget::invalid();
                let pooled = Arc::new(PoolTaskHandle::new(
                    Arc::clone(self),
                    target,
                    codec::decode_encoded::<R>,
                    None,
                ));
                let why = JoinError::Undeliverable(why);
                self.count_rejected(&why);
                pooled
                    .cell()
                    .complete(RawOutcome::failed(why), &mut Default::default());
                return (pooled, None);
            }
        };
        let has_options = options.is_some();
        let has_deadline = options.as_ref().is_some_and(|own| own.deadline.is_some());
        let pooled = Arc::new(PoolTaskHandle::new(
            Arc::clone(self),
            target,
            codec::decode_encoded::<R>,
            options,
        ));
        // A `Serialize` that gives the pool another task finds the scratch taken, and gets one of
        // its own. So does the destructor of another local, when the scratch is gone.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let encoded = EncodedInput::encode(input, &mut scratch);
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        match encoded {
            Ok(input) => {
                let sink = ResultSink::Handle(Arc::clone(&pooled) as Arc<dyn HasResultCell>);
                let submitted = pooled.cell().submitted();
                // Set afterwards: by an update of a struct the whole task is moved once more.
                let mut task = Task::new(target, context, input, sink, submitted);
                task.has_options = has_options;
                task.has_deadline = has_deadline;
                (pooled, Some(task))
            }
            Err(refused) => {
                let why = refused.into_error(self.name_of(&target));
                self.count_rejected(&why);
                pooled
                    .cell()
                    .complete(RawOutcome::failed(why), &mut Default::default());
                (pooled, None)
            }
        }
    }

    #[track_caller]
    pub(in crate::pool) fn submit<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
    ) -> JoinHandle<R> {
        if self.is_fork_of_owner() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        self.submit_made(self.target(task), None, input)
    }

    /// As [`submit`](Self::submit), of a task of the workers' program.
    #[track_caller]
    pub(in crate::pool) fn submit_named<A: Message, R: Message>(
        self: &Arc<Self>,
        task: &NamedTask<A, R>,
        input: A,
    ) -> JoinHandle<R> {
        if self.is_fork_of_owner() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        self.submit_made(self.named_target(task), None, input)
    }

    /// Encodes a task and queues it, when there is room.
    #[inline]
    fn submit_made<A: Message, R: Message>(
        self: &Arc<Self>,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
    ) -> JoinHandle<R> {
        let (pooled, mut task) = self.encode_task(target, context, &input, None);
        drop(input);
        if task.is_some() && !self.enqueue(&mut task) {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        JoinHandle(HandleInner::Pooled(pooled))
    }

    /// As [`submit`](Self::submit), of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn submit_planned<A: Message, R: Message>(
        self: &Arc<Self>,
        plan: &StatePlan,
        input: A,
    ) -> JoinHandle<R> {
        if self.is_fork_of_owner() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        let context = plan.state.clone();
        self.submit_made(self.target_of(plan), context, input)
    }

    /// As [`submit_as`](Self::submit_as), of a task of a key. The error: the input, since the
    /// worker of that key is gone.
    #[track_caller]
    pub(in crate::pool) fn submit_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        task: fn(A) -> R,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        if self.is_fork_of_owner() {
            return Ok(JoinHandle(HandleInner::Closed(Kind::Process)));
        }
        self.submit_keyed_made(key, self.target(task), None, input, options)
    }

    /// As [`try_submit_as`](Self::try_submit_as), of a task of a key.
    #[track_caller]
    pub(in crate::pool) fn try_submit_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        task: fn(A) -> R,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, NotTaken<A>> {
        self.try_submit_keyed_made(key, self.target(task), None, input, options)
    }

    /// As [`submit_keyed`](Self::submit_keyed), of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn submit_keyed_planned<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        plan: &StatePlan,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        if self.is_fork_of_owner() {
            return Ok(JoinHandle(HandleInner::Closed(Kind::Process)));
        }
        let context = plan.state.clone();
        self.submit_keyed_made(key, self.target_of(plan), context, input, options)
    }

    /// As [`try_submit_keyed`](Self::try_submit_keyed), of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn try_submit_keyed_planned<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        plan: &StatePlan,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, NotTaken<A>> {
        let context = plan.state.clone();
        self.try_submit_keyed_made(key, self.target_of(plan), context, input, options)
    }

    fn submit_keyed_made<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let (pooled, mut task) = self.encode_task(target, context, &input, own_options(options));
        if task.is_some() {
            match self.enqueue_keyed(key, &mut task) {
                Ok(true) => {}
                Ok(false) if self.is_closed() => {
                    return Ok(JoinHandle(HandleInner::Closed(Kind::Process)));
                }
                Ok(false) => self.reject_expired(&*pooled),
                Err(Lost) => return Err(input),
            }
        }
        Ok(JoinHandle(HandleInner::Pooled(pooled)))
    }

    fn try_submit_keyed_made<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, NotTaken<A>> {
        if self.is_closed() || self.options.queue_limit.get().is_some() && self.is_full() {
            return Err(NotTaken::Full(input));
        }
        let (pooled, mut task) = self.encode_task(target, context, &input, own_options(options));
        if task.is_some() {
            match self.try_enqueue_keyed(key, &mut task) {
                Ok(()) => {}
                Err(NotTaken::Full(())) => return Err(NotTaken::Full(input)),
                Err(NotTaken::Lost(())) => return Err(NotTaken::Lost(input)),
            }
        }
        Ok(JoinHandle(HandleInner::Pooled(pooled)))
    }

    #[track_caller]
    pub(super) fn target_of(&self, plan: &StatePlan) -> Result<CallTarget, String> {
        match &plan.plan {
            Ok(plan) => Ok(CallTarget::of(*plan)),
            Err(e) => Err(self.nowhere(plan.address, e)),
        }
    }

    #[track_caller]
    pub(in crate::pool) fn submit_with<C: Message + Sync, A: Message, R: Message>(
        self: &Arc<Self>,
        context: &Context<C>,
        task: fn(&C, A) -> R,
        input: A,
    ) -> JoinHandle<R> {
        if self.is_fork_of_owner() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        let (target, context) = self.target_with(context, task).parts();
        self.submit_made(target, context, input)
    }

    /// As [`submit`](Self::submit), of a task that has options of its own.
    #[track_caller]
    pub(in crate::pool) fn submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        self.submit_made_as(self.target(task), None, input, options)
    }

    /// As [`submit_planned`](Self::submit_planned), of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn submit_planned_as<A: Message, R: Message>(
        self: &Arc<Self>,
        plan: &StatePlan,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        let context = plan.state.clone();
        self.submit_made_as(self.target_of(plan), context, input, options)
    }

    pub(super) fn submit_made_as<A: Message, R: Message>(
        self: &Arc<Self>,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        if self.is_fork_of_owner() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        let (pooled, mut task) = self.encode_task(target, context, &input, own_options(options));
        drop(input);
        if task.is_some() && !self.enqueue_by(&mut task) {
            if self.is_closed() {
                return JoinHandle(HandleInner::Closed(Kind::Process));
            }
            self.reject_expired(&*pooled);
        }
        JoinHandle(HandleInner::Pooled(pooled))
    }

    /// As [`try_submit`](Self::try_submit), of a task that has options of its own.
    #[track_caller]
    pub(in crate::pool) fn try_submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_made_as(self.target(task), None, input, options)
    }

    pub(super) fn try_submit_made_as<A: Message, R: Message>(
        self: &Arc<Self>,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_made(target, context, input, own_options(options))
    }

    /// As [`try_submit_planned`](Self::try_submit_planned), of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn try_submit_planned_as<A: Message, R: Message>(
        self: &Arc<Self>,
        plan: &StatePlan,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let context = plan.state.clone();
        self.try_submit_made(self.target_of(plan), context, input, own_options(options))
    }

    #[track_caller]
    pub(in crate::pool) fn try_submit<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_made(self.target(task), None, input, None)
    }

    /// As [`try_submit`](Self::try_submit), of a task of the workers' program.
    #[track_caller]
    pub(in crate::pool) fn try_submit_named<A: Message, R: Message>(
        self: &Arc<Self>,
        task: &NamedTask<A, R>,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_made(self.named_target(task), None, input, None)
    }

    /// As [`try_submit`](Self::try_submit), for a caller that was there.
    pub(in crate::pool) fn try_submit_at<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        call_site: &'static Location<'static>,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        let target = self.target(task).map(|target| target.at(call_site));
        self.try_submit_made(target, None, input, None)
    }

    #[track_caller]
    #[inline]
    fn try_submit_made<A: Message, R: Message>(
        self: &Arc<Self>,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
        options: Option<Box<TaskOptions<Instant>>>,
    ) -> Result<JoinHandle<R>, A> {
        if self.is_closed() || self.options.queue_limit.get().is_some() && self.is_full() {
            return Err(input);
        }
        let (pooled, mut task) = self.encode_task(target, context, &input, options);
        if task.is_some() && !self.try_enqueue(&mut task) {
            return Err(input);
        }
        Ok(JoinHandle(HandleInner::Pooled(pooled)))
    }
}

/// What a task has otherwise than its pool, as its cell keeps it.
fn own_options(options: TaskOptions) -> Option<Box<TaskOptions<Instant>>> {
    (!options.is_none()).then(|| Box::new(options.with_deadline(local::deadline)))
}

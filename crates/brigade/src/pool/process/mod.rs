//! A pool of processes: what runs in the host. Its workers run `worker::process::child`.
//!
//! Each worker has a mailbox with some tasks ahead. The files:
//! - task: what is run, on what, for whom; input: what it is given; context: what it borrows;
//!   outcome: how it ended
//! - result_cell: where a task hears of its end; handle: who waits for that; map_results: the same,
//!   of a map; map: inputs in, results out
//! - dispatcher: what there is to do. Its parts: queue: tasks that no worker has; own_times: those
//!   that have a time of their own; worker_table,
//!   worker_slot, assigned_tasks, assignment: the workers, and what each has; respawn: when one is
//!   tried again that did not start; wakeup_schedule: who is to be told anew when to notify
//! - what it does: assign: which worker gets what; keyed: the same, of tasks of a key; collect,
//!   reply_batch: what workers say; runs: what the timeline is told; supervise: workers that end, and
//!   that come; cancel: what is ended early; resize: more workers, or fewer; wakeups: when workers
//!   notify
//! - accept: tasks that come; pool: who does all that, and who sleeps; observer: when no caller
//!   waits; deferred: what is left to be done when the lock is free; after_unlock: doing it;
//!   ordered_delivery: events in their order; publish: what others may see of it; stacks: what each
//!   worker does, by asking it
//! - shuttle_tests: what must hold whatever the order of steps

mod accept;
mod after_unlock;
mod assign;
mod assigned_tasks;
mod assignment;
mod cancel;
mod collect;
mod context;
mod deferred;
mod dispatcher;
mod handle;
mod input;
mod keyed;
mod map;
mod map_results;
mod observer;
mod ordered_delivery;
mod outcome;
mod own_times;
mod pool;
mod publish;
mod queue;
mod reply_batch;
mod resize;
mod respawn;
mod result_cell;
mod runs;
#[cfg(all(shuttle, test))]
mod shuttle_tests;
mod stacks;
mod supervise;
mod task;
mod wakeup_schedule;
mod wakeups;
mod worker_slot;
mod worker_table;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use self::deferred::Deferred;
use self::dispatcher::Dispatcher;
use self::handle::PoolTaskHandle;
use self::input::EncodedInput;
use self::outcome::RawOutcome;
use self::respawn::StartError;
use self::result_cell::HasResultCell;
use self::task::{CallTarget, ResultSink, Task};
use super::config::Options;
use super::context::Context;
use super::crash_file;
use super::policy::keys::Lost;
use super::policy::limits::Attempts;
use super::policy::size::Following;
use super::policy::task_options::TaskOptions;
use super::pool_size::PoolSize;
use crate::process::NamedTask;
use crate::sim::local::{self, Instant, Ordering};
use crate::sys::error;
use crate::task::codec;
use crate::task::entry::Plan;
use crate::task::identity::Function;
use crate::task::name::TaskName;
use crate::worker::handle::HandleInner;
use crate::worker::process::host::client::PoolObserver;
use crate::worker::process::host::groups::{self, Whole};
use crate::worker::process::ipc::protocol::PoolWorkerSetup;
use crate::{JoinError, JoinHandle, Kind, Message, PoolStats};

pub(crate) use self::context::EncodedContext;
pub(crate) use self::pool::ProcessPool;
pub(crate) use map::Map;
#[cfg(any(brigade_counts, all(test, not(any(loom, shuttle)))))]
pub(crate) use map::Now;

/// What is to be called of a task that uses its worker's state.
pub(in crate::pool) struct StatePlan {
    pub(in crate::pool) plan: io::Result<Plan>,
    /// Where the function is.
    pub(in crate::pool) address: usize,
    pub(in crate::pool) state: Arc<EncodedContext>,
}

thread_local! {
    /// Where inputs are encoded, before it is known how large they are.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl ProcessPool {
    /// Starts the workers, and waits until each is ready.
    pub(in crate::pool) fn start(mut options: Options) -> io::Result<Arc<ProcessPool>> {
        if let Some(dir) = &mut options.keep_crashes {
            *dir = crash_file::create_dir(dir)?;
        }
        // A time so long that the clock cannot say when it ends is for ever.
        options.timeout = options
            .timeout
            .filter(|&time| Instant::now().checked_add(time.saturating_mul(2)).is_some());
        let mut setup = options.process.setup()?.unwrap_or_default();
        if let Some(name) = &options.name {
            Kind::Process.check_name(name)?;
            setup.name = Some(name.to_string());
            setup.given.name_workers(name);
        }
        if options.initializer.is_some() {
            options.process.check_own("the pool's initializer")?;
        }
        if let (Some(_), Some(program)) = (&options.keep_crashes, options.process.named_program()?)
        {
            let why = format!(
                "crash files cannot be kept of workers of {}: they are replayed by the program that wrote them",
                program.path().display()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let server = pool::server(&options, &setup)?;
        let initializer = match options.initializer {
            Some(initializer) => Some(Function::at(initializer as usize)?.0),
            None => None,
        };
        setup.pool = Some(PoolWorkerSetup {
            initializer,
            state: options.state.as_ref().map(|state| state.encoded.clone()),
            tasks: options.most_tasks(),
            bytes: options.recycle_above,
            tells_times: options.timeline.is_some(),
        });
        let whole = Whole {
            memory: options.memory_limit,
            processes: options.processes_limit,
        };
        groups::limit_pool(&mut setup.limits, whole)?;
        let options = Arc::new(options);
        let pool = ProcessPool::new(Arc::clone(&options), setup.clone(), |pool| {
            let pool: std::sync::Weak<dyn PoolObserver> = pool;
            let client_id = server.register(pool);
            Dispatcher::new(options, setup, server, client_id)
        });
        match pool.wait_ready() {
            Ok(()) => Ok(pool),
            Err(reason) => {
                pool.kill_workers();
                Err(pool.not_started(&reason))
            }
        }
    }

    /// Why there is no pool.
    fn not_started(&self, reason: &StartError) -> io::Error {
        if let Some(name) = reason.initializer(&self.options) {
            return self.options.start_failed(reason.to_error(name));
        }
        match reason {
            StartError::SpawnFailed(why) => why.clone().into(),
            StartError::SetupFailed(why, _) if why.panic.is_none() => {
                error::placed("a process could not be prepared", why.why.clone().into())
            }
            reason => {
                let name = TaskName::new(0, self.options.name.clone());
                io::Error::other(reason.to_error(name))
            }
        }
    }

    /// Why no worker can find a task's function.
    #[track_caller]
    fn nowhere(&self, function: usize, why: &dyn fmt::Display) -> String {
        let name = TaskName::new(function, self.options.name.clone());
        format!("task `{name}`: {why}")
    }

    /// What is to be called of a task without a context.
    #[track_caller]
    #[inline]
    fn target<A: Message, R: Message>(&self, task: fn(A) -> R) -> Result<CallTarget, String> {
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
    fn named_target<A, R>(&self, task: &NamedTask<A, R>) -> Result<CallTarget, String> {
        let target = CallTarget::of(Plan::from_words(task.plan));
        let program = self.options.process.named_program();
        program
            .and_then(|program| task.check_program(program.map(|program| &program.0)))
            .map(|()| target)
            .map_err(|e| e.to_string())
    }

    /// What is to be called of a task that borrows a context, and that.
    #[track_caller]
    fn target_with<C: Message + Sync, A: Message, R: Message>(
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
                let task = Task {
                    target,
                    context,
                    input,
                    sink: ResultSink::Handle(Arc::clone(&pooled) as Arc<dyn HasResultCell>),
                    attempts: Attempts::default(),
                    free_requeues: 0,
                    isolated: false,
                    has_options,
                    has_deadline,
                    with: 0,
                    pin: None,
                    submitted: pooled.cell().submitted(),
                    at: 0,
                    prefix: 0,
                    number: 0,
                };
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
        if !self.is_ours() {
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
        if !self.is_ours() {
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
        if !self.is_ours() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        let context = Some(Arc::clone(&plan.state));
        self.submit_made(self.target_of(plan), context, input)
    }

    /// As [`submit`](Self::submit), of a task of a key. The error: the input, since the worker of
    /// that key is gone.
    #[track_caller]
    pub(in crate::pool) fn submit_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        if !self.is_ours() {
            return Ok(JoinHandle(HandleInner::Closed(Kind::Process)));
        }
        self.submit_keyed_made(key, self.target(task), None, input)
    }

    /// The same, of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn submit_keyed_planned<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        plan: &StatePlan,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        if !self.is_ours() {
            return Ok(JoinHandle(HandleInner::Closed(Kind::Process)));
        }
        let context = Some(Arc::clone(&plan.state));
        self.submit_keyed_made(key, self.target_of(plan), context, input)
    }

    fn submit_keyed_made<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        let (pooled, mut task) = self.encode_task(target, context, &input, None);
        if task.is_some() {
            match self.enqueue_keyed(key, &mut task) {
                Ok(true) => {}
                Ok(false) => return Ok(JoinHandle(HandleInner::Closed(Kind::Process))),
                Err(Lost) => return Err(input),
            }
        }
        Ok(JoinHandle(HandleInner::Pooled(pooled)))
    }

    #[track_caller]
    fn target_of(&self, plan: &StatePlan) -> Result<CallTarget, String> {
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
        if !self.is_ours() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        let (target, context) = match self.target_with(context, task) {
            Ok((target, context)) => (Ok(target), Some(context)),
            Err(why) => (Err(why), None),
        };
        self.submit_made(target, context, input)
    }

    /// As [`submit`](Self::submit), of a task that has something otherwise than the pool.
    #[track_caller]
    pub(in crate::pool) fn submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        if !self.is_ours() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        self.submit_made_as(self.target(task), None, input, options)
    }

    /// The same, of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn submit_planned_as<A: Message, R: Message>(
        self: &Arc<Self>,
        plan: &StatePlan,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        if !self.is_ours() {
            return JoinHandle(HandleInner::Closed(Kind::Process));
        }
        let context = Some(Arc::clone(&plan.state));
        self.submit_made_as(self.target_of(plan), context, input, options)
    }

    fn submit_made_as<A: Message, R: Message>(
        self: &Arc<Self>,
        target: Result<CallTarget, String>,
        context: Option<Arc<EncodedContext>>,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
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

    /// As [`try_submit`](Self::try_submit), of a task that has something otherwise than the pool.
    #[track_caller]
    pub(in crate::pool) fn try_submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_made(self.target(task), None, input, own_options(options))
    }

    /// The same, of a task that uses its worker's state.
    #[track_caller]
    pub(in crate::pool) fn try_submit_planned_as<A: Message, R: Message>(
        self: &Arc<Self>,
        plan: &StatePlan,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let context = Some(Arc::clone(&plan.state));
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

    pub(in crate::pool) fn workers(&self) -> usize {
        self.size.load(Ordering::Relaxed) as usize
    }

    /// There should be so many workers from now on.
    pub(in crate::pool) fn resize(&self, size: &PoolSize) -> io::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        self.options.check_resize(size.most)?;
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        let workers = size.nearest(self.workers());
        self.size.store(workers as u32, Ordering::Relaxed);
        inner.dispatcher.following = Following::new(size.range(), self.options.shrink_after);
        inner.dispatcher.poll(&mut deferred, false);
        (inner.dispatcher).resize(workers, &mut deferred.at(Instant::now()));
        inner.dispatcher.poll(&mut deferred, false);
        self.release_driver(&mut inner, &mut deferred);
        inner.dispatcher.update_timer();
        self.unlock_and_run(inner, deferred);
        Ok(())
    }

    pub(in crate::pool) fn pids(&self) -> Vec<u32> {
        if !self.is_ours() {
            return Vec::new();
        }
        self.poll();
        let inner = self.lock();
        let connections = inner
            .dispatcher
            .workers
            .iter()
            .filter_map(|s| s.connection.as_ref());
        connections.map(|c| c.pid()).collect()
    }

    pub(in crate::pool) fn stats(&self) -> PoolStats {
        if !self.is_ours() {
            return PoolStats {
                workers: self.workers(),
                ..PoolStats::default()
            };
        }
        self.poll();
        self.lock().dispatcher.snapshot(Instant::now())
    }

    /// How many tasks have panicked, and workers been replaced because of tasks, as far as is
    /// known.
    pub(in crate::pool) fn losses(&self) -> u64 {
        if !self.is_ours() {
            return 0;
        }
        let stats = &self.lock().dispatcher.stats;
        stats.restarts + stats.panicked
    }
}

/// What a task has otherwise than its pool, as its cell keeps it.
fn own_options(options: TaskOptions) -> Option<Box<TaskOptions<Instant>>> {
    (!options.is_none()).then(|| Box::new(options.with_deadline(local::deadline)))
}

//! A batch of a map's inputs, at the worker that runs it.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::locks::lock;
use super::map_job::{Batch, MapInput, MapJob, MapResult};
use super::pool::{ThreadPool, ThreadRun};
use super::retry::{Retry, TaskInput};
use super::thread_table::ABORTED;
use super::work::{AbandonReason, Rejection, RunOutcome, Work};
use super::worker::WorkerThread;
use crate::pool::events;
use crate::pool::policy::outcome::{RAN_OVER, TaskOutcome};
use crate::task::contain::contained;
use crate::task::symbols::Symbols;
use crate::{JoinError, Message};

pub(super) struct RunningBatch<A, R> {
    job: Arc<MapJob<A, R>>,
    /// The worker that runs it.
    worker: u64,
    /// When its first input was read.
    read_at: u64,
    inner: Mutex<BatchState<A, R>>,
}

struct BatchState<A, R> {
    /// Inputs that have not begun. Other workers may steal them.
    todo: VecDeque<MapInput<A>>,
    running: Option<RunningInput>,
    /// Results that were not handed to the iterator.
    done: Vec<MapResult<R>>,
    /// The worker was abandoned.
    is_abandoned: bool,
}

struct RunningInput {
    index: usize,
    number: u64,
    /// By the pool's clock, if tasks have a timeout or the pool has a timeline; else 0.
    began: u64,
    retry: Option<Box<Retry>>,
}

impl<A, R> RunningBatch<A, R> {
    pub(super) fn new(job: Arc<MapJob<A, R>>, worker: u64, batch: Batch<A>) -> RunningBatch<A, R> {
        let tasks = batch.inputs.len();
        RunningBatch {
            job,
            worker,
            read_at: batch.read_at,
            inner: Mutex::new(BatchState {
                todo: batch.inputs,
                running: None,
                done: Vec::with_capacity(tasks),
                is_abandoned: false,
            }),
        }
    }

    /// How many inputs have not begun.
    pub(super) fn remaining(&self) -> usize {
        lock(&self.inner).todo.len()
    }

    /// Takes the inputs that have not begun.
    pub(super) fn take_remaining(&self) -> VecDeque<MapInput<A>> {
        std::mem::take(&mut lock(&self.inner).todo)
    }

    /// Takes the later half of the inputs that have not begun; of one, that one.
    pub(super) fn steal_half(&self) -> Batch<A> {
        let mut inner = lock(&self.inner);
        let keep = inner.todo.len() / 2;
        Batch {
            inputs: inner.todo.split_off(keep),
            read_at: self.read_at,
        }
    }

    /// Takes the results that are there.
    pub(super) fn take_results(&self) -> Vec<MapResult<R>> {
        let mut inner = lock(&self.inner);
        // A batch whose results are taken while it runs reserves no memory for more: it would lose
        // that each time.
        std::mem::take(&mut inner.done)
    }

    fn elapsed_ns(&self, now: u64) -> u64 {
        now.saturating_sub(self.read_at)
    }

    /// Records how long these tasks took, which is taken to be the same for each.
    pub(super) fn record(&self, now: u64, tasks: usize, record: impl FnOnce(u64, u64)) {
        if tasks > 0 {
            record(self.elapsed_ns(now), tasks as u64);
        }
    }
}

impl<A: Message, R: Message> RunningBatch<A, R> {
    /// Runs the batch until nothing is left of it.
    pub(super) fn run_all(self: &Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome {
        let (job, pool) = (&self.job, &worker.pool);
        let began = worker.start_time();
        let mut tasks = 0;
        let mut last = None;
        loop {
            // Asked before anything is locked: the answer is the subscriber's own code.
            let has_subscriber = events::task_events_enabled();
            let mut ended_now = None;
            if let Some(result) = last.take_if(|_| pool.is_fork_of_owner()) {
                // As in `PoolTask::finish`.
                contained(|| drop(result));
                return RunOutcome::Abandoned;
            }
            let input = {
                let mut inner = lock(&self.inner);
                if let Some((index, number, result)) = last.take() {
                    if inner.is_abandoned {
                        drop(inner);
                        contained(|| drop(result));
                        return RunOutcome::Abandoned;
                    }
                    tasks += 1;
                    worker.count_result(&result);
                    if has_subscriber {
                        ended_now = Some((number, TaskOutcome::of(&result)));
                    }
                    if let Some(running) = inner.running.take() {
                        self.draw_run(pool, &running, TaskOutcome::of(&result));
                    }
                    inner.done.push((index, result));
                }
                let stops = pool.wake_hint() & ABORTED != 0 || worker.at_task_limit();
                let mut input = if stops { None } else { inner.todo.pop_front() };
                if let Some(input) = &mut input {
                    inner.running = Some(RunningInput {
                        index: input.index,
                        number: input.number,
                        began: worker.task_started(pool.options.timeout),
                        retry: input.retry.take(),
                    });
                }
                input
            };
            if let Some((number, outcome)) = ended_now {
                (pool.events()).ended(number, outcome.label(), self.elapsed(pool));
            }
            if job.consumer_waits.load(Ordering::Relaxed) {
                self.flush_results(worker);
            }
            let Some(input) = input else {
                break;
            };
            pool.capacity.release(1);
            if has_subscriber {
                (pool.events()).started(worker.id, input.number, self.elapsed(pool));
            }
            let number = input.number;
            last = Some((input.index, number, self.run_one(worker, input)));
        }
        self.finish(worker, began, tasks);
        RunOutcome::Done
    }

    fn run_one(&self, worker: &WorkerThread, input: MapInput<A>) -> Result<R, JoinError> {
        let (job, pool) = (&self.job, &worker.pool);
        let task = &job.task;
        let timed_out = || AbandonReason::TimedOut.error(pool, task.address(), job.call_site);
        let run = || input.value.run(|input| task.call(input), timed_out);
        let result = match &job.submission {
            None => run(),
            Some(submission) => {
                let function = (task.address(), job.call_site);
                let name = || worker.name(function.0, function.1);
                pool.within_span(submission, worker.id, input.number, function, name, run)
            }
        };
        worker.task_stopped();
        result.unwrap_or_else(|unwound| {
            let name = worker.name(task.address(), job.call_site);
            Err(JoinError::panicked(
                name,
                unwound,
                Symbols::of_this_process(),
            ))
        })
    }

    #[inline]
    fn draw_run(&self, pool: &ThreadPool, running: &RunningInput, outcome: TaskOutcome) {
        if pool.options.timeline.is_some() {
            let run = ThreadRun {
                number: running.number,
                began: running.began,
                since_submitted: self.elapsed_ns(pool.now()),
                outcome: outcome.label(),
                function: (self.job.task.address(), self.job.call_site),
            };
            pool.draw_run(self.worker, run);
        }
    }

    fn elapsed(&self, pool: &ThreadPool) -> std::time::Duration {
        std::time::Duration::from_nanos(self.elapsed_ns(pool.now()))
    }

    /// The iterator waits for results, and not until the whole batch is done.
    #[cold]
    fn flush_results(&self, worker: &WorkerThread) {
        let done = self.take_results();
        if !done.is_empty() {
            self.job.consumer_waits.store(false, Ordering::Relaxed);
            let now = worker.pool.now();
            self.record(now, done.len(), |nanos, tasks| {
                worker.counters.record_latency(nanos, tasks)
            });
            self.job.push_results(done);
        }
    }

    /// The batch is done, or its worker stops.
    fn finish(self: &Arc<Self>, worker: &WorkerThread, began: u64, tasks: u64) {
        let job = &self.job;
        let now = worker.pool.now();
        worker.add_busy(now);
        let nanos = now.saturating_sub(began);
        let mut state = lock(&job.state);
        state.running.retain(|batch| !Arc::ptr_eq(batch, self));
        if let Some(each) = nanos.checked_div(tasks) {
            worker.pool.task_time.record(each);
            job.adapt_batch_size(&mut state, each);
        }
        drop(state);
        // No other thread sees the batch any more.
        let (done, rest) = {
            let mut inner = lock(&self.inner);
            (
                std::mem::take(&mut inner.done),
                std::mem::take(&mut inner.todo),
            )
        };
        self.record(now, done.len(), |nanos, tasks| {
            worker.counters.record_latency(nanos, tasks)
        });
        job.push_results(done);
        if rest.is_empty() {
            return;
        }
        if worker.pool.wake_hint() & ABORTED != 0 {
            job.reject_inputs(rest, &Rejection::Cancelled);
        } else {
            job.return_inputs(Batch {
                inputs: rest,
                read_at: self.read_at,
            });
        }
    }
}

impl<A: Message, R: Message> Work for RunningBatch<A, R> {
    fn run(self: Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome {
        self.run_all(worker)
    }

    fn abandon(self: Arc<Self>, worker: &WorkerThread, before: u64, why: AbandonReason) -> bool {
        let (job, pool) = (&self.job, &worker.pool);
        let mut inner = lock(&self.inner);
        let is_it =
            |running: &mut RunningInput| running.began <= before && self.worker == worker.id;
        let Some(mut running) = inner.running.take_if(is_it) else {
            return false;
        };
        inner.is_abandoned = true;
        let mut done = std::mem::take(&mut inner.done);
        let mut rest = std::mem::take(&mut inner.todo);
        let now = pool.now();
        let nanos = self.elapsed_ns(now);
        self.record(now, done.len(), |nanos, tasks| {
            pool.counters.record_latency(nanos, tasks)
        });
        let retries = pool.options.retries;
        let again = |retry: &mut Box<Retry>| why == AbandonReason::TimedOut && retry.again(retries);
        let retry = running.retry.take_if(again);
        let outcome = match retry {
            Some(retry) => {
                pool.count_abandoned(worker.id, None);
                pool.capacity.force_acquire();
                rest.push_front(MapInput {
                    index: running.index,
                    number: running.number,
                    value: TaskInput::Bytes(retry.bytes(), retry.attempt()),
                    retry: Some(retry),
                });
                None
            }
            None => {
                let error = why.error(pool, job.task.address(), job.call_site);
                pool.counters.record_latency(nanos, 1);
                pool.count_abandoned(worker.id, Some(&error));
                let outcome = TaskOutcome::of_error(&error);
                done.push((running.index, Err(error)));
                Some(outcome)
            }
        };
        drop(inner);
        let mut state = lock(&job.state);
        state.running.retain(|batch| !Arc::ptr_eq(batch, &self));
        drop(state);
        self.draw_run(pool, &running, outcome.unwrap_or(TaskOutcome::TimedOut));
        match outcome {
            None => {
                pool.draw_mark(worker.id, "retried", RAN_OVER);
                (pool.events()).retried(worker.id, running.number, RAN_OVER);
            }
            Some(outcome) => {
                (pool.events()).ended(running.number, outcome.label(), self.elapsed(pool));
            }
        }
        job.push_results(done);
        job.return_inputs(Batch {
            inputs: rest,
            read_at: self.read_at,
        });
        // The map item goes to another worker.
        pool.push(Arc::clone(job) as Arc<dyn Work>);
        true
    }

    fn reject(self: Arc<Self>, _pool: &Arc<ThreadPool>, rejection: &Rejection) {
        let rest = self.take_remaining();
        self.job.reject_inputs(rest, rejection);
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn function(&self) -> (usize, &'static Location<'static>) {
        self.job.function()
    }
}

//! One map: inputs that have not begun, batches that workers run, and results that were not taken.
//!
//! The pool's queue does not hold the inputs of a map, but *map items*, at most one for each
//! worker. A worker that takes a map item runs one batch of inputs after another as a
//! [`RunningBatch`]; between two batches it serves others in the queue. When there are no inputs
//! left it steals half of what another worker has not begun, so that nothing waits behind a long
//! task while a worker is idle. When there is nothing to steal the map item is void.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::callable::Callable;
use super::capacity::CapacityWaiter;
use super::locks::lock;
use super::map_batch::RunningBatch;
use super::pool::ThreadPool;
use super::retry::{Retry, TaskInput};
use super::thread_table::{ABORTED, SURPLUS};
use super::work::{AbandonReason, Rejection, RunOutcome, Work};
use super::worker::WorkerThread;
use crate::pool::policy::estimate::TaskTime;
use crate::pool::policy::outcome::TaskOutcome;
use crate::task::contain::contained;
use crate::trace::Submission;
use crate::{JoinError, Message};

/// How much work a batch should be.
const BATCH_TIME: Duration = Duration::from_micros(200);
/// How many tasks a batch may have.
const BATCH_LIMITS: RangeInclusive<usize> = 1..=512;

/// An iterator that sleeps is woken for the results of this much work of each worker, if the tasks
/// are short: to wake it takes a processor from a worker, where there are no more of them than
/// workers.
pub(super) const WAKE_TIME: Duration = Duration::from_millis(1);
/// How many results these may be.
const WAKE_LIMITS: RangeInclusive<usize> = 1..=512;

/// An input that has not begun.
pub(super) struct MapInput<A> {
    pub(super) index: usize,
    /// The number of its task.
    pub(super) number: u64,
    pub(super) value: TaskInput<A>,
    pub(super) retry: Option<Box<Retry>>,
}

pub(super) struct Batch<A> {
    pub(super) inputs: VecDeque<MapInput<A>>,
    /// When the first was read, by the pool's clock.
    pub(super) read_at: u64,
}

impl<A> Default for Batch<A> {
    fn default() -> Batch<A> {
        Batch {
            inputs: VecDeque::new(),
            read_at: 0,
        }
    }
}

/// A result and the number of its input.
pub(super) type MapResult<R> = (usize, Result<R, JoinError>);

pub(super) struct MapJob<A, R> {
    pub(super) pool: Arc<ThreadPool>,
    pub(super) task: Callable<A, R>,
    pub(super) call_site: &'static Location<'static>,
    pub(super) state: Mutex<MapJobState<A, R>>,
    /// Where it was begun, if that is to be known.
    pub(super) submission: Option<Submission>,
    /// For the iterator, which waits for results.
    pub(super) arrived: Condvar,
    /// There are results. For an iterator that only looks.
    pub(super) has_results: AtomicBool,
    /// The iterator has waited so long that it takes results one by one.
    pub(super) consumer_waits: AtomicBool,
    /// How many tasks a batch should have.
    pub(super) batch_size: AtomicUsize,
}

pub(super) struct MapJobState<A, R> {
    batches: VecDeque<Batch<A>>,
    /// The batch that inputs are added to.
    filling: Batch<A>,
    /// The batches that workers run.
    pub(super) running: Vec<Arc<RunningBatch<A, R>>>,
    done: VecDeque<Vec<MapResult<R>>>,
    /// How many results these are.
    done_count: usize,
    /// How many the iterator sleeps for; fewer, if no more are to come.
    wanted: usize,
    /// Map items in the queue or at a worker.
    map_items: usize,
    /// How long a task takes; `None`: not known yet.
    task_time: Option<TaskTime>,
    /// The iterator sleeps on `arrived`.
    pub(super) waiting: bool,
    /// There may be room in the queue.
    pub(super) capacity_signalled: bool,
    /// The iterator is gone: nothing takes results.
    is_dropped: bool,
}

impl<A, R> MapJob<A, R> {
    pub(super) fn new(
        pool: &Arc<ThreadPool>,
        task: Callable<A, R>,
        call_site: &'static Location<'static>,
    ) -> MapJob<A, R> {
        MapJob {
            pool: Arc::clone(pool),
            task,
            call_site,
            submission: pool.submission(),
            state: Mutex::new(MapJobState {
                batches: VecDeque::new(),
                filling: Batch::default(),
                running: Vec::new(),
                done: VecDeque::new(),
                done_count: 0,
                wanted: 1,
                map_items: 0,
                task_time: None,
                waiting: false,
                capacity_signalled: false,
                is_dropped: false,
            }),
            arrived: Condvar::new(),
            has_results: AtomicBool::new(false),
            consumer_waits: AtomicBool::new(false),
            batch_size: AtomicUsize::new(1),
        }
    }

    /// Hands results to the iterator.
    pub(super) fn push_results(&self, done: Vec<MapResult<R>>) {
        if done.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        if state.is_dropped {
            drop(state);
            done.into_iter()
                .for_each(|result| contained(|| drop(result)));
            return;
        }
        state.done_count += done.len();
        state.done.push_back(done);
        self.has_results.store(true, Ordering::Release);
        let wakes = state.waiting && state.has_wanted();
        drop(state);
        if wakes {
            self.arrived.notify_one();
        }
    }

    /// The iterator is gone: cancels what has not begun.
    pub(super) fn cancel_rest(&self) {
        let mut state = lock(&self.state);
        state.is_dropped = true;
        let done = std::mem::take(&mut state.done);
        let mut inputs = state.take_inputs();
        for batch in &state.running {
            inputs.extend(batch.take_remaining());
        }
        drop(state);
        self.reject_each(inputs, |_| JoinError::Cancelled, |_, _| {});
        for result in done.into_iter().flatten() {
            contained(|| drop(result));
        }
    }

    /// Ends these inputs without running them.
    pub(super) fn reject_each(
        &self,
        inputs: impl IntoIterator<Item = MapInput<A>>,
        error: impl Fn(&MapInput<A>) -> JoinError,
        mut tell: impl FnMut(usize, JoinError),
    ) {
        let pool = &self.pool;
        for input in inputs {
            let error = error(&input);
            pool.counters.count_ended(&error, 0, 1);
            let outcome = TaskOutcome::of_error(&error).label();
            (pool.events()).ended(input.number, outcome, Duration::ZERO);
            pool.capacity.release(1);
            tell(input.index, error);
            contained(|| drop(input));
        }
    }

    /// As [`reject_each`](Self::reject_each), and hands the errors to the iterator.
    pub(super) fn reject_inputs(&self, inputs: VecDeque<MapInput<A>>, rejection: &Rejection) {
        let mut done = Vec::with_capacity(inputs.len());
        self.reject_each(
            inputs,
            |_| rejection.error(),
            |index, error| done.push((index, Err(error))),
        );
        self.push_results(done);
    }

    /// The tasks of a batch took `each` nanoseconds on average: adapts the size of the next
    /// batches.
    pub(super) fn adapt_batch_size(&self, state: &mut MapJobState<A, R>, each: u64) {
        let each = each as f64;
        let task_time = match state.task_time {
            None => TaskTime::from_nanos(each),
            Some(before) => before.observe(each, 1.0 / 4.0),
        };
        state.task_time = Some(task_time);
        let before = self.batch_size.load(Ordering::Relaxed);
        let batch_size = task_time.tasks_in(BATCH_TIME, BATCH_LIMITS).min(before * 2);
        self.batch_size.store(batch_size, Ordering::Relaxed);
    }
}

impl<A: Message, R: Message> MapJob<A, R> {
    /// Adds an input, and a map item if there are too few.
    pub(super) fn push_input(self: &Arc<Self>, input: MapInput<A>) {
        let workers = self.pool.most_workers();
        let mut state = lock(&self.state);
        if state.filling.inputs.is_empty() {
            state.filling.read_at = self.pool.now();
        }
        state.filling.inputs.push_back(input);
        let batch_size = self.batch_size.load(Ordering::Relaxed);
        if state.filling.inputs.len() >= batch_size {
            let full = std::mem::take(&mut state.filling);
            state.batches.push_back(full);
        }
        // Map items that no worker has taken.
        let ahead = state.map_items.saturating_sub(state.running.len());
        let is_enough =
            state.map_items >= workers || ahead >= state.batches.len() + state.filling.inputs.len();
        if !is_enough {
            state.map_items += 1;
        }
        let inputs = state.batches.len() * batch_size + state.filling.inputs.len();
        drop(state);
        if !is_enough {
            self.pool.push(Arc::clone(self) as Arc<dyn Work>);
        }
        self.pool.on_map_backlog(inputs);
    }

    /// Takes back what a worker has not run.
    pub(super) fn return_inputs(self: &Arc<Self>, batch: Batch<A>) {
        let mut state = lock(&self.state);
        if state.is_dropped {
            drop(state);
            self.reject_each(batch.inputs, |_| JoinError::Cancelled, |_, _| {});
            return;
        }
        if !batch.inputs.is_empty() {
            state.batches.push_front(batch);
        }
    }

    /// A batch for a worker with a map item. `None`: there is none, and the map item is void.
    fn take_batch(self: &Arc<Self>, worker: &WorkerThread) -> Option<Arc<RunningBatch<A, R>>> {
        let mut state = lock(&self.state);
        let batch = state.batches.pop_front();
        let batch = batch.unwrap_or_else(|| std::mem::take(&mut state.filling));
        let batch = if batch.inputs.is_empty() {
            let victim = state.running.iter().max_by_key(|batch| batch.remaining());
            victim.map(|victim| victim.steal_half()).unwrap_or_default()
        } else {
            batch
        };
        if batch.inputs.is_empty() {
            state.map_items = state.map_items.saturating_sub(1);
            return None;
        }
        let batch = Arc::new(RunningBatch::new(Arc::clone(self), worker.id, batch));
        state.running.push(Arc::clone(&batch));
        Some(batch)
    }
}

impl<A, R> MapJobState<A, R> {
    /// The results that one worker has handed over.
    pub(super) fn pop_results(&mut self) -> Option<Vec<MapResult<R>>> {
        let done = self.done.pop_front()?;
        self.done_count -= done.len();
        Some(done)
    }

    pub(super) fn has_results(&self) -> bool {
        !self.done.is_empty()
    }

    /// Whether there are as many results as the iterator sleeps for, or all that will come.
    pub(super) fn has_wanted(&self) -> bool {
        let is_last =
            || self.running.is_empty() && self.batches.is_empty() && self.filling.inputs.is_empty();
        self.done_count >= self.wanted || self.has_results() && is_last()
    }

    /// The iterator goes to sleep until there are [`wanted`] results. Gives how many these are.
    /// `ahead`: how many inputs it has read whose results it has not taken.
    pub(super) fn want(&mut self, ahead: usize, workers: usize) -> usize {
        self.wanted = wanted(self.task_time, ahead, workers);
        self.wanted
    }

    /// The iterator sleeps for a single result.
    pub(super) fn want_any(&mut self) {
        self.wanted = 1;
    }

    fn take_inputs(&mut self) -> VecDeque<MapInput<A>> {
        let mut inputs = VecDeque::new();
        for batch in self.batches.drain(..) {
            inputs.extend(batch.inputs);
        }
        inputs.extend(std::mem::take(&mut self.filling).inputs);
        inputs
    }
}

/// How many results the iterator is woken for: what all workers finish in [`WAKE_TIME`]; one, where
/// a task takes as long as that, or it is not known how long. No more than half of what is ahead:
/// the workers run the other half while the iterator takes these and reads more.
fn wanted(task_time: Option<TaskTime>, ahead: usize, workers: usize) -> usize {
    let of_one_worker = task_time.map_or(1, |time| time.tasks_in(WAKE_TIME, WAKE_LIMITS));
    if of_one_worker == 1 {
        return 1;
    }
    let tasks = of_one_worker * workers;
    tasks.min(ahead / 2).clamp(1, *WAKE_LIMITS.end())
}

impl<A: Message, R: Message> Work for MapJob<A, R> {
    fn run(self: Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome {
        while let Some(batch) = self.take_batch(worker) {
            worker.set_current_work(Arc::clone(&batch) as Arc<dyn Work>);
            if batch.run_all(worker) == RunOutcome::Abandoned {
                return RunOutcome::Abandoned;
            }
            let others = !self.pool.queue_is_empty();
            if others || self.pool.wake_hint() & (SURPLUS | ABORTED) != 0 || worker.at_task_limit()
            {
                self.pool.push(self.clone());
                break;
            }
        }
        RunOutcome::Done
    }

    fn abandon(self: Arc<Self>, _worker: &WorkerThread, _before: u64, _why: AbandonReason) -> bool {
        // Between two batches no task runs.
        false
    }

    fn reject(self: Arc<Self>, _pool: &Arc<ThreadPool>, rejection: &Rejection) {
        let mut state = lock(&self.state);
        state.map_items = state.map_items.saturating_sub(1);
        let inputs = state.take_inputs();
        drop(state);
        self.reject_inputs(inputs, rejection);
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn function(&self) -> (usize, &'static Location<'static>) {
        (self.task.address(), self.call_site)
    }
}

impl<A: Message, R: Message> CapacityWaiter for MapJob<A, R> {
    fn capacity_freed(&self) {
        lock(&self.state).capacity_signalled = true;
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iterator_is_woken_for_a_millisecond_of_short_tasks_and_for_each_long_one() {
        let micros = |n: f64| Some(TaskTime::from_nanos(n * 1e3));
        assert_eq!(wanted(None, 1000, 2), 1, "not known yet");
        assert_eq!(wanted(micros(10.0), 1000, 2), 200);
        assert_eq!(wanted(micros(10.0), 320, 2), 160, "half of what is ahead");
        assert_eq!(wanted(micros(0.01), 100_000, 8), 512);
        assert_eq!(wanted(micros(1000.0), 1000, 2), 1);
        assert_eq!(wanted(micros(1e6), 1000, 16), 1);
        assert_eq!(wanted(micros(10.0), 1, 2), 1, "the last one");
    }
}

//! The iterator of a map: reads inputs and takes results.

use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, Weak};
use std::time::{Duration, Instant};

use super::callable::Callable;
use super::capacity::CapacityWaiter;
use super::current;
use super::locks::{lock, wait_until};
use super::map_job::{MapInput, MapJob, MapJobState, MapResult, WAKE_TIME};
use super::pool::ThreadPool;
use super::retry::{Retry, TaskInput};
use crate::pool::context::Context;
use crate::pool::input_item::InputItem;
use crate::pool::policy::queue_and_retries::MAP_WINDOW;
use crate::{JoinError, Message};

/// How many inputs may be read whose results were not taken, in batches for each worker.
const BATCHES_AHEAD: usize = 8;
/// How many inputs are read while a result is ready.
const READ_WHILE_READY: usize = 2;
/// When there was no result for this time, the iterator takes those that lie in running batches.
const POLL_DELAY: Duration = Duration::from_micros(200);
/// As the delay above, where the iterator sleeps for the results of as much work as [`WAKE_TIME`].
const LONG_DELAY: Duration = WAKE_TIME.saturating_mul(2);

/// The iterator of a map over a pool of threads.
pub(in crate::pool) struct Map<A, R, I> {
    job: Arc<MapJob<A, R>>,
    /// `None`: the inputs have ended.
    inputs: Option<I>,
    pulled: usize,
    fetched: usize,
    /// Results that were taken and not returned yet.
    ready: std::vec::IntoIter<MapResult<R>>,
    /// The next input was not read, because the queue is at its limit.
    is_full: bool,
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> Map<A, R, I> {
    #[track_caller]
    pub(in crate::pool) fn new(pool: &Arc<ThreadPool>, task: fn(A) -> R, inputs: I) -> Self {
        Map::of(pool, Callable::Plain(task), inputs)
    }

    /// Of tasks that borrow a context.
    #[track_caller]
    pub(in crate::pool) fn with_context<C: Message + Sync>(
        pool: &Arc<ThreadPool>,
        context: Context<C>,
        task: fn(&C, A) -> R,
        inputs: I,
    ) -> Self {
        Map::of(pool, Callable::with_context(context, task), inputs)
    }

    #[track_caller]
    pub(in crate::pool) fn of(pool: &Arc<ThreadPool>, task: Callable<A, R>, inputs: I) -> Self {
        Map {
            job: Arc::new(MapJob::new(pool, task, Location::caller())),
            inputs: Some(inputs),
            pulled: 0,
            fetched: 0,
            ready: Vec::new().into_iter(),
            is_full: false,
        }
    }

    /// Returns the next result that comes. Reads no input whose number, counted from 0, is
    /// `horizon` or more. `None`: there are no more results.
    pub(in crate::pool) fn next_within(
        &mut self,
        horizon: usize,
    ) -> Option<(usize, Result<R, JoinError>)> {
        loop {
            self.pull(horizon);
            if let Some(done) = self.ready.next() {
                self.fetched += 1;
                return Some(done);
            }
            if self.fetch() {
                continue;
            }
            if self.pulled < horizon && self.job.pool.is_closed() {
                if let Some(number) = self.pass_over() {
                    self.fetched += 1;
                    return Some((number, Err(JoinError::Closed)));
                }
            }
            if self.inputs.is_none() && self.fetched == self.pulled {
                return None;
            }
            self.wait();
        }
    }

    /// Whether this process is a fork of the one that made the pool.
    pub(in crate::pool) fn is_fork_of_owner(&self) -> bool {
        self.job.pool.is_fork_of_owner()
    }

    /// The next of the results that were taken.
    pub(in crate::pool) fn next_ready(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        self.ready.next()
    }

    /// Reads an input that no worker will run. Returns its number.
    pub(in crate::pool) fn pass_over(&mut self) -> Option<usize> {
        let input = self.inputs.as_mut()?.next();
        if input.is_none() {
            self.inputs = None;
        }
        let number = input.map(|_| self.pulled);
        self.pulled += usize::from(number.is_some());
        number
    }

    /// How many inputs were read.
    pub(in crate::pool) fn pulled(&self) -> usize {
        self.pulled
    }

    /// How many inputs are left to be read.
    pub(in crate::pool) fn inputs_left(&self) -> (usize, Option<usize>) {
        self.inputs.as_ref().map_or((0, Some(0)), I::size_hint)
    }

    /// Reads inputs for which there is room; while a result is ready, only a few.
    fn pull(&mut self, horizon: usize) {
        let before = self.pulled;
        self.read(horizon);
        // As where a task is submitted: a map item may lie in the queue of a pool that has ended.
        if self.pulled > before && self.job.pool.is_closed() {
            self.job.pool.clear_after_close();
        }
    }

    fn read(&mut self, horizon: usize) {
        let pool = &self.job.pool;
        let batch_size = self.job.batch_size.load(Ordering::Relaxed);
        let workers = pool.most_workers();
        let most = (batch_size * workers * BATCHES_AHEAD).min(MAP_WINDOW.max(workers * 2));
        let horizon = horizon.min(self.fetched + most);
        let mut read = 0;
        self.is_full = false;
        while self.pulled < horizon {
            let Some(inputs) = &mut self.inputs else {
                return;
            };
            if self.ready.len() > 0 || self.job.has_results.load(Ordering::Relaxed) {
                if read == READ_WHILE_READY {
                    return;
                }
                read += 1;
            }
            if pool.is_closed() {
                return;
            }
            if !pool.capacity.try_acquire() {
                self.is_full = true;
                return;
            }
            // The iterator may panic, and a clone: then the guard returns the room.
            let mut guard = CapacityGuard(Some(pool));
            let Some(input) = inputs.next().map(InputItem::into_value) else {
                drop(guard);
                self.inputs = None;
                return;
            };
            let retry = Retry::of(&pool.options, &input);
            guard.0 = None;
            let number = pool.counters.submitted.fetch_add(1, Ordering::AcqRel);
            pool.events().submitted(number);
            self.job.push_input(MapInput {
                index: self.pulled,
                number,
                value: TaskInput::Value(input),
                retry,
            });
            self.pulled += 1;
        }
    }

    /// Takes results that workers have finished. `false`: there are none.
    fn fetch(&mut self) -> bool {
        if !self.job.has_results.load(Ordering::Acquire) {
            return false;
        }
        let mut state = lock(&self.job.state);
        let done = state.pop_results();
        self.job
            .has_results
            .store(state.has_results(), Ordering::Relaxed);
        drop(state);
        match done {
            Some(done) => {
                self.ready = done.into_iter();
                true
            }
            None => false,
        }
    }

    /// Waits until there are results, or room for another input.
    fn wait(&mut self) {
        let job = &self.job;
        let has_results = || job.has_results.load(Ordering::Acquire);
        if current::spin_until(None, has_results) {
            return;
        }
        let _blocked = current::block();
        let waiter = || Arc::downgrade(job) as Weak<dyn CapacityWaiter>;
        if self.is_full && !job.pool.capacity.register(waiter) {
            return;
        }
        if self.sleep_for_some() || self.collect_early() {
            return;
        }
        self.job.consumer_waits.store(true, Ordering::Relaxed);
        // A worker that locked its batch before us has put its results there. One that locks it
        // after us sees that the iterator waits.
        if !self.collect_early() {
            let mut state = lock(&self.job.state);
            state.want_any();
            self.sleep(state, None);
        }
        self.job.consumer_waits.store(false, Ordering::Relaxed);
    }

    /// Sleeps until there are as many results as are worth waking for, or there may be room.
    /// `false`: neither came in time.
    fn sleep_for_some(&self) -> bool {
        let job = &self.job;
        let mut state = lock(&job.state);
        let wanted = state.want(self.pulled - self.fetched, job.pool.most_workers());
        let delay = if wanted > 1 { LONG_DELAY } else { POLL_DELAY };
        self.sleep(state, Instant::now().checked_add(delay))
    }

    /// Sleeps until there is what `state` says. `false`: it did not come in time.
    fn sleep(&self, mut state: MutexGuard<'_, MapJobState<A, R>>, until: Option<Instant>) -> bool {
        let job = &self.job;
        let mut in_time = true;
        while !state.has_wanted() && !state.capacity_signalled && in_time {
            state.waiting = true;
            (state, in_time) = wait_until(&job.arrived, state, until);
        }
        state.waiting = false;
        state.capacity_signalled = false;
        in_time
    }

    /// Takes the results that lie in running batches. `false`: there are none.
    fn collect_early(&mut self) -> bool {
        let pool = &self.job.pool;
        let mut all = Vec::new();
        let state = lock(&self.job.state);
        for batch in &state.running {
            let done = batch.take_results();
            batch.record(pool.now(), done.len(), |nanos, tasks| {
                pool.counters.record_latency(nanos, tasks);
            });
            all.extend(done);
        }
        let found = !all.is_empty() || state.has_results();
        drop(state);
        if self.ready.len() == 0 {
            self.ready = all.into_iter();
        }
        found
    }
}

/// Room in the queue, which returns when this is dropped.
struct CapacityGuard<'c>(Option<&'c Arc<ThreadPool>>);

impl Drop for CapacityGuard<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.0 {
            pool.capacity.release(1);
        }
    }
}

impl<A, R, I> Drop for Map<A, R, I> {
    fn drop(&mut self) {
        if !self.job.pool.is_fork_of_owner() {
            self.job.cancel_rest();
        }
    }
}

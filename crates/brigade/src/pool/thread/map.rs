//! The one who pulls the inputs of a map and fetches its results.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::capacity::Ring;
use super::current;
use super::locks::{lock, wait_until};
use super::map_job::{Done, Entry, Job};
use super::pool::Shared;
use super::retry::{Input, Retry};
use crate::pool::policy::limits::MAP_WINDOW;
use crate::{JoinError, Message};

/// Inputs that were pulled and whose results were not fetched, at the most, for each worker and
/// task of a bundle.
const AHEAD: usize = 8;
/// Inputs that are pulled while a result is there.
const BESIDES: usize = 2;
/// After that long without any results they are looked for where they are.
const APPETITE: Duration = Duration::from_micros(200);

/// A map over the pool.
pub(in crate::pool) struct Map<'p, A, R, I> {
    job: Arc<Job<A, R>>,
    /// `None`: there are no more.
    inputs: Option<I>,
    pulled: usize,
    fetched: usize,
    /// Results that were fetched together.
    ready: std::vec::IntoIter<Done<R>>,
    /// The next input was not pulled, because the queue is full.
    is_full: bool,
    /// The pool outlives it.
    pool: PhantomData<&'p ()>,
}

impl<'p, A: Message, R: Message, I: Iterator<Item = A>> Map<'p, A, R, I> {
    #[track_caller]
    pub(in crate::pool) fn new(crew: &'p Arc<Shared>, task: fn(A) -> R, inputs: I) -> Self {
        Map {
            job: Arc::new(Job::new(crew, task, Location::caller())),
            inputs: Some(inputs),
            pulled: 0,
            fetched: 0,
            ready: Vec::new().into_iter(),
            is_full: false,
            pool: PhantomData,
        }
    }

    /// The next result that comes; no input is pulled whose number is `horizon` or more, counted
    /// from 0. `None`: there are no more.
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
            if self.inputs.is_none() && self.fetched == self.pulled {
                return None;
            }
            self.wait();
        }
    }

    /// Whether this process is a fork of the one whose pool it is.
    pub(in crate::pool) fn is_copy(&self) -> bool {
        self.job.crew.is_copy()
    }

    /// The next of the results that were fetched.
    pub(in crate::pool) fn next_ready(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        self.ready.next()
    }

    /// Pulls an input that nobody will run. Gives its number.
    pub(in crate::pool) fn pass_over(&mut self) -> Option<usize> {
        let input = self.inputs.as_mut()?.next();
        if input.is_none() {
            self.inputs = None;
        }
        let number = input.map(|_| self.pulled);
        self.pulled += usize::from(number.is_some());
        number
    }

    /// How many inputs were pulled.
    pub(in crate::pool) fn pulled(&self) -> usize {
        self.pulled
    }

    /// Pulls inputs for which there is room; while results are there, only a few.
    fn pull(&mut self, horizon: usize) {
        let crew = &self.job.crew;
        let target = self.job.target.load(Ordering::Relaxed);
        let workers = crew.options.workers;
        let most = (target * workers * AHEAD).min(MAP_WINDOW.max(workers * 2));
        let horizon = horizon.min(self.fetched + most);
        let mut besides = 0;
        self.is_full = false;
        while self.pulled < horizon {
            let Some(inputs) = &mut self.inputs else {
                return;
            };
            if self.ready.len() > 0 || self.job.has_done.load(Ordering::Relaxed) {
                if besides == BESIDES {
                    return;
                }
                besides += 1;
            }
            if !crew.room.try_take() {
                self.is_full = true;
                return;
            }
            // The iterator may panic.
            let mut room = Room(Some(crew));
            let Some(input) = inputs.next() else {
                drop(room);
                self.inputs = None;
                return;
            };
            let retry = Retry::of(&crew.options, &input);
            room.0 = None;
            let number = crew.counters.submitted.fetch_add(1, Ordering::AcqRel);
            crew.events().submitted(number);
            self.job.push(Entry {
                index: self.pulled,
                number,
                input: Input::Value(input),
                retry,
            });
            self.pulled += 1;
        }
    }

    /// Fetches results that have come. `false`: there are none.
    fn fetch(&mut self) -> bool {
        if !self.job.has_done.load(Ordering::Acquire) {
            return false;
        }
        let mut state = lock(&self.job.state);
        let done = state.done.pop_front();
        self.job
            .has_done
            .store(!state.done.is_empty(), Ordering::Relaxed);
        drop(state);
        match done {
            Some(done) => {
                self.ready = done.into_iter();
                true
            }
            None => false,
        }
    }

    /// Waits until results have come, or there is room for another input.
    fn wait(&mut self) {
        let job = &self.job;
        let has_done = || job.has_done.load(Ordering::Acquire);
        if current::look(None, has_done) {
            return;
        }
        let _blocked = current::block();
        let bell = || Arc::downgrade(job) as Weak<dyn Ring>;
        if self.is_full && !job.crew.room.tell(bell) {
            return;
        }
        let until = Instant::now().checked_add(APPETITE);
        if self.sleep(until) || self.harvest() {
            return;
        }
        self.job.hungry.store(true, Ordering::Relaxed);
        // Who has locked a chunk before us has put his results there; who does it after us sees
        // that we are hungry.
        if !self.harvest() {
            self.sleep(None);
        }
        self.job.hungry.store(false, Ordering::Relaxed);
    }

    /// Sleeps until results have come or there may be room. `false`: neither until then.
    fn sleep(&self, until: Option<Instant>) -> bool {
        let job = &self.job;
        let mut state = lock(&job.state);
        let mut in_time = true;
        while state.done.is_empty() && !state.rung && in_time {
            state.waiting = true;
            (state, in_time) = wait_until(&job.arrived, state, until);
        }
        state.waiting = false;
        state.rung = false;
        in_time
    }

    /// Takes the results of those that are at work. `false`: they have none.
    fn harvest(&mut self) -> bool {
        let crew = &self.job.crew;
        let mut all = Vec::new();
        let state = lock(&self.job.state);
        for chunk in &state.chunks {
            let done = chunk.harvest();
            chunk.record(crew.now(), done.len(), |nanos, tasks| {
                crew.counters.took(nanos, tasks);
            });
            all.extend(done);
        }
        let found = !all.is_empty() || !state.done.is_empty();
        drop(state);
        if self.ready.len() == 0 {
            self.ready = all.into_iter();
        }
        found
    }
}

/// Room in the queue that was taken, and is given back if it is not used.
struct Room<'c>(Option<&'c Arc<Shared>>);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Some(crew) = self.0 {
            crew.room.leave(1);
        }
    }
}

impl<A, R, I> Drop for Map<'_, A, R, I> {
    fn drop(&mut self) {
        if !self.job.crew.is_copy() {
            self.job.abandon();
        }
    }
}

//! One map: inputs that nobody has begun, who works on them, and results that nobody has fetched.
//!
//! What waits in the pool's queue for a map is not its inputs but *tickets*, no more than there are
//! workers. Who draws one takes a bundle of inputs as a [`Chunk`], and when that is done the next;
//! between two of them others in the queue have their turn. If there are no inputs left it takes
//! half of what another has not begun, and so nothing waits behind a long task while anybody is
//! idle. If there is nothing at all the ticket is void.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::capacity::Ring;
use super::locks::lock;
use super::map_batch::Chunk;
use super::pool::Shared;
use super::retry::{Input, Retry};
use super::thread_table::{ABORTED, SURPLUS};
use super::work::{Refusal, Went, Why, Work};
use super::worker::Worker;
use crate::pool::policy::estimate::TaskTime;
use crate::pool::policy::outcome::Outcome;
use crate::task::panic::contained;
use crate::{JoinError, Message};

/// So much work should be in a bundle.
const BUNDLE_TIME: Duration = Duration::from_micros(200);
/// So many tasks.
const BUNDLE: RangeInclusive<usize> = 1..=512;

/// An input that nobody has begun.
pub(super) struct Entry<A> {
    pub(super) index: usize,
    /// Of the task.
    pub(super) number: u64,
    pub(super) input: Input<A>,
    pub(super) retry: Option<Box<Retry>>,
}

pub(super) struct Bundle<A> {
    pub(super) entries: VecDeque<Entry<A>>,
    /// When the first was pulled, by the pool's clock.
    pub(super) pulled: u64,
}

impl<A> Default for Bundle<A> {
    fn default() -> Bundle<A> {
        Bundle {
            entries: VecDeque::new(),
            pulled: 0,
        }
    }
}

/// A result and the number of its input.
pub(super) type Done<R> = (usize, Result<R, JoinError>);

pub(super) struct Job<A, R> {
    pub(super) crew: Arc<Shared>,
    pub(super) task: fn(A) -> R,
    pub(super) started: &'static Location<'static>,
    pub(super) state: Mutex<State<A, R>>,
    /// For the one who fetches results.
    pub(super) arrived: Condvar,
    /// There are results; for one who only looks.
    pub(super) has_done: AtomicBool,
    /// He has waited so long that he takes them one by one.
    pub(super) hungry: AtomicBool,
    /// How many tasks a bundle should have.
    pub(super) target: AtomicUsize,
}

pub(super) struct State<A, R> {
    bundles: VecDeque<Bundle<A>>,
    /// The bundle that inputs go to.
    open: Bundle<A>,
    /// Those at work.
    pub(super) chunks: Vec<Arc<Chunk<A, R>>>,
    pub(super) done: VecDeque<Vec<Done<R>>>,
    /// In the queue or drawn.
    tickets: usize,
    /// How long a task takes; `None`: not known yet.
    task_time: Option<TaskTime>,
    /// Somebody sleeps on `arrived`.
    pub(super) waiting: bool,
    /// There may be room in the queue.
    pub(super) rung: bool,
    /// Nobody wants any results.
    dropped: bool,
}

impl<A, R> Job<A, R> {
    pub(super) fn new(
        crew: &Arc<Shared>,
        task: fn(A) -> R,
        started: &'static Location<'static>,
    ) -> Job<A, R> {
        Job {
            crew: Arc::clone(crew),
            task,
            started,
            state: Mutex::new(State {
                bundles: VecDeque::new(),
                open: Bundle::default(),
                chunks: Vec::new(),
                done: VecDeque::new(),
                tickets: 0,
                task_time: None,
                waiting: false,
                rung: false,
                dropped: false,
            }),
            arrived: Condvar::new(),
            has_done: AtomicBool::new(false),
            hungry: AtomicBool::new(false),
            target: AtomicUsize::new(1),
        }
    }

    /// Results that have come.
    pub(super) fn deliver(&self, done: Vec<Done<R>>) {
        if done.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        if state.dropped {
            drop(state);
            done.into_iter()
                .for_each(|result| contained(|| drop(result)));
            return;
        }
        state.done.push_back(done);
        self.has_done.store(true, Ordering::Release);
        let waiting = state.waiting;
        drop(state);
        if waiting {
            self.arrived.notify_one();
        }
    }

    /// Nobody wants results any more: what was not begun never will be.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.dropped = true;
        let done = std::mem::take(&mut state.done);
        let mut entries = state.take_inputs();
        for chunk in &state.chunks {
            entries.extend(chunk.take_rest());
        }
        drop(state);
        self.pass_over(entries, |_| JoinError::Cancelled, |_, _| {});
        for result in done.into_iter().flatten() {
            contained(|| drop(result));
        }
    }

    /// These end without having been begun.
    pub(super) fn pass_over(
        &self,
        entries: impl IntoIterator<Item = Entry<A>>,
        error: impl Fn(&Entry<A>) -> JoinError,
        mut tell: impl FnMut(usize, JoinError),
    ) {
        let crew = &self.crew;
        for entry in entries {
            let error = error(&entry);
            crew.counters.ended(&error, 0, 1);
            let outcome = Outcome::of_error(&error).label();
            (crew.events()).ended(entry.number, outcome, Duration::ZERO);
            crew.room.leave(1);
            tell(entry.index, error);
            contained(|| drop(entry));
        }
    }

    /// As [`pass_over`](Self::pass_over), and the results say so.
    pub(super) fn refuse_entries(&self, entries: VecDeque<Entry<A>>, refusal: &Refusal) {
        let mut done = Vec::with_capacity(entries.len());
        self.pass_over(
            entries,
            |_| refusal.error(),
            |index, error| done.push((index, Err(error))),
        );
        self.deliver(done);
    }

    /// The tasks of a chunk took so long on average: how many are to be in the next bundles?
    pub(super) fn learn(&self, state: &mut State<A, R>, each: u64) {
        let each = each as f64;
        let task_time = match state.task_time {
            None => TaskTime::from_nanos(each),
            Some(before) => before.observe(each, 1.0 / 4.0),
        };
        state.task_time = Some(task_time);
        let before = self.target.load(Ordering::Relaxed);
        let target = task_time.tasks_in(BUNDLE_TIME, BUNDLE).min(before * 2);
        self.target.store(target, Ordering::Relaxed);
    }
}

impl<A: Message, R: Message> Job<A, R> {
    /// One more input.
    pub(super) fn push(self: &Arc<Self>, entry: Entry<A>) {
        let workers = self.crew.options.workers;
        let mut state = lock(&self.state);
        if state.open.entries.is_empty() {
            state.open.pulled = self.crew.now();
        }
        state.open.entries.push_back(entry);
        let target = self.target.load(Ordering::Relaxed);
        if state.open.entries.len() >= target {
            let full = std::mem::take(&mut state.open);
            state.bundles.push_back(full);
        }
        // Tickets that nobody works on yet.
        let ahead = state.tickets.saturating_sub(state.chunks.len());
        let is_enough =
            state.tickets >= workers || ahead >= state.bundles.len() + state.open.entries.len();
        if !is_enough {
            state.tickets += 1;
        }
        let inputs = state.bundles.len() * target + state.open.entries.len();
        drop(state);
        if !is_enough {
            self.crew.push(Arc::clone(self) as Arc<dyn Work>);
        }
        self.crew.inputs_wait(inputs);
    }

    /// What another has not done goes back.
    pub(super) fn put_back(self: &Arc<Self>, bundle: Bundle<A>) {
        let mut state = lock(&self.state);
        if state.dropped {
            drop(state);
            self.pass_over(bundle.entries, |_| JoinError::Cancelled, |_, _| {});
            return;
        }
        if !bundle.entries.is_empty() {
            state.bundles.push_front(bundle);
        }
    }

    /// Something to do for one that has a ticket. `None`: there is nothing, and it has a ticket no
    /// more.
    fn take(self: &Arc<Self>, worker: &Worker) -> Option<Arc<Chunk<A, R>>> {
        let mut state = lock(&self.state);
        let bundle = state.bundles.pop_front();
        let bundle = bundle.unwrap_or_else(|| std::mem::take(&mut state.open));
        let bundle = if bundle.entries.is_empty() {
            let victim = state.chunks.iter().max_by_key(|chunk| chunk.rest());
            victim.map(|victim| victim.halve()).unwrap_or_default()
        } else {
            bundle
        };
        if bundle.entries.is_empty() {
            state.tickets = state.tickets.saturating_sub(1);
            return None;
        }
        let chunk = Arc::new(Chunk::new(Arc::clone(self), worker.id, bundle));
        state.chunks.push(Arc::clone(&chunk));
        Some(chunk)
    }
}

impl<A, R> State<A, R> {
    fn take_inputs(&mut self) -> VecDeque<Entry<A>> {
        let mut entries = VecDeque::new();
        for bundle in self.bundles.drain(..) {
            entries.extend(bundle.entries);
        }
        entries.extend(std::mem::take(&mut self.open).entries);
        entries
    }
}

impl<A: Message, R: Message> Work for Job<A, R> {
    fn run(self: Arc<Self>, worker: &Arc<Worker>) -> Went {
        while let Some(chunk) = self.take(worker) {
            worker.is_at(Arc::clone(&chunk) as Arc<dyn Work>);
            if chunk.work(worker) == Went::LetGo {
                return Went::LetGo;
            }
            let others = !self.crew.queue_is_empty();
            if others || self.crew.hint() & (SURPLUS | ABORTED) != 0 || worker.is_used_up() {
                self.crew.push(self.clone());
                break;
            }
        }
        Went::Well
    }

    fn let_go(self: Arc<Self>, _worker: &Worker, _before: u64, _why: Why) -> bool {
        // Between two chunks nothing runs.
        false
    }

    fn refuse(self: Arc<Self>, _crew: &Arc<Shared>, refusal: &Refusal) {
        let mut state = lock(&self.state);
        state.tickets = state.tickets.saturating_sub(1);
        let entries = state.take_inputs();
        drop(state);
        self.refuse_entries(entries, refusal);
    }

    fn is_over(&self) -> bool {
        false
    }
}

impl<A: Message, R: Message> Ring for Job<A, R> {
    fn ring(&self) {
        lock(&self.state).rung = true;
        self.arrived.notify_one();
    }
}

//! A task that was submitted: the queue, its worker and its handle share this one self.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::current;
use super::locks::{lock, wait_until};
use super::pool::Shared;
use super::registry;
use super::retry::{self, Input, Retry};
use super::work::{Refusal, Went, Why, Work};
use super::worker::Worker;
use crate::pool::events;
use crate::pool::policy::outcome::{Outcome, RAN_OVER};
use crate::task::entry::caught;
use crate::task::panic::contained;
use crate::task::symbols::Symbols;
use crate::worker::handle::{Pending, joined_twice};
use crate::{JoinError, Kind, Message};

pub(super) struct Slot<A, R> {
    task: fn(A) -> R,
    started: &'static Location<'static>,
    /// The pool's number. It is looked up by the few who need it.
    pool: u64,
    number: u64,
    /// By the pool's clock.
    submitted: u64,
    inner: Mutex<Inner<A, R>>,
    changed: Condvar,
    /// Set when the phase is `Ended`, for those who only look.
    ended: AtomicBool,
}

struct Inner<A, R> {
    phase: Phase<A, R>,
    waiter: Waiter,
    /// What it takes to run it again.
    retry: Option<Box<Retry>>,
}

enum Phase<A, R> {
    Queued(A),
    /// To be run again, on what the retry says.
    Again,
    Running {
        worker: u64,
        /// By the pool's clock, if it is watched; else 0.
        began: u64,
    },
    Ended(Result<R, JoinError>),
    /// The handle has the result.
    Taken,
}

/// A task that goes on without its worker.
struct Parted {
    worker: u64,
    again: bool,
}

/// Who waits. There is one handle, and few of many are ever polled.
enum Waiter {
    None,
    Thread,
    Waker(Box<Waker>),
}

impl<A: Message, R: Message> Slot<A, R> {
    pub(super) fn new(
        crew: &Shared,
        task: fn(A) -> R,
        started: &'static Location<'static>,
        input: A,
    ) -> Slot<A, R> {
        let retry = Retry::of(&crew.options, &input);
        let number = crew.counters.submitted.fetch_add(1, Ordering::AcqRel);
        crew.events().submitted(number);
        Slot {
            task,
            started,
            pool: crew.number,
            number,
            submitted: crew.now(),
            inner: Mutex::new(Inner {
                phase: Phase::Queued(input),
                waiter: Waiter::None,
                retry,
            }),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// Its worker begins it. `None`: it has ended already.
    fn begin(&self, worker: &Worker) -> Option<Input<A>> {
        let mut inner = lock(&self.inner);
        let input = match std::mem::replace(&mut inner.phase, Phase::Taken) {
            Phase::Queued(input) => Input::Value(input),
            Phase::Again => match &inner.retry {
                Some(retry) => Input::Bytes(retry.bytes()),
                None => unreachable!("who runs it again knows on what"),
            },
            other => {
                inner.phase = other;
                return None;
            }
        };
        inner.phase = Phase::Running {
            worker: worker.id,
            began: worker.begins(),
        };
        drop(inner);
        worker.crew.capacity.release(1);
        if events::task_events_enabled() {
            let waited = worker.crew.now().saturating_sub(self.submitted);
            let waited = Duration::from_nanos(waited);
            (worker.crew.events()).started(worker.id, self.number, waited);
        }
        Some(input)
    }

    /// Its worker has a result. `LetGo`: too late.
    fn finish(&self, worker: &Worker, began: u64, result: Result<R, JoinError>) -> Went {
        if worker.crew.is_copy() {
            // The task forked, and this is its child, which came back first: its thread ends, and
            // with it the child.
            contained(|| drop(result));
            return Went::LetGo;
        }
        let now = worker.crew.now();
        let nanos = now.saturating_sub(self.submitted);
        let inner = lock(&self.inner);
        if !matches!(inner.phase, Phase::Running { worker: id, .. } if id == worker.id) {
            drop(inner);
            contained(|| drop(result));
            return Went::LetGo;
        }
        worker.counts(&result);
        worker.tally.took(nanos, 1);
        worker.crew.task_time.record(now.saturating_sub(began));
        worker.was_busy(now);
        let outcome = Outcome::of(&result);
        self.end(inner, result);
        self.tell_end(outcome, nanos);
        Went::Well
    }

    /// It ends, and whoever waits is told.
    fn end(&self, mut inner: MutexGuard<'_, Inner<A, R>>, result: Result<R, JoinError>) {
        inner.phase = Phase::Ended(result);
        let waiter = std::mem::replace(&mut inner.waiter, Waiter::None);
        self.ended.store(true, Ordering::Release);
        drop(inner);
        match waiter {
            Waiter::None => {}
            Waiter::Thread => self.changed.notify_all(),
            Waiter::Waker(waker) => contained(|| waker.wake()),
        }
    }

    /// It is ended by somebody else before it was begun. `false`: it was begun.
    fn end_queued(&self, crew: &Shared, error: JoinError) -> bool {
        let mut inner = lock(&self.inner);
        let input = match std::mem::replace(&mut inner.phase, Phase::Taken) {
            Phase::Queued(input) => Some(input),
            Phase::Again => None,
            other => {
                inner.phase = other;
                return false;
            }
        };
        let nanos = crew.now().saturating_sub(self.submitted);
        crew.counters.ended(&error, nanos, 1);
        let outcome = Outcome::of_error(&error);
        self.end(inner, Err(error));
        self.tell_end(outcome, nanos);
        crew.capacity.release(1);
        contained(|| drop(input));
        true
    }

    /// What runs is ended, or is to be run again, without its worker.
    fn end_running(
        &self,
        crew: &Shared,
        is_it: impl FnOnce(u64, u64) -> bool,
        why: Why,
    ) -> Option<Parted> {
        let mut inner = lock(&self.inner);
        let worker = match inner.phase {
            Phase::Running { worker, began } if is_it(worker, began) => worker,
            _ => return None,
        };
        let again = |retry: &mut Box<Retry>| retry.again(crew.options.retries);
        if why == Why::TimedOut && inner.retry.as_mut().is_some_and(again) {
            inner.phase = Phase::Again;
            crew.counts_parting(worker, None);
            drop(inner);
            crew.events().retried(worker, self.number, RAN_OVER);
            crew.capacity.force_acquire();
            return Some(Parted {
                worker,
                again: true,
            });
        }
        let error = why.error(crew, self.task as usize, self.started);
        let outcome = Outcome::of_error(&error);
        let nanos = crew.now().saturating_sub(self.submitted);
        crew.counts_parting(worker, Some(&error));
        crew.counters.took(nanos, 1);
        self.end(inner, Err(error));
        self.tell_end(outcome, nanos);
        Some(Parted {
            worker,
            again: false,
        })
    }

    fn tell_end(&self, outcome: Outcome, nanos: u64) {
        let elapsed = Duration::from_nanos(nanos);
        let of = events::EventSource {
            pool: self.pool,
            kind: Kind::Thread,
        };
        of.ended(self.number, outcome.label(), elapsed);
    }

    fn take(inner: &mut Inner<A, R>) -> Result<R, JoinError> {
        match std::mem::replace(&mut inner.phase, Phase::Taken) {
            Phase::Ended(result) => result,
            _ => joined_twice(),
        }
    }
}

impl<A: Message, R: Message> Work for Slot<A, R> {
    fn run(self: Arc<Self>, worker: &Arc<Worker>) -> Went {
        let began = worker.turn();
        let Some(input) = self.begin(worker) else {
            return Went::Well;
        };
        let task = self.task;
        let result = match input {
            Input::Value(input) => caught(move || task(input)).map(Ok),
            // What was encoded here is decoded here. If it cannot be, it ends as it would have
            // without another try.
            Input::Bytes(bytes) => caught(move || retry::decode(&bytes).map(task)).map(|result| {
                result.ok_or_else(|| Why::TimedOut.error(&worker.crew, task as usize, self.started))
            }),
        };
        let result = result.unwrap_or_else(|unwound| {
            let name = worker.name(self.task as usize, self.started);
            Err(JoinError::panicked(
                name,
                unwound,
                Symbols::of_this_process(),
            ))
        });
        worker.ends();
        self.finish(worker, began, result)
    }

    fn let_go(self: Arc<Self>, worker: &Worker, before: u64, why: Why) -> bool {
        let is_it = |id, began| id == worker.id && began <= before;
        let Some(parted) = self.end_running(&worker.crew, is_it, why) else {
            return false;
        };
        if parted.again {
            worker.crew.push(self);
        }
        true
    }

    fn refuse(self: Arc<Self>, crew: &Arc<Shared>, refusal: &Refusal) {
        self.end_queued(crew, refusal.error());
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl<A: Message, R: Message> Pending<R> for Slot<A, R> {
    fn wait(&self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        if registry::is_copy(self.pool) {
            return Some(Err(JoinError::Closed));
        }
        let is_over = || self.ended.load(Ordering::Acquire);
        if !is_over() && !current::look(deadline, is_over) {
            let _blocked = current::block();
            current::nap(deadline, || {
                registry::find(self.pool).map_or(0, |crew| crew.backlog())
            });
            let _woken = current::Woken;
            let mut inner = lock(&self.inner);
            while !matches!(inner.phase, Phase::Ended(_) | Phase::Taken) {
                let before = std::mem::replace(&mut inner.waiter, Waiter::Thread);
                if let Waiter::Waker(waker) = before {
                    // It is the user's: not under the lock.
                    drop(inner);
                    drop(waker);
                    inner = lock(&self.inner);
                    continue;
                }
                let (guard, in_time) = wait_until(&self.changed, inner, deadline);
                inner = guard;
                if !in_time && !matches!(inner.phase, Phase::Ended(_)) {
                    inner.waiter = Waiter::None;
                    return None;
                }
            }
        }
        Some(Self::take(&mut lock(&self.inner)))
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
        if registry::is_copy(self.pool) {
            return Poll::Ready(Err(JoinError::Closed));
        }
        if !self.is_finished() {
            let mut waker = Some(Box::new(context.waker().clone()));
            let mut inner = lock(&self.inner);
            if !matches!(inner.phase, Phase::Ended(_) | Phase::Taken) {
                let waiter = waker.take().map_or(Waiter::None, Waiter::Waker);
                let before = std::mem::replace(&mut inner.waiter, waiter);
                drop(inner);
                drop(before);
                return Poll::Pending;
            }
            drop(inner);
        }
        Poll::Ready(Self::take(&mut lock(&self.inner)))
    }

    fn is_finished(&self) -> bool {
        self.ended.load(Ordering::Acquire) || registry::is_copy(self.pool)
    }

    fn cancel(&self) {
        // A pool that is gone has nothing queued and nothing running.
        let Some(crew) = registry::find(self.pool) else {
            return;
        };
        if self.end_queued(&crew, JoinError::Cancelled) {
            crew.leaves_shell();
            return;
        }
        let parted = self.end_running(&crew, |_, _| true, Why::Cancelled);
        if let Some(parted) = parted {
            crew.replace(parted.worker, Why::Cancelled);
        }
    }

    fn kind(&self) -> Kind {
        Kind::Thread
    }

    fn pid(&self) -> Option<u32> {
        None
    }
}

//! Tasks that borrow, in the threads of a pool: they end before what they borrow does.
//!
//! A task of a scope waits in the pool's queue like any other. What it borrows is in its *body*,
//! which is taken out of the queue's item once: to be run, or to be dropped. A body that has been
//! queued is counted, until nothing of it is left; and a scope does not end before the count is 0.
//!
//! Such a task is never let go: its thread would go on with what it borrows. So no timeout and no
//! cancel ends one that runs.

#![expect(
    unsafe_code,
    reason = "the queue does not know how long what a task borrows will live"
)]

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::current;
use super::locks::{lock, wait_until};
use super::pool::{ThreadPool, ThreadRun};
use super::thread_table::CLOSED;
use super::work::{AbandonReason, Rejection, RunOutcome, Work};
use super::worker::WorkerThread;
use crate::JoinError;
use crate::pool::events;
use crate::pool::policy::outcome::TaskOutcome;
use crate::sys::futex;
use crate::task::contain::{attempt, contained};
use crate::task::entry::caught;
use crate::task::error::joined_twice;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::trace::Submission;

/// Where tasks are started that may borrow: see [`Pool::scope`](crate::Pool::scope).
pub struct PoolScope<'scope, 'env: 'scope> {
    pool: Arc<ThreadPool>,
    state: Arc<ScopeState>,
    // Neither lifetime may be taken for a longer or a shorter one: as std's.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// What a scope shares with its tasks.
struct ScopeState {
    /// How many bodies are not gone.
    bodies: AtomicU32,
    /// A task panicked, and its handle was not joined.
    has_panicked: AtomicBool,
}

impl ScopeState {
    /// One more body is about to be queued.
    fn begin(self: &Arc<Self>) -> BodyCount {
        let count = BodyCount(Arc::clone(self));
        let before = self.bodies.fetch_add(1, Ordering::Relaxed);
        // A count that wraps would end the scope too early.
        assert!(before < u32::MAX / 2, "too many tasks in a scope");
        count
    }

    /// Returns when no body is left. It does not unwind.
    fn wait(&self) {
        let bodies = || self.bodies.load(Ordering::Acquire);
        let is_over = || bodies() == 0;
        // In a thread of the pool another takes this one's place: some of the bodies may be queued.
        // Neither is needed to come to the right end, and a panic in it is none of the scope's.
        let spun = attempt(|| is_over() || current::spin_until(None, is_over));
        if spun == Some(true) {
            return;
        }
        let blocked = attempt(current::block);
        loop {
            let left = bodies();
            if left == 0 {
                break;
            }
            // The last one wakes it.
            futex::wait_private(&self.bodies, left, None);
        }
        contained(|| drop(blocked));
    }
}

/// A body that is not gone: one of the scope's count, until this is dropped.
struct BodyCount(Arc<ScopeState>);

impl Drop for BodyCount {
    fn drop(&mut self) {
        if self.0.bodies.fetch_sub(1, Ordering::Release) == 1 {
            futex::wake_all_private(&self.0.bodies);
        }
    }
}

/// As [`Pool::scope`](crate::Pool::scope).
pub(in crate::pool) fn scope<'env, F, T>(pool: &Arc<ThreadPool>, f: F) -> T
where
    F: for<'scope> FnOnce(&'scope PoolScope<'scope, 'env>) -> T,
{
    let scope = PoolScope {
        pool: Arc::clone(pool),
        state: Arc::new(ScopeState {
            bodies: AtomicU32::new(0),
            has_panicked: AtomicBool::new(false),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.state.wait();
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if scope.state.has_panicked.load(Ordering::Relaxed) => {
            panic!("a task of the scope panicked, and was not joined")
        }
        Ok(result) => result,
    }
}

impl<'scope> PoolScope<'scope, '_> {
    /// Gives the pool a task, a function or a closure, which may borrow what outlives the scope.
    ///
    /// As [`Pool::submit`](crate::Pool::submit) it blocks while the queue is at its limit, and has
    /// no error of its own: where the pool takes nothing more, the handle gives
    /// [`JoinError::Closed`], and what the task has is dropped at once.
    #[track_caller]
    pub fn spawn<F, R>(&'scope self, task: F) -> ScopedTaskHandle<'scope, R>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        let end = Arc::new(TaskEnd::new(&self.state));
        let handle = ScopedTaskHandle {
            pool: &self.pool,
            end: Arc::clone(&end),
        };
        let pool = &self.pool;
        if pool.is_closed() || !has_room(pool) {
            end.set(Err(JoinError::Closed));
            return handle;
        }
        let number = pool.counters.submitted.fetch_add(1, Ordering::AcqRel);
        pool.events().submitted(number);
        let submission = pool.submission();
        let body: Box<dyn Body + 'scope> = Box::new(TaskBody {
            task,
            end,
            submission,
        });
        let count = self.state.begin();
        // SAFETY: only the lifetime changes, from `'scope` to `'static`. What the body borrows
        // lives for `'scope`. This scope was made by the function `scope`, as all are, and `f`
        // there works for any `'scope`: also for one that ends when that function returns or
        // unwinds. It does neither before the count is 0. One of that count is `count`, which lies
        // beside the body and is dropped after it: `QueuedBody` has the order of its fields for
        // where both are dropped together, and `use_up` for where they are not, also where that
        // unwinds.
        let body = unsafe { std::mem::transmute::<Box<dyn Body + 'scope>, Box<dyn Body>>(body) };
        let task = Arc::new(ScopedTask {
            queued: Mutex::new(Some(QueuedBody { body, count })),
            number,
            submitted: pool.now(),
            call_site: Location::caller(),
        });
        pool.push(Arc::clone(&task) as Arc<dyn Work>);
        // As with any task: README.md.
        if pool.wake_hint() & CLOSED != 0 {
            task.reject(pool, &Rejection::Closed);
            pool.clear_after_close();
        }
        handle
    }
}

/// Takes room in the queue. `false`: the pool was closed.
fn has_room(pool: &ThreadPool) -> bool {
    pool.capacity.try_acquire() || {
        let _blocked = current::block();
        pool.capacity.acquire(None)
    }
}

impl fmt::Debug for PoolScope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolScope")
            .field("tasks", &self.state.bodies.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// A task of a scope, in the queue.
struct ScopedTask {
    queued: Mutex<Option<QueuedBody>>,
    number: u64,
    /// By the pool's clock.
    submitted: u64,
    call_site: &'static Location<'static>,
}

/// The fields are dropped in this order.
struct QueuedBody {
    body: Box<dyn Body>,
    count: BodyCount,
}

impl QueuedBody {
    /// Has the body used up; then it is not counted any more.
    fn use_up<R>(self, by: impl FnOnce(Box<dyn Body>) -> R) -> R {
        let QueuedBody { body, count } = self;
        let done = by(body);
        // On unwinding from there it is dropped too, when nothing of the body is left.
        drop(count);
        done
    }
}

/// What a task of a scope is, and all that it borrows.
trait Body: Send {
    /// Runs it, and keeps its end for its handle. Nothing of the body is left then.
    fn run(self: Box<Self>, of: &ScopedTask, worker: &WorkerThread) -> RunOutcome;

    /// Ends it without running it. Nothing of the body is left then.
    fn reject(self: Box<Self>, why: JoinError);
}

struct TaskBody<F, R> {
    task: F,
    end: Arc<TaskEnd<R>>,
    /// Where it was submitted, if that is to be known.
    submission: Option<Submission>,
}

impl<F: FnOnce() -> R + Send, R: Send> Body for TaskBody<F, R> {
    fn run(self: Box<Self>, of: &ScopedTask, worker: &WorkerThread) -> RunOutcome {
        let TaskBody {
            task,
            end,
            submission,
        } = *self;
        let pool = &worker.pool;
        let began = worker.start_time();
        let since = worker.task_started(None);
        pool.capacity.release(1);
        if events::task_events_enabled() {
            let waited = Duration::from_nanos(pool.now().saturating_sub(of.submitted));
            (pool.events()).started(worker.id, of.number, waited);
        }
        let name = || TaskName::of_type::<F>(pool.options.name.clone(), of.call_site);
        let result = match &submission {
            None => caught(task),
            Some(submission) => {
                let run = || caught(task);
                pool.within_span(submission, worker.id, of.number, of.function(), name, run)
            }
        };
        let result = result
            .map_err(|unwound| JoinError::panicked(name(), unwound, Symbols::of_this_process()));
        worker.task_stopped();
        if pool.is_fork_of_owner() {
            // As with any task: the child's thread ends, and with it the child.
            contained(|| drop(result));
            return RunOutcome::Abandoned;
        }
        of.count_end(worker, began, since, &result);
        let outcome = TaskOutcome::of(&result);
        end.set(result);
        drop(end);
        of.emit_ended(pool, outcome);
        RunOutcome::Done
    }

    fn reject(self: Box<Self>, why: JoinError) {
        let TaskBody { task, end, .. } = *self;
        contained(|| drop(task));
        end.set(Err(why));
    }
}

impl ScopedTask {
    /// `None`: it has begun, or has ended.
    fn take(&self) -> Option<QueuedBody> {
        lock(&self.queued).take()
    }

    /// Before its end is told.
    fn count_end<R>(
        &self,
        worker: &WorkerThread,
        began: u64,
        since: u64,
        result: &Result<R, JoinError>,
    ) {
        let pool = &worker.pool;
        let now = pool.now();
        let nanos = now.saturating_sub(self.submitted);
        // A thread that has seen all ends sees all times.
        worker.counters.record_latency(nanos, 1);
        worker.count_result(result);
        pool.task_time.record(now.saturating_sub(began));
        worker.add_busy(now);
        if pool.options.timeline.is_some() {
            let run = ThreadRun {
                number: self.number,
                began: since,
                since_submitted: nanos,
                outcome: TaskOutcome::of(result).label(),
                function: self.function(),
            };
            pool.draw_run(worker.id, run);
        }
    }

    fn emit_ended(&self, pool: &ThreadPool, outcome: TaskOutcome) {
        let elapsed = Duration::from_nanos(pool.now().saturating_sub(self.submitted));
        (pool.events()).ended(self.number, outcome.label(), elapsed);
    }
}

impl Work for ScopedTask {
    fn run(self: Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome {
        match self.take() {
            Some(queued) => queued.use_up(|body| body.run(&self, worker)),
            None => RunOutcome::Done,
        }
    }

    fn abandon(self: Arc<Self>, _: &WorkerThread, _: u64, _: AbandonReason) -> bool {
        // Its thread would go on with what it borrows.
        false
    }

    fn reject(self: Arc<Self>, pool: &Arc<ThreadPool>, rejection: &Rejection) {
        let Some(queued) = self.take() else {
            return;
        };
        let error = rejection.error();
        let nanos = pool.now().saturating_sub(self.submitted);
        pool.counters.count_ended(&error, nanos, 1);
        let outcome = TaskOutcome::of_error(&error);
        queued.use_up(|body| body.reject(error));
        self.emit_ended(pool, outcome);
        pool.capacity.release(1);
    }

    fn has_ended(&self) -> bool {
        lock(&self.queued).is_none()
    }

    fn function(&self) -> (usize, &'static Location<'static>) {
        // A closure has no address: it is called by where it was started.
        (0, self.call_site)
    }
}

impl Drop for ScopedTask {
    fn drop(&mut self) {
        // An item that no thread has taken, of a pool that is gone.
        if let Some(queued) = self.take() {
            queued.use_up(|body| body.reject(JoinError::Closed));
        }
    }
}

/// How a task of a scope has ended.
struct TaskEnd<R> {
    scope: Arc<ScopeState>,
    /// Set under the lock of the result, for threads that only look.
    has_ended: AtomicBool,
    result: Mutex<Option<Result<R, JoinError>>>,
    changed: Condvar,
}

impl<R> TaskEnd<R> {
    fn new(scope: &Arc<ScopeState>) -> TaskEnd<R> {
        TaskEnd {
            scope: Arc::clone(scope),
            has_ended: AtomicBool::new(false),
            result: Mutex::new(None),
            changed: Condvar::new(),
        }
    }

    fn set(&self, ended: Result<R, JoinError>) {
        let mut result = lock(&self.result);
        *result = Some(ended);
        self.has_ended.store(true, Ordering::Release);
        drop(result);
        self.changed.notify_all();
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Waits for it. `false`: not before the deadline.
    fn wait(&self, pool: &ThreadPool, deadline: Option<Instant>) -> bool {
        if self.has_ended() || current::spin_until(deadline, || self.has_ended()) {
            return true;
        }
        let _blocked = current::block();
        current::throttle(deadline, || pool.queued_ns());
        let _record = current::RecordWake;
        let mut result = lock(&self.result);
        while !self.has_ended() {
            let in_time;
            (result, in_time) = wait_until(&self.changed, result, deadline);
            if !in_time {
                return self.has_ended();
            }
        }
        true
    }
}

impl<R> Drop for TaskEnd<R> {
    fn drop(&mut self) {
        let result = lock(&self.result).take();
        if matches!(result, Some(Err(JoinError::Panicked(_)))) {
            self.scope.has_panicked.store(true, Ordering::Relaxed);
        }
        // Of a result that nothing takes: its destructor may run in the thread that drops the
        // handle as well as in the task's, and must panic in neither.
        contained(|| drop(result));
    }
}

/// A task of a [`PoolScope`]. When it is dropped the task runs on, and the scope waits for it; if
/// it panics, so does the scope.
///
/// It cannot be cancelled: a thread cannot be killed, and one that was let go would still have what
/// it borrows.
pub struct ScopedTaskHandle<'scope, R> {
    pool: &'scope Arc<ThreadPool>,
    end: Arc<TaskEnd<R>>,
}

impl<R> ScopedTaskHandle<'_, R> {
    /// Waits until the task ends.
    ///
    /// # Errors
    /// It panicked; or the pool has ended before it began ([`JoinError::Closed`], or
    /// [`JoinError::Cancelled`] where it was [aborted](crate::Pool::abort)).
    pub fn join(self) -> Result<R, JoinError> {
        self.end.wait(self.pool, None);
        self.take()
    }

    /// Waits until the task ends, but no longer than `timeout`: then the handle comes back, and the
    /// task runs on.
    ///
    /// # Errors
    /// The outer error is the handle, if the time is over; the inner one as of
    /// [`join`](Self::join).
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<R, JoinError>, Self> {
        // A time so long that the clock cannot say when it ends is for ever.
        let deadline = Instant::now().checked_add(timeout);
        if self.end.wait(self.pool, deadline) {
            return Ok(self.take());
        }
        Err(self)
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.end.has_ended()
    }

    fn take(&self) -> Result<R, JoinError> {
        let ended = lock(&self.end.result).take();
        ended.unwrap_or_else(|| joined_twice())
    }
}

impl<R> fmt::Debug for ScopedTaskHandle<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTaskHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

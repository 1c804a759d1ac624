//! The pool as its handles share it: the dispatcher under its lock, and what is beside it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::call_target::CallTarget;
use super::deferred::{Deferred, Drawing, TraceEvent};
use super::dispatcher::Dispatcher;
use super::driver::{Driver, WaitFor};
use super::ordered_delivery::OrderedDelivery;
use super::respawn::StartFailure;
use super::result_cell::{HasResultCell, ResultCell};
use super::task_spans::TaskSpans;
use crate::pool::config::Options;
use crate::pool::events;
use crate::sim::local::thread::Thread;
use crate::sim::local::{AtomicBool, AtomicU32, AtomicU64, Instant, Mutex, MutexGuard, Ordering};
use crate::sys::original::Original;
use crate::task::name::TaskName;
use crate::task::waiters::FutureWaiters;
use crate::trace::Submission;
use crate::worker::process::doubles::ForkServerClient;
use crate::worker::process::host::client::Origin;
use crate::worker::process::host::connection::WorkerConnection;
use crate::worker::process::host::groups;
use crate::worker::process::host::worker_setup::WorkerSetup;
use crate::worker::process::ipc::protocol::Setup;

/// A pool of processes, as its handles share it.
pub(crate) struct ProcessPool {
    pub(super) options: Arc<Options>,
    /// What it is called in events.
    pub(super) number: u64,
    /// What its workers do to themselves.
    pub(super) setup: WorkerSetup,
    original: Original,
    /// The pool takes nothing more: as `closing`, for callers that have not locked it.
    closed: AtomicBool,
    /// Whether the pool's workers were ended. Locked while that is done.
    ended: Mutex<bool>,
    /// How many workers there should be.
    pub(super) size: AtomicU32,
    inner: Mutex<LockedPool>,
    /// What the driver sleeps on beside the notify words: changed by each thread that has news for
    /// it.
    pub(super) driver_wakeup: AtomicU32,
    /// Futures that wait for room in the queue.
    pub(super) room: FutureWaiters,
    /// Futures that wait until there is nothing to do.
    pub(super) idle: FutureWaiters,
    /// Events, in their order.
    pub(super) trace_events: OrderedDelivery<TraceEvent>,
    /// What the timeline does not show yet.
    pub(super) timeline_spans: OrderedDelivery<Drawing>,
    /// The spans of its tasks, where its workers send their events.
    pub(super) spans: Option<Arc<TaskSpans>>,
}

/// The number of a pool in events.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) struct LockedPool {
    pub(super) dispatcher: Dispatcher,
    pub(super) driver: Driver,
    /// The driver sleeps so that it hears of each result.
    pub(super) driver_wakes_on_all: bool,
    /// Those that sleep because another caller drives.
    pub(super) parked: Vec<Thread>,
    /// Of them, those that are to be woken by any news.
    pub(super) parked_on_any_change: Vec<Thread>,
}

impl ProcessPool {
    pub(super) fn new(
        number: u64,
        options: Arc<Options>,
        setup: WorkerSetup,
        spans: Option<Arc<TaskSpans>>,
        make: impl FnOnce(std::sync::Weak<ProcessPool>) -> Dispatcher,
    ) -> Arc<ProcessPool> {
        let size = options.workers() as u32;
        Arc::new_cyclic(|pool| ProcessPool {
            size: AtomicU32::new(size),
            options,
            number,
            setup,
            original: Original::this_process(),
            closed: AtomicBool::new(false),
            ended: Mutex::new(false),
            inner: Mutex::new(LockedPool {
                dispatcher: make(pool.clone()),
                driver: Driver::None,
                driver_wakes_on_all: false,
                parked: Vec::new(),
                parked_on_any_change: Vec::new(),
            }),
            driver_wakeup: AtomicU32::new(0),
            room: FutureWaiters::default(),
            idle: FutureWaiters::default(),
            trace_events: OrderedDelivery::default(),
            timeline_spans: OrderedDelivery::default(),
            spans,
        })
    }

    /// Writes what the timeline holds back, if there is one. Threads that were let go, and handles,
    /// may hold the rest of the pool for longer.
    pub(in crate::pool) fn flush_timeline(&self) {
        // In a fork of the program the lock may be held by a thread that is not there.
        let timeline = self.options.timeline.as_ref();
        if let Some(timeline) = timeline.filter(|_| self.original.is_this_process()) {
            self.timeline_spans
                .deliver_all(|drawing| self.draw(drawing, timeline));
            timeline.flush();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LockedPool> {
        // Asked before: the answer is the listener's own code.
        let heard = events::task_events_enabled() || self.options.timeline.is_some();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.dispatcher.is_heard = heard;
        inner.dispatcher.is_traced = heard || self.spans.is_some();
        if heard {
            inner.dispatcher.wakeups.notify_each_result();
        }
        inner
    }

    /// Whether this process is a fork of the one that made the pool: the workers are the other's.
    pub(in crate::pool) fn is_fork_of_owner(&self) -> bool {
        !self.original.is_this_process()
    }

    /// Looks, for a caller that does not wait.
    pub(super) fn poll(&self) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.poll(&mut deferred, false);
        self.release_driver(&mut inner, &mut deferred);
        self.unlock_and_run(inner, deferred);
    }

    /// A future waits for this cell.
    pub(super) fn register_async(&self, cell: &ResultCell) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.poll(&mut deferred, false);
        if !cell.is_done() && inner.dispatcher.wakeups.notify_each_result() {
            deferred.wake_driver = true;
        }
        self.release_driver(&mut inner, &mut deferred);
        self.unlock_and_run(inner, deferred);
    }

    pub(super) fn cancel(&self, handle: &dyn HasResultCell) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.poll(&mut deferred, false);
        if !handle.cell().is_done() {
            inner
                .dispatcher
                .cancel(handle, &mut deferred.at(Instant::now()));
        }
        self.release_driver(&mut inner, &mut deferred);
        self.unlock_and_run(inner, deferred);
    }

    /// As [`cancel`](Self::cancel), unless its worker has begun it.
    pub(super) fn cancel_unbegun(&self, handle: &dyn HasResultCell) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.poll(&mut deferred, false);
        (inner.dispatcher).cancel_unbegun(handle, &mut deferred.at(Instant::now()));
        self.release_driver(&mut inner, &mut deferred);
        self.unlock_and_run(inner, deferred);
    }

    /// The futures that wait for room in the queue. `None`: it has no limit.
    pub(in crate::pool) fn room_waiters(&self) -> Option<&FutureWaiters> {
        self.options.queue_limit.get().map(|_| &self.room)
    }

    /// A future waits for room: each result is looked at.
    pub(in crate::pool) fn look_for_room(&self) {
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.poll(&mut deferred, false);
        if inner.dispatcher.is_full() && inner.dispatcher.wakeups.notify_each_result() {
            deferred.wake_driver = true;
        }
        self.release_driver(&mut inner, &mut deferred);
        self.unlock_and_run(inner, deferred);
    }

    /// The futures that wait until there is nothing to do.
    pub(in crate::pool) fn idle_waiters(&self) -> &FutureWaiters {
        &self.idle
    }

    /// Whether nothing is queued and nothing runs. If not, each result is looked at.
    pub(in crate::pool) fn look_for_idle(&self) -> bool {
        if self.is_fork_of_owner() {
            return true;
        }
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.poll(&mut deferred, false);
        let is_idle = inner.dispatcher.is_done();
        if !is_idle && inner.dispatcher.wakeups.notify_each_result() {
            deferred.wake_driver = true;
        }
        self.release_driver(&mut inner, &mut deferred);
        self.unlock_and_run(inner, deferred);
        is_idle
    }

    /// The worker that runs it.
    pub(super) fn pid_of(&self, cell: &ResultCell) -> Option<u32> {
        // What is before it may be done, and not be taken.
        self.poll();
        let assignment = cell.assignment()?;
        let inner = self.lock();
        let slot = inner.dispatcher.workers.get(assignment.worker)?;
        let connection = slot.connection.as_ref()?;
        // The last that it has begun.
        let begun = connection
            .begun()
            .ok()
            .filter(|&begun| begun != connection.taken());
        let runs = cell.assignment() == Some(assignment)
            && !cell.is_done()
            && begun.is_some_and(|begun| begun.wrapping_sub(1) == assignment.number);
        runs.then(|| connection.pid())
    }

    /// Where the calling thread submits tasks, if that is to be known. Asked for where nothing is
    /// locked.
    pub(super) fn submission(&self) -> Option<Submission> {
        self.spans.as_ref().map(|spans| spans.submission())
    }

    pub(super) fn name_of(&self, target: &CallTarget) -> TaskName {
        target.name(&self.options)
    }

    /// Waits until every worker is ready.
    pub(super) fn wait_ready(&self) -> Result<(), StartFailure> {
        self.wait(&mut WaitFor::Startup, None);
        self.lock().dispatcher.respawn.end_build()
    }

    /// Takes nothing more. What was accepted is finished.
    pub(in crate::pool) fn close(&self) {
        if self.is_fork_of_owner() {
            return;
        }
        let mut inner = self.lock();
        inner.dispatcher.closing = true;
        // Those that wait for room need not wait.
        inner.dispatcher.changed = true;
        self.closed.store(true, Ordering::Release);
        self.unlock_and_run(inner, Deferred::default());
    }

    /// Whether it takes nothing more.
    pub(in crate::pool) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.is_fork_of_owner()
    }

    /// Waits until nothing is queued and nothing runs. `false`: not before the deadline.
    pub(in crate::pool) fn wait_idle(&self, deadline: Option<std::time::Instant>) -> bool {
        let deadline = deadline.map(crate::sim::local::deadline);
        self.is_fork_of_owner() || self.wait(&mut WaitFor::Drained, deadline)
    }

    /// Finishes what was accepted, and ends the workers. Several may do so at once: each returns
    /// when all is done.
    pub(in crate::pool) fn shutdown(&self) {
        if self.is_fork_of_owner() {
            return;
        }
        self.close();
        self.wait(&mut WaitFor::Drained, None);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *ended, true) {
            self.kill_workers();
        }
    }

    /// Cancels everything, and ends the workers. `shutdown` is called after it.
    pub(in crate::pool) fn abort(&self) {
        if self.is_fork_of_owner() {
            return;
        }
        self.close();
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        inner.dispatcher.poll(&mut deferred, true);
        inner
            .dispatcher
            .cancel_all(&mut deferred.at(Instant::now()));
        self.release_driver(&mut inner, &mut deferred);
        self.unlock_and_run(inner, deferred);
        self.wait(&mut WaitFor::Drained, None);
    }

    /// Ends all workers, and waits until they are gone.
    pub(super) fn kill_workers(&self) {
        let mut inner = self.lock();
        inner.dispatcher.closing = true;
        inner
            .dispatcher
            .server
            .unregister(inner.dispatcher.observer_id);
        let connections: Vec<WorkerConnection> = inner
            .dispatcher
            .workers
            .iter_mut()
            .filter_map(|slot| slot.connection.take())
            .collect();
        drop(inner);
        for connection in &connections {
            connection.kill(Duration::ZERO);
        }
        // Longer than the fork server waits for their children.
        let deadline = Instant::now() + Duration::from_secs(5);
        for connection in &connections {
            connection.wait_ended(Some(deadline));
        }
        groups::end_pool(&self.setup.setup.limits);
        if let Some(spans) = &self.spans {
            spans.finish();
        }
    }
}

/// A fork server whose workers have what this thread has, started if there is none.
pub(super) fn server(
    options: &Options,
    setup: &WorkerSetup,
) -> std::io::Result<Arc<ForkServerClient>> {
    ForkServerClient::like_us(Origin {
        program: options.process.named_program()?.map(|program| &program.0),
        inheritance: Setup::inheritance(Some(&setup.setup)),
    })
}

//! Taking tasks on: room in the queue, options, handles.

use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::callable::Callable;
use super::current;
use super::pool::ThreadPool;
use super::task::PoolTask;
use super::thread_table::CLOSED;
use super::timeouts;
use super::work::Work;
use crate::pool::context::Context as TaskContext;
use crate::pool::policy::task_options::TaskOptions;
use crate::task::waiters::FutureWaiters;
use crate::worker::handle::HandleInner;
use crate::{JoinError, JoinHandle, Kind, Message};

/// What came of waiting for room in the queue.
pub(super) enum RoomWait {
    /// Room was taken, for one task.
    Taken,
    /// The pool takes nothing more.
    Closed,
    /// There was none before the task's deadline.
    NoneInTime,
}

impl ThreadPool {
    #[track_caller]
    pub(in crate::pool) fn submit<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
    ) -> JoinHandle<R> {
        self.submit_callable(Callable::Plain(task), input)
    }

    #[track_caller]
    pub(in crate::pool) fn submit_with<C: Message + Sync, A: Message, R: Message>(
        self: &Arc<Self>,
        context: TaskContext<C>,
        task: fn(&C, A) -> R,
        input: A,
    ) -> JoinHandle<R> {
        self.submit_callable(Callable::with_context(context, task), input)
    }

    #[track_caller]
    #[inline]
    pub(in crate::pool) fn submit_callable<A: Message, R: Message>(
        self: &Arc<Self>,
        task: Callable<A, R>,
        input: A,
    ) -> JoinHandle<R> {
        let call_site = Location::caller();
        if self.is_closed() {
            return JoinHandle(HandleInner::Closed(Kind::Thread));
        }
        if !self.capacity.try_acquire() {
            let _blocked = current::block();
            if !self.capacity.acquire(None) {
                return JoinHandle(HandleInner::Closed(Kind::Thread));
            }
        }
        self.accept(task, call_site, input)
    }

    /// As [`submit`](Self::submit), of a task that has options of its own.
    #[track_caller]
    pub(in crate::pool) fn submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: Callable<A, R>,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        let call_site = Location::caller();
        match self.wait_for_room(&options) {
            RoomWait::Taken => self.accept_as(task, call_site, input, options),
            RoomWait::Closed => JoinHandle(HandleInner::Closed(Kind::Thread)),
            RoomWait::NoneInTime => self.reject_expired(task, call_site, input, options),
        }
    }

    /// Takes room in the queue for a task with these options, when there is some.
    pub(super) fn wait_for_room(&self, options: &TaskOptions) -> RoomWait {
        if self.is_closed() {
            return RoomWait::Closed;
        }
        let mut has_room = self.capacity.try_acquire();
        if !has_room {
            let _blocked = current::block();
            has_room = self.capacity.acquire(options.deadline);
        }
        match has_room {
            true => RoomWait::Taken,
            false if self.is_closed() => RoomWait::Closed,
            false => RoomWait::NoneInTime,
        }
    }

    /// The handle of a task whose deadline has passed before there was room for it: it never is in
    /// the queue.
    pub(super) fn reject_expired<A: Message, R: Message>(
        self: &Arc<Self>,
        task: Callable<A, R>,
        call_site: &'static Location<'static>,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        let task = PoolTask::new(self, task, call_site, input, self.own_options(options));
        self.capacity.force_acquire();
        task.end_if_queued(self, |task, _| task.expired(self, false));
        JoinHandle(HandleInner::Pooled(Arc::new(task)))
    }

    /// As [`try_submit`](Self::try_submit), of a task that has options of its own.
    #[track_caller]
    pub(in crate::pool) fn try_submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: Callable<A, R>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let call_site = Location::caller();
        if self.is_closed() || !self.capacity.try_acquire() {
            return Err(input);
        }
        Ok(self.accept_as(task, call_site, input, options))
    }

    /// What a task has otherwise than the pool, as it keeps that.
    pub(super) fn own_options(&self, options: TaskOptions) -> Option<Box<TaskOptions<u64>>> {
        let by_our_clock = |at: Instant| {
            let left = at.saturating_duration_since(Instant::now());
            self.now().saturating_add(timeouts::nanos(left))
        };
        (!options.is_none()).then(|| Box::new(options.with_deadline(by_our_clock)))
    }

    /// Queues a task that has options of its own, and for which there is room.
    fn accept_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: Callable<A, R>,
        call_site: &'static Location<'static>,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        let options = self.own_options(options);
        let task = Arc::new(PoolTask::new(self, task, call_site, input, options));
        if self.keep_time_of(&task) {
            self.push_new(&task);
        }
        JoinHandle(HandleInner::Pooled(task))
    }

    /// Has the time of a task kept that has a timeout or a deadline of its own. `false`: the system
    /// has no thread that could do it, and the task has ended.
    pub(super) fn keep_time_of<A: Message, R: Message>(
        self: &Arc<Self>,
        task: &Arc<PoolTask<A, R>>,
    ) -> bool {
        let own = task.options.as_deref().unwrap_or(&TaskOptions::NONE);
        if own.own_timeout().is_none() && own.deadline.is_none() {
            return true;
        }
        let Ok(monitor) = self.ensure_timeout_monitor() else {
            task.end_if_queued(self, |_, _| JoinError::Closed);
            return false;
        };
        if let Some(at) = own.deadline {
            let work = Arc::downgrade(task) as Weak<dyn Work>;
            monitor.add_deadline(at, task.number, work);
        }
        true
    }

    #[track_caller]
    pub(in crate::pool) fn try_submit<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_at(task, Location::caller(), input)
    }

    /// As [`try_submit`](Self::try_submit), for a caller that was there.
    pub(in crate::pool) fn try_submit_at<A: Message, R: Message>(
        self: &Arc<Self>,
        task: fn(A) -> R,
        call_site: &'static Location<'static>,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        if self.is_closed() || !self.capacity.try_acquire() {
            return Err(input);
        }
        Ok(self.accept(Callable::Plain(task), call_site, input))
    }

    /// The futures that wait for room in the queue. `None`: it has no limit.
    pub(in crate::pool) fn room_waiters(&self) -> Option<&FutureWaiters> {
        self.capacity.room_waiters()
    }

    /// Queues a task, for which there is room.
    fn accept<A: Message, R: Message>(
        self: &Arc<Self>,
        task: Callable<A, R>,
        call_site: &'static Location<'static>,
        input: A,
    ) -> JoinHandle<R> {
        let task = Arc::new(PoolTask::new(self, task, call_site, input, None));
        self.push_new(&task);
        JoinHandle(HandleInner::Pooled(task))
    }

    /// Queues a task that was not queued before. If the pool was closed meanwhile, and no worker
    /// has begun it, it ends here.
    #[inline]
    fn push_new<A: Message, R: Message>(self: &Arc<Self>, task: &Arc<PoolTask<A, R>>) {
        self.push(Arc::clone(task) as Arc<dyn Work>);
        // Store–fence–load (README.md): either this thread sees that the pool was closed, or the
        // one that closed it sees the item in the queue.
        if self.wake_hint() & CLOSED != 0 {
            task.end_if_queued(self, |_, _| JoinError::Closed);
            self.clear_after_close();
        }
    }
}

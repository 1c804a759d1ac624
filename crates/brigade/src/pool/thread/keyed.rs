//! Tasks of a key: which thread has them, and how they come to it.
//!
//! Each thread has a list of tasks that it alone runs, in their order, in turn with those of the
//! queue. It is woken for them whatever others do. When it leaves the pool its list is closed, and
//! what is left goes into the queue as one item, for a thread that takes over the list.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::callable::Callable;
use super::locks::lock;
use super::pool::ThreadPool;
use super::submit::RoomWait;
use super::task::PoolTask;
use super::thread_table::{ABORTED, CLOSED};
use super::work::{AbandonReason, Rejection, RunOutcome, Work};
use super::worker::WorkerThread;
use crate::pool::policy::keys::{Lost, NotTaken};
use crate::pool::policy::task_options::TaskOptions;
use crate::task::contain::contained;
use crate::worker::handle::HandleInner;
use crate::{JoinError, JoinHandle, Kind, Message};

/// Tasks that one thread is to run.
#[derive(Default)]
pub(super) struct PinnedTasks {
    list: Mutex<PinnedList>,
    /// How many they are, for those that have not locked the list.
    count: AtomicUsize,
    /// The thread is about to leave the pool: its task was taken from it.
    leaves: AtomicBool,
}

#[derive(Default)]
struct PinnedList {
    tasks: VecDeque<Arc<dyn Work>>,
    /// The thread has left the pool.
    is_closed: bool,
    /// How often the thread gave up its keys.
    given_up: u64,
}

/// The thread that has a key, as long as it lives; and how often it had given up its keys when it
/// got that one.
#[derive(Clone)]
pub(super) struct KeyedThread {
    worker: Weak<WorkerThread>,
    given_up: u64,
}

impl KeyedThread {
    /// `None`: it has the key no more.
    fn worker_if_it_has_the_key(&self) -> Option<Arc<WorkerThread>> {
        let worker = self.worker.upgrade().filter(|worker| !worker.leaves())?;
        let is_still = lock(&worker.pinned.list).is_open_since(self.given_up);
        is_still.then_some(worker)
    }
}

impl PinnedList {
    fn is_open_since(&self, given_up: u64) -> bool {
        !self.is_closed && self.given_up == given_up
    }
}

/// The tasks of a thread that has left the pool.
struct LeftTasks(Mutex<VecDeque<Arc<dyn Work>>>);

impl ThreadPool {
    /// As [`submit_as`](Self::submit_as), of a task of a key. The error: the input, since the
    /// thread of that key is gone.
    #[track_caller]
    pub(in crate::pool) fn submit_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        task: Callable<A, R>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let call_site = Location::caller();
        match self.wait_for_room(&options) {
            RoomWait::Taken => self.accept_keyed(key, task, call_site, input, options),
            RoomWait::Closed => Ok(JoinHandle(HandleInner::Closed(Kind::Thread))),
            RoomWait::NoneInTime => Ok(self.reject_expired(task, call_site, input, options)),
        }
    }

    /// As [`try_submit_as`](Self::try_submit_as), of a task of a key.
    #[track_caller]
    pub(in crate::pool) fn try_submit_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        task: Callable<A, R>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, NotTaken<A>> {
        let call_site = Location::caller();
        if self.is_closed() || !self.capacity.try_acquire() {
            return Err(NotTaken::Full(input));
        }
        let taken = self.accept_keyed(key, task, call_site, input, options);
        taken.map_err(NotTaken::Lost)
    }

    /// Gives a task of a key, for which there is room, to the thread of that key.
    fn accept_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        key: u64,
        task: Callable<A, R>,
        call_site: &'static Location<'static>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let worker = match self.worker_for(key) {
            Ok(worker) => worker,
            Err(Lost) => {
                self.capacity.release(1);
                return Err(input);
            }
        };
        let options = self.own_options(options);
        let task = Arc::new(PoolTask::new(self, task, call_site, input, options));
        if !self.keep_time_of(&task) {
            return Ok(JoinHandle(HandleInner::Pooled(task)));
        }
        let item = Arc::clone(&task) as Arc<dyn Work>;
        let left = match worker {
            Some((worker, given_up)) => worker.pin(item, given_up).err(),
            None => Some(item),
        };
        if let Some(item) = left {
            self.push(item);
        }
        // As with any task: README.md.
        if self.wake_hint() & CLOSED != 0 {
            task.end_if_queued(self, |_, _| JoinError::Closed);
            self.clear_after_close();
        }
        Ok(JoinHandle(HandleInner::Pooled(task)))
    }

    /// The thread for a key's next task; `None`: there is none at the moment.
    fn worker_for(&self, key: u64) -> Result<Option<(Arc<WorkerThread>, u64)>, Lost> {
        let mut keys = lock(&self.keys);
        if let Some(known) = keys.take(key) {
            let worker = known.worker_if_it_has_the_key().ok_or(Lost)?;
            let given_up = known.given_up;
            keys.put(key, known);
            return Ok(Some((worker, given_up)));
        }
        let worker = self.with_table(|table| {
            // No more threads have keys than the pool has workers: those that stand in for others
            // come and go.
            let (workers, with_keys) = (table.workers, table.with_keys());
            let may_have = |keys: u64| keys > 0 || with_keys < workers;
            let entries = table.threads.values_mut();
            let entry = entries
                .filter(|entry| entry.ready && !entry.worker.leaves() && may_have(entry.keys))
                .min_by_key(|entry| (entry.blocked, entry.keys, entry.worker.id))?;
            entry.keys += 1;
            Some(Arc::clone(&entry.worker))
        });
        let Some(worker) = worker else {
            return Ok(None);
        };
        let given_up = lock(&worker.pinned.list).given_up;
        let known = KeyedThread {
            worker: Arc::downgrade(&worker),
            given_up,
        };
        keys.put(key, known);
        Ok(Some((worker, given_up)))
    }

    /// Whether tasks are queued, for any thread or for one.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue_is_empty() || self.pinned.load(Ordering::SeqCst) > 0
    }
}

impl WorkerThread {
    /// Whether there are tasks that this thread alone runs.
    #[inline]
    pub(super) fn has_pinned(&self) -> bool {
        self.pinned.count.load(Ordering::Acquire) > 0
    }

    /// Takes the next of those.
    pub(super) fn next_pinned(&self) -> Option<Arc<dyn Work>> {
        if !self.has_pinned() {
            return None;
        }
        let mut list = lock(&self.pinned.list);
        let item = list.tasks.pop_front()?;
        self.pinned.count.store(list.tasks.len(), Ordering::Release);
        drop(list);
        self.pool.pinned.fetch_sub(1, Ordering::SeqCst);
        Some(item)
    }

    /// Adds one, and wakes the thread if it sleeps. The error: the thread has left the pool, or has
    /// given up its keys.
    fn pin(&self, item: Arc<dyn Work>, given_up: u64) -> Result<(), Arc<dyn Work>> {
        let mut list = lock(&self.pinned.list);
        if !list.is_open_since(given_up) {
            return Err(item);
        }
        self.pool.pinned.fetch_add(1, Ordering::SeqCst);
        list.tasks.push_back(item);
        self.pinned.count.store(list.tasks.len(), Ordering::Release);
        drop(list);
        // A thread that goes to sleep says so under the table's lock, and then looks at its list.
        if self.end_sleep() {
            self.wake();
        }
        Ok(())
    }

    /// The worker has its keys no more, though it has not left the pool yet.
    pub(super) fn begin_to_leave(&self) {
        self.pinned.leaves.store(true, Ordering::Release);
    }

    fn leaves(&self) -> bool {
        self.pinned.leaves.load(Ordering::Acquire)
    }

    /// The worker does not sleep any more. `false`: it did not, or another thread has woken it.
    pub(super) fn end_sleep(&self) -> bool {
        self.pool.with_table(|table| {
            table.clear_sentry(self.id);
            table.remove_sleeper(self.id)
        })
    }

    /// Goes on with the tasks of a thread that has left the pool.
    fn take_over(&self, mut tasks: VecDeque<Arc<dyn Work>>) {
        let mut list = lock(&self.pinned.list);
        if list.is_closed {
            drop(list);
            self.pool.push(Arc::new(LeftTasks(Mutex::new(tasks))));
            return;
        }
        self.pool.pinned.fetch_add(tasks.len(), Ordering::SeqCst);
        tasks.append(&mut list.tasks);
        list.tasks = tasks;
        self.pinned.count.store(list.tasks.len(), Ordering::Release);
    }

    /// The thread has no keys any more, and perhaps has left the pool: what it was to run goes to
    /// another.
    pub(super) fn give_up_keys(&self, has_left: bool) {
        let mut list = lock(&self.pinned.list);
        list.is_closed |= has_left;
        list.given_up += 1;
        let tasks = std::mem::take(&mut list.tasks);
        self.pinned.count.store(0, Ordering::Release);
        drop(list);
        let count = tasks.len();
        if count == 0 {
            return;
        }
        let left = Arc::new(LeftTasks(Mutex::new(tasks)));
        if self.pool.wake_hint() & ABORTED != 0 {
            left.reject(&self.pool, &Rejection::Cancelled);
        } else {
            self.pool.push(left);
        }
        // Then, so that they are never unseen.
        self.pool.pinned.fetch_sub(count, Ordering::SeqCst);
    }
}

impl LeftTasks {
    fn take(&self) -> VecDeque<Arc<dyn Work>> {
        std::mem::take(&mut lock(&self.0))
    }
}

impl Work for LeftTasks {
    fn run(self: Arc<Self>, worker: &Arc<WorkerThread>) -> RunOutcome {
        worker.take_over(self.take());
        RunOutcome::Done
    }

    fn abandon(self: Arc<Self>, _: &WorkerThread, _: u64, _: AbandonReason) -> bool {
        false
    }

    fn reject(self: Arc<Self>, pool: &Arc<ThreadPool>, rejection: &Rejection) {
        for item in self.take() {
            contained(move || item.reject(pool, rejection));
        }
    }

    fn has_ended(&self) -> bool {
        lock(&self.0).iter().all(|item| item.has_ended())
    }

    fn function(&self) -> (usize, &'static Location<'static>) {
        let first = lock(&self.0).front().map(|item| item.function());
        first.unwrap_or((0, Location::caller()))
    }
}

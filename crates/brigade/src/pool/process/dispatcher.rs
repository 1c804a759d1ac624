//! What a pool of processes has to do, and which worker does it: the dispatcher. Everything here is
//! done under the pool's lock, and nothing here waits.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::LivingWorker;
use super::map_results::MapTable;
use super::own_times::OwnTimes;
use super::queue::TaskQueue;
use super::respawn::Respawn;
use super::task::Task;
use super::wakeup_schedule::WakeupSchedule;
use super::worker_table::WorkerTable;
use crate::PoolStats;
use crate::pool::config::Options;
use crate::pool::policy::estimate::{PrefetchEstimate, WORTH_WAKING};
use crate::pool::policy::keys::Keys;
use crate::pool::policy::size::Following;
use crate::sim::local::{Instant, Ordering};
use crate::worker::process::doubles::ForkServerClient;
use crate::worker::process::host::worker_setup::WorkerSetup;

/// A pool's work.
pub(super) struct Dispatcher {
    pub(super) options: Arc<Options>,
    pub(super) setup: WorkerSetup,
    pub(super) grace: Duration,
    pub(super) server: Arc<ForkServerClient>,
    /// What the fork server calls this pool.
    pub(super) observer_id: u64,
    pub(super) workers: WorkerTable,
    pub(super) wakeups: WakeupSchedule,
    pub(super) queue: TaskQueue,
    /// Which worker has the tasks of which key.
    pub(super) keys: Keys<LivingWorker>,
    pub(super) own_times: OwnTimes,
    /// Tasks whose end is known and not yet told.
    pub(super) dead_pending: usize,
    /// Deaths that are being written down, of tasks that are run again.
    pub(super) reports_pending: usize,
    pub(super) maps: MapTable,
    pub(super) estimate: PrefetchEstimate,
    pub(super) stats: PoolStats,
    /// The exit table's epoch when it was looked at last.
    pub(super) epoch: u32,
    /// How often the exit table says that workers were stopped or went on, when that was looked at
    /// last.
    pub(super) stops: u32,
    /// Ends that could not be dealt with yet.
    pub(super) exits_deferred: bool,
    pub(super) respawn: Respawn,
    /// The number of workers follows the work.
    pub(super) following: Option<Following<Instant>>,
    /// When it was looked at what workers say.
    pub(super) looked: Instant,
    /// Something came of the last look.
    pub(super) changed: bool,
    pub(super) closing: bool,
    /// Everything was cancelled: nothing is run any more.
    pub(super) aborting: bool,
    /// A subscriber listens to what happens to each task, or a timeline shows it.
    pub(super) is_heard: bool,
    /// That, or something beside the caller gets each task's end.
    pub(super) is_traced: bool,
    pub(super) next_number: u64,
    pub(super) reply_buf: Vec<u8>,
}

impl Dispatcher {
    pub(super) fn new(
        options: Arc<Options>,
        setup: WorkerSetup,
        server: Arc<ForkServerClient>,
        observer_id: u64,
    ) -> Dispatcher {
        let now = Instant::now();
        let epoch = server.exit_table.epoch().load(Ordering::Acquire);
        Dispatcher {
            grace: options.process.grace_time(),
            workers: WorkerTable::new(options.workers(), now),
            stats: PoolStats {
                workers: options.workers(),
                ..PoolStats::default()
            },
            respawn: Respawn::new(options.workers()),
            following: Following::new(options.size.range(), options.shrink_after),
            options,
            setup,
            server,
            observer_id,
            wakeups: WakeupSchedule::default(),
            queue: TaskQueue::default(),
            keys: Keys::default(),
            own_times: OwnTimes::default(),
            dead_pending: 0,
            reports_pending: 0,
            maps: MapTable::default(),
            estimate: PrefetchEstimate::default(),
            epoch,
            stops: 0,
            exits_deferred: false,
            looked: now,
            changed: false,
            closing: false,
            aborting: false,
            is_heard: false,
            is_traced: false,
            next_number: 0,
            reply_buf: Vec::new(),
        }
    }

    /// How many tasks wait that no worker has begun.
    pub(super) fn waiting(&self) -> usize {
        self.queue.live() + self.workers.assigned() - self.workers.busy().len()
    }

    /// How many more tasks may wait.
    pub(super) fn room_in_queue(&self) -> usize {
        self.options.queue_limit.room(self.waiting())
    }

    pub(super) fn is_full(&self) -> bool {
        self.options.queue_limit.is_reached(self.waiting())
    }

    /// Takes a task on.
    pub(super) fn accept(&mut self, mut task: Task) {
        if self.respawn.resume() {
            for slot in self.workers.iter_mut() {
                slot.respawn_at = None;
            }
        }
        task.number = self.next_number;
        self.count_accepted(task.count(), task.input.len());
        if task.has_options {
            self.own_times.add(&task);
        }
        self.queue.push_back(task);
    }

    pub(super) fn count_accepted(&mut self, tasks: u32, bytes: u64) {
        self.next_number += u64::from(tasks);
        self.stats.submitted += u64::from(tasks);
        self.stats.bytes_in += bytes;
    }

    /// Whether busy workers may have much to say: they were not looked at for a while, or they seem
    /// to have much to do.
    pub(super) fn is_look_due(&self, now: Instant) -> bool {
        !self.workers.busy().is_empty()
            && (now.saturating_duration_since(self.looked) >= WORTH_WAKING
                || self.queue.is_empty() && self.estimate.worth_waking().is_some())
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many tasks more there is room for ahead of the workers.
    pub(super) fn room_for_more(&self) -> usize {
        let mut sharers = self.sharers();
        if let (Some(following), None) = (&self.following, self.estimate.worth_waking()) {
            // What waits is what more workers are made for.
            sharers = sharers.max(following.most());
        }
        let room = self.estimate.prefetch_depth() * sharers;
        let limit = self.options.queue_limit;
        // With no worker at hand, one task waits for the first.
        room.max(1)
            .saturating_sub(self.workers.assigned() + self.queue.tasks())
            .min(
                limit
                    .room(self.waiting())
                    .max(usize::from(self.workers.busy().is_empty())),
            )
    }

    /// The numbers as they are now.
    pub(super) fn snapshot(&self, now: Instant) -> PoolStats {
        let mut stats = self.stats.clone();
        // A replacement may have been given something before the end of the task that its
        // predecessor died of is settled: that has hardly begun.
        let slots = self.workers.busy().iter().map(|&i| &self.workers[i]);
        let unbegun = slots.filter(|slot| !slot.has_begun()).count();
        // The queue is never longer than its limit: what a worker that had nothing to do is about
        // to begin is beyond it.
        let unbegun = unbegun.min(self.options.queue_limit.room(self.waiting()));
        let running = self.workers.busy().len() - unbegun + self.dead_pending;
        let over = running.saturating_sub(self.workers.len());
        stats.queued = (self.waiting() + unbegun + over) as u64;
        stats.running = (running - over) as u64;
        let connections = self
            .workers
            .iter()
            .filter_map(|slot| slot.connection.as_ref());
        stats.stopped = connections.filter(|c| c.stop().0).count();
        stats.busy += self.workers.busy_time(now);
        stats.context_bytes = self.workers.context_bytes();
        stats
    }

    /// Nothing to do, and nothing to tell.
    pub(super) fn is_done(&self) -> bool {
        self.queue.live() == 0
            && self.workers.busy().is_empty()
            && self.dead_pending == 0
            && self.reports_pending == 0
    }
}

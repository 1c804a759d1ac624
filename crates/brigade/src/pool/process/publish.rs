//! What is published of a pool of processes.

use super::pool::ProcessPool;
use super::worker_slot::{SlotStatus, WorkerSlot};
use crate::Kind;
use crate::pool::config::Options;
use crate::publish::{PoolPicture, PoolSource, TaskPicture, WorkerPicture};
use crate::sim::local::Instant;

impl PoolSource for ProcessPool {
    fn picture(&self) -> PoolPicture {
        let stats = self.stats();
        let inner = self.lock();
        let now = Instant::now();
        let dispatcher = &inner.dispatcher;
        // A place without a worker is one that is to have one, or is too many.
        let workers = dispatcher.workers.iter();
        let vacant = dispatcher
            .workers
            .wanted()
            .saturating_sub(dispatcher.workers.staying());
        let mut vacant = vacant;
        let workers = workers.filter(move |slot| {
            let is_shown = slot.status != SlotStatus::Vacant || vacant > 0;
            vacant -= usize::from(is_shown && slot.status == SlotStatus::Vacant);
            is_shown
        });
        PoolPicture {
            kind: Kind::Process,
            name: self.options.name.clone(),
            fork_server: Some(dispatcher.server.pid()),
            stats,
            workers: workers
                .map(|slot| slot.picture(&self.options, now))
                .collect(),
        }
    }
}

impl WorkerSlot {
    pub(super) fn picture(&self, options: &Options, now: Instant) -> WorkerPicture {
        let is_running = self.has_begun() && !self.assigned.is_empty();
        let is_stopped = (self.connection.as_ref()).is_some_and(|c| c.stop().0);
        let task = self.assigned.first().filter(|_| is_running);
        WorkerPicture {
            id: self.connection.as_ref().map_or(0, |c| c.pid()),
            state: match self.status {
                _ if is_stopped => "stopped",
                SlotStatus::Vacant | SlotStatus::Starting => "starting",
                SlotStatus::Leaving | SlotStatus::Terminating(_) => "ending",
                SlotStatus::Ready if is_running => "running",
                SlotStatus::Ready => "idle",
            },
            task: task.map(|task| TaskPicture {
                function: task.target.address(options),
                call_site: task.target.call_site(),
                since: now.saturating_duration_since(self.front_since.1),
            }),
            ahead: self.assigned.count() - usize::from(is_running),
        }
    }
}

//! Tasks of a key: which worker has them, and giving it those.
//!
//! They wait in lists of their own, one for each worker slot, and are given to that worker one
//! by one, when it has no other task: so none of them lies ahead of a worker, to be taken back, and
//! they keep their order. A worker that is to run one is given nothing ahead. When its worker dies
//! a list waits for the next one in that place; where none comes, it goes to another.

use super::assignment::{LivingWorker, WorkerIndex};
use super::deferred::Ctx;
use super::dispatcher::Dispatcher;
use super::worker_slot::SlotStatus;
use super::worker_table::WorkerTable;
use crate::pool::policy::keys::Lost;

impl WorkerTable {
    /// The worker in this place, or the one that comes next if that one ends.
    fn living(&self, i: WorkerIndex) -> LivingWorker {
        let ends = matches!(
            self[i].status,
            SlotStatus::Leaving | SlotStatus::Terminating(_)
        );
        (i, self.generation(i) + u64::from(ends))
    }

    /// The one that has the fewest keys, of those that stay or, if there are none, that will come.
    fn with_fewest_keys(&self) -> WorkerIndex {
        let fewest = |i: &WorkerIndex| (!self[*i].stays(), self.keys(*i));
        let found = self.indices().take(self.wanted()).min_by_key(fewest);
        let others = || self.indices().find(|&i| self[i].stays());
        match found.filter(|&i| self[i].stays()) {
            Some(i) => i,
            None => others().or(found).unwrap_or(WorkerIndex::FIRST),
        }
    }
}

impl Dispatcher {
    /// The worker for a key's next task.
    pub(super) fn worker_for(&mut self, key: u64) -> Result<WorkerIndex, Lost> {
        if let Some(known) = self.keys.take(key) {
            let (i, _) = known;
            if self.workers.living(i) != known || self.workers[i].leaves {
                return Err(Lost);
            }
            self.keys.put(key, known);
            return Ok(i);
        }
        let i = self.workers.with_fewest_keys();
        self.workers.count_key(i);
        self.keys.put(key, self.workers.living(i));
        Ok(i)
    }

    /// Gives tasks of keys to their workers.
    pub(super) fn assign_pinned(&mut self, ctx: &mut Ctx<'_>) {
        for i in self.queue.pinned_places() {
            let i = self.successor(i);
            let slot = &self.workers[i];
            if !slot.has_room() || !slot.assigned.is_empty() {
                continue;
            }
            // What any worker may run has its turn, too.
            let own = self.queue.first_pinned(i).map(|task| task.number);
            let first = self.queue.first().map(|task| task.number);
            let is_later = first.is_some_and(|first| own.is_some_and(|own| first < own));
            if !(is_later && self.assign_to(i, 1, ctx)) {
                self.assign_from(i, 1, true, ctx);
            }
        }
    }

    /// Where tasks go that were for the worker in this place: to another, if none comes there soon
    /// and that one is ready.
    fn successor(&mut self, i: WorkerIndex) -> WorkerIndex {
        let slot = &self.workers[i];
        let none_comes = slot.status == SlotStatus::Vacant
            && (slot.respawn_at.is_some() || self.workers.staying() >= self.workers.wanted());
        let ready = |&other: &WorkerIndex| {
            let other = &self.workers[other];
            other.is_ready() && !other.leaves
        };
        let fewest = |other: &WorkerIndex| self.workers.keys(*other);
        match self.workers.indices().filter(ready).min_by_key(fewest) {
            Some(to) if none_comes => {
                self.queue.repin(i, to);
                // The next call for a key of this slot learns that the key's worker is gone.
                self.workers.end_generation(i);
                to
            }
            _ => i,
        }
    }
}

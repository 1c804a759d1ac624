//! How many workers there should be, changed while the pool runs.

use std::time::Duration;

use super::assignment::WorkerIndex;
use super::deferred::Ctx;
use super::dispatcher::Dispatcher;
use super::worker_slot::{SlotStatus, Termination};
use crate::pool::policy::size::Load;
use crate::sim::local::Instant;

/// When it is looked whether a worker that was dismissed has ended.
const DISMISSED: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// What there is to do, for a pool whose number of workers follows that.
    fn load(&self, now: Instant) -> Load {
        let waiting = self.waiting();
        let (workers, busy) = (self.workers.wanted(), self.workers.busy().len());
        Load {
            workers,
            busy,
            // More than the processors do not run tiny tasks faster.
            waiting: match self.has_enough_at_work(now) {
                true => 0,
                false => waiting.saturating_sub(workers.saturating_sub(busy)),
            },
            begun: self.stats.submitted.saturating_sub(waiting as u64),
        }
    }

    /// When it is to be looked whether there should be more workers, or fewer.
    #[inline]
    pub(super) fn next_look_at_size(&mut self) -> Option<Instant> {
        self.following.as_ref()?;
        let now = Instant::now();
        let load = self.load(now);
        self.following.as_mut()?.observe(load, now)
    }

    /// Has as many workers as the work needs. Returns how many that are, if it is another number.
    pub(super) fn follow_work(&mut self, ctx: &mut Ctx<'_>) -> Option<usize> {
        self.following.as_ref()?;
        if self.respawn.is_building() || self.closing && self.is_done() {
            return None;
        }
        let load = self.load(ctx.now);
        let workers = self.following.as_mut()?.look(load, ctx.now)?;
        self.resize(workers, ctx);
        Some(workers)
    }

    /// Sets how many workers there should be from now on. What is missing is taken by the next
    /// [`poll`](Self::poll). What is one too many is given nothing more: one that has no task ends
    /// now, another when it has ended the one that it runs.
    pub(super) fn resize(&mut self, workers: usize, ctx: &mut Ctx<'_>) {
        self.workers.set_wanted(workers, ctx.now);
        self.stats.workers = workers;
        self.changed = true;
        let mut staying = self.workers.staying();
        // Those that were to leave, and have not, stay after all.
        for i in self.workers.indices() {
            if staying < workers && self.workers[i].leaves {
                self.workers.set_leaving(i, false);
                staying += 1;
            }
        }
        let is_starting = |d: &Self, i: WorkerIndex| d.workers[i].status == SlotStatus::Starting;
        let starting: Vec<_> = (self.workers.indices())
            .filter(|&i| is_starting(self, i))
            .collect();
        // The idle one that was used last goes last.
        let idle = self.workers.idle().to_vec();
        let busy = self.workers.busy().to_vec();
        for i in starting.into_iter().chain(idle).chain(busy) {
            if staying <= workers {
                break;
            }
            if !self.workers[i].stays() {
                continue;
            }
            staying -= 1;
            if !self.workers.is_busy(i) {
                self.dismiss(i, ctx.now);
                continue;
            }
            self.workers.set_leaving(i, true);
            // What it has not begun goes to others.
            let first = self.workers[i].first();
            self.take_back(i, first.wrapping_add(1), ctx);
        }
        self.assign(ctx);
    }

    /// Ends a worker that has no task, and that is one too many.
    pub(super) fn dismiss(&mut self, i: WorkerIndex, now: Instant) {
        self.workers.end_idle(i);
        self.terminate(i, Termination::Surplus, Duration::ZERO);
        let at = now + DISMISSED;
        if self.wakeups.is_later_than(at) {
            self.set_timer(at);
        }
    }
}

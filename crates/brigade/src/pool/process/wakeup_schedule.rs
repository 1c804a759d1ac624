//! Which workers need a new request when to notify, and when the listener calls.

use super::assignment::WorkerIndex;
use crate::sim::local::Instant;

/// Which workers need a new request when to notify before the pool is left to itself, and when the
/// listener calls in any case.
#[derive(Default)]
pub(super) struct WakeupSchedule {
    /// Workers whose request no longer fits the tasks that they have.
    stale: Vec<WorkerIndex>,
    /// Those of all workers do not.
    all_stale: bool,
    /// Whether workers notified when they had little left, as of the last setting.
    notifies_for_refill: bool,
    /// A future was polled, or events are listened to: each result is to be taken when it is there.
    notifies_each_result: bool,
    timer: Option<Instant>,
    /// The timer goes off soon, because tasks may wait that another worker has time for.
    is_timer_soon: bool,
}

/// Workers whose requests are to be written.
pub(super) struct StaleRequests {
    pub(super) workers: Vec<WorkerIndex>,
    /// These are all busy workers.
    pub(super) all: bool,
}

impl WakeupSchedule {
    pub(super) fn mark_stale(&mut self, i: WorkerIndex) {
        self.stale.push(i);
    }

    pub(super) fn mark_all_stale(&mut self) {
        self.all_stale = true;
    }

    /// The requests to be written, if workers notify for a refill or do not.
    pub(super) fn take_stale(&mut self, for_refill: bool, busy: &[WorkerIndex]) -> StaleRequests {
        let all = std::mem::take(&mut self.all_stale) || for_refill != self.notifies_for_refill;
        self.notifies_for_refill = for_refill;
        let workers = if all {
            self.stale.clear();
            busy.to_vec()
        } else {
            std::mem::take(&mut self.stale)
        };
        StaleRequests { workers, all }
    }

    /// Those requests were written: the list's memory is used for the next.
    pub(super) fn reuse(&mut self, set: StaleRequests) {
        if !set.all {
            self.stale = set.workers;
            self.stale.clear();
        }
    }

    /// A driver writes all requests for itself: none fits afterwards.
    pub(super) fn begin_driver(&mut self) {
        self.all_stale = true;
        self.stale.clear();
    }

    // ---- each result

    pub(super) fn notifies_each_result(&self) -> bool {
        self.notifies_each_result
    }

    /// From now on workers notify after each task. Returns whether that is new.
    pub(super) fn notify_each_result(&mut self) -> bool {
        let is_new = !self.notifies_each_result;
        self.notifies_each_result = true;
        self.all_stale |= is_new;
        is_new
    }

    /// All tasks have ended: no future or listener waits for one.
    pub(super) fn end_each_result(&mut self) {
        self.notifies_each_result = false;
    }

    // ---- the timer

    pub(super) fn has_timer(&self) -> bool {
        self.timer.is_some()
    }

    pub(super) fn is_timer_soon(&self) -> bool {
        self.is_timer_soon
    }

    pub(super) fn mark_timer_soon(&mut self) {
        self.is_timer_soon = true;
    }

    /// Whether the listener would call later than that.
    pub(super) fn is_later_than(&self, at: Instant) -> bool {
        self.timer.is_none_or(|timer| at < timer)
    }

    pub(super) fn set_timer(&mut self, at: Instant) {
        self.timer = Some(at);
    }

    /// The listener has called, or the fork server that was asked to is gone.
    pub(super) fn clear_timer(&mut self) {
        self.timer = None;
        self.is_timer_soon = false;
    }
}

//! When a worker is to notify: for a driver that sleeps, or, if there is none, for the listener.
//!
//! A wake-up costs both sides more than a small task, so a worker notifies as seldom as
//! possible, and never so late that a caller waits for a result that is there already.

use std::sync::Arc;

use super::assignment::{Assignment, WorkerIndex};
use super::dispatcher::Dispatcher;
use super::driver::WaitFor;
use super::worker_slot::WorkerSlot;
use crate::sim::local::futex;
use crate::worker::process::ipc::handoff::Notify;
use crate::worker::process::ipc::mailbox::Mailbox;

impl Dispatcher {
    /// Whether a thread has to look when workers finish, even if no caller waits for a result:
    /// there are more tasks to give out, some are to be shared, or a future is to be woken.
    ///
    /// `soon`: a thread will look soon in any case, and has nothing in the queue.
    fn needs_refill(&self, soon: bool) -> bool {
        self.queue.has_any()
            || self.wakeups.notifies_each_result()
            || !soon && self.has_work_to_share()
    }

    /// Where a slot's worker is to notify at if no caller waits for it in particular; `None`:
    /// nowhere.
    fn refill_threshold(&self, slot: &WorkerSlot) -> Option<u32> {
        let first = slot.first();
        let tasks = slot.assigned.count() as u32;
        if self.wakeups.notifies_each_result() {
            Some(first.wrapping_add(1))
        } else if self.queue.has_any() {
            Some(first.wrapping_add((tasks / 2).max(1)))
        } else if self.has_work_to_share() {
            Some(first.wrapping_add(tasks))
        } else {
            None
        }
    }

    /// No thread looks from now on: has workers notify the listener where that is needed. `false`:
    /// there is news, look first.
    pub(super) fn set_listener_wakeups(&mut self, soon: bool) -> bool {
        if self.is_done() {
            self.wakeups.end_each_result();
        }
        let attention = self.needs_refill(soon);
        let stale = self.wakeups.take_stale(attention, self.workers.busy());
        let mut quiet = true;
        for &i in &stale.workers {
            let slot = &self.workers[i];
            if slot.assigned.is_empty() {
                continue;
            }
            let notify = match self.refill_threshold(slot) {
                _ if !attention || slot.cannot_notify() => Notify::ListenerIfFull,
                Some(at) => Notify::Listener(at),
                None => Notify::ListenerIfFull,
            };
            let mute = slot.cannot_notify();
            if let Some(connection) = &mut self.workers[i].connection {
                quiet &= connection.set_notify(notify, stale.all) || mute;
            }
        }
        self.wakeups.reuse(stale);
        if !quiet {
            self.wakeups.mark_all_stale();
        }
        quiet
    }

    /// The driver is about to sleep: has workers notify it. Gives their notify words. `None`: there
    /// is news, look first.
    ///
    /// `others`: another caller waits for something too, so that each result may be what is waited
    /// for.
    pub(super) fn set_driver_wakeups(
        &mut self,
        want: &WaitFor<'_>,
        others: bool,
    ) -> Option<Vec<(Arc<Mailbox>, u32)>> {
        self.wakeups.begin_driver();
        let mut words = Vec::with_capacity(self.workers.busy().len());
        for at in 0..self.workers.busy().len() {
            let i = self.workers.busy()[at];
            let slot = &self.workers[i];
            let mute = slot.cannot_notify();
            let point = if mute {
                None
            } else if others {
                Some(slot.first().wrapping_add(1))
            } else {
                self.wake_threshold(i, slot, want)
            };
            let notify = match point {
                Some(at) => Notify::Futex(at),
                None => Notify::ListenerIfFull,
            };
            let Some(connection) = &mut self.workers[i].connection else {
                continue;
            };
            if !connection.set_notify(notify, true) && !mute {
                return None;
            }
            words.push(connection.notify_word());
        }
        Some(words)
    }

    /// Whether the driver can sleep on all notify words at once.
    pub(super) fn fits_waitv(&self) -> bool {
        self.workers.busy().len() + 2 <= futex::MOST
    }

    fn wake_threshold(&self, i: WorkerIndex, slot: &WorkerSlot, want: &WaitFor<'_>) -> Option<u32> {
        let first = slot.first();
        let tasks = slot.assigned.count() as u32;
        match want {
            WaitFor::Task(cell) => match cell.assignment() {
                Some(Assignment { worker, number }) if worker == i => Some(number.wrapping_add(1)),
                _ => self.refill_threshold(slot),
            },
            // A millisecond of work, but never more than half of what it has.
            WaitFor::MapResult { .. } => {
                let batch = self.estimate.wake_batch().min((tasks / 2).max(1));
                Some(first.wrapping_add(batch))
            }
            WaitFor::Capacity => Some(first.wrapping_add(1)),
            WaitFor::Startup | WaitFor::Drained => Some(
                self.refill_threshold(slot)
                    .unwrap_or_else(|| first.wrapping_add(tasks)),
            ),
        }
    }
}

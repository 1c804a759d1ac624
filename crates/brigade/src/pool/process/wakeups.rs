//! When a worker is to ring: for a driver that sleeps, or, if there is none, for the listener.
//!
//! A ring costs both sides more than a small task, so a worker rings as seldom as it may, but
//! always before somebody would have to wait who need not.

use std::sync::Arc;

use super::assignment::{Assignment, WorkerIndex};
use super::dispatcher::State;
use super::pool::Want;
use super::worker_slot::Seat;
use crate::sim::local::futex;
use crate::worker::process::ipc::handoff::Notify;
use crate::worker::process::ipc::mailbox::Mailbox;

impl State {
    /// Whether somebody has to look when workers finish, even if nobody waits for a result: there
    /// are more tasks to give out, some are to be shared, or a future is to be woken.
    ///
    /// `soon`: somebody will look soon in any case, and has nothing in the queue.
    fn needs_attention(&self, soon: bool) -> bool {
        !self.queue.is_empty()
            || self.wakeups.rings_for_each_result()
            || !soon && self.workers.has_queued_behind()
    }

    /// Where a seat's worker is to ring if nobody waits for it in particular; `None`: nowhere.
    fn refill_point(&self, seat: &Seat) -> Option<u32> {
        let first = seat.first();
        let hand = seat.hand.count() as u32;
        if self.wakeups.rings_for_each_result() {
            Some(first.wrapping_add(1))
        } else if !self.queue.is_empty() {
            Some(first.wrapping_add((hand / 2).max(1)))
        } else if self.workers.has_queued_behind() {
            Some(first.wrapping_add(hand))
        } else {
            None
        }
    }

    /// Nobody looks from now on: has workers ring for the listener where that is needed. `false`:
    /// there is news, look first.
    pub(super) fn arm(&mut self, soon: bool) -> bool {
        if self.is_done() {
            self.wakeups.end_each_result();
        }
        let attention = self.needs_attention(soon);
        let stale = self.wakeups.take_stale(attention, self.workers.busy());
        let mut quiet = true;
        for &i in &stale.workers {
            let seat = &self.workers[i];
            if seat.hand.is_empty() {
                continue;
            }
            let bell = match self.refill_point(seat) {
                _ if !attention || seat.is_mute() => Notify::ListenerIfFull,
                Some(at) => Notify::Listener(at),
                None => Notify::ListenerIfFull,
            };
            let mute = seat.is_mute();
            if let Some(line) = &mut self.workers[i].line {
                quiet &= line.set_notify(bell, stale.all) || mute;
            }
        }
        self.wakeups.reuse(stale);
        if !quiet {
            self.wakeups.mark_all_stale();
        }
        quiet
    }

    /// The driver is about to sleep: has workers ring for it. Gives their bells. `None`: there is
    /// news, look first.
    ///
    /// `others`: somebody else waits for something too, so that each result may be what is waited
    /// for.
    pub(super) fn prepare_sleep(
        &mut self,
        want: &Want<'_>,
        others: bool,
    ) -> Option<Vec<(Arc<Mailbox>, u32)>> {
        self.wakeups.begin_driver();
        let mut bells = Vec::with_capacity(self.workers.busy().len());
        for at in 0..self.workers.busy().len() {
            let i = self.workers.busy()[at];
            let seat = &self.workers[i];
            let mute = seat.is_mute();
            let point = if mute {
                None
            } else if others {
                Some(seat.first().wrapping_add(1))
            } else {
                self.wanted_point(i, seat, want)
            };
            let bell = match point {
                Some(at) => Notify::Futex(at),
                None => Notify::ListenerIfFull,
            };
            let Some(line) = &mut self.workers[i].line else {
                continue;
            };
            if !line.set_notify(bell, true) && !mute {
                return None;
            }
            bells.push(line.notify_word());
        }
        Some(bells)
    }

    /// Whether the driver can sleep on all bells at once.
    pub(super) fn has_few_bells(&self) -> bool {
        self.workers.busy().len() + 2 <= futex::MOST
    }

    fn wanted_point(&self, i: WorkerIndex, seat: &Seat, want: &Want<'_>) -> Option<u32> {
        let first = seat.first();
        let hand = seat.hand.count() as u32;
        match want {
            Want::Slot(slot) => match slot.assignment() {
                Some(Assignment { worker, number }) if worker == i => Some(number.wrapping_add(1)),
                _ => self.refill_point(seat),
            },
            // A quarter of a millisecond of work, but never all that it has.
            Want::Results { .. } => {
                let batch = self.pace.wake_batch().min((hand / 2).max(1));
                Some(first.wrapping_add(batch))
            }
            Want::Room => Some(first.wrapping_add(1)),
            Want::Ready | Want::Done => Some(
                self.refill_point(seat)
                    .unwrap_or_else(|| first.wrapping_add(hand)),
            ),
        }
    }
}

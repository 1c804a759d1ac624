//! How a pool ends.

use std::sync::Arc;
use std::thread;

use super::current;
use super::pool::Shared;
use super::work::{Refusal, Why};
use super::worker::Worker;
use crate::task::panic::contained;

/// How often one that ends a pool looks again whether that is done.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(20);

impl Shared {
    /// The threads that belong to it.
    pub(super) fn members(&self) -> Vec<Arc<Worker>> {
        let roster = self.lock_roster();
        let live = roster.live.values();
        live.map(|member| Arc::clone(&member.worker)).collect()
    }

    /// Whether it ends and has no threads any more.
    pub(super) fn is_deserted(&self) -> bool {
        let roster = self.lock_roster();
        roster.ending && roster.live.is_empty() && self.queue_is_empty()
    }

    /// Has the threads end when there is nothing left to do.
    fn end(&self, aborted: bool) -> bool {
        let (first, sleepers) = self.roster(|r| {
            let first = !r.ending;
            r.ending = true;
            r.aborted |= aborted;
            r.stand_down_all();
            (first, std::mem::take(&mut r.sleepers))
        });
        for worker in sleepers {
            worker.wake();
        }
        if let Some(keeper) = &self.keeper {
            keeper.wake();
        }
        first
    }

    /// Finishes what was accepted, ends the threads and waits for them.
    pub(in crate::pool) fn shutdown(self: &Arc<Self>) {
        if self.is_copy() {
            return;
        }
        self.end(false);
        if !self.queue_is_empty() {
            self.help();
        }
        let own = current::worker().filter(|worker| Arc::ptr_eq(&worker.crew, self));
        // In one of its own threads nobody can wait for that thread, and those that wait may wait
        // for it.
        let waiting = own.as_ref().map(|_| current::block());
        let is_over = |r: &super::thread_table::Roster| {
            let those = if own.is_some() { r.blocked } else { 0 };
            r.live.len() <= those && self.queue_is_empty()
        };
        let mut roster = self.lock_roster();
        while !is_over(&roster) {
            // What came when the last was about to leave is not left lying.
            if roster.active() == 0 && !self.queue_is_empty() {
                let aborted = roster.aborted;
                drop(roster);
                if aborted {
                    self.refuse_all(&Refusal::Cancelled);
                } else {
                    self.help();
                }
                roster = self.lock_roster();
                continue;
            }
            roster = match self.changed.wait_timeout(roster, AGAIN) {
                Ok((roster, _)) => roster,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let ended = std::mem::take(&mut roster.ended);
        let keeper = roster.keeper.take();
        drop(roster);
        drop(waiting);
        self.join(ended);
        if let Some(keeper) = keeper.filter(|_| own.is_none()) {
            if let Some(keeper) = &self.keeper {
                keeper.wake();
            }
            self.join(vec![keeper]);
        }
    }

    fn join(&self, threads: Vec<thread::JoinHandle<()>>) {
        let this = thread::current().id();
        for thread in threads {
            if thread.thread().id() != this {
                // Nothing in it panics.
                let _ = thread.join();
            }
        }
    }

    /// Cancels everything that waits and runs. [`shutdown`](Self::shutdown) is called after it.
    pub(in crate::pool) fn abort(self: &Arc<Self>) {
        if self.is_copy() {
            return;
        }
        self.end(true);
        self.refuse_all(&Refusal::Cancelled);
        for worker in self.members() {
            let Some(item) = worker.desk() else {
                continue;
            };
            // It has not begun it, or it has.
            contained(|| Arc::clone(&item).refuse(self, &Refusal::Cancelled));
            if item.let_go(&worker, u64::MAX, Why::Cancelled) {
                self.replace(worker.id, Why::Cancelled);
            }
        }
        // Those that are not through with their initializer are not waited for.
        let started = self.roster(|r| {
            let unready = r.live.iter().filter(|(_, member)| !member.ready);
            let unready: Vec<u64> = unready.map(|(id, _)| *id).collect();
            let struck = unready.into_iter().filter_map(|id| r.strike(id));
            struck.collect::<Vec<_>>()
        });
        drop(started);
        self.changed.notify_all();
    }
}

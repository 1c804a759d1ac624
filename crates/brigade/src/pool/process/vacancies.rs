//! Filling worker slots: a worker for each slot that has none, or an end for what is queued where
//! none can be had.

use std::sync::Arc;

use super::assignment::WorkerIndex;
use super::deferred::Ctx;
use super::dispatcher::Dispatcher;
use super::pool;
use super::respawn::StartFailure;
use super::worker_slot::{SlotStatus, WorkerSlot};
use crate::sim::local::Ordering;
use crate::sys::remote_error::RemoteError;
use crate::worker::process::host::connection::WorkerConnection;

impl Dispatcher {
    /// Sees to it that every slot is taken.
    pub(super) fn fill_vacancies(&mut self, ctx: &mut Ctx<'_>) {
        if self.closing && self.is_done() || self.respawn.is_halted() {
            return;
        }
        let now = ctx.now;
        let wanted = |slot: &WorkerSlot| {
            slot.status == SlotStatus::Vacant && slot.respawn_at.is_none_or(|at| at <= now)
        };
        // A place whose turn comes later counts as taken.
        let is_later = |slot: &&WorkerSlot| slot.respawn_at.is_some_and(|at| at > now);
        let later = self.workers.iter().filter(is_later).count();
        let taken = self.workers.staying() + later;
        let mut lacks = self.workers.wanted().saturating_sub(taken);
        for i in self.workers.indices() {
            if self.workers[i].status == SlotStatus::Starting {
                self.collect_from(i, ctx);
            }
            if lacks == 0 || !wanted(&self.workers[i]) || self.respawn.is_halted() {
                continue;
            }
            // Whatever comes of it, another place is not tried in its stead.
            let asked = lacks;
            lacks -= 1;
            if self.server.is_gone() && !self.server.has_reported_ends() {
                // Its workers are still being lost; we are called when that is done.
                continue;
            }
            let may_take_worker = if self.server.is_gone() {
                self.switch_fork_server()
            } else if self.respawn.is_building() {
                // Compared when its building began.
                Ok(())
            } else {
                self.server.may_make_more()
            };
            if let Err(why) = may_take_worker {
                self.on_start_failure(i, StartFailure::spawn_failed(why), ctx);
                continue;
            }
            let spare = match self.server.try_take_worker(self.observer_id, asked) {
                Ok(Some(spare)) => spare,
                Ok(None) => {
                    lacks = asked;
                    continue;
                }
                Err(_) if self.server.is_gone() => continue,
                Err(e) => {
                    self.on_start_failure(i, StartFailure::SpawnFailed(RemoteError::from(&e)), ctx);
                    continue;
                }
            };
            let opened = WorkerConnection::open(Arc::clone(&self.server), spare, &self.setup);
            match opened {
                Ok(connection) => {
                    let slot = &mut self.workers[i];
                    slot.connection = Some(connection);
                    slot.status = SlotStatus::Starting;
                    slot.last_progress = ctx.now;
                }
                Err(e) => {
                    self.on_start_failure(i, StartFailure::SpawnFailed(RemoteError::from(&e)), ctx)
                }
            }
        }
    }

    /// Goes to another fork server, where the old one has ended; to one whose workers are as those
    /// of the old one. Otherwise says why not.
    pub(super) fn switch_fork_server(&mut self) -> Result<(), String> {
        let server = pool::server(&self.options, &self.setup)
            .map_err(|e| format!("the fork server could not be started again: {e}"))?;
        if !server.is_like(&self.server) {
            return Err(
                "the fork server ended, and the program has other privileges than when this pool was built"
                    .to_owned(),
            );
        }
        if !Arc::ptr_eq(&server, &self.server) {
            self.observer_id = self.server.move_observer(self.observer_id, &server);
            self.epoch = server.exit_table.epoch().load(Ordering::Acquire);
            self.server = server;
            self.stops = 0;
            self.wakeups.clear_timer();
            self.exits_deferred = true;
        }
        Ok(())
    }

    /// A worker did not come, or did not get ready.
    pub(super) fn on_start_failure(
        &mut self,
        i: WorkerIndex,
        reason: StartFailure,
        ctx: &mut Ctx<'_>,
    ) {
        self.stats.not_ready += 1;
        self.changed = true;
        let alive = self.workers.active() > 0;
        match self.respawn.record_failure(reason, alive, ctx.now) {
            Ok(at) => self.workers[i].respawn_at = at,
            Err(reason) => self.fail_queued(&reason, ctx),
        }
    }

    /// Ends all queued tasks: there is no worker, for this reason.
    fn fail_queued(&mut self, reason: &StartFailure, ctx: &mut Ctx<'_>) {
        while let Some(task) = self.queue.pop_any() {
            if self.is_unwanted(&task) {
                self.discard(task, ctx);
                continue;
            }
            let name = reason.initializer(&self.options);
            let name = name.unwrap_or_else(|| task.target.name(&self.options));
            self.fail(task, || reason.to_error(name.clone()), ctx);
        }
    }
}

//! Collecting: replies are taken from the workers, and told to the callers that wait for them.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::WorkerIndex;
use super::deferred::{Ctx, Deferred, Drawing, TraceEvent};
use super::dispatcher::Dispatcher;
use super::outcome::{Bytes, RawOutcome, take_frame};
use super::reply_batch::ReplyBatch;
use super::respawn::StartFailure;
use super::worker_slot::SlotStatus;
use crate::sim::local::{Instant, Ordering};
use crate::worker::process::ipc::handoff::BusyPeriod;
use crate::worker::process::ipc::reply::{self, Reply, ReplyTag};

/// What was made of a reply.
pub(super) enum ReplyAction {
    Continue,
    /// The worker has said nothing more yet.
    Pause,
    /// The worker broke the protocol.
    ProtocolError,
}

/// As many bytes of replies as can be taken without a worker having waited for room.
const ROOMY: usize = 16 * 1024;

impl Dispatcher {
    /// Looks at everything: results, ends, empty slots; and gives out what there is to do. Whether
    /// anything came of it is in `news`.
    ///
    /// `more`: whether the caller has more to do for workers that have nothing, which is then not
    /// taken from others.
    pub(super) fn poll(&mut self, deferred: &mut Deferred, more: bool) {
        // One time for all: it is a large part of what a small task costs.
        let ctx = &mut deferred.at(Instant::now());
        self.looked = ctx.now;
        self.collect(ctx);
        let epoch = self.server.exit_table.epoch().load(Ordering::Acquire);
        if epoch != self.epoch || self.exits_deferred {
            self.epoch = epoch;
            self.handle_exits(ctx);
        }
        // To find a worker takes longer than to tell that a task has died, and a caller waits for
        // that: see `complete_dead`.
        if !self.workers.is_complete() && !ctx.deferred.has_dead_tasks() {
            self.fill_vacancies(ctx);
        }
        if !(more && self.queue.is_empty()) {
            self.assign(ctx);
        }
    }

    /// Takes the results that are there.
    pub(super) fn collect(&mut self, ctx: &mut Ctx<'_>) {
        let mut at = 0;
        while let Some(&i) = self.workers.busy().get(at) {
            self.announce_begun(i, ctx);
            self.collect_from(i, ctx);
            // A worker that has nothing left is no longer in the list.
            if self.workers.busy().get(at) == Some(&i) {
                at += 1;
            }
        }
    }

    /// Tells the subscribers which tasks a worker has begun.
    pub(super) fn announce_begun(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        if !self.is_heard {
            return;
        }
        let connection = self.workers[i].connection.as_ref();
        if let Some(Ok(begun)) = connection.map(|c| c.begun()) {
            self.announce(i, begun, ctx);
        }
    }

    fn announce(&mut self, i: WorkerIndex, begun: u32, ctx: &mut Ctx<'_>) {
        let slot = &mut self.workers[i];
        let pid = slot.connection.as_ref().map_or(0, |c| c.pid());
        let started = slot.announce(begun).into_iter().map(|(task, submitted)| {
            TraceEvent::Started(pid, task, ctx.now.saturating_duration_since(submitted))
        });
        ctx.deferred.events.extend(started);
    }

    /// Takes all replies of a worker that are there.
    pub(super) fn collect_from(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let slot = &mut self.workers[i];
        let Some(connection) = &slot.connection else {
            return;
        };
        if slot.pending_reply.is_none() && !connection.is_ready() {
            slot.close_copies(self.options.retries);
            return;
        }
        let was_held = slot.pending_reply.is_some();
        let said = connection.finished();
        let before = connection.taken();
        let mut batch = ReplyBatch::default();
        loop {
            while self.take_replies_of_map(i, &mut batch, ctx) {}
            let ReplyAction::Continue = self.take_reply(i, &mut batch, ctx) else {
                break;
            };
        }
        self.count_batch(&batch, ctx.now);
        let slot = &mut self.workers[i];
        let Some(connection) = &mut slot.connection else {
            return;
        };
        // A worker may wait for room only where there was little.
        if batch.frame_bytes >= ROOMY || was_held || slot.pending_reply.is_some() {
            connection.made_room();
        }
        let taken = connection.taken().wrapping_sub(before);
        let lied =
            slot.pending_reply.is_none() && (said.wrapping_sub(connection.taken()) as i32) > 0;
        if taken > 0 {
            self.note_progress(i, taken, ctx.now);
        }
        if lied
            && matches!(
                self.workers[i].status,
                SlotStatus::Ready | SlotStatus::Leaving
            )
        {
            self.on_protocol_error(i, ctx);
        }
        if was_held {
            self.apply_early_end(i, ctx);
        }
    }

    /// Takes one reply. [`ReplyAction::Pause`]: there is none, or none that can be dealt with now.
    fn take_reply(
        &mut self,
        i: WorkerIndex,
        batch: &mut ReplyBatch,
        ctx: &mut Ctx<'_>,
    ) -> ReplyAction {
        let slot = &mut self.workers[i];
        let Some(connection) = &mut slot.connection else {
            return ReplyAction::Pause;
        };
        let (tag, bytes) = match slot.pending_reply.take() {
            Some(held) => held,
            None => {
                let (tag, frame) = match connection.next_reply() {
                    Ok(None) => return ReplyAction::Pause,
                    Ok(Some(next)) => next,
                    Err(_) => {
                        self.on_protocol_error(i, ctx);
                        return ReplyAction::Pause;
                    }
                };
                let len = frame.len();
                batch.frame_bytes += len + 16;
                // By far the most frequent reply.
                if tag.is_returned() && slot.status == SlotStatus::Ready && !self.is_traced {
                    if let Some(task) = slot.assigned.pop_of_map() {
                        let (map, index) = (task.map, task.index);
                        self.maps.put_frame(map, index, frame, ctx.deferred);
                        connection.count_result();
                        batch.count(task.submitted, 1, len, &mut self.stats, ctx.now);
                        return ReplyAction::Continue;
                    }
                    if let Some(cell) = slot.assigned.first_plain_cell() {
                        let result = RawOutcome::Returned(take_frame(frame, &mut self.reply_buf));
                        let time = ctx.now.saturating_duration_since(cell.submitted());
                        cell.complete(result, &mut ctx.deferred.wakeups);
                        slot.assigned.drop_first();
                        connection.count_result();
                        self.stats.latencies.record(time);
                        batch.tasks += 1;
                        batch.result_bytes += len as u64;
                        return ReplyAction::Continue;
                    }
                }
                (tag, take_frame(frame, &mut self.reply_buf))
            }
        };
        let is_news = self.is_heard && slot.is_ready() && slot.is_unannounced();
        if is_news && tag.read(&bytes) != Reply::Leaving {
            // One that was begun, and has ended, since we looked.
            let begun = slot.first().wrapping_add(1);
            self.announce(i, begun, ctx);
        }
        let mut heard = self.on_reply(i, tag, bytes, ctx);
        if let ReplyAction::ProtocolError = heard {
            self.workers[i].bad_reply = true;
            self.on_protocol_error(i, ctx);
            heard = ReplyAction::Pause;
        }
        heard
    }

    /// A worker has finished `tasks` tasks.
    fn note_progress(&mut self, i: WorkerIndex, tasks: u32, now: Instant) {
        let slot = &mut self.workers[i];
        slot.ring_full = false;
        self.changed = true;
        let period = slot.connection.as_ref().and_then(|c| c.take_busy_period());
        let is_done = slot.assigned.is_empty();
        let first = std::mem::take(&mut slot.awaits_first_result);
        let time = now - slot.last_progress;
        match period {
            // It has waited since, which is none of their time.
            Some(BusyPeriod { tasks, nanos }) => {
                let time = Duration::from_nanos(u64::from(tasks) * u64::from(nanos));
                self.estimate.record(tasks, time);
            }
            // It had to be woken for them, which took longer than a tiny task.
            None if first && tasks > 1 => self.estimate.record_at_most(tasks, time),
            None => self.estimate.record(tasks, time),
        }
        slot.last_progress = now;
        slot.is_stalled = false;
        slot.front_since = (slot.first(), now);
        self.workers.set_all_full(false);
        self.wakeups.mark_stale(i);
        if is_done {
            self.mark_idle(i, now);
        }
    }

    /// A notify word said that a result is there, and the ring is empty: a worker whose count of
    /// finished tasks is above the replies that it has written has broken the protocol.
    pub(super) fn verify_counts(&mut self, deferred: &mut Deferred) {
        for i in self.workers.busy().to_vec() {
            let slot = &self.workers[i];
            if let Some(connection) = slot
                .connection
                .as_ref()
                .filter(|_| slot.pending_reply.is_none())
            {
                let said = connection.finished().wrapping_sub(connection.taken()) as i32;
                if said > 0 && !connection.is_ready() {
                    self.on_protocol_error(i, &mut deferred.at(Instant::now()));
                }
            }
        }
    }

    /// One reply of a worker.
    fn on_reply(
        &mut self,
        i: WorkerIndex,
        tag: ReplyTag,
        frame: Bytes,
        ctx: &mut Ctx<'_>,
    ) -> ReplyAction {
        match (self.workers[i].status, tag.read(&frame)) {
            (SlotStatus::Terminating(_), _) => self.on_reply_of_terminating(i),
            (SlotStatus::Starting, Reply::Ready) => self.on_ready(i, ctx),
            (SlotStatus::Starting, Reply::NotReady(why)) => self.on_not_ready(i, why, ctx),
            (SlotStatus::Ready, Reply::Leaving) => self.on_leaving(i, ctx),
            (SlotStatus::Ready, Reply::Ran(times)) => self.on_ran(i, times),
            (SlotStatus::Ready, _) => self.on_end(i, tag, frame, ctx),
            _ => ReplyAction::ProtocolError,
        }
    }

    fn on_reply_of_terminating(&mut self, i: WorkerIndex) -> ReplyAction {
        let slot = &mut self.workers[i];
        // It is done before its time of grace is over: it need not wait for that.
        if let Some(connection) = slot.connection.as_ref().filter(|_| !self.grace.is_zero()) {
            connection.kill(Duration::ZERO);
        }
        slot.bad_reply = true;
        ReplyAction::Continue
    }

    /// A worker has done its setup.
    fn on_ready(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) -> ReplyAction {
        let slot = &mut self.workers[i];
        slot.status = SlotStatus::Ready;
        slot.last_progress = ctx.now;
        self.respawn.record_start();
        self.workers.mark_idle(i);
        self.workers.set_all_full(false);
        self.changed = true;
        ReplyAction::Continue
    }

    /// A worker could not do its setup.
    fn on_not_ready(&mut self, i: WorkerIndex, why: &[u8], ctx: &mut Ctx<'_>) -> ReplyAction {
        let reason = match reply::decoded(why) {
            Some(why) => StartFailure::SetupFailed(why, Arc::clone(&self.server.symbols)),
            None => StartFailure::spawn_failed("a worker broke the protocol"),
        };
        self.clear_slot(i, ctx.now);
        self.on_start_failure(i, reason, ctx);
        ReplyAction::Pause
    }

    /// A worker begins no more tasks, and ends by itself.
    fn on_leaving(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) -> ReplyAction {
        let slot = &mut self.workers[i];
        let Some(connection) = &slot.connection else {
            return ReplyAction::ProtocolError;
        };
        // It may have begun one, and found that it could not be given it.
        let claimed = connection.begun() != Ok(connection.taken());
        if !claimed && slot.assigned.is_first_doubted() {
            return ReplyAction::ProtocolError;
        }
        slot.status = SlotStatus::Leaving;
        let (pid, unflushed) = (connection.pid(), connection.mailbox().is_unflushed());
        let refused = claimed.then(|| self.workers.take_first(i)).flatten();
        self.stats.recycled += 1;
        // As the worker reports it; nothing verifies that.
        let why = if unflushed {
            "a task has left a thread behind that holds stdout, and what was printed there is lost"
        } else {
            "it has reached its limit of tasks or of memory"
        };
        ctx.deferred.events.push(TraceEvent::Replaced(pid, why));
        ctx.deferred
            .drawings
            .push(Drawing::Mark(pid, "replaced", why.into()));
        if !claimed {
            self.workers[i].assigned.doubt_first();
        }
        self.requeue_unstarted(i, self.workers[i].first(), ctx);
        if let Some(task) = refused {
            self.requeue_refused(task, ctx);
        }
        self.workers.end_idle(i);
        // Its end is waited for by the one that comes after it.
        self.clear_slot(i, ctx.now);
        self.changed = true;
        ReplyAction::Pause
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Kind, Pool};

    const LEN: usize = 20 * 1024;

    fn bytes_of(value: u8) -> Vec<u8> {
        vec![value; LEN]
    }

    #[test]
    fn a_result_is_copied_once_from_the_mailbox() {
        crate::init();
        let pool = Pool::builder(Kind::Process).workers(1).build();
        let pool = pool.expect("a pool");
        let result = pool.submit(bytes_of, 1).join();
        assert_eq!(result.expect("a result"), [1; LEN]);
        for (value, result) in (0..).zip(pool.map(bytes_of, 0..8)) {
            assert_eq!(result.expect("a result"), [value; LEN]);
        }
        // What is read into this buffer is copied once more from there.
        let pool = pool.processes_only().expect("processes");
        let scratch = pool.lock().dispatcher.reply_buf.capacity();
        assert!(scratch < LEN, "{scratch} bytes");
    }

    /// A task: keeps its worker busy for `millis` milliseconds.
    fn compute(millis: u64) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(millis) {}
    }

    /// A worker that has no more tasks says how long they took: not of the last of them alone.
    #[test]
    fn a_long_task_before_a_tiny_one_counts() {
        crate::init();
        let pool = Pool::builder(Kind::Process).workers(1).build();
        let pool = pool.expect("a pool");
        for _ in 0..20 {
            let [long, tiny] = [5, 0].map(|millis| pool.submit(compute, millis));
            // So that the host looks when both have ended.
            tiny.join().expect("it returned");
            long.join().expect("it returned");
        }
        let pool = pool.processes_only().expect("processes");
        let depth = pool.lock().dispatcher.estimate.prefetch_depth();
        // Two; of tasks as long as the tiny one hundreds.
        assert!(depth < 20, "{depth}");
    }
}

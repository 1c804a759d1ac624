//! Workers that have ended are replaced, and what they had goes back to the queue, or ends.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::{Assignment, WorkerIndex};
use super::deferred::{CrashReport, Ctx, DeadOutcome, DeadTask, Drawing, HowDied, TraceEvent};
use super::dispatcher::Dispatcher;
use super::outcome::TransferError;
use super::respawn::StartFailure;
use super::result_cell::EarlyEnd;
use super::task::{ResultSink, Task};
use super::worker_slot::{SlotStatus, Termination};
use crate::JoinError;
use crate::pool::policy::outcome::{RAN_OVER, TaskOutcome, replaced};
use crate::sim::local::Instant;
use crate::task::crash::Phase;
use crate::task::symbols::Symbols;
use crate::worker::process::host::death::Evidence;

/// How often a task goes back into the queue for free, because its dead worker's phase says that it
/// had begun it and not decoded it. A task can forge the phase, hence the limit.
pub(super) const MAX_FREE_REQUEUES: u8 = 2;

/// What a worker had begun when it died.
struct Begun {
    /// The task that was not run, as far as is known: another worker can run it.
    spared: Option<Task>,
    /// The task that died with its worker.
    victim: Option<Task>,
    /// Tasks that died too: the worker had gone on to them.
    others: Vec<Task>,
}

/// The field `why` of the event `replaced`.
fn why_replaced(status: SlotStatus) -> &'static str {
    match status {
        SlotStatus::Terminating(Termination::TimedOut) => replaced::TIMED_OUT,
        SlotStatus::Terminating(Termination::Cancelled) => replaced::CANCELLED,
        SlotStatus::Terminating(Termination::ProtocolError) => "it broke the protocol",
        SlotStatus::Terminating(Termination::Stalled) => "it did not begin its tasks",
        SlotStatus::Terminating(Termination::Surplus) => "the pool has fewer workers now",
        _ => "it died",
    }
}

/// How a run has ended, of a task whose worker died.
fn how_it_died(status: SlotStatus) -> &'static str {
    let outcome = match status {
        SlotStatus::Terminating(Termination::TimedOut) => TaskOutcome::TimedOut,
        SlotStatus::Terminating(Termination::Cancelled) => TaskOutcome::Cancelled,
        _ => TaskOutcome::Crashed,
    };
    outcome.label()
}

impl Dispatcher {
    /// Deals with the workers that have ended.
    pub(super) fn handle_exits(&mut self, ctx: &mut Ctx<'_>) {
        self.exits_deferred = false;
        for i in self.workers.indices() {
            if self.workers[i]
                .connection
                .as_ref()
                .is_some_and(|c| c.has_ended())
            {
                self.on_exit(i, ctx);
            }
        }
    }

    fn on_exit(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        // What it said last, it said before it ended.
        self.collect_from(i, ctx);
        self.announce_begun(i, ctx);
        let slot = &self.workers[i];
        if slot.pending_reply.is_some() {
            self.exits_deferred = true;
            return;
        }
        let Some(connection) = &slot.connection else {
            // It left, or never was ready, and that was dealt with.
            return;
        };
        let (status, first) = (slot.status, connection.taken());
        let evidence = connection.evidence();
        let symbols = Arc::clone(&connection.server().symbols);
        if status == SlotStatus::Starting {
            self.clear_slot(i, ctx.now);
            let reason = match evidence.exit_record.unstarted {
                Some(why) => StartFailure::SpawnFailed(*why),
                None => StartFailure::Died(Box::new(evidence), symbols),
            };
            return self.on_start_failure(i, reason, ctx);
        }
        let Begun {
            spared,
            victim,
            others,
        } = self.take_begun(i, &evidence);
        if victim.is_none() && spared.is_none() {
            self.workers[i].assigned.doubt_first();
        }
        self.requeue_unstarted(i, first, ctx);
        if let Some(mut task) = spared {
            task.free_requeues += 1;
            self.requeue(task, ctx);
        }
        self.count_death(status, victim.is_some());
        let why = why_replaced(status);
        if status != SlotStatus::Terminating(Termination::Surplus) {
            let replaced = TraceEvent::Replaced(evidence.pid, why);
            ctx.deferred.events.push(replaced);
        }
        let drawing = Drawing::Mark(evidence.pid, "replaced", why.into());
        for task in victim.iter().chain(&others) {
            self.note_run(i, task, how_it_died(status), ctx);
        }
        ctx.deferred.drawings.push(drawing);
        self.workers.end_idle(i);
        self.clear_slot(i, ctx.now);
        self.changed = true;
        for task in victim.into_iter().chain(others) {
            self.on_task_death(task, status, evidence.clone(), Arc::clone(&symbols), ctx);
        }
    }

    /// Takes out what a dead worker had begun.
    fn take_begun(&mut self, i: WorkerIndex, evidence: &Evidence) -> Begun {
        let slot = &self.workers[i];
        let (status, answered) = (slot.status, slot.bad_reply);
        // Where the count itself is written over, there is only what it said last of what it does.
        let begun = slot.connection.as_ref().map_or(Ok(0), |connection| {
            connection
                .begun()
                .map(|begun| begun.wrapping_sub(connection.taken()))
        });
        // A worker that ends by itself, or breaks the protocol, does so in a task: if it says that
        // it had begun none, that task has written over the count.
        let broke_protocol = status == SlotStatus::Terminating(Termination::ProtocolError);
        let is_of_its_own =
            broke_protocol || status == SlotStatus::Ready && evidence.is_of_its_own();
        let is_doubted = slot.assigned.is_first_doubted();
        let has_lied = begun == Ok(0) && (is_of_its_own || is_doubted);
        if has_lied || begun.is_err() || broke_protocol {
            self.workers[i].assigned.isolate();
        }
        let mut victim = None;
        if (begun != Ok(0) || has_lied) && status != SlotStatus::Terminating(Termination::Stalled) {
            victim = self.workers.take_first(i);
        }
        // A worker that broke the protocol may have gone on to later tasks.
        let more = match begun {
            Ok(begun) if broke_protocol => begun.saturating_sub(1),
            _ => 0,
        };
        let others = (0..more)
            .map_while(|_| self.workers.take_first(i))
            .collect();
        // Whether the worker had come as far as to decode it. That it had not is believed a few
        // times only, for a task can forge it.
        let runs = !matches!(evidence.phase, Phase::Starting | Phase::Idle);
        let ours = answered
            || matches!(
                status,
                SlotStatus::Terminating(Termination::TimedOut)
                    | SlotStatus::Terminating(Termination::Cancelled)
            );
        // Where our copies of its descriptors are closed, no other worker can run it: it died with
        // its worker.
        let spared = victim.take_if(|task| {
            !runs && !ours && task.free_requeues < MAX_FREE_REQUEUES && task.input.is_whole()
        });
        Begun {
            spared,
            victim,
            others,
        }
    }

    /// A worker has ended. `with_task`: a task died with it.
    fn count_death(&mut self, status: SlotStatus, with_task: bool) {
        if status == SlotStatus::Terminating(Termination::Surplus) {
            return;
        }
        if status != SlotStatus::Terminating(Termination::Cancelled) {
            self.stats.died_idle += u64::from(!with_task);
            self.stats.restarts += 1;
        } else if !self.aborting {
            self.stats.interrupted += 1;
            self.stats.restarts += 1;
        }
    }

    /// A task that died with its worker: it is run again, or ends.
    fn on_task_death(
        &mut self,
        mut task: Task,
        status: SlotStatus,
        evidence: Evidence,
        symbols: Arc<Symbols>,
        ctx: &mut Ctx<'_>,
    ) {
        let may_retry = !matches!(status, SlotStatus::Terminating(Termination::Cancelled))
            && !task.input.is_exclusive()
            && !self.is_unwanted(&task)
            && self.early_end(&task).is_none();
        let attempts = task.attempts;
        if may_retry && {
            let retries = task.retries(self.options.retries);
            task.attempts.retry(retries)
        } {
            if self.options.keep_crashes.is_some() {
                let how = match status {
                    SlotStatus::Terminating(Termination::TimedOut) => {
                        HowDied::TimedOut(task.exceeded(self.options.timeout, true))
                    }
                    SlotStatus::Terminating(Termination::ProtocolError) => HowDied::Lost,
                    _ => HowDied::Itself,
                };
                self.reports_pending += 1;
                ctx.deferred.rare().reports.push(CrashReport {
                    target: task.target,
                    input: task.input.read(),
                    descriptors: task.input.descriptors(),
                    context: task.context.clone(),
                    attempts,
                    evidence,
                    symbols,
                    how,
                });
            }
            self.stats.retried += 1;
            if let ResultSink::Handle(of) = &task.sink {
                of.cell().set_has_run();
            }
            if self.is_traced {
                let why = match status {
                    SlotStatus::Terminating(Termination::TimedOut) => RAN_OVER,
                    _ => "died with its worker",
                };
                let pid = std::mem::take(&mut task.with);
                ctx.deferred
                    .events
                    .push(TraceEvent::Retried(pid, task.number, why));
                ctx.deferred
                    .drawings
                    .push(Drawing::Mark(pid, "retried", why.into()));
            }
            self.requeue(task, ctx);
            return;
        }
        let end = match status {
            SlotStatus::Terminating(Termination::TimedOut) => {
                DeadOutcome::TimedOut(evidence, symbols)
            }
            SlotStatus::Terminating(Termination::Cancelled) => {
                DeadOutcome::Failed(JoinError::Cancelled)
            }
            SlotStatus::Terminating(Termination::ProtocolError) => {
                DeadOutcome::Lost(evidence, symbols)
            }
            _ => DeadOutcome::Crashed(evidence, symbols),
        };
        if let ResultSink::Handle(cell) = &task.sink {
            cell.cell().set_assignment(Some(Assignment::ENDED));
        }
        self.dead_pending += 1;
        ctx.deferred.rare().dead_tasks.push(DeadTask { task, end });
    }

    pub(super) fn is_unwanted(&self, task: &Task) -> bool {
        match &task.sink {
            ResultSink::Handle(cell) => cell.cell().is_done(),
            ResultSink::Map(map, _) => self.maps.is_closed(*map),
        }
    }

    /// Why a task is not to be run any more, though its end was not settled.
    fn early_end(&self, task: &Task) -> Option<EarlyEnd> {
        if self.aborting {
            return Some(EarlyEnd::Cancelled);
        }
        task.early_end()
    }

    /// Puts a task back where it came from: it is the next. One that was cancelled, or whose
    /// deadline has passed, while its worker had it ends here.
    pub(super) fn requeue(&mut self, task: Task, ctx: &mut Ctx<'_>) {
        if let Some(why) = self.early_end(&task) {
            return self.fail_early(task, why, ctx);
        }
        if !task.input.is_whole() {
            let name = task.target.name(&self.options);
            let why = "its worker had begun it and could not take its input, whose descriptors the program has closed since";
            let end = || TransferError::Why(why.to_owned()).into_error(name.clone());
            return self.fail(task, end, ctx);
        }
        if let ResultSink::Handle(cell) = &task.sink {
            cell.cell().set_assignment(None);
        }
        self.queue.push_front(task);
    }

    /// Takes out of a slot what its worker will not do, all but the first `left` that it was
    /// ever given.
    pub(super) fn requeue_unstarted(&mut self, i: WorkerIndex, left: u32, ctx: &mut Ctx<'_>) {
        for task in self.workers.split_off(i, left).rev() {
            self.requeue(task, ctx);
        }
        self.workers.set_all_full(false);
        if self.workers[i].assigned.is_empty() {
            self.mark_idle(i, ctx.now);
        }
    }

    /// Takes back from a worker what it has not begun, but for the first `keep`. `false`: it broke
    /// the protocol.
    pub(super) fn take_back(&mut self, i: WorkerIndex, keep: u32, ctx: &mut Ctx<'_>) -> bool {
        self.publish_to(i);
        if self.workers[i].has_lied_about_begun() {
            self.on_protocol_error(i, ctx);
            return false;
        }
        let Some(connection) = &mut self.workers[i].connection else {
            return false;
        };
        match connection.take_back(keep) {
            Ok(left) => {
                let slot = &mut self.workers[i];
                if left == slot.first() {
                    slot.assigned.doubt_first();
                }
                self.requeue_unstarted(i, left, ctx);
                true
            }
            Err(_) => {
                self.on_protocol_error(i, ctx);
                false
            }
        }
    }

    /// A worker broke the protocol: it is ended.
    pub(super) fn on_protocol_error(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let slot = &mut self.workers[i];
        let Some(connection) = &mut slot.connection else {
            return;
        };
        // Garbage from one that has ended by itself: the kernel's word says more, and is about to
        // come.
        if matches!(slot.status, SlotStatus::Terminating(_)) || connection.has_ended() {
            return;
        }
        connection.kill(Duration::ZERO);
        debug_assert!(slot.status != SlotStatus::Starting || slot.assigned.is_empty());
        slot.status = SlotStatus::Terminating(Termination::ProtocolError);
        // It may have gone on behind what it has garbled. Where that cannot be believed either, all
        // behind the first is taken to be untouched.
        let keep = connection.taken().wrapping_add(1);
        let keep = connection.take_back(keep).unwrap_or(keep);
        slot.unoffered = false;
        // Those that go back now, too.
        slot.assigned.isolate();
        self.requeue_unstarted(i, keep, ctx);
        self.workers.end_idle(i);
    }

    /// Ends a worker, and the task that it runs with it. Everything else was taken back.
    pub(super) fn terminate(&mut self, i: WorkerIndex, termination: Termination, grace: Duration) {
        let slot = &mut self.workers[i];
        if let Some(connection) = &mut slot.connection {
            slot.status = SlotStatus::Terminating(termination);
            match termination {
                // The error tells where it was.
                Termination::TimedOut => connection.ask_and_kill(grace),
                _ => connection.kill(grace),
            }
        }
    }

    pub(super) fn clear_slot(&mut self, i: WorkerIndex, now: Instant) {
        debug_assert!(self.workers[i].assigned.is_empty());
        if let Some(since) = self.workers.clear(i, now) {
            self.stats.busy += now.saturating_duration_since(since);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    use crate::channel::{self, RecvTimeoutError, Sender, Transport};
    use crate::task::crash::Phase;
    use crate::worker::process::set_phase_of_this_worker;
    use crate::{Cause, JoinError, Kind, Pool, Shared};

    /// Dies as if it had been killed between the claim of its task and the decoding.
    fn dies_undecoded((sender, may_die): (Sender<u32>, Shared<AtomicU32>)) {
        drop(sender);
        while may_die.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        set_phase_of_this_worker(Phase::Idle);
        crate::sys::process::kill(std::process::id(), libc::SIGKILL);
    }

    #[test]
    fn a_task_whose_descriptors_are_closed_dies_with_its_worker() {
        crate::init();
        let pool = Pool::builder(Kind::Process).workers(1).build();
        let pool = pool.expect("a pool");
        let may_die = Shared::new(AtomicU32::new(0)).expect("a region");
        let (sender, receiver) = channel::channel::<u32>(Transport::Pipe, 1).expect("a channel");
        let handle = pool.submit(dies_undecoded, (sender, may_die.clone()));
        // The worker's copy is gone, and the program's with it.
        let ended = receiver.recv_timeout(Duration::from_secs(30));
        assert!(
            matches!(ended, Err(RecvTimeoutError::Disconnected)),
            "{ended:?}"
        );
        may_die.store(1, SeqCst);
        match handle.join() {
            Err(JoinError::Crashed(crash)) => {
                assert_eq!(*crash.cause(), Cause::Killed(libc::SIGKILL));
            }
            other => panic!("{other:?}"),
        }
    }
}

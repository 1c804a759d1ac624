//! Workers that end, and workers that come.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::{Assignment, WorkerIndex};
use super::deferred::{Casualty, Ctx, Ending, Event, Report};
use super::dispatcher::State;
use super::outcome::Refused;
use super::respawn::Reason;
use super::task::{Owner, Task};
use super::worker_slot::{Doom, Seat, Status};
use crate::pool::policy::outcome::{RAN_OVER, replaced};
use crate::sim::local::{Instant, Ordering};
use crate::sys::remote_error::RemoteError;
use crate::task::crash::Phase;
use crate::task::symbols::Symbols;
use crate::worker::process::host::connection::WorkerConnection;
use crate::worker::process::host::death::Evidence;
use crate::worker::process::ipc::protocol::Setup;
use crate::worker::process::sim::ForkServer;
use crate::{JoinError, Timeout};

/// How often it is believed that a task was not run that its worker had begun when it died.
pub(super) const SPARED: u8 = 2;

/// What a worker had begun when it died.
struct Begun {
    /// It was not run, as far as is known: another worker can.
    spared: Option<Task>,
    /// It died with its worker.
    victim: Option<Task>,
    /// These too: the worker had gone on to them.
    others: Vec<Task>,
}

/// The field `why` of the event `replaced`.
fn why_replaced(status: Status) -> &'static str {
    match status {
        Status::Doomed(Doom::TimedOut) => replaced::TIMED_OUT,
        Status::Doomed(Doom::Cancelled) => replaced::CANCELLED,
        Status::Doomed(Doom::Lost) => "it broke the protocol",
        Status::Doomed(Doom::Stuck) => "it did not begin its tasks",
        _ => "it died",
    }
}

impl State {
    /// Deals with the workers that have ended.
    pub(super) fn bury(&mut self, ctx: &mut Ctx<'_>) {
        self.postponed = false;
        for i in self.workers.indices() {
            if self.workers[i]
                .line
                .as_ref()
                .is_some_and(|line| line.has_ended())
            {
                self.bury_one(i, ctx);
            }
        }
    }

    fn bury_one(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        // What it said last, it said before it ended.
        self.drain_seat(i, ctx);
        self.announce_begun(i, ctx);
        let seat = &self.workers[i];
        if seat.held.is_some() {
            self.postponed = true;
            return;
        }
        let Some(line) = &seat.line else {
            // It left, or never was ready, and that was dealt with.
            return;
        };
        let (status, first) = (seat.status, line.taken());
        let evidence = line.evidence();
        let symbols = Arc::clone(&line.server().symbols);
        if status == Status::Starting {
            self.vacate(i, ctx.now);
            let reason = match evidence.obituary.unstarted {
                Some(why) => Reason::NotHired(*why),
                None => Reason::Died(Box::new(evidence), symbols),
            };
            return self.no_worker(i, reason, ctx);
        }
        let Begun {
            spared,
            victim,
            others,
        } = self.take_begun(i, evidence.phase);
        self.reclaim(i, first, ctx);
        if let Some(mut task) = spared {
            task.spared += 1;
            self.give_back(task, ctx);
        }
        self.count_death(status, victim.is_some());
        let why = why_replaced(status);
        let replaced = Event::Replaced(evidence.pid, why);
        ctx.deferred.events.push(replaced);
        self.workers.end_idle(i);
        self.vacate(i, ctx.now);
        self.news = true;
        for task in victim.into_iter().chain(others) {
            self.mourn(task, status, evidence.clone(), Arc::clone(&symbols), ctx);
        }
    }

    /// Takes out what a dead worker had begun, which did `phase` last.
    fn take_begun(&mut self, i: WorkerIndex, phase: Phase) -> Begun {
        let seat = &self.workers[i];
        let (status, answered) = (seat.status, seat.answered);
        // Where the count itself is written over, there is only what it said last of what it does.
        let begun = seat.line.as_ref().map_or(Ok(0), |line| {
            line.begun().map(|begun| begun.wrapping_sub(line.taken()))
        });
        let mut victim = None;
        if begun != Ok(0) && status != Status::Doomed(Doom::Stuck) {
            victim = self.workers.take_first(i);
        }
        // One that broke the protocol may have gone on behind what it has garbled.
        let more = match status {
            Status::Doomed(Doom::Lost) => begun.map_or(0, |begun| begun.saturating_sub(1)),
            _ => 0,
        };
        let others = (0..more)
            .map_while(|_| self.workers.take_first(i))
            .collect();
        // Whether it had come as far as to decode it. It is believed that it had not, but not for
        // ever: a task can write that there.
        let runs = !matches!(phase, Phase::Starting | Phase::Idle);
        let ours = answered
            || matches!(
                status,
                Status::Doomed(Doom::TimedOut) | Status::Doomed(Doom::Cancelled)
            );
        // Where our copies of its descriptors are closed, nobody else can run it: it died with its
        // worker.
        let spared =
            victim.take_if(|task| !runs && !ours && task.spared < SPARED && task.input.is_whole());
        Begun {
            spared,
            victim,
            others,
        }
    }

    /// A worker has ended. `with_task`: a task died with it.
    fn count_death(&mut self, status: Status, with_task: bool) {
        if status != Status::Doomed(Doom::Cancelled) {
            self.stats.died_idle += u64::from(!with_task);
            self.stats.restarts += 1;
        } else if !self.aborting {
            self.stats.interrupted += 1;
            self.stats.restarts += 1;
        }
    }

    /// A task that died with its worker: it is run again, or ends.
    fn mourn(
        &mut self,
        mut task: Task,
        status: Status,
        evidence: Evidence,
        symbols: Arc<Symbols>,
        ctx: &mut Ctx<'_>,
    ) {
        let may_retry = !matches!(status, Status::Doomed(Doom::Cancelled))
            && !self.is_unwanted(&task)
            && !self.is_cancelled(&task);
        let attempts = task.attempts;
        if may_retry && task.attempts.retry(self.options.retries) {
            if self.options.keep_crashes.is_some()
                && !matches!(status, Status::Doomed(Doom::TimedOut))
            {
                let lost = status == Status::Doomed(Doom::Lost);
                self.reporting += 1;
                ctx.deferred.reports.push(Report {
                    job: task.job,
                    input: task.input.read(),
                    descriptors: task.input.descriptors(),
                    attempts,
                    evidence,
                    symbols,
                    lost,
                });
            }
            self.stats.retried += 1;
            if self.heard {
                let why = match status {
                    Status::Doomed(Doom::TimedOut) => RAN_OVER,
                    _ => "died with its worker",
                };
                let pid = std::mem::take(&mut task.with);
                ctx.deferred
                    .events
                    .push(Event::Retried(pid, task.number, why));
            }
            self.give_back(task, ctx);
            return;
        }
        let end = match status {
            Status::Doomed(Doom::TimedOut) => {
                let name = task.job.name(self.options.name.as_ref());
                let time = self.options.timeout.unwrap_or_default();
                Ending::Failed(JoinError::TimedOut(Timeout::new(name, time)))
            }
            Status::Doomed(Doom::Cancelled) => Ending::Failed(JoinError::Cancelled),
            Status::Doomed(Doom::Lost) => Ending::Lost(evidence, symbols),
            _ => Ending::Crashed(evidence, symbols),
        };
        if let Owner::Handle(slot) = &task.owner {
            slot.slot().set_assignment(Some(Assignment::ENDED));
        }
        self.casualties += 1;
        ctx.deferred.casualties.push(Casualty { task, end });
    }

    pub(super) fn is_unwanted(&self, task: &Task) -> bool {
        match &task.owner {
            Owner::Handle(slot) => slot.slot().is_done(),
            Owner::Map(inbox, _) => self.inboxes.is_closed(*inbox),
        }
    }

    /// Whether it is not to be run any more, though its end was not told.
    fn is_cancelled(&self, task: &Task) -> bool {
        self.aborting || matches!(&task.owner, Owner::Handle(slot) if slot.slot().is_cancelled())
    }

    /// Puts a task back where it came from: it is the next. One that was cancelled while its worker
    /// had it ends here.
    pub(super) fn give_back(&mut self, task: Task, ctx: &mut Ctx<'_>) {
        if self.is_cancelled(&task) {
            return self.fail(task, || JoinError::Cancelled, ctx);
        }
        if !task.input.is_whole() {
            let name = task.job.name(self.options.name.as_ref());
            let why = "its worker had begun it and could not take its input, whose descriptors the program has closed since";
            let end = || Refused::Why(why.to_owned()).into_error(name.clone());
            return self.fail(task, end, ctx);
        }
        if let Owner::Handle(slot) = &task.owner {
            slot.slot().set_assignment(None);
        }
        self.queue.push_front(task);
    }

    /// Takes out of a seat's hand what its worker will not do, all but the first `left` that it was
    /// ever given.
    pub(super) fn reclaim(&mut self, i: WorkerIndex, left: u32, ctx: &mut Ctx<'_>) {
        for task in self.workers.split_off(i, left).rev() {
            self.give_back(task, ctx);
        }
        self.workers.set_all_full(false);
        if self.workers[i].hand.is_empty() {
            self.unlist(i, ctx.now);
        }
    }

    /// Takes back from a worker what it has not begun, but for the first `keep`. `false`: it broke
    /// the protocol.
    pub(super) fn take_back(&mut self, i: WorkerIndex, keep: u32, ctx: &mut Ctx<'_>) -> bool {
        self.publish_seat(i);
        let Some(line) = &mut self.workers[i].line else {
            return false;
        };
        match line.take_back(keep) {
            Ok(left) => {
                self.reclaim(i, left, ctx);
                true
            }
            Err(_) => {
                self.lose(i, ctx);
                false
            }
        }
    }

    /// A worker broke the protocol: it is ended.
    pub(super) fn lose(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let seat = &mut self.workers[i];
        let Some(line) = &mut seat.line else {
            return;
        };
        // Garbage from one that has ended by itself: the kernel's word says more, and is about to
        // be heard.
        if matches!(seat.status, Status::Doomed(_)) || line.has_ended() {
            return;
        }
        line.kill(Duration::ZERO);
        debug_assert!(seat.status != Status::Starting || seat.hand.is_empty());
        seat.status = Status::Doomed(Doom::Lost);
        // It may have gone on behind what it has garbled. Where that cannot be believed either, all
        // behind the first is taken to be untouched.
        let keep = line.taken().wrapping_add(1);
        let keep = line.take_back(keep).unwrap_or(keep);
        seat.dirty = false;
        self.reclaim(i, keep, ctx);
        self.workers.end_idle(i);
    }

    /// Ends a worker, and the task that it runs with it. Everything else was taken back.
    pub(super) fn doom(&mut self, i: WorkerIndex, doom: Doom, grace: Duration) {
        let seat = &mut self.workers[i];
        if let Some(line) = &seat.line {
            seat.status = Status::Doomed(doom);
            line.kill(grace);
        }
    }

    pub(super) fn vacate(&mut self, i: WorkerIndex, now: Instant) {
        debug_assert!(self.workers[i].hand.is_empty());
        if let Some(since) = self.workers.clear(i, now) {
            self.stats.busy += now.saturating_duration_since(since);
        }
    }

    /// Sees to it that every seat is taken.
    pub(super) fn staff(&mut self, ctx: &mut Ctx<'_>) {
        if self.closing && self.is_done() || self.respawn.is_halted() {
            return;
        }
        let now = ctx.now;
        let wanted =
            |seat: &Seat| seat.status == Status::Vacant && seat.hire_at.is_none_or(|at| at <= now);
        let mut lacks = self.workers.iter().filter(|s| wanted(s)).count();
        for i in self.workers.indices() {
            if self.workers[i].status == Status::Starting {
                self.drain_seat(i, ctx);
            }
            if !wanted(&self.workers[i]) || self.respawn.is_halted() {
                continue;
            }
            if self.server.is_gone() && !self.server.has_told_all() {
                // Its workers are still being lost; we are called when that is done.
                continue;
            }
            let may_hire = if self.server.is_gone() {
                self.move_house()
            } else if self.respawn.is_building() {
                // Compared when its building began.
                Ok(())
            } else {
                self.server.may_make_more()
            };
            if let Err(why) = may_hire {
                self.no_worker(i, Reason::not_hired(why), ctx);
                continue;
            }
            let hired = match self.server.hire_soon(self.employer, lacks) {
                Ok(Some(hired)) => hired,
                Ok(None) => continue,
                Err(_) if self.server.is_gone() => continue,
                Err(e) => {
                    self.no_worker(i, Reason::NotHired(RemoteError::from(&e)), ctx);
                    continue;
                }
            };
            lacks = lacks.saturating_sub(1);
            let opened = WorkerConnection::open(Arc::clone(&self.server), hired, &self.setup);
            match opened {
                Ok(line) => {
                    let seat = &mut self.workers[i];
                    seat.line = Some(line);
                    seat.status = Status::Starting;
                    seat.mark = ctx.now;
                }
                Err(e) => self.no_worker(i, Reason::NotHired(RemoteError::from(&e)), ctx),
            }
        }
    }

    /// Goes to another fork server, where the old one has ended; to one whose workers are as those
    /// of the old one. Otherwise says why not.
    pub(super) fn move_house(&mut self) -> Result<(), String> {
        let server = ForkServer::like_us(Setup::inheritance(Some(&self.setup)))
            .map_err(|e| format!("the fork server could not be started again: {e}"))?;
        if !server.is_like(&self.server) {
            return Err(
                "the fork server ended, and the program has other privileges than when this pool was built"
                    .to_owned(),
            );
        }
        if !Arc::ptr_eq(&server, &self.server) {
            self.employer = self.server.move_employer(self.employer, &server);
            self.epoch = server.board.epoch().load(Ordering::Acquire);
            self.server = server;
            self.stops = 0;
            self.wakeups.clear_timer();
            self.postponed = true;
        }
        Ok(())
    }

    /// A worker did not come, or did not get ready.
    pub(super) fn no_worker(&mut self, i: WorkerIndex, reason: Reason, ctx: &mut Ctx<'_>) {
        self.stats.not_ready += 1;
        self.news = true;
        let alive = self.workers.active() > 0;
        match self.respawn.record_failure(reason, alive, ctx.now) {
            Ok(at) => self.workers[i].hire_at = at,
            Err(reason) => self.fail_queued(&reason, ctx),
        }
    }

    /// Ends all queued tasks: there is no worker, for this reason.
    fn fail_queued(&mut self, reason: &Reason, ctx: &mut Ctx<'_>) {
        while let Some(task) = self.queue.pop() {
            if self.is_unwanted(&task) {
                self.drop_unwanted(task, ctx);
                continue;
            }
            let name = reason.initializer(&self.options);
            let name = name.unwrap_or_else(|| task.job.name(self.options.name.as_ref()));
            self.fail(task, || reason.to_error(name.clone()), ctx);
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

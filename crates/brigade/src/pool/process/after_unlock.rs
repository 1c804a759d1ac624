//! What is done when the lock is free: wakers woken, crashes told and kept.

use std::time::Duration;

use super::call_target::CallTarget;
use super::context::EncodedContext;
use super::deferred::{
    CrashReport, DeadOutcome, DeadTask, Deferred, Drawing, HowDied, RareWork, TraceEvent,
};
use super::driver::Driver;
use super::outcome::RawOutcome;
use super::pool::{LockedPool, ProcessPool};
use super::task::Task;
use crate::pool::crash_file::{self, CrashFile, KeptEnd};
use crate::pool::events;
use crate::pool::policy::queue_and_retries::Attempts;
use crate::pool::timeline::Timeline;
use crate::publish;
use crate::sim::local::{Instant, MutexGuard, Ordering, futex};
use crate::task::contain::contained;
use crate::task::entry::Plan;
use crate::{Crash, JoinError, Kind};

/// What a crash file keeps of a task, beside how it ended.
pub(super) struct KeptTask<'a> {
    target: &'a CallTarget,
    input: std::io::Result<Vec<u8>>,
    descriptors: usize,
    context: Option<&'a EncodedContext>,
    attempts: Attempts,
}

impl KeptTask<'_> {
    fn of(task: &Task) -> KeptTask<'_> {
        KeptTask {
            target: &task.target,
            input: task.input.read(),
            descriptors: task.input.descriptors(),
            context: task.context.as_deref(),
            attempts: task.attempts,
        }
    }
}

/// When the place of a worker that died with a task is filled, unless that is done before. Not at
/// once: to set a timer that goes off takes 30 µs of the caller that has the error.
const VACANT: Duration = Duration::from_millis(1);

impl ProcessPool {
    /// Frees the lock, and then does what was to be done without it.
    pub(super) fn unlock_and_run(
        &self,
        mut inner: MutexGuard<'_, LockedPool>,
        mut deferred: Deferred,
    ) {
        let news = std::mem::take(&mut inner.dispatcher.changed);
        if news {
            deferred
                .wakeups
                .threads
                .append(&mut inner.parked_on_any_change);
        }
        let driver_wakeup = inner.driver == Driver::Sleeping && (news || deferred.wake_driver);
        let has_events = !deferred.events.is_empty();
        if has_events {
            self.trace_events.append(&mut deferred.events);
        }
        let timeline = self.options.timeline.as_deref();
        let timeline = timeline.filter(|_| !deferred.drawings.is_empty());
        if timeline.is_some() {
            self.timeline_spans.append(&mut deferred.drawings);
        }
        let room = if self.room.is_empty() {
            0
        } else if inner.dispatcher.closing {
            usize::MAX
        } else {
            inner.dispatcher.room_in_queue()
        };
        let is_idle = news && !self.idle.is_empty() && inner.dispatcher.is_done();
        drop(inner);
        if driver_wakeup {
            self.driver_wakeup.fetch_add(1, Ordering::SeqCst);
            futex::wake_all_shared(&self.driver_wakeup);
        }
        let rare = deferred.take_rare();
        let Deferred { wakeups, .. } = deferred;
        for thread in wakeups.threads {
            thread.unpark();
        }
        self.room.notify(room);
        if is_idle {
            self.idle.notify(usize::MAX);
        }
        for waker in wakeups.wakers {
            // An executor's code: a panic in it is caught, and ignored.
            contained(|| waker.wake());
        }
        if let Some(rare) = rare {
            self.run_rare(*rare);
        }
        if let Some(timeline) = timeline {
            self.timeline_spans
                .deliver(|drawing| self.draw(drawing, timeline));
        }
        if has_events {
            self.trace_events.deliver(|event| self.emit(event));
        }
    }

    /// What few passes leave to be done. The lock is free.
    #[cold]
    fn run_rare(&self, rare: RareWork) {
        let RareWork {
            dead_tasks,
            reports,
            to_drop,
            cancelled,
        } = rare;
        drop((to_drop, cancelled));
        let reported = reports.len();
        self.report_deaths(reports);
        if reported > 0 {
            let mut inner = self.lock();
            inner.dispatcher.reports_pending -= reported;
            inner.dispatcher.changed = true;
            self.unlock_and_run(inner, Deferred::default());
        }
        if !dead_tasks.is_empty() {
            self.complete_dead(dead_tasks);
        }
    }

    /// Emits crashes and writes their files.
    fn report_deaths(&self, reports: Vec<CrashReport>) {
        for report in reports {
            let name = self.name_of(&report.target);
            let (evidence, symbols) = (report.evidence, &report.symbols);
            let kept = KeptTask {
                target: &report.target,
                input: report.input,
                descriptors: report.descriptors,
                context: report.context.as_deref(),
                attempts: report.attempts,
            };
            let mut crash = match report.how {
                HowDied::Itself => evidence.into_crash(name, symbols),
                HowDied::Lost => evidence.into_lost(name, symbols),
                HowDied::TimedOut(limit) => {
                    let mut timeout = evidence.into_timeout(name, limit, symbols);
                    self.write_crash_file(&mut timeout, kept);
                    continue;
                }
            };
            self.emit_crash(&crash);
            self.write_crash_file(&mut crash, kept);
        }
    }

    fn emit(&self, event: TraceEvent) {
        let of = self.events();
        match event {
            TraceEvent::Submitted(first, count) => {
                (first..first + u64::from(count)).for_each(|task| of.submitted(task));
            }
            TraceEvent::Started(pid, task, waited) => of.started(u64::from(pid), task, waited),
            TraceEvent::Moved { from, to, task } => {
                of.moved(u64::from(from), u64::from(to), task);
            }
            TraceEvent::Retried(pid, task, why) => of.retried(u64::from(pid), task, why),
            TraceEvent::Ended(task, outcome, time) => {
                of.ended(task, outcome, time);
                if let Some(spans) = &self.spans {
                    spans.has_ended(task);
                }
            }
            TraceEvent::Stopped(pid) => of.stopped(u64::from(pid)),
            TraceEvent::GoesOn(pid) => of.goes_on(u64::from(pid)),
            TraceEvent::Replaced(pid, why) => of.replaced(u64::from(pid), why),
        }
    }

    /// Into the timeline.
    pub(super) fn draw(&self, drawing: Drawing, timeline: &Timeline) {
        match drawing {
            Drawing::Run(run, target) => {
                let name = || target.name(&self.options);
                timeline.ran(&run, target.key(), name);
            }
            Drawing::Mark(pid, what, why) => timeline.mark_process(pid, what, &why),
        }
    }

    fn events(&self) -> events::PoolIdentity {
        events::PoolIdentity {
            pool: self.number,
            kind: Kind::Process,
        }
    }

    fn emit_crash(&self, crash: &Crash) {
        publish::note_crash(self, crash);
        if let Some(timeline) = &self.options.timeline {
            // Behind the run that it ended, which another thread may be drawing.
            let why = crash.cause().to_string().into();
            self.timeline_spans
                .append(&mut vec![Drawing::Mark(crash.pid(), "crashed", why)]);
            self.timeline_spans
                .deliver(|drawing| self.draw(drawing, timeline));
        }
        if events::crash_events_enabled() {
            let pid = u64::from(crash.pid());
            self.events().crashed(pid, crash.cause(), crash.task());
        }
    }

    /// Writes the crash file, where that is wanted.
    pub(super) fn write_crash_file(&self, crash: &mut impl KeptEnd, kept: KeptTask<'_>) {
        let Some(dir) = &self.options.keep_crashes else {
            return;
        };
        let KeptTask {
            target,
            input,
            descriptors,
            context,
            attempts,
        } = kept;
        let kept = context.map(|context| context.keep_in(dir)).transpose();
        let input = input.map_err(|e| ("input", e));
        let both = input.and_then(|input| Ok((input, kept.map_err(|e| ("context", e))?)));
        let (input, kept) = match both {
            Ok(both) => both,
            Err((what, e)) => {
                let why = format!(
                    "no crash file was written, for the task's {what} could not be kept: {e}"
                );
                return crash_file::attach_error(crash, why);
            }
        };
        let descriptors = descriptors + context.map_or(0, EncodedContext::descriptors);
        let file = CrashFile {
            plan: Plan::from_words(target.plan),
            input: &input,
            descriptors,
            context: kept.as_deref(),
            uses_state: context.is_some_and(EncodedContext::is_state),
            attempt: attempts.current(),
            initializer: self.setup.setup.pool.as_ref().and_then(|s| s.initializer),
            setup: Some(&self.setup.setup),
        };
        file.write_and_attach(crash, dir);
    }

    /// Tells the ends of tasks that died with their workers.
    pub(super) fn complete_dead(&self, dead_tasks: Vec<DeadTask>) {
        let told: Vec<_> = dead_tasks
            .into_iter()
            .map(|DeadTask { task, end }| {
                let name = task.target.name(&self.options);
                let crash = match end {
                    DeadOutcome::Crashed(evidence, symbols) => {
                        Ok(evidence.into_crash(name, &symbols))
                    }
                    DeadOutcome::Lost(evidence, symbols) => Ok(evidence.into_lost(name, &symbols)),
                    DeadOutcome::TimedOut(evidence, symbols) => {
                        let limit = task.exceeded(self.options.timeout, true);
                        let timeout = evidence.into_timeout(name, limit, &symbols);
                        Err(JoinError::TimedOut(timeout))
                    }
                    DeadOutcome::Failed(why) => Err(why),
                };
                let keep = || {
                    let is_kept = self.options.keep_crashes.is_some();
                    is_kept.then(|| KeptTask::of(&task))
                };
                let end = match crash {
                    Ok(mut crash) => {
                        if let Some(kept) = keep() {
                            self.write_crash_file(&mut crash, kept);
                        }
                        self.emit_crash(&crash);
                        JoinError::Crashed(crash)
                    }
                    Err(JoinError::TimedOut(mut timeout)) => {
                        if let Some(kept) = keep() {
                            self.write_crash_file(&mut timeout, kept);
                        }
                        JoinError::TimedOut(timeout)
                    }
                    Err(why) => why,
                };
                (task, end)
            })
            .collect();
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        let now = Instant::now();
        let ctx = &mut deferred.at(now);
        for (task, end) in told {
            inner.dispatcher.dead_pending -= 1;
            inner
                .dispatcher
                .complete(task, RawOutcome::failed(end), ctx);
        }
        // Now that callers have the errors, the workers are replaced: by the listener, so that the
        // caller that has the error goes on. The listener hears of the ends too; where that was
        // before, it is called. That of a fork server that has ended has called for the last time.
        let dispatcher = &mut inner.dispatcher;
        let has_vacancies = !dispatcher.workers.is_complete();
        let has_listener = !dispatcher.server.is_gone();
        if has_vacancies && has_listener && dispatcher.wakeups.is_later_than(now + VACANT) {
            dispatcher.set_timer(now + VACANT);
        }
        self.unlock_and_run(inner, deferred);
        if has_vacancies && !has_listener {
            self.poll();
        }
    }
}

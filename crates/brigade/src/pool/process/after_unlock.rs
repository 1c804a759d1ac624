//! What is done when the lock is free: wakers woken, crashes told and kept.

use super::deferred::{Casualty, Deferred, Ending, Event};
use super::outcome::End;
use super::pool::{Driver, Inner, ProcessPool};
use super::task::Job;
use crate::pool::crash_file::{self, CrashFile};
use crate::pool::events;
use crate::pool::policy::limits::Attempts;
use crate::sim::local::{Instant, MutexGuard, Ordering, futex};
use crate::task::entry::Plan;
use crate::task::panic::contained;
use crate::{Cause, Crash, JoinError, Kind};

impl ProcessPool {
    /// Frees the lock, and then does what was to be done without it.
    pub(super) fn unlock(&self, mut inner: MutexGuard<'_, Inner>, mut deferred: Deferred) {
        let news = std::mem::take(&mut inner.state.news);
        if news {
            deferred.wakeups.threads.append(&mut inner.watchers);
        }
        let nudge = inner.driver == Driver::Asleep && (news || deferred.wake_driver);
        drop(inner);
        if nudge {
            self.nudge.fetch_add(1, Ordering::SeqCst);
            futex::wake_all_shared(&self.nudge);
        }
        let events = std::mem::take(&mut deferred.events);
        let Deferred {
            wakeups,
            casualties,
            reports,
            to_drop,
            cancelled,
            wake_driver: _,
            events: _,
        } = deferred;
        for thread in wakeups.threads {
            thread.unpark();
        }
        for waker in wakeups.wakers {
            // An executor's code: its panic is its own affair.
            contained(|| waker.wake());
        }
        drop((to_drop, cancelled));
        let reported = reports.len();
        for report in reports {
            let name = self.name_of(&report.job);
            let mut crash = report.evidence.into_crash(name, &report.symbols);
            if report.lost {
                crash.0.cause = Cause::Lost;
            }
            self.say_crashed(&crash);
            self.keep(
                &mut crash,
                &report.job,
                report.input,
                report.descriptors,
                report.attempts,
            );
        }
        if reported > 0 {
            let mut inner = self.lock();
            inner.state.reporting -= reported;
            inner.state.news = true;
            self.unlock(inner, Deferred::default());
        }
        if !casualties.is_empty() {
            self.tell(casualties);
        }
        self.say(events);
    }

    fn say(&self, events: Vec<Event>) {
        let of = self.events();
        for event in events {
            match event {
                Event::Submitted(first, count) => {
                    (first..first + u64::from(count)).for_each(|task| of.submitted(task));
                }
                Event::Started(pid, task, waited) => of.started(u64::from(pid), task, waited),
                Event::Moved { from, to, task } => {
                    of.moved(u64::from(from), u64::from(to), task);
                }
                Event::Retried(pid, task, why) => of.retried(u64::from(pid), task, why),
                Event::Ended(task, outcome, time) => of.ended(task, outcome, time),
                Event::Stopped(pid) => of.stopped(u64::from(pid)),
                Event::GoesOn(pid) => of.goes_on(u64::from(pid)),
                Event::Replaced(pid, why) => of.replaced(u64::from(pid), why),
            }
        }
    }

    fn events(&self) -> events::EventSource {
        events::EventSource {
            pool: self.number,
            kind: Kind::Process,
        }
    }

    fn say_crashed(&self, crash: &Crash) {
        if events::crash_events_enabled() {
            let pid = u64::from(crash.pid());
            self.events().crashed(pid, crash.cause(), crash.task());
        }
    }

    /// Writes the crash file, where that is wanted.
    pub(super) fn keep(
        &self,
        crash: &mut Crash,
        job: &Job,
        input: std::io::Result<Vec<u8>>,
        descriptors: usize,
        attempts: Attempts,
    ) {
        let Some(dir) = &self.options.keep_crashes else {
            return;
        };
        let input = match input {
            Ok(input) => input,
            Err(e) => {
                return crash_file::attach_error(
                    crash,
                    format!(
                        "no crash file was written, for the task's input could not be read: {e}"
                    ),
                );
            }
        };
        let file = CrashFile {
            plan: Plan::from_words(job.plan),
            input: &input,
            descriptors,
            attempt: attempts.current(),
            initializer: self.setup.stay.as_ref().and_then(|s| s.initializer),
            setup: Some(&self.setup),
        };
        file.write_and_attach(crash, dir);
    }

    /// Tells the ends of tasks that died with their workers.
    pub(super) fn tell(&self, casualties: Vec<Casualty>) {
        let told: Vec<_> = casualties
            .into_iter()
            .map(|Casualty { task, end }| {
                let name = task.job.name(self.options.name.as_ref());
                let crash = match end {
                    Ending::Crashed(evidence, symbols) => Ok(evidence.into_crash(name, &symbols)),
                    Ending::Lost(evidence, symbols) => Ok(evidence.into_lost(name, &symbols)),
                    Ending::Failed(why) => Err(why),
                };
                let end = match crash {
                    Ok(mut crash) => {
                        if self.options.keep_crashes.is_some() {
                            let (input, descriptors) =
                                (task.input.read(), task.input.descriptors());
                            self.keep(&mut crash, &task.job, input, descriptors, task.attempts);
                        }
                        self.say_crashed(&crash);
                        JoinError::Crashed(crash)
                    }
                    Err(why) => why,
                };
                (task, end)
            })
            .collect();
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        let ctx = &mut deferred.at(Instant::now());
        for (task, end) in told {
            inner.state.casualties -= 1;
            inner.state.finish(task, End::failed(end), ctx);
        }
        self.unlock(inner, deferred);
    }
}

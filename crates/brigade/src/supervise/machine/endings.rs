//! What happens when a run is ready, or ends.

use std::sync::Arc;
use std::time::Instant;

use super::{
    After, ChildEnd, ChildEntry, Exit, Machine, MachineState, Reason, RunId, StartReason, World,
};
use crate::supervise::events::What;
use crate::supervise::{AutoShutdown, ChildError, Restart, Strategy};

impl<L> ChildEntry<L> {
    /// If a caller has asked for this start, tells it why there is none.
    pub(super) fn refuse_start(&mut self, why: ChildError) {
        let origin = std::mem::replace(&mut self.origin, StartReason::Restart);
        if let StartReason::Request { reply_to, .. } = origin {
            drop(reply_to.send(Err(why)));
        }
    }
}

impl<L> Machine<L> {
    /// A run has said that it is ready.
    pub(in crate::supervise) fn ready(
        &mut self,
        run: RunId,
        now: Instant,
        world: &mut impl World<L>,
    ) {
        let Some(at) = self.find_run(run) else { return };
        if matches!(self.children[at].state, MachineState::Starting(_)) {
            self.child_is_up(at, now, world);
        }
    }

    /// A run has ended.
    pub(in crate::supervise) fn run_ended(
        &mut self,
        run: RunId,
        exit: Exit,
        now: Instant,
        world: &mut impl World<L>,
    ) {
        let Some(at) = self.find_run(run) else { return };
        let entry = &mut self.children[at];
        let was_starting = entry.up_since.is_none();
        let after = entry.after.take();
        let exit = match (after, entry.verdict.take()) {
            (None, Some(verdict)) => verdict,
            _ => exit,
        };
        if let (Some(since), Some(backoff)) = (entry.up_since.take(), self.rules.backoff) {
            if now.saturating_duration_since(since) >= backoff.most {
                entry.restarts_in_a_row = 0;
            }
        }
        entry.state = MachineState::Down;
        entry.last_exit = Some(exit.clone());
        let pid = world.pid(run);
        match after {
            Some(after) => {
                world.tell(&entry.spec.name, pid, What::Ended(exit.clone()));
                self.has_stopped(at, after, exit, now, world);
            }
            None if matches!(exit, Exit::Ignored) => self.is_ignored(at, pid, world),
            None if was_starting => self.start_failed(at, exit, now, world),
            None => {
                world.tell(&entry.spec.name, pid, What::Ended(exit.clone()));
                self.has_ended(at, exit, now, world);
            }
        }
    }

    /// What was to be stopped has stopped.
    fn has_stopped(
        &mut self,
        at: usize,
        after: After,
        exit: Exit,
        now: Instant,
        world: &mut impl World<L>,
    ) {
        let is_ending = self.is_ending();
        let entry = &mut self.children[at];
        if is_ending {
            let name = Arc::clone(&entry.spec.name);
            let exit = Some(exit);
            self.ends.push(ChildEnd { name, exit });
        }
        let waiting = std::mem::take(&mut entry.reply_when_stopped);
        if after == After::Due && !is_ending {
            entry.state = MachineState::Due(now);
        } else {
            entry.refuse_start(ChildError::Stopped);
        }
        let info = entry.info(world);
        if after == After::Forgotten || after == After::Down && entry.is_temporary() {
            self.children.remove(at);
        }
        for reply_to in waiting {
            drop(reply_to.send(Ok(info.clone())));
        }
    }

    /// The child said that it is not needed.
    fn is_ignored(&mut self, at: usize, pid: Option<u32>, world: &mut impl World<L>) {
        let entry = &mut self.children[at];
        world.tell(&entry.spec.name, pid, What::Ended(Exit::Ignored));
        let info = entry.info(world);
        let origin = std::mem::replace(&mut entry.origin, StartReason::Restart);
        if entry.is_temporary() {
            self.children.remove(at);
        }
        if let StartReason::Request { reply_to, .. } = origin {
            drop(reply_to.send(Ok(info)));
        }
    }

    pub(super) fn start_failed(
        &mut self,
        at: usize,
        exit: Exit,
        now: Instant,
        world: &mut impl World<L>,
    ) {
        let entry = &mut self.children[at];
        entry.state = MachineState::Down;
        world.tell(&entry.spec.name, None, What::NotStarted(exit.clone()));
        match std::mem::replace(&mut entry.origin, StartReason::Restart) {
            StartReason::Supervisor => {
                let child = Arc::clone(&entry.spec.name);
                let exit = Box::new(exit);
                self.end(Reason::NotStarted { child, exit });
            }
            StartReason::Request { reply_to, is_new } => {
                if is_new || entry.is_temporary() {
                    self.children.remove(at);
                }
                drop(reply_to.send(Err(ChildError::NotStarted(exit))));
            }
            StartReason::Restart => self.restart(at, exit, now, world),
        }
    }

    /// A child that was up has ended by itself.
    fn has_ended(&mut self, at: usize, exit: Exit, now: Instant, world: &mut impl World<L>) {
        let entry = &self.children[at];
        match entry.spec.restart {
            Restart::Permanent => return self.restart(at, exit, now, world),
            Restart::Transient if !exit.is_normal() => return self.restart(at, exit, now, world),
            Restart::Transient | Restart::Temporary => {}
        }
        let child = Arc::clone(&entry.spec.name);
        let is_significant = entry.spec.is_significant;
        if entry.is_temporary() {
            self.children.remove(at);
        }
        let another =
            |e: &ChildEntry<L>| e.spec.is_significant && !matches!(e.state, MachineState::Down);
        let ends = match self.rules.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self.children.iter().any(another),
        };
        if is_significant && ends {
            self.end(Reason::AutoShutdown { child });
        }
    }

    /// Has a child, which does not run, and the others of its group started again.
    fn restart(&mut self, at: usize, exit: Exit, now: Instant, world: &mut impl World<L>) {
        let name = Arc::clone(&self.children[at].spec.name);
        if !self.intensity.allows_another(now) {
            return self.end(Reason::GaveUp {
                child: name,
                exit: Box::new(exit),
            });
        }
        let entry = &mut self.children[at];
        entry.restarts_in_a_row = entry.restarts_in_a_row.saturating_add(1);
        let wait = match self.rules.backoff {
            Some(backoff) => backoff.delay(entry.restarts_in_a_row, world.chance()),
            None => std::time::Duration::ZERO,
        };
        entry.state = MachineState::Due(now + wait);
        entry.origin = StartReason::Restart;
        world.tell(&name, None, What::Restarting { after: wait });
        let others = match self.rules.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => at + 1,
        };
        for (number, other) in self.children.iter_mut().enumerate().skip(others) {
            if number == at {
                continue;
            }
            match (other.is_temporary(), other.runs()) {
                (true, true) => other.after = Some(After::Forgotten),
                // It is new, and waits for its turn.
                (true, false) => {}
                (false, true) => other.after = Some(After::Due),
                (false, false) if matches!(other.state, MachineState::Down) => {
                    other.state = MachineState::Due(now);
                }
                (false, false) => {}
            }
        }
    }
}

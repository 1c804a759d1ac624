//! What a supervisor is asked to do with its children.

use std::time::Instant;

use super::{After, ChildEntry, Machine, MachineState, Reason, Spec, StartReason, World};
use crate::supervise::request::{ChildInfo, ChildReplyTo};
use crate::supervise::{AutoShutdown, ChildError, Restart};

impl<L> Spec<L> {
    /// Whether such a supervisor can have such a child.
    pub(in crate::supervise) fn check(&self, auto_shutdown: AutoShutdown) -> Result<(), String> {
        let name = &self.name;
        if self.is_significant && self.restart == Restart::Permanent {
            return Err(format!(
                "`{name}` cannot be significant and permanent: it would be restarted"
            ));
        }
        if self.is_significant && auto_shutdown == AutoShutdown::Never {
            return Err(format!(
                "`{name}` cannot be significant: its supervisor's `auto_shutdown` is `Never`"
            ));
        }
        Ok(())
    }
}

impl<L> Machine<L> {
    /// A child that is new.
    pub(in crate::supervise) fn start_child(
        &mut self,
        spec: Spec<L>,
        reply_to: ChildReplyTo,
        now: Instant,
    ) {
        let there = self.find(&spec.name).map(|at| self.children[at].runs());
        let refused = match (self.is_ending(), there) {
            (true, _) => Some(ChildError::Closed),
            (_, Some(true)) => Some(ChildError::Running),
            (_, Some(false)) => Some(ChildError::AlreadyPresent),
            (_, None) => {
                let checked = spec.check(self.rules.auto_shutdown);
                checked.err().map(ChildError::Invalid)
            }
        };
        match refused {
            Some(why) => drop(reply_to.send(Err(why))),
            None => {
                let is_new = true;
                self.add(spec, now, StartReason::Request { reply_to, is_new });
            }
        }
    }

    /// Stops a child; it is not started again for now.
    pub(in crate::supervise) fn terminate_child(
        &mut self,
        name: &str,
        reply_to: ChildReplyTo,
        world: &impl World<L>,
    ) {
        let Some(at) = self.find(name) else {
            drop(reply_to.send(Err(self.not_there())));
            return;
        };
        let is_ending = self.is_ending();
        let entry = &mut self.children[at];
        if entry.runs() {
            if !is_ending && entry.after != Some(After::Forgotten) {
                entry.after = Some(After::Down);
            }
            entry.reply_when_stopped.push(reply_to);
            return;
        }
        entry.refuse_start(ChildError::Stopped);
        entry.state = MachineState::Down;
        drop(reply_to.send(Ok(entry.info(world))));
        if entry.is_temporary() {
            self.children.remove(at);
        }
    }

    /// Starts a child that is known and does not run.
    pub(in crate::supervise) fn restart_child(
        &mut self,
        name: &str,
        reply_to: ChildReplyTo,
        now: Instant,
    ) {
        match self.find_down(name) {
            Err(why) => drop(reply_to.send(Err(why))),
            Ok(at) => {
                let entry = &mut self.children[at];
                entry.state = MachineState::Due(now);
                let is_new = false;
                entry.origin = StartReason::Request { reply_to, is_new };
            }
        }
    }

    /// Forgets a child that does not run.
    pub(in crate::supervise) fn delete_child(
        &mut self,
        name: &str,
        reply_to: ChildReplyTo,
        world: &impl World<L>,
    ) {
        let answer = self.find_down(name).map(|at| {
            let entry = self.children.remove(at);
            entry.info(world)
        });
        drop(reply_to.send(answer));
    }

    pub(in crate::supervise) fn children(&self, world: &impl World<L>) -> Vec<ChildInfo> {
        self.children.iter().map(|e| e.info(world)).collect()
    }

    pub(in crate::supervise) fn shutdown(&mut self) {
        self.end(Reason::Shutdown);
    }

    /// Kills what can be killed, all at once.
    pub(in crate::supervise) fn abort(&mut self, world: &mut impl World<L>) {
        self.end(Reason::Shutdown);
        self.hurry(world);
    }

    fn not_there(&self) -> ChildError {
        match self.is_ending() {
            true => ChildError::Closed,
            false => ChildError::NotFound,
        }
    }

    /// A child that does not run, and is not about to.
    fn find_down(&self, name: &str) -> Result<usize, ChildError> {
        if self.is_ending() {
            return Err(ChildError::Closed);
        }
        let at = self.find(name).ok_or(ChildError::NotFound)?;
        match &self.children[at] {
            ChildEntry {
                state: MachineState::Down,
                ..
            } => Ok(at),
            ChildEntry {
                state: MachineState::Due(_),
                ..
            } => Err(ChildError::Restarting),
            _ => Err(ChildError::Running),
        }
    }
}

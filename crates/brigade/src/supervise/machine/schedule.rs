//! What is done next: limits that are over, then stops, then starts.

use std::time::Instant;

use super::{
    After, ChildEntry, ChildPhase, Countdown, Exit, Machine, MachineState, Readiness, StartReason,
    Watchdog, World,
};
use crate::supervise::events::What;
use crate::supervise::{Shutdown, Strategy};

impl<L> Machine<L> {
    /// Ends what has run over its limit.
    pub(in crate::supervise) fn tick(&mut self, now: Instant, world: &mut impl World<L>) {
        for entry in &mut self.children {
            let run = entry.run;
            let is_over = match &mut entry.state {
                MachineState::Starting(Some(countdown))
                | MachineState::Stopping(Some(countdown)) => countdown.is_over(now),
                MachineState::Up(Some(watchdog)) => watchdog.is_over(now, world.beats(run)),
                _ => false,
            };
            if is_over {
                entry.verdict = match &entry.state {
                    MachineState::Starting(Some(limit)) => Some(Exit::NotReady(limit.limit())),
                    MachineState::Up(Some(watchdog)) => {
                        Some(Exit::NotAlive(watchdog.countdown.limit()))
                    }
                    _ => None,
                };
                entry.state = MachineState::Killed;
                world.kill(run);
            }
        }
    }

    /// Stops and starts all that can be at this moment.
    pub(in crate::supervise) fn advance(&mut self, now: Instant, world: &mut impl World<L>) {
        self.try_again = false;
        loop {
            self.stop_next(now, world);
            let Some(at) = self.next_start(now) else {
                break;
            };
            if !self.launch(at, now, world) {
                self.try_again = true;
                break;
            }
        }
        let settled =
            |e: &ChildEntry<L>| matches!(e.state, MachineState::Up(_) | MachineState::Down);
        if self.is_starting() && self.children.iter().all(settled) {
            self.phase = ChildPhase::Running;
        }
    }

    /// When [`tick`](Self::tick) and [`advance`](Self::advance) are to be called again, if nothing
    /// happens before.
    pub(in crate::supervise) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.try_again {
            return Some(now);
        }
        let limits = self.children.iter().filter_map(|entry| match &entry.state {
            MachineState::Starting(Some(countdown)) | MachineState::Stopping(Some(countdown)) => {
                countdown.due()
            }
            MachineState::Up(Some(watchdog)) => watchdog.countdown.due(),
            // What could have been started by now was: it waits for others.
            MachineState::Due(at) => (*at > now).then_some(*at),
            _ => None,
        });
        limits.min()
    }

    /// Whether children wait for each other.
    pub(super) fn in_order(&self) -> bool {
        self.is_starting() || self.is_ending() || self.rules.strategy != Strategy::OneForOne
    }

    /// Asks those to stop that are to be stopped, and that wait for no other.
    fn stop_next(&mut self, now: Instant, world: &mut impl World<L>) {
        let together = self.in_a_hurry || self.rules.stop_together || !self.in_order();
        for at in (0..self.children.len()).rev() {
            let entry = &mut self.children[at];
            if !entry.runs() || entry.after.is_none() {
                continue;
            }
            if matches!(entry.state, MachineState::Starting(_) | MachineState::Up(_)) {
                world.tell(&entry.spec.name, world.pid(entry.run), What::Stopping);
                let shutdown = match self.in_a_hurry {
                    true => Shutdown::Kill,
                    false => entry.spec.shutdown,
                };
                entry.state = match shutdown {
                    Shutdown::Kill => MachineState::Killed,
                    Shutdown::Grace(time) => {
                        MachineState::Stopping(Some(Countdown::new(time, now)))
                    }
                    Shutdown::Infinity => MachineState::Stopping(None),
                };
                match shutdown {
                    Shutdown::Kill => world.kill(entry.run),
                    _ => world.ask(entry.run),
                }
            }
            if !together {
                return;
            }
        }
    }

    /// The first child that can be started now.
    fn next_start(&self, now: Instant) -> Option<usize> {
        if self.is_ending() {
            return None;
        }
        let in_order = self.in_order();
        if in_order && self.children.iter().any(|e| e.runs() && e.after.is_some()) {
            return None;
        }
        for (at, entry) in self.children.iter().enumerate() {
            match entry.state {
                MachineState::Up(_) | MachineState::Down => {}
                MachineState::Due(due) if due <= now => return Some(at),
                _ if in_order => return None,
                _ => {}
            }
        }
        None
    }

    /// `false`: it could not be started.
    fn launch(&mut self, at: usize, now: Instant, world: &mut impl World<L>) -> bool {
        let entry = &mut self.children[at];
        entry.run.number += 1;
        match world.launch(&mut entry.spec, entry.run) {
            Err(exit) => {
                entry.last_exit = Some(exit.clone());
                self.start_failed(at, exit, now, world);
                false
            }
            Ok(()) => {
                match entry.spec.readiness {
                    Readiness::AtOnce => self.child_is_up(at, now, world),
                    Readiness::WhenItSaysSo { within } => {
                        entry.state =
                            MachineState::Starting(within.map(|limit| Countdown::new(limit, now)));
                    }
                }
                true
            }
        }
    }

    pub(super) fn child_is_up(&mut self, at: usize, now: Instant, world: &mut impl World<L>) {
        let entry = &mut self.children[at];
        let run = entry.run;
        entry.up_since = Some(now);
        entry.state = MachineState::Up(entry.spec.watchdog.map(|limit| Watchdog {
            countdown: Countdown::new(limit, now),
            beats: world.beats(run),
        }));
        let pid = world.pid(run);
        world.tell(&entry.spec.name, pid, What::Started);
        let origin = std::mem::replace(&mut entry.origin, StartReason::Restart);
        if let StartReason::Request { reply_to, .. } = origin {
            drop(reply_to.send(Ok(entry.info(world))));
        }
    }

    /// Everything is to stop.
    pub(super) fn end(&mut self, reason: super::Reason) {
        if self.is_ending() {
            return;
        }
        for entry in &mut self.children {
            entry.refuse_start(crate::supervise::ChildError::Closed);
            if entry.runs() {
                entry.after = Some(After::Down);
            } else {
                entry.state = MachineState::Down;
                self.ends.push(super::ChildEnd {
                    name: std::sync::Arc::clone(&entry.spec.name),
                    exit: entry.last_exit.clone(),
                });
            }
        }
        self.phase = ChildPhase::Ending(reason);
    }

    /// As [`end`](Self::end), and no child is given time for it.
    pub(super) fn hurry(&mut self, world: &mut impl World<L>) {
        self.in_a_hurry = true;
        for entry in &mut self.children {
            if matches!(entry.state, MachineState::Stopping(_)) {
                entry.state = MachineState::Killed;
                world.kill(entry.run);
            }
        }
    }
}

impl Watchdog {
    fn is_over(&mut self, now: Instant, beats: u32) -> bool {
        if self.countdown.due().is_none_or(|due| now < due) {
            return false;
        }
        if beats != self.beats {
            self.beats = beats;
            self.countdown = Countdown::new(self.countdown.limit(), now);
            return false;
        }
        self.countdown.is_over(now)
    }
}

//! What a supervisor decides: `README.md` beside the module tells the steps.
//!
//! A supervisor's thread tells it what has happened and what time it is, and it says to a [`World`]
//! what is to be done. Nothing here waits, and nothing is asked of the system.

mod endings;
mod intensity;
mod requests;
mod schedule;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::intensity::Intensity;
use super::backoff::Backoff;
use super::countdown::Countdown;
use super::events::What;
use super::exit::{ChildEnd, Exit, Reason};
use super::inbox::RunId;
use super::request::{ChildInfo, ChildReplyTo, ChildState};
use super::{AutoShutdown, Restart, Shutdown, Strategy};
use crate::Kind;

/// What starts and stops.
pub(super) trait World<L> {
    /// Starts a run. It is up at once, unless readiness is asked for.
    fn launch(&mut self, spec: &mut Spec<L>, run: RunId) -> Result<(), Exit>;
    /// Asks a run to stop.
    fn ask(&mut self, run: RunId);
    /// Kills a run, or lets it go. Its end comes as any.
    fn kill(&mut self, run: RunId);
    /// How often it has said that it lives.
    fn beats(&self, run: RunId) -> u32;
    fn pid(&self, run: RunId) -> Option<u32>;
    fn tell(&mut self, child: &Arc<str>, pid: Option<u32>, what: What);
    /// A number that cannot be foreseen.
    fn chance(&mut self) -> u64;
}

/// What a supervisor has to know of a child. `L`: how it is launched.
#[derive(Clone, Debug)]
pub(super) struct Spec<L> {
    pub(super) name: Arc<str>,
    /// `None`: a supervisor.
    pub(super) kind: Option<Kind>,
    pub(super) restart: Restart,
    pub(super) is_significant: bool,
    pub(super) shutdown: Shutdown,
    pub(super) readiness: Readiness,
    pub(super) watchdog: Option<Duration>,
    pub(super) launcher: L,
}

/// When a child that was launched is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    AtOnce,
    WhenItSaysSo { within: Option<Duration> },
}

/// What a supervisor was made with.
#[derive(Clone, Debug)]
pub(super) struct SupervisorRules {
    pub(super) strategy: Strategy,
    pub(super) intensity: u32,
    pub(super) period: Duration,
    pub(super) auto_shutdown: AutoShutdown,
    pub(super) backoff: Option<Backoff>,
    pub(super) stop_together: bool,
}

#[derive(Debug)]
enum MachineState {
    Down,
    /// To be started, not before that.
    Due(Instant),
    Starting(Option<Countdown>),
    Up(Option<Watchdog>),
    /// The child was asked to stop.
    Stopping(Option<Countdown>),
    Killed,
}

#[derive(Debug)]
struct Watchdog {
    countdown: Countdown,
    beats: u32,
}

/// What becomes of a child that is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Down,
    Due,
    Forgotten,
}

/// What the start of a child is for.
#[derive(Debug)]
enum StartReason {
    /// The start of its supervisor.
    Supervisor,
    /// A request. `is_new`: the child came with it.
    Request {
        reply_to: ChildReplyTo,
        is_new: bool,
    },
    /// A restart.
    Restart,
}

#[derive(Debug)]
struct ChildEntry<L> {
    spec: Spec<L>,
    /// The latest.
    run: RunId,
    state: MachineState,
    /// Some: it runs, and is to be stopped.
    after: Option<After>,
    origin: StartReason,
    /// The callers that wait until it has stopped.
    reply_when_stopped: Vec<ChildReplyTo>,
    /// Why it was killed, if that is how it has ended.
    verdict: Option<Exit>,
    last_exit: Option<Exit>,
    up_since: Option<Instant>,
    restarts_in_a_row: u32,
}

impl<L> ChildEntry<L> {
    fn new(spec: Spec<L>, child: u64, now: Instant, origin: StartReason) -> ChildEntry<L> {
        ChildEntry {
            spec,
            run: RunId { child, number: 0 },
            state: MachineState::Due(now),
            after: None,
            origin,
            reply_when_stopped: Vec::new(),
            verdict: None,
            last_exit: None,
            up_since: None,
            restarts_in_a_row: 0,
        }
    }

    /// Whether there is a run of it.
    fn runs(&self) -> bool {
        !matches!(self.state, MachineState::Down | MachineState::Due(_))
    }

    fn is_temporary(&self) -> bool {
        self.spec.restart == Restart::Temporary
    }

    fn state(&self) -> ChildState {
        match (&self.state, &self.origin) {
            (MachineState::Down, _) => ChildState::Stopped,
            (MachineState::Due(_), StartReason::Restart) => ChildState::Restarting,
            _ if self.runs() && self.after.is_some() => ChildState::Stopping,
            (MachineState::Due(_) | MachineState::Starting(_), _) => ChildState::Starting,
            (MachineState::Up(_), _) => ChildState::Running,
            (MachineState::Stopping(_) | MachineState::Killed, _) => ChildState::Stopping,
        }
    }

    fn info(&self, world: &impl World<L>) -> ChildInfo {
        ChildInfo {
            name: Arc::clone(&self.spec.name),
            kind: self.spec.kind,
            state: self.state(),
            pid: self.runs().then(|| world.pid(self.run)).flatten(),
        }
    }
}

#[derive(Debug)]
enum ChildPhase {
    /// Not all children have been up yet.
    Starting,
    Running,
    /// Everything is being stopped.
    Ending(Reason),
}

#[derive(Debug)]
pub(super) struct Machine<L> {
    rules: SupervisorRules,
    /// In the order in which they are started.
    children: Vec<ChildEntry<L>>,
    intensity: Intensity,
    phase: ChildPhase,
    next_child: u64,
    /// How children have ended, while everything is being stopped.
    ends: Vec<ChildEnd>,
    /// No child is given its grace time.
    in_a_hurry: bool,
    /// A launch has failed: before it is tried again, other messages are read.
    try_again: bool,
}

impl<L> Machine<L> {
    pub(super) fn new(rules: SupervisorRules, children: Vec<Spec<L>>, now: Instant) -> Machine<L> {
        let mut machine = Machine {
            intensity: Intensity::new(rules.intensity, rules.period),
            rules,
            children: Vec::new(),
            phase: ChildPhase::Starting,
            next_child: 0,
            ends: Vec::new(),
            in_a_hurry: false,
            try_again: false,
        };
        for spec in children {
            machine.add(spec, now, StartReason::Supervisor);
        }
        machine
    }

    fn add(&mut self, spec: Spec<L>, now: Instant, origin: StartReason) {
        let child = self.next_child;
        self.next_child += 1;
        self.children
            .push(ChildEntry::new(spec, child, now, origin));
    }

    /// Whether all children have been up, and nothing is being stopped.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, ChildPhase::Running)
    }

    fn is_starting(&self) -> bool {
        matches!(self.phase, ChildPhase::Starting)
    }

    fn is_ending(&self) -> bool {
        matches!(self.phase, ChildPhase::Ending(_))
    }

    /// Why it has ended, and how its children have, if it has.
    pub(super) fn ended(&mut self) -> Option<(Reason, Vec<ChildEnd>)> {
        match &self.phase {
            ChildPhase::Ending(reason) if !self.children.iter().any(ChildEntry::runs) => {
                Some((reason.clone(), std::mem::take(&mut self.ends)))
            }
            _ => None,
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|e| *e.spec.name == *name)
    }

    /// The child of a run, if that is its latest, and has not ended.
    fn find_run(&self, run: RunId) -> Option<usize> {
        let at = self.children.iter().position(|e| e.run == run)?;
        self.children[at].runs().then_some(at)
    }
}

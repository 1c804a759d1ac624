//! The thread of one supervisor: it starts and stops what the machine says.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::backoff;
use super::child::Launcher;
use super::events::{Teller, What};
use super::exit::{ChildEnd, Exit, LetGo, Report, Told};
use super::handle::{Core, Handle};
use super::inbox::{Address, Inbox, LookAgain, Note, RunId};
use super::launch::{Launch, Launched, Returned};
use super::machine::{Machine, Readiness, Spec, World};
use super::request::HandleRequest;
use crate::task::contain::contained;
use crate::task::entry::caught;
use crate::{Cause, JoinError, Kind};

/// signal(7). A process that is ended by it is one of Linux's.
const SIGTERM: i32 = 15;

/// A supervisor at work.
pub(super) struct Runner {
    machine: Machine<Launcher>,
    runs: RunningChildren,
    /// The supervisor that this one is a child of.
    parent: Option<Address>,
    core: Arc<Core>,
}

/// The runs of a supervisor's children: the machine's world.
struct RunningChildren {
    inbox: Arc<Inbox>,
    /// By child: at most one of each.
    running: HashMap<u64, RunningChild>,
    /// Threads that were let go, those of supervisors below that have ended among them.
    let_go: Vec<LetGo>,
    teller: Teller,
}

struct RunningChild {
    number: u64,
    name: Arc<str>,
    what: ChildBody,
}

enum ChildBody {
    Worker(Box<ChildWorker>),
    Supervisor(Handle),
}

struct ChildWorker {
    launched: Launched,
    pid: Option<u32>,
    look: Arc<LookAgain>,
    waker: Waker,
    /// The child was asked to stop, by SIGTERM.
    was_terminated: bool,
}

impl Runner {
    pub(super) fn new(
        machine: Machine<Launcher>,
        teller: Teller,
        parent: Option<Address>,
        core: Arc<Core>,
    ) -> Runner {
        Runner {
            machine,
            runs: RunningChildren {
                inbox: Arc::clone(&core.inbox),
                running: HashMap::new(),
                let_go: Vec::new(),
                teller,
            },
            parent,
            core,
        }
    }

    /// Until the supervisor has ended.
    pub(super) fn run(mut self) {
        self.core.runs_here();
        let mut is_starting = true;
        let report = loop {
            let now = Instant::now();
            self.machine.tick(now, &mut self.runs);
            self.machine.advance(now, &mut self.runs);
            if let Some((reason, ends)) = self.machine.ended() {
                break self.runs.report(reason, ends);
            }
            if is_starting && self.machine.is_running() {
                is_starting = false;
                self.runs.teller.tell(None, None, What::Started);
                self.core.is_up();
                if let Some(parent) = &self.parent {
                    parent.is_ready();
                }
            }
            for note in self.runs.inbox.take(self.machine.deadline(now)) {
                self.handle_note(note);
            }
        };
        // What was not read is answered by being dropped.
        let unread = self.runs.inbox.close();
        contained(|| drop(unread));
        let Runner {
            machine,
            runs,
            parent,
            core,
        } = self;
        // Inputs of children: their destructors are the program's.
        contained(|| drop(machine));
        runs.teller
            .tell(None, None, What::Stopped(report.reason().clone()));
        core.readers.close();
        // With this, unless a clone of the supervisor may still tell them something.
        drop(runs.teller);
        core.has_ended(report.clone());
        if let Some(parent) = parent {
            parent.has_ended(report);
        }
    }

    fn handle_note(&mut self, note: Note) {
        let now = Instant::now();
        let (machine, runs) = (&mut self.machine, &mut self.runs);
        match note {
            Note::Ready(run) => machine.ready(run, now, runs),
            Note::Look(run) => {
                let (ready, exit) = runs.look(run);
                if ready {
                    machine.ready(run, now, runs);
                }
                if let Some(exit) = exit {
                    machine.run_ended(run, exit, now, runs);
                    runs.forget(run);
                }
            }
            Note::Ended(run, report) => {
                if runs.get(run).is_some() {
                    let below = runs.let_go_below(run, &report);
                    runs.add_let_go(below);
                    machine.run_ended(run, Exit::Supervisor(report), now, runs);
                    runs.forget(run);
                }
            }
            Note::Request(request) => match request {
                HandleRequest::Start(child, reply_to) => {
                    machine.start_child(child.0, reply_to, now)
                }
                HandleRequest::Terminate(name, reply_to) => {
                    machine.terminate_child(&name, reply_to, runs)
                }
                HandleRequest::Restart(name, reply_to) => {
                    machine.restart_child(&name, reply_to, now)
                }
                HandleRequest::Delete(name, reply_to) => {
                    machine.delete_child(&name, reply_to, runs)
                }
                HandleRequest::Children(reply_to) => drop(reply_to.send(machine.children(runs))),
                HandleRequest::Supervisor(name, reply_to) => {
                    if let Some(handle) = runs.supervisor(&name) {
                        drop(reply_to.send(handle));
                    }
                }
                HandleRequest::Shutdown => machine.shutdown(),
                HandleRequest::Abort => machine.abort(runs),
            },
        }
    }
}

impl RunningChildren {
    fn get(&self, run: RunId) -> Option<&RunningChild> {
        self.running
            .get(&run.child)
            .filter(|running| running.number == run.number)
    }

    fn get_mut(&mut self, run: RunId) -> Option<&mut RunningChild> {
        self.running
            .get_mut(&run.child)
            .filter(|running| running.number == run.number)
    }

    fn worker(&mut self, run: RunId) -> Option<&mut ChildWorker> {
        match &mut self.get_mut(run)?.what {
            ChildBody::Worker(worker) => Some(worker),
            ChildBody::Supervisor(_) => None,
        }
    }

    fn forget(&mut self, run: RunId) {
        if self.get(run).is_some() {
            self.running.remove(&run.child);
        }
    }

    /// Whether a run has become ready, and how it has ended, if it has.
    fn look(&mut self, run: RunId) -> (bool, Option<Exit>) {
        let Some(worker) = self.worker(run) else {
            return (false, None);
        };
        let (ready, exit) = worker.look();
        if matches!(exit, Some(Exit::LetGo)) {
            let presence = Weak::clone(&worker.launched.presence);
            let name = self.get(run).map(|running| Arc::clone(&running.name));
            self.add_let_go(name.map(|name| LetGo { name, presence }));
        }
        (ready, exit)
    }

    fn supervisor(&self, name: &str) -> Option<Handle> {
        let mut all = self.running.values().filter(|r| *r.name == *name);
        all.find_map(|running| match &running.what {
            ChildBody::Supervisor(handle) => Some(handle.clone()),
            ChildBody::Worker(_) => None,
        })
    }

    /// Those of a supervisor below that has ended.
    fn let_go_below(&self, run: RunId, report: &Report) -> Vec<LetGo> {
        let Some(running) = self.get(run) else {
            return Vec::new();
        };
        let below = report.0.let_go.iter().map(|thread| LetGo {
            name: format!("{}/{}", running.name, thread.name).into(),
            presence: Weak::clone(&thread.presence),
        });
        below.collect()
    }

    /// Those that have ended since are forgotten.
    fn add_let_go(&mut self, threads: impl IntoIterator<Item = LetGo>) {
        self.let_go.retain(LetGo::still_runs);
        self.let_go.extend(threads);
    }

    fn report(&mut self, reason: super::Reason, children: Vec<ChildEnd>) -> Report {
        let mut let_go = std::mem::take(&mut self.let_go);
        let_go.retain(LetGo::still_runs);
        Report(Arc::new(Told {
            reason,
            children,
            left_running: let_go.iter().map(|t| Arc::clone(&t.name)).collect(),
            let_go,
        }))
    }
}

impl ChildWorker {
    /// What there is to be seen, and has a note come when there is more.
    fn look(&mut self) -> (bool, Option<Exit>) {
        self.look.is_looked_at();
        let context = &mut Context::from_waker(&self.waker);
        // Its end is looked at before its readiness: what it said last, it said before it ended,
        // and that counts.
        let ended = match pin!(&mut self.launched.handle).poll(context) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        };
        let mut ready = self.launched.line.is_ready();
        if let Some(receiver) = &self.launched.ready {
            match pin!(receiver.recv_async()).poll(context) {
                Poll::Ready(said) => {
                    ready = said.is_ok();
                    // It says no more than that.
                    self.launched.ready = None;
                }
                Poll::Pending => {}
            }
        }
        (ready, ended.map(|ended| self.exit(ended)))
    }

    fn exit(&self, ended: Result<Returned, JoinError>) -> Exit {
        match ended {
            Ok(returned) => returned.into(),
            Err(JoinError::Cancelled) => match self.launched.handle.kind() {
                Kind::Thread => Exit::LetGo,
                Kind::Process => Exit::Killed,
            },
            Err(JoinError::Crashed(crash))
                if self.was_terminated && *crash.cause() == Cause::Killed(SIGTERM) =>
            {
                Exit::Terminated
            }
            Err(error) => Exit::Died(Arc::new(error)),
        }
    }
}

impl World<Launcher> for RunningChildren {
    fn launch(&mut self, spec: &mut Spec<Launcher>, run: RunId) -> Result<(), Exit> {
        let supervisor = Address {
            inbox: Arc::clone(&self.inbox),
            run,
        };
        let what = match &spec.launcher {
            Launcher::Task(task, process) => {
                let launched = task.start(&Launch {
                    name: &spec.name,
                    supervisor: supervisor.clone(),
                    waits_until_ready: spec.readiness != Readiness::AtOnce,
                    process,
                })?;
                let look = LookAgain::new(supervisor);
                // The first look asks for a note of the next change.
                look.note();
                ChildBody::Worker(Box::new(ChildWorker {
                    pid: launched.handle.pid(),
                    launched,
                    waker: Waker::from(Arc::clone(&look)),
                    look,
                    was_terminated: false,
                }))
            }
            Launcher::Supervisor(inner) => {
                let started = caught(|| (**inner).clone());
                let inner = started.map_err(|unwound| Exit::Failed(unwound.message))?;
                let handle = inner.launch(&spec.name, Some((&self.teller, supervisor)));
                ChildBody::Supervisor(handle.map_err(|e| Exit::NotStarted(Arc::new(e)))?)
            }
        };
        let running = RunningChild {
            number: run.number,
            name: Arc::clone(&spec.name),
            what,
        };
        self.running.insert(run.child, running);
        Ok(())
    }

    fn ask(&mut self, run: RunId) {
        match self.get_mut(run).map(|running| &mut running.what) {
            Some(ChildBody::Worker(worker)) => {
                let listens = worker.launched.line.ask_to_stop();
                worker.was_terminated = !listens;
                if !listens {
                    worker.launched.handle.terminate();
                }
            }
            Some(ChildBody::Supervisor(handle)) => handle.put(HandleRequest::Shutdown),
            None => {}
        }
    }

    fn kill(&mut self, run: RunId) {
        match self.get_mut(run).map(|running| &mut running.what) {
            Some(ChildBody::Worker(worker)) => {
                // A thread that is let go may still hear it.
                worker.launched.line.ask_to_stop();
                worker.launched.handle.cancel();
                worker.look.note();
            }
            Some(ChildBody::Supervisor(handle)) => handle.put(HandleRequest::Abort),
            None => {}
        }
    }

    fn beats(&self, run: RunId) -> u32 {
        match self.get(run).map(|running| &running.what) {
            Some(ChildBody::Worker(worker)) => worker.launched.line.beats(),
            _ => 0,
        }
    }

    fn pid(&self, run: RunId) -> Option<u32> {
        match self.get(run).map(|running| &running.what) {
            Some(ChildBody::Worker(worker)) => worker.pid,
            _ => None,
        }
    }

    fn tell(&mut self, child: &Arc<str>, pid: Option<u32>, what: What) {
        self.teller.tell(Some(child), pid, what);
    }

    fn chance(&mut self) -> u64 {
        backoff::chance()
    }
}

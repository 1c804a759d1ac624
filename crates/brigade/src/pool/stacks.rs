//! What each worker of a pool does now: its task, for how long, and the calls on its stack.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::publish::WorkerPicture;
use crate::task::name::TaskName;
use crate::task::whereabouts::Whereabouts;
use crate::{Kind, Phase};

/// What each worker of a pool was doing when [`Pool::stacks`](crate::Pool::stacks) asked. As a text
/// it is what a dump of threads is elsewhere.
#[derive(Clone, Debug)]
#[doc(alias = "thread dump")]
#[doc(alias = "faulthandler")]
#[doc(alias = "py-spy")]
pub struct Stacks {
    workers: Vec<WorkerStack>,
}

impl Stacks {
    pub(super) fn new(workers: Vec<WorkerStack>) -> Stacks {
        Stacks { workers }
    }

    /// Each worker. One that is being replaced may be missing.
    pub fn workers(&self) -> &[WorkerStack] {
        &self.workers
    }
}

impl IntoIterator for Stacks {
    type Item = WorkerStack;
    type IntoIter = std::vec::IntoIter<WorkerStack>;

    fn into_iter(self) -> Self::IntoIter {
        self.workers.into_iter()
    }
}

impl<'a> IntoIterator for &'a Stacks {
    type Item = &'a WorkerStack;
    type IntoIter = std::slice::Iter<'a, WorkerStack>;

    fn into_iter(self) -> Self::IntoIter {
        self.workers.iter()
    }
}

/// All workers, with an empty line between two.
impl fmt::Display for Stacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, worker) in self.workers.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{worker}")?;
        }
        Ok(())
    }
}

/// What one worker of a pool was doing.
#[derive(Clone)]
pub struct WorkerStack {
    kind: Kind,
    id: u32,
    state: &'static str,
    task: Option<(TaskName, Duration)>,
    place: Option<Whereabouts>,
    why_unknown: Option<&'static str>,
}

impl WorkerStack {
    /// `name`: of the task's worker.
    pub(super) fn new(
        kind: Kind,
        picture: &WorkerPicture,
        name: Option<&std::sync::Arc<str>>,
        place: Option<Whereabouts>,
    ) -> WorkerStack {
        let task = picture.task.map(|task| {
            let name = TaskName::at(task.function, name.cloned(), task.call_site);
            (name, task.since)
        });
        WorkerStack {
            kind,
            id: picture.id,
            state: picture.state,
            task,
            why_unknown: place.as_ref().and_then(|place| place.why_unknown),
            place,
        }
    }

    /// The worker has gone on: its stack is not that of the task that it ran when it was asked.
    pub(super) fn has_gone_on(self) -> WorkerStack {
        self.without_stack("the task ended meanwhile")
    }

    /// There is a stack, but it cannot be read.
    pub(super) fn without_stack(mut self, why: &'static str) -> WorkerStack {
        self.place = None;
        self.why_unknown = Some(why);
        self
    }

    /// Whether the worker is a thread or a process.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The worker's process. `None`: it is a thread.
    pub fn pid(&self) -> Option<u32> {
        (self.kind == Kind::Process).then_some(self.id)
    }

    /// What the system calls the worker's thread: as `gettid` tells, and `/proc`, on Linux; 0
    /// elsewhere. `None`: it is a process.
    pub fn thread(&self) -> Option<u32> {
        (self.kind == Kind::Thread).then_some(self.id)
    }

    /// The worker's state, for people: `running`, `idle`, `starting`, `ending`, `stopped`, or
    /// `waiting` for another task of the same pool.
    pub fn state(&self) -> &str {
        self.state
    }

    /// The function of the task that it runs, if it runs one.
    pub fn task(&self) -> Option<&str> {
        Some(self.task.as_ref()?.0.get())
    }

    /// Where that task was started.
    pub fn started_at(&self) -> Option<&'static Location<'static>> {
        Some(self.task.as_ref()?.0.started())
    }

    /// For how long it has run that task. In a process a moment less, by what the pool has seen.
    pub fn age(&self) -> Option<Duration> {
        Some(self.task.as_ref()?.1)
    }

    /// How far it has come with it. `None`: it has no task, or is a thread.
    pub fn phase(&self) -> Option<Phase> {
        self.place.as_ref()?.phase
    }

    /// The calls on its stack, innermost first, one a line, as in
    /// [`Timeout::backtrace`](crate::Timeout::backtrace). Names are looked up now. `None`: it has
    /// no task, or its stack is not known: [`why_no_backtrace`](Self::why_no_backtrace).
    pub fn backtrace(&self) -> Option<&str> {
        self.place.as_ref()?.backtrace()
    }

    /// What it waits for in the kernel: as [`Timeout::blocked`](crate::Timeout::blocked).
    pub fn blocked(&self) -> Option<&str> {
        self.place.as_ref()?.blocked()
    }

    /// Why there is no backtrace of a task that runs.
    pub fn why_no_backtrace(&self) -> Option<&str> {
        self.why_unknown
    }
}

impl fmt::Display for WorkerStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.kind, self.id, self.state)?;
        if let Some((task, age)) = &self.task {
            write!(f, ": task `{task}`, for {age:.1?}")?;
        }
        if let Some(blocked) = self.blocked() {
            write!(f, ", {blocked}")?;
        }
        f.write_str("\n")?;
        if let Some(backtrace) = self.backtrace() {
            return f.write_str(backtrace);
        }
        match self.why_unknown {
            Some(why) => writeln!(f, "   (its stack is not known: {why})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for WorkerStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerStack")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("state", &self.state)
            .field("task", &self.task)
            .field("place", &self.place)
            .field("why_no_backtrace", &self.why_unknown)
            .finish()
    }
}

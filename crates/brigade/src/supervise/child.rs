//! What a supervisor starts and watches.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::launch::{AnyTask, InProcess, InThread, Of, Outcome};
use super::machine::{Readiness, Spec};
use super::supervisor::Supervisor;
use super::{Restart, Shutdown};
use crate::task::name::TaskName;
use crate::{Kind, Message, process};

/// How long a child has to stop, if nothing is said: as in OTP.
const GRACE: Duration = Duration::from_secs(5);

/// A child of a [`Supervisor`]: a task with its input, in a thread or in a process, or another
/// supervisor; and the rules for it.
///
/// The task is an `fn(A)` or an `fn(A) -> Result<(), E>`, which runs until it returns. Each time it
/// is started it is given a clone of the input.
#[doc(alias = "ChildSpec")]
#[doc(alias = "child_spec")]
#[derive(Clone)]
#[must_use = "a child is started by its supervisor"]
pub struct Child(pub(super) Spec<Launcher>);

/// What is started.
#[derive(Clone)]
pub(super) enum Launcher {
    Task(AnyTask, Box<process::Builder>),
    Supervisor(Box<Supervisor>),
}

impl Child {
    /// A child that runs `task` on `input` in a worker of this kind. `name` is what its supervisor,
    /// `ps` and errors call it; a supervisor has no two children of one name.
    #[track_caller]
    pub fn new<A: Message + Clone, R: Outcome + 'static>(
        kind: Kind,
        name: impl Into<String>,
        task: fn(A) -> R,
        input: A,
    ) -> Child {
        match kind {
            Kind::Thread => Child::thread(name, task, input),
            Kind::Process => Child::process(name, task, input),
        }
    }

    /// A child that is a thread.
    #[track_caller]
    pub fn thread<A: Clone + Send + 'static, R: Outcome + 'static>(
        name: impl Into<String>,
        task: fn(A) -> R,
        input: A,
    ) -> Child {
        let (name, of) = Child::named(name, task, input);
        Child::of(name, Kind::Thread, AnyTask::new(InThread(of)))
    }

    /// A child that is a process.
    #[track_caller]
    pub fn process<A: Message + Clone, R: Outcome + 'static>(
        name: impl Into<String>,
        task: fn(A) -> R,
        input: A,
    ) -> Child {
        let (name, of) = Child::named(name, task, input);
        Child::of(name, Kind::Process, AnyTask::new(InProcess(of)))
    }

    #[track_caller]
    fn named<A, R>(name: impl Into<String>, task: fn(A) -> R, input: A) -> (Arc<str>, Of<A, R>) {
        let worker: Arc<str> = name.into().into();
        let name = TaskName::new(task as usize, Some(Arc::clone(&worker)));
        (worker, Of { task, input, name })
    }

    fn of(name: Arc<str>, kind: Kind, task: AnyTask) -> Child {
        let process = Box::new(process::Builder::new());
        Child(Spec {
            name,
            kind: Some(kind),
            restart: Restart::Permanent,
            is_significant: false,
            shutdown: Shutdown::Grace(GRACE),
            readiness: Readiness::AtOnce,
            watchdog: None,
            launcher: Launcher::Task(task, process),
        })
    }

    /// A child that is a supervisor: ready when all its children are. If it gives up it has failed,
    /// and is restarted as any child; with the children that it was made with, and not those that
    /// were added later.
    pub fn supervisor(name: impl Into<String>, supervisor: Supervisor) -> Child {
        Child(Spec {
            name: name.into().into(),
            kind: None,
            restart: Restart::Permanent,
            is_significant: false,
            shutdown: Shutdown::Infinity,
            readiness: Readiness::WhenItSaysSo { within: None },
            watchdog: None,
            launcher: Launcher::Supervisor(Box::new(supervisor)),
        })
    }

    /// When it is started again.
    ///
    /// *Default: [`Restart::Permanent`].*
    pub fn restart(mut self, restart: Restart) -> Child {
        self.0.restart = restart;
        self
    }

    /// Whether its end may be that of its supervisor: see
    /// [`Supervisor::auto_shutdown`]. Such a child is not permanent.
    ///
    /// *Default: no.*
    pub fn significant(mut self, is_significant: bool) -> Child {
        self.0.is_significant = is_significant;
        self
    }

    /// How it is stopped.
    ///
    /// *Default: [`Shutdown::Grace`] of 5 s; of a supervisor [`Shutdown::Infinity`].*
    pub fn shutdown(mut self, shutdown: Shutdown) -> Child {
        self.0.shutdown = shutdown;
        self
    }

    /// Has its start wait until it says that it is [`ready`](super::ready), but no longer than
    /// `limit`. One that has not said so by then, or ends before, has failed to start: a process is
    /// killed, a thread is let go.
    ///
    /// Until then those after it are not started, at the start of the supervisor and where children
    /// depend on each other.
    ///
    /// *Default: it counts as ready when it was started; a supervisor when all its children are,
    /// without a limit.*
    pub fn ready_within(mut self, limit: Duration) -> Child {
        let within = Some(limit);
        self.0.readiness = Readiness::WhenItSaysSo { within };
        self
    }

    /// Ends the child if it has not said that it is [`alive`](super::alive) for this time, counted
    /// from when it was ready; it has then ended abnormally. A process is killed, a thread is let
    /// go. It is noticed up to a quarter of the time later.
    ///
    /// Time in which the whole program was stopped does not count; a child that alone is stopped,
    /// by SIGSTOP or a debugger, is silent. Of no effect on a supervisor, which never waits for a
    /// child.
    ///
    /// *Default: none.*
    pub fn watchdog(mut self, limit: Duration) -> Child {
        self.0.watchdog = self.0.kind.map(|_| limit);
        self
    }

    /// Configures its process: environment, directory. Its name is replaced by the child's, and its
    /// grace by the child's [`shutdown`](Child::shutdown). Of no effect on a thread.
    ///
    /// *Default: [`process::Builder::new`].*
    pub fn builder(mut self, builder: process::Builder) -> Child {
        if let Launcher::Task(_, process) = &mut self.0.launcher {
            **process = builder;
        }
        self
    }

    /// The child's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl fmt::Debug for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Launcher::Task(..) => "Task",
            Launcher::Supervisor(_) => "Supervisor",
        })
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.0.name)
            .field("kind", &self.0.kind)
            .field("restart", &self.0.restart)
            .field("shutdown", &self.0.shutdown)
            .finish_non_exhaustive()
    }
}

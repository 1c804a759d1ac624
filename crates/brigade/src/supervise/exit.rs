//! How children end, and supervisors.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::JoinError;

/// How a run of a child has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// The child returned: `()`, or `Ok`.
    Returned,
    /// The child returned after it had called [`ignore`](super::ignore).
    Ignored,
    /// The child returned `Err`; what that says.
    Failed(String),
    /// The child panicked, its process crashed, or its input could not be carried.
    Died(Arc<JoinError>),
    /// The child could not be started: the operating system refused.
    NotStarted(Arc<io::Error>),
    /// The child was not [ready](super::Child::ready_within) within this time, and was killed or
    /// let go.
    NotReady(Duration),
    /// The child had not said that it [lives](super::Child::watchdog) for this time, and was killed
    /// or let go.
    NotAlive(Duration),
    /// The child was asked to stop, and the SIGTERM ended it: a process that does not ask
    /// [`should_stop`](super::should_stop).
    Terminated,
    /// The child was killed: its [`Shutdown`](super::Shutdown) says so, or it had not stopped
    /// within its grace time.
    Killed,
    /// A thread that had not stopped within its grace time. It runs on, or did when this was noted:
    /// see [`Report::left_running`].
    LetGo,
    /// A supervisor has ended.
    Supervisor(Report),
}

impl Exit {
    /// Whether that is a normal end, after which a [transient](super::Restart::Transient) child is
    /// not started again: it returned `()` or `Ok`, it is ignored, or it is a supervisor that has
    /// not failed. A child that was asked to stop has ended as normally if SIGTERM ended it.
    pub fn is_normal(&self) -> bool {
        match self {
            Exit::Returned | Exit::Ignored | Exit::Terminated => true,
            Exit::Supervisor(report) => !report.is_failure(),
            _ => false,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Returned => f.write_str("returned"),
            Exit::Ignored => f.write_str("is to be ignored"),
            Exit::Failed(why) => write!(f, "failed: {why}"),
            Exit::Died(error) => write!(f, "died: {error}"),
            Exit::NotStarted(error) => write!(f, "could not be started: {error}"),
            Exit::NotReady(limit) => write!(f, "was not ready within {limit:?}"),
            Exit::NotAlive(limit) => write!(f, "has not said that it lives for {limit:?}"),
            Exit::Terminated => f.write_str("was ended by SIGTERM"),
            Exit::Killed => f.write_str("was killed"),
            Exit::LetGo => f.write_str("did not stop, and was let go"),
            Exit::Supervisor(report) => write!(f, "{}", report.reason()),
        }
    }
}

/// Why a supervisor has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The supervisor was asked to end: by [`shutdown`](super::Handle::shutdown),
    /// [`abort`](super::Handle::abort), its parent, or because its [`Running`](super::Running) was
    /// dropped.
    Shutdown,
    /// A [significant](super::Child::significant) child has ended, or the last of them.
    AutoShutdown {
        /// That child's name.
        child: Arc<str>,
    },
    /// There were more restarts than its [intensity](super::Supervisor::intensity) allows.
    GaveUp {
        /// The child that was to be restarted once too often.
        child: Arc<str>,
        /// How that had ended.
        exit: Box<Exit>,
    },
    /// A child did not start when the supervisor was started.
    NotStarted {
        /// That child's name.
        child: Arc<str>,
        /// Why.
        exit: Box<Exit>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Shutdown => f.write_str("was shut down"),
            Reason::AutoShutdown { child } => {
                write!(f, "shut itself down, since `{child}` has ended")
            }
            Reason::GaveUp { child, exit } => {
                write!(f, "gave up: too many restarts, and `{child}` {exit}")
            }
            Reason::NotStarted { child, exit } => {
                write!(f, "did not start: `{child}` {exit}")
            }
        }
    }
}

/// What a supervisor tells when it has ended: why, and how each of its children did.
#[derive(Clone, Debug)]
pub struct Report(pub(super) Arc<Told>);

#[derive(Debug)]
pub(super) struct Told {
    pub(super) reason: Reason,
    pub(super) children: Vec<ChildEnd>,
    pub(super) left_running: Vec<Arc<str>>,
    /// The threads of these names.
    pub(super) let_go: Vec<LetGo>,
}

/// A thread that was let go.
#[derive(Clone, Debug)]
pub(super) struct LetGo {
    pub(super) name: Arc<str>,
    /// There as long as it runs.
    pub(super) presence: Weak<()>,
}

impl LetGo {
    pub(super) fn still_runs(&self) -> bool {
        self.presence.strong_count() > 0
    }
}

impl Report {
    /// Why it has ended.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// Whether that is a failure: it gave up, or did not start.
    pub fn is_failure(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::GaveUp { .. } | Reason::NotStarted { .. }
        )
    }

    /// The supervisor's children, in the order in which they ended. Those that did not run any more
    /// come first.
    pub fn children(&self) -> &[ChildEnd] {
        &self.0.children
    }

    /// The names of children that are threads, did not stop, and still run: at the end of their
    /// grace time, and also those that the watchdog or a limit had let go before. Those of
    /// supervisors below this one are named with them: `outer/inner`.
    pub fn left_running(&self) -> &[Arc<str>] {
        &self.0.left_running
    }
}

impl fmt::Display for Report {
    /// A line for the supervisor, and one for each child.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the supervisor {}", self.reason())?;
        for child in self.children() {
            write!(f, "\n`{}` {}", child.name, child.exit_text())?;
        }
        for name in self.left_running() {
            write!(f, "\n`{name}` still runs")?;
        }
        Ok(())
    }
}

/// How a child ended, in a [`Report`].
#[derive(Clone, Debug)]
pub struct ChildEnd {
    pub(super) name: Arc<str>,
    pub(super) exit: Option<Exit>,
}

impl ChildEnd {
    /// The child's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its last run ended. `None`: it was never started.
    pub fn exit(&self) -> Option<&Exit> {
        self.exit.as_ref()
    }

    fn exit_text(&self) -> String {
        match &self.exit {
            Some(exit) => exit.to_string(),
            None => "was never started".to_owned(),
        }
    }
}

/// A supervisor has not started: a child of it has not, or has ended too often before all were up.
/// Those that had were stopped again.
///
/// It is inside the [`io::Error`] of [`Supervisor::start`](super::Supervisor::start):
/// [`io::Error::get_ref`].
#[derive(Clone, Debug)]
pub struct StartError(pub(super) Report);

impl StartError {
    /// All that is known of it.
    pub fn report(&self) -> &Report {
        &self.0
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the supervisor {}", self.0.reason())
    }
}

impl std::error::Error for StartError {}

/// A request about one child was refused, or its start has failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// There is a child of that name, and it runs, or is being started or stopped.
    #[error("a child of this name is running")]
    Running,
    /// There is a child of that name, which does not run:
    /// [`restart_child`](super::Handle::restart_child) starts it,
    /// [`delete_child`](super::Handle::delete_child) forgets it.
    #[error("there is a child of this name, which does not run")]
    AlreadyPresent,
    /// The child's supervisor is about to start it again.
    #[error("the child is about to be restarted")]
    Restarting,
    /// There is no child of that name.
    #[error("there is no child of this name")]
    NotFound,
    /// The child did not start.
    #[error("the child {0}")]
    NotStarted(Exit),
    /// The child was stopped before it was up.
    #[error("the child was stopped before it was up")]
    Stopped,
    /// What was asked for contradicts itself; says how.
    #[error("{0}")]
    Invalid(String),
    /// The supervisor has ended, or is ending; or it belongs to the process that this one was
    /// forked from.
    #[error("the supervisor has ended")]
    Closed,
}

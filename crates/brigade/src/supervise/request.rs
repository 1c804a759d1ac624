//! What a supervisor is asked, and what it answers.

use std::fmt;
use std::sync::{Arc, mpsc};

use super::child::Child;
use super::exit::ChildError;
use super::handle::Handle;
use crate::Kind;

/// Where an answer goes. One that is dropped says that the supervisor has ended.
pub(super) type ReplyTo<T> = mpsc::Sender<T>;
pub(super) type ChildReplyTo = ReplyTo<Result<ChildInfo, ChildError>>;

pub(super) enum HandleRequest {
    Start(Box<Child>, ChildReplyTo),
    Terminate(String, ChildReplyTo),
    Restart(String, ChildReplyTo),
    Delete(String, ChildReplyTo),
    Children(ReplyTo<Vec<ChildInfo>>),
    Supervisor(String, ReplyTo<Handle>),
    Shutdown,
    Abort,
}

impl fmt::Debug for HandleRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandleRequest::Start(..) => "Start",
            HandleRequest::Terminate(..) => "Terminate",
            HandleRequest::Restart(..) => "Restart",
            HandleRequest::Delete(..) => "Delete",
            HandleRequest::Children(..) => "Children",
            HandleRequest::Supervisor(..) => "Supervisor",
            HandleRequest::Shutdown => "Shutdown",
            HandleRequest::Abort => "Abort",
        })
    }
}

/// A child, as its supervisor sees it at one moment.
#[derive(Clone, Debug)]
pub struct ChildInfo {
    pub(super) name: Arc<str>,
    pub(super) kind: Option<Kind>,
    pub(super) state: ChildState,
    pub(super) pid: Option<u32>,
}

impl ChildInfo {
    /// The child's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it runs. `None`: it is a supervisor.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// What it does.
    pub fn state(&self) -> ChildState {
        self.state
    }

    /// The process that it runs in. `None`: it does not run, or is a thread or a supervisor.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
}

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildState {
    /// The child was started, and has not said yet that it is ready; or it waits for those before
    /// it.
    Starting,
    /// The child runs, and is ready.
    Running,
    /// The child was asked to stop, or killed, and has not ended yet.
    Stopping,
    /// The child has ended, and is to be started again.
    Restarting,
    /// The child does not run, and is not started by its supervisor, unless others of its group are
    /// restarted.
    Stopped,
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ChildState::Starting => "starting",
            ChildState::Running => "running",
            ChildState::Stopping => "stopping",
            ChildState::Restarting => "restarting",
            ChildState::Stopped => "stopped",
        })
    }
}

/// How many children a supervisor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All that it knows, whether or not they run.
    pub children: usize,
    /// Those that run and are ready.
    pub running: usize,
    /// Those of all that are supervisors.
    pub supervisors: usize,
    /// Those of all that are threads or processes.
    pub workers: usize,
}

impl Counts {
    pub(super) fn of(children: &[ChildInfo]) -> Counts {
        let is_running = |child: &&ChildInfo| child.state == ChildState::Running;
        let supervisors = children.iter().filter(|child| child.kind.is_none()).count();
        Counts {
            children: children.len(),
            running: children.iter().filter(is_running).count(),
            supervisors,
            workers: children.len() - supervisors,
        }
    }
}

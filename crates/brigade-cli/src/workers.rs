//! Getting results out of workers without ever waiting for ever.

use std::io;
use std::time::Duration;

use brigade::{JoinHandle, Kind, Message, Sandbox, process};
use clap::ValueEnum;

use crate::fail::Failure;

/// Both kinds, in the order of the columns.
pub(crate) const KINDS: [Kind; 2] = [Kind::Thread, Kind::Process];

/// In what a task runs, where the sandbox is compared too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    Thread,
    Process,
    /// A process that may do nothing: `Sandbox::deny_all()`.
    Sandbox,
}

impl Place {
    /// In the order of the columns.
    pub(crate) const ALL: [Self; 3] = [Self::Thread, Self::Process, Self::Sandbox];

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Process => "process",
            Self::Sandbox => "sandbox",
        }
    }

    /// As [`Kind::spawn`].
    pub(crate) fn spawn<A: Message, R: Message>(
        self,
        task: fn(A) -> R,
        input: A,
    ) -> io::Result<JoinHandle<R>> {
        match self {
            Self::Thread => Kind::Thread.spawn(task, input),
            Self::Process => Kind::Process.spawn(task, input),
            Self::Sandbox => process::Builder::new()
                .sandbox(Sandbox::deny_all())
                .spawn(task, input),
        }
    }
}

/// How long any one task of an experiment may take. They take milliseconds; this is for a machine
/// that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The result of a task that cannot fail by itself.
pub(crate) fn collect<R>(handle: JoinHandle<R>, what: &str) -> Result<R, Failure> {
    match handle.join_timeout(PATIENCE) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::new(format!("{what}: {error}"))),
        Err(handle) => {
            handle.cancel();
            Err(Failure::by_other_side(format!(
                "{what}: no result after {} s",
                PATIENCE.as_secs()
            )))
        }
    }
}

/// The result of a task that can: its own reason is the reason.
pub(crate) fn collect_checked<T>(
    handle: JoinHandle<Result<T, Failure>>,
    what: &str,
) -> Result<T, Failure> {
    collect(handle, what)?.map_err(|reason| reason.during(what))
}

//! When a worker is tried again that did not start, and why there is none.

use std::sync::Arc;
use std::time::Duration;

use crate::JoinError;
use crate::pool::config::Options;
use crate::pool::policy::queue_and_retries::StartFailures;
use crate::sim::local::Instant;
use crate::sys::remote_error::RemoteError;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::worker::process::host::death::Evidence;
use crate::worker::process::ipc::protocol::NotReady;
use crate::worker::program_init::ProgramInit;

/// Doubled for each start that failed in a row: the first is tried again at once, the second after
/// twice this time, and from the tenth on after about a second.
const BACKOFF: Duration = Duration::from_millis(2);

/// How long a slot stays empty while the pool is built: the first failure ends that.
const UNTIL_BUILT: Duration = Duration::from_secs(3600);

/// Whether workers that did not start are tried again.
pub(super) struct Respawn {
    failures: StartFailures,
    /// The pool is being built: the first worker that does not start is the end of it.
    is_building: bool,
    build_failure: Option<StartFailure>,
    /// No more are tried, until a task is submitted.
    is_halted: bool,
}

impl Respawn {
    pub(super) fn new(workers: usize) -> Respawn {
        Respawn {
            failures: StartFailures::more_than(2, workers),
            is_building: true,
            build_failure: None,
            is_halted: false,
        }
    }

    pub(super) fn is_building(&self) -> bool {
        self.is_building
    }

    pub(super) fn has_build_failed(&self) -> bool {
        self.build_failure.is_some()
    }

    /// All workers have started, or one has failed to.
    pub(super) fn end_build(&mut self) -> Result<(), StartFailure> {
        match self.build_failure.take() {
            Some(reason) => Err(reason),
            None => {
                self.is_building = false;
                Ok(())
            }
        }
    }

    /// A worker has started.
    pub(super) fn record_start(&mut self) {
        self.failures.reset();
    }

    /// A worker did not start. `alive`: there are others. Returns when it is tried again, `None`
    /// being at once; or gives the reason back, if it is not: what is queued ends with that.
    pub(super) fn record_failure(
        &mut self,
        reason: StartFailure,
        alive: bool,
        now: Instant,
    ) -> Result<Option<Instant>, StartFailure> {
        let failures = self.failures.record();
        if self.is_building {
            self.build_failure.get_or_insert(reason);
            return Ok(Some(now + UNTIL_BUILT));
        }
        if alive || !self.failures.is_over_limit() {
            let pause = BACKOFF * 2_u32.pow((failures - 1).min(9));
            // At once, the first time.
            return Ok((failures > 1).then(|| now + pause));
        }
        self.is_halted = true;
        Err(reason)
    }

    /// Whether starting workers is suspended.
    pub(super) fn is_halted(&self) -> bool {
        self.is_halted
    }

    /// Resumes the starting of workers, for there is a task. Returns whether it was suspended.
    pub(super) fn resume(&mut self) -> bool {
        let was_halted = std::mem::take(&mut self.is_halted);
        if was_halted {
            self.failures.reset();
        }
        was_halted
    }
}

/// The most that a worker takes to get ready by what is the library's own. Only a hang, or a stop,
/// takes longer, however little of a processor there is for it.
const OWN_START: Duration = Duration::from_secs(10);

impl Options {
    /// How long a worker may take to get ready: as long as a task where it runs what is the
    /// program's, an initializer or the load of a state. Elsewhere a time that is for tasks says
    /// nothing of it. `None`: tasks may take as long as they want, too.
    pub(super) fn time_to_get_ready(&self) -> Option<Duration> {
        let timeout = self.timeout?;
        let is_programs = self.initializer.is_some()
            || self.state.is_some()
            || ProgramInit::get().is_some()
            || !matches!(self.process.named_program(), Ok(None));
        Some(if is_programs {
            timeout
        } else {
            timeout.max(OWN_START)
        })
    }
}

/// Why there is no worker.
pub(super) enum StartFailure {
    Died(Box<Evidence>, Arc<Symbols>),
    SetupFailed(NotReady, Arc<Symbols>),
    SpawnFailed(RemoteError),
}

impl StartFailure {
    pub(super) fn spawn_failed(why: impl Into<String>) -> StartFailure {
        StartFailure::SpawnFailed(RemoteError::other(why))
    }

    /// The initializer, or what the program runs first in each worker, if it is what failed.
    pub(super) fn initializer(&self, options: &Options) -> Option<TaskName> {
        let program_init = || {
            let own = matches!(options.process.named_program(), Ok(None));
            let init = ProgramInit::get().filter(|_| own)?;
            Some(TaskName::at(init.address, options.name.clone(), init.at))
        };
        match self {
            StartFailure::Died(..) => options.initializer_name().or_else(program_init),
            StartFailure::SetupFailed(why, _) if why.is_program_init => program_init(),
            StartFailure::SetupFailed(why, _) if why.panic.is_some() => options.initializer_name(),
            StartFailure::SetupFailed(..) | StartFailure::SpawnFailed(_) => None,
        }
    }

    pub(super) fn to_error(&self, name: TaskName) -> JoinError {
        match self {
            StartFailure::Died(evidence, symbols) => {
                JoinError::Crashed(evidence.clone().into_crash(name, symbols))
            }
            StartFailure::SetupFailed(why, symbols) => match &why.panic {
                Some(unwound) => JoinError::panicked(name, unwound.clone(), symbols),
                None => JoinError::Undeliverable(format!(
                    "task `{name}`: no worker process could be prepared: {}",
                    why.why
                )),
            },
            StartFailure::SpawnFailed(why) => JoinError::Undeliverable(format!(
                "task `{name}`: there is no worker process: {why}"
            )),
        }
    }
}

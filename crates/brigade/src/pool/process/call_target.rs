//! What a task of a pool of processes calls.

use std::panic::Location;
use std::sync::Arc;

use crate::Message;
use crate::pool::config::Options;
use crate::task::entry::Plan;
use crate::task::identity;
use crate::task::name::TaskName;
use crate::worker::process::host::program::NamedProgram;

/// A function to run, and where in the program it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallTarget {
    pub(super) plan: [u64; 2],
    call_site: &'static Location<'static>,
}

impl CallTarget {
    #[track_caller]
    pub(super) fn new<A: Message, R: Message>(task: fn(A) -> R) -> std::io::Result<CallTarget> {
        Ok(CallTarget::of(Plan::of(task)?))
    }

    #[track_caller]
    pub(super) fn of(plan: Plan) -> CallTarget {
        CallTarget {
            plan: plan.to_words(),
            call_site: Location::caller(),
        }
    }

    /// This target, called from elsewhere.
    pub(super) fn at(self, call_site: &'static Location<'static>) -> CallTarget {
        CallTarget { call_site, ..self }
    }

    /// A target that no worker can find.
    #[track_caller]
    pub(super) fn invalid() -> CallTarget {
        CallTarget {
            plan: [u64::MAX; 2],
            call_site: Location::caller(),
        }
    }

    /// What tells it from others: its function, and where it was started.
    pub(super) fn key(&self) -> (usize, usize) {
        let call_site = std::ptr::from_ref(self.call_site) as usize;
        (self.plan[1] as usize, call_site)
    }

    /// What it is called.
    pub(super) fn name(&self, options: &Options) -> TaskName {
        let program = options.process.named_program().ok().flatten();
        self.name_by(options.name.as_ref(), program.map(|program| &program.0))
    }

    /// What it is called in a pool of this name, of workers of that program.
    pub(super) fn name_by(
        &self,
        worker: Option<&Arc<str>>,
        program: Option<&Arc<NamedProgram>>,
    ) -> TaskName {
        if let Some(program) = program {
            let name = program.name_of(self.plan).unwrap_or("a task");
            return TaskName::of_program(name, program.path(), worker, self.call_site);
        }
        let address = identity::Function(self.plan[1]).for_symbols();
        TaskName::at(address, worker.cloned(), self.call_site)
    }

    /// Where its function is; 0 if that is in no object of this program.
    pub(super) fn address(&self, options: &Options) -> usize {
        if !matches!(options.process.named_program(), Ok(None)) {
            return 0;
        }
        identity::Function(self.plan[1]).for_symbols()
    }

    pub(super) fn call_site(&self) -> &'static Location<'static> {
        self.call_site
    }
}

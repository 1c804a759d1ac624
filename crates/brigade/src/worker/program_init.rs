//! What the program has told [`init_with`](crate::init_with) to run: once in the program, and once
//! in each of its workers.

use std::panic::Location;
use std::sync::{Once, OnceLock};

/// Done once the program's initializer was run, or is running.
static RUN: Once = Once::new();

static PROGRAM_INIT: OnceLock<ProgramInit> = OnceLock::new();

/// What each worker calls first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramInit {
    /// Of a `fn()`.
    pub(crate) address: usize,
    /// Where the program has called `init_with`.
    pub(crate) at: &'static Location<'static>,
}

impl ProgramInit {
    pub(crate) fn get() -> Option<ProgramInit> {
        PROGRAM_INIT.get().copied()
    }

    /// Keeps the function at this address, and calls `run`, unless this process has done so
    /// before.
    pub(crate) fn run_once(address: usize, at: &'static Location<'static>, run: impl FnOnce()) {
        RUN.call_once_force(|_| {
            let _ = PROGRAM_INIT.set(ProgramInit { address, at });
            run();
        });
    }

    /// In a worker, which calls the function by itself: has its own workers do the same.
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    pub(crate) fn is_run_by_worker(address: usize) {
        ProgramInit::run_once(address, Location::caller(), || {});
    }
}

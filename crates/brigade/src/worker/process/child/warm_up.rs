//! What is touched before a task comes, so that the task finds it there.

use super::flush::{self, FlushedStreams};
use crate::sys::{process, spin};
use crate::task::codec::{self, Encoded};
use crate::task::entry::{EncodedResult, EntryOutcome, Plan};

/// Runs a task that does nothing and tells no peer. In the fork server too, once: what the loader
/// and the libraries do at a first call (symbols, the panic hook, the C library's and std's
/// streams) is then done for all workers.
pub(crate) fn warm_up() {
    let _ = run_nothing();
    flush::flush(FlushedStreams::All);
    let _ = rustix::thread::sched_getcpu();
    let _ = process::has_had_threads();
    // A worker that is woken would read a file for it, and the host waits.
    let _ = spin::pays();
}

/// The fork server, when it has what it keeps: what a worker allocates before its task is there,
/// side by side, so that none looks for it all over the heap, which after a fork is a fault a page.
pub(crate) fn leave_memory() {
    drop([(); 4].map(|()| Vec::<u8>::with_capacity(SMALL)));
}

/// Runs a task that does nothing, as any other: one whose input is refused would have an error made
/// up instead, which takes more of the program than a task does.
fn run_nothing() -> Option<EntryOutcome> {
    fn nothing((): ()) {}
    let plan = Plan::of(nothing as fn(())).ok()?;
    let mut input = Vec::with_capacity(SMALL);
    codec::encode(&(), &mut input).ok()?;
    let mut result = EncodedResult::default();
    result.bytes.reserve(SMALL);
    Some(plan.run(Encoded::Here(&input), Vec::new(), &mut result, &|_| {}))
}

/// Bytes that a plan and a small input fit, or a small result.
pub(in crate::worker::process::child) const SMALL: usize = 64;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_warms_a_worker_up_is_a_task_that_returns() {
        let outcome = run_nothing();
        assert!(
            matches!(outcome, Some(EntryOutcome::Returned(_))),
            "{outcome:?}"
        );
    }
}

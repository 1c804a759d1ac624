//! Where a task was stuck: what a timeout tells, and what a pool tells when it is asked.
//!
//! - tasks: in what ways a task can be stuck
//! - on_demand: a pool is asked what its workers do
//! - timeouts: a process is asked before it is killed
//! - threads: the same of threads, where that is allowed
//! - hostile: it tells nonsense, or dies meanwhile

mod hostile;
mod on_demand;
mod tasks;
mod threads;
mod timeouts;

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use brigade::{JoinError, JoinHandle, Kind, Pool, PoolBuilder, Shared, Timeout};
use brigade_test_support::wait::{LIMIT, until};

/// For what never ends.
const SHORT: Duration = Duration::from_millis(200);

fn timed() -> PoolBuilder {
    brigade::init();
    Pool::builder(Kind::Process).workers(1).timeout(SHORT)
}

fn join<R: std::fmt::Debug>(handle: JoinHandle<R>) -> Result<R, JoinError> {
    handle
        .join_timeout(LIMIT)
        .unwrap_or_else(|handle| panic!("{handle:?} has not ended after {LIMIT:?}"))
}

fn timeout_of<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> Timeout {
    match ended {
        Err(JoinError::TimedOut(timeout)) => timeout,
        other => panic!("expected a timeout, got {other:?}"),
    }
}

/// A number that tests and tasks see.
fn number() -> Shared<AtomicU32> {
    Shared::new(AtomicU32::new(0)).expect("a region")
}

/// Waits until a task says that it has begun.
fn has_begun(begun: &AtomicU32) {
    until("it has begun", || begun.load(SeqCst) != 0);
}

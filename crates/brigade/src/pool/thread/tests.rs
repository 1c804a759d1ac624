//! What a pool of threads does. Nothing here waits for time to pass, but for the thing itself.

// - outcomes: how tasks end; timeout_cancel: timeouts, cancelling, retries; map: many inputs
// - nested: pools used from inside their tasks; shutdown: how pools end; start: initializers,
//   recycling

mod map;
mod nested;
mod outcomes;
mod shutdown;
mod start;
mod timeout_cancel;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use brigade_test_support::wait::until;

use crate::{JoinHandle, Kind, Pool, PoolBuilder, PoolStats};

/// Longer than anything here takes, even on a machine that has much else to do.
const HANG: Duration = Duration::from_secs(60);

/// How often what depends on luck is tried.
const OFTEN: usize = 200;

fn builder(workers: usize) -> PoolBuilder {
    Pool::builder(Kind::Thread).workers(workers)
}

fn threads(workers: usize) -> Pool {
    Pool::threads(workers).expect("threads start")
}

/// The result of a task that ends.
fn ended<R>(handle: JoinHandle<R>) -> Result<R, crate::JoinError> {
    match handle.join_timeout(HANG) {
        Ok(result) => result,
        Err(_) => panic!("it does not end"),
    }
}

fn consistent(stats: &PoolStats) -> bool {
    stats.submitted == stats.queued + stats.running + stats.done + stats.failed()
}

/// Doors by number: tasks wait before them, for functions that capture nothing can share only what
/// is static.
struct Doors {
    open: Mutex<Vec<u64>>,
    opened: Condvar,
    next: AtomicU64,
}

static DOORS: Doors = Doors {
    open: Mutex::new(Vec::new()),
    opened: Condvar::new(),
    next: AtomicU64::new(0),
};

impl Doors {
    /// A new one, closed.
    fn make(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn open(&self, door: u64) {
        self.open.lock().unwrap().push(door);
        self.opened.notify_all();
    }
}

/// A task that waits before a door, and gives it back.
fn pass(door: u64) -> u64 {
    let open = DOORS.open.lock().unwrap();
    let (open, timeout) = DOORS
        .opened
        .wait_timeout_while(open, HANG, |open| !open.contains(&door))
        .unwrap();
    drop(open);
    assert!(!timeout.timed_out(), "nobody opens the door");
    door
}

fn double(n: u64) -> u64 {
    n * 2
}

/// A flag that a task can be given.
static FLAGS: [AtomicBool; 8] = [const { AtomicBool::new(false) }; 8];

fn raise(flag: usize) {
    FLAGS[flag].store(true, Ordering::SeqCst);
}

fn is_raised(flag: usize) -> bool {
    FLAGS[flag].load(Ordering::SeqCst)
}

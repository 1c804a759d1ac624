//! Workers that write over the counts that they share with the host: the host takes no harm, and
//! nobody waits for ever.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::worker::process::{offered_ahead, pretend_to_have_taken, unsay_begun};
use crate::{Cause, JoinError, JoinHandle, Kind, Pool, Shared};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(60);

fn pool(workers: usize) -> Pool {
    crate::init();
    Pool::new(Kind::Process, workers).expect("a pool")
}

fn join<R>(handle: JoinHandle<R>) -> Result<R, JoinError> {
    let ended = handle.join_timeout(LIMIT);
    ended.unwrap_or_else(|handle| panic!("{handle:?} has not ended"))
}

fn is_lost<R>(ended: &Result<R, JoinError>) -> bool {
    matches!(ended, Err(JoinError::Crashed(crash)) if *crash.cause() == Cause::Lost)
}

fn wait_for(word: &AtomicU32, value: u32) {
    let began = Instant::now();
    while word.load(SeqCst) != value {
        assert!(began.elapsed() < LIMIT, "{value} never came");
        std::thread::yield_now();
    }
}

fn double(n: u32) -> u32 {
    n * 2
}

fn rest_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

fn unsay(_: ()) {
    unsay_begun();
    rest_for_ever();
}

#[test]
fn a_worker_that_unsays_what_it_runs_is_lost_with_it() {
    let pool = pool(2);
    // Nobody else has anything to do: what a worker has not begun is given to them.
    let ended = join(pool.submit(unsay, ()));
    assert!(is_lost(&ended), "{ended:?}");
    for n in 0..4 {
        assert_eq!(join(pool.submit(double, n)).expect("it returns"), 2 * n);
    }
}

fn take_too_much(bytes: u64) -> u32 {
    pretend_to_have_taken(bytes);
    7
}

#[test]
fn a_worker_that_leaves_no_room_in_its_ring_is_replaced() {
    for bytes in [8, 1 << 20, 1 << 63, 0_u64.wrapping_sub(1 << 20)] {
        let pool = pool(1);
        let add_up = || join(pool.submit(sum, vec![1; 30_000])).expect("it returns");
        // Behind these the host has to look at what the worker says.
        assert_eq!((add_up(), add_up()), (30_000, 30_000));
        let taken = join(pool.submit(take_too_much, bytes));
        assert_eq!(taken.expect("it returns"), 7);
        assert_eq!(add_up(), 30_000, "{bytes}");
    }
}

/// Says that it has taken two of the tasks behind this one, so that there is room for a third, and
/// then that it has not even begun this one.
fn make_room(word: Shared<AtomicU32>) {
    word.store(1, SeqCst);
    while offered_ahead() < 2 {
        std::thread::yield_now();
    }
    pretend_to_have_taken(60_000);
    while offered_ahead() < 3 {
        std::thread::yield_now();
    }
    unsay_begun();
    word.store(2, SeqCst);
    rest_for_ever();
}

fn sum(bytes: Vec<u8>) -> u64 {
    bytes.into_iter().map(u64::from).sum()
}

/// More is taken back than the ring holds.
#[test]
fn a_worker_whose_ring_held_more_than_it_can_is_lost() {
    let pool = pool(1);
    let word = Shared::new(AtomicU32::new(0)).expect("a region");
    let hostile = pool.submit(make_room, word.clone());
    wait_for(&word, 1);
    let behind: Vec<_> = (0..8).map(|_| pool.submit(sum, vec![1; 30_000])).collect();
    wait_for(&word, 2);
    hostile.cancel();
    let ended = join(hostile);
    assert!(
        matches!(ended, Err(JoinError::Cancelled)) || is_lost(&ended),
        "{ended:?}"
    );
    for handle in behind {
        assert_eq!(join(handle).expect("another worker runs it"), 30_000);
    }
}

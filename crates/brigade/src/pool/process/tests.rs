//! Workers that write over the counts that they share with the host: the host takes no harm, and no
//! caller waits for ever.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
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
    // No other worker has anything to do: what a worker has not begun is given to them.
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

/// A file with a mark for each run of a task: to count in shared memory, the task would need a
/// descriptor, and would have its worker for itself.
struct Runs(PathBuf);

impl Runs {
    fn new(of: &str) -> Runs {
        let name = format!("brigade-runs-{of}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        File::create(&path).expect("a file");
        Runs(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn count(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |of| of.len())
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Says that this task was neither begun nor taken out of the ring.
fn hide(runs: &str) {
    let mut runs = File::options().append(true).open(runs).expect("there");
    runs.write_all(b"+").expect("written");
    unsay_begun();
    pretend_to_have_taken(0_u64.wrapping_sub(1024));
}

/// Is run elsewhere, and has its worker replaced: again and again.
fn hide_until_taken_back(runs: String) {
    hide(&runs);
    while offered_ahead() > 0 {
        std::thread::yield_now();
    }
}

fn hide_and_die(runs: String) {
    hide(&runs);
    crate::sys::process::kill(std::process::id(), libc::SIGKILL);
    rest_for_ever();
}

fn hide_for_ever(runs: String) {
    hide(&runs);
    rest_for_ever();
}

/// How often a task is taken back, and then run to the end.
const RUNS: std::ops::RangeInclusive<u64> = 2..=17;

#[test]
fn a_task_that_has_itself_taken_back_is_run_so_often_and_no_more() {
    let runs = Runs::new("taken-back");
    let pool = pool(2);
    let ended = join(pool.submit(hide_until_taken_back, runs.path()));
    // Where it is given to the same worker once more, what that returns is its end.
    assert!(ended.is_ok() || is_lost(&ended), "{ended:?}");
    assert!(RUNS.contains(&runs.count()), "{} runs", runs.count());
    for n in 0..4 {
        assert_eq!(join(pool.submit(double, n)).expect("it returns"), 2 * n);
    }
}

#[test]
fn a_task_that_dies_as_if_it_had_not_begun_is_run_so_often_and_no_more() {
    let runs = Runs::new("died");
    let pool = pool(1);
    match join(pool.submit(hide_and_die, runs.path())) {
        Err(JoinError::Crashed(crash)) => {
            assert_eq!(*crash.cause(), Cause::Killed(libc::SIGKILL));
        }
        other => panic!("{other:?}"),
    }
    assert!(RUNS.contains(&runs.count()), "{} runs", runs.count());
    assert_eq!(join(pool.submit(double, 4)).expect("it returns"), 8);
}

#[test]
fn a_task_that_hides_and_runs_over_its_time_is_told_so() {
    let runs = Runs::new("timed");
    let builder = Pool::builder(Kind::Process).workers(2);
    crate::init();
    let pool = builder.timeout(Duration::from_secs(1)).build();
    let pool = pool.expect("a pool");
    let ended = join(pool.submit(hide_for_ever, runs.path()));
    assert!(matches!(ended, Err(JoinError::TimedOut(_))), "{ended:?}");
    assert!(RUNS.contains(&runs.count()), "{} runs", runs.count());
}

fn meet(there: Shared<crate::sync::Barrier>) {
    there.wait().expect("both come");
}

/// The workers that run it, and say that they do not, begin nothing any more: they are replaced.
#[test]
fn workers_that_hide_what_they_run_are_replaced() {
    let runs = Runs::new("hidden");
    let pool = pool(2);
    let ended = join(pool.submit(hide_for_ever, runs.path()));
    assert!(is_lost(&ended), "{ended:?}");
    assert!(RUNS.contains(&runs.count()), "{} runs", runs.count());
    let barrier = Shared::new(crate::sync::Barrier::new(2)).expect("a region");
    let both = [(); 2].map(|()| pool.submit(meet, barrier.clone()));
    for met in both {
        join(met).expect("both workers begin one");
    }
}

//! What tasks of a key can do that other tasks can: not wait for room, and have options of their
//! own.

use std::time::{Duration, Instant};

use brigade::pool::{StatePool, TrySubmitError};
use brigade::{JoinError, JoinHandle, Kind, Pool};
use brigade_test_support::doorbell::Doorbell;

use crate::count::Count;
use crate::{
    both, crash_of, double, for_ever, join, kill, occupy, processes, rings_for_ever, wait_at,
};

/// Short, for what never ends or never begins.
const SHORT: Duration = Duration::from_millis(200);

const KEY: &str = "ann";

fn soon() -> Instant {
    Instant::now() + SHORT
}

/// Workers that count what they are given.
fn sums(kind: Kind, workers: usize) -> StatePool<Vec<u32>> {
    let pool = Pool::builder(kind).workers(workers);
    pool.state(|()| Vec::new(), ()).build().expect("a pool")
}

/// Adds to the list, and gives it.
fn push(list: &mut Vec<u32>, n: u32) -> Vec<u32> {
    list.push(n);
    list.clone()
}

fn pushed(pool: &StatePool<Vec<u32>>, n: u32) -> JoinHandle<Vec<u32>> {
    let handle = pool.worker_for(KEY).submit_mut(push, n);
    handle.expect("its worker lives")
}

/// Has the worker of the key wait. When this returns, it does.
fn occupy_its_worker(pool: &StatePool<Vec<u32>>) -> (JoinHandle<u32>, Count) {
    let (begun, gate) = (Count::new(), Count::new());
    let wait = pool.worker_for(KEY).submit(
        |_: &Vec<u32>, counts| wait_at(counts),
        (begun.clone(), gate.clone()),
    );
    begun.wait_for(1);
    (wait.expect("its worker lives"), gate)
}

fn is_timed_out<R: std::fmt::Debug>(ended: Result<R, JoinError>, had_begun: bool) {
    match ended {
        Err(JoinError::TimedOut(over)) => assert_eq!(over.had_begun(), had_begun, "{over}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_queue_gives_the_input_back() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(1).queue_limit(2).build();
        let pool = pool.expect("a pool");
        let (busy, gate) = occupy(&pool);
        let try_double = |n| pool.worker_for(KEY).try_submit(double, n);
        let handles = [1, 2].map(|n| try_double(n).expect("there is room"));
        let full = try_double(3).expect_err("there is none");
        assert!(matches!(full, TrySubmitError::Full(3)), "{full:?}");
        assert!(full.to_string().contains("limit"), "{full}");
        assert_eq!(full.into_input(), 3);
        let with_options = pool.worker_for(KEY).task(double).timeout(crate::LIMIT);
        let full = with_options.try_submit(4).expect_err("there is none");
        assert_eq!(full.into_input(), 4);
        // One that waits for room does so until its deadline.
        let late = pool.worker_for(KEY).task(double).deadline(soon()).submit(5);
        is_timed_out(join(late.expect("no worker is lost")), false);
        gate.add();
        join(busy).expect("it went on");
        let [first, second] = handles.map(|handle| join(handle).expect("returns"));
        assert_eq!((first, second), (2, 4));
        assert_eq!(
            join(try_double(6).expect("there is room")).expect("returns"),
            12
        );
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.timed_out), (5, 1), "{stats:?}");

        pool.close();
        assert!(matches!(try_double(7), Err(TrySubmitError::Full(7))));
        let closed = pool.worker_for(KEY).submit(double, 8);
        let closed = join(closed.expect("no worker is lost"));
        assert!(matches!(closed, Err(JoinError::Closed)), "{closed:?}");
    });
}

#[test]
fn a_worker_that_is_gone_is_told_once() {
    processes(|| {
        let pool = sums(Kind::Process, 2);
        let bell = Doorbell::new().expect("a bell");
        let endless = pool
            .worker_for(KEY)
            .submit(|_: &Vec<u32>, door| rings_for_ever(door), bell.name());
        let endless = endless.expect("its first worker");
        bell.await_ring().expect("it runs");
        kill(endless.pid().expect("it runs"));
        crash_of(join(endless));
        let lost = pool.worker_for(KEY).try_submit_mut(push, 1);
        let lost = lost.expect_err("lost");
        assert!(matches!(lost, TrySubmitError::Lost(_)), "{lost:?}");
        assert!(lost.to_string().contains("gone"), "{lost}");
        assert_eq!(lost.into_input(), 1);
        let again = pool.worker_for(KEY).try_submit_mut(push, 2);
        assert_eq!(join(again.expect("another")).expect("returns"), [2]);
        let looks = pool.worker_for(KEY).try_submit(|list, ()| list.len(), ());
        assert_eq!(join(looks.expect("it lives")).expect("returns"), 1);
    });
}

#[test]
fn a_timeout_of_its_own_takes_the_worker_along() {
    both(|kind| {
        let pool = sums(kind, 1);
        assert_eq!(join(pushed(&pool, 1)).expect("returns"), [1]);
        let worker = pool.worker_for(KEY);
        let endless = worker.task_mut(|_: &mut Vec<u32>, begun| for_ever(begun));
        let endless = endless.timeout(SHORT).submit(Count::new());
        let endless = endless.expect("its worker lives");
        is_timed_out(join(endless), true);
        let lost = pool.worker_for(KEY).submit_mut(push, 2).expect_err("lost");
        assert_eq!(lost.into_input(), 2);
        assert_eq!(join(pushed(&pool, 3)).expect("returns"), [3]);
    });
}

#[test]
fn a_deadline_that_passes_in_the_list_costs_no_worker() {
    both(|kind| {
        let pool = sums(kind, 1);
        assert_eq!(join(pushed(&pool, 1)).expect("returns"), [1]);
        let (busy, gate) = occupy_its_worker(&pool);
        let worker = pool.worker_for(KEY);
        let late = worker.task_mut(push).deadline(soon()).submit(2);
        let behind = pushed(&pool, 3);
        is_timed_out(join(late.expect("its worker lives")), false);
        gate.add();
        join(busy).expect("it went on");
        assert_eq!(join(behind).expect("returns"), [1, 3]);
        // One that has passed when the task is submitted.
        let late = worker.task_mut(push).deadline(Instant::now()).submit(4);
        is_timed_out(join(late.expect("its worker lives")), false);
        // And one that runs over it: its worker is gone.
        let endless = worker.task_mut(|_: &mut Vec<u32>, begun| for_ever(begun));
        // Late enough that it has begun by then on a machine that is busy, too.
        let deadline = Instant::now() + Duration::from_secs(3);
        let endless = endless.deadline(deadline).submit(Count::new());
        is_timed_out(join(endless.expect("its worker lives")), true);
        assert!(worker.submit_mut(push, 5).is_err());
    });
}

#[test]
fn what_is_cancelled_by_its_handle_is_not_run() {
    both(|kind| {
        let pool = sums(kind, 1);
        let (busy, gate) = occupy_its_worker(&pool);
        let worker = pool.worker_for(KEY);
        let dropped = worker.task_mut(push).cancel_on_drop().submit(1);
        let tried = worker.task_mut(push).cancel_on_drop().try_submit(2);
        drop(dropped.expect("its worker lives"));
        drop(tried.expect("its worker lives"));
        let behind = pushed(&pool, 3);
        gate.add();
        join(busy).expect("it went on");
        assert_eq!(join(behind).expect("returns"), [3]);
    });
}

/// Dies, or runs over its time, the first time.
fn fails_once(list: &mut Vec<u32>, n: u32) -> Vec<u32> {
    if brigade::attempt() == 1 {
        std::process::abort();
    }
    push(list, n)
}

#[test]
fn what_is_run_again_keeps_its_place() {
    processes(|| {
        let pool = sums(Kind::Process, 2);
        assert_eq!(join(pushed(&pool, 1)).expect("returns"), [1]);
        let (busy, gate) = occupy_its_worker(&pool);
        let worker = pool.worker_for(KEY);
        let again = worker.task_mut(fails_once).retries(1).submit(2);
        let again = again.expect("its worker lives");
        let behind = pushed(&pool, 3);
        gate.add();
        join(busy).expect("it went on");
        // The worker that comes next has loaded its state anew.
        assert_eq!(join(again).expect("returns"), [2]);
        assert_eq!(join(behind).expect("returns"), [2, 3]);
    });
}

#[test]
fn what_runs_over_its_time_is_run_again() {
    fn hangs_once(n: u32) -> u32 {
        while brigade::attempt() == 1 {
            std::thread::park();
        }
        n
    }
    both(|kind| {
        let pool = Pool::new(kind, 2).expect("a pool");
        let worker = pool.worker_for(KEY);
        let again = worker.task(hangs_once).timeout(SHORT).retries(1).submit(2);
        let again = again.expect("its worker lives");
        assert_eq!(join(again).expect("returns"), 2);
    });
}

//! Callbacks for the ends of tasks, and handles that cancel when they are dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::{JoinError, Kind};
use brigade_test_support::block_on;
use brigade_test_support::wait::LIMIT;

use crate::{
    Count, add, both, double, exists, for_ever, join, kill, occupy, pool, processes, until, works,
};

#[test]
fn each_end_calls_once() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (done, ends) = mpsc::channel();
        let called = |handle: brigade::JoinHandle<u32>, n: u32| {
            let done = done.clone();
            handle.on_done(move |result| done.send((n, result)).expect("it is received"));
        };
        let (busy, gate) = occupy(&pool);
        let (other, other_gate) = occupy(&pool);
        for n in 0..100 {
            called(pool.submit(double, n), n);
        }
        let ended = pool.submit(|_: u32| -> u32 { panic!("for a reason") }, 1);
        called(ended, 100);
        let queued = pool.task(double).deadline(Instant::now()).submit(1);
        called(queued, 101);
        called(kind.spawn(double, 102).expect("a worker"), 102);
        gate.add();
        other_gate.add();
        join(busy).expect("it went on");
        join(other).expect("it went on");
        drop(done);
        let mut seen = [0; 103];
        while let Ok((n, result)) = ends.recv_timeout(LIMIT) {
            seen[n as usize] += 1;
            match n {
                100 => assert!(matches!(result, Err(JoinError::Panicked(_)))),
                101 => assert!(matches!(result, Err(JoinError::TimedOut(_)))),
                _ => assert_eq!(result.expect("a result"), 2 * n),
            }
            if seen.iter().all(|&times| times > 0) {
                break;
            }
        }
        assert_eq!(seen, [1; 103]);
        // Each callback is gone, and with it its end of the channel.
        let left = ends.recv_timeout(LIMIT).expect_err("nothing more");
        assert_eq!(left, mpsc::RecvTimeoutError::Disconnected);
    });
}

#[test]
fn the_end_of_a_pool_calls_too() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (done, ends) = mpsc::channel();
        let begun = Count::new();
        let running = pool.submit(for_ever, begun.clone());
        begun.wait_for(1);
        for handle in [running, pool.submit(double, 1)] {
            let done = done.clone();
            handle.on_done(move |result| done.send(result).expect("it is received"));
        }
        pool.abort();
        for _ in 0..2 {
            let end = ends.recv_timeout(LIMIT).expect("an end");
            assert!(matches!(end, Err(JoinError::Cancelled)), "{end:?}");
        }
    });
}

#[test]
fn a_dead_worker_calls() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let (done, ends) = mpsc::channel();
        let begun = Count::new();
        let running = pool.submit(for_ever, begun.clone());
        begun.wait_for(1);
        running.on_done(move |result| done.send(result).expect("it is received"));
        kill(pool.pids()[0]);
        let end = ends.recv_timeout(LIMIT).expect("an end");
        assert!(matches!(end, Err(JoinError::Crashed(_))), "{end:?}");
        works(&pool);
    });
}

#[test]
fn a_callback_that_panics_or_blocks_harms_no_pool() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (done, ends) = mpsc::channel();
        pool.submit(double, 1)
            .on_done(|_| panic!("a callback that panics"));
        let (open, gate) = mpsc::channel::<()>();
        pool.submit(double, 2).on_done(move |result| {
            // Until the test lets it go on.
            let _ = gate.recv();
            done.send(result).expect("it is received");
        });
        works(&pool);
        for n in 0..100 {
            assert_eq!(join(pool.submit(double, n)).expect("a result"), 2 * n);
        }
        drop(pool);
        drop(open);
        assert_eq!(
            ends.recv_timeout(LIMIT).expect("called").expect("a result"),
            4
        );
    });
}

#[test]
fn a_dropped_handle_cancels() {
    both(|kind| {
        let pool = pool(kind, 1);
        let before = pool.pids();
        let begun = Count::new();
        let running = pool.submit(for_ever, begun.clone()).cancel_on_drop();
        begun.wait_for(1);
        let never = Count::new();
        let queued = pool.task(add).cancel_on_drop().submit(never.clone());
        let behind = pool.submit(double, 4);
        drop(queued);
        drop(running);
        assert_eq!(join(behind).expect("it has the worker now"), 8);
        until("the worker is gone", || {
            !before.iter().any(|&pid| exists(pid))
        });
        works(&pool);
        assert_eq!(never.get(), 0);
        assert_eq!(pool.stats().cancelled, 2);

        let (begun, task) = (Count::new(), for_ever);
        let spawned = kind
            .spawn(task, begun.clone())
            .expect("a worker")
            .cancel_on_drop();
        begun.wait_for(1);
        let pid = spawned.pid();
        drop(spawned);
        until("its worker is gone", || pid.is_none_or(|pid| !exists(pid)));
    });
}

#[test]
fn what_has_ended_or_is_waited_for_is_not_cancelled() {
    both(|kind| {
        let pool = pool(kind, 1);
        let handle = pool.submit(double, 1).cancel_on_drop();
        let handle = handle.cancel_on_drop();
        assert_eq!(join(handle).expect("a result"), 2);
        assert_eq!(
            block_on(pool.submit(double, 2).cancel_on_drop()).expect("a result"),
            4
        );
        // A wait that ends too early gives the same handle back.
        let (busy, gate) = occupy(&pool);
        let waits = pool.submit(double, 3).cancel_on_drop();
        let waits = waits
            .join_timeout(Duration::from_millis(1))
            .expect_err("it waits");
        // A callback keeps it.
        let (done, ends) = mpsc::channel();
        let kept = pool.submit(double, 4).cancel_on_drop();
        kept.on_done(move |result| done.send(result).expect("it is received"));
        gate.add();
        assert_eq!(join(waits).expect("a result"), 6);
        assert_eq!(
            ends.recv_timeout(LIMIT).expect("an end").expect("a result"),
            8
        );
        assert_eq!(join(busy).expect("it went on"), 7);
        let spawned = kind.spawn(double, 5).expect("a worker").cancel_on_drop();
        assert_eq!(spawned.join().expect("a result"), 10);
        assert_eq!((pool.stats().cancelled, pool.stats().restarts), (0, 0));
    });
}

#[test]
fn a_panic_that_drops_the_handle_cancels() {
    both(|kind| {
        let pool = pool(kind, 1);
        let begun = Count::new();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _handle = pool.submit(for_ever, begun.clone()).cancel_on_drop();
            begun.wait_for(1);
            std::panic::resume_unwind(Box::new("what waits for it gives up"));
        }));
        assert!(unwound.is_err());
        works(&pool);
        assert_eq!(pool.stats().cancelled, 1);
    });
}

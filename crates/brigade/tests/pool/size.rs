//! Pools whose number of workers follows their work.

use std::io::ErrorKind;
use std::time::Duration;

use brigade::{Kind, Pool};

use crate::{Count, both, double, join, kill, occupy, processes, restarts, until, wait_at, works};

fn following(kind: Kind, least: usize, most: usize) -> Pool {
    let builder = Pool::builder(kind).workers(least..=most);
    // An idle time within which no test is done.
    let builder = builder.shrink_after(Duration::from_secs(3600));
    builder.build().expect("a pool")
}

/// So many tasks that wait for each other: without as many workers none of them ends.
fn meet(pool: &Pool, tasks: usize) {
    let (begun, gate) = (Count::new(), Count::new());
    let handles: Vec<_> = (0..tasks)
        .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
        .collect();
    begun.wait_for(tasks as u32);
    gate.add();
    for handle in handles {
        assert_eq!(join(handle).expect("a result"), 7);
    }
}

fn has_pids(pool: &Pool, workers: usize) {
    if pool.kind() == Kind::Process {
        until("there are as many processes", || {
            pool.pids().len() == workers
        });
    }
}

#[test]
fn it_grows_until_tasks_that_wait_for_each_other_have_met() {
    both(|kind| {
        for most in [2, 3, 8] {
            let pool = following(kind, 1, most);
            assert_eq!((pool.workers(), pool.stats().workers), (1, 1));
            meet(&pool, most);
            assert_eq!((pool.workers(), pool.stats().workers), (most, most));
            has_pids(&pool, most);
            meet(&pool, most);
            works(&pool);
            let stats = pool.stats();
            let counts = (restarts(&stats), stats.failed(), stats.retried);
            assert_eq!(counts, (0, 0, 0), "{stats:?}");
        }
    });
}

#[test]
fn there_are_no_more_than_are_needed_or_allowed() {
    both(|kind| {
        let pool = following(kind, 2, 8);
        meet(&pool, 2);
        assert_eq!(pool.workers(), 2);
        meet(&pool, 3);
        assert!((3..=4).contains(&pool.workers()), "{}", pool.workers());
        // More tasks than workers.
        let (begun, gate) = (Count::new(), Count::new());
        let handles: Vec<_> = (0..50)
            .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
            .collect();
        begun.wait_for(8);
        until("there are as many as may be", || pool.workers() == 8);
        assert_eq!(begun.get(), 8);
        gate.add();
        for handle in handles {
            assert_eq!(join(handle).expect("a result"), 7);
        }
        assert_eq!(pool.workers(), 8);
    });
}

#[test]
fn after_short_tasks_it_still_grows() {
    both(|kind| {
        let pool = following(kind, 1, 6);
        for _ in 0..3 {
            assert_eq!(
                pool.map(double, 0..20_000).filter(Result::is_ok).count(),
                20_000
            );
            meet(&pool, 6);
            pool.resize(1).expect("resized");
            pool.resize(1..=6).expect("resized");
        }
    });
}

#[test]
fn inputs_of_a_map_are_work_that_waits() {
    both(|kind| {
        let pool = following(kind, 1, 5);
        let (begun, gate) = (Count::new(), Count::new());
        let inputs = vec![(begun.clone(), gate.clone()); 5];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait_for(5);
                gate.add();
            });
            assert_eq!(pool.map(wait_at, inputs).filter(Result::is_ok).count(), 5);
        });
    });
}

#[test]
fn it_grows_for_what_was_accepted_before_its_end() {
    both(|kind| {
        let pool = following(kind, 1, 4);
        let (begun, gate) = (Count::new(), Count::new());
        let handles: Vec<_> = (0..4)
            .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait_for(4);
                gate.add();
            });
            drop(pool);
        });
        for handle in handles {
            assert_eq!(join(handle).expect("a result"), 7);
        }
    });
}

#[test]
fn it_shrinks_to_the_least() {
    both(|kind| {
        let builder = Pool::builder(kind).workers(1..=6);
        let pool = builder.shrink_after(Duration::from_millis(100));
        let pool = pool.build().expect("a pool");
        for _ in 0..3 {
            // Tasks that wait keep what there is.
            let (busy, gate) = occupy(&pool);
            meet(&pool, 5);
            gate.add();
            assert_eq!(join(busy).expect("a result"), 7);
            until("it has shrunk", || pool.workers() == 1);
            assert_eq!(pool.stats().workers, 1);
            has_pids(&pool, 1);
            meet(&pool, 1);
        }
        let stats = pool.stats();
        assert_eq!((stats.failed(), stats.retried), (0, 0), "{stats:?}");
    });
}

#[test]
fn who_is_busy_stays() {
    both(|kind| {
        let builder = Pool::builder(kind).workers(1..=6);
        let pool = builder.shrink_after(Duration::from_millis(100));
        let pool = pool.build().expect("a pool");
        let busy: Vec<_> = (0..3).map(|_| occupy(&pool)).collect();
        meet(&pool, 3);
        until("three are left", || pool.workers() == 3);
        for (handle, gate) in busy {
            assert!(!handle.is_finished());
            gate.add();
            assert_eq!(join(handle).expect("a result"), 7);
        }
        until("it has shrunk", || pool.workers() == 1);
    });
}

#[test]
fn a_pool_is_resized_to_a_range_and_back() {
    both(|kind| {
        let pool = crate::pool(kind, 2);
        pool.resize(3..=5).expect("resized");
        assert_eq!(pool.workers(), 3);
        meet(&pool, 5);
        pool.resize(1..=4).expect("resized");
        assert_eq!(pool.workers(), 4);
        pool.resize(2).expect("resized");
        assert_eq!(pool.workers(), 2);
        has_pids(&pool, 2);
        let queued: Vec<_> = (0..2).map(|_| occupy(&pool)).collect();
        let behind = pool.submit(double, 4);
        for (handle, gate) in queued {
            gate.add();
            join(handle).expect("a result");
        }
        join(behind).expect("a result");
        assert_eq!(pool.workers(), 2);
    });
}

#[test]
fn workers_are_killed_while_it_grows_and_shrinks() {
    processes(|| {
        let builder = Pool::builder(Kind::Process).workers(1..=5).retries(1000);
        let pool = builder.shrink_after(Duration::from_millis(1));
        let pool = pool.build().expect("a pool");
        for round in 0..20_usize {
            let (begun, gate) = (Count::new(), Count::new());
            let handles: Vec<_> = (0..5)
                .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
                .collect();
            begun.wait_for(1 + round as u32 % 4);
            if let Some(&pid) = pool.pids().get(round % 5) {
                kill(pid);
            }
            begun.wait_for(5);
            gate.add();
            for handle in handles {
                assert_eq!(join(handle).expect("it is run again"), 7);
            }
        }
        until("it has shrunk", || pool.workers() == 1);
        has_pids(&pool, 1);
        meet(&pool, 5);
    });
}

#[test]
fn a_range_that_makes_no_sense_is_an_error() {
    #[expect(clippy::reversed_empty_ranges, reason = "what is tried")]
    let none = [0..=4, 5..=2, 1..=4097, 0..=0];
    both(|kind| {
        let pool = crate::pool(kind, 1);
        for range in none.clone() {
            let error = pool.resize(range.clone()).expect_err("it makes no sense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let built = Pool::builder(kind).workers(range).build();
            let error = built.expect_err("it makes no sense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        works(&pool);
    });
}

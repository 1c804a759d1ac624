//! More workers, or fewer, while the pool runs.

use std::io::ErrorKind;

use brigade::{Kind, Pool, process};

use crate::kills::{is_lost, server_of};
use crate::{
    Count, both, double, exists, join, kill, occupy, pool, processes, restarts, until, wait_at,
    works,
};

fn has_pids(pool: &Pool, workers: usize) {
    if pool.kind() == Kind::Process {
        until("there are as many processes", || {
            pool.pids().len() == workers
        });
    }
}

#[test]
fn it_grows_while_tasks_wait() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (begun, gate) = (Count::new(), Count::new());
        let handles: Vec<_> = (0..4)
            .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
            .collect();
        begun.wait_for(1);
        pool.resize(4).expect("resized");
        assert_eq!((pool.workers(), pool.stats().workers), (4, 4));
        begun.wait_for(4);
        has_pids(&pool, 4);
        gate.add();
        for handle in handles {
            assert_eq!(join(handle).expect("a result"), 7);
        }
        works(&pool);
        let stats = pool.stats();
        assert_eq!((restarts(&stats), stats.not_ready), (0, 0), "{stats:?}");
    });
}

#[test]
fn idle_workers_leave() {
    both(|kind| {
        let pool = pool(kind, 4);
        works(&pool);
        let before = pool.pids();
        pool.resize(1).expect("resized");
        assert_eq!((pool.workers(), pool.stats().workers), (1, 1));
        has_pids(&pool, 1);
        until("three are gone", || {
            before.iter().filter(|&&pid| exists(pid)).count() <= 1
        });
        works(&pool);
        for n in 0..100 {
            assert_eq!(join(pool.submit(double, n)).expect("a result"), 2 * n);
        }
        let stats = pool.stats();
        assert_eq!(
            (restarts(&stats), stats.recycled, stats.failed()),
            (0, 0, 0),
            "{stats:?}"
        );
    });
}

#[test]
fn busy_workers_lose_no_task() {
    both(|kind| {
        let pool = pool(kind, 4);
        let (begun, gate) = (Count::new(), Count::new());
        let busy: Vec<_> = (0..4)
            .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
            .collect();
        begun.wait_for(4);
        let behind: Vec<_> = (0..1000).map(|n| pool.submit(double, n)).collect();
        pool.resize(1).expect("resized");
        gate.add();
        for handle in busy {
            assert_eq!(join(handle).expect("it went on"), 7);
        }
        for (n, handle) in (0..).zip(behind) {
            assert_eq!(join(handle).expect("a result"), 2 * n);
        }
        has_pids(&pool, 1);
        works(&pool);
        let stats = pool.stats();
        assert_eq!((restarts(&stats), stats.failed()), (0, 0), "{stats:?}");
    });
}

#[test]
fn one_that_was_to_leave_may_stay() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (busy, gate) = occupy(&pool);
        let (other, other_gate) = occupy(&pool);
        let mut before = pool.pids();
        pool.resize(1).expect("resized");
        pool.resize(2).expect("resized");
        gate.add();
        other_gate.add();
        assert_eq!(join(busy).expect("it went on"), 7);
        assert_eq!(join(other).expect("it went on"), 7);
        works(&pool);
        let mut after = pool.pids();
        before.sort_unstable();
        after.sort_unstable();
        assert_eq!(before, after);
    });
}

#[test]
fn one_that_was_to_leave_may_time_out_or_be_cancelled() {
    both(|kind| {
        let pool = pool(kind, 3);
        let begun = Count::new();
        let task = pool.task(crate::for_ever);
        let over = task.timeout(std::time::Duration::from_millis(100));
        let over = over.submit(begun.clone());
        let cancelled = pool.submit(crate::for_ever, begun.clone());
        begun.wait_for(2);
        let (busy, gate) = occupy(&pool);
        pool.resize(1).expect("resized");
        cancelled.cancel();
        join(cancelled).expect_err("it was cancelled");
        join(over).expect_err("its time is over");
        gate.add();
        assert_eq!(join(busy).expect("it went on"), 7);
        has_pids(&pool, 1);
        works(&pool);
        pool.resize(3).expect("resized");
        works(&pool);
    });
}

#[test]
fn a_map_goes_on() {
    both(|kind| {
        let pool = pool(kind, 3);
        let mut results = pool.map(double, 0..20_000);
        for (size, n) in [1, 4, 2, 6, 1].into_iter().zip((0..).step_by(1000)) {
            for n in n..n + 1000 {
                assert_eq!(results.next().expect("one more").expect("a result"), 2 * n);
            }
            pool.resize(size).expect("resized");
        }
        assert_eq!(results.filter(Result::is_ok).count(), 15_000);
        works(&pool);
    });
}

#[test]
fn new_ones_are_initialized_and_replaced_as_others() {
    both(|kind| {
        let builder = Pool::builder(kind).workers(1).fresh_per_task(true);
        let pool = builder.build().expect("a pool");
        pool.resize(3).expect("resized");
        works(&pool);
        for n in 0..30 {
            assert_eq!(join(pool.submit(double, n)).expect("a result"), 2 * n);
        }
        pool.resize(1).expect("resized");
        for n in 0..30 {
            assert_eq!(join(pool.submit(double, n)).expect("a result"), 2 * n);
        }
        has_pids(&pool, 1);
        assert_eq!(restarts(&pool.stats()), 0);
    });
}

#[test]
fn a_number_that_makes_no_sense_is_an_error() {
    both(|kind| {
        let pool = pool(kind, 2);
        for workers in [0, 4097] {
            let error = pool.resize(workers).expect_err("it makes no sense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(pool.workers(), 2);
        works(&pool);
    });
}

#[test]
fn workers_are_killed_meanwhile() {
    processes(|| {
        let builder = Pool::builder(Kind::Process).workers(2).retries(1000);
        let pool = builder.build().expect("a pool");
        let mut handles = Vec::new();
        for round in 0..60_u32 {
            handles.extend((0..20).map(|n| (n, pool.submit(double, n))));
            pool.resize(1 + (round * 7 % 6) as usize).expect("resized");
            if let Some(&pid) = pool.pids().get(round as usize % 3) {
                kill(pid);
            }
        }
        for (n, handle) in handles {
            assert_eq!(join(handle).expect("it is run again"), 2 * n);
        }
        pool.resize(3).expect("resized");
        works(&pool);
        has_pids(&pool, 3);
    });
}

/// In a process of its own, whose fork server is nobody else's.
fn loses_its_server(turns: u32) {
    let builder = Pool::builder(Kind::Process).workers(3).retries(1000);
    let pool = builder.build().expect("a pool");
    for turn in 0..turns {
        let handles: Vec<_> = (0..1000).map(|n| pool.submit(double, n)).collect();
        pool.resize(1 + turn as usize % 3).expect("resized");
        let server = pool.pids().into_iter().find_map(server_of);
        server.into_iter().for_each(kill);
        pool.resize(4 - turn as usize % 3).expect("resized");
        for (n, handle) in (0..).zip(handles) {
            match join(handle) {
                Ok(doubled) => assert_eq!(doubled, n * 2),
                // Who could say how it ended is dead.
                lost => assert!(is_lost(&lost), "{lost:?}"),
            }
        }
        until("all is as before", || join(pool.submit(double, 1)).is_ok());
        works(&pool);
        has_pids(&pool, pool.workers());
    }
}

#[test]
fn the_fork_server_is_killed_meanwhile() {
    processes(|| {
        let host = process::spawn(loses_its_server, 9).expect("starts");
        join(host).expect("it judges for itself");
    });
}

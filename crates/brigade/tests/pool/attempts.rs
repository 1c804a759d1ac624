//! A task that is retried knows which run it is in.

use std::time::Duration;

use brigade::{Kind, Pool};

use crate::{both, join};

/// Long enough for a task that returns at once, on a slow machine too.
const TIME: Duration = Duration::from_millis(500);

/// Ends in its `last` run, and not before. Says which that is.
fn hangs_until(last: u32) -> u32 {
    while brigade::attempt() < last {
        std::thread::park();
    }
    brigade::attempt()
}

fn dies_until(last: u32) -> u32 {
    if brigade::attempt() < last {
        std::process::abort();
    }
    brigade::attempt()
}

#[test]
fn each_run_is_counted() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(1).timeout(TIME).retries(2);
        let pool = pool.build().expect("a pool");
        for last in [1, 3, 1, 2, 1] {
            assert_eq!(join(pool.submit(hangs_until, last)).expect("returns"), last);
            // Nothing of it is left for the next.
            assert_eq!(
                join(pool.submit(|()| brigade::attempt(), ())).expect("returns"),
                1
            );
        }
        assert!(
            join(pool.submit(hangs_until, 4))
                .expect_err("three runs")
                .is_timeout()
        );
    });
}

#[test]
fn a_run_that_died_is_counted() {
    brigade::init();
    let pool = Pool::builder(Kind::Process).workers(2).retries(3);
    let pool = pool.build().expect("a pool");
    // Those that wait behind one that dies have not run.
    let lasts: Vec<u32> = (0..40)
        .map(|n| if n % 10 == 3 { 2 + n % 3 } else { 1 })
        .collect();
    let ended: Result<Vec<u32>, _> = pool.map(dies_until, lasts.clone()).collect();
    assert_eq!(ended.expect("all return"), lasts);
    let handles: Vec<_> = lasts
        .iter()
        .map(|&last| pool.submit(dies_until, last))
        .collect();
    for (handle, last) in handles.into_iter().zip(lasts) {
        assert_eq!(join(handle).expect("returns"), last);
    }
}

#[test]
fn outside_of_pools_it_is_the_first() {
    both(|kind| {
        assert_eq!(brigade::attempt(), 1);
        let alone = kind.spawn(|()| brigade::attempt(), ()).expect("starts");
        assert_eq!(alone.join().expect("returns"), 1);
    });
}

#[test]
fn each_run_of_a_map_is_counted() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(2).timeout(TIME).retries(1);
        let pool = pool.build().expect("a pool");
        let lasts: Vec<u32> = (0..20).map(|n| if n % 7 == 3 { 2 } else { 1 }).collect();
        let ended: Result<Vec<u32>, _> = pool.map(hangs_until, lasts.clone()).collect();
        assert_eq!(ended.expect("all return"), lasts);
    });
}

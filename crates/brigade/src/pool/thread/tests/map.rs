use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::JoinError;

#[test]
fn results_come_in_the_order_of_inputs_or_as_they_come() {
    for workers in [1, 2, 5] {
        let pool = threads(workers);
        for count in [0, 1, 2, 3, 100, 20_000] {
            let results: Vec<u64> = pool.map(double, 0..count).map(Result::unwrap).collect();
            assert_eq!(results, (0..count).map(double).collect::<Vec<_>>());
            let mut seen = vec![false; count as usize];
            for (number, result) in pool.map_unordered(double, 0..count) {
                assert_eq!(result.unwrap(), number as u64 * 2);
                assert!(!std::mem::replace(&mut seen[number], true));
            }
            assert!(seen.into_iter().all(|seen| seen));
        }
        let stats = pool.stats();
        assert_eq!(stats.done, 2 * 20_106);
        assert_eq!(stats.latencies.count(), stats.done);
        assert!(consistent(&stats) && stats.queued == 0 && stats.running == 0);
    }
}

#[test]
fn a_panic_costs_one_result() {
    let pool = threads(2);
    let odd = |n: u64| if n % 10 == 3 { panic!("{n}") } else { n };
    for (n, result) in pool.map(odd, 0..1000).enumerate() {
        match result {
            Ok(same) => assert_eq!(same, n as u64),
            Err(JoinError::Panicked(panic)) => assert_eq!(panic.message(), n.to_string()),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((pool.stats().done, pool.stats().panicked), (900, 100));
}

#[test]
fn nothing_waits_behind_a_long_task() {
    for at in [0, 1, 500, 4000] {
        let pool = threads(2);
        let door = DOORS.make();
        // All but one return, though that one runs until all others have.
        let task = |(door, long): (u64, bool)| if long { pass(door) } else { 0 };
        let inputs = (0..5000).map(move |n| (door, n == at));
        let mut others = 0;
        for (number, result) in pool.map_unordered(task, inputs) {
            assert!(result.is_ok());
            if number != at {
                others += 1;
                if others == 4999 {
                    DOORS.open(door);
                }
            }
        }
        assert_eq!(others, 4999);
    }
}

#[test]
fn inputs_that_are_slow_to_come_are_not_held_back() {
    // The next input comes only when the result of the one before has come: each is begun as soon
    // as it is there.
    static DONE: AtomicUsize = AtomicUsize::new(0);
    for workers in [1, 2, 3] {
        DONE.store(0, Ordering::SeqCst);
        let pool = threads(workers);
        let inputs = (0..300).inspect(|n| {
            until("the one before", || DONE.load(Ordering::SeqCst) == *n);
        });
        let count = pool
            .map(|_| DONE.fetch_add(1, Ordering::SeqCst), inputs)
            .count();
        assert_eq!(count, 300);
    }
}

#[test]
fn what_is_pulled_is_bounded() {
    let pool = threads(2);
    let pulled = AtomicUsize::new(0);
    let inputs = std::iter::repeat_with(|| {
        pulled.fetch_add(1, Ordering::Relaxed);
        1
    });
    for (taken, _) in pool.map(double, inputs).take(100_000).enumerate() {
        assert!(pulled.load(Ordering::Relaxed) <= taken + 40_000);
    }
}

#[test]
fn a_dropped_map_starts_nothing_more() {
    for _ in 0..OFTEN {
        let pool = threads(2);
        let mut map = pool.map(double, 0..1_000_000);
        for n in 0..3 {
            assert_eq!(map.next().unwrap().unwrap(), n * 2);
        }
        drop(map);
        assert_eq!(ended(pool.submit(double, 4)).unwrap(), 8);
        until("the end of what runs", || pool.stats().running == 0);
        let stats = pool.stats();
        assert_eq!(stats.queued, 0);
        assert_eq!(stats.submitted, stats.done + stats.cancelled);
    }
}

#[test]
fn an_iterator_that_panics_loses_nothing() {
    let pool = builder(2).queue_limit(64).build().unwrap();
    let inputs = (0..1000_u64).inspect(|n| assert!(*n != 500, "enough"));
    let mut map = pool.map(double, inputs);
    let (mut results, mut panics) = (Vec::new(), 0);
    loop {
        match catch_unwind(AssertUnwindSafe(|| map.next())) {
            Ok(Some(result)) => results.push(result.unwrap()),
            Ok(None) => break,
            Err(_) => panics += 1,
        }
    }
    drop(map);
    assert_eq!(panics, 1);
    let expected: Vec<u64> = (0..1000).filter(|n| *n != 500).map(double).collect();
    assert_eq!(results, expected);
    // No room was lost.
    let door = DOORS.make();
    let handles: Vec<_> = std::iter::from_fn(|| pool.try_submit(pass, door).ok())
        .take(64)
        .collect();
    assert_eq!(handles.len(), 64);
    DOORS.open(door);
}

#[test]
fn a_map_keeps_to_the_limit_of_the_queue() {
    for limit in [1, 2, 10] {
        let pool = builder(3).queue_limit(limit).build().unwrap();
        let doors: Vec<u64> = (0..3).map(|_| DOORS.make()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                until("all workers at work", || pool.stats().running == 3);
                until("a full queue", || pool.stats().queued == limit as u64);
                doors.iter().for_each(|door| DOORS.open(*door));
            });
            let inputs = (0..1000).map(|n| doors[n % 3]);
            for (n, result) in pool.map(pass, inputs).enumerate() {
                assert_eq!(result.unwrap(), doors[n % 3]);
                assert!(pool.stats().queued <= limit as u64);
            }
        });
    }
}

#[test]
fn maps_and_tasks_side_by_side() {
    let pool = builder(2).queue_limit(20).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..20 {
                    let results = pool.map(double, 0..100 * round).map(Result::unwrap);
                    assert!(results.eq((0..100 * round).map(double)));
                }
            });
            scope.spawn(|| {
                for n in 0..300 {
                    assert_eq!(ended(pool.submit(double, n)).unwrap(), n * 2);
                }
            });
        }
    });
    assert!(consistent(&pool.stats()));
}

#[test]
fn time_is_kept_for_each_task_of_a_map() {
    let pool = builder(2)
        .timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let door = DOORS.make();
    let task = |(n, door): (u64, u64)| {
        if n % 1000 == 700 {
            pass(door);
        }
        n
    };
    let results = pool.map(task, (0..3000).map(move |n| (n, door)));
    for (n, result) in results.enumerate() {
        match result {
            Ok(same) => assert_eq!(same, n as u64),
            Err(JoinError::TimedOut(_)) => assert_eq!(n % 1000, 700),
            Err(other) => panic!("{other:?}"),
        }
    }
    DOORS.open(door);
    let stats = pool.stats();
    assert_eq!((stats.done, stats.timed_out, stats.restarts), (2997, 3, 3));
    assert!(consistent(&stats));
}

#[test]
fn a_task_of_a_map_is_tried_again() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    let pool = builder(2)
        .timeout(Duration::from_millis(100))
        .retries(1)
        .queue_limit(5)
        .build()
        .unwrap();
    let door = DOORS.make();
    let task = |(n, door): (u64, u64)| {
        if n == 70 && TRIES.fetch_add(1, Ordering::SeqCst) == 0 {
            pass(door);
        }
        n
    };
    let results = pool.map(task, (0..300).map(move |n| (n, door)));
    assert!(results.map(Result::unwrap).eq(0..300));
    DOORS.open(door);
    let stats = pool.stats();
    assert_eq!((stats.done, stats.retried, stats.restarts), (300, 1, 1));
}

#[test]
fn a_short_result_is_not_held_back_by_a_long_task() {
    // One worker: what it has finished is fetched while it is at the long one.
    let pool = threads(1);
    let door = DOORS.make();
    let task = |(door, long): (u64, bool)| if long { pass(door) } else { 0 };
    for long in [1, 3, 50, 2000] {
        let mut map = pool.map(
            task,
            (0..3000).map(move |n| (door * 10_000 + long + (1 << 40), n == long)),
        );
        for _ in 0..long {
            assert!(map.next().unwrap().is_ok());
        }
        DOORS.open(door * 10_000 + long + (1 << 40));
        assert_eq!(map.count(), 3000 - long as usize);
    }
}

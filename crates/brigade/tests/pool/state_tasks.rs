//! What tasks that use their worker's state can do that other tasks can.

use std::time::{Duration, Instant};

use brigade::pool::StatePool;
use brigade::{JoinError, Kind, Pool};

use crate::count::Count;
use crate::{both, crash_of, for_ever, join, processes, wait_at};

/// Short, for what never ends or never begins.
const SHORT: Duration = Duration::from_millis(200);

fn sums(kind: Kind, workers: usize) -> StatePool<u32> {
    let pool = Pool::builder(kind).workers(workers).queue_limit(4);
    let pool = pool.state(|from: u32| from, 100).build();
    pool.expect("a pool")
}

fn look(sum: &u32, n: u32) -> u32 {
    *sum + n
}

fn add(sum: &mut u32, n: u32) -> u32 {
    if n == 66 {
        std::process::abort();
    }
    *sum += n;
    *sum
}

fn is_expired(ended: Result<u32, JoinError>, had_begun: bool) {
    match ended {
        Err(JoinError::TimedOut(over)) => assert_eq!(over.had_begun(), had_begun, "{over}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn they_have_times_of_their_own() {
    both(|kind| {
        let pool = sums(kind, 1);
        assert_eq!(join(pool.submit_mut(add, 5)).expect("returns"), 105);
        let endless = pool.task_mut(|_: &mut u32, begun| for_ever(begun));
        is_expired(join(endless.timeout(SHORT).submit(Count::new())), true);
        // Its worker is gone, and another has loaded its state.
        let sum = pool.task(look).timeout(crate::LIMIT).submit(1);
        assert_eq!(join(sum).expect("it has the time"), 101);

        let (begun, gate) = (Count::new(), Count::new());
        let wait = pool.submit(
            |_: &u32, counts| wait_at(counts),
            (begun.clone(), gate.clone()),
        );
        begun.wait_for(1);
        let late = pool.task_mut(add).deadline(Instant::now() + SHORT);
        is_expired(join(late.submit(1)), false);
        let dropped = pool.task_mut(add).cancel_on_drop().submit(1000);
        drop(dropped);
        gate.add();
        assert_eq!(join(wait).expect("returns"), 7);
        assert_eq!(join(pool.submit(look, 0)).expect("returns"), 100);
        let stats = pool.pool().stats();
        assert_eq!((stats.timed_out, stats.cancelled), (2, 1), "{stats:?}");
    });
}

#[test]
fn they_are_run_again_where_they_are_to_be() {
    /// Dies when it runs for the first time.
    fn dies_once(sum: &mut u32, n: u32) -> (u32, u32) {
        if brigade::attempt() == 1 {
            std::process::abort();
        }
        *sum += n;
        (*sum, brigade::attempt())
    }
    processes(|| {
        let pool = sums(Kind::Process, 1);
        assert_eq!(join(pool.submit_mut(add, 5)).expect("returns"), 105);
        crash_of(join(pool.submit_mut(dies_once, 1)));
        assert_eq!(join(pool.submit_mut(add, 5)).expect("returns"), 105);
        let again = pool.task_mut(dies_once).retries(1).submit(1);
        // With a state that was loaded anew.
        assert_eq!(join(again).expect("the second time"), (101, 2));
    });
}

#[test]
fn they_are_given_back_where_there_is_no_room() {
    both(|kind| {
        let pool = sums(kind, 1);
        let (begun, gate) = (Count::new(), Count::new());
        let wait = pool.submit(
            |_: &u32, counts| wait_at(counts),
            (begun.clone(), gate.clone()),
        );
        begun.wait_for(1);
        let mut taken = vec![
            pool.try_submit(look, 1).expect("room"),
            pool.try_submit_mut(add, 2).expect("room"),
            pool.task(look).try_submit(3).expect("room"),
            pool.task_mut(add).try_submit(4).expect("room"),
        ];
        assert_eq!(pool.try_submit(look, 5).expect_err("full"), 5);
        assert_eq!(pool.try_submit_mut(add, 6).expect_err("full"), 6);
        let full = pool.task_mut(add).timeout(crate::LIMIT).try_submit(7);
        assert_eq!(full.expect_err("full"), 7);
        gate.add();
        join(wait).expect("returns");
        let sums: Vec<_> = taken.drain(..).map(|it| join(it).expect("ends")).collect();
        assert_eq!(sums, [101, 102, 105, 106]);
        pool.pool().close();
        assert_eq!(pool.try_submit(look, 5).expect_err("closed"), 5);
    });
}

#[test]
fn results_come_as_they_are_there() {
    both(|kind| {
        let pool = sums(kind, 3);
        let mut seen = vec![false; 500];
        for (number, sum) in pool.map_unordered(look, 0..500) {
            assert_eq!(sum.expect("returns"), 100 + number as u32);
            assert!(!std::mem::replace(&mut seen[number], true), "{number} once");
        }
        assert!(seen.iter().all(|&seen| seen));
        // The first is not waited for.
        let (begun, gate) = (Count::new(), Count::new());
        let task = |sum: &mut u32, (first, begun, gate): (bool, Count, Count)| {
            if first {
                begun.add();
                gate.wait_for(1);
            }
            *sum
        };
        let inputs = (0..3).map(|n| (n == 0, begun.clone(), gate.clone()));
        let mut results = pool.map_unordered_mut(task, inputs);
        for n in 0..3 {
            let (number, sum) = results.next().expect("one for each");
            assert_eq!(sum.expect("returns"), 100);
            assert_eq!(number == 0, n == 2);
            if n == 1 {
                begun.wait_for(1);
                gate.add();
            }
        }
        assert!(results.next().is_none());
    });
}

#[test]
fn a_crash_in_the_middle_costs_one_result() {
    processes(|| {
        let pool = sums(Kind::Process, 2);
        let inputs = (0..300).map(|n| if n == 150 { 66 } else { 1 });
        let (mut done, mut crashed) = (0, Vec::new());
        for (number, sum) in pool.map_unordered_mut(add, inputs) {
            match sum {
                Ok(_) => done += 1,
                Err(JoinError::Crashed(_)) => crashed.push(number),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((done, crashed), (299, vec![150]));
    });
}

//! What one task has otherwise than its pool: a timeout, a deadline, retries.

use std::time::{Duration, Instant};

use brigade::{JoinError, Kind, Pool, Timeout};
use brigade_test_support::wait::LIMIT;
use brigade_test_support::{block_on, signal};

use crate::{
    Count, add, both, crash_of, double, exists, for_ever, join, kill, occupy, pool, processes,
    works,
};

/// Short, for what never ends or never begins.
const SHORT: Duration = Duration::from_millis(200);

fn soon() -> Instant {
    Instant::now() + SHORT
}

/// So late that a task has begun by then on a machine that is busy, too.
fn after_it_has_begun() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

fn timeout_of<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> Timeout {
    match ended {
        Err(JoinError::TimedOut(over)) => over,
        other => panic!("expected a timeout, got {other:?}"),
    }
}

/// Counts, and is done when there is nothing left of twice [`SHORT`].
#[expect(clippy::disallowed_methods, reason = "a task that takes its time")]
fn linger(begun: Count) {
    begun.add();
    std::thread::sleep(2 * SHORT);
}

#[test]
fn a_task_has_a_timeout_in_a_pool_without_one() {
    both(|kind| {
        let pool = pool(kind, 1);
        works(&pool);
        let before = pool.pids();
        let over = timeout_of(join(
            (pool.task(for_ever).timeout(SHORT)).submit(Count::new()),
        ));
        assert_eq!(over.after(), SHORT);
        assert!(over.had_begun());
        assert!(
            over.to_string()
                .contains("longer than its timeout of 200ms"),
            "{over}"
        );
        assert!(
            !before.into_iter().any(exists),
            "it is gone when the caller hears of it"
        );
        works(&pool);
        // What was submitted as others are has no timeout.
        let begun = Count::new();
        join(pool.submit(linger, begun.clone())).expect("it has all the time");
        let stats = pool.stats();
        assert_eq!((stats.timed_out, stats.restarts), (1, 1), "{stats:?}");
    });
}

#[test]
fn its_timeout_is_shorter_or_longer_than_the_pools() {
    both(|kind| {
        let build = |time| Pool::builder(kind).workers(2).timeout(time).build();
        let long = build(LIMIT).expect("a pool");
        let over = timeout_of(join(
            (long.task(for_ever).timeout(SHORT)).submit(Count::new()),
        ));
        assert_eq!(over.after(), SHORT);

        let short = build(SHORT).expect("a pool");
        let longer = short.task(linger).timeout(LIMIT).submit(Count::new());
        let none = short
            .task(linger)
            .timeout(Duration::MAX)
            .submit(Count::new());
        join(longer).expect("it has more time than others");
        join(none).expect("it has all the time");
        let over = timeout_of(join(short.submit(for_ever, Count::new())));
        assert_eq!(over.after(), SHORT);
    });
}

#[test]
fn timeouts_of_tasks_behind_each_other_are_their_own() {
    both(|kind| {
        let pool = pool(kind, 1);
        let first = pool.task(for_ever).timeout(SHORT).submit(Count::new());
        let second = pool.task(linger).timeout(LIMIT).submit(Count::new());
        let third = pool.task(for_ever).timeout(SHORT).submit(Count::new());
        let fourth = pool.submit(double, 4);
        timeout_of(join(first));
        join(second).expect("its own time is long");
        timeout_of(join(third));
        assert_eq!(join(fourth).expect("it has no time to run over"), 8);
    });
}

#[test]
fn a_task_past_its_deadline_never_begins() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (busy, gate) = occupy(&pool);
        let begun = Count::new();
        let late = pool.task(add).deadline(soon()).submit(begun.clone());
        let behind = pool.submit(double, 3);
        // Nothing but its deadline can end it: the only worker waits.
        let over = timeout_of(join(late));
        assert!(!over.had_begun());
        assert!(
            over.after() <= SHORT && over.after() > SHORT / 2,
            "{over:?}"
        );
        assert!(over.to_string().contains("had not begun"), "{over}");
        let stats = pool.stats();
        assert_eq!(
            (stats.timed_out, stats.queued, stats.running),
            (1, 1, 1),
            "{stats:?}"
        );
        gate.add();
        assert_eq!(join(busy).expect("it went on"), 7);
        assert_eq!(join(behind).expect("it went on"), 6);
        works(&pool);
        assert_eq!(begun.get(), 0);
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn a_future_past_its_deadline_is_woken() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (busy, gate) = occupy(&pool);
        let late = pool.task(double).deadline(soon()).submit(1);
        assert!(!timeout_of(block_on(late)).had_begun());
        gate.add();
        join(busy).expect("it went on");
    });
}

#[test]
fn a_task_runs_no_longer_than_until_its_deadline() {
    both(|kind| {
        let pool = pool(kind, 1);
        let before = pool.pids();
        let begun = Count::new();
        let late = pool
            .task(for_ever)
            .retries(3)
            .deadline(after_it_has_begun())
            .submit(begun.clone());
        let over = timeout_of(join(late));
        assert!(over.had_begun());
        assert!(
            over.to_string().contains("still ran at its deadline"),
            "{over}"
        );
        assert!(!before.into_iter().any(exists));
        works(&pool);
        assert_eq!(begun.get(), 1, "it is not run again");
    });
}

#[test]
fn a_deadline_that_has_passed_is_over_at_once() {
    both(|kind| {
        let pool = pool(kind, 2);
        let begun = Count::new();
        let late = pool
            .task(add)
            .deadline(Instant::now())
            .submit(begun.clone());
        assert!(!timeout_of(join(late)).had_begun());
        works(&pool);
        assert_eq!(begun.get(), 0);
    });
}

#[test]
fn a_deadline_far_away_changes_nothing() {
    both(|kind| {
        let pool = pool(kind, 2);
        let far = Instant::now() + Duration::from_secs(3600);
        let handles: Vec<_> = (0..1000)
            .map(|n| pool.task(double).deadline(far).submit(n))
            .collect();
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(join(handle).expect("it is in time"), 2 * n);
        }
        let cancelled = {
            let (busy, gate) = occupy(&pool);
            let (other, other_gate) = occupy(&pool);
            let queued = pool.task(double).deadline(far).submit(1);
            queued.cancel();
            gate.add();
            other_gate.add();
            join(busy).expect("it went on");
            join(other).expect("it went on");
            join(queued)
        };
        assert!(matches!(cancelled, Err(JoinError::Cancelled)));
    });
}

#[test]
fn thousands_past_their_deadline_end() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (busy, gate) = occupy(&pool);
        let begun = Count::new();
        let at = soon();
        let late: Vec<_> = (0..3000)
            .map(|_| pool.task(add).deadline(at).submit(begun.clone()))
            .collect();
        let behind = pool.submit(double, 3);
        for handle in late {
            assert!(!timeout_of(join(handle)).had_begun());
        }
        gate.add();
        assert_eq!(join(busy).expect("it went on"), 7);
        assert_eq!(join(behind).expect("it went on"), 6);
        assert_eq!(begun.get(), 0);
        let stats = pool.stats();
        assert_eq!((stats.timed_out, stats.queued), (3000, 0), "{stats:?}");
    });
}

#[test]
fn waiting_for_room_ends_at_the_deadline() {
    both(|kind| {
        let pool = Pool::builder(kind)
            .workers(1)
            .queue_limit(1)
            .build()
            .expect("a pool");
        let (busy, gate) = occupy(&pool);
        let queued = pool.submit(double, 1);
        // There is no room, and none comes.
        let over = timeout_of(join(pool.task(double).deadline(soon()).submit(2)));
        assert!(!over.had_begun());
        assert_eq!(
            pool.task(double)
                .deadline(soon())
                .try_submit(3)
                .expect_err("it is full"),
            3
        );
        gate.add();
        join(busy).expect("it went on");
        assert_eq!(join(queued).expect("it went on"), 2);
        works(&pool);
        let stats = pool.stats();
        assert_eq!((stats.timed_out, stats.queued), (1, 0), "{stats:?}");
        let in_time = (pool.task(double).deadline(Instant::now() + LIMIT)).try_submit(4);
        assert_eq!(join(in_time.expect("there is room")).expect("a result"), 8);
    });
}

/// Never ends, and can be carried twice.
fn never(_: u32) {
    loop {
        std::thread::park();
    }
}

#[test]
fn its_retries_are_its_own() {
    both(|kind| {
        for (of_pool, own, runs_again) in [(0, Some(2), 2), (2, Some(0), 0), (1, None, 1)] {
            let builder = Pool::builder(kind).workers(1).timeout(SHORT);
            let pool = builder.retries(of_pool).build().expect("a pool");
            let task = pool.task(never);
            let task = match own {
                Some(times) => task.retries(times),
                None => task,
            };
            timeout_of(join(task.submit(1)));
            let stats = pool.stats();
            assert_eq!(
                (stats.retried, stats.timed_out),
                (runs_again, 1),
                "{stats:?}"
            );
            works(&pool);
        }
    });
}

#[test]
fn retries_are_for_a_timeout_of_its_own_too() {
    both(|kind| {
        let pool = pool(kind, 1);
        timeout_of(join(pool.task(never).timeout(SHORT).retries(1).submit(1)));
        assert_eq!(pool.stats().retried, 1);
        works(&pool);
    });
}

fn dies(_: u32) -> u32 {
    kill(std::process::id());
    unreachable!("it was killed");
}

#[test]
fn a_task_that_dies_again_and_again_ends_at_its_deadline() {
    processes(|| {
        let pool = pool(Kind::Process, 2);
        let task = pool
            .task(dies)
            .retries(u32::MAX)
            .deadline(after_it_has_begun());
        let over = timeout_of(join(task.submit(1)));
        assert!(over.had_begun(), "{over}");
        works(&pool);
        crash_of(join(
            pool.task(dies).deadline(Instant::now() + LIMIT).submit(1),
        ));
        works(&pool);
    });
}

#[test]
fn a_stopped_workers_tasks_end_at_their_deadline() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let worker = pool.pids()[0];
        assert!(signal::stop(worker));
        let late = pool.task(double).deadline(soon()).submit(1);
        timeout_of(join(late));
        signal::go_on(worker);
        works(&pool);
    });
}
